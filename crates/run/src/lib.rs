//! Complete runs of [`sememe`] and [`sememe_text`]: all steps in order, with results kept in a folder, so that a stopped run can be resumed.

pub mod config;
mod histories;
pub mod page;
pub mod recall;
pub mod run;
pub mod sweep;
pub mod track;
pub mod tracking;
pub mod train;
