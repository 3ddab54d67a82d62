//! The codec's manifest: the JSON metadata that is stored with its tensors.

use super::NetworkShape;
use crate::compute::Metric;
use crate::fit::{Fitted, TrainingSummary};
use serde::{Deserialize, Serialize};

/// Newest version of the file format that this release reads; it reads all before too. A codec is written in the oldest version
/// that can hold it, for the sake of older releases: 1, or 2 with a network or a shared codebook, or 3 with prices, or 4 of a product
/// quantiser.
pub const FORMAT_VERSION: u32 = 4;

/// The JSON document in a codec file's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// File format; a reader refuses a newer one than it knows.
    pub format_version: u32,
    /// Release that wrote the file.
    pub sememe_version: String,
    /// `rq-kmeans`, `minibatch-rq-kmeans`, `distributed-rq-kmeans`, `rq-vae`, `rq-kmeans-plus`, `pq`, `opq`, `imported`.
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
    /// The network in front of the levels. These four are not written where they say nothing, so that a manifest of version 1 keeps
    /// its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<NetworkShape>,
    /// The network behind the sum of codewords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<NetworkShape>,
    /// Whether all levels have one codebook, which the file holds once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_codebook: bool,
    /// Content hash of the codec whose names this one's codewords took, see [`ids::align`](crate::ids::align()).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aligned_to: Option<String>,
    /// Levels whose codewords have prices, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priced_levels: Vec<usize>,
    /// Whether each level has columns of its own, side by side (product quantisation), instead of what the levels before it left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub product: bool,
    /// SHA-256 of everything else in the file.
    pub content_hash: String,
}

impl Manifest {
    pub(super) fn describe(fitted: &Fitted, method: &str, seed: u64, config: serde_json::Value) -> Self {
        let mut training = fitted.summary.clone();
        // Times differ from run to run; the same seed must give the same file.
        training.levels.iter_mut().for_each(|l| l.seconds = 0.0);
        let [encoder, decoder] =
            [&fitted.quantizer.encoder, &fitted.quantizer.decoder].map(|n| n.as_ref().map(NetworkShape::of));
        let plain = encoder.is_none() && decoder.is_none() && !fitted.shared_codebook;
        let levels = 0..fitted.quantizer.codebooks.len();
        let priced_levels: Vec<usize> = levels.filter(|level| !fitted.quantizer.prices(*level).is_empty()).collect();
        Self {
            format_version: match (fitted.quantizer.product, priced_levels.is_empty()) {
                (true, _) => 4,
                (false, false) => 3,
                (false, true) => 1 + u32::from(!plain),
            },
            sememe_version: env!("CARGO_PKG_VERSION").into(),
            method: method.into(),
            dims: fitted.quantizer.dims,
            inner_dims: fitted.quantizer.inner_dims(),
            codebook_sizes: fitted.quantizer.codebook_sizes(),
            metric: fitted.quantizer.metric,
            normalize_rows: fitted.quantizer.normalize_rows,
            mean_norm: fitted.mean_norm,
            normalize_residuals: fitted.quantizer.normalize_residuals,
            beam: fitted.beam,
            seed,
            config,
            training,
            encoder,
            decoder,
            shared_codebook: fitted.shared_codebook,
            aligned_to: None,
            priced_levels,
            product: fitted.quantizer.product,
            content_hash: String::new(),
        }
    }
}
