//! Flags of balanced training.

use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BalanceChoice {
    /// Nearest codewords, whatever their loads
    None,
    /// Nearly even loads, by Sinkhorn's algorithm
    Sinkhorn,
    /// Exact bounds on the loads of the training rows
    Capacity,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Balance")]
pub struct BalanceFlags {
    #[arg(long, value_enum, default_value = "none", value_name = "HOW", hide_possible_values = true)]
    #[arg(
        help = "Even out how many rows a codeword has: none, sinkhorn (nearly even), or capacity (exact bounds for the \
                  training rows). The codec keeps a price for each codeword, so the code of a new row depends on that row alone"
    )]
    pub balance: BalanceChoice,
    /// Levels to balance, counted from 0, as in 0,1 [default: all]
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', num_args = 1)]
    pub balance_levels: Option<Vec<usize>>,
    /// ε in units of a level's mean squared L2 to the nearest codeword; smaller is more even [default: 0.045]
    #[arg(long, value_name = "E")]
    pub balance_epsilon: Option<f64>,
    /// At most so many iterations of Sinkhorn's algorithm with the final codewords [default: 30]
    #[arg(long, value_name = "N")]
    pub balance_iterations: Option<usize>,
    /// Fewest and most rows of a codeword, as in 40..60, ..60 or 40.. [default: rows / codewords, rounded down and up]
    #[arg(long, value_name = "MIN..MAX")]
    pub capacity: Option<String>,
    /// Write the codes of the training rows, which keep the bounds exactly
    #[arg(long, value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub assigned: Option<PathBuf>,
}
