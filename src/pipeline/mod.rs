//! Whole runs: what the rooms below do one at a time, put together, kept in a folder and gone on with after a stop.

#[cfg(feature = "pipeline")]
pub mod config;
pub mod dialogues;
#[cfg(feature = "sqlite")]
pub mod embed;
pub mod page;
pub mod prep;
pub mod recall;
#[cfg(feature = "pipeline")]
pub mod run;
pub mod sweep;
pub mod tracking;
pub mod train;
