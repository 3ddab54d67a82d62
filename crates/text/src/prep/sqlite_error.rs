//! SQLite's errors, with what to do about them.

use std::path::Path;
use std::time::Duration;

use sememe::Error;

/// How long another process's write is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// An SQLite error with the file and what to do about it.
pub(super) fn failed(path: &Path, e: &rusqlite::Error) -> Error {
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
