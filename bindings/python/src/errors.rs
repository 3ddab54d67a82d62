//! Errors of the libraries as Python's exceptions: `sememe.errors` has a class for each cause, and words settings as arguments.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use sememe::{Change, Error, Remedy};

/// The exception for an error.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    made(py, error).unwrap_or_else(|problem| problem)
}

/// `sememe::Result` as `PyResult`.
pub trait OrRaise<T> {
    /// The value, or the exception for the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for sememe::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, &error))
    }
}

/// An exception of one of the classes of `sememe.errors`, for what the libraries have no error for.
pub fn of_class(class: &str, message: String) -> PyErr {
    Python::attach(|py| {
        let made = py
            .import("sememe.errors")
            .and_then(|errors| errors.getattr(class))
            .and_then(|class| class.call1((message,)));
        made.map_or_else(|problem| problem, PyErr::from_value)
    })
}

/// Rows of a type that cannot be read.
pub fn row_type(message: String) -> PyErr {
    of_class("RowTypeError", message)
}

/// Data that cannot serve.
pub fn data(message: String) -> PyErr {
    of_class("DataError", message)
}

fn made(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let details = PyDict::new(py);
    let root = error.root();
    let cause = match root {
        Error::Config { field, problem } => {
            details.set_item("field", field)?;
            details.set_item("problem", problem)?;
            "config"
        }
        Error::Shape { what, expected, got, .. } => {
            details.set_item("what", what)?;
            details.set_item("expected", expected)?;
            details.set_item("got", got)?;
            "shape"
        }
        Error::NonFinite { first, count, rows, place } => {
            details.set_item("row", first)?;
            details.set_item("count", count)?;
            details.set_item("rows", rows)?;
            details.set_item("place", place)?;
            "non_finite"
        }
        Error::Data(_) => "data",
        Error::Text { text, column, .. } => {
            details.set_item("text", text)?;
            details.set_item("column", column)?;
            "text"
        }
        Error::Format { path, .. } => {
            details.set_item("path", path)?;
            "format"
        }
        Error::Io { path, source, .. } => {
            details.set_item("path", path)?;
            details.set_item("errno", source.raw_os_error())?;
            "io"
        }
        Error::Codec(_) => "codec",
        Error::Device(_) => "device",
        Error::DeviceLost(_) => "device_lost",
        Error::OutOfMemory { needed_bytes, .. } => {
            details.set_item("needed_bytes", needed_bytes)?;
            "out_of_memory"
        }
        Error::Store(_) => "store",
        Error::Endpoint(_) => "endpoint",
        Error::Interrupted(_) => "interrupted",
        _ => "other",
    };
    let remedies = PyList::empty(py);
    for remedy in error.remedies() {
        remedies.append(described(&remedy))?;
    }
    let made = py.import("sememe.errors")?.getattr("_made")?;
    Ok(PyErr::from_value(made.call1((cause, error.facts(), remedies, details))?))
}

/// Field, kind of change, value, and the sentence around `{}`.
fn described(remedy: &Remedy) -> (String, &'static str, Option<String>, String) {
    let (change, value) = match &remedy.change {
        Change::Set(value) => ("set", Some(value.to_string())),
        Change::Give => ("give", None),
        Change::Raise => ("raise", None),
        Change::Lower => ("lower", None),
        Change::Omit => ("omit", None),
        Change::Build => ("build", None),
    };
    (remedy.field.to_string(), change, value, remedy.spelled("{}"))
}
