//! Items out of files and stores.

use crate::catalogue::{Items, NewItem};
use crate::sources::{ItemFields, Resolved};
use crate::vectors::Vectors;
use sememe::ids::store::{MemoryStore, Store as _};
use sememe::io::{JsonValue, OpenOptions, each_json_line, each_json_object, json_row, open, read_keys};
use sememe::{Codec, Error, MatrixView, Result, RowSource};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// Rows that are encoded at a time.
const PIECE_ROWS: usize = 4096;

/// The items, and their vectors. `known` are those of a store.
///
/// # Errors
/// Whatever the files say; [`Error::Shape`] if codec and vectors, or codec and IDs, do not fit.
pub fn load_items(from: &Resolved, codec: &Codec, known: Option<Vec<NewItem>>) -> Result<(Items, Option<Vectors>)> {
    let rows = from.sources.vectors.as_ref().map(|path| open(path, &OpenOptions::default())).transpose()?;
    if let (Some(rows), Some(path)) = (&rows, &from.sources.vectors) {
        sememe::check_shape("d", codec.dims(), rows.dims(), path.display().to_string())?;
    }
    let (listed, words) = match &from.sources.items {
        Some(path) => read_items(path, &from.sources.fields)?,
        None => (Vec::new(), HashMap::new()),
    };
    let of_rows = match (&rows, &from.vector_keys) {
        (Some(_), Some(path)) => read_keys(path, "id")?,
        _ => listed,
    };
    let mut new = match (known, &from.sources.ids, &rows) {
        (Some(known), ..) => known,
        (None, Some(path), _) => read_ids(path, codec.levels())?,
        (None, None, Some(rows)) => encode_all(rows.as_ref(), &of_rows, codec)?,
        (None, None, None) => Vec::new(),
    };
    for item in &mut new {
        if let Some(ItemWords { title, text }) = words.get(&item.key) {
            (item.title, item.text) = (title.clone(), text.clone());
        }
    }
    let mut items = Items::new(codec.levels());
    items.add(&new);
    let metric = codec.metric();
    let vectors = rows.map(|rows| Vectors::read(rows.as_ref(), &of_rows, &items, metric)).transpose()?;
    Ok((items, vectors))
}

struct ItemWords {
    title: Option<String>,
    text: Option<String>,
}

/// Keys in the order of the file, and what else is said of each.
fn read_items(path: &Path, fields: &ItemFields) -> Result<(Vec<String>, HashMap<String, ItemWords>)> {
    let (mut keys, mut words) = (Vec::new(), HashMap::new());
    each_json_object(path, &mut |number, item| {
        let bad =
            |problem: String| Error::Format { path: path.to_owned(), problem: format!("line {number}: {problem}") };
        let text_of = |field: &str| -> Result<Option<String>> {
            match item.reach(field).map_err(bad)? {
                Some(JsonValue::Text(text)) if !text.is_empty() => Ok(Some(text)),
                _ => Ok(None),
            }
        };
        let key = item.reach(&fields.key).map_err(bad)?;
        let Some(key) = key.as_ref().and_then(JsonValue::as_key).map(str::to_owned) else {
            return Err(bad(format!("expected a key in `{}`; there are {}", fields.key, item.listed())));
        };
        words.insert(key.clone(), ItemWords { title: text_of(&fields.title)?, text: text_of(&fields.text)? });
        keys.push(key);
        Ok(())
    })?;
    Ok((keys, words))
}

#[derive(Deserialize)]
struct IdLine {
    #[serde(alias = "key")]
    id: String,
    codes: Vec<u32>,
    #[serde(default)]
    counter: u32,
}

/// IDs that a run, or `resolve`, wrote down.
fn read_ids(path: &Path, levels: usize) -> Result<Vec<NewItem>> {
    let mut items = Vec::new();
    each_json_line(path, "IDs are .jsonl", &mut |number, text| {
        let line: IdLine = json_row(path, number, text)?;
        sememe::check_shape("levels", levels, line.codes.len(), format!("{}, line {number}", path.display()))?;
        items.push(NewItem { key: line.id, codes: line.codes, counter: line.counter, ..NewItem::default() });
        Ok(())
    })?;
    Ok(items)
}

/// IDs of items that have none yet, for as long as the service runs.
fn encode_all(rows: &dyn RowSource, keys: &[String], codec: &Codec) -> Result<Vec<NewItem>> {
    let (count, dims, levels) = (rows.rows(), rows.dims(), codec.levels());
    if keys.len() != count {
        let name = rows.name();
        return Err(Error::Data(format!("`{name}` has {count} rows, but there are {} items for them", keys.len())));
    }
    sememe::ids::check_keys(keys)?;
    let mut codes = Vec::with_capacity(count * levels);
    let mut piece = vec![0f32; PIECE_ROWS.min(count) * dims];
    for start in (0..count).step_by(PIECE_ROWS) {
        let have = PIECE_ROWS.min(count - start);
        rows.read_rows(start, &mut piece[..have * dims])?;
        let view = MatrixView::new(have, dims, &piece[..have * dims])?;
        codes.extend_from_slice(codec.encode(view)?.as_slice());
    }
    let asked: Vec<(&str, &[u32])> = keys.iter().map(String::as_str).zip(codes.chunks_exact(levels)).collect();
    let given = MemoryStore::new(codec.content_hash(), levels)?.assign(&asked)?;
    let item = |(key, given): (&String, sememe::ids::store::AssignedId)| NewItem {
        key: key.clone(),
        codes: given.id.codes,
        counter: given.id.counter,
        ..NewItem::default()
    };
    Ok(keys.iter().zip(given).map(item).collect())
}
