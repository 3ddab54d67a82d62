//! Reads IDs as text, a line at a time, from `.txt`, `.jsonl` or `.csv`.

use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;

use super::csv_rows::CsvRows;
use super::json_objects::json_row;
use super::lines::Lines;
use super::options::extension;
use super::window::Window;
use crate::error::{Error, Result};

/// A longer line of a `.txt` is refused: an ID of 64 levels takes less than a kilobyte.
const MAX_ID_BYTES: u64 = 64 << 10;

/// An ID of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdLine<'a> {
    /// Its line in the file, from 1 on.
    pub line: u64,
    /// The row number that the file gives it.
    pub row: Option<u64>,
    /// The text as it stands, blanks included.
    pub text: &'a str,
}

#[derive(Deserialize)]
struct IdRecord {
    #[serde(default)]
    row: Option<u64>,
    id: String,
}

/// Calls `each` with every ID of a file, in its order, in memory for one line: `.txt` (an ID a line), `.jsonl` (fields `id` and, if
/// they like, `row`) or `.csv` (columns of these names).
///
/// # Errors
/// If the file cannot be read, is of another format, not UTF-8, or lacks an ID somewhere; errors name the line. An error of `each`
/// becomes an [`Error::Format`] with the file and the line, [`Error::Interrupted`] stays what it is.
pub fn read_ids(path: impl AsRef<Path>, each: &mut dyn FnMut(IdLine<'_>) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let w = Window::open(path)?;
    let reader = BufReader::with_capacity(1 << 16, w.reader());
    let mut each = |item: IdLine<'_>| {
        each(item).map_err(|e| match e {
            Error::Interrupted(_) => e,
            e => Error::format(path, format!("line {}: {e}", item.line)),
        })
    };
    match extension(path).as_str() {
        "txt" => from_text(reader, path, &mut each),
        "jsonl" => {
            let mut lines = Lines::new(reader, path);
            while let Some((line, text)) = lines.next()? {
                let item: IdRecord = json_row(path, line, text)?;
                each(IdLine { line, row: item.row, text: &item.id })?;
            }
            Ok(())
        }
        "csv" => from_csv(path, &mut each),
        other => Err(Error::format(path, format!("IDs are read from .txt, .jsonl or .csv, got `.{other}`"))),
    }
}

type Each<'e> = dyn FnMut(IdLine<'_>) -> Result<()> + 'e;

fn from_text(mut reader: impl BufRead, path: &Path, each: &mut Each<'_>) -> Result<()> {
    let (mut bytes, mut line) = (Vec::new(), 0u64);
    loop {
        bytes.clear();
        let limit = MAX_ID_BYTES + 1;
        let count =
            reader.by_ref().take(limit).read_until(b'\n', &mut bytes).map_err(|e| Error::io("read", path, e))?;
        if count == 0 {
            return Ok(());
        }
        line += 1;
        if bytes.len() as u64 == limit {
            return Err(Error::format(path, format!("line {line} has more than {MAX_ID_BYTES} bytes")));
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            Error::format(path, format!("line {line} is not UTF-8 from column {} on", e.valid_up_to() + 1))
        })?;
        each(IdLine { line, row: None, text })?;
    }
}

fn from_csv(path: &Path, each: &mut Each<'_>) -> Result<()> {
    let mut rows = CsvRows::open(path)?;
    let id = rows.column("id")?;
    let number = rows.find("row");
    while let Some(found) = rows.next_row()? {
        let line = found.line();
        let row = match number.map(|column| found.get(column)) {
            None => None,
            Some(field) => Some(
                field.parse().map_err(|_| Error::format(path, format!("line {line}: `{field}` is no row number")))?,
            ),
        };
        each(IdLine { line, row, text: found.get(id) })?;
    }
    Ok(())
}
