//! JSON values as Python's own, and numpy arrays that own what Rust made.

use numpy::{PyArray1, PyArray2, PyArrayMethods as _};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use sememe::{Codes, Matrix};
use serde::Serialize;
use serde_json::Value;

/// Dictionaries, lists, texts, numbers.
pub fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(truth) => truth.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => n.into_pyobject(py)?.into_any(),
            (None, Some(n)) => n.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().into_pyobject(py)?,
        },
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Array(list) => {
            let made = PyList::empty(py);
            for item in list {
                made.append(to_python(py, item)?)?;
            }
            made.into_any()
        }
        Value::Object(map) => {
            let made = PyDict::new(py);
            for (key, item) in map {
                made.set_item(key, to_python(py, item)?)?;
            }
            made.into_any()
        }
    })
}

/// Anything that becomes JSON, as Python's own.
pub fn described<'py>(py: Python<'py>, what: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let value = serde_json::to_value(what).map_err(|e| pyo3::exceptions::PyValueError::new_err(e.to_string()))?;
    to_python(py, &value)
}

/// `[rows, levels]`, without a copy.
pub fn codes_array(py: Python<'_>, rows: usize, levels: usize, codes: Vec<u32>) -> PyResult<Bound<'_, PyArray2<u32>>> {
    PyArray1::from_vec(py, codes).reshape([rows, levels])
}

/// `[rows, dims]`, without a copy.
pub fn matrix_array(py: Python<'_>, matrix: Matrix) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let shape = [matrix.rows(), matrix.dims()];
    PyArray1::from_vec(py, matrix.into_vec()).reshape(shape)
}

/// Codes that Python holds; it has made them `uint32`, C-contiguous and of two dimensions.
pub fn read_codes(codes: &numpy::PyReadonlyArray2<'_, u32>) -> PyResult<sememe::Result<Codes>> {
    let view = codes.as_array();
    let (rows, levels) = view.dim();
    let data = codes.as_slice().map_err(|e| pyo3::exceptions::PyValueError::new_err(e.to_string()))?;
    Ok(Codes::from_vec(rows, levels, data.to_vec()))
}
