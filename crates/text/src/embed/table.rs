//! The SQLite table of vectors: AniMind's columns, and beside it what each vector was made from.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::content::ContentHash;
use super::schema::{Column, columns, failed, has, is_database, listed, open_to_read, open_to_write, quoted};
use crate::sqlite::ReadOnlyDatabase;
use sememe::{Error, Remedy, Result};

/// Where vectors are kept: a table of an SQLite file, made if it is not there.
///
/// Its columns are AniMind's: the key, `embedding` (little-endian `f32`), `embedding_dim`, `model_name`, `embedded_at` (UTC, ISO 8601)
/// and `source_prepared_at`. What a vector was made from is kept beside it, in the table `sememe_embedded`, as a SHA-256 with the
/// vector's `embedded_at`: a vector that another program writes in its place has another time, and the hash no longer counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorTable {
    /// The SQLite file; it may be the one that texts are read from.
    pub path: PathBuf,
    /// The table.
    pub table: String,
    /// Its column for keys.
    pub key: String,
    /// How long another process may hold the file.
    pub patience: Duration,
}

impl VectorTable {
    /// A table `embeddings` with keys in `id`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), table: "embeddings".into(), key: "id".into(), patience: Duration::from_secs(30) }
    }

    /// AniMind's names: `anime_embeddings` by `anime_id`.
    #[must_use]
    pub fn animind(path: impl Into<PathBuf>) -> Self {
        Self { table: "anime_embeddings".into(), key: "anime_id".into(), ..Self::new(path) }
    }

    fn bad(&self, e: &rusqlite::Error) -> Error {
        failed(&self.path, e)
    }
}

/// The columns besides the key.
const COLUMNS: [&str; 5] = ["embedding", "embedding_dim", "model_name", "embedded_at", "source_prepared_at"];

const BESIDE: &str =
    "CREATE TABLE IF NOT EXISTS sememe_embedded (vectors TEXT NOT NULL, key TEXT NOT NULL, content BLOB NOT NULL,
    embedded_at TEXT NOT NULL, PRIMARY KEY (vectors, key)) STRICT, WITHOUT ROWID";

/// As Python's `datetime.now(UTC).isoformat()` writes it.
const NOW: &str = "SELECT strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')";

/// What the table holds for an item.
pub(super) struct StoredVector {
    /// Values of its vector; `None` if the row is damaged.
    pub(super) dims: Option<usize>,
    pub(super) model: Option<String>,
    pub(super) prepared_at: Option<String>,
    /// What it was made from, if that is known.
    pub(super) content: Option<Vec<u8>>,
}

/// A table that is read.
pub(super) struct ReadTable {
    db: ReadOnlyDatabase,
    spec: VectorTable,
}

/// A table that is written.
pub(super) struct WriteTable {
    db: Connection,
    spec: VectorTable,
}

/// A vector to keep.
pub(super) struct NewVector<'a> {
    pub(super) key: &'a str,
    pub(super) content: &'a ContentHash,
    pub(super) prepared_at: Option<&'a str>,
    pub(super) vector: &'a [f32],
}

/// An item whose vector another item has.
pub(super) struct VectorCopy<'a> {
    pub(super) key: &'a str,
    pub(super) from: &'a str,
    pub(super) content: &'a ContentHash,
    pub(super) prepared_at: Option<&'a str>,
}

impl ReadTable {
    /// Opens the table to read; `None` if there is none yet.
    pub(super) fn existing(spec: &VectorTable, keys: &[String]) -> Result<Option<Self>> {
        if !sememe::io::is_there(&spec.path)? {
            return Ok(None);
        }
        let empty = std::fs::metadata(&spec.path).map_err(|e| Error::io("open", &spec.path, e))?.len() == 0;
        if !empty && !is_database(&spec.path)? {
            return Err(Error::format(&spec.path, "is no SQLite file; vectors are kept in one, give another name"));
        }
        let open = Self { db: open_to_read(&spec.path, spec.patience)?, spec: spec.clone() };
        let there = columns(&open.db, &spec.table).map_err(|e| spec.bad(&e))?;
        if there.is_empty() {
            return Ok(None);
        }
        open.check_columns(&there, keys)?;
        Ok(Some(open))
    }

    fn bad(&self, e: &rusqlite::Error) -> Error {
        self.spec.bad(e)
    }

    /// Refuses a table of another layout, or keys that its column would change.
    fn check_columns(&self, there: &[Column], keys: &[String]) -> Result<()> {
        let VectorTable { path, table, key, .. } = &self.spec;
        let wrong = |problem: String| Err(Error::format(path, format!("its table `{table}` {problem}")));
        let elsewhere = |e: Error| e.mend([Remedy::give("target.table").to("keep vectors in another table")]);
        let names: Vec<&str> = there.iter().map(|column| column.name.as_str()).collect();
        for name in COLUMNS.into_iter().chain([key.as_str()]) {
            if !has(there, name) {
                return wrong(format!("has no column `{name}`; it has {}", listed(&names))).map_err(elsewhere);
            }
        }
        let primary: Vec<&Column> = there.iter().filter(|column| column.primary > 0).collect();
        let [own] = primary.as_slice() else { return wrong(format!("needs `{key}` as its only primary key")) };
        if !own.name.eq_ignore_ascii_case(key) {
            return wrong(format!("has the primary key `{}`, expected `{key}`", own.name));
        }
        if own.declared.contains("INT") {
            let is_number = |key: &&String| key.parse::<i64>().is_ok_and(|n| n.to_string() == **key);
            if let Some(other) = keys.iter().find(|key| !is_number(key)) {
                return wrong(format!("has whole numbers for keys, got `{other}`")).map_err(elsewhere);
            }
        } else if !["TEXT", "CHAR", "CLOB"].iter().any(|kind| own.declared.contains(kind)) {
            return wrong(format!("has keys of type `{}`, expected INTEGER or TEXT", own.declared));
        }
        Ok(())
    }

    /// Everything the table holds, by key, less the vectors themselves.
    pub(super) fn kept(&self) -> Result<HashMap<String, StoredVector>> {
        let (table, key) = (quoted(&self.spec.table), quoted(&self.spec.key));
        let known = !columns(&self.db, "sememe_embedded").map_err(|e| self.bad(&e))?.is_empty();
        let (content, beside) = if known {
            let on = format!("s.vectors = ?1 AND s.key = CAST(t.{key} AS TEXT) AND s.embedded_at = t.embedded_at");
            ("s.content", format!("LEFT JOIN sememe_embedded AS s ON {on}"))
        } else {
            ("NULL", "WHERE ?1 IS NOT NULL".into())
        };
        let sql = format!(
            "SELECT CAST(t.{key} AS TEXT), CASE WHEN typeof(t.embedding) = 'blob' AND typeof(t.embedding_dim) = 'integer'
                 AND t.embedding_dim > 0 AND length(t.embedding) = 4 * t.embedding_dim THEN t.embedding_dim END,
                 CAST(t.model_name AS TEXT), CAST(t.source_prepared_at AS TEXT), {content} FROM {table} AS t {beside}"
        );
        let read = || -> rusqlite::Result<HashMap<String, StoredVector>> {
            let mut statement = self.db.prepare(&sql)?;
            let rows = statement.query_map([&self.spec.table], |row| {
                let dims = row.get::<_, Option<i64>>(1)?.and_then(|dims| usize::try_from(dims).ok());
                let kept = StoredVector { dims, model: row.get(2)?, prepared_at: row.get(3)?, content: row.get(4)? };
                Ok((row.get::<_, Option<String>>(0)?.unwrap_or_default(), kept))
            })?;
            rows.collect()
        };
        let kept = read().map_err(|e| self.bad(&e))?;
        self.db.unchanged()?;
        Ok(kept)
    }

    /// Calls `each` with the bytes of every item's vector, in the order of `keys`.
    pub(super) fn vectors(&self, keys: &[String], each: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let sql = format!("SELECT embedding FROM {} WHERE {} = ?1", quoted(&self.spec.table), quoted(&self.spec.key));
        let mut statement = self.db.prepare(&sql).map_err(|e| self.bad(&e))?;
        for (at, key) in keys.iter().enumerate() {
            let mut rows = statement.query([key]).map_err(|e| self.bad(&e))?;
            let Some(row) = rows.next().map_err(|e| self.bad(&e))? else {
                return Err(Error::Store(format!("`{}` has no vector of `{key}`", self.spec.path.display())));
            };
            let bytes = row.get_ref(0).map_err(|e| self.bad(&e))?;
            let bytes = bytes.as_blob().map_err(|_| Error::Store(format!("the vector of `{key}` is no blob")))?;
            each(at, bytes)?;
        }
        self.db.unchanged()
    }
}

impl WriteTable {
    /// Opens the table to write, and makes it if there is none.
    pub(super) fn writable(spec: &VectorTable, keys: &[String], numbers: bool) -> Result<Self> {
        ReadTable::existing(spec, keys)?;
        let db = open_to_write(&spec.path, spec.patience)?;
        let mut open = Self { db, spec: spec.clone() };
        let kind = if numbers { "INTEGER PRIMARY KEY" } else { "TEXT PRIMARY KEY NOT NULL" };
        let layout = format!(
            "CREATE TABLE IF NOT EXISTS {} ({} {kind}, embedding BLOB NOT NULL, embedding_dim INTEGER NOT NULL, \
             model_name TEXT NOT NULL, embedded_at TEXT NOT NULL, source_prepared_at TEXT)",
            quoted(&spec.table),
            quoted(&spec.key)
        );
        // Also finds a file that may not be written to before anything is asked of a model.
        open.write(|transaction, _| {
            transaction.execute_batch(&layout)?;
            transaction.execute_batch(BESIDE)
        })?;
        Ok(open)
    }

    /// Runs one transaction, which is given the time.
    fn write(&mut self, work: impl FnOnce(&Transaction<'_>, &str) -> rusqlite::Result<()>) -> Result<()> {
        let run = || {
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let now: String = transaction.query_row(NOW, [], |row| row.get(0))?;
            work(&transaction, &now)?;
            transaction.commit()
        };
        run().map_err(|e| failed(&self.spec.path, &e))
    }

    /// Keeps vectors, all or none.
    pub(super) fn put(&mut self, model: &str, fresh: &[NewVector<'_>]) -> Result<()> {
        let (table, key) = (quoted(&self.spec.table), quoted(&self.spec.key));
        let name = self.spec.table.clone();
        let sql = format!(
            "INSERT INTO {table} ({key}, embedding, embedding_dim, model_name, embedded_at, source_prepared_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT ({key}) DO UPDATE SET embedding = excluded.embedding,
             embedding_dim = excluded.embedding_dim, model_name = excluded.model_name,
             embedded_at = excluded.embedded_at, source_prepared_at = excluded.source_prepared_at"
        );
        self.write(|transaction, now| {
            let mut vector = transaction.prepare_cached(&sql)?;
            let mut beside =
                transaction.prepare_cached("INSERT OR REPLACE INTO sememe_embedded VALUES (?1, ?2, ?3, ?4)")?;
            for one in fresh {
                let bytes: Vec<u8> = one.vector.iter().flat_map(|v| v.to_le_bytes()).collect();
                vector.execute(params![one.key, bytes, one.vector.len() as i64, model, now, one.prepared_at])?;
                beside.execute(params![name, one.key, one.content.as_slice(), now])?;
            }
            Ok(())
        })
    }

    /// Gives items the vectors of others, as they were before any of these was given. All or none.
    pub(super) fn copy(&mut self, copies: &[VectorCopy<'_>]) -> Result<()> {
        let (table, key) = (quoted(&self.spec.table), quoted(&self.spec.key));
        let name = self.spec.table.clone();
        self.write(|transaction, _| {
            transaction.execute_batch(
                "DROP TABLE IF EXISTS temp.sememe_copy;
                 CREATE TEMP TABLE sememe_copy (key TEXT, embedding BLOB, dim INTEGER, model TEXT, at TEXT, prepared TEXT, content BLOB)",
            )?;
            let mut read = transaction.prepare(&format!(
                "INSERT INTO temp.sememe_copy SELECT ?1, embedding, embedding_dim, model_name, embedded_at, ?2, ?3
                 FROM {table} WHERE {key} = ?4"
            ))?;
            for one in copies {
                read.execute(params![one.key, one.prepared_at, one.content.as_slice(), one.from])?;
            }
            // `WHERE true` tells `ON CONFLICT` from a join's `ON`.
            let put = format!(
                "INSERT INTO {table} ({key}, embedding, embedding_dim, model_name, embedded_at, source_prepared_at)
                 SELECT key, embedding, dim, model, at, prepared FROM temp.sememe_copy WHERE true
                 ON CONFLICT ({key}) DO UPDATE SET embedding = excluded.embedding, embedding_dim = excluded.embedding_dim,
                 model_name = excluded.model_name, embedded_at = excluded.embedded_at,
                 source_prepared_at = excluded.source_prepared_at"
            );
            transaction.execute(&put, [])?;
            let beside = "INSERT OR REPLACE INTO sememe_embedded SELECT ?1, key, content, at FROM temp.sememe_copy";
            transaction.execute(beside, [&name])?;
            drop(read);
            transaction.execute_batch("DROP TABLE temp.sememe_copy")
        })
    }

    /// Notes what vectors that are there were made from.
    pub(super) fn adopt(&mut self, items: &[(&str, &ContentHash)]) -> Result<()> {
        let sql = format!(
            "INSERT OR REPLACE INTO sememe_embedded SELECT ?1, ?2, ?3, embedded_at FROM {} WHERE {} = ?2",
            quoted(&self.spec.table),
            quoted(&self.spec.key)
        );
        let name = self.spec.table.clone();
        self.write(|transaction, _| {
            let mut adopt = transaction.prepare(&sql)?;
            for (key, content) in items {
                adopt.execute(params![name, key, content.as_slice()])?;
            }
            Ok(())
        })
    }

    /// Sets when the texts of items were prepared, where only that changed.
    pub(super) fn touch(&mut self, items: &[(&str, Option<&str>)]) -> Result<()> {
        let (table, key) = (quoted(&self.spec.table), quoted(&self.spec.key));
        let sql = format!("UPDATE {table} SET source_prepared_at = ?2 WHERE {key} = ?1");
        self.write(|transaction, _| {
            let mut touch = transaction.prepare(&sql)?;
            for (key, prepared_at) in items {
                touch.execute(params![key, prepared_at])?;
            }
            Ok(())
        })
    }

    /// Takes rows out.
    pub(super) fn remove(&mut self, keys: &[&str]) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE {} = ?1", quoted(&self.spec.table), quoted(&self.spec.key));
        let name = self.spec.table.clone();
        self.write(|transaction, _| {
            let mut vector = transaction.prepare(&sql)?;
            let mut beside = transaction.prepare("DELETE FROM sememe_embedded WHERE vectors = ?1 AND key = ?2")?;
            for key in keys {
                vector.execute([key])?;
                beside.execute(params![name, key])?;
            }
            Ok(())
        })
    }

    /// Marks every vector as made from something else, so that none is taken for up to date.
    pub(super) fn mark_all_stale(&mut self) -> Result<()> {
        let (table, key) = (quoted(&self.spec.table), quoted(&self.spec.key));
        let sql = format!(
            "INSERT OR REPLACE INTO sememe_embedded SELECT ?1, CAST({key} AS TEXT), x'', CAST(embedded_at AS TEXT) FROM {table}"
        );
        let name = self.spec.table.clone();
        self.write(|transaction, _| transaction.execute(&sql, [&name]).map(|_| ()))
    }
}
