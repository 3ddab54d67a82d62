//! Flags of `sememe train --method rqvae` → what will be trained, checked before any row is read.

use crate::args::{Codebooks, EmptyChoice, InitChoice, Method, MetricChoice, NetworkFlags, OnBad, Train};
use crate::failure::usage;
use crate::plan::{RowsPlan, rows};
use anyhow::Result;
use sememe::Error;
use sememe::fit::rqvae::RqVae;
use sememe_run::train::{LAST, Resume};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A training of an RQ-VAE.
pub struct NetworkPlan {
    pub config: RqVae,
    /// Folder of checkpoints and curves.
    pub folder: PathBuf,
    pub resume: Option<Resume>,
    pub from: Option<PathBuf>,
    pub align: Option<RowsPlan>,
}

/// The plan, if the method is an RQ-VAE; its options are refused with other methods, and theirs with it.
pub fn plan(flags: &Train) -> Result<Option<NetworkPlan>> {
    let (own, books, steps) = (&flags.network, &flags.codebooks, &flags.preprocess);
    let find = |pairs: &[(bool, &str)]| pairs.iter().find(|(given, _)| *given).map(|(_, name)| (*name).to_owned());
    if flags.minibatch.method != Method::Rqvae {
        let given = [
            (own.network.is_some(), "--network"),
            (own.config.is_some(), "--config"),
            (!own.set.is_empty(), "--set"),
            (own.run.is_some(), "--run"),
            (own.align.is_some(), "--align"),
            (own.stop_on_collapse, "--stop-on-collapse"),
        ];
        return match find(&given) {
            Some(name) => Err(usage(format!("`{name}` needs `--method rqvae`"))),
            None => Ok(None),
        };
    }
    let foreign = [
        (books.preset.is_some(), "--preset"),
        (books.iterations.is_some(), "--iterations"),
        (books.tolerance.is_some(), "--tolerance"),
        (books.starts != 1, "--starts"),
        (books.init != InitChoice::KMeansPlusPlus, "--init"),
        (books.metric != MetricChoice::SquaredL2, "--metric"),
        (books.empty != EmptyChoice::Farthest, "--empty"),
        (books.refine.is_some(), "--refine"),
        (flags.minibatch.joint, "--joint"),
        (flags.minibatch.checkpoint.is_some(), "--checkpoint"),
        (steps.center || steps.pca.is_some() || steps.pca_dims.is_some() || steps.whiten, "--center, --pca, --whiten"),
        (steps.normalize, "--normalize"),
        (steps.normalize_residuals, "--normalize-residuals"),
    ];
    if let Some(name) = find(&foreign) {
        let hint = "settings of an RQ-VAE are `--set KEY=VALUE` (see `sememe config print`)";
        return Err(usage(format!("`{name}` does not go with `--method rqvae`; {hint}")));
    }
    let config = config(own, books, flags.minibatch.epochs, flags.minibatch.batch_rows)?;
    let folder = own.run.clone().unwrap_or_else(|| flags.output.with_extension("run"));
    if folder.exists() && !folder.is_dir() {
        return Err(usage(format!("`--run`: `{}` is not a folder", folder.display())));
    }
    let resume = flags.minibatch.resume.as_deref().map(|which| match which {
        "last" => Resume::Last,
        "best" => Resume::Best,
        path => Resume::File(path.into()),
    });
    if let (None, Some(kept)) = (&resume, kept(&folder)) {
        return Err(usage(format!(
            "`{}` is of an earlier run; go on with `--resume`, or give another `--run`",
            kept.display()
        )));
    }
    if books.from.is_some() && resume.is_some() {
        return Err(usage(
            "`--from` is where a training starts; `--resume` goes on from a checkpoint and needs it no more",
        ));
    }
    let align = own
        .align
        .clone()
        .map(|path| rows(path, crate::args::Rows { more: Vec::new(), array: None, on_bad: OnBad::Refuse }));
    if config.alignment.is_some() != align.is_some() {
        return Err(usage(if align.is_some() {
            "`--align` needs the loss: `--set alignment={weight=0.1,temperature=1.0}`"
        } else {
            "`alignment` needs `--align FILE`, the collaborative embeddings of the same rows"
        }));
    }
    Ok(Some(NetworkPlan { config, folder, resume, from: books.from.clone(), align }))
}

/// A checkpoint of an earlier run.
fn kept(folder: &Path) -> Option<PathBuf> {
    // What cannot be looked for is taken to be there: it is refused by whoever reads it, never written over.
    Some(folder.join(LAST)).filter(|path| !matches!(sememe::io::is_there(path), Ok(false)))
}

/// Preset, then file, then single settings, then flags.
fn config(own: &NetworkFlags, books: &Codebooks, epochs: Option<usize>, batch: Option<usize>) -> Result<RqVae> {
    let preset = own.network.as_deref().unwrap_or("sememe");
    RqVae::preset(preset).map_err(|e| refused("--network", e))?;
    let mut patches = Vec::new();
    if let Some(path) = &own.config {
        let bytes = sememe::io::read_bytes_capped(path, 1 << 20)?;
        let text = String::from_utf8_lossy(&bytes);
        let patch: Value =
            toml::from_str(&text).map_err(|e| usage(format!("`{}`: {}", path.display(), e.to_string().trim())))?;
        patches.push(patch);
    }
    for set in &own.set {
        let (key, text) = set.split_once('=').ok_or_else(|| usage(format!("`--set {set}`: expected KEY=VALUE")))?;
        let (key, text) = (key.trim(), text.trim());
        // A bare word is a string: reconstruction=mean.
        let document = format!("value = {text}");
        let quoted = format!("value = \"{text}\"");
        let parsed: Value = toml::from_str(&document)
            .or_else(|_| toml::from_str(&quoted))
            .map_err(|e| usage(format!("`--set {set}`: {}", e.to_string().trim())))?;
        let mut patch = parsed.get("value").cloned().unwrap_or_default();
        if text == "none" {
            patch = Value::Null;
        }
        for part in key.rsplit('.') {
            patch = Value::Object([(part.to_owned(), patch)].into_iter().collect());
        }
        patches.push(patch);
    }
    let mut config = RqVae::preset_with(preset, patches).map_err(|e| match e {
        Error::Config { problem, .. } => usage(format!("settings: {problem}")),
        other => other.into(),
    })?;
    let sizes = config.codebook_sizes.clone();
    config.codebook_sizes = match (books.levels, books.codebook_size.as_deref()) {
        (None, None) => sizes,
        (levels, None) => vec![sizes[0]; levels.unwrap_or(sizes.len())],
        (levels, Some([size])) => vec![*size; levels.unwrap_or(sizes.len())],
        (Some(levels), Some(list)) if levels != list.len() => {
            let problem = format!("`--codebook-size` lists {} levels and `--levels` says {levels}", list.len());
            return Err(usage(problem));
        }
        (_, Some(list)) => list.to_vec(),
    };
    config.epochs = epochs.unwrap_or(config.epochs);
    config.batch_rows = batch.unwrap_or(config.batch_rows);
    config.stop_on_collapse |= own.stop_on_collapse;
    config.max_training_rows = books.max_training_rows.or(config.max_training_rows);
    if books.seed != 0 {
        config.seed = books.seed;
    }
    config.validate().map_err(|e| refused("settings", e))?;
    Ok(config)
}

fn refused(what: &str, error: Error) -> anyhow::Error {
    usage(format!("{what}: {error}"))
}
