//! Progress events of long operations, and how they are asked to stop.

mod epoch;

pub use epoch::{EpochReport, Health, LevelHealth, Losses, SharedHealth, StepReport};

use serde::{Deserialize, Serialize};

/// Statistics of a trained level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelSummary {
    /// Level, from 0.
    pub level: usize,
    /// Codewords.
    pub codebook_size: usize,
    /// Iterations of the best start.
    pub iterations: usize,
    /// Whether the tolerance was reached before the iteration cap.
    pub converged: bool,
    /// Sum of squared L2 of the training rows to their codewords, in the space after preprocessing.
    pub inertia: f64,
    /// 1 − inertia / total variance, in the space after preprocessing.
    pub r2: f64,
    /// Share of codewords in use by the training rows.
    pub utilisation: f64,
    /// exp of the entropy of the loads.
    pub perplexity: f64,
    /// Codewords that ran empty and were moved to the farthest rows, over all iterations of the best start.
    pub reseeded: u64,
    /// How even the loads of a balanced level are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<LevelBalance>,
    /// Wall-clock seconds.
    #[serde(skip)]
    pub seconds: f64,
}

/// The loads of a balanced level: as training assigned its rows, and as prices alone assign them, which is what encoding does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LevelBalance {
    /// Fewest rows a codeword was to have.
    pub minimum: u64,
    /// Most rows a codeword was to have.
    pub maximum: u64,
    /// Whether the assignment had to keep these bounds exactly.
    pub exact: bool,
    /// Fewest rows of a codeword, as assigned.
    pub least_load: u64,
    /// Most rows of a codeword, as assigned.
    pub largest_load: u64,
    /// Fewest rows of a codeword by prices alone.
    pub least_priced_load: u64,
    /// Most rows of a codeword by prices alone.
    pub largest_priced_load: u64,
    /// Rows that prices alone give another code than the assignment: rows between two codewords, such as duplicates.
    pub moved_rows: u64,
}

/// A progress event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A phase begins; `total` units of work, if known.
    Phase {
        /// Its name.
        name: &'a str,
        /// How much there is to do.
        total: Option<u64>,
        /// What is counted.
        unit: &'static str,
    },
    /// Progress within the phase.
    Advance {
        /// Units done since the phase began.
        done: u64,
    },
    /// One iteration of a level's k-means.
    Iteration {
        /// Level, from 0.
        level: usize,
        /// Start, from 0.
        start: usize,
        /// Iteration, from 1.
        iteration: usize,
        /// Objective before this iteration's update.
        inertia: f64,
        /// Codewords reseeded in it.
        reseeded: usize,
    },
    /// A level is done.
    Level(&'a LevelSummary),
    /// One refinement round is done.
    Refined {
        /// Round, from 1.
        round: usize,
        /// R² on the training rows, in the space after preprocessing.
        r2: f64,
    },
    /// One epoch of an RQ-VAE is done.
    Epoch(&'a EpochReport),
    /// Something the user should know.
    Note(&'a str),
}

/// Receives events and may ask for a stop; `()` ignores both.
pub trait Observer: Sync {
    /// Called for every event, on the thread that works.
    fn event(&self, event: Event<'_>) {
        let _ = event;
    }
    /// Asked between steps; `true` ends the work with [`Error::Interrupted`](crate::Error::Interrupted).
    fn stop(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// Returns an error if the observer asks for a stop.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted) if the observer wants a stop.
pub fn check(observer: &dyn Observer) -> crate::Result<()> {
    if observer.stop() { Err(crate::Error::Interrupted(String::new())) } else { Ok(()) }
}
