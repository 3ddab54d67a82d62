//! Vector arithmetic and nothing else: one trait, [`Backend`], one method a kernel, two products behind it.
//!
//! Algorithms in `fit/` and the codec call these methods in order and judge scalars; rows stay in the
//! backend's own buffers between calls.
//!
//! # The score
//!
//! Every kernel that compares codewords uses `s_j = b_j − w_j · (r·c_j)`: for squared L2 `w_j = 1` and
//! `b_j = ½‖c_j‖²` (half the squared L2 less a constant of the row), for cosine `w_j = 1/‖c_j‖` and `b_j = 0`.
//! The smallest score wins, the lowest index on a tie. A codeword may have a price λ_j, which is added to `b_j`: balanced codebooks have
//! prices that even the loads out.

mod backend;
pub mod bound;
pub mod cpu;
mod device;
pub mod exact_sums;
pub mod far_rows;
#[cfg(feature = "gpu")]
pub mod gpu;
mod info;
pub mod mlp;
pub(crate) mod moments;
mod normal_equations;
pub mod params;
pub mod reference;
mod sizes;
pub mod tensor;

pub use backend::{AssignmentKernels, Backend, CentroidKernels, RowKernels, SeedingKernels, Storage};
pub(crate) use device::on_device;
pub use device::{AUTO_GPU_ROWS, BackendTask, Device, DeviceChoice, run_on};
pub use info::{DeviceInfo, DeviceKind};
pub use moments::mean_row;
pub use normal_equations::solve_normal_equations;
pub use sizes::MAX_CODEWORDS;

/// How rows are compared with codewords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Squared L2.
    #[default]
    SquaredL2,
    /// Cosine: the angle alone decides; codewords keep their length for decoding.
    Cosine,
}

/// Result of one [`AssignmentKernels::assign`] pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AssignmentScores {
    /// Sum over the rows of the best score, added in a fixed order. With [`RowKernels::sum_squares`] it gives the
    /// inertia under squared L2: `Σ‖r‖² + 2·Σ s`.
    pub score_sum: f64,
}

/// Result of one [`AssignmentKernels::loads`] pass.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftLoads {
    /// As [`AssignmentScores::score_sum`].
    pub score_sum: f64,
    /// `[k]` rows of each codeword under the soft assignment; they sum to n.
    pub loads: Vec<f64>,
}

/// Labels and scores read back from a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPartition {
    /// `[n]` winning codeword.
    pub labels: Vec<u32>,
    /// `[n]` its score.
    pub best: Vec<f32>,
    /// `[n]` the second-best score; `f32::MAX` where there is one codeword only.
    pub second: Vec<f32>,
}

/// Greedy codes of all levels, with the margins and norms needed to certify them.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelCodes {
    /// `[n, levels]` codes, row-major.
    pub codes: Vec<u32>,
    /// `[n, levels]` second-best score less best score.
    pub margin: Vec<f32>,
    /// `[n, levels]` L2 norm of what entered the level: the residual (before its own normalisation, if any), or its columns.
    pub norm: Vec<f32>,
    /// `[n]` L2 norm of the preprocessed row before `normalize_rows`; empty without it.
    pub entry_norm: Vec<f32>,
}

impl LevelCodes {
    /// Codes that are still to be found, of `n` rows without `normalize_rows`.
    pub(crate) fn zeros(n: usize, levels: usize) -> Self {
        Self {
            codes: vec![0; n * levels],
            margin: vec![0.0; n * levels],
            norm: vec![0.0; n * levels],
            entry_norm: Vec::new(),
        }
    }
}

/// The steps applied to rows before the first level and between levels; see [`reference::ResidualQuantizer`].
#[derive(Clone, Copy, Debug)]
pub struct PreprocessSteps<'a> {
    /// `[d]`, or empty for no centring.
    pub mean: &'a [f32],
    /// `[p, d]`, or empty for the identity.
    pub components: &'a [f32],
    /// `[p]`, or empty for ones.
    pub scales: &'a [f32],
    /// Divide the preprocessed row by its norm.
    pub normalize_rows: bool,
    /// Divide every level's input by its norm.
    pub normalize_residuals: bool,
    /// Each level looks at columns of its own, as many as its codewords have values.
    pub product: bool,
}

impl PreprocessSteps<'_> {
    /// Whether centring, projection and scaling all do nothing.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.mean.is_empty() && self.components.is_empty() && self.scales.is_empty()
    }
}

/// Codes found by beam search, with what is needed to certify them.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamCodes {
    /// `[n, levels]` codes, row-major.
    pub codes: Vec<u32>,
    /// `[n]` smallest gap that decided anything: between the last kept and the first discarded prefix of every
    /// level, and between the winner and the runner-up at the end.
    pub margin: Vec<f32>,
}
