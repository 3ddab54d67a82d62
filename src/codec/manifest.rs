//! What a codec says of itself.

use crate::compute::Metric;
use crate::fit::{Fitted, TrainingSummary};
use serde::{Deserialize, Serialize};

/// Version of the file format that this release writes; it reads this and all before.
pub const FORMAT_VERSION: u32 = 1;

/// The JSON document in a codec file's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// File format; a reader refuses a newer one than it knows.
    pub format_version: u32,
    /// Release that wrote the file.
    pub sememe_version: String,
    /// `rq-kmeans`, `minibatch-rq-kmeans`.
    pub method: String,
    /// Dimensions of a row.
    pub dims: usize,
    /// Dimensions after preprocessing.
    pub inner_dims: usize,
    /// Codewords of each level.
    pub codebook_sizes: Vec<usize>,
    /// How rows are compared with codewords.
    pub metric: Metric,
    /// Whether preprocessed rows are divided by their norm.
    pub normalize_rows: bool,
    /// Mean norm of the preprocessed training rows; decoding multiplies by it under `normalize_rows`.
    pub mean_norm: f32,
    /// Whether every level's input is divided by its norm.
    pub normalize_residuals: bool,
    /// Prefixes a row that encoding keeps.
    pub beam: usize,
    /// Seed of the training.
    pub seed: u64,
    /// The settings it was trained with.
    pub config: serde_json::Value,
    /// What training did.
    pub training: TrainingSummary,
    /// SHA-256 of everything else in the file.
    pub content_hash: String,
}

impl Manifest {
    pub(super) fn describe(fitted: &Fitted, method: &str, seed: u64, config: serde_json::Value) -> Self {
        let mut training = fitted.summary.clone();
        // Times differ from run to run; the same seed must give the same file.
        training.levels.iter_mut().for_each(|l| l.seconds = 0.0);
        Self {
            format_version: FORMAT_VERSION,
            sememe_version: env!("CARGO_PKG_VERSION").into(),
            method: method.into(),
            dims: fitted.chain.dims,
            inner_dims: fitted.chain.inner_dims(),
            codebook_sizes: fitted.chain.codebook_sizes(),
            metric: fitted.chain.metric,
            normalize_rows: fitted.chain.normalize_rows,
            mean_norm: fitted.mean_norm,
            normalize_residuals: fitted.chain.normalize_residuals,
            beam: fitted.beam,
            seed,
            config,
            training,
            content_hash: String::new(),
        }
    }
}
