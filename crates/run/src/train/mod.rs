//! Trainings that keep what they make in a folder and are gone on with after a stop.

mod rqvae;

pub(crate) use rqvae::checkpoint_steps;
pub use rqvae::{BEST, DryRunReport, LAST, Resume, RqVaeRun};
