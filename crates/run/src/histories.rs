//! Reads what users did, with items by their keys.

use std::collections::HashMap;
use std::path::Path;

use sememe::Result;
use sememe::io::{EventFields, EventItem, EventsFile, read_events};

/// Histories of items with these keys; a number in the file is a key as it is written.
pub(crate) fn read_histories(path: &Path, fields: &EventFields, keys: &[String]) -> Result<EventsFile> {
    let by_key: HashMap<&str, u32> = keys.iter().map(String::as_str).zip(0..).collect();
    read_events(path, fields, &|item| match item {
        EventItem::Text(key) => by_key.get(key).copied(),
        EventItem::Number(key) => by_key.get(key.to_string().as_str()).copied(),
    })
}
