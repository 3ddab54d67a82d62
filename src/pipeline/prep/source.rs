//! Rows of a catalogue, whatever holds them, as texts in the order of the fields that are wanted.

use std::io::BufReader;
use std::path::Path;

use serde_json::{Map, Value};

use super::Prep;
use crate::error::{Error, Result};
use crate::io::{Window, csv_bad, each_json_line, extension, json_bad};

/// Takes a row's number and its values, which it may change.
pub(super) type Row<'a> = &'a mut dyn FnMut(u64, &mut [String]) -> Result<()>;

/// Calls `row` with every row; a field that a row does not have is empty. Returns what rows are counted in.
pub(super) fn each(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    let path = prep.source.as_path();
    let extension = extension(path);
    if matches!(extension.as_str(), "sqlite" | "sqlite3" | "db" | "db3") || starts_as_sqlite(path)? {
        return database(prep, wanted, row);
    }
    for (name, value) in [("table", &prep.table), ("query", &prep.query)] {
        if value.is_some() {
            return Err(Error::config(name, format!("is of SQLite databases, and `{}` is none", path.display())));
        }
    }
    match extension.as_str() {
        "jsonl" | "gz" => from_json(prep, wanted, row),
        "csv" => from_csv(path, b',', wanted, row),
        "tsv" => from_csv(path, b'\t', wanted, row),
        "parquet" => from_parquet(prep, wanted, row),
        other => Err(Error::format(
            path,
            format!("items are read from .sqlite, .db, .jsonl, .jsonl.gz, .csv, .tsv or .parquet, got `.{other}`"),
        )),
    }
}

fn starts_as_sqlite(path: &Path) -> Result<bool> {
    let w = Window::open(path)?;
    let mut lead = [0u8; 16];
    let have = w.len().min(16) as usize;
    w.read_at(0, &mut lead[..have])?;
    Ok(lead == *b"SQLite format 3\0")
}

#[cfg(feature = "sqlite")]
fn database(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    super::sqlite::each(prep, wanted, row)
}

#[cfg(not(feature = "sqlite"))]
fn database(prep: &Prep, _: &[&str], _: Row<'_>) -> Result<&'static str> {
    Err(Error::format(
        &prep.source,
        "is an SQLite database, which this build does not read; build with `--features sqlite`",
    ))
}

#[cfg(feature = "parquet")]
fn from_parquet(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    crate::io::each_parquet_row(&prep.source, wanted, &prep.list_separator, row)?;
    Ok("row")
}

#[cfg(not(feature = "parquet"))]
fn from_parquet(prep: &Prep, _: &[&str], _: Row<'_>) -> Result<&'static str> {
    Err(Error::format(
        &prep.source,
        "is a parquet file, which this build does not read; build with `--features parquet`",
    ))
}

/// The error for a field that no row has.
pub(super) fn no_field(path: &Path, what: &str, field: &str, there: &[impl AsRef<str>]) -> Error {
    let names: Vec<&str> = there.iter().take(40).map(AsRef::as_ref).collect();
    let more = if there.len() > 40 { format!(" and {} more", there.len() - 40) } else { String::new() };
    Error::format(path, format!("has no {what} `{field}`; it holds `{}`{more}", names.join("`, `")))
}

fn from_json(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    let path = prep.source.as_path();
    let mut seen = vec![false; wanted.len()];
    let mut there: Vec<String> = Vec::new();
    let mut values = vec![String::new(); wanted.len()];
    each_json_line(
        path,
        "items are read from .jsonl, .jsonl.gz, .csv, .tsv, .parquet or SQLite",
        &mut |number, text| {
            let bad = |problem: String| Error::format(path, format!("line {number}: {problem}"));
            let item: Value = serde_json::from_str(text).map_err(|e| json_bad(path, number, &e))?;
            let Value::Object(item) = item else { return Err(bad("expected an object".into())) };
            if there.is_empty() {
                there.extend(item.keys().cloned());
            }
            for (at, field) in wanted.iter().enumerate() {
                seen[at] |= item.contains_key(*field);
                let value = as_text(&item, field, &prep.list_separator, at == 0);
                values[at] = value.map_err(|got| {
                    let want = if at == 0 {
                        "text or a whole number"
                    } else {
                        "text, numbers, truth values or a list of them"
                    };
                    bad(format!("`{field}` is {got}, expected {want}"))
                })?;
            }
            row(number, &mut values)
        },
    )?;
    // Of a file without any line, the fields are not missed.
    match seen.iter().position(|seen| !seen).filter(|_| !there.is_empty()) {
        Some(at) => Err(no_field(path, "field", wanted[at], &there)),
        None => Ok("line"),
    }
}

/// The field as text, or what it is instead.
fn as_text(item: &Map<String, Value>, field: &str, separator: &str, key: bool) -> Result<String, String> {
    let scalar = |value: &Value| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(n) if !key || n.is_u64() || n.is_i64() => Ok(n.to_string()),
        Value::Bool(truth) if !key => Ok(truth.to_string()),
        Value::Number(n) => Err(format!("{n}")),
        Value::Bool(_) => Err("a truth value".into()),
        Value::Array(_) => Err("a list".to_owned()),
        Value::Object(_) => Err("an object".to_owned()),
    };
    match item.get(field) {
        None => Ok(String::new()),
        Some(Value::Array(list)) if !key => {
            let parts = list.iter().map(|value| scalar(value).map_err(|got| format!("a list with {got}")));
            Ok(join(parts.collect::<Result<Vec<_>, _>>()?, separator))
        }
        Some(value) => scalar(value),
    }
}

/// The values of a list that are not empty.
fn join(mut parts: Vec<String>, separator: &str) -> String {
    parts.retain(|part| !part.trim().is_empty());
    parts.join(separator)
}

fn from_csv(path: &Path, delimiter: u8, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    let w = Window::open(path)?;
    let reader = BufReader::with_capacity(1 << 16, w.reader());
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader);
    let headers: Vec<String> = reader.headers().map_err(|e| csv_bad(path, &e))?.iter().map(str::to_owned).collect();
    let columns = columns(path, &headers, wanted)?;
    let mut values = vec![String::new(); wanted.len()];
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| csv_bad(path, &e))? {
        for (value, column) in values.iter_mut().zip(&columns) {
            value.clear();
            value.push_str(record.get(*column).unwrap_or_default());
        }
        row(record.position().map_or(0, csv::Position::line), &mut values)?;
    }
    Ok("line")
}

/// Where the wanted fields are among the columns.
pub(super) fn columns(path: &Path, there: &[String], wanted: &[&str]) -> Result<Vec<usize>> {
    let find = |field: &&str| {
        let at = there.iter().position(|name| name == field).ok_or_else(|| no_field(path, "column", field, there))?;
        if there[at + 1..].iter().any(|name| name == field) {
            return Err(Error::format(path, format!("has more than one column `{field}`; rename one of them")));
        }
        Ok(at)
    };
    wanted.iter().map(find).collect()
}
