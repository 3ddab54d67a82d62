//! Text files by the line, with the line's number in every error.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Longer lines are refused: an item of a catalogue takes a few kilobytes.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// The lines of a UTF-8 text. Blank lines are allowed at its end only: in the middle they would shift the rows.
pub(crate) struct Lines<R> {
    reader: R,
    path: PathBuf,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, path: &Path) -> Self {
        Self::from_line(reader, path, 0)
    }

    /// The lines from line `before + 1` on, at which the reader stands.
    pub(crate) fn from_line(reader: R, path: &Path, before: u64) -> Self {
        Self { reader, path: path.into(), number: before, line: Vec::new() }
    }

    /// The next line and its number from 1 on; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &str)>> {
        let mut blank = None;
        loop {
            self.line.clear();
            let limit = MAX_LINE_BYTES + 1;
            let count = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line);
            if count.map_err(|e| Error::io("read", &self.path, e))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() as u64 == limit {
                return Err(self.bad(format_args!("has more than {MAX_LINE_BYTES} bytes")));
            }
            // Some editors put a byte order mark first.
            if self.number == 1 && self.line.starts_with(b"\xEF\xBB\xBF") {
                self.line.drain(..3);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
            blank.get_or_insert(self.number);
        }
        if let Some(blank) = blank {
            return Err(Error::format(&self.path, format!("line {blank} is blank, with more after it")));
        }
        match std::str::from_utf8(&self.line) {
            Ok(text) => Ok(Some((self.number, text.trim_ascii()))),
            Err(e) => Err(self.bad(format_args!("is not UTF-8 from column {} on", e.valid_up_to() + 1))),
        }
    }

    fn bad(&self, problem: std::fmt::Arguments) -> Error {
        Error::format(&self.path, format!("line {} {problem}", self.number))
    }
}

/// A JSON error with the file's line in place of serde's, which only knows the one line it was given.
pub fn json_bad(path: &Path, line: u64, e: &serde_json::Error) -> Error {
    Error::format(path, format!("line {line}, column {}: {}", e.column(), json_cause(e)))
}

/// A JSON error of a file that is one document.
pub(crate) fn json_bad_in(path: &Path, e: &serde_json::Error) -> Error {
    match e.io_error_kind() {
        Some(kind) => Error::io("read", path, kind.into()),
        None => json_bad(path, e.line() as u64, e),
    }
}

/// What serde says, without the place.
pub(crate) fn json_cause(e: &serde_json::Error) -> String {
    let text = e.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause).to_owned()
}
