//! From the rows of a catalogue to tokens and reports: phases that read what the one before wrote.
//!
//! [`run`] goes through the phases in order. A phase whose settings, inputs and outputs are what they were, by the hash of their content,
//! is skipped; another one says why it runs. Whatever stops a run, a kill included, what was finished is kept, and the same call goes on
//! to the same files.

mod assign_ids;
mod dialogues;
mod embed;
mod items;
mod observer;
mod prep;
mod recommend;
mod report;
mod state;
mod summary;
mod tokenize;
mod train;
mod verify;

pub use state::{Artifact, PhaseRecord};
pub use verify::verify;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{Config, LoadedConfig};
use crate::tracking::TrackingReport;
use observer::RunObserver;
use sememe::eval::Advice;
use sememe::io::{is_there, remove_leftovers};
use sememe::progress::{Observer, check};
use sememe::{Error, Result};
use state::{FileHashes, PhaseStart, RunState, difference};

/// A phase of a run, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Rows of a catalogue to texts.
    Prep,
    /// Texts to vectors.
    Embed,
    /// Vectors to a codec.
    Train,
    /// Items to IDs.
    Assign,
    /// IDs to tokens and the files around them.
    Tokenize,
    /// Training data for a language model, if the configuration has it.
    Dialogues,
    /// A recommender over the IDs, if the configuration has it.
    Recommend,
    /// Measures and the page.
    Report,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Phase; 8] = [
        Phase::Prep,
        Phase::Embed,
        Phase::Train,
        Phase::Assign,
        Phase::Tokenize,
        Phase::Dialogues,
        Phase::Recommend,
        Phase::Report,
    ];

    /// Its name on the command line, in files, and as a folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prep => "prep",
            Phase::Embed => "embed",
            Phase::Train => "train",
            Phase::Assign => "assign",
            Phase::Tokenize => "tokenize",
            Phase::Dialogues => "dialogues",
            Phase::Recommend => "recommend",
            Phase::Report => "report",
        }
    }
}

/// Which phases to run, and which to rebuild.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The phases to go through.
    pub phases: Vec<Phase>,
    /// Phases that run again, up to date or not.
    pub rebuild: Vec<Phase>,
    /// How advice is worded on the page and in the figures: by default with the names of the library's settings.
    pub advice_text: fn(&Advice) -> String,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { phases: Phase::ALL.to_vec(), rebuild: Vec::new(), advice_text: Advice::to_string }
    }
}

/// A progress event of a run.
#[derive(Clone, Debug)]
pub enum RunEvent<'a> {
    /// A phase is up to date and was skipped.
    Skipped(Phase),
    /// A phase starts, with the reason why it has to run.
    Started(Phase, &'a str),
    /// A phase has finished.
    Finished(&'a PhaseReport),
}

/// Result of a phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseReport {
    /// The phase.
    pub phase: Phase,
    /// Whether it ran; else it was up to date.
    pub ran: bool,
    /// Why it ran.
    pub why: Option<String>,
    /// How long it took, in this run.
    pub seconds: f64,
    /// The findings in one line of text.
    pub summary: String,
    /// The findings as JSON.
    pub facts: Value,
}

/// Result of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// The folder.
    pub output: PathBuf,
    /// Every phase that was asked for, in order.
    pub phases: Vec<PhaseReport>,
    /// How long it took.
    pub seconds: f64,
    /// The tracking report, if any phase ran.
    pub tracking: Option<TrackingReport>,
}

/// State shared by the phases.
struct Context<'a> {
    config: &'a Config,
    written: &'a Config,
    #[cfg(feature = "embed-http")]
    variables: &'a BTreeMap<String, String>,
    folder: &'a Path,
    /// Hands on to the caller's, and keeps figures.
    observer: &'a dyn Observer,
    track: &'a RunObserver<'a>,
    advice_text: fn(&Advice) -> String,
    state: RunState,
    hashes: FileHashes,
    /// The model of phase embed, once it was asked for.
    #[cfg(feature = "embed")]
    local: std::cell::OnceCell<sememe_text::embed::LocalEmbedder>,
    /// Whether the phase at work began before, with the same settings and inputs, and was stopped.
    continues: bool,
}

/// Output of a phase.
struct PhaseOutput {
    /// Paths within the folder.
    outputs: Vec<PathBuf>,
    facts: Value,
    summary: String,
}

impl Context<'_> {
    /// A path within the folder.
    fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The phase's own folder, made if it is not there.
    fn phase_folder(&self, phase: Phase) -> Result<PathBuf> {
        let folder = self.folder.join(phase.name());
        sememe::io::create_folder(&folder)?;
        Ok(folder)
    }

    /// Whether the configuration has this phase.
    fn has(&self, phase: Phase) -> bool {
        match phase {
            Phase::Dialogues => self.config.dialogues.is_some(),
            Phase::Recommend => self.config.recommend.is_some(),
            _ => true,
        }
    }

    fn settings(&self, phase: Phase) -> Result<Value> {
        match phase {
            Phase::Prep => prep::settings(self),
            Phase::Embed => embed::settings(self),
            Phase::Train => train::settings(self),
            Phase::Assign => assign_ids::settings(self),
            Phase::Tokenize => tokenize::settings(self),
            Phase::Dialogues => dialogues::settings(self),
            Phase::Recommend => recommend::settings(self),
            Phase::Report => report::settings(self),
        }
    }

    /// Names and places of what a phase reads.
    fn inputs(&self, phase: Phase) -> Vec<(&'static str, PathBuf)> {
        match phase {
            Phase::Prep => prep::inputs(self),
            Phase::Embed => embed::inputs(self),
            Phase::Train => train::inputs(self),
            Phase::Assign => assign_ids::inputs(self),
            Phase::Tokenize => tokenize::inputs(self),
            Phase::Dialogues => dialogues::inputs(self),
            Phase::Recommend => recommend::inputs(self),
            Phase::Report => report::inputs(self),
        }
    }

    fn execute(&mut self, phase: Phase) -> Result<PhaseOutput> {
        match phase {
            Phase::Prep => prep::run(self),
            Phase::Embed => embed::run(self),
            Phase::Train => train::run(self),
            Phase::Assign => assign_ids::run(self),
            Phase::Tokenize => tokenize::run(self),
            Phase::Dialogues => dialogues::run(self),
            Phase::Recommend => recommend::run(self),
            Phase::Report => report::run(self),
        }
    }

    /// Puts away what an earlier run of a phase left to go on from. It is done before the phase counts as begun, so that one that is stopped
    /// right after never goes on from it.
    fn clear(&self, phase: Phase) -> Result<()> {
        match phase {
            Phase::Train => train::clear(self),
            Phase::Assign => assign_ids::clear(self),
            Phase::Recommend => recommend::clear(self),
            _ => Ok(()),
        }
    }

    /// The phase's inputs by hash; one that is missing names the phase that writes it.
    fn hashed(&mut self, phase: Phase) -> Result<BTreeMap<String, Artifact>> {
        let mut out = BTreeMap::new();
        for (name, path) in self.inputs(phase) {
            let Some(artifact) = self.hashes.of(&path)? else {
                let before = Phase::ALL.iter().find(|other| path.starts_with(self.folder.join(other.name())));
                return Err(match before {
                    Some(before) => Error::Data(format!(
                        "phase {} reads `{}`, which is not there; phase {} writes it: run it first, or run all phases",
                        phase.name(),
                        path.display(),
                        before.name()
                    )),
                    None => Error::io("read", path, std::io::ErrorKind::NotFound.into()),
                });
            };
            out.insert(name.to_owned(), artifact);
        }
        let by_vectors = matches!(phase, Phase::Assign | Phase::Tokenize | Phase::Recommend | Phase::Report);
        if let Some((name, path)) = items::failed(self)?.filter(|_| by_vectors) {
            out.extend(self.hashes.of(&path)?.map(|artifact| (name.to_owned(), artifact)));
        }
        Ok(out)
    }

    /// Why a phase has to run; `None` if it is up to date.
    fn stale(
        &mut self,
        phase: Phase,
        settings: &Value,
        inputs: &BTreeMap<String, Artifact>,
        rebuild: bool,
    ) -> Result<Option<String>> {
        if rebuild {
            return Ok(Some("asked for again".into()));
        }
        let Some(record) = self.state.phases.get(&phase).cloned() else {
            return Ok(Some("it has not run yet".into()));
        };
        if let Some(difference) = difference(phase.name(), &record.settings, settings) {
            return Ok(Some(format!("settings changed, {difference}")));
        }
        for (path, artifact) in &record.outputs {
            match self.hashes.of(&self.folder.join(path))? {
                None => return Ok(Some(format!("`{path}` is missing"))),
                Some(found) if found != *artifact => return Ok(Some(format!("`{path}` is not as it was written"))),
                Some(_) => {}
            }
        }
        if phase == Phase::Train && train::keeps_codec(self) {
            return Ok(None);
        }
        for (name, artifact) in inputs {
            if record.inputs.get(name) != Some(artifact) {
                let what = if record.inputs.contains_key(name) { "changed" } else { "is new" };
                return Ok(Some(format!("{name} {what}")));
            }
        }
        if let Some(name) = record.inputs.keys().find(|name| !inputs.contains_key(*name)) {
            return Ok(Some(format!("{name} is no longer an input")));
        }
        match phase {
            Phase::Assign => assign_ids::stale(self),
            Phase::Embed if items::failed(self)?.is_some() => Ok(Some("some texts could not be embedded".into())),
            _ => Ok(None),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Goes through the phases, in order, and leaves everything in the configuration's `output` folder.
///
/// A phase reads what the ones before it wrote and a run may begin at any. Every file is written whole or not at all, and a phase counts
/// as done once all of them are there. The artifacts depend on data, settings and device alone, never on how often a run was stopped;
/// only times differ. Memory: the rows once as f32, texts, IDs.
///
/// # Errors
/// [`Error::Config`] for settings that cannot be; [`Error::Data`] for an input that an earlier phase should have written, and for a folder
/// that another run is working in; what the phases return; [`Error::Interrupted`] if the observer asks.
pub fn run(
    loaded: &LoadedConfig,
    options: &RunOptions,
    observer: &dyn Observer,
    on_event: &mut dyn FnMut(RunEvent<'_>),
) -> Result<RunReport> {
    let begun = Instant::now();
    let config = &loaded.config;
    let folder = config.output.as_path();
    sememe::io::create_folder(folder)?;
    let _lock = lock(folder)?;
    remove_leftovers(folder)?;
    for room in Phase::ALL.iter().map(|phase| phase.name()).chain(["train/rqvae", "train/rq-kmeans", "train/product"]) {
        remove_leftovers(&folder.join(room))?;
    }
    let track = RunObserver::new(observer, &config.tracking, folder.join("tracking"));
    let mut context = Context {
        config,
        written: &loaded.written,
        #[cfg(feature = "embed-http")]
        variables: &loaded.variables,
        folder,
        observer: &track,
        track: &track,
        advice_text: options.advice_text,
        state: RunState::load(folder)?,
        hashes: FileHashes::default(),
        #[cfg(feature = "embed")]
        local: std::cell::OnceCell::new(),
        continues: false,
    };
    let outcome = run_phases(&mut context, options, on_event);
    let tracked = track.finish(outcome.is_ok());
    let phases = outcome.map_err(with_resume_hint)?;
    let tracking = tracked?;
    let seconds = begun.elapsed().as_secs_f64();
    let report = RunReport { output: folder.to_owned(), phases, seconds, tracking };
    if report.phases.iter().any(|phase| phase.ran) {
        summary::write(&context, &report)?;
    }
    Ok(report)
}

/// Refuses a run that would miss a file which no phase writes, before any phase begins.
fn check_inputs(context: &Context<'_>, options: &RunOptions) -> Result<()> {
    for phase in Phase::ALL.into_iter().filter(|phase| options.phases.contains(phase)) {
        let mut inputs = context.inputs(phase);
        if phase == Phase::Embed {
            inputs.extend(context.config.embed.model_folder.clone().map(|folder| ("the model's folder", folder)));
        }
        // What the system cannot say is left to whoever reads the file, whose error says why.
        let absent = |path: &Path| matches!(is_there(path), Ok(false));
        let missing = inputs.into_iter().find(|(_, path)| !path.starts_with(context.folder) && absent(path));
        if let Some((name, path)) = missing {
            let phase = phase.name();
            return Err(Error::Data(format!("phase {phase} reads {name}, `{}`, and it is not there", path.display())));
        }
    }
    Ok(())
}

/// Runs the requested phases in order.
fn run_phases(
    context: &mut Context<'_>,
    options: &RunOptions,
    on_event: &mut dyn FnMut(RunEvent<'_>),
) -> Result<Vec<PhaseReport>> {
    check_inputs(context, options)?;
    let mut phases = Vec::new();
    for phase in Phase::ALL {
        if !options.phases.contains(&phase) {
            continue;
        }
        if !context.has(phase) {
            // Among all phases it is passed over; asked for by name it is missed.
            if options.phases.len() < Phase::ALL.len() {
                let name = phase.name();
                return Err(Error::config(name, format!("the configuration has no section `[{name}]`")));
            }
            continue;
        }
        check(context.observer)?;
        let report = run_phase(context, phase, options.rebuild.contains(&phase), on_event)
            .map_err(|e| e.within(phase.name()))?;
        on_event(if report.ran { RunEvent::Finished(&report) } else { RunEvent::Skipped(phase) });
        phases.push(report);
    }
    Ok(phases)
}

/// Adds to an interruption that finished phases are kept and how to resume.
fn with_resume_hint(error: Error) -> Error {
    error.map_root(|root| match root {
        Error::Interrupted(text) => {
            Error::Interrupted(format!("{text}; what was finished is kept, go on with the same command"))
        }
        other => other,
    })
}

fn run_phase(
    context: &mut Context<'_>,
    phase: Phase,
    rebuild: bool,
    on_event: &mut dyn FnMut(RunEvent<'_>),
) -> Result<PhaseReport> {
    let settings = context.settings(phase)?;
    let inputs = context.hashed(phase)?;
    let Some(why) = context.stale(phase, &settings, &inputs, rebuild)? else {
        let facts = context.state.phases.get(&phase).map_or(Value::Null, |record| record.facts.clone());
        return Ok(PhaseReport { phase, ran: false, why: None, seconds: 0.0, summary: String::new(), facts });
    };
    on_event(RunEvent::Started(phase, &why));
    let started = PhaseStart { settings: settings.clone(), inputs: inputs.clone() };
    context.continues = context.state.begun.get(&phase) == Some(&started);
    if !context.continues {
        context.clear(phase)?;
        context.state.begun.insert(phase, started);
        context.state.save(context.folder)?;
    }
    let from_step = match phase {
        Phase::Train => train::steps(context)?,
        Phase::Recommend => recommend::steps(context)?,
        _ => 0,
    };
    context.track.begin(phase, &settings, from_step)?;
    let begun = Instant::now();
    let executed = context.execute(phase);
    let seconds = begun.elapsed().as_secs_f64();
    let found = executed.as_ref().map_or(&Value::Null, |done| &done.facts);
    // A figure that could not be kept stopped the phase, and is the reason to tell.
    context.track.end(phase, found, seconds)?;
    let PhaseOutput { outputs, facts, summary } = executed?;
    let mut written = BTreeMap::new();
    for path in outputs {
        let whole = context.folder.join(&path);
        context.hashes.forget(&whole);
        let artifact = context.hashes.of(&whole)?;
        let artifact = artifact.ok_or_else(|| Error::io("read", &whole, std::io::ErrorKind::NotFound.into()))?;
        written.insert(path.to_string_lossy().replace('\\', "/"), artifact);
    }
    // What this phase wrote before and does not write any more would be taken for a part of this run.
    for gone in context.state.phases.get(&phase).iter().flat_map(|record| record.outputs.keys()) {
        let path = context.folder.join(gone);
        if !written.contains_key(gone) {
            sememe::io::remove(&path)?;
            context.hashes.forget(&path);
        }
    }
    let record = PhaseRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        settings,
        inputs,
        outputs: written,
        facts: facts.clone(),
        seconds,
        finished_at: now(),
    };
    context.state.phases.insert(phase, record);
    context.state.begun.remove(&phase);
    context.state.save(context.folder)?;
    Ok(PhaseReport { phase, ran: true, why: Some(why), seconds, summary, facts })
}

/// One run a folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("run.lock");
    let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Data(format!(
            "another run is at work in `{}`; wait for it, or take another `output`",
            folder.display()
        ))),
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
    }
}
