//! SQLite databases: a source of rows, and a table that keeps prepared items.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Statement, Transaction, TransactionBehavior, params};

use super::output::Saved;
use super::source::{Row, columns, no_field};
use super::{Item, Prep};
use sememe::{Error, Result};

/// How long another process's write is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

fn failed(path: &Path, e: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let problem = match e.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            format!("is locked by another process, {} seconds long; run again when it is done", PATIENCE.as_secs())
        }
        Some(Code::NotADatabase) => "is no SQLite database".into(),
        Some(Code::DatabaseCorrupt) => format!("is damaged: {e}; `PRAGMA integrity_check` says where"),
        Some(Code::DiskFull) => format!("{e}; nothing was written, make room on the disk and run again"),
        Some(Code::ReadOnly) => format!("{e}; the file or its folder may not be written to"),
        Some(Code::CannotOpen) => format!("{e}; does its folder exist, and may it be written to?"),
        _ => e.to_string(),
    };
    Error::format(path, problem)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

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
            let problem = format!("holds {} tables, name one with `table`: `{}`", all.len(), all.join("`, `"));
            return Err(Error::format(path, problem));
        }
    };
    Ok(format!("SELECT * FROM {}", quoted(name)))
}

/// Opens the database for reading, and says what is selected.
fn open(prep: &Prep) -> Result<(Connection, String)> {
    let path = prep.source.as_path();
    let bad = |e: rusqlite::Error| failed(path, &e);
    std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(bad)?;
    db.busy_timeout(PATIENCE).map_err(bad)?;
    let text = selection(prep, &db)?;
    Ok((db, text))
}

/// Prepares what is selected, which must be one SELECT.
fn prepare<'db>(prep: &Prep, db: &'db Connection, text: &str) -> Result<(Statement<'db>, Vec<String>)> {
    let path = prep.source.as_path();
    let bad = |e: rusqlite::Error| failed(path, &e);
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

const COLUMNS: [&str; 4] = ["id", "text", "title", "prepared_at"];

/// Brings a table to hold exactly these items, in one transaction. `items` are sorted by the bytes of their keys.
pub(super) fn save(path: &Path, table: &str, items: &[Item]) -> Result<Saved> {
    let fresh = !sememe::io::is_there(path)?;
    let done = Connection::open(path).map_err(|e| failed(path, &e)).and_then(|mut db| {
        db.busy_timeout(PATIENCE).map_err(|e| failed(path, &e))?;
        let write = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| failed(path, &e))?;
        check_schema(&write, path, table)?;
        let (saved, was_there) = update(&write, table, items).map_err(|e| failed(path, &e))?;
        if saved.unchanged == items.len() && saved.removed == 0 && was_there {
            write.rollback().map_err(|e| failed(path, &e))?;
        } else {
            write.commit().map_err(|e| failed(path, &e))?;
        }
        Ok(saved)
    });
    if done.is_err() && fresh {
        // SQLite makes an empty file before the first transaction.
        let _ = std::fs::remove_file(path);
    }
    done
}

/// Refuses a table that something else made.
fn check_schema(db: &Transaction<'_>, path: &Path, table: &str) -> Result<()> {
    let names = || -> rusqlite::Result<Vec<String>> {
        let mut select = db.prepare("SELECT name FROM pragma_table_info(?1)")?;
        select.query_map([table], |row| row.get(0))?.collect()
    };
    let names = names().map_err(|e| failed(path, &e))?;
    if names.is_empty() || names == COLUMNS {
        return Ok(());
    }
    Err(Error::format(
        path,
        format!(
            "its table `{table}` has the columns `{}`, expected `{}`; name another table",
            names.join("`, `"),
            COLUMNS.join("`, `")
        ),
    ))
}

fn update(db: &Transaction<'_>, table: &str, items: &[Item]) -> rusqlite::Result<(Saved, bool)> {
    let name = quoted(table);
    let there: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE", [table], |row| row.get(0))?;
    let mut saved = Saved::default();
    db.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {name} (id TEXT NOT NULL PRIMARY KEY, text TEXT NOT NULL, title TEXT, prepared_at TEXT NOT NULL)"
    ))?;
    let (mut stale, mut gone) = (Vec::new(), Vec::new());
    {
        let mut select = db.prepare(&format!("SELECT id, text, title FROM {name} ORDER BY id"))?;
        let mut rows = select.query([])?;
        let mut rest = items;
        while let Some(row) = rows.next()? {
            let id = row.get_ref(0)?.as_bytes().unwrap_or_default();
            let before = rest.partition_point(|item| item.id.as_bytes() < id);
            stale.extend(&rest[..before]);
            saved.added += before;
            rest = &rest[before..];
            match rest.first().filter(|item| item.id.as_bytes() == id) {
                None => gone.push(row.get::<_, rusqlite::types::Value>(0)?),
                Some(item) => {
                    let same = row.get_ref(1)?.as_bytes() == Ok(item.text.as_bytes())
                        && row.get_ref(2)?.as_bytes_or_null() == Ok(item.title.as_deref().map(str::as_bytes));
                    if same {
                        saved.unchanged += 1;
                    } else {
                        saved.changed += 1;
                        stale.push(item);
                    }
                    rest = &rest[1..];
                }
            }
        }
        stale.extend(rest);
        saved.added += rest.len();
    }
    saved.removed = gone.len();
    let mut delete = db.prepare(&format!("DELETE FROM {name} WHERE id = ?1"))?;
    for id in gone {
        delete.execute([id])?;
    }
    let mut insert = db.prepare(&format!(
        "INSERT INTO {name} (id, text, title, prepared_at) VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) \
         ON CONFLICT (id) DO UPDATE SET text = excluded.text, title = excluded.title, prepared_at = excluded.prepared_at"
    ))?;
    for item in stale {
        insert.execute(params![item.id, item.text, item.title])?;
    }
    Ok((saved, there > 0))
}
