//! The CPU backend: parallel over fixed row blocks, so that the same call gives the same bits at any thread count.

mod activation;
mod amx;
mod assign;
mod attention;
mod attention_backward;
mod attention_blocks;
mod attention_cached;
mod backend;
mod beam;
mod bf16;
mod centroid;
mod column_sum;
mod column_total;
mod combine;
mod covariance;
mod cross_entropy;
mod distance;
pub(crate) mod dots;
mod ema;
mod gated;
mod gather;
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
mod rms_norm;
mod rotary;
mod rotation;
mod row_norm;
mod seeding;
mod segment;
mod sinkhorn;
mod softmax;
mod table_scores;
mod tally;
mod tensor;
mod total;

pub use isa::{Instructions, Isa};
pub use normalize::unit_rows;
pub use seeding::Seeding;
pub use tensor::{Index, Tensor};

use super::Metric;
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

impl Cpu {
    /// The CPU.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}
