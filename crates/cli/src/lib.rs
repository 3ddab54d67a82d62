//! `sememe`: flags → validated plan → library calls → exit code.
//!
//! The program is a function, so that its tests can ask for all of its features while `cargo run` builds the few that most people need.

mod changes;
mod dashes;
mod device;
// A build without models knows their flags, to say what it lacks.
#[cfg_attr(not(all(feature = "embed", feature = "embed-http")), allow(dead_code))]
mod embedder;
mod environment;
mod evaluation;
mod failure;
mod flags;
mod given;
mod hints;
mod id_format;
mod input;
mod interactions;
mod output;
mod precision;
mod program;
mod progress;
mod rows_plan;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod store_place;
mod text;
mod verbs;

use clap::{CommandFactory as _, FromArgMatches as _};
use program::Cli;
use std::ffi::OsString;
use std::process::ExitCode;

/// The program: reads its arguments, does what they say and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    environment::silence_device_selection();
    ExitCode::from(run(std::env::args_os().collect()))
}

/// The same with other arguments, the program's own name first: for those who bring it along as a library.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> u8 {
    let mut program = Cli::command();
    let parsed = program
        .try_get_matches_from_mut(&arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    match parsed {
        Err(error) => failure::misread(&error, &arguments),
        Ok((cli, matches)) => {
            let given = given::Given::of(&program, &matches);
            hints::keep(program);
            match program::run(cli, &given) {
                Ok(()) => 0,
                Err(error) => failure::report(&error, hints::Words::of(&matches).as_ref()),
            }
        }
    }
}
