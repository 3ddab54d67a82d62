//! Flags of `sememe train --method rqvae` → what will be trained, checked before any row is read.

use crate::failure::usage;
use crate::flags::OnBad;
use crate::rows_plan::{RowsPlan, rows};
use crate::verbs::train::flags::{Codebooks, Flags, Method, NetworkFlags};
use anyhow::Result;
use sememe::Error;
use sememe::fit::rqvae::RqVae;
use sememe_run::train::{LAST, Resume};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A training of an RQ-VAE.
pub struct RqVaePlan {
    pub config: RqVae,
    /// Folder of checkpoints and curves.
    pub folder: PathBuf,
    pub resume: Option<Resume>,
    pub from: Option<PathBuf>,
    pub align: Option<RowsPlan>,
}

/// The plan, if the method is an RQ-VAE.
pub fn plan(flags: &Flags) -> Result<Option<RqVaePlan>> {
    let (own, books) = (&flags.network, &flags.codebooks);
    if flags.minibatch.method != Method::Rqvae {
        return Ok(None);
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
        .map(|path| rows(path, crate::flags::Rows { more: Vec::new(), array: None, on_bad: OnBad::Refuse }));
    if config.alignment.is_some() != align.is_some() {
        return Err(usage(if align.is_some() {
            "`--align` needs the loss: `--set alignment={weight=0.1,temperature=1.0}`"
        } else {
            "`alignment` needs `--align FILE`, the collaborative embeddings of the same rows"
        }));
    }
    Ok(Some(RqVaePlan { config, folder, resume, from: books.from.clone(), align }))
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
