//! The names of items, to show next to their IDs.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::lines::{Lines, csv_bad, json_bad};
use super::open::extension;
use super::window::Window;
use crate::error::{Error, Result};

/// The most bytes that a `.gz` may inflate to.
const MAX_INFLATED_BYTES: u64 = 8 << 30;

/// Reads one text field of each item from a `.jsonl`, `.jsonl.gz` or `.csv` file, in its order.
///
/// # Errors
/// If the file cannot be read or is of another format, or an item lacks the field or holds something else than text
/// there; errors name the line, and a missing field the ones that are there.
pub fn read_titles(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    read(path.as_ref(), field, false)
}

/// As [`read_titles`] for what items are called in a program: text, or in `.jsonl` whole numbers too, as their digits.
///
/// # Errors
/// As for [`read_titles`].
pub fn read_keys(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    read(path.as_ref(), field, true)
}

fn read(path: &Path, field: &str, numbers: bool) -> Result<Vec<String>> {
    let w = Window::open(path)?;
    let reader = BufReader::with_capacity(1 << 16, w.reader());
    match extension(path).as_str() {
        "jsonl" => from_jsonl(reader, path, field, numbers),
        "csv" => from_csv(reader, path, field),
        "gz" if extension(Path::new(path.file_stem().unwrap_or_default())) == "jsonl" => {
            let limit = MAX_INFLATED_BYTES;
            let inflated = flate2::bufread::MultiGzDecoder::new(reader).take(limit + 1);
            let mut counted = BufReader::new(Counted { inner: inflated, left: limit });
            from_jsonl(&mut counted, path, field, numbers)
        }
        other => Err(Error::format(path, format!("items are read from .jsonl, .jsonl.gz or .csv, got `.{other}`"))),
    }
}

/// Fails, rather than ends, where more than `left` bytes come out.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(out)?;
        let left = self.left.checked_sub(count as u64);
        self.left =
            left.ok_or_else(|| std::io::Error::other(format!("it inflates to more than {MAX_INFLATED_BYTES} bytes")))?;
        Ok(count)
    }
}

fn from_jsonl(reader: impl BufRead, path: &Path, field: &str, numbers: bool) -> Result<Vec<String>> {
    let mut titles = Vec::new();
    let mut lines = Lines::new(reader, path);
    while let Some((number, text)) = lines.next()? {
        let value: Value = serde_json::from_str(text).map_err(|e| json_bad(path, number, &e))?;
        let bad = |problem: String| Error::format(path, format!("line {number}: {problem}"));
        let Value::Object(mut item) = value else { return Err(bad("expected an object".into())) };
        match item.remove(field) {
            Some(Value::String(title)) => titles.push(title),
            Some(Value::Number(n)) if numbers && (n.is_u64() || n.is_i64()) => titles.push(n.to_string()),
            Some(other) => return Err(bad(format!("`{field}` is {}, expected text", kind(&other)))),
            None => {
                let names: Vec<String> = item.keys().take(20).cloned().collect();
                return Err(bad(format!("has no `{field}`; it holds `{}`", names.join("`, `"))));
            }
        }
    }
    Ok(titles)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn from_csv(reader: impl Read, path: &Path, field: &str) -> Result<Vec<String>> {
    let mut reader = csv::Reader::from_reader(reader);
    let headers = reader.headers().map_err(|e| csv_bad(path, &e))?;
    let Some(column) = headers.iter().position(|h| h == field) else {
        let names: Vec<&str> = headers.iter().take(20).collect();
        return Err(Error::format(path, format!("has no column `{field}`; it holds `{}`", names.join("`, `"))));
    };
    let mut titles = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| csv_bad(path, &e))? {
        titles.push(record.get(column).unwrap_or_default().to_owned());
    }
    Ok(titles)
}
