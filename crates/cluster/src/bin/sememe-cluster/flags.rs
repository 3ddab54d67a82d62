//! What is typed.

use crate::fit_flags::FitFlags;
use clap::{Args, Parser, Subcommand};
use sememe_cluster::jobs::{Assign, Encode, Evaluate, Items};

/// Encode, train, assign and evaluate parquet files over a cluster of executors, or on the cores of this machine.
///
/// Items, codecs and results are paths or s3://bucket/key. A cluster's scheduler and executors must see them by the same names: a shared
/// folder, or a store. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT and their like are read.
#[derive(Debug, Parser)]
#[command(name = "sememe-cluster", version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Turn items into semantic IDs
    Encode(EncodeFlags),
    /// Train a codec on all items
    Fit(Box<FitFlags>),
    /// Give every item one ID, for good
    Assign(AssignFlags),
    /// Measure how good a codec is for items
    Evaluate(EvaluateFlags),
}

impl Verb {
    pub fn name(&self) -> String {
        match self {
            Verb::Encode(_) => "encode",
            Verb::Fit(_) => "fit",
            Verb::Assign(_) => "assign",
            Verb::Evaluate(_) => "evaluate",
        }
        .to_owned()
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Common {
    /// Scheduler of a cluster, as df://host:50050 [default: the cores of this machine]
    #[arg(long, global = true, value_name = "URL")]
    pub scheduler: Option<String>,
    /// Parts that items are worked on in, at least one a core of the cluster; the number changes no result [default: 32 with a scheduler,
    /// else one a core]
    #[arg(long, global = true, value_name = "N")]
    pub partitions: Option<usize>,
    /// Memory that sorts and joins take before they go to disk, as in 4GiB; executors have their own [default: no bound]
    #[arg(long, global = true, value_name = "BYTES", value_parser = sememe_cluster::parse_bytes, conflicts_with = "scheduler")]
    pub memory: Option<u64>,
    /// Threads to use [default: one per core]; the number changes no result
    #[arg(long, global = true, value_name = "N", conflicts_with = "scheduler")]
    pub threads: Option<usize>,
    /// Print one JSON object to stdout instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress, no notes and no summary of what was written
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct ItemFlags {
    /// Items: parquet files and folders of them
    #[arg(value_name = "ITEMS", required = true)]
    pub items: Vec<String>,
    /// Column of embeddings: lists of float32, float64 or float16 [default: `embedding`, or the only one]
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
}

impl ItemFlags {
    pub fn items(&self, key: Option<&str>) -> Items {
        Items { places: self.items.clone(), column: self.column.clone(), key: key.map(str::to_owned) }
    }
}

#[derive(Debug, Args)]
pub struct EncodeFlags {
    #[command(flatten)]
    pub items: ItemFlags,
    /// Codec to encode with
    #[arg(long, value_name = "CODEC")]
    pub codec: String,
    /// Folder of parquet files to write; an existing one is replaced once the new one is complete
    #[arg(long, short, value_name = "FOLDER")]
    pub output: String,
    /// Column that names items, kept beside the codes [default: all columns but the embedding]
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
}

impl EncodeFlags {
    pub fn job(&self) -> Encode {
        let items = self.items.items(self.key.as_deref());
        Encode { items, codec: self.codec.clone(), output: self.output.clone() }
    }
}

#[derive(Debug, Args)]
pub struct AssignFlags {
    #[command(flatten)]
    pub items: ItemFlags,
    /// Codec to encode with; a table holds IDs of one codec
    #[arg(long, value_name = "CODEC")]
    pub codec: String,
    /// Folder of the table of IDs, made if it is not there
    #[arg(long, value_name = "FOLDER")]
    pub ids: String,
    /// Column that names items
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub key: String,
}

impl AssignFlags {
    pub fn job(&self) -> Assign {
        Assign { items: self.items.items(Some(&self.key)), codec: self.codec.clone(), ids: self.ids.clone() }
    }
}

#[derive(Debug, Args)]
pub struct EvaluateFlags {
    #[command(flatten)]
    pub items: ItemFlags,
    /// Codec to measure
    #[arg(long, value_name = "CODEC")]
    pub codec: String,
    /// Column that names items, for messages
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Folder that all executors see, for what they are asked [default: beside the codec]
    #[arg(long, value_name = "FOLDER")]
    pub work: Option<String>,
}

impl EvaluateFlags {
    pub fn job(&self) -> Evaluate {
        let items = self.items.items(self.key.as_deref());
        Evaluate { items, codec: self.codec.clone(), work: self.work.clone() }
    }
}
