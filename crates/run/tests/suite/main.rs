//! The one integration binary; each module is a kind of promise.

#[cfg(unix)]
mod browser;
mod page;
mod pipeline_config;
mod pipeline_run;
mod recall;
mod track;
mod track_lines;
mod tracking;
