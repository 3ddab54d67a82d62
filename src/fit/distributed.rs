//! Settings of a training over many machines.

use super::RqKMeans;
use crate::error::{Error, Result};
use crate::remedy::Remedy;
use serde::{Deserialize, Serialize};

/// Rows of the sample for each codeword, and at least.
const ROWS_A_CODEWORD: usize = 64;
const LEAST_ROWS: usize = 1 << 14;
/// A larger sample is not taken unasked.
const MOST_BYTES: usize = 256 << 20;

/// Settings of RQ-KMeans over many machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistributedRqKMeans {
    /// As of RQ-KMeans over rows at hand, less `refine`, `max_training_rows` and exact loads. `iterations` counts passes over all rows, a level; before
    /// them, as many go over the sample.
    pub kmeans: RqKMeans,
    /// Rows of the sample that preprocessing is learned from and levels start from, exchanges included. `None` is 64 a codeword, at least 16,384, at most
    /// 256 MiB. It is in memory where the trainer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rows: Option<usize>,
}

impl DistributedRqKMeans {
    /// Refuses settings that cannot be used.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name.
    pub fn validate(&self) -> Result<()> {
        let kmeans = &self.kmeans;
        kmeans.validate()?;
        if kmeans.refine.is_some() {
            let problem = "refinement needs all rows in one place, and these may be anywhere";
            return Err(Error::config("refine", problem).mend([Remedy::omit("refine")]));
        }
        if kmeans.max_training_rows.is_some() {
            let problem = "all rows train, wherever they are; train a sample where it is, or leave this out";
            return Err(Error::config("max_training_rows", problem).mend([Remedy::omit("max_training_rows")]));
        }
        if kmeans.balance.as_ref().is_some_and(crate::Balance::is_exact) {
            let problem = "exact loads are an assignment of all rows at once, which need one place; even loads do not";
            return Err(Error::config("balance.loads", problem).mend([Remedy::set("balance.loads", "even")]));
        }
        let most = self.largest_codebook();
        if let Some(rows) = self.sample_rows
            && rows < most
        {
            let problem = format!("a sample of {rows} rows has fewer than the {most} codewords of the largest level");
            return Err(Error::config("sample_rows", problem));
        }
        Ok(())
    }

    pub(crate) fn largest_codebook(&self) -> usize {
        self.kmeans.codebook_sizes.iter().copied().max().unwrap_or(0)
    }

    /// Rows of the sample, of rows of `dims` values.
    pub(crate) fn sample(&self, dims: usize) -> usize {
        let most = self.largest_codebook();
        self.sample_rows.unwrap_or_else(|| {
            let wanted = ROWS_A_CODEWORD.saturating_mul(most).max(LEAST_ROWS);
            wanted.min(MOST_BYTES / (4 * dims.max(1))).max(most.saturating_mul(4))
        })
    }
}
