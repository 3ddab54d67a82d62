//! Trainings over rows on many machines, round by round.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sememe::distributed::{DistributedRqKMeans, DistributedTrainer as Trainer, Partial, Round, RoundWorker};
use sememe::{Error, MatrixView, RowSource as _, RqKMeans, check_shape};

use crate::codec::Codec;
use crate::errors::OrRaise as _;
use crate::rows::{Held, Rows};
use crate::train::parsed;
use crate::work::{at_once, run};
use crate::{device, values};

/// Bytes of rows that are looked at at once where they do not lie in memory as they are wanted.
const PIECE_BYTES: usize = 16 << 20;

/// What is asked of all rows next, and what comes of the answers.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct DistributedTrainer(Arc<Mutex<Trainer>>);

impl From<Trainer> for DistributedTrainer {
    fn from(trainer: Trainer) -> Self {
        Self(Arc::new(Mutex::new(trainer)))
    }
}

fn with<T>(trainer: &Mutex<Trainer>, work: impl FnOnce(&mut Trainer) -> T) -> T {
    work(&mut trainer.lock().unwrap_or_else(PoisonError::into_inner))
}

#[pymethods]
impl DistributedTrainer {
    #[new]
    #[pyo3(signature = (settings, sample_rows, dims))]
    fn new(py: Python<'_>, settings: &str, sample_rows: Option<usize>, dims: usize) -> PyResult<Self> {
        let mut kmeans: RqKMeans = parsed(settings).or_raise(py)?;
        let asked: serde_json::Value = serde_json::from_str(settings).unwrap_or_default();
        if let (Some(balance), None) = (&kmeans.balance, asked.get("iterations")) {
            kmeans.iterations = kmeans.iterations.max(balance.settling_iterations());
        }
        Ok(Trainer::new(DistributedRqKMeans { kmeans, sample_rows }, dims).or_raise(py)?.into())
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        at_once(py, || Trainer::from_bytes(bytes)).map(Self::from)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = at_once(py, || with(&self.0, |trainer| trainer.to_bytes()))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// What is asked next, nothing once the codec is trained.
    fn round<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let round = at_once(py, || with(&self.0, |trainer| trainer.round()))?;
        Ok(round.map(|round| PyBytes::new(py, &round.to_bytes())))
    }

    /// Takes the merged answers in.
    #[pyo3(signature = (partial, device, progress))]
    fn take(&self, py: Python<'_>, partial: &[u8], device: &str, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let partial = at_once(py, || Partial::from_bytes(partial))?;
        let (trainer, name) = (self.0.clone(), device.to_owned());
        run(py, progress, move |watch| {
            let device = device::open(&name, 0)?;
            with(&trainer, |trainer| trainer.take(&partial, &device, watch))
        })
    }

    #[getter]
    fn dims(&self) -> usize {
        with(&self.0, |trainer| trainer.dims())
    }

    /// Rows of all parts, 0 before they were counted.
    #[getter]
    fn rows(&self) -> u64 {
        with(&self.0, |trainer| trainer.rows())
    }

    /// The settings, for comparing with those of a state.
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::described(py, &with(&self.0, |trainer| trainer.config().clone()))
    }

    fn codec(&self, py: Python<'_>) -> PyResult<Codec> {
        at_once(py, || with(&self.0, |trainer| trainer.codec())).map(Codec::from)
    }
}

/// A worker's answer to a round: rows go in, bytes come out.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct RoundAnswer {
    worker: RoundWorker,
    partial: Mutex<Partial>,
    dims: usize,
}

/// Adds rows, wherever they are; errors count rows from the first of `rows` on.
fn add(worker: &RoundWorker, rows: &Held, partial: &mut Partial) -> sememe::Result<()> {
    let n = rows.rows();
    let shifted = |error: Error, start: usize| {
        error.map_root(|root| match root {
            Error::NonFinite { first, count, .. } => {
                Error::NonFinite { first: first + start as u64, count, rows: n as u64, place: rows.name() }
            }
            other => other,
        })
    };
    if let Some(views) = rows.views() {
        return views
            .into_iter()
            .try_for_each(|(first, view)| worker.add(view, partial).map_err(|e| shifted(e, first)));
    }
    let dims = rows.dims();
    let step = (PIECE_BYTES / (4 * dims.max(1))).clamp(1, n.max(1));
    let mut values = vec![0.0f32; step * dims];
    for start in (0..n).step_by(step) {
        let count = step.min(n - start);
        let part = &mut values[..count * dims];
        rows.read_rows(start, part)?;
        worker.add(MatrixView::new(count, dims, part)?, partial).map_err(|error| shifted(error, start))?;
    }
    Ok(())
}

#[pymethods]
impl RoundAnswer {
    #[new]
    fn new(py: Python<'_>, round: &[u8], device: &str) -> PyResult<Self> {
        at_once(py, || {
            let round = Round::from_bytes(round)?;
            let worker = round.worker(&device::open(device, 0)?)?;
            let partial = Mutex::new(worker.partial());
            Ok(Self { worker, partial, dims: round.dims() })
        })
    }

    #[getter]
    fn dims(&self) -> usize {
        self.dims
    }

    /// Adds rows; after an error the answer is of no use.
    fn add(&self, py: Python<'_>, rows: &Rows) -> PyResult<()> {
        let held = &rows.0.0;
        if held.rows() == 0 {
            return Ok(());
        }
        check_shape("d", self.dims, held.dims(), held.name()).or_raise(py)?;
        at_once(py, || add(&self.worker, held, &mut self.partial.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = at_once(py, || self.partial.lock().unwrap_or_else(PoisonError::into_inner).to_bytes())?;
        Ok(PyBytes::new(py, &bytes))
    }
}

/// Answers to one round, added up.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct MergedAnswers(Mutex<Option<Partial>>);

#[pymethods]
impl MergedAnswers {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn add(&self, py: Python<'_>, partial: &[u8]) -> PyResult<()> {
        at_once(py, || {
            let partial = Partial::from_bytes(partial)?;
            let mut whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match whole.as_mut() {
                Some(whole) => whole.merge(&partial),
                None => {
                    *whole = Some(partial);
                    Ok(())
                }
            }
        })
    }

    /// Nothing where none were added.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let bytes = at_once(py, || {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Partial::to_bytes).transpose()
        })?;
        Ok(bytes.map(|bytes| PyBytes::new(py, &bytes)))
    }
}

/// A round that measures a codec.
#[pyfunction]
pub fn measure_round<'py>(py: Python<'py>, codec: &Codec) -> PyResult<Bound<'py, PyBytes>> {
    let round = at_once(py, || Round::measure(&codec.inner))?;
    Ok(PyBytes::new(py, &round.to_bytes()))
}

/// What the merged answers to a round that measures say.
#[pyfunction]
pub fn round_measures<'py>(py: Python<'py>, partial: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let measures = at_once(py, || Partial::from_bytes(partial)?.measures())?;
    values::described(py, &measures)
}
