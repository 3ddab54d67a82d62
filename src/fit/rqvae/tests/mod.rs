//! One training step on every device, held to an f64 oracle.

mod gradients;
mod gradients_update;
mod open_step;
mod oracle;
mod problem;
mod surrogate;
mod terms;
mod update;
