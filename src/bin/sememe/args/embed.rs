//! Flags of `sememe embed`.

use clap::{Args, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe embed items.sqlite --url http://localhost:8000/v1 --model BAAI/bge-m3 --rows items.npy --keys items.keys.jsonl
  sememe embed items.jsonl --key sku -o vectors.sqlite --url http://localhost:11434/v1 --model all-minilm --normalize
  sememe embed items.csv -o vectors.sqlite --url https://api.openai.com/v1 --model text-embedding-3-small \\
      --api-key-env OPENAI_API_KEY --dimensions 512
  sememe embed tokenizer.sqlite --animind --url http://localhost:8000/v1 --model tencent/KaLM-Embedding-Gemma3-12B-2511

Run again, it asks only for texts that are new or changed; after a stop or an error, for what is missing.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Embed {
    /// Items with key and text: an SQLite file, .jsonl, .jsonl.gz, .csv or .parquet
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    #[command(flatten)]
    pub items: EmbedItems,
    #[command(flatten)]
    pub kept: EmbedKept,
    #[command(flatten)]
    pub endpoint: EndpointFlags,
    /// Divide every vector by its L2 norm
    #[arg(long)]
    pub normalize: bool,
    /// Put this before every text, as some models want it: 'passage: '
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
    /// Ask for all texts again, whatever the table holds; to go on after a stop, leave it out
    #[arg(long)]
    pub rebuild: bool,
    /// Take vectors out of the table whose items are not there any more
    #[arg(long, conflicts_with = "limit")]
    pub prune: bool,
    /// Say what would be asked for, and neither ask nor write
    #[arg(long)]
    pub dry_run: bool,
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
    /// Column of an SQLite table with the time at which a text was prepared; passed over where there is none [default:
    /// prepared_at]
    #[arg(long, value_name = "NAME")]
    pub prepared_at: Option<String>,
    /// AniMind's names: anime_id and anime_text in anime_prep, vectors in anime_embeddings
    #[arg(long)]
    pub animind: bool,
    /// The first so many items only
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Leave out items without a text, and say how many
    #[arg(long)]
    pub skip_empty: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Vectors")]
pub struct EmbedKept {
    /// SQLite file to keep vectors in, made if it is not there [default: IN, if it is one]
    #[arg(long, short, value_name = "DB", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Its table for them [default: embeddings]
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    /// That table's column for keys [default: as --key]
    #[arg(long, value_name = "NAME")]
    pub into_key: Option<String>,
    /// Write the vectors of all items too, for `train`: .npy or .safetensors
    #[arg(long, value_name = "ROWS", value_hint = ValueHint::FilePath)]
    pub rows: Option<PathBuf>,
    /// Write the keys of those rows: .jsonl with the field `id`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "rows")]
    pub keys: Option<PathBuf>,
    /// Seconds to wait for another process that holds a database
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub patience: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Endpoint")]
pub struct EndpointFlags {
    /// Base of an OpenAI-compatible server, such as http://localhost:8000/v1
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// The model's name there
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Environment variable that holds the key [default: no key is sent]
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// Values a vector, for models that can shorten them
    #[arg(long, value_name = "N")]
    pub dimensions: Option<usize>,
    /// Further fields of the request, as a JSON object: '{"truncate_prompt_tokens":512}'
    #[arg(long, value_name = "JSON")]
    pub extra: Option<String>,
    /// Texts a request
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch_items: usize,
    /// Requests at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub concurrency: usize,
    /// Seconds that a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub timeout: f64,
    /// Further tries after 408, 429, 5xx, a timeout or a broken connection
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub retries: u32,
    /// Seconds before the first of those, doubled for each further one; Retry-After goes before it
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    pub backoff: f64,
}
