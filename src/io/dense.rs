//! A dense `[rows, dims]` array of numbers inside a file, read by position.

use std::sync::{Mutex, PoisonError};

use super::numbers::NumberKind;
use super::window::Window;
use crate::data::{RowSource, check_range};
use crate::error::Result;

/// Bytes read from the file at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of `f32` that a column-major array reads ahead when small reads follow one another.
const AHEAD_BYTES: usize = 4 << 20;

/// Where the values lie and how they are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrayLayout {
    /// First byte of the first value.
    pub start: u64,
    pub rows: usize,
    pub dims: usize,
    pub number: NumberKind,
    pub big_endian: bool,
    /// Column-major (Fortran order).
    pub columns: bool,
}

impl ArrayLayout {
    /// Where value `within` of line `line` begins, lines having `length` values. In 64 bits on every machine: files are larger than what
    /// `usize` can name on some. The file was checked to hold the layout, so a value inside it never overflows; any other is past the end.
    fn byte_of(&self, line: usize, length: usize, within: usize) -> u64 {
        let value = (line as u64).checked_mul(length as u64).and_then(|n| n.checked_add(within as u64));
        let bytes = value.and_then(|n| n.checked_mul(self.number.size_bytes() as u64));
        bytes.and_then(|n| n.checked_add(self.start)).unwrap_or(u64::MAX)
    }
}

/// Rows that were read ahead from a column-major array.
#[derive(Default)]
struct ReadAhead {
    start: usize,
    values: Vec<f32>,
    /// Where the last read ended: only a read that starts here is worth reading ahead for.
    next: usize,
}

/// The [`RowSource`] over a [`Window`]. Row-major: one positioned read a MiB. Column-major: one a column and
/// range, and small reads that follow one another are served from rows read ahead.
pub(crate) struct DenseRows {
    window: Window,
    layout: ArrayLayout,
    ahead: Mutex<ReadAhead>,
}

impl DenseRows {
    /// Wraps a window whose length was checked to hold the layout.
    pub(crate) fn new(window: Window, layout: ArrayLayout) -> Self {
        Self { window, layout, ahead: Mutex::default() }
    }

    fn read_row_major(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let ArrayLayout { number, dims, big_endian, .. } = self.layout;
        let size = number.size_bytes();
        let step = CHUNK_BYTES / size;
        let mut buffer = vec![0u8; step.min(out.len()) * size];
        let mut at = self.layout.byte_of(start, dims, 0);
        for part in out.chunks_mut(step) {
            let bytes = &mut buffer[..part.len() * size];
            self.window.read_at(at, bytes)?;
            number.decode(big_endian, bytes, part);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn read_column_major(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let ArrayLayout { number, rows, dims, big_endian, .. } = self.layout;
        let size = number.size_bytes();
        let count = out.len() / dims;
        let step = (CHUNK_BYTES / size).min(count);
        let mut bytes = vec![0u8; step * size];
        let mut values = vec![0f32; step];
        for c in 0..dims {
            for from in (0..count).step_by(step.max(1)) {
                let here = step.min(count - from);
                let at = self.layout.byte_of(c, rows, start + from);
                self.window.read_at(at, &mut bytes[..here * size])?;
                number.decode(big_endian, &bytes[..here * size], &mut values[..here]);
                for (i, value) in values[..here].iter().enumerate() {
                    out[(from + i) * dims + c] = *value;
                }
            }
        }
        Ok(())
    }

    /// Serves a column-major read from the rows read ahead, or reads, ahead if this read continues the last.
    fn read_ahead(&self, start: usize, count: usize, out: &mut [f32]) -> Result<()> {
        let ArrayLayout { rows, dims, .. } = self.layout;
        let ahead_rows = AHEAD_BYTES / 4 / dims;
        if count >= ahead_rows {
            return self.read_column_major(start, out);
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let held = ahead.values.len() / dims;
        let continues = ahead.next == start;
        ahead.next = start + count;
        if start >= ahead.start && start + count <= ahead.start + held {
            let from = (start - ahead.start) * dims;
            out.copy_from_slice(&ahead.values[from..from + out.len()]);
            return Ok(());
        }
        if !continues {
            drop(ahead);
            return self.read_column_major(start, out);
        }
        let mut values = std::mem::take(&mut ahead.values);
        values.resize(ahead_rows.min(rows - start) * dims, 0.0);
        self.read_column_major(start, &mut values)?;
        out.copy_from_slice(&values[..out.len()]);
        ahead.start = start;
        ahead.values = values;
        Ok(())
    }
}

impl RowSource for DenseRows {
    fn rows(&self) -> usize {
        self.layout.rows
    }
    fn dims(&self) -> usize {
        self.layout.dims
    }
    fn name(&self) -> String {
        self.window.name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let count = check_range(start, out.len(), self.layout.rows, self.layout.dims, &self.window.name())?;
        if self.layout.columns { self.read_ahead(start, count, out) } else { self.read_row_major(start, out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_in_64_bits() {
        let layout =
            ArrayLayout { start: 128, rows: 1, dims: 1, number: NumberKind::F64, big_endian: false, columns: false };
        assert_eq!(layout.byte_of(3, 5, 2), 128 + 8 * 17);
        // Past 4 GiB from factors that a 32-bit machine holds.
        assert_eq!(layout.byte_of(3_000_000_000, 768, 7), 128 + 8 * (3_000_000_000 * 768 + 7));
        // No sum wraps round to a place inside the file.
        assert_eq!(layout.byte_of(usize::MAX, usize::MAX, 1), u64::MAX);
    }
}
