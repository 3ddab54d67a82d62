//! Whole runs: what the rooms below do one at a time, put together, kept in a folder and gone on with after a stop.

pub mod dialogues;
pub mod prep;
pub mod sweep;
