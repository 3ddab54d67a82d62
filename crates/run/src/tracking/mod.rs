//! Metrics of a run, phase by phase: written to files, and optionally sent to MLflow.
//!
//! A [`Tracker`] always writes files: `metrics.jsonl`, `params.json` and, a folder a phase, event files that TensorBoard shows and W&B
//! imports. Beside them it can tell an MLflow server over REST ([`Mlflow`], feature `mlflow`). Files are the record: an error there is an
//! error. A server is a courtesy: what goes wrong with it becomes a note in the [`TrackingReport`], and the run goes on.

#[cfg(feature = "mlflow")]
mod mlflow;
mod observer;

pub use observer::TrackingObserver;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::track::{EventWriter, MetricsWriter};
use sememe::io::write_bytes_atomic;
use sememe::{Error, Result};

const METRICS: &str = "metrics.jsonl";
const PARAMS: &str = "params.json";
/// Holds a folder of event files a phase.
const EVENTS: &str = "events";

/// Where metrics are sent, in addition to the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracking {
    /// An MLflow server.
    pub mlflow: Option<Mlflow>,
}

/// An MLflow server, and what it calls the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mlflow {
    /// Its address, as MLflow's own `MLFLOW_TRACKING_URI`: `http://localhost:5000`.
    pub uri: String,
    /// The experiment, made if it is not there.
    pub experiment: String,
    /// The run's name; without it the server makes one up.
    pub run: Option<String>,
    /// Tags of the run.
    pub tags: BTreeMap<String, String>,
    /// The environment variable that holds a token, sent as `Authorization: Bearer`. The token is never written anywhere.
    pub token_env: Option<String>,
    /// How long a call may take.
    pub timeout_seconds: u64,
    /// How long a server that does not answer is tried, and how long the end of a run waits for its last figures to arrive.
    pub patience_seconds: u64,
}

impl Default for Mlflow {
    fn default() -> Self {
        Self {
            uri: String::new(),
            experiment: "sememe".into(),
            run: None,
            tags: BTreeMap::new(),
            token_env: None,
            timeout_seconds: 10,
            patience_seconds: 30,
        }
    }
}

impl Tracking {
    /// Checks what can be known without a server.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is no `http://` or `https://` one, or holds a name or password; an empty name; a time of 0; an
    /// environment variable that is not set; and for MLflow in a build without the feature `mlflow`.
    pub fn validate(&self) -> Result<()> {
        let Some(mlflow) = &self.mlflow else { return Ok(()) };
        if !cfg!(feature = "mlflow") {
            return Err(Error::config("mlflow", "is not part of this build").mend([sememe::Remedy::build("mlflow")]));
        }
        let rest = mlflow.uri.strip_prefix("http://").or_else(|| mlflow.uri.strip_prefix("https://"));
        let Some(host) = rest.map(|rest| rest.split('/').next().unwrap_or_default()) else {
            let problem = format!("expected an address such as `http://localhost:5000`, got `{}`", mlflow.uri);
            return Err(Error::config("mlflow.uri", problem));
        };
        if host.contains('@') {
            let problem =
                "holds a name or password; put a token into an environment variable and name it in `token_env`";
            return Err(Error::config("mlflow.uri", problem));
        }
        if host.is_empty() || !mlflow.uri.bytes().all(|b| b.is_ascii_graphic()) || mlflow.uri.contains(['?', '#']) {
            return Err(Error::config("mlflow.uri", format!("{:?} is no address", mlflow.uri)));
        }
        let names = [("experiment", Some(&mlflow.experiment)), ("run", mlflow.run.as_ref())];
        for (name, value) in names {
            if value.is_some_and(|value| value.trim().is_empty()) {
                return Err(Error::config(format!("mlflow.{name}"), "is empty; leave it out instead"));
            }
        }
        for (name, value) in
            [("timeout_seconds", mlflow.timeout_seconds), ("patience_seconds", mlflow.patience_seconds)]
        {
            if value == 0 {
                return Err(Error::config(format!("mlflow.{name}"), "expected at least 1, got 0"));
            }
        }
        mlflow.token().map(|_| ())
    }
}

impl Mlflow {
    /// The token, out of its variable.
    fn token(&self) -> Result<Option<String>> {
        let Some(name) = &self.token_env else { return Ok(None) };
        let bad = |what: &str| Error::config("mlflow.token_env", format!("the environment variable `{name}` {what}"));
        let token = std::env::var(name).map_err(|_| bad("is not set; set it to the server's token"))?;
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("is empty, or holds characters that no token has"));
        }
        Ok(Some(token.to_owned()))
    }
}

/// How many metrics were written, and what went wrong with the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrackingReport {
    /// Figures written.
    pub scalars: u64,
    /// The run at the MLflow server, if it was made there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<MlflowRun>,
    /// What went wrong beside the files.
    pub notes: Vec<String>,
}

/// A run at an MLflow server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MlflowRun {
    /// Number of its experiment.
    pub experiment_id: String,
    /// Its own.
    pub run_id: String,
    /// Its page.
    pub url: String,
}

#[derive(Serialize)]
struct MetricLine<'a> {
    phase: &'a str,
    step: u64,
    unix_seconds: f64,
    values: BTreeMap<&'a str, f64>,
}

/// Records the metrics of a run.
///
/// ```
/// use sememe_run::tracking::{Tracker, Tracking};
/// # let folder = tempfile::tempdir()?;
/// let mut tracker = Tracker::start(&Tracking::default(), folder.path())?;
/// tracker.param("levels", 3);
/// for step in 1..=10 {
///     tracker.scalar("train", step, "loss", 1.0 / step as f64)?;
/// }
/// let report = tracker.finish(true)?;
/// assert_eq!((report.scalars, report.notes.len()), (10, 0));
/// assert!(folder.path().join("events/train").is_dir());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tracker {
    folder: PathBuf,
    metrics: MetricsWriter,
    phases: BTreeMap<String, EventWriter>,
    params: BTreeMap<String, String>,
    scalars: u64,
    notes: Vec<String>,
    #[cfg(feature = "mlflow")]
    remote: Option<mlflow::MlflowSender>,
}

impl Tracker {
    /// Opens the files in `folder`, which is made if it is not there; figures of phases that are not begun again stay. A server is
    /// spoken to in a thread of its own, so this does not wait for it.
    ///
    /// # Errors
    /// [`Error::Config`] as [`Tracking::validate`] says; if the files cannot be written.
    pub fn start(tracking: &Tracking, folder: impl AsRef<Path>) -> Result<Self> {
        tracking.validate()?;
        let folder = folder.as_ref().to_path_buf();
        sememe::io::create_folder(&folder)?;
        Ok(Self {
            metrics: MetricsWriter::resume(folder.join(METRICS), |_| true)?,
            folder,
            phases: BTreeMap::new(),
            params: BTreeMap::new(),
            scalars: 0,
            notes: Vec::new(),
            #[cfg(feature = "mlflow")]
            remote: tracking.mlflow.as_ref().map(mlflow::MlflowSender::start).transpose()?,
        })
    }

    /// Begins a phase, or goes on with one: what the files hold of its steps from `from_step` on goes, what is before stays. Where a
    /// phase is not begun so, its first figure begins it from 0.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is not of lower-case letters, digits, `_` and `-`; if the files cannot be written.
    pub fn begin(&mut self, phase: &str, from_step: u64) -> Result<()> {
        if phase.is_empty()
            || !phase.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
        {
            let problem = format!("expected lower-case letters, digits, `_` and `-`, got {phase:?}");
            return Err(Error::config("phase", problem));
        }
        let before = |line: &serde_json::Value| {
            line["phase"].as_str() != Some(phase) || line["step"].as_u64().is_some_and(|step| step < from_step)
        };
        self.metrics.sync()?;
        self.metrics = MetricsWriter::resume(self.folder.join(METRICS), before)?;
        let events = EventWriter::resume(self.folder.join(EVENTS).join(phase), from_step)?;
        self.phases.insert(phase.to_owned(), events);
        Ok(())
    }

    /// A setting of the run, kept in `params.json`; the last value counts. MLflow keeps the first that it was told.
    pub fn param(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        #[cfg(feature = "mlflow")]
        if let Some(remote) = &mut self.remote {
            remote.param(name, &value);
        }
        self.params.insert(name.to_owned(), value);
    }

    /// One figure of a step.
    ///
    /// # Errors
    /// As for [`scalars`](Self::scalars).
    pub fn scalar(&mut self, phase: &str, step: u64, name: &str, value: f64) -> Result<()> {
        self.scalars(phase, step, &[(name, value)])
    }

    /// Figures of a step. NaN and infinity are `null` in `metrics.jsonl`, themselves elsewhere.
    ///
    /// # Errors
    /// If the files cannot be written, with a full disk for example, or as [`begin`](Self::begin) says; never for a server.
    pub fn scalars(&mut self, phase: &str, step: u64, values: &[(&str, f64)]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        if !self.phases.contains_key(phase) {
            self.begin(phase, 0)?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        self.metrics.line(&MetricLine { phase, step, unix_seconds: now, values: values.iter().copied().collect() })?;
        let narrow: Vec<(&str, f32)> = values.iter().map(|(name, value)| (*name, *value as f32)).collect();
        if let Some(events) = self.phases.get_mut(phase) {
            events.scalar(step, now, &narrow)?;
        }
        self.scalars += values.len() as u64;
        #[cfg(feature = "mlflow")]
        if let Some(remote) = &mut self.remote {
            values.iter().for_each(|(name, value)| remote.metric(&format!("{phase}/{name}"), *value, step, now));
        }
        Ok(())
    }

    /// Waits until the disk has everything: call it before a checkpoint that these figures belong to.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&mut self) -> Result<()> {
        self.metrics.sync()?;
        for events in self.phases.values_mut() {
            events.sync()?;
        }
        let mut text = serde_json::to_string_pretty(&self.params).map_err(|e| Error::Data(format!("{PARAMS}: {e}")))?;
        text.push('\n');
        write_bytes_atomic(self.folder.join(PARAMS), text.as_bytes())
    }

    /// Ends the run, as finished or as failed, and waits for a server to have it, at most [`Mlflow::patience_seconds`]. A tracker that is
    /// dropped without it ends as failed.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn finish(mut self, ok: bool) -> Result<TrackingReport> {
        let written = self.sync();
        #[allow(unused_mut, reason = "only a server adds to it")]
        let mut report = TrackingReport { scalars: self.scalars, mlflow: None, notes: std::mem::take(&mut self.notes) };
        #[cfg(feature = "mlflow")]
        if let Some(remote) = self.remote.take() {
            let (run, notes) = remote.finish(ok && written.is_ok());
            report.mlflow = run;
            report.notes.extend(notes);
        }
        #[cfg(not(feature = "mlflow"))]
        let _ = ok;
        written.map(|()| report)
    }
}
