//! Flags of `sememe serve`.

use crate::embedder::{EndpointFlags, LocalFlags};
use crate::flags::DeviceChoice;
use crate::id_format::StyleChoice;
use crate::precision::PrecisionChoice;
use clap::{Args, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe serve run/
  sememe serve run/ --address 0.0.0.0:8080 --tokens tokens.txt
  sememe serve --codec codec.safetensors --store ids.sqlite --items items.jsonl
  sememe serve run/ --model-folder all-MiniLM-L6-v2 --language tuned/ --ask 'What else is like it?'

Signals: SIGTERM and SIGINT finish what was begun and leave, SIGHUP loads everything again without losing a request.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Folder that `sememe run` wrote; files that flags name stand for its own
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath, required_unless_present = "codec")]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub served: ServedFlags,
    #[command(flatten)]
    pub models: ModelFlags,
    #[command(flatten)]
    pub endpoint: EndpointFlags,
    #[command(flatten)]
    pub local: LocalFlags,
    #[command(flatten)]
    pub manners: MannerFlags,
}

/// What is served.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Items")]
pub struct ServedFlags {
    /// Codec to encode with
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: Option<PathBuf>,
    /// Store that gives out IDs, made if it does not exist: an SQLite file, or redis:// and unix:/// URLs
    #[arg(long, value_name = "STORE", value_hint = ValueHint::FilePath, conflicts_with = "ids")]
    pub store: Option<PathBuf>,
    /// IDs in a file instead, which stay as they are: .jsonl with `id`, `codes` and `counter`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ids: Option<PathBuf>,
    /// The items: .jsonl with a key, and title and text where there are such
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub items: Option<PathBuf>,
    /// Field with each item's key
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub key: String,
    /// Field with each item's title, by which it is found
    #[arg(long, value_name = "NAME", default_value = "title")]
    pub title: String,
    /// The items' vectors, in their order, for search by distance
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub vectors: Option<PathBuf>,
    #[arg(long, value_enum, hide_possible_values = true)]
    #[arg(
        help = "How IDs are written: plain, lc-rec, openonerec, sem or animind [default: as the run does, or plain]"
    )]
    pub style: Option<StyleChoice>,
    /// Seconds to wait for other users of the store
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub patience: u64,
    /// Device to encode and recommend on
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceChoice,
}

/// What recommends, speaks, and reads texts.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Models")]
pub struct ModelFlags {
    /// Recommender that `recommend train` wrote
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub recommender: Option<PathBuf>,
    /// Folder with a language model that knows the IDs, as `recommend tune --bundle` writes it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub language: Option<PathBuf>,
    /// Text after which the language model's answer is an ID [default: the whole answer is]
    #[arg(long, value_name = "TEXT", requires = "language", allow_hyphen_values = true)]
    pub marker: Option<String>,
    /// A question that the page shows as an example
    #[arg(long, value_name = "TEXT", requires = "language")]
    pub ask: Option<String>,
    #[arg(long, value_enum, default_value = "f32", hide_possible_values = true)]
    #[arg(help = "Arithmetic of the language model: f32, f16 (GPUs that have it) or bf16 (processors that have it)")]
    pub precision: PrecisionChoice,
    /// Name of the model of texts at the endpoint
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Values per vector of a text, for models that can shorten them
    #[arg(long, value_name = "N")]
    pub dimensions: Option<usize>,
    /// Divide every vector of a text by its L2 norm, if those of the items are
    #[arg(long)]
    pub normalize: bool,
    /// Text to put before every text, as some models need it: 'query: '
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
}

/// Who may ask, and how much.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Service")]
pub struct MannerFlags {
    /// Address to listen at; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub address: String,
    /// File with the bearer tokens that let in, one a line; or the environment variable SEMEME_TOKENS [default: everybody may ask]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub tokens: Option<PathBuf>,
    /// Longest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32)]
    pub body_mib: usize,
    /// Most rows, texts, items or queries of a request
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    pub rows: usize,
    /// Seconds that a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub seconds: f64,
    /// Requests that are worked on at once; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub requests: usize,
    /// Connections at once; more wait
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub connections: usize,
    /// Milliseconds that rows of several requests may wait for each other, for codecs that encode them faster together
    #[arg(long, value_name = "MS", default_value_t = 1.0)]
    pub gather: f64,
    /// Seconds that requests may take to finish once the service is told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub stop_seconds: f64,
    /// Let logs hold what clients send: paths with keys, IDs and words
    #[arg(long)]
    pub log_content: bool,
}
