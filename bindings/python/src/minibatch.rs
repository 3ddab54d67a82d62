//! Training from batches as they come.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sememe::fit::{MiniBatchRqKMeans, MiniBatchTrainer};
use sememe::{MatrixView, RowSource as _, TrainedBy};

use crate::codec::Codec;
use crate::device;
use crate::errors::OrRaise as _;
use crate::rows::Rows;
use crate::train::parsed;
use crate::work::at_once;

/// A training that takes batches one by one.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct MiniBatch(Mutex<MiniBatchTrainer>);

impl MiniBatch {
    fn with<T>(&self, work: impl FnOnce(&mut MiniBatchTrainer) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl MiniBatch {
    #[new]
    fn new(py: Python<'_>, settings: &str, dims: usize) -> PyResult<Self> {
        let config: MiniBatchRqKMeans = parsed(settings).or_raise(py)?;
        Ok(Self(Mutex::new(MiniBatchTrainer::new(config, dims).or_raise(py)?)))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        Ok(Self(Mutex::new(MiniBatchTrainer::from_bytes(bytes).or_raise(py)?)))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with(|trainer| trainer.to_bytes()).or_raise(py)?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Trains on one batch; the state is as before if it fails.
    fn take(&self, py: Python<'_>, rows: &Rows, device: &str) -> PyResult<()> {
        let held = &rows.0;
        at_once(py, || {
            let device = device::open(device, held.rows())?;
            let views = held.0.views();
            if let Some([(_, view)]) = views.as_deref() {
                return self.with(|trainer| trainer.partial_fit(*view, &device));
            }
            let (n, dims) = (held.rows(), held.dims());
            let mut values = vec![0.0f32; n * dims];
            held.read_rows(0, &mut values)?;
            let view = MatrixView::new(n, dims, &values)?;
            self.with(|trainer| trainer.partial_fit(view, &device))
        })
    }

    /// Batches taken so far.
    #[getter]
    fn steps(&self) -> u64 {
        self.with(|trainer| trainer.steps())
    }

    /// The codec as it is now.
    fn codec(&self, py: Python<'_>) -> PyResult<Codec> {
        let made = at_once(py, || {
            self.with(|trainer| {
                let config = trainer.config().clone();
                sememe::Codec::from_fitted(trainer.finish()?, TrainedBy::MiniBatch(&config))
            })
        })?;
        Ok(made.into())
    }
}
