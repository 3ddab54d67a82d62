//! How the service behaves: who may ask, how much, and what is said about it.

pub mod limits;
pub mod metrics;
pub mod tokens;
