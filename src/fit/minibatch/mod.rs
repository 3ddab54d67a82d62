//! Mini-batch residual k-means: for rows that stream by, or do not fit memory.
//!
//! Source: Sculley, *Web-scale k-means clustering* (2010), level by level as GRID's residual mini-batch k-means does it: a
//! buffer of rows starts a level by k-means++ and a few iterations of k-means, then every batch moves each codeword towards the mean of its rows by
//! the share `b_j / n_j` of the batch in all rows it has seen.

mod order;
mod state;
mod step;
mod trainer;

pub use trainer::MiniBatchTrainer;

use crate::compute::Metric;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of mini-batch RQ-KMeans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MiniBatchRqKMeans {
    /// Codewords of each level, coarse to fine.
    pub codebook_sizes: Vec<usize>,
    /// Rows a batch.
    pub batch_rows: usize,
    /// Rows that a level collects before k-means starts it; fewer on a source whose passes give a level less than twice as many.
    pub init_rows: usize,
    /// Passes over a source.
    pub epochs: usize,
    /// Train one level after the other, each for an equal share of the batches; otherwise all started levels in every batch.
    pub layer_wise: bool,
    /// How rows are compared with codewords.
    pub metric: Metric,
    /// Divide every level's input by its L2 norm; decoding multiplies by the mean norm seen.
    pub normalize_residuals: bool,
    /// A codeword moves by at least this share of the way to its batch mean; above 0 an endless stream is followed for ever.
    pub least_rate: f64,
    /// The seed of everything random.
    pub seed: u64,
}

impl Default for MiniBatchRqKMeans {
    fn default() -> Self {
        Self {
            codebook_sizes: vec![256; 3],
            batch_rows: 4096,
            init_rows: 8192,
            epochs: 10,
            layer_wise: true,
            metric: Metric::SquaredL2,
            normalize_residuals: false,
            least_rate: 0.0,
            seed: 0,
        }
    }
}

impl MiniBatchRqKMeans {
    /// Refuses settings that cannot be used.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name.
    pub fn validate(&self) -> Result<()> {
        let most = self.codebook_sizes.iter().copied().max().unwrap_or(0);
        if self.codebook_sizes.is_empty() || self.codebook_sizes.len() > 64 || self.codebook_sizes.contains(&0) {
            let problem = format!("expected 1 to 64 levels of at least 1 codeword, got {:?}", self.codebook_sizes);
            return Err(Error::config("codebook_sizes", problem));
        }
        if self.batch_rows == 0 {
            return Err(Error::config("batch_rows", "expected at least 1, got 0"));
        }
        if self.init_rows < most {
            let problem =
                format!("expected at least the {most} codewords of the largest level, got {}", self.init_rows);
            return Err(Error::config("init_rows", problem));
        }
        if self.epochs == 0 {
            return Err(Error::config("epochs", "expected at least 1, got 0"));
        }
        if !(0.0..=1.0).contains(&self.least_rate) {
            return Err(Error::config("least_rate", format!("expected a share in [0, 1], got {}", self.least_rate)));
        }
        Ok(())
    }
}
