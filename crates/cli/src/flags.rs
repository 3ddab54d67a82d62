//! Flags that several verbs share.

use clap::{Args, ValueEnum, ValueHint};
use sememe::io::EventFields;
use sememe::{Pca, Preprocess};
use sememe_text::prep::OnDuplicate;
use std::path::PathBuf;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BalanceChoice {
    /// Nearest codewords, whatever their loads
    None,
    /// Nearly even loads, by Sinkhorn's algorithm
    Sinkhorn,
    /// Exact bounds on the loads of the training rows
    Capacity,
}

/// What is done with events of items that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownItems {
    /// Stop, naming the first and how many there are
    Refuse,
    /// Leave them out and say how many
    Drop,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub struct EventFlags {
    /// Field or column of events with the user [default: user, user_id, userId, reviewerID, …, whichever is there]
    #[arg(long, value_name = "NAME")]
    pub event_user: Option<String>,
    /// The one with the item [default: item, item_id, movieId, parent_asin, asin, …]
    #[arg(long, value_name = "NAME")]
    pub event_item: Option<String>,
    /// The one with the time [default: time, timestamp, unixReviewTime, …; without one, events are in their order]
    #[arg(long, value_name = "NAME")]
    pub event_time: Option<String>,
}

impl EventFlags {
    pub fn fields(self) -> EventFields {
        EventFields { user: self.event_user, item: self.event_item, time: self.event_time }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDuplicateChoice {
    /// Stop, naming the key
    Refuse,
    /// Keep the first
    First,
    /// Keep the last
    Last,
}

impl OnDuplicateChoice {
    pub fn setting(self) -> OnDuplicate {
        match self {
            Self::Refuse => OnDuplicate::Refuse,
            Self::First => OnDuplicate::First,
            Self::Last => OnDuplicate::Last,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnicodeChoice {
    /// Composed.
    Nfc,
    /// Composed, compatibility variants replaced.
    Nfkc,
    /// As it is.
    None,
}

pub fn preprocess(flags: &PreprocessFlags, steps: &mut Preprocess) {
    steps.center |= flags.center;
    steps.whiten |= flags.whiten;
    steps.normalize |= flags.normalize;
    if let Some(keep_variance) = flags.pca {
        steps.pca = Some(Pca { keep_variance, ..steps.pca.unwrap_or_default() });
    }
    if let Some(max_dims) = flags.pca_dims {
        // Asked for alone, the number is meant, not the share.
        let asked = steps.pca.unwrap_or(Pca { keep_variance: 1.0, max_dims });
        steps.pca = Some(Pca { max_dims, ..asked });
    }
}
