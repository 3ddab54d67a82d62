//! Reads the rows of a catalogue from any supported format, as texts in the order of the requested fields.

use std::collections::HashSet;
use std::path::Path;

use super::Prep;
pub use super::fields::Row;
use super::fields::no_field;
use sememe::io::{CsvRows, JsonValue, Window, each_json_object, extension, text_extension};
use sememe::{Error, Result};

/// What holds the rows.
#[derive(Clone, Copy)]
enum SourceFormat {
    Sqlite,
    Json,
    Csv,
    Parquet,
}

fn form(prep: &Prep) -> Result<SourceFormat> {
    let path = prep.source.as_path();
    let extension = extension(path);
    if matches!(extension.as_str(), "sqlite" | "sqlite3" | "db" | "db3") || starts_as_sqlite(path)? {
        return Ok(SourceFormat::Sqlite);
    }
    for (name, value) in [("table", &prep.table), ("query", &prep.query)] {
        if value.is_some() {
            return Err(Error::config(name, format!("is of SQLite databases, and `{}` is none", path.display())));
        }
    }
    match text_extension(path).as_str() {
        "jsonl" | "ndjson" => Ok(SourceFormat::Json),
        "csv" | "tsv" => Ok(SourceFormat::Csv),
        "parquet" => Ok(SourceFormat::Parquet),
        other => Err(Error::format(
            path,
            format!(
                "items are read from .sqlite, .db, .jsonl, .csv, .tsv (or one of these three in a .gz) or .parquet, got `.{other}`"
            ),
        )),
    }
}

/// Calls `row` with every row; a field that a row does not have is empty. Returns what rows are counted in.
pub fn each(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    match form(prep)? {
        SourceFormat::Sqlite => database(prep, wanted, row),
        SourceFormat::Json => from_json(prep, wanted, row),
        SourceFormat::Csv => from_csv(&prep.source, wanted, row),
        SourceFormat::Parquet => from_parquet(prep, wanted, row),
    }
}

/// The fields that rows have; of JSON every field that any line has.
pub(crate) fn fields(prep: &Prep) -> Result<Vec<String>> {
    match form(prep)? {
        SourceFormat::Sqlite => database_fields(prep),
        SourceFormat::Json => json_fields(&prep.source),
        SourceFormat::Csv => Ok(CsvRows::open(&prep.source)?.headers().to_vec()),
        SourceFormat::Parquet => parquet_fields(&prep.source),
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
    super::sqlite_source::each(prep, wanted, row)
}

#[cfg(feature = "sqlite")]
fn database_fields(prep: &Prep) -> Result<Vec<String>> {
    super::sqlite_source::fields(prep)
}

#[cfg(not(feature = "sqlite"))]
fn database(prep: &Prep, _: &[&str], _: Row<'_>) -> Result<&'static str> {
    database_fields(prep).map(|_| "row")
}

#[cfg(not(feature = "sqlite"))]
fn database_fields(prep: &Prep) -> Result<Vec<String>> {
    let problem = "is an SQLite database, which this build does not read";
    Err(Error::format(&prep.source, problem).mend([sememe::Remedy::build("sqlite")]))
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
    let problem = "is a parquet file, which this build does not read";
    Err(Error::format(path, problem).mend([sememe::Remedy::build("parquet")]))
}

fn from_json(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    let path = prep.source.as_path();
    let mut seen = vec![false; wanted.len()];
    let mut there: Vec<String> = Vec::new();
    let mut values = vec![String::new(); wanted.len()];
    each_json_object(path, &mut |number, item| {
        if there.is_empty() {
            there.extend(item.names().map(str::to_owned));
        }
        for (at, field) in wanted.iter().enumerate() {
            let key = at == 0;
            let value = item.reach(field).and_then(|found| match found {
                None => Ok(String::new()),
                Some(value) => {
                    seen[at] = true;
                    as_text(&value, &prep.list_separator, key)
                }
            });
            values[at] = value.map_err(|got| {
                let want = if key { "text or a whole number" } else { "text, numbers, truth values or a list of them" };
                Error::format(path, format!("line {number}: `{field}` is {got}, expected {want}"))
            })?;
        }
        row(number, &mut values)
    })?;
    // Of a file without any line, the fields are not missed.
    match seen.iter().position(|seen| !seen).filter(|_| !there.is_empty()) {
        Some(at) => Err(no_field(path, "field", wanted[at], &there)),
        None => Ok("line"),
    }
}

fn json_fields(path: &Path) -> Result<Vec<String>> {
    let (mut names, mut known) = (Vec::new(), HashSet::new());
    each_json_object(path, &mut |_, item| {
        for name in item.names() {
            if !known.contains(name) {
                known.insert(name.to_owned());
                names.push(name.to_owned());
            }
        }
        Ok(())
    })?;
    Ok(names)
}

/// A value as text, or what it is instead.
fn as_text(value: &JsonValue<'_>, separator: &str, key: bool) -> Result<String, String> {
    match value {
        JsonValue::List(items) if !key => {
            let mut parts = Vec::with_capacity(items.len());
            for item in items {
                let item = item.value()?;
                parts.push(scalar(&item, key).map_err(|got| format!("a list with {got}"))?);
            }
            parts.retain(|part| !part.trim().is_empty());
            Ok(parts.join(separator))
        }
        value => scalar(value, key),
    }
}

fn scalar(value: &JsonValue<'_>, key: bool) -> Result<String, String> {
    match value {
        JsonValue::Null => Ok(String::new()),
        JsonValue::Text(text) => Ok(text.clone()),
        JsonValue::Integer(digits) => Ok((*digits).to_owned()),
        JsonValue::Number(number) if key => Err(number.clone()),
        JsonValue::Number(number) => Ok(number.clone()),
        JsonValue::Truth(truth) if !key => Ok(truth.to_string()),
        JsonValue::Object(object) => Err(format!("an object of {}", object.listed())),
        other => Err(other.kind().into()),
    }
}

fn from_csv(path: &Path, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    let mut rows = CsvRows::open(path)?;
    let columns: Vec<usize> = wanted.iter().map(|field| rows.column(field)).collect::<Result<_>>()?;
    let mut values = vec![String::new(); wanted.len()];
    while let Some(found) = rows.next_row()? {
        for (value, column) in values.iter_mut().zip(&columns) {
            value.clear();
            value.push_str(found.get(*column));
        }
        row(found.line(), &mut values)?;
    }
    Ok("line")
}
