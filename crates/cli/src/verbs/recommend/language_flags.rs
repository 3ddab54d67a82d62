//! Flags of `sememe recommend tune` and `eval-chats`.

use crate::flags::OnDevice;
use crate::precision::PrecisionChoice;
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

const TUNE_EXAMPLES: &str = "\
Examples:
  sememe export codes.npy -o bundle --codec codec.safetensors --style lc-rec --end-token '<|im_end|>' --tokenizer smollm2/tokenizer.json --items items.jsonl
  sememe recommend tune smollm2 --bundle bundle --codewords codec.safetensors --chats dialogues/train.jsonl -o model
  sememe recommend query model --text 'I am looking for this: a PDF viewer'";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LearnChoice {
    /// Everything
    Full,
    /// A change of low rank to every matrix (LoRA), merged in the end, and the vectors of new tokens
    LowRank,
    /// The vectors of new tokens alone
    NewTokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsChoice {
    F32,
    Bf16,
}

#[derive(Debug, Args)]
#[command(after_help = TUNE_EXAMPLES)]
pub struct TuneFlags {
    /// Folder of a language model as Hugging Face keeps it: Llama, Qwen 2 or Qwen 3, with safetensors
    #[arg(value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    /// Chats to learn from, as `dialogues` writes them: .jsonl or .jsonl.gz
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub chats: PathBuf,
    /// Chats to look at in between; the model of the lowest loss on them is kept
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub validation: Option<PathBuf>,
    /// Folder that `export --tokenizer` wrote for this model: its tokens are added, its trie goes with the model
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub bundle: Option<PathBuf>,
    /// Codec of the IDs: a linear map, fitted on the chats, takes its codewords to vectors that the new tokens begin with [default: the
    /// mean of the others]
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath, requires = "bundle")]
    pub codewords: Option<PathBuf>,
    /// Folder to write the model to
    #[arg(long, short, value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    /// Type of the weights that are written
    #[arg(long, value_enum, default_value = "f32")]
    pub weights: WeightsChoice,
    /// File that keeps the state, and from which the same command goes on after a stop
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub checkpoint: Option<PathBuf>,
    /// Minutes from one state to the next
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, requires = "checkpoint")]
    pub checkpoint_every: f64,
    #[command(flatten)]
    pub tuning: TuningFlags,
    #[command(flatten)]
    pub on: OnDevice,
}

/// How the model is changed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct TuningFlags {
    #[arg(long, value_enum, default_value = "full", hide_possible_values = true)]
    #[arg(
        help = "What is changed: full (everything), low-rank (LoRA, and the vectors of new tokens) or new-tokens (their vectors alone)"
    )]
    pub learn: LearnChoice,
    /// Rank of the changes of low-rank [default: 16]
    #[arg(long, value_name = "N")]
    pub rank: Option<usize>,
    /// Factor of these changes, times their rank [default: 32]
    #[arg(long, value_name = "FACTOR")]
    pub alpha: Option<f64>,
    /// Tokens of the longest chat; longer ones are left out [default: 512]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Tokens that pass through the model together [default: 1024]
    #[arg(long, value_name = "N")]
    pub batch_tokens: Option<usize>,
    /// Passes that one update learns from [default: 1]
    #[arg(long, value_name = "N")]
    pub accumulate: Option<usize>,
    /// Passes over all chats [default: 1]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Looks at the validation chats an epoch [default: 2]
    #[arg(long, value_name = "N")]
    pub looks: Option<usize>,
    /// Looks without a lower loss after which fine-tuning ends [default: never]
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Peak learning rate of AdamW [default: 0.0005, low-rank 0.001, new-tokens 0.01]
    #[arg(long, value_name = "RATE")]
    pub rate: Option<f64>,
    /// Share of all updates in which the rate rises [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    pub warmup: Option<f64>,
    /// Weight decay of the matrices, where everything is learned [default: 0]
    #[arg(long, value_name = "DECAY")]
    pub weight_decay: Option<f64>,
    /// Largest L2 norm of an update's gradient; 0 for any [default: 1]
    #[arg(long, value_name = "NORM")]
    pub clip_norm: Option<f64>,
    #[arg(long, value_enum, default_value = "f32", hide_possible_values = true)]
    #[arg(help = "Arithmetic of products: f32, f16 (GPUs that have it) or bf16 (processors that have it)")]
    pub precision: PrecisionChoice,
    /// Seed for every draw [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ChatEvalFlags {
    /// Folder that `recommend tune --bundle` wrote
    #[arg(value_name = "MODEL", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    /// Chats whose answers are IDs, as `dialogues` writes them: .jsonl or .jsonl.gz; others are left out and counted
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub chats: PathBuf,
    /// Prefixes of IDs that the search follows
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub beams: usize,
    /// Chats to ask, from the first on [default: all]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[arg(long, value_enum, default_value = "f32", hide_possible_values = true)]
    #[arg(help = "Arithmetic of products: f32, f16 (GPUs that have it) or bf16 (processors that have it)")]
    pub precision: PrecisionChoice,
    #[command(flatten)]
    pub on: OnDevice,
}
