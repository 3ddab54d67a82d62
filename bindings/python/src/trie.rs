//! The trie of all IDs.

use std::path::PathBuf;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use sememe::Error;
use sememe::ids::{Frontier, Hit};

use crate::errors::{data, raise};
use crate::work::at_once;

/// An ID's tokens, the rows of its items, and its score.
type Found = (Vec<u32>, Vec<u32>, f64);

/// A set of IDs over tokens.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Trie(sememe::ids::Trie);

#[pymethods]
impl Trie {
    /// The trie of IDs in the order of their rows; `end` is the token that ends one.
    #[staticmethod]
    fn build(py: Python<'_>, ids: Vec<Vec<u32>>, end: u32) -> PyResult<Self> {
        at_once(py, || sememe::ids::Trie::build(ids.iter().map(Vec::as_slice), end)).map(Self)
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        at_once(py, || sememe::ids::Trie::load(path)).map(Self)
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: Vec<u8>) -> PyResult<Self> {
        at_once(py, || sememe::ids::Trie::from_bytes(bytes)).map(Self)
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        at_once(py, || self.0.save(path))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.as_bytes())
    }

    /// Holds content and checksum to each other.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        at_once(py, || self.0.verify())
    }

    #[getter]
    fn end(&self) -> u32 {
        self.0.end()
    }

    #[getter]
    fn depth(&self) -> usize {
        self.0.depth()
    }

    #[getter]
    fn nodes(&self) -> usize {
        self.0.nodes()
    }

    #[getter]
    fn item_count(&self) -> usize {
        self.0.item_count()
    }

    fn allowed(&self, prefix: Vec<u32>) -> Vec<u32> {
        self.0.allowed(&prefix)
    }

    fn knows(&self, prefix: Vec<u32>) -> bool {
        self.0.node(&prefix).is_some()
    }

    fn items(&self, id: Vec<u32>) -> Vec<u32> {
        self.0.items(&id)
    }

    /// The best IDs of a beam; `score` is called with prefixes and the tokens that may follow each, and returns an array for each.
    fn beam(&self, py: Python<'_>, width: usize, score: &Bound<'_, PyAny>) -> PyResult<Vec<Found>> {
        let mut failed: Option<PyErr> = None;
        let hits = self.0.beam(width, |frontier| {
            ask(py, score, frontier).map_err(|error| {
                failed = Some(error);
                Error::Interrupted(String::new())
            })
        });
        match (hits, failed) {
            (_, Some(error)) => Err(error),
            (Ok(hits), None) => Ok(hits.into_iter().map(|Hit { id, items, score }| (id, items, score)).collect()),
            (Err(error), None) => Err(raise(py, &error)),
        }
    }
}

fn ask(py: Python<'_>, score: &Bound<'_, PyAny>, frontier: &mut [Frontier<'_>]) -> PyResult<()> {
    py.check_signals()?;
    let prefixes = PyList::new(py, frontier.iter().map(|beam| beam.prefix.to_vec()))?;
    let allowed = PyList::new(py, frontier.iter().map(|beam| PyArray1::from_slice(py, beam.allowed)))?;
    let scores = score.call1((prefixes, allowed))?;
    let mut got = 0;
    for (at, array) in scores.try_iter()?.enumerate() {
        let array: PyReadonlyArray1<'_, f32> = array?.extract()?;
        let Some(beam) = frontier.get_mut(at) else {
            let wanted = frontier.len();
            return Err(data(format!("`score`: expected scores of {wanted} prefixes, got more")));
        };
        let values = array.as_array();
        if values.len() != beam.scores.len() {
            let (wanted, got) = (beam.scores.len(), values.len());
            return Err(data(format!("`score`: prefix {at} has {wanted} tokens, got {got} scores")));
        }
        beam.scores.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        got = at + 1;
    }
    if got < frontier.len() {
        let wanted = frontier.len();
        return Err(data(format!("`score`: expected scores of {wanted} prefixes, got {got}")));
    }
    Ok(())
}
