//! A dense `[rows, dims]` array of floats inside a file, read by position.

use std::sync::{Mutex, PoisonError};

use super::numbers::FloatKind;
use super::window::Window;
use crate::data::RowSource;
use crate::error::{Error, Result, check_shape};

/// Bytes read from the file at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of `f32` that a column-major array reads ahead when small reads follow one another.
const AHEAD_BYTES: usize = 4 << 20;

/// Where the values lie and how they are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// First byte of the first value.
    pub start: u64,
    pub rows: usize,
    pub dims: usize,
    pub float: FloatKind,
    pub big_endian: bool,
    /// Column-major (Fortran order).
    pub columns: bool,
}

/// Rows that were read ahead from a column-major array.
#[derive(Default)]
struct Ahead {
    start: usize,
    values: Vec<f32>,
    /// Where the last read ended: only a read that starts here is worth reading ahead for.
    next: usize,
}

/// The [`RowSource`] over a [`Window`]. Row-major: one positioned read a MiB. Column-major: one a column and
/// range, and small reads that follow one another are served from rows read ahead.
pub(crate) struct DenseRows {
    window: Window,
    layout: Layout,
    ahead: Mutex<Ahead>,
}

/// Checks that `values` values from row `start` on lie inside `[rows, dims]`; returns how many rows they are.
pub(crate) fn check_range(start: usize, values: usize, rows: usize, dims: usize, name: &str) -> Result<usize> {
    let count = values / dims;
    check_shape("values", count * dims, values, "read buffer")?;
    if start.checked_add(count).is_none_or(|end| end > rows) {
        return Err(Error::Data(format!("{count} rows from row {start} on reach past the {rows} rows of `{name}`")));
    }
    Ok(count)
}

impl DenseRows {
    /// Wraps a window whose length was checked to hold the layout.
    pub(crate) fn new(window: Window, layout: Layout) -> Self {
        Self { window, layout, ahead: Mutex::default() }
    }

    fn read_row_major(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let Layout { float, dims, big_endian, .. } = self.layout;
        let size = float.size_bytes();
        let step = CHUNK_BYTES / size;
        let mut buffer = vec![0u8; step.min(out.len()) * size];
        let mut at = self.layout.start + (start * dims * size) as u64;
        for part in out.chunks_mut(step) {
            let bytes = &mut buffer[..part.len() * size];
            self.window.read_at(at, bytes)?;
            float.decode(big_endian, bytes, part);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    fn read_column_major(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let Layout { float, rows, dims, big_endian, .. } = self.layout;
        let size = float.size_bytes();
        let count = out.len() / dims;
        let step = (CHUNK_BYTES / size).min(count);
        let mut bytes = vec![0u8; step * size];
        let mut values = vec![0f32; step];
        for c in 0..dims {
            for from in (0..count).step_by(step.max(1)) {
                let here = step.min(count - from);
                let at = self.layout.start + ((c * rows + start + from) * size) as u64;
                self.window.read_at(at, &mut bytes[..here * size])?;
                float.decode(big_endian, &bytes[..here * size], &mut values[..here]);
                for (i, value) in values[..here].iter().enumerate() {
                    out[(from + i) * dims + c] = *value;
                }
            }
        }
        Ok(())
    }

    /// Serves a column-major read from the rows read ahead, or reads, ahead if this read continues the last.
    fn read_ahead(&self, start: usize, count: usize, out: &mut [f32]) -> Result<()> {
        let Layout { rows, dims, .. } = self.layout;
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
