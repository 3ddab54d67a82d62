//! The codec.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use numpy::{PyArray1, PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sememe::data::first_non_finite;
use sememe::{EncodeOptions, Encoder, Error, Event, Observer as _, RowSource as _, check_shape};

use crate::errors::OrRaise as _;
use crate::rows::{Held, Rows};
use crate::work::{Watch, at_once, run};
use crate::{device, values};

/// Rows that are encoded without a thread of their own: they take less than it would.
const FEW: usize = 256;
/// Bytes of rows between two looks at whether to stop.
const STRIDE_BYTES: usize = 16 << 20;

/// Device, beam, and the process that it is of.
type Key = (String, Option<usize>, bool, u32);

type Steps<'py> = (Bound<'py, PyArray1<f32>>, Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<f32>>);

/// A fitted model: rows to codes and back.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Codec {
    pub inner: sememe::Codec,
    encoders: Mutex<HashMap<Key, Arc<Encoder>>>,
}

impl From<sememe::Codec> for Codec {
    fn from(inner: sememe::Codec) -> Self {
        Self { inner, encoders: Mutex::new(HashMap::new()) }
    }
}

impl Codec {
    /// The encoder for a device, made once.
    pub fn encoder(&self, name: &str, beam: Option<usize>, rows: usize) -> sememe::Result<Arc<Encoder>> {
        let many = rows >= 50_000;
        let key = (name.to_owned(), beam, many, std::process::id());
        let kept = |of: &HashMap<Key, Arc<Encoder>>| of.get(&key).filter(|encoder| !encoder.fell_back()).cloned();
        if let Some(encoder) = kept(&self.encoders.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(encoder);
        }
        let device = device::open(name, rows)?;
        let encoder = Arc::new(self.inner.encoder(&device, &EncodeOptions { beam, batch_rows: None })?);
        self.encoders.lock().unwrap_or_else(PoisonError::into_inner).insert(key, encoder.clone());
        Ok(encoder)
    }
}

/// Codes of rows, wherever they are.
pub fn encode(encoder: &Encoder, levels: usize, rows: &Held, watch: &Watch) -> sememe::Result<Vec<u32>> {
    let n = rows.rows();
    let mut codes = vec![0u32; n * levels];
    let Some(views) = rows.views() else {
        encoder.encode_source(rows, watch, &mut |start, part| {
            codes[start * levels..start * levels + part.len()].copy_from_slice(part);
            Ok(())
        })?;
        return Ok(codes);
    };
    watch.event(Event::Phase { name: "encode", total: Some(n as u64), unit: "rows" });
    for (first, view) in views {
        let step = (STRIDE_BYTES / (view.dims().max(1) * 4)).max(1);
        for start in (0..view.rows()).step_by(step) {
            sememe::progress::check(watch)?;
            let end = (start + step).min(view.rows());
            let (from, to) = ((first + start) * levels, (first + end) * levels);
            let encoded = encoder.encode_into(view.slice(start, end), &mut codes[from..to]);
            encoded.map_err(|error| counted(error, rows, first + start))?;
            watch.event(Event::Advance { done: (first + end) as u64 });
        }
    }
    Ok(codes)
}

/// An error about bad rows, counted over all rows in place of those from `start` on.
fn counted(error: Error, rows: &Held, start: usize) -> Error {
    let Some(views) = rows.views() else { return error };
    error.map_root(|root| match root {
        Error::NonFinite { .. } => {
            let mut found: Option<(u64, u64)> = None;
            for (first, view) in views {
                if let Some((at, more)) = first_non_finite(view.as_slice(), view.dims()) {
                    let (at, more) = ((first + at) as u64, more as u64);
                    found = Some(found.map_or((at, more), |(before, count)| (before, count + more)));
                }
            }
            let (first, count) = found.unwrap_or((start as u64, 1));
            Error::NonFinite { first, count, rows: rows.rows() as u64, place: rows.name() }
        }
        other => other,
    })
}

#[pymethods]
impl Codec {
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        at_once(py, || sememe::Codec::load(path)).map(Self::from)
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        at_once(py, || sememe::Codec::from_bytes(bytes)).map(Self::from)
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        at_once(py, || self.inner.save(path))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = at_once(py, || self.inner.to_bytes())?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[getter]
    fn dims(&self) -> usize {
        self.inner.dims()
    }

    #[getter]
    fn codebook_sizes(&self) -> Vec<usize> {
        self.inner.codebook_sizes()
    }

    #[getter]
    fn content_hash(&self) -> &str {
        self.inner.content_hash()
    }

    /// What the codec is and how it was made.
    fn manifest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::described(py, self.inner.manifest())
    }

    /// Codewords of a level `[k, e]`; the level is the caller's to check.
    fn codebook<'py>(&self, py: Python<'py>, level: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
        values::matrix_array(py, self.inner.codebook(level).clone())
    }

    /// Mean `[dims]`, components `[p, dims]` and scales `[p]` of the steps before the first level, written out where there are none.
    fn preprocessing<'py>(&self, py: Python<'py>) -> PyResult<Steps<'py>> {
        let (quantizer, dims) = (self.inner.quantizer(), self.inner.dims());
        let inner = quantizer.inner_dims();
        let or = |values: &[f32], count: usize, value: f32| {
            if values.is_empty() { vec![value; count] } else { values.to_vec() }
        };
        let mut components = quantizer.components.clone();
        if components.is_empty() {
            components = vec![0.0; inner * dims];
            (0..inner).for_each(|at| components[at * dims + at] = 1.0);
        }
        Ok((
            PyArray1::from_vec(py, or(&quantizer.mean, dims, 0.0)),
            values::matrix_array(py, sememe::Matrix::from_vec(inner, dims, components).or_raise(py)?)?,
            PyArray1::from_vec(py, or(&quantizer.scales, inner, 1.0)),
        ))
    }

    /// Codes `[n, levels]`.
    #[pyo3(signature = (rows, device, beam, progress))]
    fn encode<'py>(
        slf: &Bound<'py, Self>,
        rows: &Rows,
        device: &str,
        beam: Option<usize>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<u32>>> {
        let (py, this) = (slf.py(), slf.get());
        let (held, n, levels) = (rows.0.0.clone(), rows.0.rows(), this.inner.levels());
        check_shape("d", this.inner.dims(), held.dims(), held.name()).or_raise(py)?;
        let few = if n <= FEW && progress.is_none() { held.views() } else { None };
        if let Some(views) = few {
            let codes = at_once(py, || {
                let encoder = this.encoder(device, beam, n)?;
                let mut codes = vec![0u32; n * levels];
                for (first, view) in views {
                    let out = &mut codes[first * levels..(first + view.rows()) * levels];
                    encoder.encode_into(view, out).map_err(|error| counted(error, &held, first))?;
                }
                Ok(codes)
            })?;
            return values::codes_array(py, n, levels, codes);
        }
        let (codec, name) = (slf.clone().unbind(), device.to_owned());
        let codes = run(py, progress, move |watch| {
            let encoder = codec.get().encoder(&name, beam, n)?;
            encode(&encoder, levels, &held, watch)
        })?;
        values::codes_array(py, n, levels, codes)
    }

    /// Codes of one row, without a thread or an array in between.
    fn encode_row(&self, py: Python<'_>, row: Vec<f32>) -> PyResult<Vec<u32>> {
        at_once(py, || self.inner.encode_row(&row))
    }

    /// Rows `[n, dims]` from codes.
    #[pyo3(signature = (codes, progress))]
    fn decode<'py>(
        slf: &Bound<'py, Self>,
        codes: PyReadonlyArray2<'py, u32>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (py, codec) = (slf.py(), slf.get().inner.clone());
        let codes = values::read_codes(&codes)?.or_raise(py)?;
        let rows = run(py, progress, move |watch| {
            let (n, dims) = (codes.rows(), codec.dims());
            let mut rows = sememe::Matrix::zeros(n, dims)?;
            watch.event(Event::Phase { name: "decode", total: Some(n as u64), unit: "rows" });
            let step = (STRIDE_BYTES / (dims.max(1) * 4)).max(1);
            for start in (0..n).step_by(step) {
                sememe::progress::check(watch)?;
                let end = (start + step).min(n);
                let levels = codes.levels();
                let part = codes.as_slice()[start * levels..end * levels].to_vec();
                let part = sememe::Codes::from_vec(end - start, levels, part)?;
                let decoded = codec.decode(&part)?;
                rows.as_mut_slice()[start * dims..end * dims].copy_from_slice(decoded.as_slice());
                watch.event(Event::Advance { done: end as u64 });
            }
            Ok(rows)
        })?;
        values::matrix_array(py, rows)
    }
}
