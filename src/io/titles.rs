//! One field of each item of a catalogue: names, keys, labels.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::lines::{Lines, csv_bad, json_bad};
use super::open::extension;
use super::shards::files_of;
use super::window::Window;
use crate::error::{Error, Result};

/// The most bytes that a `.gz` may inflate to.
const MAX_INFLATED_BYTES: u64 = 8 << 30;

/// Reads one text field of each item from a `.jsonl`, `.jsonl.gz`, `.csv` or (feature `parquet`) `.parquet` file, in its order, or from all
/// such files of a folder, in the order of their names.
///
/// # Errors
/// If the file cannot be read or is of another format, or an item lacks the field or holds something else than text
/// there; errors name the line, and a missing field the ones that are there.
pub fn read_titles(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    read(path.as_ref(), field, Want::Text)
}

/// As [`read_titles`] for what items are called in a program: text, or whole numbers too, as their digits.
///
/// # Errors
/// As for [`read_titles`].
pub fn read_keys(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    read(path.as_ref(), field, Want::Key)
}

/// As [`read_titles`] for labels: text, numbers or truth values; empty where an item lacks the field or holds
/// null there.
///
/// # Errors
/// As for [`read_titles`]; and if no item has the field.
pub fn read_labels(path: impl AsRef<Path>, field: &str) -> Result<Vec<String>> {
    let path = path.as_ref();
    let labels = read(path, field, Want::Label)?;
    if !labels.is_empty() && labels.iter().all(String::is_empty) {
        if path.is_dir() || extension(path) == "parquet" {
            return Err(Error::format(path, format!("`{field}` is empty for all {} items", labels.len())));
        }
        // Read again as titles are, which says what fields there are.
        read(path, field, Want::Text)?;
        return Err(Error::format(path, format!("`{field}` is empty for all {} items", labels.len())));
    }
    Ok(labels)
}

#[cfg(feature = "parquet")]
fn parquet_column(path: &Path, field: &str, want: Want) -> Result<Vec<String>> {
    let w = Window::open(path)?;
    let texts = super::parquet_text::read(&w, field, want == Want::Key)?;
    match texts.iter().position(String::is_empty).filter(|_| want != Want::Label) {
        Some(row) => Err(w.bad(format_args!("`{field}` of row {row} is empty, expected one in every row"))),
        None => Ok(texts),
    }
}

#[cfg(not(feature = "parquet"))]
fn parquet_column(path: &Path, _: &str, _: Want) -> Result<Vec<String>> {
    Err(Error::format(path, "is a parquet file, which this build does not read; build with `--features parquet`"))
}

/// What may stand in the field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Text, in every item.
    Text,
    /// Text or a whole number, in every item.
    Key,
    /// Any scalar, or nothing.
    Label,
}

fn read(path: &Path, field: &str, want: Want) -> Result<Vec<String>> {
    if path.is_dir() {
        let mut all = Vec::new();
        for file in files_of(path, &["jsonl", "jsonl.gz", "csv", "parquet"])? {
            all.append(&mut read(&file, field, want)?);
        }
        return Ok(all);
    }
    match extension(path).as_str() {
        "csv" => {
            let w = Window::open(path)?;
            return from_csv(BufReader::with_capacity(1 << 16, w.reader()), path, field);
        }
        "parquet" => return parquet_column(path, field, want),
        _ => {}
    }
    let mut texts = Vec::new();
    each_json_line(path, "items are read from .jsonl, .jsonl.gz, .csv or .parquet", &mut |number, text| {
        texts.push(one(path, number, text, field, want)?);
        Ok(())
    })?;
    Ok(texts)
}

/// Calls `each` with every line of a `.jsonl` or `.jsonl.gz`; `what` opens the message for any other file.
///
/// # Errors
/// If the file cannot be read, has another extension, holds a line that is not UTF-8, or `each` fails.
pub fn each_json_line(path: &Path, what: &str, each: &mut dyn FnMut(u64, &str) -> Result<()>) -> Result<()> {
    let w = Window::open(path)?;
    let reader = BufReader::with_capacity(1 << 16, w.reader());
    match extension(path).as_str() {
        "jsonl" => lines_of(reader, path, each),
        "gz" if extension(Path::new(path.file_stem().unwrap_or_default())) == "jsonl" => {
            let limit = MAX_INFLATED_BYTES;
            let inflated = flate2::bufread::MultiGzDecoder::new(reader).take(limit + 1);
            lines_of(BufReader::with_capacity(1 << 16, Counted { inner: inflated, left: limit }), path, each)
        }
        other => Err(Error::format(path, format!("{what}, got `.{other}`"))),
    }
}

fn lines_of(reader: impl BufRead, path: &Path, each: &mut dyn FnMut(u64, &str) -> Result<()>) -> Result<()> {
    let mut lines = Lines::new(reader, path);
    while let Some((number, text)) = lines.next()? {
        each(number, text)?;
    }
    Ok(())
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

/// The field of one line.
fn one(path: &Path, number: u64, text: &str, field: &str, want: Want) -> Result<String> {
    let bad = |problem: String| Error::format(path, format!("line {number}: {problem}"));
    let mut line = serde_json::Deserializer::from_str(text);
    let found = Pick(field).deserialize(&mut line).and_then(|found| line.end().map(|()| found));
    match found.map_err(|e| match e.classify() {
        serde_json::error::Category::Data => bad("expected an object".into()),
        _ => json_bad(path, number, &e),
    })? {
        Some(Value::String(title)) => Ok(title),
        Some(Value::Number(n)) if want == Want::Label || (want == Want::Key && (n.is_u64() || n.is_i64())) => {
            Ok(n.to_string())
        }
        Some(Value::Bool(truth)) if want == Want::Label => Ok(truth.to_string()),
        None | Some(Value::Null) if want == Want::Label => Ok(String::new()),
        Some(other @ (Value::Array(_) | Value::Object(_))) if want == Want::Label => {
            Err(bad(format!("`{field}` is {}, expected one label an item", kind(&other))))
        }
        Some(other) => Err(bad(format!("`{field}` is {}, expected text", kind(&other)))),
        None => {
            let item: serde_json::Map<String, Value> =
                serde_json::from_str(text).map_err(|e| json_bad(path, number, &e))?;
            let names: Vec<String> = item.keys().take(20).cloned().collect();
            Err(bad(format!("has no `{field}`; it holds `{}`", names.join("`, `"))))
        }
    }
}

/// Takes one field of an object and passes over the others, whose text may be long.
struct Pick<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Option<Value>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == self.0 {
                found = Some(map.next_value::<Value>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
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
