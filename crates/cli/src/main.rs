//! `sememe`: arguments → validated plan → library calls → exit code.

mod align;
mod args;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod assign;
mod balance;
mod churn;
mod completions;
mod config;
mod dashes;
mod decode;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod delete;
mod demo;
mod device;
mod dialogues;
mod doctor;
#[cfg(any(feature = "embed", feature = "embed-http"))]
mod embed;
mod encode;
mod environment;
mod eval;
mod eval_inputs;
mod export;
mod failure;
mod format;
mod hints;
mod input;
mod judged;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod lookup;
mod minibatch;
mod network;
mod output;
mod parse;
mod pipeline;
mod plan;
mod prep;
mod progress;
mod resolve;
mod retrain;
mod run;
mod show;
mod spelling;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod store;
mod sweep;
mod text;
mod train;
mod trie;

use clap::{CommandFactory as _, FromArgMatches as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    environment::silence_device_selection();
    let mut program = args::Cli::command();
    let parsed = program
        .try_get_matches_from_mut(std::env::args_os())
        .and_then(|matches| Ok((args::Cli::from_arg_matches(&matches)?, matches)));
    match parsed {
        Err(error) => failure::misread(&error),
        Ok((cli, matches)) => {
            hints::keep(program);
            match run::run(cli) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failure::report(&error, hints::Words::of(&matches).as_ref()),
            }
        }
    }
}
