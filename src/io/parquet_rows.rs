//! Embeddings in a parquet list column, decoded forwards in batches.

use std::sync::{Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int8Type, UInt8Type};
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::{DataType, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::lists::{ParquetMeta, guarded, list_item, nullable_list_rows};
use super::numbers::NumberKind;
use super::pick::{Candidate, Usable, pick};
use super::window::Window;
use crate::data::{RowSource, check_range};
use crate::error::{Result, check_shape};

/// Bytes of `f32` decoded at a time.
const BATCH_BYTES: usize = 4 << 20;
/// Rows looked at together for one that is not null.
const FIRST_ROWS: usize = 64;

/// The decoder, and the rows it decoded last.
#[derive(Default)]
struct BatchCursor {
    reader: Option<ParquetRecordBatchReader>,
    /// First row held in `values`.
    start: usize,
    values: Vec<f32>,
}

/// A `[rows, dims]` list column. Readers take turns; the batch decoded last is kept.
pub(crate) struct ParquetRows {
    window: Window,
    meta: ParquetMeta,
    column: usize,
    dims: usize,
    cursor: Mutex<BatchCursor>,
}

/// What a list's items are.
fn number(kind: &DataType) -> Option<NumberKind> {
    Some(match kind {
        DataType::Float16 => NumberKind::F16,
        DataType::Float32 => NumberKind::F32,
        DataType::Float64 => NumberKind::F64,
        DataType::Int8 => NumberKind::I8,
        DataType::UInt8 => NumberKind::U8,
        _ => return None,
    })
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn parse_hint(column: &str) -> String {
    format!(
        "if these are lists written as text, parse them before saving: `df[\"{column}\"] = df[\"{column}\"].map(json.loads)`"
    )
}

/// What to do about a file whose columns hold values rather than rows.
fn not_lists(schema: &Schema) -> Option<String> {
    let of = |is: &dyn Fn(&DataType) -> bool| {
        schema.fields().iter().filter(|f| is(f.data_type())).map(|f| f.name().as_str()).collect::<Vec<_>>()
    };
    let floats = of(&DataType::is_floating);
    if let [first, .., last] = floats[..] {
        return Some(format!(
            "has no column of lists, but {} columns of numbers, `{first}` to `{last}`; if each is one dimension, save rows: \
             `numpy.save(\"rows.npy\", df.loc[:, \"{first}\":\"{last}\"].to_numpy(\"float32\"))`",
            floats.len()
        ));
    }
    match of(&is_text)[..] {
        [only] => Some(format!("has no column of lists, but `{only}` holds text; {}", parse_hint(only))),
        _ => None,
    }
}

/// Values of the first row that is not null.
fn first_length(w: &Window, meta: &ParquetMeta, column: usize) -> Result<usize> {
    let mut reader = meta.reader(w, &[column], 0, 0, FIRST_ROWS)?;
    let mut seen = 0;
    while let Some(batch) = guarded(w, || reader.next().transpose().map_err(Into::into))? {
        let (_, ranges) = nullable_list_rows(w, batch.column(0))?;
        if let Some(range) = ranges.iter().flatten().next() {
            return Ok(range.len());
        }
        seen += batch.num_rows();
    }
    Err(w.bad(match seen {
        0 => format!("claims {} rows, but holds none", meta.rows()),
        _ => format!("all {seen} rows are null"),
    }))
}

impl ParquetRows {
    /// Finds the column, its dimensions, and checks each row group's count of values against them.
    pub(crate) fn open(w: Window, wanted: Option<&str>) -> Result<Self> {
        let meta = ParquetMeta::load(&w)?;
        let schema = meta.meta.schema().clone();
        let usable = |kind: &DataType| match list_item(kind) {
            Some(item) => Usable::of(true, number(item.data_type())),
            None => Usable::No,
        };
        let candidates: Vec<Candidate> = schema
            .fields()
            .iter()
            .map(|field| Candidate {
                name: field.name().clone(),
                summary: format!("{}", field.data_type()),
                usable: usable(field.data_type()),
            })
            .collect();
        if wanted.is_none()
            && candidates.iter().all(|c| c.usable == Usable::No)
            && let Some(problem) = not_lists(&schema)
        {
            return Err(w.bad(problem));
        }
        let column = pick(w.path(), "column", wanted, &candidates)?;
        let w = w.named(&candidates[column].name);
        let kind = schema.field(column).data_type();
        let Some(number) = list_item(kind).and_then(|item| number(item.data_type())) else {
            let hint =
                if is_text(kind) { format!("; {}", parse_hint(schema.field(column).name())) } else { String::new() };
            return Err(
                w.bad(format_args!("holds {kind}, expected lists of float16, float32, float64, int8 or uint8{hint}"))
            );
        };
        if meta.rows() == 0 {
            return Err(w.bad("holds 0 rows"));
        }
        let dims = first_length(&w, &meta, column)?;
        if dims == 0 {
            return Err(w.bad(format_args!("its shape ({}, 0) holds no values", meta.rows())));
        }
        if let Some(doubt) = number.doubt(dims as u64) {
            return Err(w.bad(doubt));
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
            let expected = (rows as u64).checked_mul(self.dims as u64).and_then(|n| i64::try_from(n).ok());
            // A row that is null counts as one value.
            let short = expected.and_then(|expected| expected.checked_sub(values)).filter(|short| *short >= 0);
            let step = self.dims as i64 - 1;
            if short == Some(0) || short.is_some_and(|s| step > 0 && s % step == 0 && s / step <= rows as i64) {
                continue;
            }
            let reader = self.meta.reader(&self.window, &[self.column], group, 0, self.batch_rows())?;
            let mut cursor = BatchCursor { reader: Some(reader), start: starts[group], values: Vec::new() };
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
    fn advance(&self, cursor: &mut BatchCursor) -> Result<()> {
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

    /// Values of a batch; a row that is null, and a null inside one, become NaN, which the callers' check for such rows finds.
    fn decode(&self, column: &ArrayRef, first_row: usize, out: &mut Vec<f32>) -> Result<()> {
        let (items, ranges) = nullable_list_rows(&self.window, column)?;
        for (i, range) in ranges.iter().enumerate() {
            if let Some(range) = range
                && range.len() != self.dims
            {
                let place = format!("{}, row {}", self.window.name(), first_row + i);
                check_shape("d", self.dims, range.len(), place)?;
            }
        }
        let from = out.len();
        if let Some(items) = items.as_primitive_opt::<Float32Type>() {
            self.extend(items.values(), &ranges, |v| v, out);
        } else if let Some(items) = items.as_primitive_opt::<Float64Type>() {
            self.extend(items.values(), &ranges, |v| v as f32, out);
        } else if let Some(items) = items.as_primitive_opt::<Float16Type>() {
            self.extend(items.values(), &ranges, half::f16::to_f32, out);
        } else if let Some(items) = items.as_primitive_opt::<Int8Type>() {
            self.extend(items.values(), &ranges, f32::from, out);
        } else if let Some(items) = items.as_primitive_opt::<UInt8Type>() {
            self.extend(items.values(), &ranges, f32::from, out);
        } else {
            return Err(self.window.bad(format_args!("holds lists of {}, expected numbers", items.data_type())));
        }
        if items.null_count() > 0 {
            for (i, range) in ranges.iter().enumerate() {
                for (c, at) in range.clone().unwrap_or_default().enumerate().filter(|(_, at)| items.is_null(*at)) {
                    debug_assert!(at < items.len());
                    out[from + i * self.dims + c] = f32::NAN;
                }
            }
        }
        Ok(())
    }

    fn extend<T: Copy>(
        &self,
        values: &[T],
        ranges: &[Option<std::ops::Range<usize>>],
        convert: impl Fn(T) -> f32,
        out: &mut Vec<f32>,
    ) {
        for range in ranges {
            match range {
                Some(range) => out.extend(values[range.clone()].iter().map(|v| convert(*v))),
                None => out.extend(std::iter::repeat_n(f32::NAN, self.dims)),
            }
        }
    }

    /// Moves the decoder to the row group of `row`, unless going on from where it stands gets there.
    fn seek(&self, cursor: &mut BatchCursor, row: usize) -> Result<()> {
        let group = self.meta.starts.partition_point(|start| *start <= row) - 1;
        let next = cursor.start + cursor.values.len() / self.dims;
        if cursor.reader.is_some() && next <= row && next >= self.meta.starts[group] {
            return Ok(());
        }
        let skip = row - self.meta.starts[group];
        let reader = self.meta.reader(&self.window, &[self.column], group, skip, self.batch_rows())?;
        *cursor = BatchCursor { reader: Some(reader), start: row, values: Vec::new() };
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
