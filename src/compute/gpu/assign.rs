//! Rows against codewords: `assign` and its tiles, `distance`, `residual`.

use super::Gpu;
use super::backend::{SLICE_BYTES, regions};
use super::device::lock;
use super::dispatch::{Launch, Span, whole};
use super::kernel::{Id, TILES};
use super::resident::{Codebook, PAD, Part, Partition, Rows};
use crate::compute::{Assigned, DeviceKind, params};
use crate::error::{Result, check_shape};
use bytemuck::bytes_of;
use std::time::Instant;

impl Gpu {
    /// Records `assign` for one chunk with a given tile, rows `first..first + n` of it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn record_assign(
        &self,
        rows: &Rows,
        part: Part<'_>,
        codebook: &Codebook,
        partition: &Partition,
        partials: Span<'_>,
        tile: usize,
        limit: usize,
    ) -> Result<()> {
        let variant = &TILES[tile];
        let (bm, bn, bk) = (variant.get("BM") as usize, variant.get("BN") as usize, variant.get("BK") as usize);
        let n = part.n.min(limit);
        let tiles = n.div_ceil(bm);
        let columns = codebook.k.div_ceil(bn);
        let tile_cost = 2.0 * (bm * columns * bn * rows.stride) as f64;
        let step = ((self.core.launch_cost() / tile_cost) as usize).max(1);
        for first in (0..tiles).step_by(step) {
            let last = tiles.min(first + step);
            let uniform = params::Assign {
                n: n as u32,
                first_tile: first as u32,
                stride4: rows.stride4(),
                column_tiles: columns as u32,
                depth: (rows.stride / bk) as u32,
                first_partial: 0,
                row_tiles: last as u32,
                zero: 0,
            };
            self.core.launch(&Launch {
                id: Id::Assign,
                entry: 0,
                variant: tile,
                spans: &[
                    whole(part.buffer),
                    whole(&codebook.values),
                    whole(&codebook.scale_bias),
                    partition.span(&partition.labels, part.start, part.n),
                    partition.span(&partition.best, part.start, part.n),
                    partition.span(&partition.second, part.start, part.n),
                    partials,
                ],
                params: bytes_of(&uniform),
                groups: (last - first) as u64,
                cost: tile_cost * (last - first) as f64,
            })?;
        }
        Ok(())
    }

    /// Records `assign` for all rows; returns the partial sums' spans.
    pub(super) fn record_assign_all(
        &self,
        rows: &Rows,
        codebook: &Codebook,
        partition: &mut Partition,
    ) -> Result<(wgpu::Buffer, Vec<(u64, u64)>)> {
        check_shape("d", rows.d, codebook.d, "codebook")?;
        check_shape("rows", rows.n, partition.n, "partition")?;
        partition.starts = None;
        // Four partial sums for every 128 rows, whatever the tile.
        let (list, bytes) = regions(rows.parts().map(|part| part.n.div_ceil(PAD) * 4 * 4));
        let partials = self.core.scratch("assign partials", bytes)?;
        let tile = self.tile(rows, codebook, partition, &partials)?;
        for (part, (offset, bytes)) in rows.parts().zip(&list) {
            let span = Span { buffer: &partials, offset: *offset, bytes: *bytes };
            self.record_assign(rows, part, codebook, partition, span, tile, usize::MAX)?;
        }
        let list = rows.parts().zip(list).map(|(part, (offset, _))| (offset, part.n.div_ceil(32) as u64 * 4));
        Ok((partials.clone(), list.collect()))
    }

    /// The tile for a shape: the smallest for little work and on software devices; else the fastest in a short trial, kept
    /// for the class of shape.
    fn tile(&self, rows: &Rows, codebook: &Codebook, partition: &Partition, partials: &wgpu::Buffer) -> Result<usize> {
        let (n, k, d) = (rows.n, codebook.k, rows.stride);
        let class = format!("assign d{} k{}", d.next_power_of_two(), k.next_power_of_two().max(32));
        if let Some(name) = lock(&self.tiles).get(&class) {
            return Ok(TILES.iter().position(|t| t.name == name).unwrap_or(0));
        }
        let work = 2.0 * n as f64 * k as f64 * d as f64;
        if self.core.info.kind == DeviceKind::SoftwareGpu || work < 1e10 {
            // Too little to be worth a trial; a larger tile would leave most of the device idle.
            return Ok(if n * k > 1 << 22 && self.core.info.kind == DeviceKind::Gpu { 1 } else { 0 });
        }
        let Some(part) = rows.parts().next() else { return Ok(0) };
        // Enough row tiles of the largest size to fill a large device twice.
        let limit = part.n.min(256 * PAD);
        let span = Span { buffer: partials, offset: 0, bytes: (limit.div_ceil(PAD) * 16) as u64 };
        let mut fastest = (0, f64::INFINITY);
        for tile in 0..TILES.len() {
            for round in 0..3 {
                self.core.finish()?;
                let start = Instant::now();
                self.record_assign(rows, part, codebook, partition, span, tile, limit)?;
                self.core.finish()?;
                let seconds = start.elapsed().as_secs_f64();
                // The first round compiles and warms up.
                if round > 0 && seconds < fastest.1 {
                    fastest = (tile, seconds);
                }
            }
        }
        tracing::debug!(class, tile = TILES[fastest.0].name, seconds = fastest.1, "chose a tile");
        lock(&self.tiles).insert(class, TILES[fastest.0].name.to_owned());
        Ok(fastest.0)
    }

    pub(super) fn assign(&self, rows: &Rows, codebook: &Codebook, partition: &mut Partition) -> Result<Assigned> {
        let _turn = self.core.turn()?;
        let (partials, list) = self.record_assign_all(rows, codebook, partition)?;
        let sums = self.read_regions(&partials, &list)?;
        Ok(Assigned { score_sum: sums.iter().map(|v| f64::from(*v)).sum() })
    }

    pub(super) fn distances(&self, rows: &Rows, codebook: &Codebook) -> Result<Vec<f32>> {
        check_shape("d", rows.d, codebook.d, "codebook")?;
        let _turn = self.core.turn()?;
        let columns = codebook.k.div_ceil(64);
        let cost = 3.0 * (64 * columns * 64 * rows.stride) as f64;
        let step = (SLICE_BYTES / (codebook.k * 4 * 64)).min((self.core.launch_cost() / cost) as usize).max(1) * 64;
        let mut out = Vec::with_capacity(rows.n * codebook.k);
        for part in rows.parts() {
            for first in (0..part.n).step_by(step) {
                let count = step.min(part.n - first);
                let bytes = (count * codebook.k * 4) as u64;
                let slice = self.core.scratch("distances", bytes)?;
                let tiles = count.div_ceil(64);
                let uniform = params::Distance {
                    n: part.n.min(first + count) as u32,
                    first_row: first as u32,
                    stride4: rows.stride4(),
                    column_tiles: columns as u32,
                    depth: (rows.stride / 16) as u32,
                    k: codebook.k as u32,
                    row_tiles: tiles as u32,
                    zero: 0,
                };
                self.core.launch(&Launch {
                    id: Id::Distance,
                    entry: 0,
                    variant: 1,
                    spans: &[whole(part.buffer), whole(&codebook.values), whole(&slice)],
                    params: bytes_of(&uniform),
                    groups: (tiles * columns) as u64,
                    cost: cost * tiles as f64,
                })?;
                out.extend(self.core.read::<f32>(&[Span { buffer: &slice, offset: 0, bytes }])?);
            }
        }
        Ok(out)
    }

    pub(super) fn farthest(&self, rows: &Rows, partition: &Partition, count: usize) -> Result<Vec<u32>> {
        check_shape("rows", rows.n, partition.n, "partition")?;
        let norms = self.row_norms(rows)?;
        let _turn = self.core.turn()?;
        let best: Vec<f32> = self.core.read(&[partition.span(&partition.best, 0, partition.n)])?;
        let far: Vec<f64> = norms.iter().zip(&best).map(|(n, s)| f64::from(*n) + 2.0 * f64::from(*s)).collect();
        let mut indices: Vec<u32> = (0..rows.n as u32).collect();
        let order = |a: &u32, b: &u32| far[*b as usize].total_cmp(&far[*a as usize]).then(a.cmp(b));
        let count = count.min(rows.n);
        if count > 0 && count < rows.n {
            indices.select_nth_unstable_by(count - 1, order);
        }
        indices.truncate(count);
        indices.sort_unstable_by(order);
        Ok(indices)
    }

    pub(super) fn record_residual(&self, rows: &Rows, codebook: &Codebook, partition: &Partition) -> Result<()> {
        check_shape("d", rows.d, codebook.d, "codebook")?;
        check_shape("rows", rows.n, partition.n, "partition")?;
        for part in rows.parts() {
            self.core.launch(&Launch {
                id: Id::Residual,
                entry: 0,
                variant: 0,
                spans: &[
                    whole(part.buffer),
                    whole(&codebook.values),
                    partition.span(&partition.labels, part.start, part.n),
                ],
                params: bytes_of(&Self::part_words(part, rows)?),
                groups: (part.n * rows.stride / 4).div_ceil(256) as u64,
                cost: (part.n * rows.stride) as f64 * 64.0,
            })?;
        }
        Ok(())
    }

    pub(super) fn residual(&self, rows: &mut Rows, codebook: &Codebook, partition: &Partition) -> Result<()> {
        let _turn = self.core.turn()?;
        self.record_residual(rows, codebook, partition)?;
        self.core.flush()?;
        Ok(())
    }
}
