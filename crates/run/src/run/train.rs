//! Phase train: vectors to a codec.

use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Context, Phase, PhaseOutput, embed};
use crate::config::{OnNewRows, ResumeFrom, TrainMethod};
use crate::track::{EventWriter, MetricsWriter};
use crate::train::{BEST, LAST, Resume, RqVaeRun, checkpoint_steps};
use sememe::codec::Codec;
use sememe::data::RowSource;
use sememe::io::{OpenOptions, is_there, open};
use sememe::progress::{Event, LevelSummary, Observer};
use sememe::{Error, Result};

/// The codec.
pub(super) const CODEC: &str = "train/codec.safetensors";
/// Folder of an RQ-VAE's checkpoints and curves.
const NETWORK: &str = "train/rqvae";
/// The lines of an RQ-VAE's steps and epochs.
pub(super) const EPOCHS: &str = "train/rqvae/metrics.jsonl";

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    let train = &context.written.train;
    let of = |value: serde_json::Result<Value>| value.map_err(|e| Error::Data(e.to_string()));
    Ok(match train.method {
        TrainMethod::RqKmeans => {
            json!({ "method": "rq-kmeans", "rq_kmeans": of(serde_json::to_value(train.rq_kmeans(context.written.seed)?))? })
        }
        TrainMethod::Pq | TrainMethod::Opq => {
            let product = of(serde_json::to_value(train.product(context.written.seed)?))?;
            json!({ "method": train.method, "product": product })
        }
        TrainMethod::Rqvae => {
            json!({ "method": "rqvae", "rqvae": of(serde_json::to_value(train.rqvae(context.written.seed)?))? })
        }
    })
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    vec![("the vectors", context.at(embed::ROWS))]
}

/// Whether a codec that is there stays, whatever has become of the rows.
pub(super) fn keeps_codec(context: &Context<'_>) -> bool {
    context.config.train.on_new_rows == OnNewRows::Keep
}

/// The first step whose metrics are not recorded yet: the one after the checkpoint that a stopped training resumes from.
pub(super) fn steps(context: &Context<'_>) -> Result<u64> {
    let path = context.at(NETWORK).join(LAST);
    let goes_on = context.continues && context.config.train.resume == ResumeFrom::Last;
    if !goes_on || context.config.train.method != TrainMethod::Rqvae || !is_there(&path)? {
        return Ok(0);
    }
    // One that cannot be read is told of where it is gone on from.
    Ok(checkpoint_steps(&path).map_or(0, |steps| steps + 1))
}

/// Forwards events and keeps the level summaries.
struct LevelObserver<'a> {
    inner: &'a dyn Observer,
    levels: Mutex<Vec<LevelSummary>>,
}

impl Observer for LevelObserver<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Level(summary) = &event {
            self.levels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*summary).clone());
        }
        self.inner.event(event);
    }
    fn stop(&self) -> bool {
        self.inner.stop()
    }
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    let rows = open(context.at(embed::ROWS), &OpenOptions::default())?;
    let train = &context.config.train;
    let folder = context.phase_folder(Phase::Train)?;
    let device = context.config.device.open(rows.rows())?;
    let watch = LevelObserver { inner: context.observer, levels: Mutex::default() };
    let mut outputs = vec![PathBuf::from(CODEC)];
    let (codec, levels) = match train.method {
        TrainMethod::RqKmeans => {
            let config = train.rq_kmeans(context.config.seed)?;
            let codec = Codec::train(&rows, &config, &device, &watch)?;
            let levels = watch.levels.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            outputs.extend(curves(context, "train/rq-kmeans", &levels)?);
            (codec, levels)
        }
        TrainMethod::Pq | TrainMethod::Opq => {
            let config = train.product(context.config.seed)?;
            let codec = Codec::train_product(&rows, &config, &device, &watch)?;
            let levels = watch.levels.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            outputs.extend(curves(context, "train/product", &levels)?);
            (codec, levels)
        }
        TrainMethod::Rqvae => {
            let codec = network(context, rows.as_ref(), &device)?;
            for name in [LAST, BEST, "metrics.jsonl", "code_usage.csv", "config.json"] {
                outputs.push(format!("{NETWORK}/{name}").into());
            }
            (codec, Vec::new())
        }
    };
    drop(folder);
    codec.save(context.at(CODEC))?;
    let manifest = codec.manifest();
    let facts = json!({
        "codec": codec.content_hash(),
        "dims": codec.dims(),
        "codebook_sizes": codec.codebook_sizes(),
        "rows": manifest.training.rows,
        "levels": levels,
        "device": device.info(),
    });
    let sizes: Vec<String> = codec.codebook_sizes().iter().map(ToString::to_string).collect();
    let summary =
        format!("{} codewords from {} rows, codec {}", sizes.join(" + "), manifest.training.rows, short(&codec));
    Ok(PhaseOutput { outputs, facts, summary })
}

/// Enough of a codec's hash to tell it from others.
pub(super) fn short(codec: &Codec) -> &str {
    let hash = codec.content_hash();
    hash.get(..12).unwrap_or(hash)
}

/// Removes the checkpoints of an earlier training, before one that begins anew counts as begun: whatever stops it, it will not go on from them.
pub(super) fn clear(context: &Context<'_>) -> Result<()> {
    let train = &context.config.train;
    // One that is named may lie there.
    if train.method == TrainMethod::Rqvae && !matches!(train.resume, ResumeFrom::File(_)) {
        sememe::io::remove(context.at(NETWORK))?;
    }
    Ok(())
}

/// Trains an RQ-VAE, or resumes a stopped training run.
fn network(context: &Context<'_>, rows: &dyn RowSource, device: &sememe::device::Device) -> Result<Codec> {
    let train = &context.config.train;
    let config = train.rqvae(context.config.seed)?;
    let folder = context.at(NETWORK);
    let resume = match &train.resume {
        ResumeFrom::Never => None,
        ResumeFrom::Last => is_there(folder.join(LAST))?.then_some(Resume::Last),
        ResumeFrom::Best => is_there(folder.join(BEST))?.then_some(Resume::Best),
        ResumeFrom::File(path) => Some(Resume::File(path.clone())),
    };
    // What is there of a training of other rows or settings is not gone on with, unless it is asked for by name.
    let named = matches!(train.resume, ResumeFrom::File(_));
    let resume = resume.filter(|_| context.continues || named);
    let run = RqVaeRun { config, folder, resume: resume.clone(), start: None };
    match run.train(rows, None, device, context.observer) {
        Err(error) if !train.resume_strict && resume.is_some() => {
            let Error::Config { field, problem } = error.root() else { return Err(error) };
            if field != "resume" {
                return Err(error);
            }
            context.observer.event(Event::Note(&format!("{problem}; the training begins anew")));
            RqVaeRun { resume: None, ..run }.train(rows, None, device, context.observer)
        }
        other => other,
    }
}

/// What the levels looked like, as metrics and as TensorBoard events.
fn curves(context: &Context<'_>, name: &str, levels: &[LevelSummary]) -> Result<Vec<PathBuf>> {
    let folder = context.at(name);
    sememe::io::create_folder(&folder)?;
    remove_events(&folder)?;
    let mut metrics = MetricsWriter::create(folder.join("metrics.jsonl"))?;
    let mut events = EventWriter::create(&folder)?;
    for (step, level) in (1u64..).zip(levels) {
        metrics.line(&json!({ "kind": "level", "level": level.level + 1, "r2": level.r2, "inertia": level.inertia,
            "perplexity": level.perplexity, "utilisation": level.utilisation, "iterations": level.iterations,
            "converged": level.converged, "reseeded": level.reseeded }))?;
        let values = [
            ("level/r2", level.r2 as f32),
            ("level/inertia", level.inertia as f32),
            ("level/perplexity", level.perplexity as f32),
            ("level/utilisation", level.utilisation as f32),
            ("level/iterations", level.iterations as f32),
        ];
        events.scalar(step, super::now() as f64, &values)?;
    }
    metrics.sync()?;
    events.sync()?;
    Ok(vec![format!("{name}/metrics.jsonl").into()])
}

/// Event files of an earlier training, which TensorBoard would show as the same curve.
fn remove_events(folder: &std::path::Path) -> Result<()> {
    let failed = |e| Error::io("read", folder, e);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().contains("tfevents") {
            sememe::io::remove(entry.path())?;
        }
    }
    Ok(())
}
