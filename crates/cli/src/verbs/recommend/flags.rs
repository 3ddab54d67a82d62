//! Flags of `sememe recommend`.

use crate::embedder::{EndpointFlags, LocalFlags};
use crate::flags::{EventFlags, OnDevice, UnknownItems};
use crate::precision::PrecisionChoice;
#[cfg(feature = "language")]
use crate::verbs::recommend::language_flags::{ChatEvalFlags, TuneFlags};
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Flags {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Train a recommender on what users took, item by item
    Train(Box<TrainFlags>),
    /// Show the items that may come next after a history, or after a wish in words
    Query(Box<QueryFlags>),
    /// Measure how high a recommender ranks the item that came next
    Eval(EvalFlags),
    /// Train the same recommender on several tables of IDs, and compare what it reaches
    Compare(Box<CompareFlags>),
    /// Teach a language model the IDs: fine-tune it on chats
    #[cfg(feature = "language")]
    Tune(Box<TuneFlags>),
    /// Measure how often a language model names the item that a chat asks for
    #[cfg(feature = "language")]
    EvalChats(ChatEvalFlags),
}

const TRAIN_EXAMPLES: &str = "\
Examples:
  sememe recommend train --interactions events.jsonl.gz --ids codes.npy --vectors items.npy -o recommender.safetensors
  sememe recommend train --interactions events.csv --ids ids.parquet --vectors items.npy --keys items.jsonl -o recommender.safetensors
  sememe recommend train --interactions events.jsonl.gz --identities -o sasrec.safetensors
  sememe recommend train --interactions events.jsonl.gz --ids codes.npy --predict ordered -o tiger.safetensors";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PredictChoice {
    /// The next item among all items at once
    Items,
    /// The codes of its ID one after another, as TIGER does; IDs are searched for
    Ordered,
    /// All codes of its ID at once, one head a level, as RPG does; all items are ranked
    Levels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HoldOutChoice {
    /// The last item of each user tests, the one before validates: the protocol of published tables
    Test,
    /// The last item of each user validates: for a model that goes into use
    Validation,
}

/// What users did.
#[derive(Debug, Args)]
#[command(next_help_heading = "Histories")]
pub struct HistoryFlags {
    /// Events of users: .jsonl (`items` for each user, or an event a line), .csv, .tsv or .parquet (an event a row), or .npy ([events, 2 or 3])
    #[arg(long, visible_alias = "sequences", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub interactions: PathBuf,
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT", hide_possible_values = true)]
    #[arg(help = "What to do with events of unknown items: refuse the file, or drop them and count them")]
    pub unknown: UnknownItems,
    #[command(flatten)]
    pub fields: EventFlags,
}

#[derive(Debug, Args)]
#[command(after_help = TRAIN_EXAMPLES)]
pub struct TrainFlags {
    #[command(flatten)]
    pub histories: HistoryFlags,
    #[command(flatten)]
    pub items: ItemFlags,
    /// File to write the recommender to (.safetensors)
    #[arg(long, short, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// File that keeps the training's state after every epoch, and from which the same command goes on after a stop
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub training: TrainingFlags,
    #[command(flatten)]
    pub on: OnDevice,
}

/// What items are told apart by.
#[derive(Debug, Args)]
#[command(next_help_heading = "Items: at least one of --ids, --vectors and --identities")]
pub struct ItemFlags {
    /// IDs of the items, a row each: a table of codes, or IDs as `assign` and `resolve` write them
    #[arg(long, visible_alias = "codes", value_name = "IDS", value_hint = ValueHint::FilePath)]
    pub ids: Option<PathBuf>,
    /// Learn no vectors for prefixes of IDs, only for single codes: fewer parameters, and less to remember of single items
    #[arg(long, requires = "ids")]
    pub no_prefixes: bool,
    /// Embeddings of the items' texts, in the same order: .npy, .npz, .safetensors, .parquet or .jsonl
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub vectors: Option<PathBuf>,
    /// Learn a vector for each item besides, as SASRec does: more to remember, nothing for new items
    #[arg(long)]
    pub identities: bool,
    /// Keys of the items in the order of the rows, if items are not named by row number: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keys: Option<PathBuf>,
    /// Field or column that holds the key
    #[arg(long, value_name = "NAME", default_value = "id", requires = "keys")]
    pub key: String,
}

/// How the network is built and trained.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network and training")]
pub struct TrainingFlags {
    #[arg(long, value_enum, default_value = "items", value_name = "WHAT", hide_possible_values = true)]
    #[arg(
        help = "What is predicted: items, the next item among all at once; ordered, the codes of its ID one after another, as TIGER \
                  does; or levels, all codes of its ID at once, as RPG does. --ids are needed for the last two"
    )]
    pub predict: PredictChoice,
    /// Values of an item inside the network [default: 128]
    #[arg(long, value_name = "N")]
    pub dims: Option<usize>,
    /// Blocks [default: 2]
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,
    /// Heads of the attention [default: 2]
    #[arg(long, value_name = "N")]
    pub heads: Option<usize>,
    /// Values of the feed-forward layers [default: three times --dims]
    #[arg(long, value_name = "N")]
    pub feed_forward: Option<usize>,
    /// The latest items of a history that are read [default: 50]
    #[arg(long, value_name = "N")]
    pub positions: Option<usize>,
    /// Share of values that training leaves out [default: 0.4]
    #[arg(long, value_name = "SHARE")]
    pub dropout: Option<f64>,
    /// Share of each target that is spread over all items, or, with --predict ordered or levels, over all codes of its level [default: 0]
    #[arg(long, value_name = "SHARE")]
    pub smoothing: Option<f64>,
    /// Steps of histories that are taken to the device at a time: items, or codes with --predict ordered [default: 2048]
    #[arg(long, value_name = "N")]
    pub batch_tokens: Option<usize>,
    /// Batches that one update learns from: less memory than one as large [default: 1]
    #[arg(long, value_name = "N")]
    pub accumulate: Option<usize>,
    /// Passes over all histories, at most [default: 24]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Looks at the validation items without a better NDCG@10 after which training ends; 0 for never [default: 4]
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Epochs from one look to the next [default: 1]
    #[arg(long, value_name = "N")]
    pub validate_every: Option<usize>,
    /// Peak learning rate of AdamW [default: 0.002]
    #[arg(long, value_name = "RATE")]
    pub rate: Option<f64>,
    /// Share of all steps in which the rate rises [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    pub warmup: Option<f64>,
    /// Weight decay of the matrices [default: 0.0001]
    #[arg(long, value_name = "DECAY")]
    pub weight_decay: Option<f64>,
    /// Largest L2 norm of a step's gradient [default: any]
    #[arg(long, value_name = "NORM")]
    pub clip_norm: Option<f64>,
    #[arg(long, value_enum, default_value = "f32", hide_possible_values = true)]
    #[arg(help = "Arithmetic of products: f32, f16 (GPUs that have it) or bf16 (processors that have it)")]
    pub precision: PrecisionChoice,
    #[arg(long, value_enum, default_value = "test", hide_possible_values = true)]
    #[arg(help = "test: each user's last item tests, the one before validates, as published tables do it; \
                  validation: the last validates, for a model that goes into use")]
    pub hold_out: HoldOutChoice,
    /// Seed for every draw [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

const QUERY_EXAMPLES: &str = "\
Examples:
  sememe recommend query recommender.safetensors --history 17,4,256
  sememe recommend query recommender.safetensors --history B004756YJA,B004ZT0SSG -k 20 --names items.jsonl
  sememe recommend query recommender.safetensors --text 'a puzzle for children' --model-folder models/all-MiniLM-L6-v2";

#[derive(Debug, Args)]
#[command(after_help = QUERY_EXAMPLES)]
pub struct QueryFlags {
    /// Recommender that `recommend train` wrote
    #[arg(value_name = "RECOMMENDER", value_hint = ValueHint::FilePath)]
    pub recommender: PathBuf,
    /// Keys of the items taken so far, oldest first, or their row numbers if the recommender knows no keys; several times for several users
    #[arg(long, value_name = "ITEM,ITEM", required_unless_present_any = ["text", "vector"])]
    pub history: Vec<String>,
    /// What somebody wishes for, in words, read after the history; several times for several queries. Needs a recommender with --vectors
    /// and the model that made them, or a language model
    #[arg(long, value_name = "TEXT", conflicts_with = "vector")]
    pub text: Vec<String>,
    /// Vectors of wishes, a row a query, of the kind that the items' vectors are: .npy, .npz, .safetensors, .parquet or .jsonl
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub vector: Option<PathBuf>,
    /// Items to show
    #[arg(long, short, value_name = "N", default_value_t = 10)]
    pub k: usize,
    /// Show items of the history too, if they come out
    #[arg(long)]
    pub seen: bool,
    #[command(flatten)]
    pub search: SearchFlags,
    /// Names of the items in the order of the rows: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub names: Option<PathBuf>,
    /// Field or column that holds the name
    #[arg(long, value_name = "NAME", default_value = "title", requires = "names")]
    pub field: String,
    #[command(flatten)]
    pub spoken: SpokenFlags,
    #[command(flatten)]
    pub on: OnDevice,
    #[command(flatten)]
    pub wishes: WishFlags,
    #[command(flatten)]
    pub endpoint: EndpointFlags,
    #[command(flatten)]
    pub local: LocalFlags,
}

/// How the texts of wishes become vectors.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model of texts")]
pub struct WishFlags {
    /// Name of the model at the server
    #[arg(long, value_name = "NAME", requires = "text")]
    pub model: Option<String>,
    /// Values per vector, for models that can shorten them
    #[arg(long, value_name = "N", requires = "text")]
    pub dimensions: Option<usize>,
    /// Divide every vector by its L2 norm, if those of the items are
    #[arg(long, requires = "text")]
    pub normalize: bool,
    /// Text to put before every text, as some models need it: 'query: '
    #[arg(long, value_name = "TEXT", default_value = "", requires = "text")]
    pub prefix: String,
}

/// How a language model is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Language models")]
pub struct SpokenFlags {
    /// How a question is put, as the chats put it that the model learned from, with {text} or {history} where words or IDs go [default: {text}]
    #[arg(long, value_name = "TEXT")]
    pub ask: Option<String>,
    /// What is said first, as system
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[arg(long, value_enum, value_name = "PRECISION", hide_possible_values = true)]
    #[arg(
        help = "Arithmetic of products: f32, f16 (GPUs that have it) or bf16 (processors that have it) [default: f32]"
    )]
    pub precision: Option<PrecisionChoice>,
}

/// How IDs are found by a recommender that predicts them code by code.
#[derive(Debug, Args)]
#[command(next_help_heading = "Search, after --predict ordered")]
pub struct SearchFlags {
    /// Prefixes of IDs that the search follows, or IDs that are drawn; lists hold the items of so many IDs at most [default: 20, or -k if that is more]
    #[arg(long, value_name = "N")]
    pub beams: Option<usize>,
    /// Draw IDs at random by their probabilities instead of searching for the best
    #[arg(long)]
    pub sampling: bool,
    /// Divide log-probabilities by this before drawing: below 1 for the likely, above 1 for more variety
    #[arg(long, value_name = "T", default_value_t = 1.0, requires = "sampling")]
    pub temperature: f64,
    /// Draw only from the likeliest codes that together have this share of the probability
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, requires = "sampling")]
    pub top_p: f64,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0, requires = "sampling")]
    pub seed: u64,
}

const EVAL_EXAMPLES: &str = "\
Examples:
  sememe recommend eval recommender.safetensors --interactions events.jsonl.gz
  sememe recommend eval recommender.safetensors --interactions events.jsonl.gz --before-last 1 --hide-seen";

#[derive(Debug, Args)]
#[command(after_help = EVAL_EXAMPLES)]
pub struct EvalFlags {
    /// Recommender that `recommend train` wrote
    #[arg(value_name = "RECOMMENDER", value_hint = ValueHint::FilePath)]
    pub recommender: PathBuf,
    #[command(flatten)]
    pub histories: HistoryFlags,
    /// Ask for the item so many places before each user's last
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub before_last: usize,
    /// Leave items of the history out of the lists
    #[arg(long)]
    pub hide_seen: bool,
    /// Measure popularity and item-kNN on the same questions besides
    #[arg(long)]
    pub baselines: bool,
    /// Embeddings of the items, to measure the nearest to the mean of a history, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "baselines")]
    pub vectors: Option<PathBuf>,
    /// Prefixes of IDs that the search follows, after --predict ordered [default: 20]
    #[arg(long, value_name = "N")]
    pub beams: Option<usize>,
    #[command(flatten)]
    pub on: OnDevice,
}

const COMPARE_EXAMPLES: &str = "\
Examples:
  sememe recommend compare --ids ours.npy --ids theirs.json --interactions events.jsonl.gz -o comparison
  sememe recommend compare --ids a.npy --ids b.npy --interactions events.jsonl.gz --vectors items.npy --seeds 0,1,2 --sasrec -o comparison

What is trained is kept in the folder: the same command goes on after a stop, and another table or seed costs that one only.";

#[derive(Debug, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareFlags {
    #[command(flatten)]
    pub histories: HistoryFlags,
    #[command(flatten)]
    pub items: ComparedItemFlags,
    /// Folder for what is trained, and for the comparison: comparison.json
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    /// Seeds; each table is trained once with each
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "0", conflicts_with = "seed")]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub training: TrainingFlags,
    #[command(flatten)]
    pub on: OnDevice,
}

/// Tables that are compared, and what items have besides.
#[derive(Debug, Args)]
#[command(next_help_heading = "Items")]
pub struct ComparedItemFlags {
    /// IDs of the items, a row each: once for each table
    #[arg(long, visible_alias = "codes", value_name = "IDS", required = true, value_hint = ValueHint::FilePath)]
    pub ids: Vec<PathBuf>,
    /// Learn no vectors for prefixes of IDs, only for single codes
    #[arg(long)]
    pub no_prefixes: bool,
    /// Embeddings of the items' texts, which every recommender reads beside the IDs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub vectors: Option<PathBuf>,
    /// Learn a vector for each item besides, in every recommender
    #[arg(long)]
    pub identities: bool,
    /// Compare with the same network on item identities too, as SASRec is, and with --vectors also on both
    #[arg(long)]
    pub sasrec: bool,
    /// Keys of the items in the order of the rows, if items are not named by row number: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keys: Option<PathBuf>,
    /// Field or column that holds the key
    #[arg(long, value_name = "NAME", default_value = "id", requires = "keys")]
    pub key: String,
}
