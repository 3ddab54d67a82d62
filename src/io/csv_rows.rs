//! The one way to read `.csv` and `.tsv`.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::csv_quotes::{QuoteChecker, QuoteFault};
use super::text_file::{open_text, text_extension};
use crate::error::{Error, Result};

/// Names listed in a message.
const LISTED: usize = 40;

/// The rows of a `.csv` or `.tsv` file, or of one within a `.gz`, under the names of its first line.
///
/// In `.csv` a field may stand in double quotes, as RFC 4180 has it: it ends in a quote before a comma or the line's end, a quote within
/// it is doubled, and it may hold commas and line breaks. A quote in a field that does not begin with one is a letter. Whatever else
/// quotes do is refused with the line, a quote that is never closed foremost: it would make one field of all rows behind it. In `.tsv`
/// quotes are letters, as IANA's `text/tab-separated-values` has no quoting. Every row has as many fields as the first line, and the
/// text is UTF-8, with or without a byte order mark. Blank lines are passed over, but for files of one column, where they are refused
/// unless they are the last.
///
/// ```
/// use sememe::io::CsvRows;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("items.csv");
/// std::fs::write(&path, "id,title\n7,\"vi, improved\"\n")?;
/// let mut rows = CsvRows::open(&path)?;
/// let title = rows.column("title")?;
/// while let Some(row) = rows.next_row()? {
///     assert_eq!((row.line(), row.get(title)), (2, "vi, improved"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CsvRows {
    reader: csv::Reader<QuoteChecker<Box<dyn BufRead>>>,
    record: csv::StringRecord,
    headers: Vec<String>,
    path: PathBuf,
    /// Whether quotes are letters.
    literal: bool,
}

impl std::fmt::Debug for CsvRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvRows").field("path", &self.path).field("headers", &self.headers).finish_non_exhaustive()
    }
}

/// A row of [`CsvRows`].
#[derive(Clone, Copy, Debug)]
pub struct CsvRow<'a> {
    record: &'a csv::StringRecord,
}

impl<'a> CsvRow<'a> {
    /// The line in which it begins, from 1 on.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    /// The field of a column; empty past the last.
    #[must_use]
    pub fn get(&self, column: usize) -> &'a str {
        self.record.get(column).unwrap_or_default()
    }
}

impl CsvRows {
    /// Opens a file and reads its first line.
    ///
    /// # Errors
    /// [`Error::Format`] for another extension, a file that is empty or UTF-16, or a first line that is not UTF-8; and what the system
    /// returns.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (delimiter, literal) = match text_extension(path).as_str() {
            "csv" => (b',', false),
            "tsv" => (b'\t', true),
            other => return Err(Error::format(path, format!("rows are read from .csv or .tsv, got `.{other}`"))),
        };
        let watched = QuoteChecker::new(open_text(path)?, delimiter, !literal);
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).quoting(!literal).from_reader(watched);
        let headers = reader.headers().map(|names| names.iter().map(str::to_owned).collect());
        let mut out =
            Self { reader, record: csv::StringRecord::new(), headers: Vec::new(), path: path.into(), literal };
        out.headers = headers.map_err(|e| out.bad(&e))?;
        Ok(out)
    }

    /// The names of the columns.
    #[must_use]
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Where a column is, if it is there.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.headers.iter().position(|header| header == name)
    }

    /// Where a column is.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not there (lists those that are), or more than once.
    pub fn column(&self, name: &str) -> Result<usize> {
        let at = self.find(name).ok_or_else(|| self.missing(&format!("has no column `{name}`")))?;
        if self.headers[at + 1..].iter().any(|header| header == name) {
            return Err(Error::format(&self.path, format!("has more than one column `{name}`; rename one of them")));
        }
        Ok(at)
    }

    /// The error for columns that are not there: what is wrong, and which columns are.
    #[must_use]
    pub fn missing(&self, problem: &str) -> Error {
        let names: Vec<&str> = self.headers.iter().take(LISTED).map(String::as_str).collect();
        let more = self.headers.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let hint = match self.headers.as_slice() {
            [only] if !self.literal && only.contains([';', '\t']) => {
                "; are its fields parted by something else than `,`?"
            }
            _ => "",
        };
        Error::format(&self.path, format!("{problem}; it holds `{}`{more}{hint}", names.join("`, `")))
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Format`] with the line, for quotes that are not closed, another number of fields than the first line has, and text that
    /// is not UTF-8; and what the system returns.
    pub fn next_row(&mut self) -> Result<Option<CsvRow<'_>>> {
        match self.reader.read_record(&mut self.record) {
            Ok(true) => Ok(Some(CsvRow { record: &self.record })),
            Ok(false) => Ok(None),
            Err(e) => Err(self.bad(&e)),
        }
    }

    fn bad(&self, e: &csv::Error) -> Error {
        let line = e.position().map_or(1, csv::Position::line);
        let problem = match e.kind() {
            csv::ErrorKind::Io(e) => match e.get_ref().and_then(|cause| cause.downcast_ref::<QuoteFault>()) {
                Some(fault) => fault.to_string(),
                None => return Error::io("read", &self.path, std::io::Error::new(e.kind(), e.to_string())),
            },
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                let hint = if self.literal { "; in .tsv quotes are letters and hold no tab or line break" } else { "" };
                format!("line {line}: expected {expected_len} fields, got {len}{hint}")
            }
            csv::ErrorKind::Utf8 { err, .. } => format!("line {line}: field {} is not UTF-8", err.field() + 1),
            _ => format!("line {line}: {e}"),
        };
        Error::format(&self.path, problem)
    }
}
