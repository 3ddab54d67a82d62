//! Items with their texts, from an SQLite table or a file.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::schema::{columns, failed, has, is_database, listed, open_to_read, quoted, tables};
use crate::prep::OnDuplicate;
use sememe::ids::check_keys;
use sememe::io::{read_keys, read_labels, read_titles};
use sememe::{Error, Remedy, Result};

/// Where items and their texts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSource {
    /// An SQLite file (known by its first bytes), or `.jsonl`, `.jsonl.gz`, `.csv` or (feature `parquet`) `.parquet`.
    pub path: PathBuf,
    /// The table or view, in an SQLite file; without it the only one that has both columns.
    pub table: Option<String>,
    /// Column or field with each item's key: text or whole numbers.
    pub key: String,
    /// Column or field with each item's text.
    pub text: String,
    /// Column of an SQLite table with the time at which a text was prepared; passed over where there is none.
    pub prepared_at: String,
    /// The first so many items only.
    pub limit: Option<usize>,
    /// Leave out items without a text, rather than refuse them.
    pub skip_empty: bool,
    /// What becomes of items that have one key.
    pub on_duplicate: OnDuplicate,
    /// How long another process may hold a database.
    pub patience: Duration,
}

impl TextSource {
    /// Items with `id` and `text`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            table: None,
            key: "id".into(),
            text: "text".into(),
            prepared_at: "prepared_at".into(),
            limit: None,
            skip_empty: false,
            on_duplicate: OnDuplicate::Refuse,
            patience: Duration::from_secs(30),
        }
    }

    /// AniMind's names: `anime_id` and `anime_text` in `anime_prep`.
    #[must_use]
    pub fn animind(path: impl Into<PathBuf>) -> Self {
        Self { table: Some("anime_prep".into()), key: "anime_id".into(), text: "anime_text".into(), ..Self::new(path) }
    }

    /// Whether the file is an SQLite database.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_database(&self) -> Result<bool> {
        is_database(&self.path)
    }

    /// Reads all items: a file's in its order, a table's by key. Held in memory.
    ///
    /// # Errors
    /// [`Error::Format`] for a missing table or column (names those there are), a cell that is not UTF-8, or no item at all;
    /// [`Error::Data`] for an empty key, two items with one key, and items without a text unless they are to be skipped;
    /// [`Error::Store`] for a database that is locked; and what the system returns.
    pub fn read(&self) -> Result<Texts> {
        let mut texts = if self.is_database()? { self.read_database()? } else { self.read_file()? };
        texts.choose(self.on_duplicate);
        check_keys(&texts.keys).map_err(|e| Error::Data(format!("`{}`: {e}", self.path.display())))?;
        let empty = |text: &String| text.trim().is_empty();
        let without: Vec<usize> = (0..texts.keys.len()).filter(|i| empty(&texts.texts[*i])).collect();
        if let (Some(first), false) = (without.first(), self.skip_empty) {
            return Err(Error::Data(format!(
                "{} of {} items in `{}` have no text in `{}`, the first is `{}`",
                without.len(),
                texts.keys.len(),
                self.path.display(),
                self.text,
                texts.keys[*first]
            ))
            .mend([Remedy::set("source.skip_empty", "true").to("leave them out")]));
        }
        if !without.is_empty() {
            texts.skipped = without.len();
            let keep: Vec<bool> = texts.texts.iter().map(|text| !empty(text)).collect();
            texts.keep(&keep);
        }
        if texts.keys.is_empty() {
            return Err(Error::format(&self.path, "holds no item with a text"));
        }
        Ok(texts)
    }

    fn read_file(&self) -> Result<Texts> {
        let path = &self.path;
        let parquet = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        let (mut keys, mut texts) = if parquet {
            (read_labels(path, &self.key)?, read_labels(path, &self.text)?)
        } else if self.skip_empty && !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) {
            // A text that is null or missing is empty, too.
            (read_keys(path, &self.key)?, read_labels(path, &self.text)?)
        } else {
            (read_keys(path, &self.key)?, read_titles(path, &self.text)?)
        };
        let limit = self.limit.unwrap_or(usize::MAX);
        keys.truncate(limit);
        texts.truncate(limit);
        let prepared_at = vec![None; keys.len()];
        Ok(Texts { keys, texts, prepared_at, numbers: false, skipped: 0, duplicates: 0, limited: self.limit.is_some() })
    }

    fn read_database(&self) -> Result<Texts> {
        let db = open_to_read(&self.path, self.patience)?;
        let bad = |e: rusqlite::Error| failed(&self.path, &e);
        let table = self.find_table(&db)?;
        let there = columns(&db, &table).map_err(bad)?;
        let names: Vec<&str> = there.iter().map(|column| column.name.as_str()).collect();
        for name in [&self.key, &self.text] {
            if !has(&there, name) {
                let problem = format!("its table `{table}` has no column `{name}`; it has {}", listed(&names));
                return Err(Error::format(&self.path, problem));
            }
        }
        let prepared_at = if has(&there, &self.prepared_at) { quoted(&self.prepared_at) } else { "NULL".into() };
        let (key, text) = (quoted(&self.key), quoted(&self.text));
        let limit = self.limit.map_or(-1, |n| i64::try_from(n).unwrap_or(-1));
        let sql = format!("SELECT {key}, {text}, {prepared_at} FROM {} ORDER BY {key} LIMIT {limit}", quoted(&table));
        let mut out = Texts {
            keys: Vec::new(),
            texts: Vec::new(),
            prepared_at: Vec::new(),
            numbers: true,
            skipped: 0,
            duplicates: 0,
            limited: self.limit.is_some(),
        };
        let mut statement = db.prepare(&sql).map_err(bad)?;
        let mut rows = statement.query([]).map_err(bad)?;
        while let Some(row) = rows.next().map_err(bad)? {
            let cell = |column: usize, name: &str| {
                let value = row.get_ref(column).map_err(bad)?;
                let place = || match out.keys.last() {
                    Some(key) if column == 0 => format!("the row after `{key}`"),
                    _ if column == 0 => "the first row".into(),
                    _ => format!("the row of `{}`", row.get_ref(0).map(shown).unwrap_or_default()),
                };
                as_text(value).map_err(|what| {
                    Error::format(&self.path, format!("`{name}` of {} in `{table}` is {what}, expected text", place()))
                })
            };
            out.numbers &= matches!(row.get_ref(0), Ok(ValueRef::Integer(_)));
            let key = cell(0, &self.key)?.unwrap_or_default();
            let text = cell(1, &self.text)?.unwrap_or_default();
            let prepared_at = cell(2, &self.prepared_at)?;
            out.keys.push(key);
            out.texts.push(text);
            out.prepared_at.push(prepared_at);
        }
        db.unchanged()?;
        Ok(out)
    }

    /// The table that was named, or the only one that can be meant.
    fn find_table(&self, db: &Connection) -> Result<String> {
        let bad = |e: rusqlite::Error| failed(&self.path, &e);
        let names = tables(db).map_err(bad)?;
        let animind = (names.iter().any(|name| name == "anime_prep") && self.key != "anime_id")
            .then(|| Remedy::set("source.animind", "true").to("take AniMind's names"));
        if let Some(table) = &self.table {
            if names.iter().any(|name| name.eq_ignore_ascii_case(table)) {
                return Ok(table.clone());
            }
            let problem = format!("has no table `{table}`; it has {}", listed(&names));
            return Err(Error::format(&self.path, problem).mend(animind));
        }
        let mut fit = Vec::new();
        for name in &names {
            let there = columns(db, name).map_err(bad)?;
            if has(&there, &self.key) && has(&there, &self.text) {
                fit.push(name.clone());
            }
        }
        let (key, text) = (&self.key, &self.text);
        match fit.as_slice() {
            [one] => Ok(one.clone()),
            [] => {
                let problem =
                    format!("has no table with columns `{key}` and `{text}`; its tables are {}", listed(&names));
                let columns = [
                    Remedy::give("source.key").to("name the key's column"),
                    Remedy::give("source.text").to("the text's"),
                ];
                Err(Error::format(&self.path, problem).mend(columns.into_iter().chain(animind)))
            }
            many => {
                let problem = format!("{} have columns `{key}` and `{text}`", listed(many));
                Err(Error::format(&self.path, problem).mend([Remedy::give("source.table").to("say which")]))
            }
        }
    }
}

impl Texts {
    /// Leaves one item a key, if that is wanted.
    fn choose(&mut self, on_duplicate: OnDuplicate) {
        let count = self.keys.len();
        let mut seen = HashSet::with_capacity(count);
        let mut keep = vec![true; count];
        match on_duplicate {
            OnDuplicate::Refuse => return,
            OnDuplicate::First => (0..count).for_each(|at| keep[at] = seen.insert(self.keys[at].as_str())),
            OnDuplicate::Last => (0..count).rev().for_each(|at| keep[at] = seen.insert(self.keys[at].as_str())),
        }
        drop(seen);
        self.keep(&keep);
        self.duplicates = count - self.keys.len();
    }

    fn keep(&mut self, keep: &[bool]) {
        retain(&mut self.keys, keep);
        retain(&mut self.prepared_at, keep);
        retain(&mut self.texts, keep);
    }

    /// Leaves out items, such as those whose text cannot be embedded.
    #[must_use]
    pub fn without<S: AsRef<str>>(mut self, keys: &[S]) -> Self {
        let gone: HashSet<&str> = keys.iter().map(AsRef::as_ref).collect();
        let keep: Vec<bool> = self.keys.iter().map(|key| !gone.contains(key.as_str())).collect();
        self.keep(&keep);
        self
    }
}

fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    values.retain(|_| keep.next().is_some_and(|k| *k));
}

fn shown(value: ValueRef<'_>) -> String {
    as_text(value).ok().flatten().unwrap_or_default()
}

/// A cell as text; `None` for null, or what it is instead.
fn as_text(value: ValueRef<'_>) -> Result<Option<String>, String> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(n) => Ok(Some(n.to_string())),
        ValueRef::Real(x) => Ok(Some(x.to_string())),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(e) => Err(format!("not UTF-8 from byte {} on", e.valid_up_to())),
        },
        ValueRef::Blob(bytes) => Err(format!("a blob of {} bytes", bytes.len())),
    }
}

/// Items and their texts, as [`TextSource::read`] found them: every key once, no text empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    pub(super) keys: Vec<String>,
    pub(super) texts: Vec<String>,
    pub(super) prepared_at: Vec<Option<String>>,
    /// Whether all keys were numbers in a database.
    pub(super) numbers: bool,
    pub(super) skipped: usize,
    pub(super) duplicates: usize,
    /// Whether these may not be all items: nothing can be said then of vectors that belong to none of them.
    pub(super) limited: bool,
}

impl Texts {
    /// Items with their texts.
    ///
    /// # Errors
    /// [`Error::Data`] for no item, an empty key or text, or two items with one key; [`Error::Shape`] for more of one than of the other.
    pub fn new(keys: Vec<String>, texts: Vec<String>) -> Result<Self> {
        sememe::check_shape("texts", keys.len(), texts.len(), "items")?;
        check_keys(&keys)?;
        if let Some(at) = texts.iter().position(|text| text.trim().is_empty()) {
            return Err(Error::Data(format!("the text of `{}` is empty", keys[at])));
        }
        if keys.is_empty() {
            return Err(Error::Data("no item to embed".into()));
        }
        let prepared_at = vec![None; keys.len()];
        Ok(Self { keys, texts, prepared_at, numbers: false, skipped: 0, duplicates: 0, limited: false })
    }

    /// Keys, in order.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Texts, in order.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Items that were left out for want of a text.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Items that were left out, as another one has their key.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// The place for messages.
    pub(super) fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }
}
