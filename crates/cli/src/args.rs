//! Raw flags as typed; `plan` turns them into something that can be run.

mod balance;
mod dialogues;
#[cfg(any(feature = "embed", feature = "embed-http"))]
mod embed;
mod eval;
mod events;
mod ids;
mod pipeline;
mod prep;
mod sweep;

pub use balance::*;
pub use dialogues::*;
#[cfg(any(feature = "embed", feature = "embed-http"))]
pub use embed::*;
pub use eval::*;
pub use events::*;
pub use ids::*;
pub use pipeline::*;
pub use prep::*;
pub use sweep::*;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe demo
  sememe train items.npy -o codec.safetensors --levels 3 --codebook-size 256
  sememe encode codec.safetensors items.npy -o codes.parquet
  sememe decode codec.safetensors codes.parquet -o rows.npy
  sememe eval codec.safetensors items.npy --report report.html --names items.jsonl
  sememe format codes.parquet -o ids.jsonl --codec codec.safetensors --style lc-rec

Exit codes: 0 done, 2 usage, 3 bad data, 4 device, 5 store, 6 endpoint, 130 interrupted.";

/// Semantic IDs from embeddings: short tuples of codes, coarse to fine, that name an item by what it means
#[derive(Debug, Parser)]
#[command(name = "sememe", version, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Common {
    /// Print one JSON object to stdout instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress, no notes and no summary of what was written
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log details to stderr; give it twice for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Threads to use [default: one per core]; the number changes no result
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train on 4,149 built-in Debian packages, show their IDs and write a report; needs no file and no network
    Demo(Demo),
    /// Run a whole pipeline from one TOML file, from a catalogue to tokens and a report; skips what is up to date
    Run(Run),
    /// Write a configuration for `run` with all settings and comments
    Init(InitFile),
    /// Make one clean text for each item of a catalogue
    Prep(Box<Prep>),
    /// Turn texts into embeddings with a server or a model in a folder; embeds only what changed
    #[cfg(any(feature = "embed", feature = "embed-http"))]
    Embed(Box<Embed>),
    /// Fit a codec to embeddings
    Train(Box<Train>),
    /// Turn embeddings into codes
    Encode(Encode),
    /// Turn codes back into embeddings
    Decode(Decode),
    /// Measure how good IDs are: those of a codec, of any table of codes, or two side by side
    Eval(Box<Eval>),
    /// Try a grid of settings and show the best trade-offs; continues after a stop
    Sweep(Box<Sweep>),
    /// Give every item a permanent ID, kept in a store
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    Assign(Box<Assign>),
    /// Show the ID of an item, or the items with an ID or a prefix
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    Lookup(Lookup),
    /// Remove items from a store; their IDs are not given out again unless `assign --reuse-deleted` asks for it
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    Delete(Delete),
    /// Give items that share their codes IDs of their own
    Resolve(Box<Resolve>),
    /// Rename the codewords of a retrained codec so that items keep their codes
    Align(Align),
    /// Show how many items' codes differ between two codecs or two files of codes
    Churn(Churn),
    /// Write codes as text that people and language models read
    Format(Format),
    /// Read text that `format` wrote back into codes
    Parse(Parse),
    /// Write the files that language models are trained and served with: vocabulary, index, items, trie
    Export(Box<Export>),
    /// Write training data for a language model: IDs from queries, facts from IDs, next items from histories
    Dialogues(Box<Dialogues>),
    /// Show which tokens may follow a prefix in a trie, and which items it names
    Trie(TrieArgs),
    /// Check a configuration (`config check sememe.toml`) or print settings (`config print lc-rec`)
    Config(Config),
    /// Describe a codec and how it was trained
    Show(Show),
    /// Show what this program can use here: processor, GPU, threads, features
    Doctor,
    /// Print a completion script for a shell
    Completions(Completions),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// A hardware GPU for 50,000 rows or more, else the CPU
    Auto,
    /// The CPU
    Cpu,
    /// A GPU; a software one if there is no other
    Gpu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnBad {
    /// Stop, naming the first such row and how many there are
    Refuse,
    /// Leave them out and say how many
    Drop,
}

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

/// Where rows come from and what is done with bad ones.
#[derive(Debug, Args)]
pub struct Rows {
    /// Further files, whose rows follow those of the first; a folder stands for its files, in the order of their names
    #[arg(value_name = "MORE", value_hint = ValueHint::AnyPath)]
    pub more: Vec<PathBuf>,
    /// Array (.npz), tensor (.safetensors), column (.parquet) or field (.jsonl) to read [default: `embeddings`, or the only one]
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,
    /// What to do with rows that hold NaN or infinity
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT", hide_possible_values = true)]
    #[arg(help = "What to do with rows that hold NaN or infinity: refuse the file, or drop them and count them")]
    pub on_bad: OnBad,
}

#[derive(Debug, Args)]
pub struct OnDevice {
    #[arg(long, value_enum, default_value = "auto", hide_possible_values = true)]
    #[arg(help = "auto, cpu or gpu; auto takes a hardware GPU for 50,000 rows or more, else the CPU. \
                  A codec gives the same codes on every device")]
    pub device: DeviceChoice,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Page to write
    #[arg(long, short, value_name = "PAGE.html", default_value = "sememe-demo.html", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub on: OnDevice,
}

#[derive(Debug, Args)]
pub struct Train {
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
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Mini-batches, for files larger than memory")]
pub struct MiniBatchFlags {
    #[arg(long, value_enum, default_value = "kmeans", hide_possible_values = true)]
    #[arg(help = "kmeans (all rows in memory), minibatch (reads rows as it needs them; takes --levels, \
                  --codebook-size, --seed, --metric and --normalize-residuals) or rqvae (see below)")]
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
pub struct Config {
    #[command(subcommand)]
    pub action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Check a configuration of `run` without running it, and show what it would do
    Check(CheckConfig),
    /// Print all settings of an RQ-VAE, as TOML for `train --config`
    Print {
        /// sememe, tiger, lc-rec, animind or residual-vq
        #[arg(value_name = "PRESET", default_value = "sememe")]
        preset: String,
    },
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Codebooks")]
pub struct Codebooks {
    /// Settings to start from; other options override them
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true)]
    #[arg(help = "Settings to start from, which other options override. basil: 3 levels of 1024, 20 iterations, \
                  tolerance 1e-4, PCA to 0.95 of the variance and at most 256 dimensions, whitening")]
    pub preset: Option<Preset>,
    /// Codes in an ID [default: 3]
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
    #[arg(help = "How rows are compared with codewords: squared-l2 or cosine")]
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
    /// has grown; with --method rqvae this is RQ-KMeans+, whose networks change nothing at first
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Preprocessing, undone by decode")]
pub struct PreprocessFlags {
    /// Subtract the mean row
    #[arg(long)]
    pub center: bool,
    /// Keep the fewest principal components that hold this share of the variance [without a number: 0.95]
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.95")]
    pub pca: Option<f64>,
    /// Keep at most this many principal components; without --pca exactly this many [default with --pca: 256]
    #[arg(long, value_name = "N")]
    pub pca_dims: Option<usize>,
    /// Scale every principal component to unit variance
    #[arg(long)]
    pub whiten: bool,
    /// Divide every row by its L2 norm, after the steps above
    #[arg(long)]
    pub normalize: bool,
    /// Divide the residual of every row by its L2 norm before every level, as GRID does
    #[arg(long)]
    pub normalize_residuals: bool,
}

#[derive(Debug, Args)]
pub struct Encode {
    /// Codec to encode with
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
    /// Embeddings [rows, dims]: .npy, .npz, .safetensors, .parquet, .jsonl or a folder of them
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// Codes to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
    /// Prefixes to keep per row; 1 is greedy, more gives a smaller error and takes longer [default: the codec's own]
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    /// Rows to read and encode at a time [default: about 32 MiB of them]
    #[arg(long, value_name = "N")]
    pub batch_rows: Option<usize>,
}

#[derive(Debug, Args)]
pub struct Decode {
    /// Codec that made the codes
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
    /// Codes: .npy, .parquet, .jsonl or .csv
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// Rows to write: .npy or .safetensors
    #[arg(long, short, value_name = "ROWS", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Use only the first M codes of each ID [default: all]
    #[arg(long, value_name = "M")]
    pub depth: Option<usize>,
}

#[derive(Debug, Args)]
pub struct Show {
    /// Codec to describe
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", value_enum, hide_possible_values = true)]
    pub shell: clap_complete::Shell,
}
