//! What stays on the device: rows in chunks, codebooks, partitions, k-means++ state.

use super::device::Core;
use super::record::Span;
use crate::compute::Metric;
use crate::compute::sizes::{self, byte_size};
use crate::error::{Error, Result};

/// Rows are stored at multiples of this many values, so that no kernel has a tail in the summed dimension.
const STRIDE: usize = 16;
/// Chunks, codebooks and components are padded to this many rows, the largest tile.
pub(super) const PAD: usize = 128;

/// More than any device holds; systems that hand out memory on first use would otherwise let it be asked for.
const MOST_BYTES: u64 = 1 << 42;

/// Resident `[n, d]` rows, in chunks of equal height but the last.
pub struct Rows {
    pub(super) n: usize,
    pub(super) d: usize,
    pub(super) stride: usize,
    pub(super) chunk_rows: usize,
    pub(super) chunks: Vec<wgpu::Buffer>,
}

/// Consecutive rows of one chunk.
#[derive(Clone, Copy)]
pub(super) struct RowChunk<'a> {
    pub buffer: &'a wgpu::Buffer,
    /// First row, counted over all chunks.
    pub start: usize,
    pub n: usize,
}

impl Rows {
    /// Allocates `[n, d]` rows whose values are written later.
    pub(super) fn new(core: &Core, n: usize, d: usize) -> Result<Self> {
        sizes::rows(n, d)?;
        let stride = d.next_multiple_of(STRIDE);
        let needed_bytes = byte_size(n, stride);
        if needed_bytes > MOST_BYTES {
            return Err(Error::OutOfMemory { what: format!("{n} rows of {d}"), needed_bytes });
        }
        // k-means++ keeps up to 64 values a row beside them, in chunks of the same height.
        let row_bytes = byte_size(1, stride.max(64));
        let fit = (core.options.chunk_bytes / row_bytes) as usize / PAD * PAD;
        let chunk_rows = fit.max(PAD).min(n.next_multiple_of(PAD).max(PAD));
        let mut chunks = Vec::new();
        for start in (0..n).step_by(chunk_rows) {
            let rows = chunk_rows.min(n - start).next_multiple_of(PAD);
            chunks.push(core.allocate_bindable("rows", byte_size(rows, stride))?);
        }
        Ok(Self { n, d, stride, chunk_rows, chunks })
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = RowChunk<'_>> {
        self.chunks.iter().enumerate().map(|(i, buffer)| {
            let start = i * self.chunk_rows;
            RowChunk { buffer, start, n: self.chunk_rows.min(self.n - start) }
        })
    }

    pub(super) fn row(&self, index: usize) -> Span<'_> {
        let (chunk, row) = (index / self.chunk_rows, index % self.chunk_rows);
        let bytes = byte_size(1, self.stride);
        Span { buffer: &self.chunks[chunk], offset: row as u64 * bytes, bytes }
    }

    pub(super) fn stride4(&self) -> u32 {
        (self.stride / 4) as u32
    }
}

/// Copies `[rows, d]` values into lines of `stride`, zeros behind.
pub(super) fn pad(values: &[f32], d: usize, stride: usize, out: &mut Vec<f32>) {
    out.clear();
    if d == stride {
        out.extend_from_slice(values);
        return;
    }
    for row in values.chunks_exact(d.max(1)) {
        out.extend_from_slice(row);
        out.resize(out.len().next_multiple_of(stride), 0.0);
    }
}

/// Resident `[k, d]` codewords with their `(w, b)`.
pub struct Codebook {
    pub(super) k: usize,
    pub(super) d: usize,
    pub(super) stride: usize,
    pub(super) metric: Metric,
    /// `[k padded to 128, stride]`, padding is zero.
    pub(super) values: wgpu::Buffer,
    /// `[k padded to 128]` pairs; padding never wins.
    pub(super) scale_bias: wgpu::Buffer,
}

/// `(w, b)` of a codeword of a price, in f64, rounded once.
pub(super) fn scale_bias(codeword: &[f32], metric: Metric, price: f32) -> [f32; 2] {
    let price = f64::from(price);
    let squared: f64 = codeword.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    match metric {
        Metric::SquaredL2 => [1.0, (0.5 * squared + price) as f32],
        Metric::Cosine if squared > 0.0 => [(1.0 / squared.sqrt()) as f32, price as f32],
        Metric::Cosine => [0.0, price as f32],
    }
}

impl Codebook {
    pub(super) fn new(core: &Core, k: usize, d: usize, values: &[f32], metric: Metric) -> Result<Self> {
        sizes::codebook(k, d, values.len())?;
        let (stride, padded) = (d.next_multiple_of(STRIDE), k.next_multiple_of(PAD));
        let room = sizes::values("codebook", padded, stride)?;
        let mut lines = Vec::with_capacity(room);
        pad(values, d, stride, &mut lines);
        lines.resize(room, 0.0);
        let mut pairs: Vec<f32> = Vec::with_capacity(2 * padded);
        for j in 0..k {
            pairs.extend(scale_bias(&values[j * d..(j + 1) * d], metric, 0.0));
        }
        for _ in k..padded {
            pairs.extend([0.0, f32::MAX]);
        }
        let values = core.allocate_bindable("codebook", byte_size(1, lines.len()))?;
        let scale_bias = core.allocate_bindable("codebook norms", byte_size(1, pairs.len()))?;
        core.write(&values, 0, bytemuck::cast_slice(&lines))?;
        core.write(&scale_bias, 0, bytemuck::cast_slice(&pairs))?;
        Ok(Self { k, d, stride, metric, values, scale_bias })
    }
}

/// Resident `[n]` labels and scores, and the rows by label once tallied.
pub struct Partition {
    pub(super) n: usize,
    /// All labels are below it, so that a kernel may use them as indices into so many codewords.
    pub(super) label_end: u64,
    pub(super) labels: wgpu::Buffer,
    pub(super) best: wgpu::Buffer,
    pub(super) second: wgpu::Buffer,
    pub(super) order: Option<wgpu::Buffer>,
    /// `[k + 1]` places in `order` where each label starts; none once the labels have changed.
    pub(super) starts: Option<Vec<u32>>,
}

impl Partition {
    pub(super) fn new(core: &Core, n: usize) -> Result<Self> {
        let bytes = byte_size(1, n.next_multiple_of(PAD));
        let [labels, best, second] = ["labels", "best scores", "second scores"].map(|what| core.allocate(what, bytes));
        let labels = labels?;
        core.clear(&labels, labels.size());
        Ok(Self { n, label_end: 1, labels, best: best?, second: second?, order: None, starts: None })
    }

    /// The rows of a part, as bytes of any of the three buffers.
    pub(super) fn span<'a>(&self, buffer: &'a wgpu::Buffer, start: usize, n: usize) -> Span<'a> {
        Span { buffer, offset: byte_size(1, start), bytes: byte_size(1, n) }
    }

    /// Refuses labels that are none of `k` codewords.
    pub(super) fn check_labels(&self, k: usize) -> Result<()> {
        if self.n == 0 || self.label_end <= k as u64 {
            return Ok(());
        }
        Err(Error::Data(format!("label {} of {k}", self.label_end - 1)))
    }

    pub(super) fn starts_for(&self, k: usize) -> Result<&[u32]> {
        match &self.starts {
            Some(starts) if starts.len() == k + 1 => Ok(starts),
            _ => Err(Error::Data(format!("the partition is not tallied for k = {k}"))),
        }
    }
}

/// k-means++ over some rows: each row's squared L2 to the nearest chosen codeword, and the last candidates' table.
pub struct Seeding {
    pub(super) n: usize,
    pub(super) chunk_rows: usize,
    pub(super) nearest: wgpu::Buffer,
    /// One `[slots, chunk rows]` table a chunk.
    pub(super) tables: Vec<wgpu::Buffer>,
    pub(super) slots: usize,
    pub(super) started: bool,
}
