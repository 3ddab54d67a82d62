//! `sememe train --method rqvae`: the training, and what it leaves in its folder.

use crate::failure::usage;
use crate::input::Input;
use crate::network::{NetworkPlan, Resume};
use crate::output::{print, print_json};
use crate::plan::TrainPlan;
use crate::progress::Progress;
use crate::text::{count, whole};
use anyhow::{Context as _, Result};
use sememe::fit::rqvae::{CheckpointKind, EpochReport, Losses, Recorder, RqVae, RqVaeTrainer, StepReport};
use sememe::io::track::{EventWriter, MetricsWriter, write_code_usage};
use sememe::io::{read_bytes_capped, write_bytes_atomic};
use sememe::{Codec, Device, EncodeOptions, Error, RowSource};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Names within the folder of a run.
pub const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";
const METRICS: &str = "metrics.jsonl";
const USAGE: &str = "code_usage.csv";
const SETTINGS: &str = "config.json";
/// Folder of a dry run, and what it is cut to.
const DRY_RUN: &str = "dry-run";
const DRY_ROWS: usize = 2048;

/// Far more than any state: four times the parameters.
const MAX_STATE_BYTES: u64 = 64 << 30;

/// Whoever keeps what the training tells.
struct Artifacts {
    folder: PathBuf,
    metrics: MetricsWriter,
    events: EventWriter,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl Artifacts {
    /// Opens the files of a run: anew, or as they were at the state that the training goes on from.
    fn open(folder: &Path, trainer: &RqVaeTrainer, resumed: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        write_bytes_atomic(folder.join(SETTINGS), &serde_json::to_vec_pretty(trainer.config())?)?;
        let path = folder.join(METRICS);
        let (metrics, events) = if resumed {
            let number = |line: &Value, key: &str| line.get(key).and_then(Value::as_u64);
            let kept = |line: &Value| match line.get("kind").and_then(Value::as_str) {
                Some("epoch") => number(line, "epoch").is_some_and(|epoch| epoch <= trainer.epochs()),
                _ => number(line, "step").is_some_and(|step| step <= trainer.steps()),
            };
            (MetricsWriter::resume(path, kept)?, EventWriter::resume(folder, trainer.steps() + 1)?)
        } else {
            (MetricsWriter::create(path)?, EventWriter::create(folder)?)
        };
        Ok(Self { folder: folder.to_owned(), metrics, events })
    }

    fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> sememe::Result<()> {
        let values: Vec<(&str, f32)> = values.iter().map(|(tag, v)| (tag.as_str(), *v as f32)).collect();
        self.events.scalar(step, now(), &values)
    }
}

fn tags(prefix: &str, rate: f64, losses: &Losses) -> Vec<(String, f64)> {
    let mut out = vec![
        (format!("{prefix}/loss"), losses.total),
        (format!("{prefix}/reconstruction"), losses.reconstruction),
        (format!("{prefix}/gradient_norm"), losses.gradient_norm),
        (format!("{prefix}/learning_rate"), rate),
    ];
    out.extend(losses.quantizer.iter().enumerate().map(|(l, v)| (format!("{prefix}/quantizer/{}", l + 1), *v)));
    let extra = [("diversity", losses.diversity), ("alignment", losses.alignment), ("repulsion", losses.repulsion)];
    out.extend(extra.into_iter().filter_map(|(name, v)| Some((format!("{prefix}/{name}"), v?))));
    out
}

fn line(kind: &str, report: &impl serde::Serialize) -> sememe::Result<Value> {
    let mut value = serde_json::to_value(report).map_err(|e| Error::Data(e.to_string()))?;
    if let Value::Object(map) = &mut value {
        map.insert("kind".into(), kind.into());
    }
    Ok(value)
}

impl Recorder for Artifacts {
    fn step(&mut self, report: &StepReport) -> sememe::Result<()> {
        self.metrics.line(&line("step", report)?)?;
        self.scalars(report.step, &tags("step", report.learning_rate, &report.losses))
    }

    fn epoch(&mut self, report: &EpochReport) -> sememe::Result<()> {
        self.metrics.line(&line("epoch", report)?)?;
        let mut values = tags("epoch", report.learning_rate, &report.losses);
        values.push(("epoch/restarted".into(), report.restarted as f64));
        if let Some(health) = &report.health {
            values.push(("corpus/r2".into(), health.r2));
            values.push(("corpus/collision_rate".into(), health.collision_rate));
            values.extend(health.validation_r2.map(|v| ("corpus/validation_r2".into(), v)));
            for l in &health.levels {
                values.push((format!("corpus/utilisation/{}", l.level + 1), l.utilisation));
                values.push((format!("corpus/perplexity/{}", l.level + 1), l.perplexity));
            }
        }
        self.scalars(report.step, &values)
    }

    fn usage(&mut self, loads: &[Vec<u64>]) -> sememe::Result<()> {
        write_code_usage(self.folder.join(USAGE), loads)
    }

    fn checkpoint(&mut self, kind: CheckpointKind, trainer: &RqVaeTrainer) -> sememe::Result<()> {
        // A checkpoint is never ahead of the curves.
        self.metrics.sync()?;
        self.events.sync()?;
        let name = if kind == CheckpointKind::Last { LAST } else { BEST };
        write_bytes_atomic(self.folder.join(name), &trainer.to_bytes()?)
    }
}

fn load(path: &Path) -> Result<RqVaeTrainer> {
    let bytes = read_bytes_capped(path, MAX_STATE_BYTES)?;
    RqVaeTrainer::from_bytes(&bytes).with_context(|| format!("`{}`", path.display()))
}

/// The trainer to run: new, from a codec, or from a checkpoint; and whether it goes on.
fn trainer(plan: &NetworkPlan, progress: &Progress) -> Result<(RqVaeTrainer, bool)> {
    let path = match &plan.resume {
        Some(Resume::Last) => plan.folder.join(LAST),
        Some(Resume::Best) => plan.folder.join(BEST),
        Some(Resume::File(path)) => path.clone(),
        None => {
            let trainer = match &plan.from {
                Some(path) => {
                    let codec = Codec::load(path)?;
                    RqVaeTrainer::from_chain(plan.config.clone(), codec.chain(), codec.manifest().mean_norm)?
                }
                None => RqVaeTrainer::new(plan.config.clone())?,
            };
            return Ok((trainer, false));
        }
    };
    if !path.exists() {
        if matches!(plan.resume, Some(Resume::Last)) && plan.from.is_none() {
            progress.note(&format!("`{}` is not there yet: starting anew", path.display()));
            return Ok((RqVaeTrainer::new(plan.config.clone())?, false));
        }
        return Err(usage(format!("`{}` does not exist; `--run` names the folder of the run", path.display())));
    }
    let mut trainer = load(&path)?;
    let mut config = plan.config.clone();
    if trainer.began_from_codec() {
        // These are the codec's.
        let own = trainer.config();
        (config.codebook_sizes, config.code_dims) = (own.codebook_sizes.clone(), own.code_dims);
        (config.shared_codebook, config.autoencoder_epochs) = (own.shared_codebook, own.autoencoder_epochs);
        (config.init, config.preprocess) = (own.init, own.preprocess);
    }
    trainer.continue_with(&config).map_err(|e| usage(format!("`{}`: {e}", path.display())))?;
    progress.note(&format!("going on after {}", count(trainer.steps(), "step")));
    Ok((trainer, true))
}

/// Trains, or goes on training, and keeps everything in the run's folder.
pub fn train(plan: &NetworkPlan, input: &Input, device: &Device, progress: &Progress) -> Result<Codec> {
    let (mut trainer, resumed) = trainer(plan, progress)?;
    let aligned = plan.align.as_ref().map(Input::open).transpose()?;
    let mut artifacts = Artifacts::open(&plan.folder, &trainer, resumed)?;
    let other = aligned.as_ref().map(|a| a as &dyn RowSource);
    match trainer.run(input, other, device, progress, &mut artifacts) {
        Ok(()) => Ok(Codec::from_trainer(&trainer)?),
        Err(Error::Interrupted(_)) => {
            let place = plan.folder.join(LAST);
            let kept = if place.exists() {
                format!("; `{}` has them, go on with `--resume`", place.display())
            } else {
                String::new()
            };
            Err(Error::Interrupted(format!(" after {}{kept}", count(trainer.steps(), "step"))).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// A small training in a folder of its own, every artifact of which is looked at.
pub fn dry_run(
    plan: &TrainPlan,
    network: &NetworkPlan,
    input: &Input,
    device: &Device,
    progress: &Progress,
) -> Result<()> {
    let config = &network.config;
    let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
    let rows = input.rows().min(DRY_ROWS.max(2 * most));
    let epochs = config.epochs.min(config.autoencoder_epochs + 2);
    let folder = network.folder.join(DRY_RUN);
    let small = NetworkPlan {
        config: RqVae { max_training_rows: Some(rows), epochs, log_every: 1, ..config.clone() },
        folder: folder.clone(),
        resume: None,
        from: network.from.clone(),
        align: None,
    };
    let (mut trainer, _) = trainer(&small, progress)?;
    let aligned = network.align.as_ref().map(Input::open).transpose()?;
    let mut artifacts = Artifacts::open(&folder, &trainer, false)?;
    trainer.run(input, aligned.as_ref().map(|a| a as &dyn RowSource), device, progress, &mut artifacts)?;
    let events = artifacts.events.path().to_owned();
    drop(artifacts);
    let codec = Codec::from_trainer(&trainer)?;
    let path = folder.join(plan.output.file_name().unwrap_or_default());
    codec.save(&path)?;
    let checked = check(&folder, &path, &events, &codec, &trainer, input)?;
    progress.finish();
    if progress.json {
        return print_json(&json!({
            "dry_run": true, "rows": rows, "epochs": epochs, "steps": trainer.steps(), "folder": folder.display().to_string(),
            "artifacts": checked, "config": config, "device": device.info(),
        }));
    }
    let mut text = format!(
        "dry run: {} of {} rows, {} of {} epochs, {} on the {}\n",
        whole(rows as u64),
        whole(input.rows() as u64),
        epochs,
        config.epochs,
        count(trainer.steps(), "step"),
        crate::device::name(&device.info())
    );
    checked.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str(&format!("all is in {}; `{}` was not written\n", folder.display(), plan.output.display()));
    print(&text)
}

/// Reads back what a dry run wrote.
fn check(
    folder: &Path,
    path: &Path,
    events: &Path,
    codec: &Codec,
    trainer: &RqVaeTrainer,
    input: &Input,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let again = Codec::load(path)?;
    anyhow::ensure!(again.content_hash() == codec.content_hash(), "`{}` reads back as another codec", path.display());
    let mut row = vec![0.0; input.dims()];
    input.read_rows(0, &mut row)?;
    let view = sememe::MatrixView::new(1, row.len(), &row)?;
    let encoded = again.encoder(&Device::cpu(), &EncodeOptions::default())?.encode(view)?;
    again.decode(&encoded.codes)?;
    out.push(format!("{}: loads, encodes and decodes", path.display()));
    for name in [LAST, BEST] {
        let path = folder.join(name);
        let state = load(&path)?;
        anyhow::ensure!(name == BEST || state.steps() == trainer.steps(), "`{}` stands elsewhere", path.display());
        out.push(format!("{}: a state after {}", path.display(), count(state.steps(), "step")));
    }
    let metrics = folder.join(METRICS);
    let text = String::from_utf8(read_bytes_capped(&metrics, 1 << 30)?)?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    let epochs = lines.iter().filter(|l| l["kind"] == "epoch").count() as u64;
    anyhow::ensure!(epochs == trainer.epochs(), "`{}` tells of {epochs} epochs", metrics.display());
    out.push(format!("{}: {}", metrics.display(), count(lines.len() as u64, "line")));
    let usage = folder.join(USAGE);
    let rows = String::from_utf8(read_bytes_capped(&usage, 1 << 30)?)?.lines().count() as u64;
    let codes: usize = codec.codebook_sizes().iter().sum();
    anyhow::ensure!(rows == codes as u64 + 1, "`{}` has {rows} lines for {codes} codewords", usage.display());
    out.push(format!("{}: {}", usage.display(), count(rows - 1, "codeword")));
    let settings = folder.join(SETTINGS);
    let config: RqVae = serde_json::from_slice(&read_bytes_capped(&settings, 1 << 20)?)?;
    anyhow::ensure!(&config == trainer.config(), "`{}` holds other settings", settings.display());
    out.push(format!("{}: the settings", settings.display()));
    let bytes = std::fs::metadata(events).map_or(0, |m| m.len());
    anyhow::ensure!(bytes > 0, "`{}` is empty", events.display());
    out.push(format!("{}: {}", events.display(), crate::text::size(bytes)));
    Ok(out)
}
