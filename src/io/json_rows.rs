//! Embeddings as a list in each line of a `.jsonl` file, read as people's programs write it: `NaN` and `Infinity` are missing values.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufReader, Read as _};
use std::sync::{Mutex, PoisonError};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::json_objects::{each_json_line, json_row, repaired_line};
use super::lines::{Lines, json_bad, json_cause};
use super::window::{Window, WindowReader};
use crate::data::{Matrix, RowSource, check_range};
use crate::error::{Error, Result, check_shape};

/// Names that are taken without asking, the first that is there.
const USUAL: [&str; 4] = ["embedding", "embeddings", "vector", "vectors"];
/// Every so many rows, the byte at which the row begins is kept.
const STEP: usize = 256;
/// Bytes looked through at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// `[rows, dims]` values, a row a line. Opening looks through the file for its lines; reading parses those that are asked for. Readers
/// take turns, and reading in order goes on where it stopped.
pub(crate) struct JsonRows {
    window: Window,
    field: String,
    rows: usize,
    dims: usize,
    /// First byte of every [`STEP`]-th row.
    starts: Vec<u64>,
    cursor: Mutex<Option<LineCursor>>,
}

/// Lines that are read on from a row.
struct LineCursor {
    row: usize,
    lines: Lines<BufReader<WindowReader>>,
}

impl JsonRows {
    /// Counts the lines, and takes the field and its length from the first that has values.
    pub(crate) fn open(w: Window, wanted: Option<&str>) -> Result<Self> {
        let (rows, starts) = count(&w)?;
        let mut lines = Lines::new(BufReader::new(w.reader()), w.path());
        let mut field = wanted.map(str::to_owned);
        while let Some((number, text)) = lines.next()? {
            let name = match &field {
                Some(name) => name.clone(),
                None => choose(&w, number, text)?,
            };
            let values = values(&w, number, text, &name)?;
            if let Some(values) = values {
                if values.is_empty() {
                    return Err(w.bad(format_args!("line {number}: `{name}` holds no values")));
                }
                let (window, dims) = (w.clone().named(&name), values.len());
                // A value takes two bytes at least, so a file that claims more has a first line unlike all others; nothing is allocated
                // by its measure.
                if (rows as u64).checked_mul(dims as u64).is_none_or(|all| all > w.len()) {
                    return Err(window.bad(format_args!(
                        "line {number} holds {dims} values, and {rows} such lines do not fit {} bytes",
                        w.len()
                    )));
                }
                return Ok(Self { window, field: name, rows, dims, starts, cursor: Mutex::default() });
            }
            field = Some(name);
        }
        Err(w.bad(format_args!("`{}` is null in all {rows} lines", field.unwrap_or_default())))
    }

    fn seek(&self, row: usize) -> Result<LineCursor> {
        let from = row / STEP * STEP;
        let mut lines = Lines::from_line(
            BufReader::new(self.window.reader_at(self.starts[row / STEP])),
            self.window.path(),
            from as u64,
        );
        for _ in from..row {
            lines.next()?;
        }
        Ok(LineCursor { row, lines })
    }
}

impl RowSource for JsonRows {
    fn rows(&self) -> usize {
        self.rows
    }
    fn dims(&self) -> usize {
        self.dims
    }
    fn name(&self) -> String {
        self.window.name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        check_range(start, out.len(), self.rows, self.dims, &self.window.name())?;
        if out.is_empty() {
            return Ok(());
        }
        let mut held = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that a reader which failed does not go on.
        let mut cursor = match held.take() {
            Some(cursor) if cursor.row == start => cursor,
            _ => self.seek(start)?,
        };
        for out in out.chunks_exact_mut(self.dims) {
            let next = cursor.lines.next()?;
            let Some((number, text)) = next else {
                let problem =
                    format!("ended after {} lines, where it had {} when it was opened", cursor.row, self.rows);
                return Err(self.window.bad(problem));
            };
            match values(&self.window, number, text, &self.field)? {
                Some(values) => {
                    check_shape("d", self.dims, values.len(), format!("{}, line {number}", self.window.name()))?;
                    out.copy_from_slice(&values);
                }
                None => out.fill(f32::NAN),
            }
            cursor.row += 1;
        }
        *held = Some(cursor);
        Ok(())
    }
}

/// All rows of a `.jsonl.gz`, in memory: nothing can be found in the middle of a compressed file.
pub(crate) fn read_compressed(w: &Window, wanted: Option<&str>) -> Result<(String, Matrix)> {
    let mut field = wanted.map(str::to_owned);
    let (mut dims, mut rows, mut data) = (None, 0usize, Vec::new());
    let mut missing = Vec::new();
    each_json_line(w.path(), "rows are read from .jsonl and .jsonl.gz", &mut |number, text| {
        let name = match &field {
            Some(name) => name.clone(),
            None => choose(w, number, text)?,
        };
        match values(w, number, text, &name)? {
            None => missing.push(rows),
            Some(values) => {
                let d = *dims.get_or_insert(values.len());
                check_shape("d", d, values.len(), format!("{}, line {number}", w.name()))?;
                // Rows before the first with values were null.
                data.resize(rows * d, f32::NAN);
                data.extend(values);
            }
        }
        field = Some(name);
        rows += 1;
        Ok(())
    })?;
    let d = dims.filter(|d| *d > 0).ok_or_else(|| w.bad(format_args!("none of its {rows} lines holds values")))?;
    data.resize(rows * d, f32::NAN);
    Ok((field.unwrap_or_default(), Matrix::from_vec(rows, d, data)?))
}

/// How many lines a file has, and where every [`STEP`]-th begins. Blank lines are allowed at the end only, which whoever reads them checks.
fn count(w: &Window) -> Result<(usize, Vec<u64>)> {
    let mut reader = w.reader();
    let mut buffer = vec![0u8; CHUNK_BYTES.min(usize::try_from(w.len()).unwrap_or(CHUNK_BYTES))];
    let (mut rows, mut starts) = (0usize, Vec::new());
    let (mut at, mut line, mut filled) = (0u64, 0u64, false);
    let mut end = |line: u64, filled: bool| {
        if filled {
            if rows % STEP == 0 {
                starts.push(line);
            }
            rows += 1;
        }
    };
    loop {
        let have = reader.read(&mut buffer).map_err(|e| Error::io("read", w.path(), e))?;
        if have == 0 {
            break;
        }
        for byte in &buffer[..have] {
            at += 1;
            if *byte == b'\n' {
                end(line, filled);
                (line, filled) = (at, false);
            } else {
                filled |= !byte.is_ascii_whitespace();
            }
        }
    }
    end(line, filled);
    if rows == 0 {
        return Err(w.bad("holds no lines"));
    }
    Ok((rows, starts))
}

/// The field that holds the values of a row.
fn choose(w: &Window, number: u64, text: &str) -> Result<String> {
    let line: serde_json::Map<String, Value> = json_row(w.path(), number, text)?;
    if let Some(usual) = USUAL.iter().find(|name| matches!(line.get(**name), Some(Value::Array(_) | Value::Null))) {
        return Ok((*usual).to_owned());
    }
    let numbers =
        |value: &Value| matches!(value, Value::Array(all) if !all.is_empty() && all.iter().all(Value::is_number));
    let lists: Vec<&String> = line.iter().filter(|(_, value)| numbers(value)).map(|(name, _)| name).collect();
    let names = || line.keys().take(20).map(String::as_str).collect::<Vec<_>>().join("`, `");
    match lists[..] {
        [only] => Ok(only.clone()),
        [] => Err(w.bad(format_args!("line {number} has no list of numbers; it holds `{}`", names()))),
        _ => Err(w
            .bad(format_args!(
                "{} fields of line {number} could be the embeddings; it holds `{}`",
                lists.len(),
                names()
            ))
            .mend([crate::Remedy::give("array").to("name one")])),
    }
}

/// The values of one line; `None` where they are null.
fn values(w: &Window, number: u64, text: &str, field: &str) -> Result<Option<Vec<f32>>> {
    let read = |text: &str| {
        let mut line = serde_json::Deserializer::from_str(text);
        FieldSeed(field).deserialize(&mut line).and_then(|found| line.end().map(|()| found))
    };
    let bad = |e: serde_json::Error| match e.classify() {
        serde_json::error::Category::Data => w.bad(format_args!("line {number}: {}", json_cause(&e))),
        _ => json_bad(w.path(), number, &e),
    };
    let found = match read(text) {
        Ok(found) => found,
        Err(e) if e.is_data() => return Err(bad(e)),
        Err(e) => read(&repaired_line(w.path(), number, text, &e)?).map_err(bad)?,
    };
    found.ok_or_else(|| {
        let line: serde_json::Map<String, Value> = json_row(w.path(), number, text).unwrap_or_default();
        let names: Vec<&str> = line.keys().take(20).map(String::as_str).collect();
        w.bad(format_args!("line {number} has no `{field}`; it holds `{}`", names.join("`, `")))
    })
}

/// Takes one field of an object and passes over the others: `None` where it is not there, `Some(None)` where it is null.
struct FieldSeed<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Option<Option<Vec<f32>>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = Option<Option<Vec<f32>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == self.0 {
                found = Some(map.next_value::<Numbers>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A list of numbers, of which some may be null, or null.
struct Numbers(Option<Vec<f32>>);

impl<'de> serde::Deserialize<'de> for Numbers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Numbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers")
            }

            fn visit_unit<E>(self) -> Result<Numbers, E> {
                Ok(Numbers(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
                let mut out = Vec::new();
                // A value past the range of `f32` becomes infinity, as in every other format.
                while let Some(value) = list.next_element::<Option<f64>>()? {
                    out.push(value.map_or(f32::NAN, |value| value as f32));
                }
                Ok(Numbers(Some(out)))
            }
        }
        deserializer.deserialize_any(List)
    }
}
