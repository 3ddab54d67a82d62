//! Whole runs of [`sememe`]: what its rooms and [`sememe_text`] do one at a time, put together, kept in a folder and gone on with after a stop.

pub mod config;
pub mod page;
pub mod recall;
pub mod run;
pub mod sweep;
pub mod track;
pub mod tracking;
pub mod train;
