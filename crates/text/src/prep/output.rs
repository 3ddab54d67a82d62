//! Prepared items as files.

use std::path::Path;

use serde::Serialize;

use super::saved::SaveReport;
use super::{Prepared, PreparedItem};
use sememe::io::{AtomicFile, extension};
use sememe::{Error, Remedy, Result};

#[derive(Serialize)]
struct TextLine<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    text: &'a str,
}

impl Prepared {
    /// Keeps the items, whole or not at all. The extension picks how:
    ///
    /// - `.sqlite`, `.sqlite3`, `.db`, `.db3` (feature `sqlite`): a table with `id`, `text`, `title` and `prepared_at`, the time in
    ///   UTC at which this text came. Rows that are right already stay untouched, others are written or deleted, in one transaction;
    ///   other tables of the database stay as they are.
    /// - `.parquet` (feature `parquet`): columns `id`, `text`, `title`.
    /// - `.jsonl`: `{"id":"12","title":"Nano","text":"…"}`, without `title` if there is none.
    ///
    /// The last two are replaced, and hold the same bytes for the same items; all of their items count as added.
    ///
    /// # Errors
    /// [`Error::Config`] for another extension, [`Error::Format`] for a table of another schema, a database that stays locked or
    /// that is none, and if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, table: &str) -> Result<SaveReport> {
        let path = path.as_ref();
        match writable(path)? {
            OutputFormat::Sqlite => database(path, table, &self.items),
            OutputFormat::Parquet => {
                parquet(path, &self.items)?;
                Ok(SaveReport { added: self.items.len(), ..SaveReport::default() })
            }
            OutputFormat::Jsonl => {
                let mut file = AtomicFile::create(path)?;
                for PreparedItem { id, text, title } in &self.items {
                    let line = TextLine { id, title: title.as_deref(), text };
                    let mut bytes = serde_json::to_vec(&line).map_err(|e| file.failed(e.into()))?;
                    bytes.push(b'\n');
                    file.put(&bytes)?;
                }
                file.commit()?;
                Ok(SaveReport { added: self.items.len(), ..SaveReport::default() })
            }
        }
    }

    /// Refuses a path that [`save`](Self::save) could not write for its extension, before any work is done.
    ///
    /// # Errors
    /// [`Error::Config`] for `output`.
    pub fn check_output(path: impl AsRef<Path>) -> Result<()> {
        writable(path.as_ref()).map(|_| ())
    }
}

#[derive(Clone, Copy)]
enum OutputFormat {
    Sqlite,
    Parquet,
    Jsonl,
}

fn writable(path: &Path) -> Result<OutputFormat> {
    let missing = |feature: &'static str| {
        let problem = format!("`{}` cannot be written by this build", path.display());
        Err(Error::config("output", problem).mend([Remedy::build(feature)]))
    };
    match extension(path).as_str() {
        "sqlite" | "sqlite3" | "db" | "db3" if !cfg!(feature = "sqlite") => missing("sqlite"),
        "sqlite" | "sqlite3" | "db" | "db3" => Ok(OutputFormat::Sqlite),
        "parquet" if !cfg!(feature = "parquet") => missing("parquet"),
        "parquet" => Ok(OutputFormat::Parquet),
        "jsonl" => Ok(OutputFormat::Jsonl),
        other => {
            let problem = format!("prepared items are written as .sqlite, .db, .parquet or .jsonl, got `.{other}`");
            Err(Error::config("output", problem))
        }
    }
}

#[cfg(feature = "sqlite")]
fn database(path: &Path, table: &str, items: &[PreparedItem]) -> Result<SaveReport> {
    super::sqlite_table::save(path, table, items)
}

#[cfg(not(feature = "sqlite"))]
fn database(path: &Path, _: &str, _: &[PreparedItem]) -> Result<SaveReport> {
    writable(path).map(|_| SaveReport::default())
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path, items: &[PreparedItem]) -> Result<()> {
    let mut writer = sememe::io::ParquetTexts::create(path, &["id", "text"], &["title"])?;
    for batch in items.chunks(1 << 14) {
        let column = |of: fn(&PreparedItem) -> Option<&str>| batch.iter().map(of).collect::<Vec<_>>();
        writer.put(&[column(|i| Some(&i.id)), column(|i| Some(&i.text)), column(|i| i.title.as_deref())])?;
    }
    writer.finish()
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path, _: &[PreparedItem]) -> Result<()> {
    writable(path).map(|_| ())
}
