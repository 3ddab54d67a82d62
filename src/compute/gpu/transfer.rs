//! What goes to the device and comes back: rows, codebooks, partitions.

use super::Gpu;
use super::record::Span;
use super::resident::{Codebook, Partition, Rows, pad, scale_bias};
use super::sizes::byte_size;
use crate::compute::{HostPartition, Metric, Storage};
use crate::error::{Error, Result, check_shape};

impl Storage for Gpu {
    type Rows = Rows;
    type Codebook = Codebook;
    type Partition = Partition;

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
        if start.saturating_add(count) > rows.n {
            return Err(Error::Data(format!("{count} rows from {start} of {}", rows.n)));
        }
        let _turn = self.core.turn()?;
        let line = byte_size(1, rows.stride);
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

    fn shape(&self, rows: &Rows) -> (usize, usize) {
        (rows.n, rows.d)
    }

    fn codebook(&self, k: usize, d: usize, values: &[f32], metric: Metric) -> Result<Codebook> {
        let _turn = self.core.turn()?;
        Codebook::new(&self.core, k, d, values, metric)
    }

    fn codebook_shape(&self, codebook: &Codebook) -> (usize, usize) {
        (codebook.k, codebook.d)
    }

    fn read_codebook(&self, codebook: &Codebook) -> Result<Vec<f32>> {
        let _turn = self.core.turn()?;
        let bytes = byte_size(codebook.k, codebook.stride);
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
            let pair = scale_bias(values, codebook.metric, 0.0);
            self.core.write(
                &codebook.values,
                u64::from(*j) * byte_size(1, codebook.stride),
                bytemuck::cast_slice(&line),
            )?;
            self.core.write(&codebook.scale_bias, u64::from(*j) * 8, bytemuck::cast_slice(&pair))?;
        }
        Ok(())
    }

    fn set_prices(&self, codebook: &mut Codebook, prices: &[f32]) -> Result<()> {
        check_shape("k", codebook.k, prices.len(), "prices")?;
        let values = self.read_codebook(codebook)?;
        let _turn = self.core.turn()?;
        let mut pairs: Vec<f32> = Vec::with_capacity(2 * codebook.k);
        for (codeword, price) in values.chunks_exact(codebook.d).zip(prices) {
            pairs.extend(scale_bias(codeword, codebook.metric, *price));
        }
        self.core.write(&codebook.scale_bias, 0, bytemuck::cast_slice(&pairs))
    }

    fn partition(&self, n: usize) -> Result<Partition> {
        let _turn = self.core.turn()?;
        Partition::new(&self.core, n)
    }

    fn partition_from(&self, labels: &[u32]) -> Result<Partition> {
        let _turn = self.core.turn()?;
        let mut partition = Partition::new(&self.core, labels.len())?;
        partition.label_end = labels.iter().max().map_or(0, |label| u64::from(*label) + 1);
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
}
