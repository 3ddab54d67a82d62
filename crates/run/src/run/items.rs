//! What phase prep wrote, read back.

use serde::Deserialize;

use super::Context;
use super::prep::ITEMS;
use sememe::io::{each_json_line, json_bad};
use sememe::{Error, Result};

/// Items in the order of their keys' bytes.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) keys: Vec<String>,
    pub(super) texts: Vec<String>,
    /// Empty if the configuration names no field for titles.
    pub(super) titles: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    text: String,
    title: Option<String>,
}

pub(super) fn read(context: &Context<'_>) -> Result<Items> {
    let path = context.at(ITEMS);
    let mut items = Items::default();
    each_json_line(&path, "items are .jsonl", &mut |number, text| {
        let line: Line = serde_json::from_str(text).map_err(|e| json_bad(&path, number, &e))?;
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
