//! Rows out of bodies.

use crate::error::{ApiError, ErrorCode};

/// Values of a JSON array of arrays of numbers, one row after the other. `text` is one JSON value, already checked to be one. Each number
/// is rounded to float32 once, from its decimal digits.
///
/// # Errors
/// `bad_json` for another value, `rows_shape` for a row of another length, `not_finite` for a number too large for float32, `too_large`
/// for more rows than `most`.
pub(super) fn read_rows(text: &str, dims: usize, most: usize) -> Result<Vec<f32>, ApiError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let mut values = Vec::with_capacity((text.len() / 8).min(most.saturating_mul(dims)));
    let mut rows = 0;
    if !reader.open() {
        return Err(ApiError::new(ErrorCode::BadJson, "`rows` is no list of rows"));
    }
    while reader.element() {
        if !reader.open() {
            let problem = format!("row {rows} is no list of numbers");
            return Err(ApiError::new(ErrorCode::BadJson, problem).hint("a row is a list, also if it is the only one"));
        }
        reader.row(rows, dims, &mut values)?;
        rows += 1;
        if rows > most {
            // The rest is not looked at.
            check_count(rows, most, "rows")?;
        }
    }
    Ok(values)
}

/// One row.
///
/// # Errors
/// As [`read_rows`].
pub(super) fn read_row(text: &str, number: usize, dims: usize) -> Result<Vec<f32>, ApiError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    if !reader.open() {
        return Err(ApiError::new(ErrorCode::BadJson, format!("row {number} is no list of numbers")));
    }
    let mut values = Vec::with_capacity(dims);
    reader.row(number, dims, &mut values)?;
    Ok(values)
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

    /// The rest of a row, whose list was entered.
    fn row(&mut self, row: usize, dims: usize, values: &mut Vec<f32>) -> Result<(), ApiError> {
        let from = values.len();
        while self.element() {
            let number = self.number().ok_or_else(|| {
                let problem = format!("value {} of row {row} is no number", values.len() - from);
                ApiError::new(ErrorCode::BadJson, problem)
            })?;
            if !number.is_finite() {
                let column = values.len() - from;
                return Err(ApiError::new(
                    ErrorCode::NotFinite,
                    format!("value {column} of row {row} is too large for float32"),
                ));
            }
            values.push(number);
        }
        let have = values.len() - from;
        if have == dims {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::RowsShape, format!("row {row} has {have} values, expected {dims}"))
            .hint(format!("send rows of {dims} values")))
    }

    fn number(&mut self) -> Option<f32> {
        self.space()?;
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let number = std::str::from_utf8(&rest[..length]).ok()?.parse().ok()?;
        self.at += length;
        Some(number)
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
