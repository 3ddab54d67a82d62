//! Reads which item has which ID.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use sememe::io::{CsvRows, JsonObject, JsonValue, each_json_object, text_extension};
use sememe::{Error, Result};

/// The IDs of a file.
pub(super) enum ItemIds {
    /// By the items' keys.
    Keys(HashMap<String, String>),
    /// By the items' row numbers, from 0 on.
    Rows(HashMap<u64, String>),
}

impl ItemIds {
    /// The ID of an item; one that is empty is none.
    pub(super) fn of(&self, key: &str, row: u64) -> Option<&str> {
        let id = match self {
            ItemIds::Keys(ids) => ids.get(key),
            ItemIds::Rows(ids) => ids.get(&row),
        };
        id.map(String::as_str).filter(|id| !id.trim().is_empty())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            ItemIds::Keys(ids) => ids.len(),
            ItemIds::Rows(ids) => ids.len(),
        }
    }
}

const FORMS: &str =
    "expected `id` and `semantic_id`, or `row` and `id`, as formatted codes have, or `id` and `items`, as exports have";

/// Reads IDs from `.jsonl`, `.csv` or `.tsv`, or one of them in a `.gz`:
///
/// - `{"id": key, "semantic_id": text}`;
/// - `{"row": number, "id": text}`, as `sememe format` writes it;
/// - `{"id": text, "items": [key, …]}`, as `sememe export` does, in JSON only.
pub(super) fn read(path: &Path) -> Result<ItemIds> {
    let mut file = File { path, keys: HashMap::new(), rows: HashMap::new() };
    match text_extension(path).as_str() {
        "csv" | "tsv" => from_csv(&mut file)?,
        "jsonl" | "ndjson" => each_json_object(path, &mut |line, object| from_json(&mut file, line, object))?,
        other => {
            let problem = format!("IDs are read from .jsonl, .csv or .tsv, or one in a .gz, got `.{other}`");
            return Err(Error::format(path, problem));
        }
    }
    match (file.keys.is_empty(), file.rows.is_empty()) {
        (true, true) => Err(Error::format(path, "holds no IDs")),
        (false, true) => Ok(ItemIds::Keys(file.keys)),
        (true, false) => Ok(ItemIds::Rows(file.rows)),
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

fn from_json(file: &mut File<'_>, line: u64, object: &JsonObject<'_>) -> Result<()> {
    let get = |name: &str| object.get(name).map_err(|problem| file.bad(line, format_args!("`{name}` is {problem}")));
    match (get("semantic_id")?, get("id")?, get("items")?, get("row")?) {
        (Some(id), Some(key), _, _) => {
            let id = match id {
                JsonValue::Text(id) => id,
                JsonValue::Null => String::new(),
                other => return Err(file.bad(line, format_args!("`semantic_id` is {}, expected text", other.kind()))),
            };
            let key = key.as_key().ok_or_else(|| file.bad(line, "`id` is neither text nor a whole number"))?;
            file.key(line, key.to_owned(), id)
        }
        (None, Some(JsonValue::Text(id)), Some(JsonValue::List(keys)), _) => {
            for key in keys {
                let key = key.value().map_err(|problem| file.bad(line, format_args!("a key is {problem}")))?;
                let Some(key) = key.as_key() else {
                    return Err(file.bad(line, format_args!("an item is {}, which is no key", key.kind())));
                };
                file.key(line, key.to_owned(), id.clone())?;
            }
            Ok(())
        }
        (None, Some(JsonValue::Text(id)), None, Some(JsonValue::Integer(row))) if row.parse::<u64>().is_ok() => {
            file.row(line, row.parse().unwrap_or_default(), id)
        }
        _ => Err(file.bad(line, format_args!("{FORMS}; it holds {}", object.listed()))),
    }
}

fn from_csv(file: &mut File<'_>) -> Result<()> {
    let mut rows = CsvRows::open(file.path)?;
    let (name, id, by_key) = match (rows.find("semantic_id"), rows.find("id"), rows.find("row")) {
        (Some(id), Some(key), _) => (key, id, true),
        (None, Some(id), Some(row)) => (row, id, false),
        _ => {
            let want = "needs columns `id` and `semantic_id`, or `row` and `id` as files of formatted codes have";
            return Err(rows.missing(want));
        }
    };
    while let Some(found) = rows.next_row()? {
        let (line, [name, id]) = (found.line(), [name, id].map(|column| found.get(column)));
        if by_key {
            file.key(line, name.to_owned(), id.to_owned())?;
        } else {
            let row = name.parse().map_err(|_| file.bad(line, format_args!("`{name}` is no row number")))?;
            file.row(line, row, id.to_owned())?;
        }
    }
    Ok(())
}
