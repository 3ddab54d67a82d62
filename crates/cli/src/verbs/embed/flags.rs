//! Flags of `sememe embed`.

use crate::embedder::{EndpointFlags, LocalFlags};
use crate::flags::OnDuplicateChoice;
use clap::{Args, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe embed items.sqlite --url http://localhost:8000/v1 --model BAAI/bge-m3 --rows items.npy --keys items.keys.jsonl
  sememe embed items.jsonl --key sku -o vectors.sqlite --url http://localhost:11434/v1 --model all-minilm --normalize
  sememe embed items.csv -o vectors.sqlite --url https://api.openai.com/v1 --model text-embedding-3-small \\
      --api-key-env OPENAI_API_KEY --dimensions 512
  sememe embed tokenizer.sqlite --animind --url http://localhost:8000/v1 --model tencent/KaLM-Embedding-Gemma3-12B-2511
  sememe embed items.sqlite --model-folder models/all-MiniLM-L6-v2 --rows items.npy --keys items.keys.jsonl

Run again, it embeds only texts that are new or changed; after a stop or an error, only what is missing.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Items with key and text: an SQLite file, .jsonl, .jsonl.gz, .csv or .parquet
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    // Plain ones first: a heading goes on until the next.
    /// Name of the model at the server; with --model-folder, the name to keep with the vectors [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Texts per batch: one request, and the most that a kill may lose
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch_items: usize,
    /// Values per vector, for models that can shorten them
    #[arg(long, value_name = "N")]
    pub dimensions: Option<usize>,
    /// Divide every vector by its L2 norm
    #[arg(long)]
    pub normalize: bool,
    /// Text to put before every text, as some models need it: 'passage: '
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
    /// Embed all texts again, whatever the table holds; to continue after a stop, leave it out
    #[arg(long)]
    pub rebuild: bool,
    /// Remove vectors from the table whose items no longer exist
    #[arg(long, conflicts_with = "limit")]
    pub prune: bool,
    /// Show what would be embedded, without a request and without writing
    #[arg(long)]
    pub dry_run: bool,
    /// End well without the items whose text the model cannot embed, and name them; the next run tries them again
    #[arg(long)]
    pub skip_failed: bool,
    #[command(flatten)]
    pub items: EmbedItems,
    #[command(flatten)]
    pub kept: EmbedKept,
    #[command(flatten)]
    pub endpoint: EndpointFlags,
    #[command(flatten)]
    pub local: LocalFlags,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Items")]
pub struct EmbedItems {
    /// Table or view of an SQLite file [default: the only one with both columns]
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// Column or field with each item's key [default: id]
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Column or field with each item's text [default: text]
    #[arg(long, value_name = "NAME")]
    pub text: Option<String>,
    /// Column of an SQLite table with the time at which a text was prepared; it may be missing [default: prepared_at]
    #[arg(long, value_name = "NAME")]
    pub prepared_at: Option<String>,
    /// Use AniMind's names: anime_id and anime_text in anime_prep, vectors in anime_embeddings
    #[arg(long)]
    pub animind: bool,
    /// Read only the first N items
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Leave out items without a text, and count them
    #[arg(long)]
    pub skip_empty: bool,
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT", hide_possible_values = true)]
    #[arg(
        help = "What to do with several items of one key: refuse them, or keep the first or the last and say how many were left out"
    )]
    pub on_duplicate: OnDuplicateChoice,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Vectors")]
pub struct EmbedKept {
    /// SQLite file to keep vectors in, made if it does not exist [default: IN, if it is one]
    #[arg(long, short, value_name = "DB", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Table for the vectors in that file [default: embeddings]
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    /// Column for keys in that table [default: as --key]
    #[arg(long, value_name = "NAME")]
    pub into_key: Option<String>,
    /// Also write the vectors of all items, for `train`: .npy or .safetensors
    #[arg(long, value_name = "ROWS", value_hint = ValueHint::FilePath)]
    pub rows: Option<PathBuf>,
    /// Also write the keys of those rows: .jsonl with the field `id`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "rows")]
    pub keys: Option<PathBuf>,
    /// Seconds to wait while another process holds the database
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub patience: u64,
}
