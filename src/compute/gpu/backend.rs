//! [`Backend`] on this device: what it owes for exact codes, and chains of levels. Kernels lie by theme in the files beside this one,
//! each group as a trait of its own; a method checks shapes, records its kernels chunk by chunk, and reads back what it returns.

use super::record::Span;
use super::resident::{Codebook, RowChunk, Rows};
use super::sizes::words;
use super::variant::split_error;
use super::{Gpu, levels};
use crate::compute::{Backend, BeamCodes, DeviceInfo, LevelCodes, params, sizes};
use crate::error::Result;

impl Gpu {
    pub(super) fn part_words(part: RowChunk<'_>, rows: &Rows) -> Result<params::Rows> {
        Ok(params::Rows { n: words(part.n, "rows of a chunk")?, stride4: rows.stride4() })
    }

    pub(super) fn read_regions(&self, buffer: &wgpu::Buffer, list: &[(u64, u64)]) -> Result<Vec<f32>> {
        let spans: Vec<_> =
            list.iter().map(|(offset, bytes)| Span { buffer, offset: *offset, bytes: *bytes }).collect();
        self.core.read(&spans)
    }
}

impl Backend for Gpu {
    fn info(&self) -> DeviceInfo {
        Gpu::info(self)
    }

    fn dot_error(&self, dims: usize) -> f64 {
        let m = (32 + dims.div_ceil(32) + 2) as f64;
        let tiles = m * self.unit_roundoff() / (1.0 - m * self.unit_roundoff());
        // One η for every kernel: projections stay with the tiles whatever computes `assign`.
        if self.core.options.assign.is_split() { tiles.max(split_error(dims)) } else { tiles }
    }

    fn unit_roundoff(&self) -> f64 {
        1.0 / f64::from(1u32 << 23)
    }

    fn assign_levels(&self, rows: &mut Rows, codebooks: &[Codebook], normalize: bool) -> Result<LevelCodes> {
        let _turn = self.core.turn()?;
        levels::assign(self, rows, codebooks, normalize)
    }

    fn assign_columns(&self, rows: &Rows, codebooks: &[Codebook]) -> Result<LevelCodes> {
        sizes::side_by_side(rows.d, codebooks.iter().map(|b| b.d))?;
        let _turn = self.core.turn()?;
        levels::assign_columns(self, rows, codebooks)
    }

    fn beam(&self, rows: &Rows, codebooks: &[Codebook], gram: &[Vec<f32>], width: usize) -> Result<BeamCodes> {
        let _turn = self.core.turn()?;
        levels::beam(self, rows, codebooks, gram, width)
    }
}
