//! Embeddings in a parquet list column, decoded forwards in batches.

use std::sync::{Mutex, PoisonError};

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::dense::check_range;
use super::lists::{Meta, guarded, list_item, list_rows};
use super::pick::{Candidate, pick};
use super::window::Window;
use crate::data::RowSource;
use crate::error::{Result, check_shape};

/// Bytes of `f32` decoded at a time.
const BATCH_BYTES: usize = 4 << 20;

/// The decoder, and the rows it decoded last.
#[derive(Default)]
struct Cursor {
    reader: Option<ParquetRecordBatchReader>,
    /// First row held in `values`.
    start: usize,
    values: Vec<f32>,
}

/// A `[rows, dims]` list column. Readers take turns; the batch decoded last is kept.
pub(crate) struct ParquetRows {
    window: Window,
    meta: Meta,
    column: usize,
    dims: usize,
    cursor: Mutex<Cursor>,
}

impl ParquetRows {
    /// Finds the column, its dimensions, and checks each row group's count of values against them.
    pub(crate) fn open(w: Window, wanted: Option<&str>) -> Result<Self> {
        let meta = Meta::load(&w)?;
        let schema = meta.meta.schema().clone();
        let is_float = |t: &DataType| matches!(t, DataType::Float16 | DataType::Float32 | DataType::Float64);
        let candidates: Vec<Candidate> = schema
            .fields()
            .iter()
            .map(|field| Candidate {
                name: field.name().clone(),
                summary: format!("{}", field.data_type()),
                usable: list_item(field.data_type()).is_some_and(|item| is_float(item.data_type())),
            })
            .collect();
        let column = pick(w.path(), "column", wanted, &candidates)?;
        let w = w.named(&candidates[column].name);
        if !candidates[column].usable {
            let got = &candidates[column].summary;
            return Err(w.bad(format_args!("holds {got}, expected lists of float16, float32 or float64")));
        }
        if meta.rows() == 0 {
            return Err(w.bad("holds 0 rows"));
        }
        let mut reader = meta.reader(&w, &[column], 0, 0, 1)?;
        let batch = guarded(&w, || reader.next().transpose().map_err(Into::into))?;
        let batch = batch.ok_or_else(|| w.bad(format_args!("claims {} rows, but holds none", meta.rows())))?;
        let dims = list_rows(&w, batch.column(0), 0)?.1.first().map_or(0, ExactSizeIterator::len);
        if dims == 0 {
            return Err(w.bad(format_args!("its shape ({}, 0) holds no values", meta.rows())));
        }
        let rows = Self { window: w, meta, column, dims, cursor: Mutex::default() };
        rows.check_counts()?;
        Ok(rows)
    }

    /// Rows of unequal length are found from the footer alone; the group is then decoded to name the row.
    fn check_counts(&self) -> Result<()> {
        let starts = &self.meta.starts;
        for (group, values) in self.meta.claimed_values(self.column).into_iter().enumerate() {
            let rows = starts[group + 1] - starts[group];
            let expected = rows.checked_mul(self.dims).and_then(|n| i64::try_from(n).ok());
            if expected == Some(values) {
                continue;
            }
            let reader = self.meta.reader(&self.window, &[self.column], group, 0, self.batch_rows())?;
            let mut cursor = Cursor { reader: Some(reader), start: starts[group], values: Vec::new() };
            while cursor.start + cursor.values.len() / self.dims < starts[group + 1] {
                self.advance(&mut cursor)?;
            }
            return Err(self.window.bad(format_args!(
                "row group {group} claims {rows} rows and {values} values, which does not fit {} a row",
                self.dims
            )));
        }
        Ok(())
    }

    fn batch_rows(&self) -> usize {
        (BATCH_BYTES / 4 / self.dims).clamp(1, self.meta.rows())
    }

    /// Replaces the rows held with the next batch.
    fn advance(&self, cursor: &mut Cursor) -> Result<()> {
        let next = cursor.start + cursor.values.len() / self.dims;
        cursor.values.clear();
        cursor.start = next;
        // Taken out, so that a decoder which failed is not asked again.
        let mut reader = cursor.reader.take();
        let batch = guarded(&self.window, || match &mut reader {
            Some(reader) => reader.next().transpose().map_err(Into::into),
            None => Ok(None),
        })?;
        let rows = self.meta.rows();
        let Some(batch) = batch.filter(|b| b.num_rows() > 0) else {
            return Err(self.window.bad(format_args!("claims {rows} rows, but ends after {next}")));
        };
        if batch.num_rows() > rows - next {
            return Err(self.window.bad(format_args!("holds more than the {rows} rows it claims")));
        }
        self.decode(batch.column(0), next, &mut cursor.values)?;
        cursor.reader = reader;
        Ok(())
    }

    fn decode(&self, column: &ArrayRef, first_row: usize, out: &mut Vec<f32>) -> Result<()> {
        let (items, ranges) = list_rows(&self.window, column, first_row)?;
        for (i, range) in ranges.iter().enumerate() {
            let place = || format!("{}, row {}", self.window.name(), first_row + i);
            if range.len() != self.dims {
                check_shape("d", self.dims, range.len(), place())?;
            }
        }
        let ranges = ranges.into_iter();
        if let Some(items) = items.as_primitive_opt::<Float32Type>() {
            ranges.for_each(|r| out.extend_from_slice(&items.values()[r]));
        } else if let Some(items) = items.as_primitive_opt::<Float64Type>() {
            ranges.for_each(|r| out.extend(items.values()[r].iter().map(|v| *v as f32)));
        } else if let Some(items) = items.as_primitive_opt::<Float16Type>() {
            ranges.for_each(|r| out.extend(items.values()[r].iter().map(|v| v.to_f32())));
        } else {
            return Err(self.window.bad(format_args!("holds lists of {}, expected floats", items.data_type())));
        }
        Ok(())
    }

    /// Moves the decoder to the row group of `row`, unless going on from where it stands gets there.
    fn seek(&self, cursor: &mut Cursor, row: usize) -> Result<()> {
        let group = self.meta.starts.partition_point(|start| *start <= row) - 1;
        let next = cursor.start + cursor.values.len() / self.dims;
        if cursor.reader.is_some() && next <= row && next >= self.meta.starts[group] {
            return Ok(());
        }
        let skip = row - self.meta.starts[group];
        let reader = self.meta.reader(&self.window, &[self.column], group, skip, self.batch_rows())?;
        *cursor = Cursor { reader: Some(reader), start: row, values: Vec::new() };
        Ok(())
    }
}

impl RowSource for ParquetRows {
    fn rows(&self) -> usize {
        self.meta.rows()
    }
    fn dims(&self) -> usize {
        self.dims
    }
    fn name(&self) -> String {
        self.window.name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let dims = self.dims;
        let count = check_range(start, out.len(), self.meta.rows(), dims, &self.window.name())?;
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < count {
            let row = start + done;
            let held = cursor.start..cursor.start + cursor.values.len() / dims;
            if held.contains(&row) {
                let take = (held.end - row).min(count - done);
                let from = (row - held.start) * dims;
                out[done * dims..(done + take) * dims].copy_from_slice(&cursor.values[from..from + take * dims]);
                done += take;
            } else {
                self.seek(&mut cursor, row)?;
                self.advance(&mut cursor)?;
            }
        }
        Ok(())
    }
}
