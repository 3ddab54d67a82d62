//! The items that have an ID, with the fields that templates take, and what users did with them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::bind::{BoundTurn, bind};
use super::ids;
use super::report::{DialoguesReport, InputHashes, hex};
use super::{Dialogues, Task, Templates};
use crate::prep::{Cleaning, OnDuplicate, Prep, source};
use sememe::data::Sequences;
use sememe::io::{EventItem, read_events};
use sememe::progress::{Event, Observer, check};
use sememe::{Error, Remedy, Result};

/// An item that has an ID.
pub(super) struct CatalogueItem {
    pub(super) key: String,
    pub(super) id: String,
    /// Cleaned, in the order of the fields that are read.
    pub(super) values: Vec<String>,
}

/// A row of the catalogue.
enum RowState {
    CatalogueItem(CatalogueItem),
    WithoutId(String),
    /// A later one has its key.
    Replaced,
}

/// Items, their fields and the users' histories: the data that examples are drawn from.
pub(super) struct Catalogue {
    /// By the bytes of their keys.
    pub(super) items: Vec<CatalogueItem>,
    pub(super) templates: Vec<BoundTurn>,
    /// Items by their place, with the users' names; none without events.
    pub(super) users: Option<(Sequences, Vec<String>)>,
    /// Counts so far.
    pub(super) report: DialoguesReport,
}

pub(super) fn read(
    dialogues: &Dialogues,
    templates: &Templates,
    tasks: &[Task],
    lenient: bool,
    observer: &dyn Observer,
) -> Result<Catalogue> {
    let ids = ids::read(&dialogues.ids)?;
    let path = dialogues.source.as_deref().unwrap_or(&dialogues.ids);
    let prep = Prep {
        source: path.into(),
        table: dialogues.table.clone(),
        query: dialogues.query.clone(),
        list_separator: dialogues.list_separator.clone(),
        ..Prep::default()
    };
    let there = source::fields(&prep)?;
    let (templates, fields) = bind(templates, tasks, &there, path, lenient)?;
    let mut wanted = vec![dialogues.key.as_str()];
    wanted.extend(fields.iter().map(String::as_str));
    let cleaning = Cleaning { html: dialogues.html, unicode: dialogues.unicode };
    observer.event(Event::Phase { name: "dialogues", total: None, unit: "rows" });
    let mut report = DialoguesReport::default();
    // Every key with the row that has it: two rows with one key are refused, whether or not they have an ID.
    let (mut items, mut rows) = (Vec::new(), HashMap::new());
    let mut first_without_key = None;
    let mut number = 0u64;
    let unit = source::each(&prep, &wanted, &mut |row, values| {
        let at = number;
        number += 1;
        if number.is_multiple_of(4096) {
            check(observer)?;
            observer.event(Event::Advance { done: number });
        }
        let key = std::mem::take(&mut values[0]);
        if key.trim().is_empty() {
            report.without_key += 1;
            first_without_key.get_or_insert(row);
            return Ok(());
        }
        match rows.entry(key.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((row, items.len()));
            }
            Entry::Occupied(mut entry) => {
                let (first, place) = *entry.get();
                report.duplicate_keys += 1;
                match dialogues.on_duplicate {
                    OnDuplicate::Refuse => {
                        let problem =
                            format!("rows {first} and {row} have the same key `{key}`; every item needs its own");
                        return Err(Error::format(path, problem).mend([
                            Remedy::set("on_duplicate", "first").to("keep the first"),
                            Remedy::set("on_duplicate", "last").to("the last"),
                        ]));
                    }
                    OnDuplicate::First => return Ok(()),
                    OnDuplicate::Last => {
                        items[place] = RowState::Replaced;
                        entry.insert((row, items.len()));
                    }
                }
            }
        }
        items.push(match ids.of(&key, at) {
            Some(id) => {
                let values = values[1..].iter().map(|value| cleaning.apply(value)).collect();
                RowState::CatalogueItem(CatalogueItem { id: id.to_owned(), key, values })
            }
            None => RowState::WithoutId(key),
        });
        Ok(())
    })?;
    let mut found = Vec::with_capacity(items.len());
    for row in items {
        match row {
            RowState::CatalogueItem(item) => found.push(item),
            RowState::WithoutId(key) => {
                report.without_id += 1;
                if report.first_without_id.len() < 5 {
                    report.first_without_id.push(key);
                }
            }
            RowState::Replaced => {}
        }
    }
    let mut items = found;
    report.rows = number as usize;
    report.items = items.len();
    report.ids_without_item = ids.len() - items.len();
    refuse(dialogues, path, &report, first_without_key.map(|row| format!("{unit} {row}")))?;
    items.sort_unstable_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
    let mut sharing: HashMap<&str, usize> = HashMap::with_capacity(items.len());
    items.iter().for_each(|item| *sharing.entry(&item.id).or_default() += 1);
    report.sharing_an_id = sharing.into_values().filter(|items| *items > 1).sum();
    let users = match &dialogues.events {
        Some(events) => Some(histories(dialogues, events, &items, &mut report)?),
        None => None,
    };
    report.inputs = hashes(&items, &fields, users.as_ref(), &templates);
    Ok(Catalogue { items, templates, users, report })
}

/// Nothing to work with, or less than `strict` allows.
fn refuse(
    dialogues: &Dialogues,
    path: &Path,
    report: &DialoguesReport,
    first_without_key: Option<String>,
) -> Result<()> {
    let (place, ids, rows) = (path.display(), dialogues.ids.display(), report.rows);
    if report.items == 0 {
        return Err(Error::Data(format!(
            "none of the {rows} items of `{place}` has an ID in `{ids}`{}",
            match report.first_without_id.first() {
                Some(key) =>
                    format!(", the first without is `{key}`; is `{}` the field with their keys?", dialogues.key),
                None => String::new(),
            }
        )));
    }
    if !dialogues.strict {
        return Ok(());
    }
    if let Some(first) = first_without_key {
        return Err(Error::Data(format!(
            "{} of {rows} items of `{place}` have no key in `{}`, the first is {first}",
            report.without_key, dialogues.key
        ))
        .mend([lenient()]));
    }
    if let Some(first) = report.first_without_id.first() {
        return Err(Error::Data(format!(
            "{} of {rows} items of `{place}` have no ID in `{ids}`, the first is `{first}`",
            report.without_id
        ))
        .mend([lenient()]));
    }
    Ok(())
}

fn lenient() -> Remedy {
    Remedy::omit("strict").to("pass over them")
}

fn histories(
    dialogues: &Dialogues,
    path: &Path,
    items: &[CatalogueItem],
    report: &mut DialoguesReport,
) -> Result<(Sequences, Vec<String>)> {
    // Sorted by key already, but a map spares a search an event.
    let by_key: HashMap<&str, u32> = items.iter().zip(0..).map(|(item, at)| (item.key.as_str(), at)).collect();
    let file = read_events(path, &dialogues.event_fields, &|item| match item {
        EventItem::Text(key) => by_key.get(key).copied(),
        EventItem::Number(key) => by_key.get(key.to_string().as_str()).copied(),
    })?;
    report.users = file.sequences.users();
    report.events = file.sequences.events();
    report.events_left_out = file.unknown as usize;
    match &file.first_unknown {
        Some(first) if dialogues.strict => Err(Error::format(
            path,
            format!(
                "{} of {} events name an item that has no ID, the first is {first}",
                file.unknown,
                file.unknown + report.events as u64
            ),
        )
        .mend([lenient()])),
        _ => Ok((file.sequences, file.users)),
    }
}

/// Hashes of what the examples are made from: of what was read, so that they do not depend on the format of a file, nor on what else
/// is in it.
fn hashes(
    items: &[CatalogueItem],
    fields: &[String],
    users: Option<&(Sequences, Vec<String>)>,
    templates: &[BoundTurn],
) -> InputHashes {
    fn add(hash: &mut Sha256, text: &str) {
        // The length first, so that two lists of texts never look like one another.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let (mut ids, mut catalogue) = (Sha256::new(), Sha256::new());
    fields.iter().for_each(|field| add(&mut catalogue, field));
    for item in items {
        add(&mut ids, &item.key);
        add(&mut ids, &item.id);
        add(&mut catalogue, &item.key);
        item.values.iter().for_each(|value| add(&mut catalogue, value));
    }
    let events = users.map(|(sequences, names)| {
        let mut hash = Sha256::new();
        for (name, sequence) in names.iter().zip(sequences.iter()) {
            add(&mut hash, name);
            hash.update((sequence.len() as u64).to_le_bytes());
            sequence.iter().for_each(|item| add(&mut hash, &items[*item as usize].key));
        }
        hex(hash)
    });
    let mut said = Sha256::new();
    for template in templates {
        add(&mut said, template.parsed.task.name());
        template.parsed.texts.iter().for_each(|text| add(&mut said, text));
    }
    InputHashes { ids: hex(ids), catalogue: hex(catalogue), events, templates: hex(said) }
}
