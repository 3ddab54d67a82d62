//! Events of users, each matched to the items that a verb is about.

use crate::flags::EventFlags;
use crate::progress::Progress;
use crate::text::whole;
use anyhow::Result;
use sememe::io::{EventFields, EventItem, read_events};
use sememe::{Error, Sequences};
use std::collections::HashMap;
use std::path::PathBuf;

/// Where events are, and how they are read.
pub struct EventsPlan {
    pub path: PathBuf,
    pub fields: EventFields,
    pub drop_unknown: bool,
}

impl EventsPlan {
    /// Checks the names of the fields.
    pub fn new(path: PathBuf, fields: EventFlags, drop_unknown: bool) -> Result<Self> {
        let fields = fields.fields();
        fields.validate()?;
        Ok(Self { path, fields, drop_unknown })
    }
}

/// The items that events may name: by row number, or by key.
pub struct EventItems<'a> {
    pub count: usize,
    /// Their row numbers, where these are not 0, 1, 2 and so on.
    pub numbers: Option<&'a [u64]>,
    pub keys: Option<&'a [String]>,
}

/// Reads events; how many of them were left out, as their item is unknown, comes with them.
pub fn read_interactions(wanted: &EventsPlan, items: &EventItems<'_>, progress: &Progress) -> Result<(Sequences, u64)> {
    let (rows, keys) = (items.count, items.keys);
    let by_key: HashMap<&str, u32> =
        keys.unwrap_or_default().iter().enumerate().map(|(row, key)| (key.as_str(), row as u32)).collect();
    let by_number: Option<HashMap<u64, u32>> =
        items.numbers.map(|numbers| numbers.iter().enumerate().map(|(row, number)| (*number, row as u32)).collect());
    let row_of = |item: EventItem<'_>| match (item, keys, &by_number) {
        (EventItem::Text(text), Some(_), _) => by_key.get(text).copied(),
        (EventItem::Number(number), Some(_), _) => by_key.get(number.to_string().as_str()).copied(),
        (EventItem::Number(number), None, None) => u32::try_from(number).ok().filter(|row| (*row as usize) < rows),
        (EventItem::Number(number), None, Some(by_number)) => by_number.get(&number).copied(),
        (EventItem::Text(_), None, _) => None,
    };
    let file = read_events(&wanted.path, &wanted.fields, &row_of)?;
    if let (Some(first), count) = (&file.first_unknown, file.unknown) {
        let all = count + file.sequences.events() as u64;
        let which = format!(
            "{} of {} events name an item that is none of the {} items, the first is {first}",
            whole(count),
            whole(all),
            whole(rows as u64)
        );
        if !wanted.drop_unknown {
            let hint = if keys.is_none() { "; items are named by row number, or by key with `--keys`" } else { "" };
            let problem = format!("{which}{hint}; leave them out with `--unknown drop`");
            return Err(Error::format(&wanted.path, problem).into());
        }
        progress.note(&format!("dropped events: {which}"));
    }
    Ok((file.sequences, file.unknown))
}
