//! Flags of `sememe train`.

use crate::flags::{BalanceChoice, OnDevice, PreprocessFlags, Rows};
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricChoice {
    /// Nearest by squared L2
    SquaredL2,
    /// Nearest by angle
    Cosine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InitChoice {
    /// Greedy k-means++
    #[value(name = "k-means-plus-plus", alias = "kmeans++", alias = "k-means++")]
    KMeansPlusPlus,
    /// Distinct rows at random
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmptyChoice {
    /// Move it to the row farthest from its own codeword
    Farthest,
    /// Leave it where it is
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// BASIL's settings: 3 levels of 1024, 20 iterations, tolerance 1e-4, PCA to 0.95 of the variance and 256 dimensions,
    /// whitening
    Basil,
}

#[derive(Debug, Args)]
pub struct Flags {
    /// Embeddings [rows, dims]: .npy, .npz, .safetensors, .parquet, .jsonl or a folder of them
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// Codec to write, a .safetensors file; an existing one is replaced once the new one is complete
    #[arg(long, short, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Show what would be done, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
    #[command(flatten)]
    pub codebooks: Codebooks,
    #[command(flatten)]
    pub balance: BalanceFlags,
    #[command(flatten)]
    pub preprocess: PreprocessFlags,
    #[command(flatten)]
    pub product: ProductFlags,
    #[command(flatten)]
    pub minibatch: MiniBatchFlags,
    #[command(flatten)]
    pub network: NetworkFlags,
}

/// How codebooks are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Lloyd's k-means over all rows, held in memory.
    Kmeans,
    /// Mini-batches, read as they are needed.
    Minibatch,
    /// An RQ-VAE: encoder, codebooks and decoder trained together.
    Rqvae,
    /// Product quantisation: each level has its own part of the dimensions.
    Pq,
    /// Product quantisation after a learned rotation.
    Opq,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Product quantisation, with --method opq")]
pub struct ProductFlags {
    /// How often rotation and codewords are fitted to each other; 0 stays with the principal components [default: 20]
    #[arg(long, value_name = "N")]
    pub rotations: Option<usize>,
    /// k-means iterations per level in each of them [default: 2]
    #[arg(long, value_name = "N")]
    pub rotation_iterations: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Mini-batches, for files larger than memory")]
pub struct MiniBatchFlags {
    #[arg(long, value_enum, default_value = "kmeans", hide_possible_values = true)]
    #[arg(help = "kmeans (all rows in memory), minibatch (reads rows as it needs them; takes --levels, \
                  --codebook-size, --seed, --metric and --normalize-residuals), rqvae (see below), pq (product \
                  quantisation: each level has its own part of the dimensions) or opq (the same after a learned rotation)")]
    pub method: Method,
    /// Passes over the file [default: 10; rqvae: 20]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Rows per batch [default: 4096; rqvae: 1024]
    #[arg(long, value_name = "N")]
    pub batch_rows: Option<usize>,
    /// Train all levels in every batch instead of one level after the other
    #[arg(long)]
    pub joint: bool,
    /// Keep the state of the training in this file, written after every epoch and on Ctrl-C
    #[arg(long, value_name = "STATE", value_hint = ValueHint::FilePath)]
    pub checkpoint: Option<PathBuf>,
    /// Continue from the checkpoint, if there is one; for rqvae: last, best or a file [without a value: last]
    #[arg(long, value_name = "WHICH", num_args = 0..=1, default_missing_value = "last")]
    pub resume: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    next_help_heading = "RQ-VAE, with --method rqvae (also takes --levels, --codebook-size, --seed, --epochs, --batch-rows)"
)]
pub struct NetworkFlags {
    /// Settings of a published system: sememe, tiger, lc-rec, animind or residual-vq; `sememe config print` shows them
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// TOML file of settings that override the preset, as `sememe config print` writes them
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// One setting, which overrides the file: optimizer.rate=0.003, codebook={kind="ema",decay=0.99,epsilon=1e-5}
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Folder for checkpoints, metrics.jsonl, TensorBoard events, code_usage.csv and config.json [default: the codec's name with .run]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub run: Option<PathBuf>,
    /// Collaborative embeddings of the same rows, for the alignment loss
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub align: Option<PathBuf>,
    /// Stop with exit code 3 when a level collapses
    #[arg(long)]
    pub stop_on_collapse: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Codebooks")]
pub struct Codebooks {
    /// Settings to start from; other options override them
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true)]
    #[arg(help = "Settings to start from, which other options override. basil: 3 levels of 1024, 20 iterations, \
                  tolerance 1e-4, PCA to 0.95 of the variance and at most 256 dimensions, whitening")]
    pub preset: Option<Preset>,
    /// Codes in an ID [default: 3; pq and opq: 8]
    #[arg(long, value_name = "N")]
    pub levels: Option<usize>,
    /// Codewords per level: one number for all levels, or one for each as in 512,256,128 [default: 256]
    #[arg(long, value_name = "K", value_delimiter = ',', num_args = 1)]
    pub codebook_size: Option<Vec<usize>>,
    /// At most so many iterations per level [default: 25; 40 with `--balance sinkhorn`, which converges slowly]
    #[arg(long, value_name = "N")]
    pub iterations: Option<usize>,
    /// Stop a level once an iteration improves it by no more than this share; 0 runs all iterations [default: 1e-5]
    #[arg(long, value_name = "SHARE")]
    pub tolerance: Option<f64>,
    /// Starts per level; the best one counts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub starts: usize,
    /// Seed for everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[arg(long, value_enum, default_value = "squared-l2", hide_possible_values = true)]
    #[arg(help = "How rows are compared with codewords: squared-l2 or cosine; for pq and opq, cosine is --normalize")]
    pub metric: MetricChoice,
    #[arg(long, value_enum, default_value = "k-means-plus-plus", value_name = "HOW", hide_possible_values = true)]
    #[arg(help = "How the first codewords are chosen: k-means-plus-plus or random")]
    pub init: InitChoice,
    #[arg(long, value_enum, default_value = "farthest", value_name = "WHERE", hide_possible_values = true)]
    #[arg(
        help = "What to do with a codeword that no row chose: farthest (move it to the row farthest from its own codeword) or keep"
    )]
    pub empty: EmptyChoice,
    /// After the levels, fit all codebooks together for so many rounds: smaller error, slower training and encoding
    /// [without a number: 10]
    #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "10")]
    pub refine: Option<usize>,
    /// Prefixes per row that refinement keeps, and every later encoding with this codec [default: 8]
    #[arg(long, value_name = "N", requires = "refine")]
    pub beam: Option<usize>,
    /// Train on a random sample of at most this many rows [default: all rows]
    #[arg(long, value_name = "N")]
    pub max_training_rows: Option<usize>,
    /// Start from the preprocessing and codebooks of this RQ-KMeans codec. With k-means, few codes change when a catalogue
    /// has grown; with --method rqvae this is RQ-KMeans+, whose networks change nothing at first. With pq and opq, from a
    /// codec of one of them
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,
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
    #[arg(long, value_name = "CODES", value_hint = ValueHint::FilePath, conflicts_with_all = ["refine", "max_training_rows", "from"])]
    pub assigned: Option<PathBuf>,
}
