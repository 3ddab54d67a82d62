//! RQ-VAE: an encoder network, codebooks level by level, a decoder network, trained together.
//!
//! [`RqVae`] are the settings, [`RqVaeTrainer`] a training that can be stopped, saved and resumed.

mod check;
mod codebooks;
mod config;
mod data;
mod epoch;
mod health;
mod layout;
mod origin;
mod presets;
mod report;
mod schedule;
mod session;
mod settings;
mod state;
mod step;
mod steps;
#[cfg(test)]
mod tests;
mod trainer;

pub use crate::progress::{EpochReport, Health, LevelHealth, Losses, StepReport};
pub use config::{
    Alignment, CodebookStart, CodebookUpdate, Commitment, Diversity, Estimator, Monitor, NetworkInit, Optimizer,
    OptimizerKind, Reduction, Repulsion, Restart, RqVae, Schedule, ScheduleKind, Sinkhorn, SinkhornForm,
};
pub use presets::PRESETS;
pub use report::{CheckpointKind, Recorder};
pub use schedule::{learning_rate, temperature};
pub use trainer::RqVaeTrainer;
