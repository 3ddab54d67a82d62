//! Recommenders over items and their IDs.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::{PyReadonlyArray2, PyUntypedArrayMethods as _};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sememe::{Codes, Error, Event, Matrix, Observer, Remedy, RowSource as _, Sequences};
use sememe_recommend::{
    ItemSources, RecommendOptions, RecommenderEpoch, RecommenderQuery, RecommenderSettings, RecommenderTraining,
    Sampling, TrainingRecorder,
};
use serde::Deserialize;

use crate::device;
use crate::errors::OrRaise as _;
use crate::rows::Rows;
use crate::train::parsed;
use crate::values;
use crate::work::{Watch, at_once, run};

/// Far more than any training's state.
const MOST_STATE_BYTES: u64 = 64 << 30;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The library's settings, as far as they are given, as JSON.
    settings: String,
    items: usize,
    identities: bool,
    prefixes: bool,
    /// The items of each user by row, oldest first.
    histories: Vec<Vec<u32>>,
    keys: Option<Vec<String>>,
    device: String,
    checkpoint: Option<PathBuf>,
}

/// A trained recommender.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Recommender(Arc<sememe_recommend::Recommender>);

/// Items of one list, by row, with the logarithms of their probabilities.
type Answer = Vec<(u32, f64)>;

struct Recorder<'a> {
    watch: &'a Watch,
    checkpoint: Option<PathBuf>,
    epochs: usize,
}

impl TrainingRecorder for Recorder<'_> {
    fn epoch(&mut self, epoch: &RecommenderEpoch) -> sememe::Result<()> {
        let mut told = serde_json::to_value(epoch).unwrap_or_default();
        (told["kind"], told["epochs"]) = ("recommender_epoch".into(), self.epochs.into());
        self.watch.tell(told);
        Ok(())
    }

    fn checkpoint(&mut self, training: &RecommenderTraining) -> sememe::Result<()> {
        match &self.checkpoint {
            Some(path) => sememe::io::write_bytes_atomic(path, &training.to_bytes()?),
            None => Ok(()),
        }
    }
}

fn started(request: &Request, settings: RecommenderSettings, watch: &Watch) -> sememe::Result<RecommenderTraining> {
    let Some(path) = &request.checkpoint else { return RecommenderTraining::new(settings) };
    let Some(bytes) = sememe::io::read_if_there(path, MOST_STATE_BYTES)? else {
        return RecommenderTraining::new(settings);
    };
    let training = RecommenderTraining::from_bytes(&bytes).map_err(|e| Error::format(path, e.to_string()))?;
    if *training.settings() != settings {
        let kept = serde_json::to_string(training.settings()).unwrap_or_default();
        let problem = format!("`{}` is the state of a training with other settings, {kept}", path.display());
        return Err(Error::config("checkpoint", problem));
    }
    watch.event(Event::Note(&format!("going on after {} epochs", training.epochs().len())));
    Ok(training)
}

/// Trains a recommender; returns it with the figures of its epochs.
#[pyfunction]
#[pyo3(signature = (request, codes, vectors, progress))]
pub fn train_recommender<'py>(
    py: Python<'py>,
    request: &str,
    codes: Option<PyReadonlyArray2<'py, u32>>,
    vectors: Option<&Rows>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Recommender, Bound<'py, PyAny>)> {
    let wrong = |e: serde_json::Error| Error::config("settings", e.to_string());
    let request: Request = serde_json::from_str(request).map_err(wrong).or_raise(py)?;
    let settings: RecommenderSettings = parsed(&request.settings).or_raise(py)?;
    settings.validate().or_raise(py)?;
    let codes: Option<Codes> = codes.map(|codes| values::read_codes(&codes)).transpose()?.transpose().or_raise(py)?;
    let vectors = vectors.map(|rows| rows.0.clone());
    let (made, epochs) = run(py, progress, move |watch| {
        let histories = Sequences::from_lists(&request.histories)?;
        histories.check(request.items)?;
        let vectors = match vectors {
            Some(rows) => {
                let mut held = Matrix::zeros(rows.rows(), rows.dims())?;
                rows.read_rows(0, held.as_mut_slice())?;
                Some(held)
            }
            None => None,
        };
        let (identities, prefixes) = (request.identities, request.prefixes);
        let sources = ItemSources { items: request.items, identities, codes, prefixes, vectors };
        let device = device::open(&request.device, request.items)?;
        let mut training = started(&request, settings.clone(), watch)?;
        let mut recorder = Recorder { watch, checkpoint: request.checkpoint.clone(), epochs: settings.epochs };
        let trained = training.run(&sources, &histories, &device, watch, &mut recorder).map_err(|e| match e {
            Error::Interrupted(_) => match (&request.checkpoint, training.epochs().len()) {
                (Some(path), done @ 1..) => Error::Interrupted(format!(
                    " after {done} epochs; `{}` has them, the same call goes on",
                    path.display()
                )),
                _ => Error::Interrupted(format!(" after {} epochs", training.epochs().len()))
                    .mend([Remedy::give("checkpoint").to("keep them next time")]),
            },
            other => other,
        })?;
        let made = match &request.keys {
            Some(keys) => trained.with_keys(keys.clone())?,
            None => trained,
        };
        Ok((made, training.epochs().to_vec()))
    })?;
    Ok((Recommender(Arc::new(made)), values::described(py, &epochs)?))
}

/// The settings of a recommender if none are given.
#[pyfunction]
pub fn default_recommender(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    values::described(py, &RecommenderSettings::default())
}

#[pymethods]
impl Recommender {
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        at_once(py, || sememe_recommend::Recommender::load(path)).map(|made| Self(Arc::new(made)))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        at_once(py, || sememe_recommend::Recommender::from_bytes(bytes)).map(|made| Self(Arc::new(made)))
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        at_once(py, || self.0.save(path))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = at_once(py, || self.0.to_bytes())?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[getter]
    fn items(&self) -> usize {
        self.0.items()
    }

    #[getter]
    fn keys(&self) -> Option<Vec<String>> {
        self.0.keys().map(<[String]>::to_vec)
    }

    #[getter]
    fn parameters(&self) -> usize {
        self.0.parameters()
    }

    #[getter]
    fn vector_dims(&self) -> Option<usize> {
        self.0.vector_dims()
    }

    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::described(py, self.0.settings())
    }

    /// Lists of items after histories, for wishes, or both.
    #[pyo3(signature = (histories, wishes, count, hide_seen, beams, sampling, device))]
    #[allow(clippy::too_many_arguments, reason = "keywords of one call, which Python's layer names")]
    fn recommend(
        &self,
        py: Python<'_>,
        histories: Vec<Vec<u32>>,
        wishes: Option<PyReadonlyArray2<'_, f32>>,
        count: usize,
        hide_seen: bool,
        beams: Option<usize>,
        sampling: Option<(f64, f64, u64)>,
        device: &str,
    ) -> PyResult<Vec<Answer>> {
        let sampling = sampling.map(|(temperature, top_p, seed)| Sampling { temperature, top_p, seed });
        if let Some(sampling) = &sampling {
            sampling.validate().or_raise(py)?;
        }
        let options = RecommendOptions { count, hide_seen, beams, sampling };
        let wished = match &wishes {
            Some(array) => {
                let (rows, dims) = (array.shape()[0], array.shape()[1]);
                let values = array.as_slice().map_err(|e| pyo3::exceptions::PyValueError::new_err(e.to_string()))?;
                Some(Matrix::from_vec(rows, dims, values.to_vec()).or_raise(py)?)
            }
            None => None,
        };
        let wish = |number: usize| wished.as_ref().map(|wished| wished.row(number));
        let queries: Vec<RecommenderQuery<'_>> = histories
            .iter()
            .enumerate()
            .map(|(number, history)| RecommenderQuery { history, wish: wish(number) })
            .collect();
        let answers = at_once(py, || {
            let device = device::open(device, self.0.items())?;
            self.0.session(&device)?.recommend_with(&queries, &options, None)
        })?;
        let listed = |list: Vec<sememe_recommend::Recommendation>| {
            list.into_iter().map(|found| (found.item, found.log_probability)).collect()
        };
        Ok(answers.into_iter().map(listed).collect())
    }

    /// How well the item is ranked that follows what a history has before it.
    #[pyo3(signature = (histories, from_end, hide_seen, beams, device, progress))]
    #[allow(clippy::too_many_arguments, reason = "keywords of one call, which Python's layer names")]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        histories: Vec<Vec<u32>>,
        from_end: usize,
        hide_seen: bool,
        beams: Option<usize>,
        device: &str,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (recommender, device) = (self.0.clone(), device.to_owned());
        let measures = run(py, progress, move |watch| {
            let histories = Sequences::from_lists(&histories)?;
            histories.check(recommender.items())?;
            let device = device::open(&device, recommender.items())?;
            recommender.evaluate_with(&histories, from_end, hide_seen, beams, &device, watch)
        })?;
        values::described(py, &measures)
    }
}
