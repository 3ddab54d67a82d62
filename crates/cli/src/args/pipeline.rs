//! Flags of `sememe run`, `sememe init` and `sememe config check`.

use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe init
  sememe run
  sememe run --config shop.toml --phase tokenize
  sememe run --set train.levels=4 --set assign.policy=relocate
  sememe run --rebuild train
  sememe run --dry-run";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// The configuration
    #[arg(long, short, value_name = "FILE", default_value = "sememe.toml", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Phases to run, in their order; the others stay as they are
    #[arg(long, value_enum, value_name = "PHASES", value_delimiter = ',', default_value = "all")]
    pub phase: Vec<PhaseChoice>,
    /// Phases to run again even if they are up to date
    #[arg(long, value_enum, value_name = "PHASES", value_delimiter = ',')]
    pub rebuild: Vec<PhaseChoice>,
    /// Change one setting for this run: train.levels=4; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Try everything with few items and epochs in a folder of its own, and read every artifact back
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseChoice {
    /// Rows of the catalogue to texts
    Prep,
    /// Texts to vectors
    Embed,
    /// Vectors to a codec
    Train,
    /// Items to IDs
    Assign,
    /// IDs to tokens and the files around them
    Tokenize,
    /// Training data for a language model, if the configuration has it
    Dialogues,
    /// Measures and the report
    Report,
    /// All of them
    All,
}

#[derive(Debug, Args)]
pub struct InitFile {
    /// File to write
    #[arg(value_name = "FILE", default_value = "sememe.toml", value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The configuration
    #[arg(value_name = "FILE", default_value = "sememe.toml", value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
    /// Change one setting, as for `run`
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}
