//! Inspects the schema of an SQLite file.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::sqlite::ReadOnlyDatabase;
pub(super) use crate::sqlite::quoted;
use sememe::{Error, Remedy, Result};

/// An SQLite error with the file and what to do about it.
pub(super) fn failed(path: &Path, e: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let mut remedy = None;
    let hint = match e.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            remedy = Some(Remedy::raise("patience").to("wait longer"));
            "; another process held it all the time: end that"
        }
        Some(Code::ReadOnly) => "; the file or its folder may not be written to",
        Some(Code::DiskFull | Code::SystemIoFailure) => {
            "; make room on the disk and run again, earlier batches are kept"
        }
        Some(Code::CannotOpen) => "; does its folder exist?",
        _ => "",
    };
    Error::Store(format!("`{}`: {e}{hint}", path.display())).mend(remedy)
}

/// Names for people: `a`, `b`; cut after 20.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{}`", name.as_ref())).collect();
    let more = if names.len() > 20 { format!(" and {} more", names.len() - 20) } else { String::new() };
    if shown.is_empty() { "nothing".into() } else { format!("{}{more}", shown.join(", ")) }
}

/// Whether a file starts as SQLite files do; an empty or absent one does not.
pub(super) fn is_database(path: &Path) -> Result<bool> {
    use std::io::Read as _;
    let mut lead = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io("open", path, e))?;
    file.take(16).read_to_end(&mut lead).map_err(|e| Error::io("read", path, e))?;
    Ok(lead == b"SQLite format 3\0")
}

/// Opens a database that is there, to read.
pub(super) fn open_to_read(path: &Path, patience: Duration) -> Result<ReadOnlyDatabase> {
    ReadOnlyDatabase::open(path, patience).map_err(|e| failed(path, &e))
}

/// Opens a database to write, and makes it if it is not there.
pub(super) fn open_to_write(path: &Path, patience: Duration) -> Result<Connection> {
    let mode = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let db = db.map_err(|e| failed(path, &e))?;
    db.busy_timeout(patience).map_err(|e| failed(path, &e))?;
    Ok(db)
}

/// Tables and views, by name, without SQLite's and our own.
pub(super) fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut names = db.prepare(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'sememe\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    names.query_map([], |row| row.get(0))?.collect()
}

/// A column: its name, its declared type in upper case, and its place in the primary key, from 1.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) declared: String,
    pub(super) primary: i64,
}

/// The columns of a table; none if there is no such table.
pub(super) fn columns(db: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut columns = db.prepare("SELECT name, upper(type), pk FROM pragma_table_info(?1)")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Column {
            name: row.get(0)?,
            declared: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
            primary: row.get(2)?,
        })
    };
    columns.query_map([table], read)?.collect()
}

/// SQLite compares names without regard to the case of ASCII letters.
pub(super) fn has(columns: &[Column], name: &str) -> bool {
    columns.iter().any(|column| column.name.eq_ignore_ascii_case(name))
}
