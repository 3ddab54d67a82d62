//! The plan of a training: flags checked before any row is read.

use crate::failure::usage;
use crate::flags::{DeviceChoice, preprocess};
use crate::given::{Given, Takes};
use crate::output::{output, writes_parquet};
use crate::rows_plan::{RowsPlan, rows};
use crate::verbs::train::balance;
use crate::verbs::train::flags::{Codebooks, EmptyChoice, Flags, InitChoice, MetricChoice, Preset};
use crate::verbs::train::minibatch::{self, MiniBatchPlan};
use crate::verbs::train::product::{self, ProductPlan};
use crate::verbs::train::rqvae::{self, RqVaePlan};
use anyhow::Result;
use sememe::fit::ProductQuantization;
use sememe::{EmptyPolicy, Init, Metric, Preprocess, Refine, RqKMeans};
use std::path::{Path, PathBuf};

/// What the methods take, in the order of [`Method`].
const METHODS: [Takes; 5] = [
    Takes {
        choice: "kmeans",
        groups: &["Flags", "Rows", "OnDevice", "Codebooks", "BalanceFlags", "PreprocessFlags"],
        flags: &["method"],
    },
    Takes {
        choice: "minibatch",
        groups: &["Flags", "Rows", "OnDevice", "MiniBatchFlags"],
        flags: &["levels", "codebook_size", "seed", "metric", "normalize_residuals"],
    },
    Takes {
        choice: "rqvae",
        groups: &["Flags", "Rows", "OnDevice", "NetworkFlags"],
        flags: &[
            "method",
            "levels",
            "codebook_size",
            "seed",
            "epochs",
            "batch_rows",
            "resume",
            "max_training_rows",
            "from",
        ],
    },
    Takes { choice: "pq", groups: &["Flags", "Rows", "OnDevice", "BalanceFlags"], flags: PRODUCT },
    Takes { choice: "opq", groups: &["Flags", "Rows", "OnDevice", "BalanceFlags", "ProductFlags"], flags: PRODUCT },
];

/// Flags of other groups that product quantisation takes: those of k-means, less what needs levels that build on each other.
const PRODUCT: &[&str] = &[
    "method",
    "levels",
    "codebook_size",
    "iterations",
    "tolerance",
    "starts",
    "seed",
    "metric",
    "init",
    "empty",
    "max_training_rows",
    "from",
    "center",
    "pca",
    "pca_dims",
    "whiten",
    "normalize",
];

/// What k-means takes that starts from a codec; the codec decides the rest.
const AFTER_CODEC: Takes = Takes {
    choice: "",
    groups: &["Flags", "Rows", "OnDevice", "BalanceFlags"],
    flags: &[
        "method",
        "levels",
        "codebook_size",
        "iterations",
        "tolerance",
        "seed",
        "empty",
        "refine",
        "beam",
        "max_training_rows",
        "from",
    ],
};

pub struct Plan {
    pub input: RowsPlan,
    pub output: PathBuf,
    /// Settings of k-means, which product quantisation has at every level.
    pub config: RqKMeans,
    pub product: Option<ProductPlan>,
    /// A codec to start from, and whether its codebook sizes are the ones to take.
    pub from: Option<(PathBuf, bool)>,
    /// Where the codes go that training gave its rows.
    pub assigned: Option<PathBuf>,
    pub minibatch: Option<MiniBatchPlan>,
    pub network: Option<RqVaePlan>,
    pub device: DeviceChoice,
    pub dry_run: bool,
}

pub fn plan(flags: Flags, given: &Given) -> Result<Plan> {
    given.refuse_others("method", &METHODS, flags.minibatch.method as usize)?;
    let network = rqvae::plan(&flags)?;
    let mut config = config(&flags)?;
    config.balance = balance::plan(&flags.balance, given)?;
    if let (Some(balance), None) = (&config.balance, flags.codebooks.iterations) {
        config.iterations = config.iterations.max(balance.settling_iterations());
    }
    config.validate()?;
    let product = product::plan(&flags, &config)?;
    let assigned = flags.balance.assigned.clone();
    let from = if network.is_none() { from(&flags, given, &mut config)? } else { None };
    let input = rows(flags.input, flags.rows);
    let mut inputs: Vec<&Path> = input.paths().collect();
    inputs.extend(from.iter().map(|(codec, _)| codec.as_path()));
    output(&flags.output, &["safetensors"], "a codec is written as", &inputs, !flags.dry_run)?;
    if let Some(codes) = &assigned {
        let kinds = ["npy", "parquet", "jsonl", "csv"];
        let inputs: Vec<&Path> = input.paths().chain([flags.output.as_path()]).collect();
        output(codes, &kinds, "codes are written as", &inputs, !flags.dry_run)?;
        writes_parquet(codes)?;
    }
    let minibatch = minibatch::plan(&flags.minibatch, &config)?;
    if let Some(state) = minibatch.as_ref().and_then(|m| m.checkpoint.as_deref()) {
        let inputs: Vec<&Path> = input.paths().chain([flags.output.as_path()]).collect();
        output(state, &["json"], "a training state is written as", &inputs, !flags.dry_run)?;
    }
    let (output, device, dry_run) = (flags.output, flags.on.device, flags.dry_run);
    Ok(Plan { input, output, config, product, from, assigned, minibatch, network, device, dry_run })
}

/// Where k-means starts, if from a codec, with what that decides refused as an option.
fn from(flags: &Flags, given: &Given, config: &mut RqKMeans) -> Result<Option<(PathBuf, bool)>> {
    let books = &flags.codebooks;
    let Some(codec) = &books.from else { return Ok(None) };
    if let Some(flag) = given.outside(&AFTER_CODEC) {
        return Err(usage(format!("`--{flag}` is decided by the codec of `--from`; leave one of them out")));
    }
    // Moving codewords to where the error is would take the codes of many rows along.
    config.exchange = false;
    Ok(Some((codec.clone(), books.levels.is_none() && books.codebook_size.is_none())))
}

/// The training's settings: the preset's, or the defaults, with what was typed on top.
fn config(flags: &Flags) -> Result<RqKMeans> {
    let product = product::is_method(flags.minibatch.method);
    let (flags, steps) = (&flags.codebooks, &flags.preprocess);
    let mut config = RqKMeans::default();
    if product {
        config.codebook_sizes = ProductQuantization::default().codebook_sizes;
    }
    if flags.preset == Some(Preset::Basil) {
        config.codebook_sizes = vec![1024; 3];
        config.iterations = 20;
        config.tolerance = 1e-4;
        config.preprocess = Preprocess::basil();
    }
    config.codebook_sizes = codebook_sizes(flags, &config.codebook_sizes)?;
    config.iterations = flags.iterations.unwrap_or(config.iterations);
    if config.iterations == 0 {
        return Err(usage("`--iterations`: expected at least 1, got 0"));
    }
    config.tolerance = flags.tolerance.unwrap_or(config.tolerance);
    config.starts = flags.starts;
    config.seed = flags.seed;
    config.metric = match flags.metric {
        MetricChoice::SquaredL2 => Metric::SquaredL2,
        MetricChoice::Cosine => Metric::Cosine,
    };
    config.init = match flags.init {
        InitChoice::KMeansPlusPlus => Init::KMeansPlusPlus,
        InitChoice::Random => Init::Random,
    };
    config.empty = match flags.empty {
        EmptyChoice::Farthest => EmptyPolicy::Farthest,
        EmptyChoice::Keep => EmptyPolicy::Keep,
    };
    config.refine =
        flags.refine.map(|rounds| Refine { rounds, beam: flags.beam.unwrap_or_else(|| Refine::default().beam) });
    config.max_training_rows = flags.max_training_rows;
    config.normalize_residuals = steps.normalize_residuals;
    preprocess(steps, &mut config.preprocess);
    if product && config.metric == Metric::Cosine {
        // Blocks of a row have no angle that means anything, the whole row has: squared L2 of rows of one length.
        (config.metric, config.preprocess.normalize) = (Metric::SquaredL2, true);
    }
    config.validate()?;
    Ok(config)
}

fn codebook_sizes(flags: &Codebooks, defaults: &[usize]) -> Result<Vec<usize>> {
    let levels = flags.levels;
    if let Some(levels @ (0 | 65..)) = levels {
        return Err(usage(format!("`--levels`: expected 1 to 64, got {levels}")));
    }
    match flags.codebook_size.as_deref() {
        None => Ok(vec![defaults[0]; levels.unwrap_or(defaults.len())]),
        Some([size]) => Ok(vec![*size; levels.unwrap_or(defaults.len())]),
        Some(sizes) => match levels {
            Some(levels) if levels != sizes.len() => Err(usage(format!(
                "`--codebook-size` lists {} levels and `--levels` says {levels}; leave `--levels` out, or give one size",
                sizes.len()
            ))),
            _ => Ok(sizes.to_vec()),
        },
    }
}
