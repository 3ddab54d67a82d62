//! `sememe train --method minibatch`.

use crate::failure::usage;
use crate::input::Input;
use crate::progress::Progress;
use crate::text::{count, metric};
use crate::verbs::train::flags::{Method, MiniBatchFlags};
use anyhow::Result;
use sememe::fit::{MiniBatchRqKMeans, MiniBatchTrainer};
use sememe::io::is_there;
use sememe::{Codec, Device, Error, RowSource as _, RqKMeans, TrainedBy};
use std::path::{Path, PathBuf};

/// Mini-batches take the place of the k-means settings.
pub struct MiniBatchPlan {
    pub config: MiniBatchRqKMeans,
    pub checkpoint: Option<PathBuf>,
    pub resume: bool,
}

/// The mini-batch settings, if that is the method.
pub fn plan(flags: &MiniBatchFlags, config: &RqKMeans) -> Result<Option<MiniBatchPlan>> {
    if flags.method != Method::Minibatch {
        return Ok(None);
    }
    let resume = flags.resume.is_some();
    if let Some(which) = flags.resume.as_deref().filter(|which| *which != "last") {
        return Err(usage(format!(
            "`--resume {which}` is for `--method rqvae`; mini-batches go on from `--checkpoint`"
        )));
    }
    if resume && flags.checkpoint.is_none() {
        return Err(usage("`--resume` needs `--checkpoint`, the state to go on from"));
    }
    let defaults = MiniBatchRqKMeans::default();
    let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
    let settings = MiniBatchRqKMeans {
        codebook_sizes: config.codebook_sizes.clone(),
        batch_rows: flags.batch_rows.unwrap_or(defaults.batch_rows),
        // Enough rows a codeword for a start that means something.
        init_rows: defaults.init_rows.max(16 * most),
        epochs: flags.epochs.unwrap_or(defaults.epochs),
        layer_wise: !flags.joint,
        metric: config.metric,
        normalize_residuals: config.normalize_residuals,
        seed: config.seed,
        ..defaults
    };
    settings.validate()?;
    Ok(Some(MiniBatchPlan { config: settings, checkpoint: flags.checkpoint.clone(), resume }))
}

/// A training state is codebooks and a buffer of rows as text; this is far more than either.
const MAX_STATE_BYTES: u64 = 8 << 30;

/// Trains, or goes on training, and keeps the state where it was asked for.
pub fn train(plan: &MiniBatchPlan, input: &Input, device: &Device, progress: &Progress) -> Result<Codec> {
    let mut trainer = match &plan.checkpoint {
        Some(path) if plan.resume && is_there(path)? => resume(path, plan, input, progress)?,
        Some(path) if is_there(path)? => {
            return Err(usage(format!("`{}` exists; go on from it with `--resume`, or remove it", path.display())));
        }
        _ => MiniBatchTrainer::new(plan.config.clone(), input.dims())?,
    };
    let save = |trainer: &MiniBatchTrainer| match &plan.checkpoint {
        Some(path) => sememe::io::write_bytes_atomic(path, &trainer.to_bytes()?),
        None => Ok(()),
    };
    match trainer.fit_source_saving(input, device, progress, &mut |t| save(t)) {
        Err(Error::Interrupted(_)) => {
            save(&trainer)?;
            let batches = count(trainer.steps(), "batch");
            Err(Error::Interrupted(match &plan.checkpoint {
                Some(path) => format!(" after {batches}; `{}` has them, go on with `--resume`", path.display()),
                None => {
                    format!(" after {batches}; with `--checkpoint` they would not have been lost; nothing was written")
                }
            })
            .into())
        }
        Err(other) => Err(other.into()),
        Ok(()) => Ok(Codec::from_fitted(trainer.finish()?, TrainedBy::MiniBatch(&plan.config))?),
    }
}

fn resume(path: &Path, plan: &MiniBatchPlan, input: &Input, progress: &Progress) -> Result<MiniBatchTrainer> {
    let trainer = MiniBatchTrainer::from_bytes(&sememe::io::read_bytes_capped(path, MAX_STATE_BYTES)?)?;
    if trainer.config() != &plan.config || trainer.dims() != input.dims() {
        return Err(usage(format!(
            "`{}` is of a training with other settings, {} on {} dimensions; give the same options, or another `--checkpoint`",
            path.display(),
            serde_json::to_string(trainer.config())?,
            trainer.dims()
        )));
    }
    progress.note(&format!("going on after {}", count(trainer.steps(), "batch")));
    Ok(trainer)
}

/// One line for `--dry-run`.
pub fn describe(plan: &MiniBatchPlan) -> String {
    let config = &plan.config;
    let metric = metric(config.metric);
    let order = if config.layer_wise { "one level after the other" } else { "all levels together" };
    format!(
        "{} of {}, {order}, each started from at most {}, seed {}, {metric}",
        count(config.epochs as u64, "epoch"),
        count(config.batch_rows as u64, "row"),
        count(config.init_rows as u64, "row"),
        config.seed
    )
}
