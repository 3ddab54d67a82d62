//! Rows of a catalogue, whatever holds them, as texts in the order of the fields that are wanted.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read};
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::Prep;
use sememe::io::{Window, csv_bad, each_json_line, extension, json_bad};
use sememe::{Error, Result};

/// Takes a row's number and its values, which it may change.
pub type Row<'a> = &'a mut dyn FnMut(u64, &mut [String]) -> Result<()>;

/// What holds the rows.
#[derive(Clone, Copy)]
enum Form {
    Sqlite,
    Json,
    Table(u8),
    Parquet,
}

fn form(prep: &Prep) -> Result<Form> {
    let path = prep.source.as_path();
    let extension = extension(path);
    if matches!(extension.as_str(), "sqlite" | "sqlite3" | "db" | "db3") || starts_as_sqlite(path)? {
        return Ok(Form::Sqlite);
    }
    for (name, value) in [("table", &prep.table), ("query", &prep.query)] {
        if value.is_some() {
            return Err(Error::config(name, format!("is of SQLite databases, and `{}` is none", path.display())));
        }
    }
    match extension.as_str() {
        "jsonl" | "gz" => Ok(Form::Json),
        "csv" => Ok(Form::Table(b',')),
        "tsv" => Ok(Form::Table(b'\t')),
        "parquet" => Ok(Form::Parquet),
        other => Err(Error::format(
            path,
            format!("items are read from .sqlite, .db, .jsonl, .jsonl.gz, .csv, .tsv or .parquet, got `.{other}`"),
        )),
    }
}

/// Calls `row` with every row; a field that a row does not have is empty. Returns what rows are counted in.
pub fn each(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    match form(prep)? {
        Form::Sqlite => database(prep, wanted, row),
        Form::Json => from_json(prep, wanted, row),
        Form::Table(delimiter) => from_csv(&prep.source, delimiter, wanted, row),
        Form::Parquet => from_parquet(prep, wanted, row),
    }
}

/// The fields that rows have; of JSON every field that any line has.
pub(crate) fn fields(prep: &Prep) -> Result<Vec<String>> {
    match form(prep)? {
        Form::Sqlite => database_fields(prep),
        Form::Json => json_fields(&prep.source),
        Form::Table(delimiter) => headers(&mut csv_reader(&prep.source, delimiter)?, &prep.source),
        Form::Parquet => parquet_fields(&prep.source),
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

#[cfg(feature = "sqlite")]
fn database_fields(prep: &Prep) -> Result<Vec<String>> {
    super::sqlite::fields(prep)
}

#[cfg(not(feature = "sqlite"))]
fn database(prep: &Prep, _: &[&str], _: Row<'_>) -> Result<&'static str> {
    database_fields(prep).map(|_| "row")
}

#[cfg(not(feature = "sqlite"))]
fn database_fields(prep: &Prep) -> Result<Vec<String>> {
    Err(Error::format(
        &prep.source,
        "is an SQLite database, which this build does not read; build with `--features sqlite`",
    ))
}

#[cfg(feature = "parquet")]
fn from_parquet(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    sememe::io::each_parquet_row(&prep.source, wanted, &prep.list_separator, row)?;
    Ok("row")
}

#[cfg(feature = "parquet")]
fn parquet_fields(path: &Path) -> Result<Vec<String>> {
    sememe::io::parquet_columns(path)
}

#[cfg(not(feature = "parquet"))]
fn from_parquet(prep: &Prep, _: &[&str], _: Row<'_>) -> Result<&'static str> {
    parquet_fields(&prep.source).map(|_| "row")
}

#[cfg(not(feature = "parquet"))]
fn parquet_fields(path: &Path) -> Result<Vec<String>> {
    Err(Error::format(path, "is a parquet file, which this build does not read; build with `--features parquet`"))
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

fn json_fields(path: &Path) -> Result<Vec<String>> {
    let (mut names, mut known) = (Vec::new(), HashSet::new());
    each_json_line(
        path,
        "items are read from .jsonl, .jsonl.gz, .csv, .tsv, .parquet or SQLite",
        &mut |number, text| {
            let item: BTreeMap<String, IgnoredAny> = serde_json::from_str(text).map_err(|e| match e.classify() {
                Category::Data => Error::format(path, format!("line {number}: expected an object")),
                _ => json_bad(path, number, &e),
            })?;
            for name in item.into_keys() {
                if !known.contains(&name) {
                    known.insert(name.clone());
                    names.push(name);
                }
            }
            Ok(())
        },
    )?;
    Ok(names)
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

fn csv_reader(path: &Path, delimiter: u8) -> Result<csv::Reader<impl Read>> {
    let w = Window::open(path)?;
    let reader = BufReader::with_capacity(1 << 16, w.reader());
    Ok(csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader))
}

fn headers(reader: &mut csv::Reader<impl Read>, path: &Path) -> Result<Vec<String>> {
    Ok(reader.headers().map_err(|e| csv_bad(path, &e))?.iter().map(str::to_owned).collect())
}

fn from_csv(path: &Path, delimiter: u8, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    let mut reader = csv_reader(path, delimiter)?;
    let columns = columns(path, &headers(&mut reader, path)?, wanted)?;
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
