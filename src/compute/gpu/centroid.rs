//! Rows by label: `tally` and `centroid`.

use super::Gpu;
use super::kernel::Id;
use super::record::{Launch, Span, whole};
use super::resident::{Codebook, Partition, Rows};
use super::sizes::{byte_size, words};
use crate::compute::{CentroidKernels, Metric, params};
use crate::error::{Error, Result, check_shape};
use bytemuck::bytes_of;

/// Rows of one centroid piece, at least.
const PIECE_ROWS: u32 = 256;

/// Entries of `tally`'s table at most.
const TABLE_ENTRIES: usize = 1 << 24;

impl Gpu {
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
        while count(length) * byte_size(1, rows.stride) > limit && length < 1 << 15 {
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
        let bytes = byte_size(pieces.len(), rows.stride);
        let sums = self.core.scratch("piece sums", bytes)?;
        let list = self.core.scratch("pieces", byte_size(pieces.len(), 4))?;
        let firsts = self.core.scratch("first pieces", byte_size(1, first.len()))?;
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
}

impl CentroidKernels for Gpu {
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
        let entries = words(k.saturating_mul(blocks), "entries of the counting table")?;
        let runs = entries.div_ceil(1024);
        let table = self.core.scratch("tally table", u64::from(entries) * 4)?;
        let sums = self.core.scratch("tally sums", u64::from(runs) * 4)?;
        let starts = self.core.scratch("tally starts", (k as u64 + 1) * 4)?;
        if partition.order.is_none() {
            partition.order = Some(self.core.allocate_bindable("rows by label", byte_size(1, n))?);
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
        let weight_list = self.core.scratch("weights", byte_size(1, weights.len()))?;
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
        let bytes = byte_size(pieces.len(), rows.stride);
        let lines: Vec<f32> = self.core.read(&[Span { buffer: &sums, offset: 0, bytes }])?;
        let mut out = vec![0.0; k * rows.d];
        for (piece, line) in pieces.iter().zip(lines.chunks_exact(rows.stride)) {
            let at = piece[0] as usize * rows.d;
            out[at..at + rows.d].iter_mut().zip(line).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        Ok(out)
    }
}
