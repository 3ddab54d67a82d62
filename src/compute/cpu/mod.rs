//! The CPU backend: parallel over fixed row blocks, so that the same call gives the same bits at any thread count.

mod activation;
mod amx;
mod assign;
mod beam;
mod bf16;
mod centroid;
mod column_sum;
mod column_total;
mod combine;
mod covariance;
mod distance;
pub(crate) mod dots;
mod ema;
pub(crate) mod gemm;
mod half_norms;
pub(crate) mod isa;
mod layer_norm;
mod loads;
pub(crate) mod math;
mod matmul;
mod nearest;
mod normalize;
mod optimizer;
mod project;
mod quantize;
mod repel;
mod residual;
mod restride;
mod rotation;
mod row_norm;
mod seeding;
mod segment;
mod sinkhorn;
mod softmax;
mod tally;
mod tensor;
mod total;

pub use isa::Isa;
pub use normalize::unit_rows;
pub use seeding::Seeding;
pub use tensor::{Index, Tensor};

use super::{Assigned, Backend, BeamCodes, DeviceInfo, DeviceKind, HostPartition, LevelCodes, Loads, Metric, Steps};
use crate::data::MatrixView;
use crate::error::{Error, Result, check_shape};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The CPU backend. It holds nothing: rows live in ordinary memory, threads are rayon's current pool.
#[derive(Clone, Debug, Default)]
pub struct Cpu;

/// Resident `[n, d]` rows.
#[derive(Debug)]
pub struct Rows {
    pub(super) n: usize,
    pub(super) d: usize,
    pub(super) data: Vec<f32>,
    /// Squared norms, once asked for; forgotten when the rows change.
    pub(super) norms: OnceLock<Vec<f32>>,
    /// Names this content, so that a partition knows whether its running sums still describe it.
    pub(super) version: u64,
}

impl Rows {
    fn new(n: usize, d: usize, data: Vec<f32>) -> Self {
        Self { n, d, data, norms: OnceLock::new(), version: next_version() }
    }

    /// To be called by whatever changes the values.
    fn touch(&mut self) {
        self.norms = OnceLock::new();
        self.version = next_version();
    }
}

fn next_version() -> u64 {
    static VERSION: AtomicU64 = AtomicU64::new(1);
    VERSION.fetch_add(1, Ordering::Relaxed)
}

/// Resident `[k, d]` codewords with weights, biases and, where the processor has tiles, their packed form.
#[derive(Clone, Debug)]
pub struct Codebook {
    pub(super) k: usize,
    pub(super) d: usize,
    pub(super) values: Vec<f32>,
    metric: Metric,
    /// `values` times the weights, under cosine only.
    scaled: Option<Vec<f32>>,
    pub(super) bias: Vec<f32>,
    /// What is added to the biases; empty for nothing.
    prices: Vec<f32>,
    pub(super) packed: Option<amx::Packed>,
}

impl Codebook {
    fn new(k: usize, d: usize, values: Vec<f32>, metric: Metric) -> Self {
        let mut book = Self { k, d, values, metric, scaled: None, bias: Vec::new(), prices: Vec::new(), packed: None };
        book.derive();
        book
    }

    /// What a row is multiplied with: codewords, or directions under cosine.
    pub(super) fn weighted(&self) -> &[f32] {
        self.scaled.as_deref().unwrap_or(&self.values)
    }

    /// Weights, biases and packing from the values. O(k·d).
    pub(super) fn derive(&mut self) {
        let squares = self.values.chunks_exact(self.d).map(|c| c.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>());
        let price = |j: usize| self.prices.get(j).copied().map_or(0.0, f64::from);
        match self.metric {
            Metric::SquaredL2 => {
                self.bias = squares.enumerate().map(|(j, s)| (0.5 * s + price(j)) as f32).collect();
            }
            Metric::Cosine => {
                let weights: Vec<f64> = squares.map(|s| if s > 0.0 { 1.0 / s.sqrt() } else { 0.0 }).collect();
                let scale = |(c, w): (&[f32], &f64)| c.iter().map(|v| (f64::from(*v) * w) as f32).collect::<Vec<_>>();
                self.scaled = Some(self.values.chunks_exact(self.d).zip(&weights).flat_map(scale).collect());
                self.bias = (0..self.k).map(|j| price(j) as f32).collect();
            }
        }
        // Tiles pay once there is a tile's worth of work.
        self.packed = (amx::available() && self.d >= 16 && self.k >= 4)
            .then(|| amx::Packed::new(self.scaled.as_deref().unwrap_or(&self.values), self.d));
    }
}

/// Labels, scores and, once tallied, the rows sorted by label.
#[derive(Debug, Default)]
pub struct Partition {
    pub(super) labels: Vec<u32>,
    pub(super) best: Vec<f32>,
    pub(super) second: Vec<f32>,
    pub(super) counts: Vec<u32>,
    /// Row indices by label, ascending within a label; `starts[j]..starts[j + 1]` are those of label j.
    pub(super) order: Vec<u32>,
    pub(super) starts: Vec<u32>,
    /// Sums of the rows of each label, kept from update to update.
    pub(super) running: Option<centroid::Running>,
}

/// Refuses a codebook or partition made for other rows.
fn agree(rows: &Rows, codebook: Option<&Codebook>, partition: Option<&Partition>) -> Result<()> {
    if let Some(codebook) = codebook {
        check_shape("d", rows.d, codebook.d, "codebook")?;
    }
    if let Some(partition) = partition {
        check_shape("rows", rows.n, partition.labels.len(), "partition")?;
    }
    Ok(())
}

/// Refuses a partition that is not tallied for `k` labels, or whose labels changed since.
fn tallied(partition: &Partition, k: usize) -> Result<()> {
    if partition.starts.len() == k + 1 { Ok(()) } else { Err(Error::Data("the partition is not tallied".into())) }
}

/// Refuses no codebooks, and codebooks of other dimensions than the rows.
fn check_books(codebooks: &[Codebook], dims: usize) -> Result<()> {
    if codebooks.is_empty() {
        return Err(Error::Data("expected at least 1 level, got 0".into()));
    }
    codebooks.iter().enumerate().try_for_each(|(l, b)| check_shape("d", dims, b.d, format!("codebook {l}")))
}

fn index_below(what: &str, index: usize, bound: usize) -> Result<()> {
    if index < bound { Ok(()) } else { Err(Error::Data(format!("{what} {index} of {bound}"))) }
}

impl Cpu {
    /// The CPU.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

fn processor_name() -> String {
    // Miri has no such instruction.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::__cpuid;
        if __cpuid(0x8000_0000).eax >= 0x8000_0004 {
            let bytes: Vec<u8> = (0x8000_0002..=0x8000_0004u32)
                .flat_map(|leaf| {
                    let r = __cpuid(leaf);
                    [r.eax, r.ebx, r.ecx, r.edx]
                })
                .flat_map(u32::to_le_bytes)
                .take_while(|b| *b != 0)
                .collect();
            return String::from_utf8_lossy(&bytes).trim().to_owned();
        }
    }
    std::env::consts::ARCH.to_owned()
}

impl Backend for Cpu {
    type Rows = Rows;
    type Codebook = Codebook;
    type Partition = Partition;
    type Seeding = Seeding;

    fn info(&self) -> DeviceInfo {
        let tiles = if amx::available() { " + amx-bf16" } else { "" };
        DeviceInfo {
            kind: DeviceKind::Cpu,
            name: processor_name(),
            driver: format!("{}{tiles}, {} threads", Isa::detect().name(), rayon::current_num_threads()),
            api: "cpu".into(),
        }
    }

    fn dot_error(&self, dims: usize) -> f64 {
        dots::dot_error(dims)
    }

    fn projection_error(&self, dims: usize) -> f64 {
        dots::blocked_error(dims)
    }

    fn unit_roundoff(&self) -> f64 {
        (0.5f64).powi(24)
    }

    fn upload_rows(&self, n: usize, d: usize, fill: &mut dyn FnMut(usize, &mut [f32]) -> Result<()>) -> Result<Rows> {
        let len = n.checked_mul(d).filter(|l| *l <= isize::MAX as usize / 4);
        let needed_bytes = (n as u64).saturating_mul(d as u64).saturating_mul(4);
        let out_of_memory = || Error::OutOfMemory { what: format!("{n} rows of {d} f32"), needed_bytes };
        let len = len.ok_or_else(out_of_memory)?;
        let mut data: Vec<f32> = Vec::new();
        data.try_reserve_exact(len).map_err(|_| out_of_memory())?;
        // Pieces small enough that zeroing one leaves it in cache for the reader.
        let step = ((1usize << 20) / (4 * d.max(1))).max(1);
        for start in (0..n).step_by(step) {
            let count = step.min(n - start);
            data.resize((start + count) * d, 0.0);
            fill(start, &mut data[start * d..])?;
        }
        Ok(Rows::new(n, d, data))
    }

    fn read_rows(&self, rows: &Rows, start: usize, out: &mut [f32]) -> Result<()> {
        let from = start.saturating_mul(rows.d);
        let part = rows.data.get(from..from.saturating_add(out.len()));
        let part = part.ok_or_else(|| Error::Data(format!("{} values from row {start} of {}", out.len(), rows.n)))?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn shape(&self, rows: &Rows) -> (usize, usize) {
        (rows.n, rows.d)
    }

    fn gather_rows(&self, rows: &Rows, indices: &[u32]) -> Result<Rows> {
        indices.iter().try_for_each(|i| index_below("row", *i as usize, rows.n))?;
        let data = indices.iter().flat_map(|i| &rows.data[*i as usize * rows.d..][..rows.d]).copied().collect();
        Ok(Rows::new(indices.len(), rows.d, data))
    }

    fn codebook(&self, k: usize, d: usize, values: &[f32], metric: Metric) -> Result<Codebook> {
        check_shape("values", k * d, values.len(), "codebook")?;
        Ok(Codebook::new(k, d, values.to_vec(), metric))
    }

    fn read_codebook(&self, codebook: &Codebook) -> Result<Vec<f32>> {
        Ok(codebook.values.clone())
    }

    fn set_codewords(&self, codebook: &mut Codebook, changes: &[(u32, Vec<f32>)]) -> Result<()> {
        for (j, value) in changes {
            index_below("codeword", *j as usize, codebook.k)?;
            check_shape("d", codebook.d, value.len(), format!("codeword {j}"))?;
        }
        for (j, value) in changes {
            codebook.values[*j as usize * codebook.d..][..codebook.d].copy_from_slice(value);
        }
        codebook.derive();
        Ok(())
    }

    fn set_prices(&self, codebook: &mut Codebook, prices: &[f32]) -> Result<()> {
        check_shape("k", codebook.k, prices.len(), "prices")?;
        codebook.prices = prices.to_vec();
        codebook.derive();
        Ok(())
    }

    fn partition(&self, n: usize) -> Result<Partition> {
        Ok(Partition { labels: vec![0; n], best: vec![0.0; n], second: vec![0.0; n], ..Partition::default() })
    }

    fn partition_from(&self, labels: &[u32]) -> Result<Partition> {
        Ok(Partition { labels: labels.to_vec(), ..self.partition(labels.len())? })
    }

    fn read_partition(&self, partition: &Partition) -> Result<HostPartition> {
        let Partition { labels, best, second, .. } = partition;
        Ok(HostPartition { labels: labels.clone(), best: best.clone(), second: second.clone() })
    }

    fn distances(&self, rows: &Rows, codebook: &Codebook) -> Result<Vec<f32>> {
        agree(rows, Some(codebook), None)?;
        Ok(distance::distance(rows, codebook))
    }

    fn assign(&self, rows: &Rows, codebook: &Codebook, partition: &mut Partition) -> Result<Assigned> {
        agree(rows, Some(codebook), Some(partition))?;
        // What was tallied described other labels.
        partition.starts.clear();
        Ok(assign::assign(rows, codebook, partition))
    }

    fn loads(&self, rows: &Rows, codebook: &Codebook, epsilon: f32, partition: &mut Partition) -> Result<Loads> {
        agree(rows, Some(codebook), Some(partition))?;
        partition.starts.clear();
        Ok(loads::loads(rows, codebook, epsilon, partition))
    }

    fn tally(&self, partition: &mut Partition, k: usize) -> Result<Vec<u32>> {
        tally::tally(partition, k);
        Ok(partition.counts.clone())
    }

    fn update(&self, rows: &Rows, partition: &mut Partition, codebook: &mut Codebook, weights: &[f32]) -> Result<()> {
        agree(rows, Some(codebook), Some(partition))?;
        tallied(partition, codebook.k)?;
        check_shape("k", codebook.k, weights.len(), "weights")?;
        centroid::update(rows, partition, codebook, weights);
        Ok(())
    }

    fn centroid_sums(&self, rows: &Rows, partition: &mut Partition, k: usize) -> Result<Vec<f64>> {
        agree(rows, None, Some(partition))?;
        tallied(partition, k)?;
        Ok(centroid::sums(rows, partition, k))
    }

    fn farthest(&self, rows: &Rows, partition: &Partition, count: usize) -> Result<Vec<u32>> {
        agree(rows, None, Some(partition))?;
        let norms = row_norm::norms(rows);
        let squared: Vec<f32> = norms.iter().zip(&partition.best).map(|(n, s)| n + 2.0 * s).collect();
        let mut order: Vec<u32> = (0..rows.n as u32).collect();
        order.sort_by(|a, b| squared[*b as usize].total_cmp(&squared[*a as usize]).then(a.cmp(b)));
        order.truncate(count);
        Ok(order)
    }

    fn residual(&self, rows: &mut Rows, codebook: &Codebook, partition: &Partition) -> Result<()> {
        agree(rows, Some(codebook), Some(partition))?;
        if let Some(label) = partition.labels.iter().find(|l| **l as usize >= codebook.k) {
            index_below("label", *label as usize, codebook.k)?;
        }
        residual::residual(rows, codebook, partition);
        Ok(())
    }

    fn normalize(&self, rows: &mut Rows) -> Result<Vec<f32>> {
        Ok(normalize::normalize(rows))
    }

    fn row_norms(&self, rows: &Rows) -> Result<Vec<f32>> {
        Ok(row_norm::norms(rows).to_vec())
    }

    fn sum_squares(&self, rows: &Rows) -> Result<f64> {
        Ok(row_norm::norms(rows).iter().map(|v| f64::from(*v)).sum())
    }

    fn column_sums(&self, rows: &Rows) -> Result<Vec<f64>> {
        Ok(column_sum::column_sums(rows))
    }

    fn scatter(&self, rows: &Rows, mean: &[f32]) -> Result<Vec<f64>> {
        if !mean.is_empty() {
            check_shape("d", rows.d, mean.len(), "mean")?;
        }
        Ok(covariance::scatter(rows, mean))
    }

    fn project(&self, rows: &Rows, mean: &[f32], components: &[f32], scales: &[f32]) -> Result<Rows> {
        let p = if components.is_empty() { rows.d } else { components.len() / rows.d.max(1) };
        if !mean.is_empty() {
            check_shape("d", rows.d, mean.len(), "mean")?;
        }
        if !components.is_empty() {
            check_shape("components", p * rows.d, components.len(), "components")?;
        }
        if !scales.is_empty() {
            check_shape("d", p, scales.len(), "scales")?;
        }
        Ok(project::project(rows, mean, components, scales))
    }

    fn seeding(&self, rows: &Rows) -> Result<Seeding> {
        Ok(Seeding::new(rows.n))
    }

    fn seeding_draw(&self, seeding: &Seeding, uniforms: &[f64]) -> Result<Vec<u32>> {
        seeding.draw(uniforms)
    }

    fn seeding_try(&self, rows: &Rows, seeding: &mut Seeding, candidates: &[u32]) -> Result<Vec<f64>> {
        seeding.attempt(rows, candidates)
    }

    fn seeding_accept(&self, seeding: &mut Seeding, slot: usize) -> Result<Vec<f64>> {
        seeding.accept(slot)
    }

    fn encode_rows(&self, rows: MatrixView<'_>, steps: &Steps<'_>, codebooks: &[Codebook]) -> Result<LevelCodes> {
        check_books(
            codebooks,
            if steps.components.is_empty() { rows.dims() } else { steps.components.len() / rows.dims().max(1) },
        )?;
        Ok(assign::encode_rows(rows, steps, codebooks))
    }

    fn beam(&self, rows: &Rows, codebooks: &[Codebook], gram: &[Vec<f32>], width: usize) -> Result<BeamCodes> {
        check_books(codebooks, rows.d)?;
        check_shape("levels", codebooks.len(), gram.len(), "table of codeword products")?;
        let mut before = 0;
        for (level, (table, book)) in gram.iter().zip(codebooks).enumerate() {
            check_shape("values", book.k * before, table.len(), format!("table of codeword products {level}"))?;
            before += book.k;
        }
        if width == 0 || width > 64 {
            return Err(Error::Data(format!("expected a beam of 1 to 64 prefixes, got {width}")));
        }
        Ok(beam::beam(rows, codebooks, gram, width))
    }
}
