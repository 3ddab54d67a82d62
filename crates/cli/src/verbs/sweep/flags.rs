//! Flags of `sememe sweep`.

use crate::flags::{BalanceChoice, OnDevice, PreprocessFlags, Rows};
use clap::{Args, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe sweep items.npy -o sweep --levels 2..4 --codebook-size 128,256,512
  sememe sweep items.npy -o sweep --levels 3 --codebook-size 256 --refine 0,5,10 --keep-codecs
  sememe sweep items.npy -o sweep --levels 3 --codebook-size 256,512 --balance none,sinkhorn,capacity

Run again after a stop, or with more values, it trains only what the folder does not hold.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Embeddings [rows, dims]: .npy, .npz, .safetensors, .parquet, .jsonl or a folder of them
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// Folder for the figures of every cell and for sweep.html; made if it does not exist
    #[arg(long, short, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    /// Levels to try: 2..4, or 2,3,4
    #[arg(long, value_name = "N..M", default_value = "2..4")]
    pub levels: String,
    /// Codebook sizes to try: 128,256,512
    #[arg(long, value_name = "K,K", default_value = "128,256,512")]
    pub codebook_size: String,
    /// Rounds of refinement to try; 0 is none: 0,10
    #[arg(long, value_name = "ROUNDS,ROUNDS", default_value = "0")]
    pub refine: String,
    /// Prefixes per row that refinement keeps [default: 8]
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    /// Ways to balance codewords to try: none, sinkhorn, capacity
    #[arg(long, value_enum, value_name = "HOW,HOW", value_delimiter = ',', default_value = "none")]
    #[arg(hide_possible_values = true)]
    pub balance: Vec<BalanceChoice>,
    /// At most so many iterations per level [default: 25; 40 with `--balance sinkhorn`, which converges slowly]
    #[arg(long, value_name = "N")]
    pub iterations: Option<usize>,
    /// Seed for everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Train on a random sample of at most this many rows [default: all rows]
    #[arg(long, value_name = "N")]
    pub max_training_rows: Option<usize>,
    /// Rows to draw for measuring neighbour recall; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub queries: usize,
    /// Keep the codec of every cell in the folder
    #[arg(long)]
    pub keep_codecs: bool,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
    #[command(flatten)]
    pub preprocess: PreprocessFlags,
}
