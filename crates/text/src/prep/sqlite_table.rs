//! A table that keeps prepared items.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::PreparedItem;
use super::saved::SaveReport;
use super::sqlite_error::{PATIENCE, failed};
use crate::sqlite::quoted;
use sememe::{Error, Result};

const COLUMNS: [&str; 4] = ["id", "text", "title", "prepared_at"];

/// Brings a table to hold exactly these items, in one transaction. `items` are sorted by the bytes of their keys.
pub(super) fn save(path: &Path, table: &str, items: &[PreparedItem]) -> Result<SaveReport> {
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

fn update(db: &Transaction<'_>, table: &str, items: &[PreparedItem]) -> rusqlite::Result<(SaveReport, bool)> {
    let name = quoted(table);
    let there: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE", [table], |row| row.get(0))?;
    let mut saved = SaveReport::default();
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
