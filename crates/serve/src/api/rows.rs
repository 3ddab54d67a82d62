//! Rows out of bodies.

use crate::error::{ApiError, ErrorCode};
use std::fmt;

/// What an error calls a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowName {
    /// One of several.
    Row(usize),
    /// The only one.
    Vector,
    /// That of a query.
    VectorOf(usize),
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(number) => write!(f, "row {number}"),
            Self::Vector => write!(f, "the vector"),
            Self::VectorOf(query) => write!(f, "the vector of query {query}"),
        }
    }
}

/// Values of a JSON array of arrays of numbers, one row after the other. `text` is one JSON value, already checked to be one. Each number
/// is rounded to float32 once, from its decimal digits.
///
/// # Errors
/// As [`read_row`]; `too_large` for more rows than `most`.
pub(super) fn read_rows(text: &str, dims: usize, most: usize) -> Result<Vec<f32>, ApiError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let mut values = Vec::with_capacity((text.len() / 8).min(most.saturating_mul(dims)));
    let mut rows = 0;
    if !reader.open() {
        return Err(ApiError::new(ErrorCode::BadJson, "`rows` is no list of rows"));
    }
    while reader.element() {
        reader.row(RowName::Row(rows), dims, &mut values)?;
        rows += 1;
        if rows > most {
            // The rest is not looked at.
            check_count(rows, most, "rows")?;
        }
    }
    Ok(values)
}

/// Appends the values of one row, in the same way.
///
/// # Errors
/// `bad_json` for another value, `rows_shape` for a row of another length, `not_finite` for a number too large for float32.
pub(super) fn read_row(text: &str, name: RowName, dims: usize, values: &mut Vec<f32>) -> Result<(), ApiError> {
    Reader { bytes: text.as_bytes(), at: 0 }.row(name, dims, values)
}

/// A reader of JSON that is known to be right.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Whether a list begins here; it is entered.
    fn open(&mut self) -> bool {
        let open = self.space() == Some(b'[');
        self.at += usize::from(open);
        open
    }

    /// Whether another element of the list follows; its end is passed otherwise.
    fn element(&mut self) -> bool {
        match self.space() {
            Some(b',') => {
                self.at += 1;
                true
            }
            Some(b']') => {
                self.at += 1;
                false
            }
            next => next.is_some(),
        }
    }

    fn row(&mut self, name: RowName, dims: usize, values: &mut Vec<f32>) -> Result<(), ApiError> {
        if !self.open() {
            let problem = ApiError::new(ErrorCode::BadJson, format!("{name} is no list of numbers"));
            return Err(problem.hint("a row is a list, also if it is the only one"));
        }
        let from = values.len();
        while self.element() {
            let column = values.len() - from;
            let number = self
                .number()
                .ok_or_else(|| ApiError::new(ErrorCode::BadJson, format!("value {column} of {name} is no number")))?;
            if !number.is_finite() {
                let problem = format!("value {column} of {name} is too large for float32");
                return Err(ApiError::new(ErrorCode::NotFinite, problem).hint("send finite float32 values"));
            }
            values.push(number);
        }
        let have = values.len() - from;
        if have == dims {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::RowsShape, format!("{name} has {have} values, expected {dims}"))
            .hint(format!("send rows of {dims} values")))
    }

    fn number(&mut self) -> Option<f32> {
        self.space()?;
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let digits = std::str::from_utf8(&rest[..length]).ok()?;
        let number: f32 = digits.parse().ok()?;
        self.at += length;
        // What lies past the largest float32 may be rounded to it, but is too large all the same.
        let is_past =
            number.abs() == f32::MAX && digits.parse::<f64>().is_ok_and(|exact| exact.abs() > f64::from(f32::MAX));
        Some(if is_past { f32::INFINITY } else { number })
    }
}

/// Rows of little-endian float32 values.
///
/// # Errors
/// `rows_shape` for a body that is no rows, `too_large` for more rows than `most`.
pub(super) fn rows_of_bytes(bytes: &[u8], dims: usize, most: usize) -> Result<Vec<f32>, ApiError> {
    let row = dims * 4;
    if !bytes.len().is_multiple_of(row) {
        let problem = format!("the body has {} bytes, which are no rows of {dims} float32 values", bytes.len());
        return Err(ApiError::new(ErrorCode::RowsShape, problem).hint(format!("a row is {row} bytes")));
    }
    check_count(bytes.len() / row, most, "rows")?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Refuses more than a request may hold.
pub(super) fn check_count(have: usize, most: usize, what: &str) -> Result<(), ApiError> {
    if have <= most {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::TooLarge, format!("{have} {what}, at most {most} are taken at once"))
        .hint("send them in several requests"))
}
