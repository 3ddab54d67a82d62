//! The fields of a configuration, read by name and checked by kind.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use sememe::{Error, Result};

/// The fields of a JSON object, and where it stands.
pub(super) struct ConfigFields {
    path: PathBuf,
    pub map: Map<String, Value>,
}

impl ConfigFields {
    /// Reads the content of a file.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self { path: path.to_owned(), map }),
            Ok(_) => Err(Error::format(path, "is no JSON object")),
            Err(e) => Err(Error::format(path, format!("is no JSON: {e}"))),
        }
    }

    pub fn bad(&self, problem: impl Into<String>) -> Error {
        Error::format(&self.path, problem)
    }

    /// A field that is there and not null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub fn part(&self, name: &str) -> Result<Option<Self>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self { path: self.path.clone(), map: map.clone() })),
            Some(other) => Err(self.bad(format!("`{name}`: expected an object, got {other}"))),
        }
    }

    pub fn typed<'a, T>(
        &'a self,
        name: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        or: Option<T>,
    ) -> Result<T> {
        match (self.get(name), or) {
            (Some(value), _) => read(value).ok_or_else(|| self.bad(format!("`{name}`: expected {kind}, got {value}"))),
            (None, Some(or)) => Ok(or),
            (None, None) => Err(self.bad(format!("has no `{name}`"))),
        }
    }

    pub fn size(&self, name: &str, or: Option<usize>) -> Result<usize> {
        let read = |v: &Value| v.as_u64().filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok());
        self.typed(name, "a whole number above 0", read, or)
    }

    pub fn number(&self, name: &str, or: Option<f64>) -> Result<f64> {
        self.typed(name, "a positive number", |v| v.as_f64().filter(|x| x.is_finite() && *x > 0.0), or)
    }

    pub fn flag(&self, name: &str, or: bool) -> Result<bool> {
        self.typed(name, "true or false", Value::as_bool, Some(or))
    }

    pub fn text<'a>(&'a self, name: &str, or: Option<&'a str>) -> Result<&'a str> {
        self.typed(name, "a text", Value::as_str, or)
    }
}
