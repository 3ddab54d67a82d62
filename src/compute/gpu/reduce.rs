//! Sums over rows and columns: `row_norm`, `normalize`, `column_sum`, `covariance`.

use super::Gpu;
use super::kernel::Id;
use super::record::{Launch, Span, whole};
use super::resident::{Rows, pad};
use super::sizes::{BLOCK_ROWS, SLICE_BYTES, byte_size, regions, words};
use crate::compute::{RowKernels, params, sizes};
use crate::error::{Result, check_shape};
use bytemuck::bytes_of;

/// Rows of one block of `covariance`.
const SCATTER_ROWS: usize = 8192;

impl Gpu {
    pub(super) fn norm_regions(rows: &Rows) -> (Vec<(u64, u64)>, u64) {
        regions(rows.parts().map(|part| part.n * 4))
    }

    /// Records squared norms of all rows, one `[n]` region a chunk.
    pub(super) fn record_norms(&self, rows: &Rows, norms: &wgpu::Buffer, list: &[(u64, u64)]) -> Result<()> {
        for (part, (offset, bytes)) in rows.parts().zip(list) {
            self.core.launch(&Launch {
                id: Id::RowNorm,
                entry: 0,
                variant: 0,
                spans: &[whole(part.buffer), Span { buffer: norms, offset: *offset, bytes: *bytes }],
                params: bytes_of(&Self::part_words(part, rows)?),
                groups: part.n.div_ceil(16) as u64,
                cost: (part.n * rows.stride) as f64 * 32.0,
            })?;
        }
        Ok(())
    }

    /// Records normalisation of all rows.
    pub(super) fn record_normalize(&self, rows: &Rows, norms: &wgpu::Buffer, list: &[(u64, u64)]) -> Result<()> {
        for (part, (offset, bytes)) in rows.parts().zip(list) {
            self.core.launch(&Launch {
                id: Id::Normalize,
                entry: 0,
                variant: 0,
                spans: &[whole(part.buffer), Span { buffer: norms, offset: *offset, bytes: *bytes }],
                params: bytes_of(&Self::part_words(part, rows)?),
                groups: part.n.div_ceil(16) as u64,
                cost: (part.n * rows.stride) as f64 * 64.0,
            })?;
        }
        Ok(())
    }
}

impl RowKernels for Gpu {
    fn columns(&self, rows: &Rows, first: usize, count: usize) -> Result<Rows> {
        sizes::columns(rows.d, first, count)?;
        let _turn = self.core.turn()?;
        let out = Rows::new(&self.core, rows.n, count)?;
        self.record_columns(rows, first, &out)?;
        Ok(out)
    }

    fn normalize(&self, rows: &mut Rows) -> Result<Vec<f32>> {
        let _turn = self.core.turn()?;
        let (list, bytes) = Self::norm_regions(rows);
        let norms = self.core.scratch("norms", bytes)?;
        self.record_normalize(rows, &norms, &list)?;
        self.read_regions(&norms, &list)
    }

    fn row_norms(&self, rows: &Rows) -> Result<Vec<f32>> {
        let _turn = self.core.turn()?;
        let (list, bytes) = Self::norm_regions(rows);
        let norms = self.core.scratch("norms", bytes)?;
        self.record_norms(rows, &norms, &list)?;
        self.read_regions(&norms, &list)
    }

    fn sum_squares(&self, rows: &Rows) -> Result<f64> {
        let _turn = self.core.turn()?;
        let (list, bytes) = Self::norm_regions(rows);
        let norms = self.core.scratch("norms", bytes)?;
        self.record_norms(rows, &norms, &list)?;
        let (blocks, bytes) = regions(rows.parts().map(|part| part.n.div_ceil(BLOCK_ROWS) * 4));
        let sums = self.core.scratch("norm sums", bytes)?;
        for (part, (from, to)) in rows.parts().zip(list.iter().zip(&blocks)) {
            self.core.launch(&Launch {
                id: Id::RowNorm,
                entry: 1,
                variant: 0,
                spans: &[
                    Span { buffer: &norms, offset: from.0, bytes: from.1 },
                    Span { buffer: &sums, offset: to.0, bytes: to.1 },
                ],
                params: bytes_of(&Self::part_words(part, rows)?),
                groups: part.n.div_ceil(BLOCK_ROWS) as u64,
                cost: part.n as f64 * 32.0,
            })?;
        }
        Ok(self.read_regions(&sums, &blocks)?.iter().map(|v| f64::from(*v)).sum())
    }

    fn column_sums(&self, rows: &Rows) -> Result<Vec<f64>> {
        let _turn = self.core.turn()?;
        let (list, bytes) = regions(rows.parts().map(|part| part.n.div_ceil(BLOCK_ROWS) * rows.stride * 4));
        let sums = self.core.scratch("column sums", bytes)?;
        for (part, (offset, bytes)) in rows.parts().zip(&list) {
            let groups = rows.stride.div_ceil(64);
            let blocks = part.n.div_ceil(BLOCK_ROWS);
            let uniform = params::ColumnSum {
                n: words(part.n, "rows of a chunk")?,
                stride4: rows.stride4(),
                column_groups: groups as u32,
                blocks: blocks as u32,
            };
            self.core.launch(&Launch {
                id: Id::ColumnSum,
                entry: 0,
                variant: 0,
                spans: &[whole(part.buffer), Span { buffer: &sums, offset: *offset, bytes: *bytes }],
                params: bytes_of(&uniform),
                groups: (groups * blocks) as u64,
                cost: (part.n * rows.stride) as f64 * 32.0,
            })?;
        }
        let mut out = vec![0.0; rows.d];
        for line in self.read_regions(&sums, &list)?.chunks_exact(rows.stride) {
            out.iter_mut().zip(line).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        Ok(out)
    }

    fn scatter(&self, rows: &Rows, mean: &[f32]) -> Result<Vec<f64>> {
        check_shape("d", rows.d, mean.len(), "mean")?;
        let _turn = self.core.turn()?;
        let (d, stride) = (rows.d, rows.stride);
        let block_bytes = stride * stride * 4;
        let tiles = stride.div_ceil(64);
        let cost = (SCATTER_ROWS * stride * stride) as f64;
        let batch = (SLICE_BYTES / block_bytes).min((self.core.launch_cost() / cost) as usize).max(1);
        let mut line = Vec::new();
        pad(mean, d, stride, &mut line);
        line.resize(stride, 0.0);
        let means = self.core.scratch("mean", byte_size(1, stride))?;
        self.core.write(&means, 0, bytemuck::cast_slice(&line))?;
        let mut out = vec![0.0; d * d];
        for part in rows.parts() {
            let all = part.n.div_ceil(SCATTER_ROWS);
            for first in (0..all).step_by(batch) {
                let blocks = batch.min(all - first);
                let bytes = (blocks * block_bytes) as u64;
                let sums = self.core.scratch("scatter sums", bytes)?;
                let uniform = params::Covariance {
                    n: words(part.n, "rows of a chunk")?,
                    first_row: (first * SCATTER_ROWS) as u32,
                    stride4: rows.stride4(),
                    tiles: tiles as u32,
                    block_rows: SCATTER_ROWS as u32,
                    blocks: blocks as u32,
                    zero: 0,
                    unused: 0,
                };
                self.core.launch(&Launch {
                    id: Id::Covariance,
                    entry: 0,
                    variant: 1,
                    spans: &[whole(part.buffer), whole(&means), whole(&sums)],
                    params: bytes_of(&uniform),
                    groups: (tiles * tiles * blocks) as u64,
                    cost: cost * blocks as f64,
                })?;
                let values: Vec<f32> = self.core.read(&[Span { buffer: &sums, offset: 0, bytes }])?;
                for block in values.chunks_exact(stride * stride) {
                    for a in 0..d {
                        for b in a..d {
                            out[a * d + b] += f64::from(block[a * stride + b]);
                        }
                    }
                }
            }
        }
        for a in 0..d {
            for b in 0..a {
                out[a * d + b] = out[b * d + a];
            }
        }
        Ok(out)
    }

    fn project(&self, rows: &Rows, mean: &[f32], components: &[f32], scales: &[f32]) -> Result<Rows> {
        self.projected(rows, mean, components, scales)
    }
}
