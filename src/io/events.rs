//! What users did: sequences of items, or single events, from `.jsonl`, `.csv` or `.npy`.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;

use super::integers::read_integers;
use super::lines::{csv_bad, json_bad};
use super::open::extension;
use super::titles::each_json_line;
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
struct Gathered<'a> {
    row_of: &'a dyn Fn(EventItem<'_>) -> Option<u32>,
    users: HashMap<String, usize>,
    names: Vec<String>,
    /// `(time, item)` of each user.
    lists: Vec<Vec<(f64, u32)>>,
    timed: bool,
    unknown: u64,
    first_unknown: Option<String>,
}

impl Gathered<'_> {
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

/// Reads what users did.
///
/// - `.jsonl`, `.jsonl.gz`: a user a line with the list `items`, oldest first, and `user` if they like; or an event a line with `user`,
///   `item` and, if they like, `time` (or `timestamp`), a number;
/// - `.csv`: columns `user`, `item` and, if they like, `time` or `timestamp`;
/// - `.npy`: integers `[events, 2]`, user and item, or `[events, 3]` with a time.
///
/// Events of a user are put in the order of their times; events of one time, and all where no time is given, stay in the order of the
/// file. `row_of` says which row an item is; events whose item it does not know are counted and left out.
///
/// # Errors
/// If the file cannot be read, is of none of these formats, or holds no event with a known item; errors name the line.
pub fn read_events(path: impl AsRef<Path>, row_of: &dyn Fn(EventItem<'_>) -> Option<u32>) -> Result<EventsFile> {
    let path = path.as_ref();
    let mut all = Gathered {
        row_of,
        users: HashMap::new(),
        names: Vec::new(),
        lists: Vec::new(),
        timed: false,
        unknown: 0,
        first_unknown: None,
    };
    match extension(path).as_str() {
        "npy" => from_npy(path, &mut all)?,
        "csv" => from_csv(path, &mut all)?,
        _ => from_jsonl(path, &mut all)?,
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

fn from_jsonl(path: &Path, all: &mut Gathered<'_>) -> Result<()> {
    each_json_line(path, "events are read from .jsonl, .jsonl.gz, .csv or .npy", &mut |number, text| {
        let bad = |problem: String| Error::format(path, format!("line {number}: {problem}"));
        let value: Value = serde_json::from_str(text).map_err(|e| json_bad(path, number, &e))?;
        let Value::Object(line) = value else { return Err(bad("expected an object".into())) };
        let user = match line.get("user") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Number(n)) => Some(n.to_string()),
            Some(_) => return Err(bad("`user` is neither text nor a number".into())),
        };
        if let Some(items) = line.get("items") {
            let Value::Array(items) = items else { return Err(bad("`items` is not a list".into())) };
            let user = match user {
                Some(name) => all.user(&name),
                None => all.list(format!("line {number}")),
            };
            for item in items {
                let item = named(item).ok_or_else(|| bad(format!("item {item} is neither text nor a whole number")))?;
                all.add(user, item, 0.0, || format!("line {number}"));
            }
            return Ok(());
        }
        let (Some(user), Some(item)) = (user, line.get("item")) else {
            let names: Vec<&str> = line.keys().take(20).map(String::as_str).collect();
            let problem = "expected a list `items`, or `user` and `item`";
            return Err(bad(format!("{problem}; it holds `{}`", names.join("`, `"))));
        };
        let item = named(item).ok_or_else(|| bad(format!("item {item} is neither text nor a whole number")))?;
        let time = match line.get("time").or_else(|| line.get("timestamp")) {
            None => 0.0,
            Some(time) => {
                all.timed = true;
                time.as_f64().ok_or_else(|| bad(format!("time {time} is not a number")))?
            }
        };
        let user = all.user(&user);
        all.add(user, item, time, || format!("line {number}"));
        Ok(())
    })
}

fn named(value: &Value) -> Option<EventItem<'_>> {
    match value {
        Value::String(text) => Some(EventItem::Text(text)),
        Value::Number(n) => n.as_u64().map(EventItem::Number),
        _ => None,
    }
}

fn from_csv(path: &Path, all: &mut Gathered<'_>) -> Result<()> {
    let w = Window::open(path)?;
    let mut reader = csv::Reader::from_reader(BufReader::new(w.reader()));
    let headers = reader.headers().map_err(|e| csv_bad(path, &e))?.clone();
    let at = |name: &str| headers.iter().position(|h| h == name);
    let (Some(user), Some(item)) = (at("user"), at("item")) else {
        let names: Vec<&str> = headers.iter().take(20).collect();
        return Err(w.bad(format_args!("needs columns `user` and `item`; it holds `{}`", names.join("`, `"))));
    };
    let time = at("time").or_else(|| at("timestamp"));
    all.timed = time.is_some();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| csv_bad(path, &e))? {
        let line = record.position().map_or(0, csv::Position::line);
        let field = |column: usize| record.get(column).unwrap_or_default();
        let when = match time.map(field) {
            None => 0.0,
            Some(text) => {
                let parsed = text.trim().parse::<f64>().ok().filter(|t| t.is_finite());
                parsed.ok_or_else(|| w.bad(format_args!("line {line}: time `{text}` is not a number")))?
            }
        };
        let named = field(item);
        // `007` is a text: as a number it would come back as `7`.
        let number = named.parse::<u64>().ok().filter(|number| number.to_string() == named);
        let named = number.map_or(EventItem::Text(named), EventItem::Number);
        let user = all.user(field(user));
        all.add(user, named, when, || format!("line {line}"));
    }
    Ok(())
}

fn from_npy(path: &Path, all: &mut Gathered<'_>) -> Result<()> {
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
