//! User interactions: sequences of items, or single events, from `.jsonl`, `.csv`, `.tsv`, `.parquet` or `.npy`.

use std::collections::HashMap;
use std::path::Path;

use super::csv_rows::CsvRows;
use super::event_fields::{EventFields, Role};
use super::integers::read_integers;
use super::json_objects::{JsonObject, JsonValue, each_json_object};
use super::text_file::text_extension;
use super::window::Window;
use crate::data::Sequences;
use crate::error::{Error, Result};

/// An item as a file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventItem<'a> {
    /// A whole number.
    Number(u64),
    /// Text.
    Text(&'a str),
}

impl std::fmt::Display for EventItem<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EventItem::Number(number) => number.fmt(f),
            EventItem::Text(text) => text.fmt(f),
        }
    }
}

/// Sequences of a file, as far as its items are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsFile {
    /// One sequence a user, in the order in which users first occur, each in the order of time.
    pub sequences: Sequences,
    /// What each sequence's user is called; `line 12` where a line of items names nobody.
    pub users: Vec<String>,
    /// Events whose item is not known: left out.
    pub unknown: u64,
    /// The first of them, and where it stands.
    pub first_unknown: Option<String>,
}

/// Events as they come, before they are sorted.
struct EventBuilder<'a> {
    row_of: &'a dyn Fn(EventItem<'_>) -> Option<u32>,
    users: HashMap<String, usize>,
    names: Vec<String>,
    /// `(time, item)` of each user.
    lists: Vec<Vec<(f64, u32)>>,
    timed: bool,
    unknown: u64,
    first_unknown: Option<String>,
}

impl EventBuilder<'_> {
    fn user(&mut self, name: &str) -> usize {
        if let Some(user) = self.users.get(name) {
            return *user;
        }
        self.users.insert(name.to_owned(), self.lists.len());
        self.list(name.to_owned())
    }

    /// A further list, for a user that no other list is of.
    fn list(&mut self, name: String) -> usize {
        self.names.push(name);
        self.lists.push(Vec::new());
        self.lists.len() - 1
    }

    fn add(&mut self, user: usize, item: EventItem<'_>, time: f64, place: impl Fn() -> String) {
        match (self.row_of)(item) {
            Some(row) => self.lists[user].push((time, row)),
            None => {
                self.unknown += 1;
                self.first_unknown.get_or_insert_with(|| format!("`{item}` in {}", place()));
            }
        }
    }
}

/// Reads the interactions of users.
///
/// - `.jsonl`: a user a line with the list `items`, oldest first, and `user` if they like; or an event a line with `user`, `item` and, if
///   they like, `time`, a number;
/// - `.csv`, `.tsv`, `.parquet` (feature `parquet`): columns `user`, `item` and, if they like, `time`;
/// - `.npy`: integers `[events, 2]`, user and item, or `[events, 3]` with a time.
///
/// Text files may lie in a `.gz`. `fields` says what user, item and time are called; names that published data sets have are known.
/// Events of a user are put in the order of their times; events of one time, and all where no time is given, stay in the order of the
/// file. `row_of` says which row an item is; events whose item it does not know are counted and left out.
///
/// # Errors
/// [`Error::Config`] for names of fields with a `.npy`, which has none. [`Error::Format`] if the file cannot be read, is of none of these
/// formats, lacks a field (lists those that it has), or holds no event with a known item; errors name the line.
pub fn read_events(
    path: impl AsRef<Path>,
    fields: &EventFields,
    row_of: &dyn Fn(EventItem<'_>) -> Option<u32>,
) -> Result<EventsFile> {
    let path = path.as_ref();
    let mut all = EventBuilder {
        row_of,
        users: HashMap::new(),
        names: Vec::new(),
        lists: Vec::new(),
        timed: false,
        unknown: 0,
        first_unknown: None,
    };
    match text_extension(path).as_str() {
        "npy" => from_npy(path, fields, &mut all)?,
        "csv" | "tsv" => from_csv(path, fields, &mut all)?,
        "parquet" => from_parquet(path, fields, &mut all)?,
        "jsonl" | "ndjson" => {
            each_json_object(path, &mut |line, object| from_object(path, line, object, fields, &mut all))?;
        }
        other => {
            // What is missing is said to be missing, whatever its name.
            std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
            let problem = format!(
                "events are read from .jsonl, .csv, .tsv (or one of these in a .gz), .parquet or .npy, got `.{other}`"
            );
            return Err(Error::format(path, problem));
        }
    }
    if all.timed {
        // Stable: events of one time stay as they came.
        all.lists.iter_mut().for_each(|list| list.sort_by(|a, b| a.0.total_cmp(&b.0)));
    }
    let known: usize = all.lists.iter().map(Vec::len).sum();
    if known == 0 {
        let problem = match &all.first_unknown {
            Some(first) => format!("none of its {} events names a known item, the first is {first}", all.unknown),
            None => "holds no event".into(),
        };
        return Err(Error::format(path, problem));
    }
    let lists = all.lists.iter().map(|list| list.iter().map(|(_, item)| *item).collect::<Vec<u32>>());
    let sequences = Sequences::from_lists(lists)?;
    Ok(EventsFile { sequences, users: all.names, unknown: all.unknown, first_unknown: all.first_unknown })
}

fn from_object(
    path: &Path,
    number: u64,
    line: &JsonObject<'_>,
    fields: &EventFields,
    all: &mut EventBuilder<'_>,
) -> Result<()> {
    let bad = |problem: String| Error::format(path, format!("line {number}: {problem}"));
    let names: Vec<&str> = line.names().collect();
    let name = |role: Role| fields.find(role, &names).unwrap_or_default();
    let get = |role: Role| {
        let name = name(role);
        line.reach(name).map_err(|problem| bad(format!("`{name}` is {problem}")))
    };
    let user = match get(Role::User)? {
        None => None,
        Some(JsonValue::Text(name)) => Some(name),
        Some(JsonValue::Integer(digits)) => Some(digits.to_owned()),
        Some(JsonValue::Number(number)) => Some(number),
        Some(other) => {
            return Err(bad(format!("`{}` is {}, expected text or a number", name(Role::User), other.kind())));
        }
    };
    let not_a_key = |value: &JsonValue<'_>| {
        let shown = if let JsonValue::Number(number) = value { number.as_str() } else { value.kind() };
        bad(format!("an item is {shown}, expected text or a whole number"))
    };
    if let Some(items) = line.get("items").map_err(|problem| bad(format!("`items` is {problem}")))? {
        let JsonValue::List(items) = items else {
            return Err(bad(format!("`items` is {}, expected a list", items.kind())));
        };
        let user = match user {
            Some(name) => all.user(&name),
            None => all.list(format!("line {number}")),
        };
        for item in items {
            let item = item.value().map_err(|problem| bad(format!("an item is {problem}")))?;
            let item = named(&item).ok_or_else(|| not_a_key(&item))?;
            all.add(user, item, 0.0, || format!("line {number}"));
        }
        return Ok(());
    }
    let (Some(user), Some(item)) = (user, get(Role::Item)?) else {
        let missing = fields.missing(&names);
        return Err(bad(format!("expected a list `items`, or {missing}; it holds {}", line.listed())));
    };
    let item = named(&item).ok_or_else(|| not_a_key(&item))?;
    let time = match get(Role::Time)? {
        None if fields.time.is_none() => 0.0,
        found => {
            all.timed = true;
            let time = match &found {
                Some(JsonValue::Integer(text)) => number_of(text),
                Some(JsonValue::Number(text) | JsonValue::Text(text)) => number_of(text),
                _ => None,
            };
            time.ok_or_else(|| {
                let got = found.map_or("missing", |found| found.kind());
                bad(format!("`{}` is {got}, expected a time as a number", name(Role::Time)))
            })?
        }
    };
    let user = all.user(&user);
    all.add(user, item, time, || format!("line {number}"));
    Ok(())
}

fn number_of(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

fn named<'a>(value: &'a JsonValue<'_>) -> Option<EventItem<'a>> {
    value.as_key().map(|key| match value {
        JsonValue::Integer(digits) => digits.parse().map_or(EventItem::Text(digits), EventItem::Number),
        _ => EventItem::Text(key),
    })
}

/// An event whose parts are texts.
fn add_texts(
    all: &mut EventBuilder<'_>,
    [user, item, time]: [&str; 3],
    place: &dyn Fn() -> String,
) -> Result<(), String> {
    let when = match all.timed {
        false => 0.0,
        true => number_of(time).ok_or_else(|| format!("time `{time}` is not a number"))?,
    };
    // `007` is a text: as a number it would come back as `7`.
    let number = item.parse::<u64>().ok().filter(|number| number.to_string() == item);
    let item = number.map_or(EventItem::Text(item), EventItem::Number);
    let user = all.user(user);
    all.add(user, item, when, place);
    Ok(())
}

fn from_csv(path: &Path, fields: &EventFields, all: &mut EventBuilder<'_>) -> Result<()> {
    let mut rows = CsvRows::open(path)?;
    let names: Vec<&str> = rows.headers().iter().map(String::as_str).collect();
    let (Some(user), Some(item)) = (fields.find(Role::User, &names), fields.find(Role::Item, &names)) else {
        return Err(rows.missing(&format!("needs {}", fields.missing(&names))));
    };
    let time = fields.find(Role::Time, &names).map(|name| rows.column(name)).transpose()?;
    let (user, item) = (rows.column(user)?, rows.column(item)?);
    all.timed = time.is_some();
    while let Some(row) = rows.next_row()? {
        let line = row.line();
        let parts = [row.get(user), row.get(item), time.map_or("", |time| row.get(time))];
        add_texts(all, parts, &|| format!("line {line}"))
            .map_err(|problem| Error::format(path, format!("line {line}: {problem}")))?;
    }
    Ok(())
}

#[cfg(feature = "parquet")]
fn from_parquet(path: &Path, fields: &EventFields, all: &mut EventBuilder<'_>) -> Result<()> {
    let w = Window::open(path)?;
    let columns = super::parquet_text::columns(&w)?;
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let (Some(user), Some(item)) = (fields.find(Role::User, &names), fields.find(Role::Item, &names)) else {
        let listed = names.join("`, `");
        return Err(w.bad(format_args!("needs {}; it holds `{listed}`", fields.missing(&names))));
    };
    let time = fields.find(Role::Time, &names);
    all.timed = time.is_some();
    let wanted: Vec<&str> = [user, item].into_iter().chain(time).collect();
    super::parquet_text::each(&w, &wanted, None, &mut |row, values| {
        let parts = [values[0].as_str(), values[1].as_str(), values.get(2).map_or("", String::as_str)];
        add_texts(all, parts, &|| format!("row {row}"))
            .map_err(|problem| Error::format(path, format!("row {row}: {problem}")))
    })
}

#[cfg(not(feature = "parquet"))]
fn from_parquet(path: &Path, _: &EventFields, _: &mut EventBuilder<'_>) -> Result<()> {
    Err(Error::format(path, "is a parquet file, which this build does not read")
        .mend([crate::Remedy::build("parquet")]))
}

fn from_npy(path: &Path, fields: &EventFields, all: &mut EventBuilder<'_>) -> Result<()> {
    for (name, given) in [("user", &fields.user), ("item", &fields.item), ("time", &fields.time)] {
        if given.is_some() {
            let problem = format!("is the name of a field, and `{}` has none", path.display());
            return Err(Error::config(format!("event_fields.{name}"), problem));
        }
    }
    let w = Window::open(path)?;
    let mut begin = |rows: usize, columns: usize| {
        if (2..=3).contains(&columns) {
            return Ok(());
        }
        Err(w.bad(format_args!(
            "is [{rows}, {columns}], expected [events, 2], user and item, or [events, 3] with a time"
        )))
    };
    // Users are numbers here; a map of their own spares a text an event.
    let mut users: HashMap<i128, usize> = HashMap::new();
    read_integers(&w, &mut begin, &mut |row, event| {
        let item = u64::try_from(event[1])
            .map_err(|_| w.bad(format_args!("event {row} names item {}, expected 0 or more", event[1])))?;
        all.timed = event.len() == 3;
        let user = *users.entry(event[0]).or_insert_with(|| all.list(event[0].to_string()));
        let time = event.get(2).map_or(0.0, |time| *time as f64);
        all.add(user, EventItem::Number(item), time, || format!("event {row}"));
        Ok(())
    })
}
