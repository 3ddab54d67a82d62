//! `project`: centring, projection, scaling.

use super::Gpu;
use super::kernel::{Id, TILES};
use super::record::{Launch, Span, whole};
use super::resident::{PAD, Rows, pad};
use super::sizes::{byte_size, words};
use crate::compute::params;
use crate::error::{Result, check_shape};
use bytemuck::bytes_of;

impl Gpu {
    pub(super) fn projected(&self, rows: &Rows, mean: &[f32], components: &[f32], scales: &[f32]) -> Result<Rows> {
        let d = rows.d;
        let p = match (scales.len(), components.len()) {
            (0, 0) => d,
            (0, values) => values / d.max(1),
            (p, _) => p,
        };
        check_shape("components", if components.is_empty() { 0 } else { p * d }, components.len(), "components")?;
        if components.is_empty() {
            check_shape("scales", d, p, "scales")?;
        }
        if !mean.is_empty() {
            check_shape("d", d, mean.len(), "mean")?;
        }
        let _turn = self.core.turn()?;
        let out = Rows::new(&self.core, rows.n, p)?;
        let mut line = Vec::new();
        line.extend_from_slice(mean);
        line.resize(rows.stride, 0.0);
        let means = self.core.scratch("mean", byte_size(1, rows.stride))?;
        self.core.write(&means, 0, bytemuck::cast_slice(&line))?;
        line.clear();
        line.extend_from_slice(scales);
        // No scales stand for ones; padding columns stay 0.
        line.resize(p, 1.0);
        line.resize(out.stride, 0.0);
        let factors = self.core.scratch("scales", byte_size(1, out.stride))?;
        self.core.write(&factors, 0, bytemuck::cast_slice(&line))?;
        let lines = p.max(1).next_multiple_of(PAD) * rows.stride;
        let matrix = if components.is_empty() {
            None
        } else {
            pad(components, d, rows.stride, &mut line);
            line.resize(lines, 0.0);
            let matrix = self.core.scratch("components", byte_size(1, lines))?;
            self.core.write(&matrix, 0, bytemuck::cast_slice(&line))?;
            Some(matrix)
        };
        // Chunks of the two sides differ in height; segments lie in one chunk of each and start at multiples of 128 rows.
        let mut at = 0;
        while at < rows.n {
            let (i, o) = (at / rows.chunk_rows, at / out.chunk_rows);
            let end = rows.n.min((i + 1) * rows.chunk_rows).min((o + 1) * out.chunk_rows);
            let span = |side: &Rows, chunk: usize| -> (u64, u64) {
                let line = byte_size(1, side.stride);
                ((at - chunk * side.chunk_rows) as u64 * line, ((end - at).next_multiple_of(PAD)) as u64 * line)
            };
            let (from, to) = (span(rows, i), span(&out, o));
            let from = Span { buffer: &rows.chunks[i], offset: from.0, bytes: from.1 };
            let to = Span { buffer: &out.chunks[o], offset: to.0, bytes: to.1 };
            match &matrix {
                Some(matrix) => {
                    self.record_project(from, rows.stride, end - at, matrix, &means, &factors, to, out.stride)?;
                }
                None => {
                    let uniform = params::Project {
                        n: (end - at) as u32,
                        stride4: rows.stride4(),
                        out_stride4: out.stride4(),
                        ..Default::default()
                    };
                    self.core.launch(&Launch {
                        id: Id::Project,
                        entry: 1,
                        variant: 0,
                        spans: &[from, whole(&means), whole(&factors), to],
                        params: bytes_of(&uniform),
                        groups: ((end - at) * rows.stride / 4).div_ceil(256) as u64,
                        cost: ((end - at) * rows.stride) as f64 * 64.0,
                    })?;
                }
            }
            at = end;
        }
        self.core.flush()?;
        Ok(out)
    }

    /// Records `project` for consecutive rows.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn record_project(
        &self,
        rows: Span<'_>,
        stride: usize,
        n: usize,
        components: &wgpu::Buffer,
        mean: &wgpu::Buffer,
        scales: &wgpu::Buffer,
        out: Span<'_>,
        out_stride: usize,
    ) -> Result<()> {
        // A large tile only where enough of them remain to fill a large device.
        let tile = if n * out_stride >= 512 * 128 * 128 { 3 } else { usize::from(n * out_stride >= 512 * 64 * 64) };
        let (bm, bn) = (TILES[tile].get("BM") as usize, TILES[tile].get("BN") as usize);
        let (tiles, columns) = (n.div_ceil(bm), out_stride.div_ceil(bn));
        let cost = 2.0 * (bm * columns * bn * stride) as f64;
        // Row tiles of a launch start where a binding may start: at multiples of 128 rows.
        let step = (((self.core.launch_cost() / cost) as usize).max(1) * bm).next_multiple_of(PAD);
        for first in (0..n).step_by(step) {
            let count = step.min(n - first);
            let tiles = count.div_ceil(bm).min(tiles);
            let uniform = params::Project {
                n: words(count, "rows")?,
                first_row: 0,
                stride4: (stride / 4) as u32,
                out_stride4: (out_stride / 4) as u32,
                column_tiles: columns as u32,
                depth: stride as u32 / TILES[tile].get("BK"),
                row_tiles: tiles as u32,
                zero: 0,
            };
            let part = |span: Span<'_>, stride: usize| -> (u64, u64) {
                let line = byte_size(1, stride);
                (span.offset + first as u64 * line, count.next_multiple_of(PAD) as u64 * line)
            };
            let (from, to) = (part(rows, stride), part(out, out_stride));
            self.core.launch(&Launch {
                id: Id::Project,
                entry: 0,
                variant: tile,
                spans: &[
                    Span { buffer: rows.buffer, offset: from.0, bytes: from.1 },
                    whole(components),
                    whole(mean),
                    whole(scales),
                    Span { buffer: out.buffer, offset: to.0, bytes: to.1 },
                ],
                params: bytes_of(&uniform),
                groups: (tiles * columns) as u64,
                cost: cost * tiles as f64,
            })?;
        }
        Ok(())
    }
}
