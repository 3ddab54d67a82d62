//! The recorder that receives the results of an RQ-VAE training run.

use crate::error::Result;
use crate::progress::{EpochReport, StepReport};

/// Which checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The latest state.
    Last,
    /// The state after the best epoch so far.
    Best,
}

/// Receives the reports and checkpoints of a training run; `()` discards them. An error ends the training.
pub trait Recorder {
    /// A logged step.
    ///
    /// # Errors
    /// Any error of the recorder, such as a full disk.
    fn step(&mut self, report: &StepReport) -> Result<()> {
        let _ = report;
        Ok(())
    }
    /// A finished epoch, before its checkpoints.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        let _ = report;
        Ok(())
    }
    /// Loads of every codebook, by level, from the last look at the corpus.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn usage(&mut self, loads: &[Vec<u64>]) -> Result<()> {
        let _ = loads;
        Ok(())
    }
    /// A checkpoint is due, and `content` makes its bytes: [`RqVaeTrainer::from_bytes`](super::RqVaeTrainer::from_bytes) reads them.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn checkpoint(&mut self, kind: CheckpointKind, content: &dyn Fn() -> Result<Vec<u8>>) -> Result<()> {
        let _ = (kind, content);
        Ok(())
    }
}

impl Recorder for () {}
