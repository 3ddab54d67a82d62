//! Rows of an SQLite database.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};

use super::Prep;
use super::fields::{Row, columns, no_field};
use super::sqlite_error::{PATIENCE, failed};
use crate::sqlite::{ReadOnlyDatabase, quoted};
use sememe::{Error, Result};

fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let text = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let mut select = db.prepare(text)?;
    select.query_map([], |row| row.get(0))?.collect()
}

/// What is selected: the query, the table, or the only table there is.
fn selection(prep: &Prep, db: &Connection) -> Result<String> {
    if let Some(query) = &prep.query {
        return Ok(query.clone());
    }
    let path = prep.source.as_path();
    let all = tables(db).map_err(|e| failed(path, &e))?;
    let name = match (&prep.table, all.as_slice()) {
        (_, []) => return Err(Error::format(path, "holds no table")),
        (Some(name), all) => {
            // As SQLite compares names.
            let known = all.iter().find(|known| known.eq_ignore_ascii_case(name));
            known.ok_or_else(|| no_field(path, "table", name, all))?
        }
        (None, [only]) => only,
        (None, all) => {
            let problem = format!("holds {} tables: `{}`", all.len(), all.join("`, `"));
            return Err(Error::format(path, problem).mend([sememe::Remedy::give("table").to("name one")]));
        }
    };
    Ok(format!("SELECT * FROM {}", quoted(name)))
}

/// Opens the database for reading, and says what is selected.
fn open(prep: &Prep) -> Result<(ReadOnlyDatabase, String)> {
    let path = prep.source.as_path();
    let bad = |e: rusqlite::Error| failed(path, &e);
    std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    let db = ReadOnlyDatabase::open(path, PATIENCE).map_err(bad)?;
    let text = selection(prep, &db)?;
    Ok((db, text))
}

/// Refuses a database whose tables or columns have names that are no text: rusqlite panics when it is asked for one.
fn check_names(path: &Path, db: &Connection) -> Result<()> {
    let bad = |e: rusqlite::Error| failed(path, &e);
    let mut schema = db.prepare("SELECT name, sql FROM sqlite_schema").map_err(bad)?;
    let mut rows = schema.query([]).map_err(bad)?;
    while let Some(row) = rows.next().map_err(bad)? {
        for at in 0..2 {
            let text = row.get_ref(at).map_err(bad)?;
            if let ValueRef::Text(bytes) = text
                && let Err(e) = std::str::from_utf8(bytes)
            {
                let name = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
                let problem = format!("its schema is not UTF-8 from byte {} of `{name}` on", e.valid_up_to());
                return Err(Error::format(path, problem));
            }
        }
    }
    Ok(())
}

/// Prepares what is selected, which must be one SELECT.
fn prepare<'db>(prep: &Prep, db: &'db Connection, text: &str) -> Result<(Statement<'db>, Vec<String>)> {
    let path = prep.source.as_path();
    let bad = |e: rusqlite::Error| failed(path, &e);
    check_names(path, db)?;
    let select = match (db.prepare(text), &prep.query) {
        (Err(e), Some(_)) if !is_file_trouble(&e) => {
            let there = tables(db).map_err(bad)?.join("`, `");
            return Err(Error::config("query", format!("{e}; `{}` holds the tables `{there}`", path.display())));
        }
        (select, _) => select.map_err(bad)?,
    };
    if !select.readonly() || select.column_count() == 0 || select.parameter_count() > 0 {
        return Err(Error::config("query", "expected one SELECT without parameters"));
    }
    let names = select.column_names().map(str::to_owned).collect();
    Ok((select, names))
}

/// The columns of what is selected.
pub(super) fn fields(prep: &Prep) -> Result<Vec<String>> {
    let (db, text) = open(prep)?;
    Ok(prepare(prep, &db, &text)?.1)
}

/// Calls `row` with every row, in the order in which SQLite gives them; rows are counted from 1 on.
pub(super) fn each(prep: &Prep, wanted: &[&str], row: Row<'_>) -> Result<&'static str> {
    let path = prep.source.as_path();
    let bad = |e: rusqlite::Error| failed(path, &e);
    let (db, text) = open(prep)?;
    let (mut select, names) = prepare(prep, &db, &text)?;
    let columns = columns(path, &names, wanted)?;
    let mut values = vec![String::new(); wanted.len()];
    let mut rows = select.query([]).map_err(bad)?;
    let mut number = 0u64;
    while let Some(found) = rows.next().map_err(bad)? {
        number += 1;
        for (at, column) in columns.iter().enumerate() {
            let value = found.get_ref(*column).map_err(bad)?;
            values[at] = as_text(value, at == 0)
                .map_err(|got| Error::format(path, format!("row {number}: `{}` {got}", wanted[at])))?;
        }
        row(number, &mut values)?;
    }
    db.unchanged()?;
    Ok("row")
}

/// Whether the database is to blame, not the query.
fn is_file_trouble(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(
        e.sqlite_error_code(),
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::NotADatabase | Code::DatabaseCorrupt | Code::CannotOpen)
    )
}

fn as_text(value: ValueRef<'_>, key: bool) -> Result<String, String> {
    match value {
        ValueRef::Null => Ok(String::new()),
        ValueRef::Integer(n) => Ok(n.to_string()),
        ValueRef::Real(n) if key => Err(format!("is {n}, expected text or a whole number")),
        ValueRef::Real(n) => Ok(n.to_string()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(e) => Err(format!("is not UTF-8 from byte {} on", e.valid_up_to() + 1)),
        },
        ValueRef::Blob(bytes) => Err(format!("is a blob of {} bytes, expected text or numbers", bytes.len())),
    }
}
