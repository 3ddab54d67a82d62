//! The [`Backend`] methods: each checks shapes, records its kernels chunk by chunk, and reads back what it returns.

use super::Gpu;
use super::device::lock;
use super::dispatch::{Launch, Span, whole};
use super::kernel::{Id, TILES};
use super::levels;
use super::resident::{Codebook, PAD, Part, Partition, Rows, Seeding, pad, scale_bias};
use crate::compute::params;
use crate::compute::{Assigned, Backend, BeamCodes, DeviceInfo, DeviceKind, HostPartition, LevelCodes, Metric};
use crate::error::{Error, Result, check_shape};
use bytemuck::bytes_of;
use std::time::Instant;

/// Rows of one centroid piece, at least.
const PIECE_ROWS: u32 = 256;
/// Rows of one block of `row_norm`'s, `column_sum`'s and `seeding`'s partial sums.
const BLOCK_ROWS: usize = 1024;
/// Rows of one block of `covariance`.
const SCATTER_ROWS: usize = 8192;
/// Entries of `tally`'s table at most.
const TABLE_ENTRIES: usize = 1 << 24;
/// Bytes of intermediate results at most, where the size is free.
pub(super) const SLICE_BYTES: usize = 64 << 20;
/// Candidates of one k-means++ step at most.
const MAX_CANDIDATES: usize = 64;

/// Offset of a binding must be a multiple of this many bytes, everywhere.
const ALIGN: u64 = 256;

/// Regions of one buffer, each of so many bytes, at aligned offsets. Returns them and the bytes of all.
fn regions(sizes: impl Iterator<Item = usize>) -> (Vec<(u64, u64)>, u64) {
    let mut end = 0u64;
    let list = sizes
        .map(|bytes| {
            let offset = end.next_multiple_of(ALIGN);
            end = offset + bytes as u64;
            (offset, bytes as u64)
        })
        .collect();
    (list, end)
}

pub(super) fn words(value: usize, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Data(format!("{what} = {value} is above {}", u32::MAX)))
}

impl Gpu {
    fn part_words(part: Part<'_>, rows: &Rows) -> Result<params::Rows> {
        Ok(params::Rows { n: words(part.n, "rows of a chunk")?, stride4: rows.stride4() })
    }

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

    pub(super) fn norm_regions(rows: &Rows) -> (Vec<(u64, u64)>, u64) {
        regions(rows.parts().map(|part| part.n * 4))
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

    fn read_regions(&self, buffer: &wgpu::Buffer, list: &[(u64, u64)]) -> Result<Vec<f32>> {
        let spans: Vec<_> =
            list.iter().map(|(offset, bytes)| Span { buffer, offset: *offset, bytes: *bytes }).collect();
        self.core.read(&spans)
    }

    /// Sums the rows of each label piece by piece; returns the pieces, and on the device
    /// the pieces, the first piece of every label, and the sums.
    fn record_pieces(
        &self,
        rows: &Rows,
        partition: &Partition,
        k: usize,
    ) -> Result<(Vec<[u32; 4]>, [wgpu::Buffer; 3])> {
        check_shape("rows", rows.n, partition.n, "partition")?;
        let starts = partition.starts_for(k)?;
        let limit = self.core.limits.max_storage_buffer_binding_size;
        let count = |length: u32| -> u64 { starts.windows(2).map(|w| u64::from((w[1] - w[0]).div_ceil(length))).sum() };
        let mut length = PIECE_ROWS;
        // Longer pieces where their sums would outgrow a binding; a lane's loop stays short of 65,535 trips.
        while count(length) * (rows.stride * 4) as u64 > limit && length < 1 << 15 {
            length *= 2;
        }
        let mut pieces: Vec<[u32; 4]> = Vec::with_capacity(count(length) as usize);
        let mut first = Vec::with_capacity(k + 1);
        for (j, pair) in starts.windows(2).enumerate() {
            first.push(pieces.len() as u32);
            let mut at = pair[0];
            while at < pair[1] {
                let end = pair[1].min(at + length);
                pieces.push([j as u32, at, end, 0]);
                at = end;
            }
        }
        first.push(pieces.len() as u32);
        let bytes = (pieces.len() * rows.stride * 4) as u64;
        let sums = self.core.scratch("piece sums", bytes)?;
        let list = self.core.scratch("pieces", (pieces.len() * 16) as u64)?;
        let firsts = self.core.scratch("first pieces", (first.len() * 4) as u64)?;
        if pieces.is_empty() {
            return Ok((pieces, [list, firsts, sums]));
        }
        // Both before anything is recorded: a write submits what is recorded.
        self.core.write(&list, 0, bytemuck::cast_slice(&pieces))?;
        self.core.write(&firsts, 0, bytemuck::cast_slice(&first))?;
        self.core.clear(&sums, bytes);
        let Some(order) = &partition.order else {
            return Err(Error::Data("the partition is not tallied".into()));
        };
        let variant = if rows.stride <= 16 { 0 } else { usize::from(rows.stride > 64) + 1 };
        for part in rows.parts() {
            let uniform = params::Centroid {
                first_row: words(part.start, "row")?,
                end_row: words(part.start + part.n, "row")?,
                stride4: rows.stride4(),
                pieces: words(pieces.len(), "pieces")?,
                k: k as u32,
                cosine: 0,
            };
            self.core.launch(&Launch {
                id: Id::Centroid,
                entry: 0,
                variant,
                spans: &[whole(part.buffer), whole(order), whole(&list), whole(&sums)],
                params: bytes_of(&uniform),
                groups: pieces.len() as u64,
                cost: (part.n * rows.stride) as f64 * 32.0,
            })?;
        }
        Ok((pieces, [list, firsts, sums]))
    }

    /// Sums of `min(nearest, table)` a block of rows, and with no slots of `nearest` alone; `[slots, blocks]` a chunk.
    fn potentials(&self, seeding: &Seeding, slots: usize) -> Result<Vec<Vec<f32>>> {
        let parts: Vec<_> = (0..seeding.n)
            .step_by(seeding.chunk_rows)
            .map(|start| (start, seeding.chunk_rows.min(seeding.n - start)))
            .collect();
        let lines = slots.max(1);
        let (list, bytes) = regions(parts.iter().map(|(_, n)| n.div_ceil(BLOCK_ROWS) * lines * 4));
        let sums = self.core.scratch("seeding sums", bytes)?;
        let none = self.core.scratch("no table", 16)?;
        for (i, ((start, n), (offset, bytes))) in parts.iter().zip(&list).enumerate() {
            let uniform = params::Seeding {
                n: words(*n, "rows of a chunk")?,
                padded: n.next_multiple_of(PAD) as u32,
                slots: slots as u32,
                blocks: n.div_ceil(BLOCK_ROWS) as u32,
                ..Default::default()
            };
            let nearest = Span { buffer: &seeding.nearest, offset: (start * 4) as u64, bytes: (n * 4) as u64 };
            let table = if slots == 0 { &none } else { &seeding.tables[i] };
            self.core.launch(&Launch {
                id: Id::Seeding,
                entry: 2,
                variant: 0,
                spans: &[whole(table), nearest, Span { buffer: &sums, offset: *offset, bytes: *bytes }],
                params: bytes_of(&uniform),
                groups: (n.div_ceil(BLOCK_ROWS) * lines) as u64,
                cost: (n * lines) as f64 * 64.0,
            })?;
        }
        let flat = self.read_regions(&sums, &list)?;
        let mut out = vec![Vec::new(); lines];
        let mut at = 0;
        for (_, n) in &parts {
            let blocks = n.div_ceil(BLOCK_ROWS);
            for line in &mut out {
                line.extend_from_slice(&flat[at..at + blocks]);
                at += blocks;
            }
        }
        Ok(out)
    }

    fn slot_sums(&self, seeding: &Seeding) -> Result<Vec<f64>> {
        let lines = self.potentials(seeding, seeding.slots)?;
        Ok(lines.iter().take(seeding.slots).map(|line| line.iter().map(|v| f64::from(*v)).sum()).collect())
    }
}

impl Backend for Gpu {
    type Rows = Rows;
    type Codebook = Codebook;
    type Partition = Partition;
    type Seeding = Seeding;

    fn info(&self) -> DeviceInfo {
        Gpu::info(self)
    }

    fn dot_error(&self, dims: usize) -> f64 {
        let m = (32 + dims.div_ceil(32) + 2) as f64;
        m * self.unit_roundoff() / (1.0 - m * self.unit_roundoff())
    }

    fn unit_roundoff(&self) -> f64 {
        1.0 / f64::from(1u32 << 23)
    }

    fn upload_rows(&self, n: usize, d: usize, fill: &mut dyn FnMut(usize, &mut [f32]) -> Result<()>) -> Result<Rows> {
        let rows = {
            let _turn = self.core.turn()?;
            Rows::new(&self.core, n, d)?
        };
        let line_bytes = rows.stride * 4;
        if line_bytes as u64 > self.core.piece_bytes() {
            return Err(Error::Data(format!("d = {d} is more than the device path takes in one row")));
        }
        let step = (self.core.piece_bytes() as usize / line_bytes).max(1);
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        for part in rows.parts() {
            for at in (0..part.n).step_by(step) {
                let count = step.min(part.n - at);
                values.resize(count * d, 0.0f32);
                fill(part.start + at, &mut values)?;
                let bytes: &[u8] = if d == rows.stride {
                    bytemuck::cast_slice(&values)
                } else {
                    pad(&values, d, rows.stride, &mut lines);
                    lines.resize(count * rows.stride, 0.0);
                    bytemuck::cast_slice(&lines)
                };
                // Taken piece by piece, since `fill` may call back into this device.
                let _turn = self.core.turn()?;
                self.core.send(part.buffer, (at * line_bytes) as u64, bytes)?;
            }
        }
        Ok(rows)
    }

    fn read_rows(&self, rows: &Rows, start: usize, out: &mut [f32]) -> Result<()> {
        let count = out.len() / rows.d.max(1);
        check_shape("values", count * rows.d, out.len(), "read buffer")?;
        if start + count > rows.n {
            return Err(Error::Data(format!("rows {start}..{} of {}", start + count, rows.n)));
        }
        let _turn = self.core.turn()?;
        let line = (rows.stride * 4) as u64;
        let (mut at, mut spans) = (start, Vec::new());
        while at < start + count && rows.d > 0 {
            let end = (start + count).min((at / rows.chunk_rows + 1) * rows.chunk_rows);
            spans.push(Span { bytes: (end - at) as u64 * line, ..rows.row(at) });
            at = end;
        }
        let lines: Vec<f32> = self.core.read(&spans)?;
        for (to, from) in out.chunks_exact_mut(rows.d.max(1)).zip(lines.chunks_exact(rows.stride)) {
            to.copy_from_slice(&from[..rows.d]);
        }
        Ok(())
    }

    fn shape(&self, rows: &Rows) -> (usize, usize) {
        (rows.n, rows.d)
    }

    fn gather_rows(&self, rows: &Rows, indices: &[u32]) -> Result<Rows> {
        if let Some(row) = indices.iter().find(|row| **row as usize >= rows.n) {
            return Err(Error::Data(format!("row {row} of {}", rows.n)));
        }
        let _turn = self.core.turn()?;
        let out = Rows::new(&self.core, indices.len(), rows.d)?;
        for (to, from) in indices.iter().enumerate() {
            let place = out.row(to);
            self.core.copy(rows.row(*from as usize), place.buffer, place.offset);
            // Copies are cheap but many: they go in batches.
            if to % 4096 == 4095 {
                self.core.flush()?;
            }
        }
        self.core.flush()?;
        Ok(out)
    }

    fn codebook(&self, k: usize, d: usize, values: &[f32], metric: Metric) -> Result<Codebook> {
        let _turn = self.core.turn()?;
        Codebook::new(&self.core, k, d, values, metric)
    }

    fn read_codebook(&self, codebook: &Codebook) -> Result<Vec<f32>> {
        let _turn = self.core.turn()?;
        let bytes = (codebook.k * codebook.stride * 4) as u64;
        let lines: Vec<f32> = self.core.read(&[Span { buffer: &codebook.values, offset: 0, bytes }])?;
        let rows = lines.chunks_exact(codebook.stride);
        Ok(rows.flat_map(|line| &line[..codebook.d]).copied().collect())
    }

    fn set_codewords(&self, codebook: &mut Codebook, changes: &[(u32, Vec<f32>)]) -> Result<()> {
        let _turn = self.core.turn()?;
        let mut line = Vec::new();
        for (j, values) in changes {
            check_shape("d", codebook.d, values.len(), format!("codeword {j}"))?;
            if *j as usize >= codebook.k {
                return Err(Error::Data(format!("codeword {j} of {}", codebook.k)));
            }
            pad(values, codebook.d, codebook.stride, &mut line);
            line.resize(codebook.stride, 0.0);
            let pair = scale_bias(values, codebook.metric);
            self.core.write(
                &codebook.values,
                u64::from(*j) * (codebook.stride * 4) as u64,
                bytemuck::cast_slice(&line),
            )?;
            self.core.write(&codebook.scale_bias, u64::from(*j) * 8, bytemuck::cast_slice(&pair))?;
        }
        Ok(())
    }

    fn partition(&self, n: usize) -> Result<Partition> {
        let _turn = self.core.turn()?;
        Partition::new(&self.core, n)
    }

    fn partition_from(&self, labels: &[u32]) -> Result<Partition> {
        let _turn = self.core.turn()?;
        let partition = Partition::new(&self.core, labels.len())?;
        for (i, piece) in labels.chunks(self.core.piece_bytes() as usize / 4).enumerate() {
            self.core.send(&partition.labels, i as u64 * self.core.piece_bytes(), bytemuck::cast_slice(piece))?;
        }
        self.core.clear(&partition.best, partition.best.size());
        self.core.clear(&partition.second, partition.second.size());
        Ok(partition)
    }

    fn read_partition(&self, partition: &Partition) -> Result<HostPartition> {
        let _turn = self.core.turn()?;
        let span = |buffer| partition.span(buffer, 0, partition.n);
        let all: Vec<u32> =
            self.core.read(&[span(&partition.labels), span(&partition.best), span(&partition.second)])?;
        let n = partition.n;
        let floats = |bits: &[u32]| bits.iter().map(|b| f32::from_bits(*b)).collect();
        Ok(HostPartition { labels: all[..n].to_vec(), best: floats(&all[n..2 * n]), second: floats(&all[2 * n..]) })
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

    fn assign(&self, rows: &Rows, codebook: &Codebook, partition: &mut Partition) -> Result<Assigned> {
        let _turn = self.core.turn()?;
        let (partials, list) = self.record_assign_all(rows, codebook, partition)?;
        let sums = self.read_regions(&partials, &list)?;
        Ok(Assigned { score_sum: sums.iter().map(|v| f64::from(*v)).sum() })
    }

    fn tally(&self, partition: &mut Partition, k: usize) -> Result<Vec<u32>> {
        let _turn = self.core.turn()?;
        let n = partition.n;
        if n == 0 || k == 0 {
            partition.starts = Some(vec![0; k + 1]);
            return Ok(vec![0; k]);
        }
        // Few enough blocks that the table stays small, enough that the device is busy.
        let block_rows = (n.div_ceil((TABLE_ENTRIES / k).max(1))).max(2048).next_multiple_of(256);
        let blocks = n.div_ceil(block_rows);
        let entries = words(k * blocks, "entries of the counting table")?;
        let runs = entries.div_ceil(1024);
        let table = self.core.scratch("tally table", u64::from(entries) * 4)?;
        let sums = self.core.scratch("tally sums", u64::from(runs) * 4)?;
        let starts = self.core.scratch("tally starts", (k as u64 + 1) * 4)?;
        if partition.order.is_none() {
            partition.order = Some(self.core.allocate_bindable("rows by label", (n * 4) as u64)?);
        }
        let Some(order) = &partition.order else { return Err(Error::Device("no order buffer".into())) };
        let labels = partition.span(&partition.labels, 0, n);
        let uniform = params::Tally {
            n: words(n, "rows")?,
            k: k as u32,
            block_rows: block_rows as u32,
            blocks: blocks as u32,
            entries,
            entry_groups: runs,
        };
        self.core.clear(&table, u64::from(entries) * 4);
        let (table, sums_span, starts_span) = (whole(&table), whole(&sums), whole(&starts));
        let cost = n as f64 * 256.0;
        let steps: [(&[Span<'_>], u64, f64); 5] = [
            (&[labels, table], blocks as u64, n as f64 * 32.0),
            (&[table, sums_span], u64::from(runs), f64::from(entries) * 64.0),
            (&[sums_span, starts_span], 1, f64::from(runs) * 64.0),
            (&[table, sums_span, starts_span], u64::from(entries.div_ceil(256)), f64::from(entries) * 64.0),
            (&[labels, table, whole(order)], blocks as u64, cost),
        ];
        for (entry, (spans, groups, cost)) in steps.into_iter().enumerate() {
            self.core.launch(&Launch {
                id: Id::Tally,
                entry,
                variant: 0,
                spans,
                params: bytes_of(&uniform),
                groups,
                cost,
            })?;
        }
        let read: Vec<u32> = self.core.read(&[Span { buffer: &starts, offset: 0, bytes: (k as u64 + 1) * 4 }])?;
        let counts = read.windows(2).map(|w| w[1] - w[0]).collect();
        partition.starts = Some(read);
        Ok(counts)
    }

    fn update(&self, rows: &Rows, partition: &mut Partition, codebook: &mut Codebook, weights: &[f32]) -> Result<()> {
        check_shape("d", rows.d, codebook.d, "codebook")?;
        check_shape("k", codebook.k, weights.len(), "weights")?;
        let _turn = self.core.turn()?;
        let weight_list = self.core.scratch("weights", (weights.len() * 4) as u64)?;
        self.core.write(&weight_list, 0, bytemuck::cast_slice(weights))?;
        let (pieces, [list, firsts, sums]) = self.record_pieces(rows, partition, codebook.k)?;
        if pieces.is_empty() {
            return Ok(());
        }
        let uniform = params::Centroid {
            stride4: rows.stride4(),
            pieces: pieces.len() as u32,
            k: codebook.k as u32,
            cosine: u32::from(codebook.metric == Metric::Cosine),
            ..Default::default()
        };
        self.core.launch(&Launch {
            id: Id::Centroid,
            entry: 1,
            variant: 0,
            spans: &[
                whole(&list),
                whole(&sums),
                whole(&firsts),
                whole(&weight_list),
                whole(&codebook.values),
                whole(&codebook.scale_bias),
            ],
            params: bytes_of(&uniform),
            groups: codebook.k as u64,
            cost: (pieces.len() * rows.stride) as f64 * 32.0,
        })?;
        self.core.flush()?;
        Ok(())
    }

    fn centroid_sums(&self, rows: &Rows, partition: &mut Partition, k: usize) -> Result<Vec<f64>> {
        let _turn = self.core.turn()?;
        let (pieces, [_, _, sums]) = self.record_pieces(rows, partition, k)?;
        let bytes = (pieces.len() * rows.stride * 4) as u64;
        let lines: Vec<f32> = self.core.read(&[Span { buffer: &sums, offset: 0, bytes }])?;
        let mut out = vec![0.0; k * rows.d];
        for (piece, line) in pieces.iter().zip(lines.chunks_exact(rows.stride)) {
            let at = piece[0] as usize * rows.d;
            out[at..at + rows.d].iter_mut().zip(line).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        Ok(out)
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
        let means = self.core.scratch("mean", (stride * 4) as u64)?;
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
        let means = self.core.scratch("mean", (rows.stride * 4) as u64)?;
        self.core.write(&means, 0, bytemuck::cast_slice(&line))?;
        line.clear();
        line.extend_from_slice(scales);
        // No scales stand for ones; padding columns stay 0.
        line.resize(p, 1.0);
        line.resize(out.stride, 0.0);
        let factors = self.core.scratch("scales", (out.stride * 4) as u64)?;
        self.core.write(&factors, 0, bytemuck::cast_slice(&line))?;
        let lines = p.max(1).next_multiple_of(PAD) * rows.stride;
        let matrix = if components.is_empty() {
            None
        } else {
            pad(components, d, rows.stride, &mut line);
            line.resize(lines, 0.0);
            let matrix = self.core.scratch("components", (lines * 4) as u64)?;
            self.core.write(&matrix, 0, bytemuck::cast_slice(&line))?;
            Some(matrix)
        };
        // Chunks of the two sides differ in height; segments lie in one chunk of each and start at multiples of 128 rows.
        let mut at = 0;
        while at < rows.n {
            let (i, o) = (at / rows.chunk_rows, at / out.chunk_rows);
            let end = rows.n.min((i + 1) * rows.chunk_rows).min((o + 1) * out.chunk_rows);
            let span = |side: &Rows, chunk: usize| -> (u64, u64) {
                let line = (side.stride * 4) as u64;
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

    fn seeding(&self, rows: &Rows) -> Result<Seeding> {
        let _turn = self.core.turn()?;
        let nearest = self.core.allocate("nearest", (rows.n.next_multiple_of(PAD) * 4) as u64)?;
        let values = vec![f32::MAX; (self.core.piece_bytes() as usize / 4).min(rows.n.max(1))];
        for start in (0..rows.n).step_by(values.len()) {
            let count = values.len().min(rows.n - start);
            self.core.send(&nearest, (start * 4) as u64, bytemuck::cast_slice(&values[..count]))?;
        }
        let chunk_rows = rows.chunk_rows;
        Ok(Seeding { n: rows.n, chunk_rows, nearest, tables: Vec::new(), slots: 0, started: false })
    }

    fn seeding_draw(&self, seeding: &Seeding, uniforms: &[f64]) -> Result<Vec<u32>> {
        let uniform = |u: &f64| ((u * seeding.n as f64) as usize).min(seeding.n.saturating_sub(1)) as u32;
        if seeding.n == 0 && !uniforms.is_empty() {
            return Err(Error::Data("there is no row to draw".into()));
        }
        if !seeding.started {
            return Ok(uniforms.iter().map(uniform).collect());
        }
        let _turn = self.core.turn()?;
        let sums = self.potentials(seeding, 0)?.remove(0);
        let total: f64 = sums.iter().map(|v| f64::from(*v)).sum();
        // Every row coincides with a chosen codeword: any row is as good as any other.
        if total.is_nan() || total <= 0.0 {
            return Ok(uniforms.iter().map(uniform).collect());
        }
        // Blocks restart at every chunk.
        let mut blocks = Vec::with_capacity(sums.len());
        for start in (0..seeding.n).step_by(seeding.chunk_rows) {
            let end = seeding.n.min(start + seeding.chunk_rows);
            blocks.extend((start..end).step_by(BLOCK_ROWS).map(|at| (at, end.min(at + BLOCK_ROWS))));
        }
        let last = sums.iter().rposition(|s| *s > 0.0).unwrap_or(0);
        let mut picks = Vec::with_capacity(uniforms.len());
        for u in uniforms {
            let (mut left, mut block) = (u * total, 0);
            while block < last && left >= f64::from(sums[block]) {
                left -= f64::from(sums[block]);
                block += 1;
            }
            picks.push((block, left));
        }
        let spans: Vec<_> = picks
            .iter()
            .map(|(block, _)| {
                let (start, end) = blocks[*block];
                Span { buffer: &seeding.nearest, offset: (start * 4) as u64, bytes: ((end - start) * 4) as u64 }
            })
            .collect();
        let values: Vec<f32> = self.core.read(&spans)?;
        let (mut at, mut rows) = (0, Vec::with_capacity(picks.len()));
        for (block, mut left) in picks {
            let (start, end) = blocks[block];
            let weights = &values[at..at + end - start];
            at += end - start;
            let mut pick = None;
            for (i, w) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                // Rounding may leave a remainder past the last weight: then the last row with any weight is drawn.
                pick = Some(start + i);
                if left < f64::from(*w) {
                    break;
                }
                left -= f64::from(*w);
            }
            rows.push(pick.unwrap_or(start) as u32);
        }
        Ok(rows)
    }

    fn seeding_try(&self, rows: &Rows, seeding: &mut Seeding, candidates: &[u32]) -> Result<Vec<f64>> {
        check_shape("rows", rows.n, seeding.n, "seeding")?;
        if candidates.is_empty() || candidates.len() > MAX_CANDIDATES {
            return Err(Error::Data(format!("{} candidates, 1 to {MAX_CANDIDATES} can be tried", candidates.len())));
        }
        if let Some(row) = candidates.iter().find(|row| **row as usize >= rows.n) {
            return Err(Error::Data(format!("candidate row {row} of {}", rows.n)));
        }
        let _turn = self.core.turn()?;
        seeding.slots = candidates.len();
        let line = (rows.stride * 4) as u64;
        let values = self.core.scratch("candidates", MAX_CANDIDATES as u64 * line)?;
        for (slot, row) in candidates.iter().enumerate() {
            self.core.copy(rows.row(*row as usize), &values, slot as u64 * line);
        }
        let variant = usize::from(candidates.len() > 16);
        let bm = if variant == 0 { 128 } else { 64 };
        for (i, part) in rows.parts().enumerate() {
            let padded = part.n.next_multiple_of(PAD);
            let bytes = (candidates.len() * padded * 4) as u64;
            if seeding.tables.get(i).is_none_or(|t| t.size() < bytes) {
                let table = self.core.allocate_bindable("seeding table", bytes)?;
                seeding.tables.truncate(i);
                seeding.tables.push(table);
            }
            let uniform = params::Seeding {
                n: words(part.n, "rows of a chunk")?,
                stride4: rows.stride4(),
                depth: (rows.stride / 16) as u32,
                row_tiles: part.n.div_ceil(bm) as u32,
                padded: padded as u32,
                slots: candidates.len() as u32,
                slot: 0,
                blocks: 0,
            };
            self.core.launch(&Launch {
                id: Id::Seeding,
                entry: 0,
                variant,
                spans: &[whole(part.buffer), whole(&values), whole(&seeding.tables[i])],
                params: bytes_of(&uniform),
                groups: part.n.div_ceil(bm) as u64,
                cost: (part.n * rows.stride) as f64 * if variant == 0 { 48.0 } else { 192.0 },
            })?;
        }
        self.slot_sums(seeding)
    }

    fn seeding_accept(&self, seeding: &mut Seeding, slot: usize) -> Result<Vec<f64>> {
        if slot >= seeding.slots {
            return Err(Error::Data(format!("candidate {slot} of {}", seeding.slots)));
        }
        let _turn = self.core.turn()?;
        for (i, start) in (0..seeding.n).step_by(seeding.chunk_rows).enumerate() {
            let n = seeding.chunk_rows.min(seeding.n - start);
            let uniform = params::Seeding {
                n: n as u32,
                padded: n.next_multiple_of(PAD) as u32,
                slot: slot as u32,
                ..Default::default()
            };
            let nearest = Span { buffer: &seeding.nearest, offset: (start * 4) as u64, bytes: (n * 4) as u64 };
            self.core.launch(&Launch {
                id: Id::Seeding,
                entry: 1,
                variant: 0,
                spans: &[whole(&seeding.tables[i]), nearest],
                params: bytes_of(&uniform),
                groups: n.div_ceil(256) as u64,
                cost: n as f64 * 96.0,
            })?;
        }
        seeding.started = true;
        self.slot_sums(seeding)
    }

    fn assign_levels(&self, rows: &mut Rows, codebooks: &[Codebook], normalize: bool) -> Result<LevelCodes> {
        let _turn = self.core.turn()?;
        levels::assign(self, rows, codebooks, normalize)
    }

    fn beam(&self, rows: &Rows, codebooks: &[Codebook], gram: &[Vec<f32>], width: usize) -> Result<BeamCodes> {
        let _turn = self.core.turn()?;
        levels::beam(self, rows, codebooks, gram, width)
    }
}
