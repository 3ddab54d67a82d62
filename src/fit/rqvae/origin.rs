//! The fixed inputs of an RQ-VAE training run: its rows, preprocessing and starting codec.

use crate::data::Matrix;
use crate::fit::preprocess::FittedSteps;

/// The inputs that a training run was started with; a resumed run must have the same.
#[derive(Clone, Debug)]
pub(super) struct TrainingOrigin {
    /// Dimensions of a row before preprocessing.
    pub dims: usize,
    /// Rows of the source and how many of them are used.
    pub source_rows: u64,
    pub rows: u64,
    /// A hash of the rows, so that resuming with other rows is detected.
    pub fingerprint: u64,
    pub learned: FittedSteps,
    /// Codebooks of the codec that RQ-KMeans+ starts from.
    pub warm: Option<Vec<Matrix>>,
    pub variance: f64,
    /// Dimensions of the embeddings to align with.
    pub aligned: Option<usize>,
    /// Rows of the source for measuring how exactly a device encodes.
    pub probes: Matrix,
}

/// How the training rows are loaded: for a new run, from a codec, or for a resumed run.
pub(super) enum TrainingStart<'a> {
    /// For the first time, with nothing fitted.
    Anew,
    /// For the first time, with preprocessing and codebooks of a codec.
    FromCodec(&'a FittedSteps, &'a [Matrix]),
    /// Again, after a stop.
    Again(&'a TrainingOrigin),
}
