//! Trainings that keep what they make in a folder and are gone on with after a stop.

mod network;

pub use network::{BEST, DryRun, LAST, NetworkRun, Resume};
