//! Rows against codewords: `assign` and its tiles, `distance`, `residual`.

use super::Gpu;
use super::kernel::{Id, TILES};
use super::record::{Launch, Span, whole};
use super::report::lock;
use super::resident::{Codebook, PAD, Partition, RowChunk, Rows};
use super::sizes::{SLICE_BYTES, byte_size, regions};
use super::variant::{AssignKernel, KernelChoice};
use crate::compute::{AssignmentKernels, AssignmentScores, DeviceKind, RowKernels as _, SoftLoads, params};
use crate::error::{Result, check_shape};
use bytemuck::bytes_of;
use std::time::Instant;

impl Gpu {
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
        partition.label_end = codebook.k as u64;
        // Four partial sums for every 128 rows, whatever the tile.
        let (list, bytes) = regions(rows.parts().map(|part| part.n.div_ceil(PAD) * 4 * 4));
        let partials = self.core.scratch("assign partials", bytes)?;
        let pick = self.pick(rows, codebook, partition, &partials)?;
        for (part, (offset, bytes)) in rows.parts().zip(&list) {
            let span = Span { buffer: &partials, offset: *offset, bytes: *bytes };
            self.record_assign(rows, part, codebook, partition, span, pick, usize::MAX)?;
        }
        let list = rows.parts().zip(list).map(|(part, (offset, _))| (offset, part.n.div_ceil(32) as u64 * 4));
        Ok((partials.clone(), list.collect()))
    }

    /// Records `assign` for the first `limit` rows of one chunk.
    #[allow(clippy::too_many_arguments)]
    fn record_assign(
        &self,
        rows: &Rows,
        part: RowChunk<'_>,
        codebook: &Codebook,
        partition: &Partition,
        partials: Span<'_>,
        pick: KernelChoice,
        limit: usize,
    ) -> Result<()> {
        let (bm, bn, bk) = pick.sides();
        let n = part.n.min(limit);
        let tiles = n.div_ceil(bm);
        let columns = codebook.k.div_ceil(bn);
        let tile_cost = 2.0 * (bm * columns * bn * rows.stride) as f64;
        let step = ((self.core.launch_cost() / tile_cost) as usize).max(1);
        let exponents = if pick.is_split() { Some(self.record_exponents(rows, part, codebook)?) } else { None };
        let mut spans = vec![
            whole(part.buffer),
            whole(&codebook.values),
            whole(&codebook.scale_bias),
            partition.span(&partition.labels, part.start, part.n),
            partition.span(&partition.best, part.start, part.n),
            partition.span(&partition.second, part.start, part.n),
            partials,
        ];
        spans.extend(exponents.as_ref().map(whole));
        for first in (0..tiles).step_by(step) {
            let last = tiles.min(first + step);
            let tiled = params::Assign {
                n: n as u32,
                first_tile: first as u32,
                stride4: rows.stride4(),
                column_tiles: columns as u32,
                depth: (rows.stride / bk) as u32,
                first_partial: 0,
                row_tiles: last as u32,
                zero: 0,
            };
            let split = params::AssignSplit {
                n: n as u32,
                first_tile: first as u32,
                stride4: rows.stride4(),
                column_tiles: columns as u32,
                depth: (rows.stride / bk) as u32,
                codeword_exponents: rows.chunk_rows as u32,
                row_tiles: last as u32,
                zero: 0,
            };
            self.core.launch(&Launch {
                id: pick.id,
                entry: 0,
                variant: pick.tile,
                spans: &spans,
                params: if pick.is_split() { bytes_of(&split) } else { bytes_of(&tiled) },
                groups: (last - first) as u64,
                cost: tile_cost * (last - first) as f64,
            })?;
        }
        Ok(())
    }

    /// Records the exponents of a chunk's rows, and behind the place of the largest chunk's those of the codewords.
    fn record_exponents(&self, rows: &Rows, part: RowChunk<'_>, codebook: &Codebook) -> Result<wgpu::Buffer> {
        let words = codebook.k.next_multiple_of(PAD);
        let out = self.core.scratch("exponents", byte_size(1, rows.chunk_rows + words))?;
        let sides = [(part.buffer, part.n.next_multiple_of(PAD), 0), (&codebook.values, words, rows.chunk_rows)];
        for (buffer, n, first) in sides {
            let uniform = params::Exponent { n: n as u32, stride4: rows.stride4(), first: first as u32, unused: 0 };
            self.core.launch(&Launch {
                id: Id::Exponent,
                entry: 0,
                variant: 0,
                spans: &[whole(buffer), whole(&out)],
                params: bytes_of(&uniform),
                groups: n.div_ceil(16) as u64,
                cost: (n * rows.stride) as f64 * 32.0,
            })?;
        }
        Ok(out)
    }

    /// The kernel and tile for a shape: the smallest for little work and on software devices; else the fastest in a short
    /// trial, kept for the class of shape. All that a trial chooses among gives the same bits.
    fn pick(
        &self,
        rows: &Rows,
        codebook: &Codebook,
        partition: &Partition,
        partials: &wgpu::Buffer,
    ) -> Result<KernelChoice> {
        let wish = self.core.options.assign;
        if let AssignKernel::SplitF16 | AssignKernel::Matrix = wish {
            return Ok(KernelChoice { id: wish.id(), tile: 0 });
        }
        let (n, k, d) = (rows.n, codebook.k, rows.stride);
        let class = format!("assign d{} k{}", d.next_power_of_two(), k.next_power_of_two().max(32));
        let known = lock(&self.tiles).get(&class).and_then(|name| KernelChoice::parse(name));
        if let Some(known) = known {
            // A choice kept from another device of the same adapter may ask for what this one lacks.
            return Ok(if wish == AssignKernel::Auto && self.has_subgroups() { known } else { known.with(wish.id()) });
        }
        let at = |tile| KernelChoice { id: wish.id(), tile };
        let work = 2.0 * n as f64 * k as f64 * d as f64;
        if self.core.info.kind == DeviceKind::SoftwareGpu || work < 1e10 {
            // Too little to be worth a trial; a larger tile would leave most of the device idle.
            return Ok(at(usize::from(n * k > 1 << 22 && self.core.info.kind == DeviceKind::Gpu)));
        }
        let Some(part) = rows.parts().next() else { return Ok(at(0)) };
        // Enough row tiles of the largest size to fill a large device twice.
        let limit = part.n.min(256 * PAD);
        let span = Span { buffer: partials, offset: 0, bytes: byte_size(limit.div_ceil(PAD), 4) };
        let mut fastest = (at(0), f64::INFINITY);
        let mut time = |pick: KernelChoice| -> Result<KernelChoice> {
            for round in 0..3 {
                self.core.finish()?;
                let start = Instant::now();
                self.record_assign(rows, part, codebook, partition, span, pick, limit)?;
                self.core.finish()?;
                let seconds = start.elapsed().as_secs_f64();
                // The first round compiles and warms up.
                if round > 0 && seconds < fastest.1 {
                    fastest = (pick, seconds);
                }
            }
            Ok(fastest.0)
        };
        let mut best = at(0);
        for tile in 0..TILES.len() {
            best = time(at(tile))?;
        }
        if wish == AssignKernel::Auto && self.has_subgroups() {
            best = time(best.with(Id::AssignSubgroup))?;
        }
        tracing::debug!(class, tile = best.name(), "chose a tile");
        lock(&self.tiles).insert(class, best.name());
        Ok(best)
    }

    pub(super) fn record_residual(&self, rows: &Rows, codebook: &Codebook, partition: &Partition) -> Result<()> {
        check_shape("d", rows.d, codebook.d, "codebook")?;
        check_shape("rows", rows.n, partition.n, "partition")?;
        partition.check_labels(codebook.k)?;
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
}

impl AssignmentKernels for Gpu {
    fn assign(&self, rows: &Rows, codebook: &Codebook, partition: &mut Partition) -> Result<AssignmentScores> {
        let _turn = self.core.turn()?;
        let (partials, list) = self.record_assign_all(rows, codebook, partition)?;
        let sums = self.read_regions(&partials, &list)?;
        Ok(AssignmentScores { score_sum: sums.iter().map(|v| f64::from(*v)).sum() })
    }

    fn distances(&self, rows: &Rows, codebook: &Codebook) -> Result<Vec<f32>> {
        check_shape("d", rows.d, codebook.d, "codebook")?;
        let _turn = self.core.turn()?;
        let columns = codebook.k.div_ceil(64);
        let cost = 3.0 * (64 * columns * 64 * rows.stride) as f64;
        let step = (SLICE_BYTES / (codebook.k * 4 * 64)).min((self.core.launch_cost() / cost) as usize).max(1) * 64;
        let mut out = Vec::with_capacity(rows.n * codebook.k);
        for part in rows.parts() {
            for first in (0..part.n).step_by(step) {
                let count = step.min(part.n - first);
                let bytes = byte_size(count, codebook.k);
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

    fn loads(&self, rows: &Rows, codebook: &Codebook, epsilon: f32, partition: &mut Partition) -> Result<SoftLoads> {
        self.soft_loads(rows, codebook, epsilon, partition)
    }

    fn farthest(&self, rows: &Rows, partition: &Partition, count: usize) -> Result<Vec<u32>> {
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

    fn residual(&self, rows: &mut Rows, codebook: &Codebook, partition: &Partition) -> Result<()> {
        let _turn = self.core.turn()?;
        self.record_residual(rows, codebook, partition)?;
        self.core.flush()?;
        Ok(())
    }
}
