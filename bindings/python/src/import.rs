//! Codecs and IDs of other systems.

use std::path::PathBuf;

use numpy::PyArray2;
use pyo3::prelude::*;
use sememe::{Error, Matrix, RowSource as _};
use sememe_import::{Content, ExportFormat, ImportOptions, Origin};
use serde::Deserialize;

use crate::codec::Codec;
use crate::errors::OrRaise as _;
use crate::rows::Rows;
use crate::values;
use crate::work::{at_once, run};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    from: Option<String>,
    tensor: Option<String>,
    normalize_residuals: Option<bool>,
    beam: Option<usize>,
}

/// Codes, keys, codebook sizes.
type Table<'py> = (Bound<'py, PyArray2<u32>>, Vec<String>, Vec<usize>);

/// Where it is from, a codec or a table, and notes by kind.
type Found<'py> = (&'static str, Option<Codec>, Option<Table<'py>>, Vec<(String, String)>);

/// What a file of another system holds: where it is from, the codec, or codes with keys and codebook sizes; and notes.
#[pyfunction]
#[pyo3(signature = (path, request, rows))]
pub fn import_from<'py>(py: Python<'py>, path: PathBuf, request: &str, rows: Option<&Rows>) -> PyResult<Found<'py>> {
    let wrong = |e: serde_json::Error| Error::config("settings", e.to_string());
    let request: Request = serde_json::from_str(request).map_err(wrong).or_raise(py)?;
    let from: Option<Origin> = request.from.as_deref().map(str::parse).transpose().or_raise(py)?;
    let rows = rows.map(|rows| rows.0.clone());
    let made = run(py, None, move |_| {
        // More are not looked at.
        let few = rows.map_or(Ok(Matrix::default()), |rows| {
            let mut held = Matrix::zeros(rows.rows().min(64), rows.dims())?;
            rows.read_rows(0, held.as_mut_slice())?;
            Ok::<_, Error>(held)
        })?;
        let Request { tensor, normalize_residuals, beam, .. } = request;
        sememe_import::import(path, &ImportOptions { from, tensor, normalize_residuals, beam, rows: few })
    })?;
    let described = |note: &sememe_import::Note| -> (String, String) {
        let kind = serde_json::to_value(note.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
        (kind.unwrap_or_default(), note.text.clone())
    };
    let notes = made.notes.iter().map(described).collect();
    match made.content {
        Content::Codec(codec) => Ok((made.origin.name(), Some(codec.into()), None, notes)),
        Content::Ids(table) => {
            let (rows, levels) = (table.codes.rows(), table.codes.levels());
            let codes = values::codes_array(py, rows, levels, table.codes.as_slice().to_vec())?;
            Ok((made.origin.name(), None, Some((codes, table.keys, table.codebook_sizes)), notes))
        }
    }
}

/// Writes a codec in a form that others load; returns what they have to be told.
#[pyfunction]
pub fn export_to(py: Python<'_>, codec: &Codec, format: &str, path: PathBuf) -> PyResult<Vec<String>> {
    let format: ExportFormat = format.parse().or_raise(py)?;
    let notes = at_once(py, || sememe_import::export(&codec.inner, format, path))?;
    Ok(notes.iter().map(ToString::to_string).collect())
}
