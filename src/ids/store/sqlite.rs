//! A store in an SQLite file: many processes at once, every batch whole or not at all, whatever is killed when.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{Assigned, Store, StoredId, in_order};
use crate::error::{Error, Result, check_shape};

/// The layout below; a newer one is refused.
const SCHEMA_VERSION: i64 = 1;

/// `SMID`, so that other programs' files are told apart.
const APPLICATION_ID: i64 = 0x534D_4944;

/// How long a process waits for another's batch.
const PATIENCE: Duration = Duration::from_secs(60);

/// Codes are blobs of big-endian numbers, so that bytes sort as codes do and a prefix is a range.
const SCHEMA: &str = "
CREATE TABLE codec (one INTEGER PRIMARY KEY CHECK (one = 1), hash TEXT NOT NULL, levels INTEGER NOT NULL) STRICT;
CREATE TABLE items (key TEXT PRIMARY KEY, codes BLOB NOT NULL, counter INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX items_by_id ON items (codes, counter);
CREATE TABLE counters (codes BLOB PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// IDs in an SQLite file, in write-ahead mode with every commit synced.
///
/// Any number of processes may hold the file open; a batch waits up to a minute for another's. On a network drive SQLite's locks
/// are not to be trusted: keep the file on a local one.
///
/// ```
/// use sememe::ids::store::{SqliteStore, Store};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ids.sqlite");
/// let mut store = SqliteStore::open(&path, "hash of a codec", 2)?;
/// store.assign(&[("nano", &[7, 26])])?;
/// drop(store);
/// let mut again = SqliteStore::open(&path, "hash of a codec", 2)?;
/// assert_eq!(again.get(&["nano"])?[0].as_ref().map(|id| id.to_row()), Some(vec![7, 26, 0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteStore {
    db: Connection,
    place: String,
    codec_hash: String,
    levels: usize,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, codec_hash, levels, .. } = self;
        write!(f, "SqliteStore {{ place: {place:?}, codec_hash: {codec_hash:?}, levels: {levels} }}")
    }
}

/// An SQLite error with the file and what to do about it.
fn failed(place: &str, e: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let hint = match e.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => "; another process held it for a minute, try again",
        Some(Code::ReadOnly) => "; the file or its folder may not be written to",
        Some(Code::DiskFull) => "; nothing of this batch was kept, make room and run again",
        Some(Code::NotADatabase) => "; give the store another name",
        Some(Code::CannotOpen) => "; does its folder exist?",
        _ => "",
    };
    Error::Store(format!("`{place}`: {e}{hint}"))
}

impl SqliteStore {
    /// Opens a store, or makes one for a codec's IDs.
    ///
    /// # Errors
    /// [`Error::Store`] for a file of another codec (with both hashes), of a newer release, or that is no store; and if it cannot be
    /// opened or written.
    pub fn open(path: impl AsRef<Path>, codec_hash: &str, levels: usize) -> Result<Self> {
        if levels == 0 {
            return Err(Error::config("levels", "expected at least 1, got 0"));
        }
        let path = path.as_ref();
        let place = path.display().to_string();
        let bad = |e: &rusqlite::Error| failed(&place, e);
        let mut db = Connection::open(path).map_err(|e| bad(&e))?;
        db.busy_timeout(PATIENCE).map_err(|e| bad(&e))?;
        let version = check_version(&db, &place)?;
        if version.is_none() {
            db.pragma_update(None, "journal_mode", "WAL").map_err(|e| bad(&e))?;
            create(&mut db, codec_hash, levels).map_err(|e| bad(&e))?;
        }
        let mut store = Self::over(db, place)?;
        check_codec(&store.place, (&store.codec_hash, store.levels), (codec_hash, levels))?;
        store.db.pragma_update(None, "synchronous", "FULL").map_err(|e| failed(&store.place, &e))?;
        // Finds a file that may not be written to before any work is done.
        let probe = store.db.transaction_with_behavior(TransactionBehavior::Immediate).and_then(Transaction::rollback);
        probe.map_err(|e| failed(&store.place, &e))?;
        Ok(store)
    }

    /// Opens a store that is there, of whatever codec, to be looked up in.
    ///
    /// # Errors
    /// [`Error::Store`] if there is none, it is of a newer release, or cannot be read.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(|e| failed(&place, &e))?;
        db.busy_timeout(PATIENCE).map_err(|e| failed(&place, &e))?;
        if check_version(&db, &place)?.is_none() {
            return Err(Error::Store(format!("`{place}` is empty; `sememe assign` fills a store")));
        }
        Self::over(db, place)
    }

    fn over(db: Connection, place: String) -> Result<Self> {
        let row = db.query_row("SELECT hash, levels FROM codec", [], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?)));
        let (codec_hash, levels) = row.map_err(|e| failed(&place, &e))?;
        Ok(Self { db, place, codec_hash, levels: levels as usize })
    }

    fn begin(&mut self) -> Result<(Transaction<'_>, String)> {
        let place = self.place.clone();
        // A transaction that starts by reading could not wait for the writer's lock later.
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        Ok((transaction.map_err(|e| failed(&place, &e))?, place))
    }
}

/// Refuses another codec than the one whose IDs a store holds.
fn check_codec(place: &str, held: (&str, usize), asked: (&str, usize)) -> Result<()> {
    if held == asked {
        return Ok(());
    }
    Err(Error::Store(format!(
        "`{place}` holds IDs of codec {} with {} levels, not of codec {} with {}; use that codec, or another store",
        held.0, held.1, asked.0, asked.1
    )))
}

/// The version of the layout; `None` for a file that is new.
fn check_version(db: &Connection, place: &str) -> Result<Option<i64>> {
    // One snapshot: another process may lay its tables out between two reads.
    let read = || -> rusqlite::Result<(i64, i64, i64)> {
        let snapshot = db.unchecked_transaction()?;
        let pragma = |name: &str| snapshot.pragma_query_value(None, name, |row| row.get(0));
        let tables = snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((pragma("application_id")?, pragma("user_version")?, tables))
    };
    let (application, version, tables) = read().map_err(|e| failed(place, &e))?;
    match (application, version) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Some(version)),
        (APPLICATION_ID, newer) => Err(Error::Store(format!(
            "`{place}` has layout {newer}, this release reads {SCHEMA_VERSION}; use a newer release"
        ))),
        (0, 0) if tables == 0 => Ok(None),
        _ => Err(Error::Store(format!("`{place}` is another program's SQLite file; give the store another name"))),
    }
}

/// Lays the tables out, unless another process just did.
fn create(db: &mut Connection, codec_hash: &str, levels: usize) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let there: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if there == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.execute("INSERT INTO codec VALUES (1, ?1, ?2)", params![codec_hash, levels as i64])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()
}

fn to_blob(codes: &[u32]) -> Vec<u8> {
    codes.iter().flat_map(|code| code.to_be_bytes()).collect()
}

fn from_blob(blob: &[u8]) -> Vec<u32> {
    blob.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b)).collect()
}

impl Store for SqliteStore {
    fn codec_hash(&self) -> &str {
        &self.codec_hash
    }

    fn levels(&self) -> usize {
        self.levels
    }

    fn assign(&mut self, items: &[(&str, &[u32])]) -> Result<Vec<Assigned>> {
        let order = in_order(items, self.levels)?;
        let (transaction, place) = self.begin()?;
        let run = || -> rusqlite::Result<Vec<Option<Assigned>>> {
            let mut known = transaction.prepare_cached("SELECT codes, counter FROM items WHERE key = ?1")?;
            let mut take = transaction.prepare_cached(
                "INSERT INTO counters VALUES (?1, 1) ON CONFLICT (codes) DO UPDATE SET next = next + 1 RETURNING next - 1",
            )?;
            let mut add = transaction.prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3)")?;
            let mut out = vec![None; items.len()];
            for at in order {
                let (key, codes) = items[at];
                let old = known.query_row([key], |row| {
                    Ok(StoredId { codes: from_blob(row.get_ref(0)?.as_blob()?), counter: row.get(1)? })
                });
                out[at] = Some(if let Some(id) = old.optional()? {
                    let drifted = id.codes != codes;
                    Assigned { id, new: false, drifted }
                } else {
                    let blob = to_blob(codes);
                    let counter: u32 = take.query_row([&blob], |row| row.get(0))?;
                    add.execute(params![key, blob, counter])?;
                    Assigned { id: StoredId { codes: codes.to_vec(), counter }, new: true, drifted: false }
                });
            }
            Ok(out)
        };
        let out = run().map_err(|e| failed(&place, &e))?;
        // What was only known needs no sync.
        if out.iter().flatten().any(|given| given.new) {
            transaction.commit().map_err(|e| failed(&place, &e))?;
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<StoredId>>> {
        let run = || {
            let mut known = self.db.prepare_cached("SELECT codes, counter FROM items WHERE key = ?1")?;
            let mut out = Vec::with_capacity(keys.len());
            for key in keys {
                let id = known.query_row([key], |row| {
                    Ok(StoredId { codes: from_blob(row.get_ref(0)?.as_blob()?), counter: row.get(1)? })
                });
                out.push(id.optional()?);
            }
            Ok(out)
        };
        run().map_err(|e| failed(&self.place, &e))
    }

    fn with_prefix(&mut self, prefix: &[u32], most: usize) -> Result<Vec<(StoredId, String)>> {
        if prefix.len() > self.levels {
            check_shape("levels", self.levels, prefix.len(), "prefix to look up")?;
        }
        let from = to_blob(prefix);
        // Past every blob that starts so: codes of 2^32 − 1 and one byte more.
        let mut to = from.clone();
        to.resize(4 * self.levels + 1, 0xFF);
        let run = || {
            let mut range = self.db.prepare_cached(
                "SELECT codes, counter, key FROM items WHERE codes >= ?1 AND codes <= ?2 ORDER BY codes, counter LIMIT ?3",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = range.query_map(params![from, to, most], |row| {
                let id = StoredId { codes: from_blob(row.get_ref(0)?.as_blob()?), counter: row.get(1)? };
                Ok((id, row.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        run().map_err(|e| failed(&self.place, &e))
    }

    fn delete(&mut self, keys: &[&str]) -> Result<usize> {
        let (transaction, place) = self.begin()?;
        let run = || {
            let mut gone = 0;
            for key in keys {
                gone += transaction.prepare_cached("DELETE FROM items WHERE key = ?1")?.execute([key])?;
            }
            Ok(gone)
        };
        let gone = run().map_err(|e: rusqlite::Error| failed(&place, &e))?;
        transaction.commit().map_err(|e| failed(&place, &e))?;
        Ok(gone)
    }

    fn count(&mut self) -> Result<u64> {
        let count = self.db.query_row("SELECT count(*) FROM items", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(|e| failed(&self.place, &e))
    }
}
