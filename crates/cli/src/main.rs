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
mod eval;
mod eval_inputs;
mod export;
mod failure;
mod format;
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
mod spell_flags;
mod spelling;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod store;
mod sweep;
mod text;
mod train;
mod trie;

use std::process::ExitCode;

fn main() -> ExitCode {
    match run::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
