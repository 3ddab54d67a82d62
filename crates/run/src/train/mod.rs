//! Trainings that keep what they make in a folder and are gone on with after a stop.

mod network;

pub(crate) use network::checkpoint_steps;
pub use network::{BEST, DryRun, LAST, NetworkRun, Resume};
