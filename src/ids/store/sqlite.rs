//! A store in an SQLite file: many processes at once, every batch whole or not at all, whatever is killed when.

use std::path::Path;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OpenFlags, Transaction, TransactionBehavior, params};

use super::{
    AssignedId, Reuse, Store, StoredId, check_batch, check_codec, check_levels, exhausted, from_bytes, to_bytes,
};
use crate::error::{Error, Result, check_shape};

/// The layout below; another one is refused.
const SCHEMA_VERSION: i64 = 2;

/// `SMID`, so that other programs' files are told apart.
const APPLICATION_ID: i64 = 0x534D_4944;

/// How long a process waits for another's batch, unless told.
const PATIENCE: Duration = Duration::from_secs(60);

/// An ID is one blob of big-endian numbers, codes and counter, so that bytes sort as codes do, a prefix is a range, and the last of a
/// range says which counter comes next. A deleted ID stays without its key, so that it is not given out again; the index finds the
/// deleted ones, too. Two trees are all that a new item is written to.
const SCHEMA: &str = "
CREATE TABLE codec (one INTEGER PRIMARY KEY CHECK (one = 1), hash TEXT NOT NULL, levels INTEGER NOT NULL) STRICT;
CREATE TABLE ids (id BLOB PRIMARY KEY, key TEXT) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ids_by_key ON ids (key);
";

/// Pages are kept in 64 MiB of memory, as a batch of random keys touches most pages of a small store; and they wait in the log for
/// 64 MiB of them, as moving them into the file after every batch would write each many times.
const TUNING: &str = "PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 16384;";

/// IDs in an SQLite file, in write-ahead mode with every commit synced.
///
/// Any number of processes may hold the file open; a batch waits up to a minute for another's, or as long as
/// [`set_patience`](Store::set_patience) says. On a network drive SQLite's locks
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
    /// Whether the last batch held nothing new, so that the next is first tried without the writer's lock.
    mostly_known: bool,
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
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => "; another process held it all the time, try again",
        Some(Code::ReadOnly) => "; the file or its folder may not be written to",
        Some(Code::DiskFull | Code::SystemIoFailure) => {
            "; nothing of this batch was kept, make room on the disk and run again"
        }
        Some(Code::NotADatabase) => "; give the store another name",
        Some(Code::CannotOpen) => "; does its folder exist?",
        _ => "",
    };
    Error::Store(format!("`{place}`: {e}{hint}"))
}

/// Tries again for as long as the file is locked and patience lasts.
fn patiently<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let begun = std::time::Instant::now();
    loop {
        match work() {
            Err(e)
                if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && begun.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

impl SqliteStore {
    /// Opens a store, or makes one for a codec's IDs.
    ///
    /// # Errors
    /// [`Error::Store`] for a file of another codec (with both hashes), of another layout, or that is no store; and if it cannot be
    /// opened or written.
    pub fn open(path: impl AsRef<Path>, codec_hash: &str, levels: usize) -> Result<Self> {
        check_levels(levels)?;
        let path = path.as_ref();
        let place = path.display().to_string();
        let bad = |e: &rusqlite::Error| failed(&place, e);
        let mut db = Connection::open(path).map_err(|e| bad(&e))?;
        db.busy_timeout(PATIENCE).map_err(|e| bad(&e))?;
        let version = check_version(&db, &place)?;
        if version.is_none() {
            // SQLite does not wait for a lock that changing the journal's mode asks for, as the first ones to open a new file do.
            patiently(|| db.pragma_update(None, "journal_mode", "WAL")).map_err(|e| bad(&e))?;
            patiently(|| create(&mut db, codec_hash, levels)).map_err(|e| bad(&e))?;
        }
        let mut store = Self::over(db, place)?;
        check_codec(&store.place, (&store.codec_hash, store.levels), (codec_hash, levels))?;
        // Finds a file that may not be written to before any work is done. One that another process writes to may be.
        store.set_patience(Duration::ZERO)?;
        let probe = store.db.transaction_with_behavior(TransactionBehavior::Immediate).and_then(Transaction::rollback);
        match probe {
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            other => other.map_err(|e| failed(&store.place, &e))?,
        }
        store.set_patience(PATIENCE)?;
        Ok(store)
    }

    /// Opens a store that is there, of whatever codec, to look up and delete in. On a read-only disk it can be looked up in.
    ///
    /// # Errors
    /// [`Error::Store`] if there is none, it is of another layout, or cannot be read.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags).map_err(|e| failed(&place, &e))?;
        db.busy_timeout(PATIENCE).map_err(|e| failed(&place, &e))?;
        let readable = db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        if let (Err(e), Some(uri)) = (readable, untouched(path)) {
            use rusqlite::ErrorCode as Code;
            if matches!(e.sqlite_error_code(), Some(Code::ReadOnly | Code::CannotOpen)) {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
                db = Connection::open_with_flags(uri, flags).map_err(|e| failed(&place, &e))?;
            }
        }
        if check_version(&db, &place)?.is_none() {
            return Err(Error::Store(format!("`{place}` is empty, so nothing was assigned there yet")));
        }
        Self::over(db, place)
    }

    fn over(db: Connection, place: String) -> Result<Self> {
        let row = db.query_row("SELECT hash, levels FROM codec", [], |row| Ok((row.get(0)?, row.get::<_, u32>(1)?)));
        let (codec_hash, levels) = row.map_err(|e| failed(&place, &e))?;
        db.execute_batch(TUNING).map_err(|e| failed(&place, &e))?;
        Ok(Self { db, place, codec_hash, levels: levels as usize, mostly_known: false })
    }

    /// The IDs of a batch whose items all have one, read without waiting for a writer; `None` at the first that has none.
    fn all_known(&mut self, items: &[(&str, &[u32])], order: &[usize]) -> rusqlite::Result<Option<Vec<AssignedId>>> {
        // One snapshot for all of them.
        let snapshot = self.db.unchecked_transaction()?;
        let mut known = snapshot.prepare_cached(ID_OF)?;
        let mut out = vec![None; items.len()];
        for at in order {
            let Some(given) = old(&mut known, items[*at])? else { return Ok(None) };
            out[*at] = Some(given);
        }
        Ok(Some(out.into_iter().flatten().collect()))
    }
}

const ID_OF: &str = "SELECT id FROM ids WHERE key = ?1";

/// The ID that an item has.
fn old(known: &mut CachedStatement<'_>, (key, codes): (&str, &[u32])) -> rusqlite::Result<Option<AssignedId>> {
    let mut rows = known.query([key])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let id = from_bytes(row.get_ref(0)?.as_blob()?);
    let drifted = id.codes != codes;
    Ok(Some(AssignedId { id, new: false, drifted }))
}

/// What stops a batch: SQLite, or codes without a free counter.
enum AssignError {
    Sqlite(rusqlite::Error),
    Full(Error),
}

impl<E: Into<rusqlite::Error>> From<E> for AssignError {
    fn from(e: E) -> Self {
        AssignError::Sqlite(e.into())
    }
}

/// Gives every item of a batch an ID within a transaction.
fn assign_in(
    transaction: &Transaction<'_>,
    items: &[(&str, &[u32])],
    order: &[usize],
    reuse: Reuse,
) -> std::result::Result<Vec<Option<AssignedId>>, AssignError> {
    let mut known = transaction.prepare_cached(ID_OF)?;
    let mut out = vec![None; items.len()];
    let mut new: Vec<usize> = Vec::new();
    for at in order {
        out[*at] = old(&mut known, items[*at])?;
        if out[*at].is_none() {
            new.push(*at);
        }
    }
    // Stable: by key within the same codes.
    new.sort_by_key(|at| items[*at].1);
    let mut last = transaction.prepare_cached("SELECT max(id) FROM ids WHERE id >= ?1 AND id <= ?2")?;
    let mut deleted = transaction
        .prepare_cached("SELECT id FROM ids WHERE key IS NULL AND id >= ?1 AND id <= ?2 ORDER BY id LIMIT ?3")?;
    let mut add = transaction.prepare_cached("INSERT INTO ids VALUES (?1, ?2)")?;
    let mut again = transaction.prepare_cached("UPDATE ids SET key = ?2 WHERE id = ?1")?;
    for same in new.chunk_by(|a, b| items[*a].1 == items[*b].1) {
        let codes = items[same[0]].1;
        let mut from = to_bytes(codes);
        let mut to = from.clone();
        from.extend([0; 4]);
        to.extend([0xFF; 4]);
        let mut free: Vec<u32> = Vec::new();
        if reuse == Reuse::Deleted {
            let mut rows = deleted.query(params![from, to, same.len() as i64])?;
            while let Some(row) = rows.next()? {
                free.push(from_bytes(row.get_ref(0)?.as_blob()?).counter);
            }
        }
        let next = last.query_row(params![from, to], |row| {
            Ok(row.get_ref(0)?.as_blob_or_null()?.map_or(0, |id| u64::from(from_bytes(id).counter) + 1))
        })?;
        let mut fresh = next..;
        for (i, at) in same.iter().enumerate() {
            let key = items[*at].0;
            let reused = free.get(i).copied();
            let counter = reused.map_or_else(|| fresh.next().unwrap_or(u64::MAX), u64::from);
            let counter = u32::try_from(counter).map_err(|_| AssignError::Full(exhausted(codes)))?;
            from[4 * codes.len()..].copy_from_slice(&counter.to_be_bytes());
            let statement = if reused.is_some() { &mut again } else { &mut add };
            statement.execute(params![from, key])?;
            out[*at] = Some(AssignedId { id: StoredId { codes: codes.to_vec(), counter }, new: true, drifted: false });
        }
    }
    Ok(out)
}

/// A file with nothing in its log, as one that may be read where the log's own files cannot be made: on a read-only disk.
fn untouched(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let log = std::fs::metadata(format!("{text}-wal")).map_or(0, |m| m.len());
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    (log == 0).then(|| format!("file:{escaped}?immutable=1"))
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
        (APPLICATION_ID, other) => {
            let advice = if other > SCHEMA_VERSION { "use a newer release" } else { "assign into a new store" };
            Err(Error::Store(format!("`{place}` has layout {other}, this release reads {SCHEMA_VERSION}; {advice}")))
        }
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

impl Store for SqliteStore {
    fn codec_hash(&self) -> &str {
        &self.codec_hash
    }

    fn levels(&self) -> usize {
        self.levels
    }

    fn assign_with(&mut self, items: &[(&str, &[u32])], reuse: Reuse) -> Result<Vec<AssignedId>> {
        let order = check_batch(items, self.levels)?;
        if self.mostly_known {
            let read = self.all_known(items, &order).map_err(|e| failed(&self.place, &e))?;
            if let Some(all) = read {
                return Ok(all);
            }
        }
        // A transaction that starts by reading could not wait for the writer's lock later.
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(|e| failed(&self.place, &e))?;
        let out = assign_in(&transaction, items, &order, reuse).map_err(|stop| match stop {
            AssignError::Sqlite(e) => failed(&self.place, &e),
            AssignError::Full(e) => e,
        })?;
        self.mostly_known = !out.iter().flatten().any(|given| given.new);
        // What was only known needs no sync.
        if !self.mostly_known {
            transaction.commit().map_err(|e| failed(&self.place, &e))?;
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<StoredId>>> {
        let run = || {
            let snapshot = self.db.unchecked_transaction()?;
            let mut known = snapshot.prepare_cached(ID_OF)?;
            let mut out = Vec::with_capacity(keys.len());
            for key in keys {
                out.push(old(&mut known, (key, &[]))?.map(|given| given.id));
            }
            Ok(out)
        };
        run().map_err(|e| failed(&self.place, &e))
    }

    fn with_prefix(&mut self, prefix: &[u32], most: usize) -> Result<Vec<(StoredId, String)>> {
        if prefix.len() > self.levels {
            check_shape("levels", self.levels, prefix.len(), "prefix to look up")?;
        }
        let from = to_bytes(prefix);
        // Past every ID that starts so: numbers of 2^32 − 1 and one byte more.
        let mut to = from.clone();
        to.resize(4 * (self.levels + 1) + 1, 0xFF);
        let run = || {
            let mut range = self.db.prepare_cached(
                "SELECT id, key FROM ids WHERE id >= ?1 AND id <= ?2 AND key IS NOT NULL ORDER BY id LIMIT ?3",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = range
                .query_map(params![from, to, most], |row| Ok((from_bytes(row.get_ref(0)?.as_blob()?), row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        run().map_err(|e| failed(&self.place, &e))
    }

    fn delete(&mut self, keys: &[&str]) -> Result<usize> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(|e| failed(&self.place, &e))?;
        let run = || {
            let mut forget = transaction.prepare_cached("UPDATE ids SET key = NULL WHERE key = ?1")?;
            let mut gone = 0;
            for key in keys {
                gone += forget.execute([key])?;
            }
            Ok(gone)
        };
        let gone = run().map_err(|e: rusqlite::Error| failed(&self.place, &e))?;
        transaction.commit().map_err(|e| failed(&self.place, &e))?;
        Ok(gone)
    }

    fn count(&mut self) -> Result<u64> {
        let count = self.db.query_row("SELECT count(key) FROM ids", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(|e| failed(&self.place, &e))
    }

    fn set_patience(&mut self, patience: Duration) -> Result<()> {
        self.db.busy_timeout(patience).map_err(|e| failed(&self.place, &e))
    }
}
