//! From the rows of a catalogue to one clean line of text an item.
//!
//! [`Prep`] says where rows are, which field is their key and how fields become a text; [`prepare`] reads, joins and cleans them;
//! [`Prepared::save`] keeps the outcome in an SQLite table, a parquet file or JSONL. Items come in the order of their keys' bytes, so the
//! outcome depends on the rows alone, never on their order in the source.

mod clean;
mod fields;
mod html;
mod output;
mod report;
mod saved;
pub mod source;
#[cfg(feature = "sqlite")]
mod sqlite_error;
#[cfg(feature = "sqlite")]
mod sqlite_source;
#[cfg(feature = "sqlite")]
mod sqlite_table;
mod template;

pub use clean::{Cleaning, Unicode};
pub(crate) use fields::has;
pub use report::{Duplicate, PrepReport};
pub use saved::SaveReport;
pub use template::TextTemplate;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use sememe::progress::{Event, Observer, check};
use sememe::{Error, Remedy, Result};

/// Where items come from and how they become texts.
///
/// ```
/// use sememe_text::prep::{Prep, prepare};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("items.jsonl");
/// std::fs::write(&path, "{\"id\":2,\"name\":\"nano\",\"tags\":[\"tty\",\"editor\"]}\n{\"id\":1,\"name\":\"<b>vi</b>\"}\n")?;
/// let prep = Prep { source: path, template: "{name}[ ({tags})]".into(), ..Prep::default() };
/// let prepared = prepare(&prep, &())?;
/// let texts: Vec<_> = prepared.items.iter().map(|item| (item.id.as_str(), item.text.as_str())).collect();
/// assert_eq!(texts, [("1", "vi"), ("2", "nano (tty, editor)")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prep {
    /// An SQLite database (feature `sqlite`), `.jsonl`, `.jsonl.gz`, `.csv`, `.tsv` or (feature `parquet`) `.parquet`.
    pub source: PathBuf,
    /// The table or view of an SQLite database; without it and `query` its only one.
    pub table: Option<String>,
    /// A `SELECT` in place of a table.
    pub query: Option<String>,
    /// The field that names an item: text or a whole number, taken as it is.
    pub key: String,
    /// A field that is kept beside the text, for people.
    pub title: Option<String>,
    /// How fields become a text, see [`TextTemplate`].
    pub template: String,
    /// Whether HTML in fields becomes text.
    pub html: bool,
    /// Unicode's normal form.
    pub unicode: Unicode,
    /// Between the values of a field that is a list.
    pub list_separator: String,
    /// Characters a text at most; longer ones end at a blank, if there is one in the second half.
    pub max_chars: Option<usize>,
    /// Keep the first items only, by key.
    pub limit: Option<usize>,
    /// What becomes of rows without a key or a text.
    pub on_bad: OnBad,
    /// What becomes of rows that have one key.
    pub on_duplicate: OnDuplicate,
}

/// How rows without a key or a text are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBad {
    /// They are an error, which says how many there are and which is the first.
    #[default]
    Refuse,
    /// They are left out and counted.
    Drop,
}

/// How several rows with the same key are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDuplicate {
    /// They are an error, which names the key.
    #[default]
    Refuse,
    /// The first of them counts, in the order of the source; the others are left out and counted.
    First,
    /// The last of them counts.
    Last,
}

impl Default for Prep {
    fn default() -> Self {
        Self {
            source: PathBuf::new(),
            table: None,
            query: None,
            key: "id".into(),
            title: None,
            template: String::new(),
            html: true,
            unicode: Unicode::Nfc,
            list_separator: ", ".into(),
            max_chars: None,
            limit: None,
            on_bad: OnBad::Refuse,
            on_duplicate: OnDuplicate::Refuse,
        }
    }
}

impl Prep {
    /// Checks what can be known before a row is read.
    ///
    /// # Errors
    /// [`Error::Config`] for no source, an empty key or title, a template that is none, a cap of 0, or a table and a query at once.
    pub fn validate(&self) -> Result<()> {
        if self.source.as_os_str().is_empty() {
            return Err(Error::config("source", "expected a file of items, got nothing"));
        }
        if self.key.is_empty() {
            return Err(Error::config("key", "expected the name of the field that names an item, got nothing"));
        }
        for (name, value) in [("title", &self.title), ("table", &self.table), ("query", &self.query)] {
            if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
                return Err(Error::config(name, "is empty; leave it out instead"));
            }
        }
        if self.table.is_some() && self.query.is_some() {
            return Err(Error::config("query", "takes the place of `table`; give one of them"));
        }
        for (name, value) in [("max_chars", self.max_chars), ("limit", self.limit)] {
            if value == Some(0) {
                return Err(Error::config(name, "expected at least 1, got 0"));
            }
        }
        TextTemplate::parse(&self.template).map(|_| ())
    }
}

/// An item, ready to be embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedItem {
    /// Its key.
    pub id: String,
    /// One line of text, never empty.
    pub text: String,
    /// One line for people, if [`Prep::title`] names a field; it may be empty.
    pub title: Option<String>,
}

/// Result of [`prepare`].
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// By the bytes of their keys.
    pub items: Vec<PreparedItem>,
    /// Counts.
    pub report: PrepReport,
}

/// An item while it is read: its row is told if its key is there twice.
struct RowItem {
    row: u64,
    shortened: bool,
    item: PreparedItem,
}

/// Reads all rows, joins and cleans their fields, and sorts the items by the bytes of their keys. All texts are held in memory.
///
/// Fields are cleaned one by one, then the joined text once more, and shortened last. O(bytes + n log n). Deterministic: the outcome
/// depends on rows and settings alone.
///
/// # Errors
/// [`Error::Config`] as [`Prep::validate`] says; [`Error::Format`] for a source that cannot be read as what it is, a table or field
/// that it does not have (named with those that it has), text that is not UTF-8 (with its row), or a database that stays locked;
/// [`Error::Data`] for two rows with one key unless one of them is chosen, for rows without a key or a text unless they are dropped, and if nothing is left;
/// [`Error::Interrupted`] if the observer asks.
pub fn prepare(prep: &Prep, observer: &dyn Observer) -> Result<Prepared> {
    prep.validate()?;
    let template = TextTemplate::parse(&prep.template)?;
    let cleaning = Cleaning { html: prep.html, unicode: prep.unicode };
    // The key, then what the template takes, then the title.
    let mut wanted = vec![prep.key.as_str()];
    wanted.extend(template.fields().iter().map(String::as_str));
    wanted.extend(prep.title.as_deref());
    let fields = 1..=template.fields().len();
    observer.event(Event::Phase { name: "prep", total: None, unit: "rows" });
    let mut report = PrepReport::default();
    let (mut bad_key, mut bad_text) = (None, None);
    let mut found = Vec::new();
    let unit = source::each(prep, &wanted, &mut |row, values| {
        report.rows += 1;
        if report.rows.is_multiple_of(4096) {
            check(observer)?;
            observer.event(Event::Advance { done: report.rows as u64 });
        }
        let id = std::mem::take(&mut values[0]);
        if id.trim().is_empty() {
            report.without_key += 1;
            bad_key.get_or_insert(row);
            return Ok(());
        }
        for value in &mut values[1..] {
            *value = cleaning.apply(value);
        }
        let text = cleaning.line(&template.fill(&values[fields.clone()])?);
        let (short, shortened) = template::cut(&text, prep.max_chars.unwrap_or(usize::MAX));
        if values[fields.clone()].iter().all(String::is_empty) || short.is_empty() {
            report.without_text += 1;
            bad_text.get_or_insert_with(|| (row, id.clone()));
            return Ok(());
        }
        let title = prep.title.is_some().then(|| values.last().cloned().unwrap_or_default());
        found.push(RowItem { row, shortened, item: PreparedItem { id, text: short.to_owned(), title } });
        Ok(())
    })?;
    let place = prep.source.display();
    if prep.on_bad == OnBad::Refuse {
        if let Some(row) = bad_key {
            return Err(Error::Data(format!(
                "{} of {} rows have no key in `{}`, the first is {unit} {row} of `{place}`",
                report.without_key, report.rows, prep.key
            ))
            .mend([Remedy::set("on_bad", "drop").to("repair them, or leave them out")]));
        }
        if let Some((row, id)) = bad_text {
            return Err(Error::Data(format!(
                "{} of {} rows have an empty text, the first is `{id}` in {unit} {row} of `{place}`",
                report.without_text, report.rows
            ))
            .mend([Remedy::set("on_bad", "drop").to("let the template take another field, or leave them out")]));
        }
    }
    found.sort_unstable_by(|a, b| a.item.id.as_bytes().cmp(b.item.id.as_bytes()).then(a.row.cmp(&b.row)));
    let rows = found.len();
    match prep.on_duplicate {
        OnDuplicate::Refuse => {
            if let Some(pair) = found.windows(2).find(|pair| pair[0].item.id == pair[1].item.id) {
                return Err(Error::Data(format!(
                    "{unit}s {} and {} of `{place}` have the same key `{}`, and every item needs its own",
                    pair[0].row, pair[1].row, pair[0].item.id
                ))
                .mend([
                    Remedy::set("on_duplicate", "first").to("keep the first"),
                    Remedy::set("on_duplicate", "last").to("the last"),
                ]));
            }
        }
        OnDuplicate::First => found.dedup_by(|later, kept| later.item.id == kept.item.id),
        OnDuplicate::Last => found.dedup_by(|later, kept| {
            let same = later.item.id == kept.item.id;
            if same {
                std::mem::swap(later, kept);
            }
            same
        }),
    }
    report.duplicate_keys = rows - found.len();
    if found.is_empty() {
        return Err(Error::Data(format!(
            "`{place}` holds no item: {} rows, {} without a key, {} without a text",
            report.rows, report.without_key, report.without_text
        )));
    }
    let kept = prep.limit.unwrap_or(usize::MAX).min(found.len());
    report.over_limit = found.len() - kept;
    found.truncate(kept);
    report.shortened = found.iter().filter(|found| found.shortened).count();
    let items: Vec<PreparedItem> = found.into_iter().map(|found| found.item).collect();
    report.describe(&items);
    Ok(Prepared { items, report })
}

/// The key of every row of the source, in its order, rows without one included. Reads the source once.
///
/// # Errors
/// As [`prepare`] for a source that cannot be read.
pub fn source_keys(prep: &Prep) -> Result<Vec<String>> {
    prep.validate()?;
    let mut keys = Vec::new();
    source::each(prep, &[prep.key.as_str()], &mut |_, values| {
        keys.push(std::mem::take(&mut values[0]));
        Ok(())
    })?;
    Ok(keys)
}
