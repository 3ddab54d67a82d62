//! Training runs that keep their checkpoints in a folder and can be resumed.

mod rqvae;

pub(crate) use rqvae::checkpoint_steps;
pub use rqvae::{BEST, DryRunReport, LAST, Resume, RqVaeRun};
