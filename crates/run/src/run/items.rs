//! Reads the output of phase prep.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::Context;
use super::prep::ITEMS;
use sememe::io::{each_json_line, is_there, json_row};
use sememe::{Error, Result};

/// Items whose text cannot be embedded, with the reason; there only if there are some.
pub(super) const FAILED: &str = "embed/failed.jsonl";

/// Items in the order of their keys' bytes.
#[derive(Debug, Default)]
pub(super) struct PreparedItems {
    pub(super) keys: Vec<String>,
    pub(super) texts: Vec<String>,
    /// Empty if the configuration names no field for titles.
    pub(super) titles: Vec<String>,
}

#[derive(Deserialize)]
struct FailedItem {
    key: String,
}

#[derive(Deserialize)]
struct ItemLine {
    id: String,
    text: String,
    title: Option<String>,
}

pub(super) fn read(context: &Context<'_>) -> Result<PreparedItems> {
    let path = context.at(ITEMS);
    let mut items = PreparedItems::default();
    each_json_line(&path, "items are .jsonl", &mut |number, text| {
        let line: ItemLine = json_row(&path, number, text)?;
        items.keys.push(line.id);
        items.texts.push(line.text);
        items.titles.extend(line.title);
        Ok(())
    })?;
    if !items.titles.is_empty() && items.titles.len() != items.keys.len() {
        return Err(Error::format(path, "has titles on some lines only; run prep again"));
    }
    Ok(items)
}

/// The items that have a vector, in the order of the rows.
pub(super) fn with_vectors(context: &Context<'_>) -> Result<PreparedItems> {
    let mut items = read(context)?;
    let path = context.at(FAILED);
    if !is_there(&path)? {
        return Ok(items);
    }
    let mut failed = HashSet::new();
    each_json_line(&path, "items without a vector are .jsonl", &mut |number, text| {
        failed.insert(json_row::<FailedItem>(&path, number, text)?.key);
        Ok(())
    })?;
    let keep: Vec<bool> = items.keys.iter().map(|key| !failed.contains(key)).collect();
    for list in [&mut items.keys, &mut items.texts, &mut items.titles] {
        // Titles may be none at all.
        let mut keep = keep.iter();
        list.retain(|_| keep.next().copied().unwrap_or(true));
    }
    Ok(items)
}

/// The file of items without a vector, for the inputs of a phase, if there is one.
pub(super) fn failed(context: &Context<'_>) -> Result<Option<(&'static str, PathBuf)>> {
    let path = context.at(FAILED);
    Ok(is_there(&path)?.then_some(("the items without a vector", path)))
}
