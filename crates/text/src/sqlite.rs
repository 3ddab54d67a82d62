//! SQLite files, read without a trace.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use sememe::{Error, Result};

/// A name as SQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A database that is read. Nothing is written to it or beside it, so that one in a folder that may not be written to can be read too.
///
/// SQLite makes two files beside a database in write-ahead mode for whoever opens it, and a reader without the right to write leaves
/// them there. Where there is no log, nobody has the database open, and it is read as one that does not change
/// (`immutable`); [`unchanged`](Self::unchanged) says whether that was so.
pub(crate) struct ReadOnlyDatabase {
    db: Connection,
    path: PathBuf,
    /// Length and time of a file that is taken not to change.
    witness: Option<FileStamp>,
}

type FileStamp = (u64, Option<SystemTime>);

impl Deref for ReadOnlyDatabase {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.db
    }
}

impl ReadOnlyDatabase {
    /// Opens a database that is there, to wait so long for other processes.
    pub(crate) fn open(path: &Path, patience: Duration) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let (db, witness) = match immutable(path) {
            Some((uri, witness)) => {
                (Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?, Some(witness))
            }
            None => (Connection::open_with_flags(path, flags)?, None),
        };
        db.busy_timeout(patience)?;
        Ok(Self { db, path: path.into(), witness })
    }

    /// Refuses what was read from a file that another process wrote to meanwhile. To be called after the last row.
    pub(crate) fn unchanged(&self) -> Result<()> {
        match &self.witness {
            Some(witness) if file_stamp(&self.path).as_ref() != Some(witness) => {
                Err(Error::format(&self.path, "was written to while it was read; read it again"))
            }
            _ => Ok(()),
        }
    }
}

/// The name under which a database in write-ahead mode is read without its log, if it has none.
fn immutable(path: &Path) -> Option<(String, FileStamp)> {
    use std::io::Read as _;
    let mut header = [0u8; 20];
    std::fs::File::open(path).ok()?.read_exact(&mut header).ok()?;
    // The file format versions for writing and reading; 2 is write-ahead.
    if !header.starts_with(b"SQLite format 3\0") || header[18..] != [2, 2] {
        return None;
    }
    // As SQLite does, which looks for the log beside the file that links lead to.
    let whole = path.canonicalize().ok()?;
    let text = whole.to_str()?;
    let log = std::fs::metadata(format!("{text}-wal")).ok();
    let in_use = std::fs::exists(format!("{text}-shm")).unwrap_or(true);
    if log.is_some_and(|log| log.len() > 0 || in_use) {
        return None;
    }
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let slash = if escaped.starts_with('/') { "" } else { "/" };
    Some((format!("file:{slash}{escaped}?immutable=1"), file_stamp(path)?))
}

fn file_stamp(path: &Path) -> Option<FileStamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()))
}
