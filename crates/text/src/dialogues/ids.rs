//! Which item has which ID, as the verbs before leave it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;

use sememe::io::{Window, csv_bad, each_json_line, extension, json_bad};
use sememe::{Error, Result};

/// The IDs of a file.
pub(super) enum Ids {
    /// By the items' keys.
    Keys(HashMap<String, String>),
    /// By the items' row numbers, from 0 on.
    Rows(HashMap<u64, String>),
}

impl Ids {
    /// The ID of an item; one that is empty is none.
    pub(super) fn of(&self, key: &str, row: u64) -> Option<&str> {
        let id = match self {
            Ids::Keys(ids) => ids.get(key),
            Ids::Rows(ids) => ids.get(&row),
        };
        id.map(String::as_str).filter(|id| !id.trim().is_empty())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Ids::Keys(ids) => ids.len(),
            Ids::Rows(ids) => ids.len(),
        }
    }
}

const FORMS: &str = "expected `id` and `semantic_id`, or what `sememe format` or `sememe export` writes: `row` and `id`, or `id` and `items`";

/// Reads IDs from `.jsonl`, `.jsonl.gz` or `.csv`:
///
/// - `{"id": key, "semantic_id": text}`;
/// - `{"row": number, "id": text}`, as `sememe format` writes it;
/// - `{"id": text, "items": [key, …]}`, as `sememe export` does, in JSON only.
pub(super) fn read(path: &Path) -> Result<Ids> {
    let mut file = File { path, keys: HashMap::new(), rows: HashMap::new() };
    match extension(path).as_str() {
        "csv" => from_csv(&mut file)?,
        "jsonl" | "gz" => from_json(&mut file)?,
        other => {
            return Err(Error::format(path, format!("IDs are read from .jsonl, .jsonl.gz or .csv, got `.{other}`")));
        }
    }
    match (file.keys.is_empty(), file.rows.is_empty()) {
        (true, true) => Err(Error::format(path, "holds no IDs")),
        (false, true) => Ok(Ids::Keys(file.keys)),
        (true, false) => Ok(Ids::Rows(file.rows)),
        (false, false) => Err(Error::format(path, "names some items by `row` and some by key; expected one of them")),
    }
}

struct File<'a> {
    path: &'a Path,
    keys: HashMap<String, String>,
    rows: HashMap<u64, String>,
}

impl File<'_> {
    fn bad(&self, line: u64, problem: impl std::fmt::Display) -> Error {
        Error::format(self.path, format!("line {line}: {problem}"))
    }

    fn key(&mut self, line: u64, key: String, id: String) -> Result<()> {
        match self.keys.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(id);
                Ok(())
            }
            Entry::Occupied(entry) => {
                let problem = format!("`{}` has an ID already; every item has one", entry.key());
                Err(self.bad(line, problem))
            }
        }
    }

    fn row(&mut self, line: u64, row: u64, id: String) -> Result<()> {
        match self.rows.insert(row, id) {
            None => Ok(()),
            Some(_) => Err(self.bad(line, format_args!("row {row} has an ID already; every item has one"))),
        }
    }
}

fn from_json(file: &mut File<'_>) -> Result<()> {
    each_json_line(file.path, "IDs are read from .jsonl, .jsonl.gz or .csv", &mut |number, text| {
        let value: Value = serde_json::from_str(text).map_err(|e| json_bad(file.path, number, &e))?;
        let Value::Object(line) = value else { return Err(file.bad(number, "expected an object")) };
        match (line.get("semantic_id"), line.get("id"), line.get("items"), line.get("row")) {
            (Some(id), Some(key), _, _) => {
                let id = if id.is_null() { Some("") } else { id.as_str() };
                let id = id.ok_or_else(|| file.bad(number, "`semantic_id` is no text"))?;
                let key = named(key).ok_or_else(|| file.bad(number, "`id` is neither text nor a whole number"))?;
                file.key(number, key, id.to_owned())
            }
            (None, Some(Value::String(id)), Some(Value::Array(keys)), _) => {
                for key in keys {
                    let key = named(key).ok_or_else(|| file.bad(number, format_args!("item {key} is no key")))?;
                    file.key(number, key, id.clone())?;
                }
                Ok(())
            }
            (None, Some(Value::String(id)), None, Some(Value::Number(row))) if row.is_u64() => {
                file.row(number, row.as_u64().unwrap_or_default(), id.clone())
            }
            _ => {
                let names: Vec<&str> = line.keys().take(20).map(String::as_str).collect();
                Err(file.bad(number, format_args!("{FORMS}; it holds `{}`", names.join("`, `"))))
            }
        }
    })
}

/// A key: text, or a whole number as its digits.
fn named(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) if n.is_u64() || n.is_i64() => Some(n.to_string()),
        _ => None,
    }
}

fn from_csv(file: &mut File<'_>) -> Result<()> {
    let w = Window::open(file.path)?;
    let mut reader = csv::Reader::from_reader(BufReader::with_capacity(1 << 16, w.reader()));
    let headers = reader.headers().map_err(|e| csv_bad(file.path, &e))?.clone();
    let at = |name: &str| headers.iter().position(|h| h == name);
    let (name, id, by_key) = match (at("semantic_id"), at("id"), at("row")) {
        (Some(id), Some(key), _) => (key, id, true),
        (None, Some(id), Some(row)) => (row, id, false),
        _ => {
            let names: Vec<&str> = headers.iter().take(20).collect();
            let want = "needs columns `id` and `semantic_id`, or `row` and `id` as `sememe format` writes them";
            return Err(Error::format(file.path, format!("{want}; it holds `{}`", names.join("`, `"))));
        }
    };
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| csv_bad(file.path, &e))? {
        let line = record.position().map_or(0, csv::Position::line);
        let [name, id] = [name, id].map(|column| record.get(column).unwrap_or_default());
        if by_key {
            file.key(line, name.to_owned(), id.to_owned())?;
        } else {
            let row = name.parse().map_err(|_| file.bad(line, format_args!("`{name}` is no row number")))?;
            file.row(line, row, id.to_owned())?;
        }
    }
    Ok(())
}
