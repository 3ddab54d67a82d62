//! Flags of `sememe eval`.

use crate::flags::{EventFlags, OnDevice, Rows, UnknownItems};
use crate::id_format::StyleChoice;
use clap::{Args, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe eval codec.safetensors items.npy --report report.html --names items.jsonl
  sememe eval codec.safetensors items.npy --report report.html --names items.jsonl --keys items.jsonl --ids ids.parquet
  sememe eval --codes codes.npy --codebook-size 256
  sememe eval --codes codes.npy items.npy --labels items.jsonl.gz --label section
  sememe eval codec.safetensors items.npy --codes resolved.parquet
  sememe eval codec.safetensors items.npy --against other.safetensors --interactions events.jsonl.gz";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Codec to measure; may be left out with --codes
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: Option<PathBuf>,
    /// Embeddings [rows, dims]: .npy, .npz, .safetensors, .parquet, .jsonl or a folder of them; may be left out with --codes
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
    /// Table of codes [items, levels] to measure instead of encoding: .npy, .parquet, .jsonl, .csv or index.json
    #[arg(long, value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: Option<PathBuf>,
    /// Codewords per level of tables of codes: one number for all levels, or one for each [default: the codec's, or the highest code + 1]
    #[arg(long, value_name = "K", value_delimiter = ',', num_args = 1)]
    pub codebook_size: Option<Vec<usize>>,
    /// Another codec (.safetensors) or table of codes to compare with the first, on the same items
    #[arg(long, value_name = "OTHER", value_hint = ValueHint::FilePath)]
    pub against: Option<PathBuf>,
    /// Rows to draw for measuring neighbour recall; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub queries: usize,
    /// Seed for every draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
    /// Prefixes to keep per row while encoding [default: the codec's own]
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    #[command(flatten)]
    pub labels: LabelFlags,
    #[command(flatten)]
    pub behaviour: BehaviourFlags,
    #[command(flatten)]
    pub event_fields: EventFlags,
    #[command(flatten)]
    pub report: ReportFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Labels: do items under one prefix have the same label?")]
pub struct LabelFlags {
    /// Labels of the items, in the order of the rows: .jsonl, .jsonl.gz, .csv or .parquet
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "label")]
    pub labels: Option<PathBuf>,
    /// Field or column that holds the label; may be given several times
    #[arg(long, value_name = "NAME", requires = "labels")]
    pub label: Vec<String>,
    /// Match labels to items by this field of the labels' file, in any order; needs --keys
    #[arg(long, value_name = "NAME", requires = "labels", requires = "keys")]
    pub label_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Behaviour: do IDs agree with what users did?")]
pub struct BehaviourFlags {
    /// Events of users: .jsonl (`items` for each user, or an event a line), .csv, .tsv or .parquet (an event a row), or .npy ([events, 2 or 3])
    #[arg(long, visible_alias = "sequences", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub interactions: Option<PathBuf>,
    /// Keys of the items in the order of the rows, if items are not named by row number: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keys: Option<PathBuf>,
    /// Field or column that holds the key
    #[arg(long, value_name = "NAME", default_value = "id", requires = "keys")]
    pub key: String,
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT", hide_possible_values = true)]
    #[arg(help = "What to do with events of unknown items: refuse the file, or drop them and count them")]
    pub unknown: UnknownItems,
    /// Neighbours per item, by common users
    #[arg(long, value_name = "K", default_value_t = 20)]
    pub co_neighbours: usize,
    /// Common users that make two items neighbours
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub min_support: usize,
    /// Weight of an event relative to the one after it, when the next item is ranked
    #[arg(long, value_name = "FACTOR", default_value_t = 0.8)]
    pub decay: f64,
    /// Draw at most this many users to rank next items for [default: all]
    #[arg(long, value_name = "N")]
    pub users: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub struct ReportFlags {
    /// HTML page to write, in one file that works offline: search, the tree of prefixes, loads, errors and collisions
    #[arg(long, value_name = "PAGE.html", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Names of the items in the order of the rows: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "report")]
    pub names: Option<PathBuf>,
    /// Field or column that holds the name
    #[arg(long, value_name = "NAME", default_value = "title", requires = "names")]
    pub field: String,
    /// Field or column with a line about the item, shown after its name
    #[arg(long, value_name = "NAME", requires = "names")]
    pub detail: Option<String>,
    /// IDs after collisions were resolved, as `assign` and `resolve` write them; the page shows and finds these
    #[arg(long, value_name = "IDS", value_hint = ValueHint::FilePath, requires = "report")]
    pub ids: Option<PathBuf>,
    /// How IDs are written as text, so that the page finds them by it
    #[arg(long, value_enum, default_value = "plain", value_name = "STYLE", requires = "report")]
    pub style: StyleChoice,
    /// metrics.jsonl of an RQ-VAE's training, for its losses over time
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "report")]
    pub metrics: Option<PathBuf>,
}
