//! Texts to vectors, training chats, and whole runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use numpy::PyArray2;
use pyo3::prelude::*;
use sememe::Error;
use sememe_run::config::{Overrides, load};
use sememe_run::run::{Phase, RunEvent, RunOptions};
use sememe_text::dialogues::{Dialogues, compose};
#[cfg(feature = "full")]
use sememe_text::embed::LocalModel;
use sememe_text::embed::{ApiKey, Embedder, Endpoint, embed_texts};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::errors::OrRaise as _;
use crate::train::parsed;
use crate::values;
use crate::work::run;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointRequest {
    url: String,
    model: String,
    api_key: Option<String>,
    dimensions: Option<usize>,
    timeout: Option<f64>,
    retries: Option<u32>,
    backoff: Option<f64>,
    extra: Map<String, Value>,
}

fn seconds(field: &str, value: f64) -> sememe::Result<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| Error::config(field, format!("{value} is no number of seconds")))
}

/// What makes vectors of texts.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct TextModel(Arc<dyn Embedder + Send>);

#[pymethods]
impl TextModel {
    /// An OpenAI-compatible server.
    #[staticmethod]
    fn endpoint(py: Python<'_>, request: &str) -> PyResult<Self> {
        let made = || {
            let wrong = |e: serde_json::Error| Error::config("extra", e.to_string());
            let asked: EndpointRequest = serde_json::from_str(request).map_err(wrong)?;
            let mut endpoint = Endpoint::new(asked.url, asked.model);
            endpoint.api_key = asked.api_key.as_deref().map(ApiKey::new).transpose()?;
            endpoint.dimensions = asked.dimensions;
            if let Some(timeout) = asked.timeout {
                endpoint.timeout = seconds("timeout", timeout)?;
            }
            if let Some(backoff) = asked.backoff {
                endpoint.backoff = seconds("backoff", backoff)?;
            }
            endpoint.retries = asked.retries.unwrap_or(endpoint.retries);
            endpoint.extra = asked.extra;
            endpoint.connect()
        };
        Ok(Self(Arc::new(made().or_raise(py)?)))
    }

    /// A model in a folder of Hugging Face's layout.
    #[staticmethod]
    #[cfg(feature = "full")]
    fn folder(py: Python<'_>, request: &str) -> PyResult<Self> {
        let model: LocalModel = parsed(request).or_raise(py)?;
        let opened = crate::work::at_once(py, || model.open())?;
        Ok(Self(Arc::new(opened)))
    }

    /// A wheel without local models says so.
    #[staticmethod]
    #[cfg(not(feature = "full"))]
    fn folder(py: Python<'_>, request: &str) -> PyResult<Self> {
        let _ = request;
        let other = sememe::Remedy::give("url").to("ask a server for vectors");
        Err(Error::config("folder", "models in folders are not in this build")
            .mend([sememe::Remedy::build("full"), other]))
        .or_raise(py)
    }

    /// The model's name.
    #[getter]
    fn model(&self) -> String {
        self.0.model().to_owned()
    }

    /// Vectors `[n, dims]` of texts.
    fn embed<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<String>,
        prefix: String,
        normalize: bool,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let model = self.0.clone();
        let matrix = run(py, None, move |_| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            embed_texts(&*model, &texts, &prefix, normalize)
        })?;
        values::matrix_array(py, matrix)
    }
}

/// Writes training chats to a folder; returns the report.
#[pyfunction]
#[pyo3(signature = (settings, folder, progress))]
pub fn write_dialogues<'py>(
    py: Python<'py>,
    settings: &str,
    folder: PathBuf,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let dialogues: Dialogues = parsed(settings).or_raise(py)?;
    dialogues.validate().or_raise(py)?;
    let report = run(py, progress, move |watch| compose(&dialogues, watch)?.save(&folder, watch))?;
    values::described(py, &report)
}

fn phases(names: &[String]) -> sememe::Result<Vec<Phase>> {
    let known = |name: &String| Phase::ALL.into_iter().find(|phase| phase.name() == name);
    let listed = || Phase::ALL.map(Phase::name).join(", ");
    let find = |name: &String| {
        known(name).ok_or_else(|| Error::config("phases", format!("expected some of {}, got `{name}`", listed())))
    };
    names.iter().map(find).collect()
}

/// Does everything that a configuration says; returns the report.
#[pyfunction]
#[pyo3(signature = (config, set, names, rebuild, dry_run, progress))]
pub fn run_config<'py>(
    py: Python<'py>,
    config: PathBuf,
    set: Vec<String>,
    names: Option<Vec<String>>,
    rebuild: Vec<String>,
    dry_run: bool,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut loaded = load(&config, &Overrides::from_process(set)).or_raise(py)?;
    if dry_run {
        (loaded.config, loaded.written) = (loaded.config.dry(), loaded.written.dry());
    }
    let mut options = RunOptions { rebuild: phases(&rebuild).or_raise(py)?, ..RunOptions::default() };
    if let Some(names) = names {
        options.phases = phases(&names).or_raise(py)?;
    }
    let report = run(py, progress, move |watch| {
        let report = sememe_run::run::run(&loaded, &options, watch, &mut |event| {
            watch.tell(match event {
                RunEvent::Skipped(phase) => json!({"kind": "run", "phase": phase.name(), "state": "up to date"}),
                RunEvent::Started(phase, why) => {
                    json!({"kind": "run", "phase": phase.name(), "state": "started", "why": why})
                }
                RunEvent::Finished(done) => json!({
                    "kind": "run", "phase": done.phase.name(), "state": "finished", "summary": done.summary, "seconds": done.seconds,
                }),
            });
        })?;
        let mut value = serde_json::to_value(&report).map_err(|e| Error::Data(e.to_string()))?;
        if dry_run {
            value["checked"] = json!(sememe_run::run::verify(&report.output)?);
        }
        Ok(value)
    })?;
    values::to_python(py, &report)
}
