//! Flags of the verbs that make and keep IDs.

use super::{OnDevice, Rows};
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Debug, Args)]
pub struct Assign {
    /// Codec to encode with; a store holds IDs of one codec
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
    /// Embeddings [rows, dims]: .npy, .npz, .safetensors, .parquet, .jsonl or a folder of them
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// The items, in the order of the rows: .jsonl, .jsonl.gz, .csv or .parquet, or a folder of them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keys: PathBuf,
    /// Field or column with each item's key
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub key: String,
    /// Where IDs are kept, made if it does not exist: an SQLite file, or a Redis server as redis://host:6379/0 or
    /// unix:///run/redis.sock, with ?namespace=NAME if it holds several stores
    #[arg(long, value_name = "STORE", value_hint = ValueHint::FilePath)]
    pub store: PathBuf,
    /// Give new items the IDs of deleted items with the same codes first
    #[arg(long)]
    pub reuse_deleted: bool,
    /// Codes with counters to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "IDS", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
    /// Prefixes to keep per row while encoding [default: the codec's own]
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    /// Items per transaction; each is kept whole or not at all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub batch_items: usize,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What is done about a store that others use, or that went away.
#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Seconds to wait for other processes, and for a server that went away, before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub patience: u64,
}

#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Clone, Debug, Args)]
pub struct Lookup {
    /// SQLite file or redis:// URL that `assign` filled
    #[arg(value_name = "STORE", value_hint = ValueHint::FilePath)]
    pub store: PathBuf,
    /// Keys of items, to show their IDs
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Show the items of this ID: 12-5-33 for all with these codes, 12-5-33-1 for the one with this counter
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Show the items whose IDs begin with these codes: 12-5
    #[arg(long, value_name = "CODES")]
    pub prefix: Option<String>,
    /// List at most this many items
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub most: usize,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Clone, Debug, Args)]
pub struct Delete {
    /// SQLite file or redis:// URL that `assign` filled
    #[arg(value_name = "STORE", value_hint = ValueHint::FilePath)]
    pub store: PathBuf,
    /// Keys of items to delete
    #[arg(value_name = "KEY", required_unless_present = "items")]
    pub keys: Vec<String>,
    /// More items to delete: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub items: Option<PathBuf>,
    /// Field or column with each item's key
    #[arg(long, value_name = "NAME", default_value = "id", requires = "items")]
    pub key: String,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Align {
    /// Retrained codec, whose codewords are to be renamed
    #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
    pub new: PathBuf,
    /// Codec whose IDs are in use
    #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub old: PathBuf,
    /// Embeddings of the items whose IDs are in use [default: what random IDs of OLD decode to]
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
    /// The renamed codec to write, a .safetensors file
    #[arg(long, short, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
}

#[derive(Debug, Args)]
pub struct Churn {
    /// Codec of the IDs in use
    #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub old: Option<PathBuf>,
    /// Codec that may replace it
    #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
    pub new: Option<PathBuf>,
    /// Embeddings that both encode
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
    /// Two files with codes of the same rows, instead of codecs and rows: .npy, .parquet, .jsonl or .csv
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], value_hint = ValueHint::FilePath, conflicts_with_all = ["old", "new", "input"])]
    pub codes: Option<Vec<PathBuf>>,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyChoice {
    Suffix,
    ExtraLevel,
    Relocate,
    Error,
}

#[derive(Debug, Args)]
pub struct Resolve {
    /// Codes: .npy, .parquet, .jsonl or .csv
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// Codes to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// The items, in the order of the encoded rows: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub items: PathBuf,
    /// Field or column with each item's key, which decides the order of items with the same codes
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub key: String,
    #[arg(long, value_enum, default_value = "suffix", hide_possible_values = true)]
    #[arg(
        help = "What to do with items that have the same codes. suffix and extra-level: append a number, 0 for the first item \
                  (`format --counter` writes a suffix as 12-5-33-1; an extra level keeps all IDs at one length); relocate: \
                  move items to other codes, at the least added squared L2; error: refuse"
    )]
    pub policy: PolicyChoice,
    /// Codec that made the codes, for relocation
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath, requires = "rows")]
    pub codec: Option<PathBuf>,
    /// Embeddings that were encoded, for relocation
    #[arg(long, value_name = "IN", value_hint = ValueHint::FilePath, requires = "codec")]
    pub rows: Option<PathBuf>,
    /// Array, tensor or column of the embeddings [default: `embeddings`, or the only one]
    #[arg(long, value_name = "NAME", requires = "rows")]
    pub array: Option<String>,
    /// Items that may share an ID after relocation
    #[arg(long, value_name = "N", default_value_t = 1, requires = "rows")]
    pub capacity: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StyleChoice {
    Plain,
    LcRec,
    #[value(name = "openonerec")]
    OpenOneRec,
    Sem,
    Animind,
}

/// How IDs are spelled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Spelling")]
pub struct Spelling {
    #[arg(long, value_enum, default_value = "plain", hide_possible_values = true)]
    #[arg(help = "plain 12-5-33, lc-rec <a_12><b_5><c_33>, openonerec <|sid_begin|><s_a_12>…<|sid_end|>, sem \
                  [SEM_START][SEM_0_12]…[SEM_END], animind <L1_12> <L2_5> <L3_33>; the options below override its parts")]
    pub style: StyleChoice,
    /// Token of one code, with {code} and optionally {level} (from 0), {level1} (from 1) or {letter}
    #[arg(long, value_name = "TEMPLATE")]
    pub token: Option<String>,
    /// Text between two tokens
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub separator: Option<String>,
    /// Text before the first token
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub begin: Option<String>,
    /// Text after the last token
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub end: Option<String>,
    /// Number of the first codeword of a level
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first: u32,
    /// Continue the numbering from level to level: 12, 256 + 5, 512 + 33
    #[arg(long)]
    pub cumulative: bool,
    /// The last number of an ID counts items with the same codes, and is left out where it is 0: 12-5-33 and 12-5-33-1
    #[arg(long)]
    pub counter: bool,
}

/// The codebooks that IDs are made of.
#[derive(Debug, Args)]
#[command(next_help_heading = "Codebooks (one of these is required)")]
pub struct Sizes {
    /// The codec that made the codes
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: Option<PathBuf>,
    /// Codewords per level, if there is no codec: one number for all levels, or one for each as in 512,256,128
    #[arg(long, value_name = "K", value_delimiter = ',', num_args = 1, conflicts_with = "codec")]
    pub codebook_size: Option<Vec<usize>>,
}

#[derive(Debug, Args)]
pub struct Format {
    /// Codes: .npy, .parquet, .jsonl or .csv
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// IDs to write, one a line: .txt, or with row numbers .jsonl or .csv
    #[arg(long, short, value_name = "IDS", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub sizes: Sizes,
    #[command(flatten)]
    pub spelling: Spelling,
}

#[derive(Debug, Args)]
pub struct Parse {
    /// IDs, one a line: .txt, .jsonl or .csv; or the index.json that export writes, whose keys are kept
    #[arg(value_name = "IDS", value_hint = ValueHint::FilePath)]
    pub ids: PathBuf,
    /// Codes to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub sizes: Sizes,
    /// Codes in an ID, if --codebook-size gives one number for all levels
    #[arg(long, value_name = "N")]
    pub levels: Option<usize>,
    #[command(flatten)]
    pub spelling: Spelling,
}

#[derive(Debug, Args)]
pub struct Export {
    /// Codes: .npy, .parquet, .jsonl or .csv
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// Folder to write to, made if it does not exist: vocabulary.json, special_tokens.json, index.json, items.jsonl, ids.trie;
    /// with --title info.tsv, with --tokenizer tokenizer.json, with --static static.npz, with --python-helper sememe_trie.py
    #[arg(long, short, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub sizes: Sizes,
    #[command(flatten)]
    pub spelling: Spelling,
    /// The items, in the order of the encoded rows: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Items")]
    pub items: Option<PathBuf>,
    /// Field or column with each item's key; without --items keys are row numbers
    #[arg(long, value_name = "NAME", default_value = "id", requires = "items", help_heading = "Items")]
    pub key: String,
    /// Field or column with each item's title, for info.tsv
    #[arg(long, value_name = "NAME", requires = "items", help_heading = "Items")]
    pub title: Option<String>,
    /// Number of the first new token: the size of the model's vocabulary [default: 0; with --tokenizer, where its tokens end]
    #[arg(long, value_name = "N", help_heading = "Tokens")]
    pub first_token_id: Option<u32>,
    /// The model's tokenizer.json (Hugging Face); it is written again with the new tokens added
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath, help_heading = "Tokens")]
    pub tokenizer: Option<PathBuf>,
    /// Number of the model's token that ends an ID [default: the spelling's own, if it has one]
    #[arg(long, value_name = "N", help_heading = "Tokens")]
    pub end_token_id: Option<u32>,
    /// Text of the model's token that ends an ID, such as </s>; the tokenizer knows its number
    #[arg(long, value_name = "TEXT", requires = "tokenizer", conflicts_with = "end_token_id", help_heading = "Tokens")]
    pub end_token: Option<String>,
    /// A special token of your own, such as [REC]; may be given several times
    #[arg(long, value_name = "TEXT", help_heading = "Tokens")]
    pub special_token: Vec<String>,
    /// Write no trie
    #[arg(long, conflicts_with_all = ["end_token_id", "end_token", "layout", "python_helper"], help_heading = "Constrained decoding")]
    pub no_trie: bool,
    /// Write sememe_trie.py: the trie for transformers' prefix_allowed_tokens_fn, with numpy alone
    #[arg(long, help_heading = "Constrained decoding")]
    pub python_helper: bool,
    #[arg(
        long = "static",
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true,
        help_heading = "Constrained decoding"
    )]
    #[arg(help = "Also write the trie's arrays for STATIC's decoders in PyTorch and JAX: npz or safetensors")]
    pub layout: Option<StaticFormat>,
    /// How many first tokens STATIC looks up in dense tables, 1 or 2; tables for 2 take 5 bytes per pair of tokens
    #[arg(long, value_name = "N", default_value_t = 2, requires = "layout", help_heading = "Constrained decoding")]
    pub static_dense: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StaticFormat {
    Npz,
    Safetensors,
}

#[derive(Debug, Args)]
pub struct TrieArgs {
    /// Trie that `export` wrote
    #[arg(value_name = "TRIE", value_hint = ValueHint::FilePath)]
    pub trie: PathBuf,
    /// Numbers of the tokens so far
    #[arg(value_name = "TOKEN")]
    pub prefix: Vec<u32>,
    /// First read all of it and check its hash
    #[arg(long)]
    pub verify: bool,
}
