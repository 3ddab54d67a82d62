//! One field of each item of a catalogue: names, keys, labels.

use std::path::Path;

use super::csv_rows::CsvRows;
use super::json_objects::{JsonObject, JsonValue, each_json_object};
use super::options::extension;
use super::shards::files_of;
use super::text_file::text_extension;
use crate::error::{Error, Result};

/// Reads one text field of each item from a `.jsonl`, `.csv` or `.tsv` file (or one of them in a `.gz`) or (feature `parquet`) a `.parquet`
/// file, in its order, or from all such files of a folder, in the order of their names. In `.jsonl` and `.parquet` a name with dots reaches
/// into objects: `details.brand`.
///
/// # Errors
/// If the file cannot be read or is of another format, or an item lacks the field or holds something else than text
/// there; errors name the line, and a missing field the ones that are there.
pub fn read_titles(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    read(path.as_ref(), field, FieldKind::Text)
}

/// As [`read_titles`] for what items are called in a program: text, or whole numbers too, as their digits.
///
/// # Errors
/// As for [`read_titles`].
pub fn read_keys(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    read(path.as_ref(), field, FieldKind::Key)
}

/// As [`read_titles`] for labels: text, numbers or truth values; empty where an item lacks the field or holds
/// null there.
///
/// # Errors
/// As for [`read_titles`]; and if no item has the field.
pub fn read_labels(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    let path = path.as_ref();
    let labels = read(path, field, FieldKind::Label)?;
    if !labels.is_empty() && labels.iter().all(String::is_empty) {
        if path.is_dir() || extension(path) == "parquet" {
            return Err(Error::format(path, format!("`{field}` is empty for all {} items", labels.len())));
        }
        // Read again as titles are, which says what fields there are.
        read(path, field, FieldKind::Text)?;
        return Err(Error::format(path, format!("`{field}` is empty for all {} items", labels.len())));
    }
    Ok(labels)
}

#[cfg(feature = "parquet")]
fn parquet_column(path: &Path, field: &str, want: FieldKind) -> Result<Vec<String>> {
    let w = super::window::Window::open(path)?;
    let texts = super::parquet_text::read(&w, field, want == FieldKind::Key)?;
    match texts.iter().position(String::is_empty).filter(|_| want != FieldKind::Label) {
        Some(row) => Err(w.bad(format_args!("`{field}` of row {row} is empty, expected one in every row"))),
        None => Ok(texts),
    }
}

#[cfg(not(feature = "parquet"))]
fn parquet_column(path: &Path, _: &str, _: FieldKind) -> Result<Vec<String>> {
    Err(Error::format(path, "is a parquet file, which this build does not read")
        .mend([crate::Remedy::build("parquet")]))
}

/// What may stand in the field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    /// Text, in every item.
    Text,
    /// Text or a whole number, in every item.
    Key,
    /// Any scalar, or nothing.
    Label,
}

fn read(path: &Path, field: &str, want: FieldKind) -> Result<Vec<String>> {
    if path.is_dir() {
        let mut all = Vec::new();
        for file in files_of(path, &["jsonl", "jsonl.gz", "csv", "csv.gz", "tsv", "tsv.gz", "parquet"])? {
            all.append(&mut read(&file, field, want)?);
        }
        return Ok(all);
    }
    let mut texts = Vec::new();
    match text_extension(path).as_str() {
        "parquet" => return parquet_column(path, field, want),
        "csv" | "tsv" => {
            let mut rows = CsvRows::open(path)?;
            let column = rows.column(field)?;
            while let Some(row) = rows.next_row()? {
                texts.push(row.get(column).to_owned());
            }
        }
        "jsonl" | "ndjson" => each_json_object(path, &mut |number, item| {
            let text = one(item, field, want);
            texts.push(text.map_err(|problem| Error::format(path, format!("line {number}: {problem}")))?);
            Ok(())
        })?,
        other => {
            // What is missing is said to be missing, whatever its name.
            std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
            return Err(Error::format(
                path,
                format!("items are read from .jsonl, .csv or .tsv, one of them in a .gz, or .parquet, got `.{other}`"),
            ));
        }
    }
    Ok(texts)
}

/// The field of one item.
fn one(item: &JsonObject<'_>, field: &str, want: FieldKind) -> Result<String, String> {
    match item.reach(field)? {
        Some(JsonValue::Text(text)) => Ok(text),
        Some(JsonValue::Integer(digits)) if want != FieldKind::Text => Ok(digits.to_owned()),
        Some(JsonValue::Number(number)) if want == FieldKind::Label => Ok(number),
        Some(JsonValue::Truth(truth)) if want == FieldKind::Label => Ok(truth.to_string()),
        None | Some(JsonValue::Null) if want == FieldKind::Label => Ok(String::new()),
        Some(other @ (JsonValue::List(_) | JsonValue::Object(_))) if want == FieldKind::Label => {
            Err(format!("`{field}` is {}, expected one label an item", other.kind()))
        }
        Some(other) => Err(format!("`{field}` is {}, expected text", other.kind())),
        None => Err(format!("has no `{field}`; it holds {}", item.listed())),
    }
}
