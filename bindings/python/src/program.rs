//! The program, as a function.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the program `sememe` with its arguments, its own name included; returns the exit code.
#[pyfunction]
pub fn program(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| sememe_cli::run(arguments))
}
