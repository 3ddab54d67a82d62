//! RQ-VAE training in a folder of its own: checkpoints, metrics, resuming, and dry runs.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use crate::track::{EventWriter, MetricsWriter, write_code_usage};
use sememe::codec::{Codec, EncodeOptions};
use sememe::data::{MatrixView, RowSource};
use sememe::device::Device;
use sememe::fit::rqvae::{CheckpointKind, EpochReport, Recorder, RqVae, RqVaeTrainer, StepReport};
use sememe::io::{is_there, read_bytes_capped, write_bytes_atomic};
use sememe::progress::{Event, Observer};
use sememe::{Error, Remedy, Result};

/// Names within the folder of a training.
pub const LAST: &str = "last.safetensors";
/// The state after the best epoch.
pub const BEST: &str = "best.safetensors";
const METRICS: &str = "metrics.jsonl";
const USAGE: &str = "code_usage.csv";
const SETTINGS: &str = "config.json";
/// Folder of a dry run, and what it is cut to.
const DRY_RUN: &str = "dry-run";
const DRY_ROWS: usize = 2048;

/// Far more than any state: four times the parameters.
const MAX_STATE_BYTES: u64 = 64 << 30;

/// The checkpoint to resume from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The latest one; a new training run if there is none.
    Last,
    /// The one after the best epoch.
    Best,
    /// This file.
    File(PathBuf),
}

/// A training of an RQ-VAE that keeps its checkpoints and curves in a folder: `last.safetensors`, `best.safetensors`, `metrics.jsonl`,
/// TensorBoard event files, `code_usage.csv` and `config.json`.
#[derive(Clone, Debug)]
pub struct RqVaeRun {
    /// Settings.
    pub config: RqVae,
    /// Folder of checkpoints and curves, made if it is not there.
    pub folder: PathBuf,
    /// The checkpoint to resume from; a new training run without it.
    pub resume: Option<Resume>,
    /// A codec of RQ-KMeans whose preprocessing and codebooks are the start: RQ-KMeans+.
    pub start: Option<Codec>,
}

/// Result of a dry run: what was trained and which artifacts were checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DryRunReport {
    /// Rows that it trained on at most.
    pub rows: usize,
    /// Epochs.
    pub epochs: usize,
    /// Steps.
    pub steps: u64,
    /// Where everything is.
    pub folder: PathBuf,
    /// A line for each artifact that was read back.
    pub artifacts: Vec<String>,
}

/// Writes the metrics, events and checkpoints of the training to its folder.
struct FolderRecorder {
    folder: PathBuf,
    metrics: MetricsWriter,
    events: EventWriter,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl FolderRecorder {
    /// Opens the files of a run: anew, or as they were at the state that the training goes on from.
    fn open(folder: &Path, trainer: &RqVaeTrainer, resumed: bool) -> Result<Self> {
        sememe::io::create_folder(folder)?;
        let settings = serde_json::to_vec_pretty(trainer.config()).map_err(|e| Error::Data(e.to_string()))?;
        write_bytes_atomic(folder.join(SETTINGS), &settings)?;
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

    fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<()> {
        let values: Vec<(&str, f32)> = values.iter().map(|(tag, v)| (tag.as_str(), *v as f32)).collect();
        self.events.scalar(step, now(), &values)
    }
}

fn line(kind: &str, report: &impl Serialize) -> Result<Value> {
    let mut value = serde_json::to_value(report).map_err(|e| Error::Data(e.to_string()))?;
    if let Value::Object(map) = &mut value {
        map.insert("kind".into(), kind.into());
    }
    Ok(value)
}

impl Recorder for FolderRecorder {
    fn step(&mut self, report: &StepReport) -> Result<()> {
        self.metrics.line(&line("step", report)?)?;
        self.scalars(report.step, &report.scalars())
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        self.metrics.line(&line("epoch", report)?)?;
        self.scalars(report.step, &report.scalars())
    }

    fn usage(&mut self, loads: &[Vec<u64>]) -> Result<()> {
        write_code_usage(self.folder.join(USAGE), loads)
    }

    fn checkpoint(&mut self, kind: CheckpointKind, content: &dyn Fn() -> Result<Vec<u8>>) -> Result<()> {
        // A checkpoint is never ahead of the curves.
        self.metrics.sync()?;
        self.events.sync()?;
        let name = if kind == CheckpointKind::Last { LAST } else { BEST };
        write_bytes_atomic(self.folder.join(name), &content()?)
    }
}

fn load(path: &Path) -> Result<RqVaeTrainer> {
    let bytes = read_bytes_capped(path, MAX_STATE_BYTES)?;
    RqVaeTrainer::from_bytes(&bytes).map_err(|e| match e {
        Error::Codec(problem) => Error::format(path, problem),
        other => other,
    })
}

/// Steps of a checkpoint.
pub(crate) fn checkpoint_steps(path: &Path) -> Result<u64> {
    load(path).map(|trainer| trainer.steps())
}

/// `1 step`, `12 steps`.
fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

impl RqVaeRun {
    /// The trainer to run: new, from a codec, or from a checkpoint; and whether it goes on.
    fn trainer(&self, observer: &dyn Observer) -> Result<(RqVaeTrainer, bool)> {
        let path = match &self.resume {
            Some(Resume::Last) => self.folder.join(LAST),
            Some(Resume::Best) => self.folder.join(BEST),
            Some(Resume::File(path)) => path.clone(),
            None => {
                let trainer = match &self.start {
                    Some(codec) => RqVaeTrainer::from_quantizer(
                        self.config.clone(),
                        codec.quantizer(),
                        codec.manifest().mean_norm,
                    )?,
                    None => RqVaeTrainer::new(self.config.clone())?,
                };
                return Ok((trainer, false));
            }
        };
        if !is_there(&path)? {
            if matches!(self.resume, Some(Resume::Last)) && self.start.is_none() {
                observer.event(Event::Note(&format!("`{}` is not there yet: starting anew", path.display())));
                return Ok((RqVaeTrainer::new(self.config.clone())?, false));
            }
            let problem = format!("`{}` does not exist", path.display());
            let folder = Remedy::give("folder").to("name the run's folder");
            return Err(Error::config("resume", problem).mend([folder]));
        }
        let mut trainer = load(&path)?;
        let mut config = self.config.clone();
        if trainer.began_from_codec() {
            // These are the codec's.
            let own = trainer.config();
            (config.codebook_sizes, config.code_dims) = (own.codebook_sizes.clone(), own.code_dims);
            (config.shared_codebook, config.autoencoder_epochs) = (own.shared_codebook, own.autoencoder_epochs);
            (config.init, config.preprocess) = (own.init, own.preprocess);
        }
        trainer
            .continue_with(&config)
            .map_err(|e| Error::config("resume", format!("`{}` is of other settings: {e}", path.display())))?;
        observer.event(Event::Note(&format!("going on after {}", count(trainer.steps(), "step"))));
        Ok((trainer, true))
    }

    /// Trains, or goes on training, and keeps everything in the folder. `aligned` are the collaborative embeddings of the same rows, if
    /// the settings have an alignment loss. A training that was stopped and goes on leaves the same bytes as one that was not.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot be, a checkpoint that is not there or is of other settings; [`Error::Format`] for one
    /// that cannot be read; what the rows, the device and the system return; [`Error::Interrupted`] if the observer asks, with where
    /// the checkpoint is.
    pub fn train(
        &self,
        rows: &dyn RowSource,
        aligned: Option<&dyn RowSource>,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Codec> {
        let (mut trainer, resumed) = self.trainer(observer)?;
        let mut artifacts = FolderRecorder::open(&self.folder, &trainer, resumed)?;
        match trainer.run(rows, aligned, device, observer, &mut artifacts) {
            Ok(()) => Codec::from_trainer(&trainer),
            Err(Error::Interrupted(_)) => {
                let place = self.folder.join(LAST);
                let done = count(trainer.steps(), "step");
                if !matches!(is_there(&place), Ok(true)) {
                    return Err(Error::Interrupted(format!(" after {done}")));
                }
                let kept = format!(" after {done}; `{}` has them", place.display());
                Err(Error::Interrupted(kept).mend([Remedy::set("resume", "last").to("go on")]))
            }
            Err(error) => Err(error),
        }
    }

    /// A small training in `dry-run` within the folder, which writes the codec as `name` there and reads every artifact back.
    ///
    /// # Errors
    /// As [`train`](Self::train); [`Error::Data`] for an artifact that does not hold what it should.
    pub fn dry_run(
        &self,
        name: &str,
        rows: &dyn RowSource,
        aligned: Option<&dyn RowSource>,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<DryRunReport> {
        let config = &self.config;
        let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
        let used = rows.rows().min(DRY_ROWS.max(2 * most));
        let epochs = config.epochs.min(config.autoencoder_epochs + 2);
        let folder = self.folder.join(DRY_RUN);
        let small = Self {
            config: RqVae { max_training_rows: Some(used), epochs, log_every: 1, ..config.clone() },
            folder: folder.clone(),
            resume: None,
            start: self.start.clone(),
        };
        let (mut trainer, _) = small.trainer(observer)?;
        let mut artifacts = FolderRecorder::open(&folder, &trainer, false)?;
        trainer.run(rows, aligned, device, observer, &mut artifacts)?;
        let events = artifacts.events.path().to_owned();
        drop(artifacts);
        let codec = Codec::from_trainer(&trainer)?;
        let path = folder.join(name);
        codec.save(&path)?;
        let artifacts = check(&folder, &path, &events, &codec, &trainer, rows)?;
        Ok(DryRunReport { rows: used, epochs, steps: trainer.steps(), folder, artifacts })
    }
}

/// Refuses an artifact that does not hold what it should.
fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Data(problem())) }
}

/// Reads back what a dry run wrote.
fn check(
    folder: &Path,
    path: &Path,
    events: &Path,
    codec: &Codec,
    trainer: &RqVaeTrainer,
    rows: &dyn RowSource,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let again = Codec::load(path)?;
    let same = again.content_hash() == codec.content_hash();
    ensure(same, || format!("`{}` reads back as another codec", path.display()))?;
    let mut row = vec![0.0; rows.dims()];
    rows.read_rows(0, &mut row)?;
    let view = MatrixView::new(1, row.len(), &row)?;
    let encoded = again.encoder(&Device::cpu(), &EncodeOptions::default())?.encode(view)?;
    again.decode(&encoded.codes)?;
    out.push(format!("{}: loads, encodes and decodes", path.display()));
    for name in [LAST, BEST] {
        let path = folder.join(name);
        let state = load(&path)?;
        let here = name == BEST || state.steps() == trainer.steps();
        ensure(here, || format!("`{}` stands elsewhere", path.display()))?;
        out.push(format!("{}: a state after {}", path.display(), count(state.steps(), "step")));
    }
    let broken = |path: &Path, e: &dyn std::fmt::Display| Error::format(path, e.to_string());
    let text = |path: &Path| -> Result<String> {
        String::from_utf8(read_bytes_capped(path, 1 << 30)?).map_err(|e| broken(path, &e))
    };
    let metrics = folder.join(METRICS);
    let lines: serde_json::Result<Vec<Value>> = text(&metrics)?.lines().map(serde_json::from_str).collect();
    let lines = lines.map_err(|e| broken(&metrics, &e))?;
    let epochs = lines.iter().filter(|l| l["kind"] == "epoch").count() as u64;
    ensure(epochs == trainer.epochs(), || format!("`{}` tells of {epochs} epochs", metrics.display()))?;
    out.push(format!("{}: {}", metrics.display(), count(lines.len() as u64, "line")));
    let usage = folder.join(USAGE);
    let lines = text(&usage)?.lines().count() as u64;
    let codes: usize = codec.codebook_sizes().iter().sum();
    ensure(lines == codes as u64 + 1, || format!("`{}` has {lines} lines for {codes} codewords", usage.display()))?;
    out.push(format!("{}: {}", usage.display(), count(lines - 1, "codeword")));
    let settings = folder.join(SETTINGS);
    let config: RqVae = serde_json::from_str(&text(&settings)?).map_err(|e| broken(&settings, &e))?;
    ensure(&config == trainer.config(), || format!("`{}` holds other settings", settings.display()))?;
    out.push(format!("{}: the settings", settings.display()));
    let bytes = std::fs::metadata(events).map_or(0, |m| m.len());
    ensure(bytes > 0, || format!("`{}` is empty", events.display()))?;
    out.push(format!("{}: {}", events.display(), count(bytes, "byte")));
    Ok(out)
}
