//! Columns of the engine as rows and codes, checked.

use crate::failure::{library, refuse};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use datafusion::error::{DataFusionError, Result};
use sememe::{Codes, Error};
use std::borrow::Cow;
use std::ops::Range;

/// What messages call a row of a batch: its number there, the batch's place in what was seen so far, and its name.
pub struct RowNames<'a> {
    /// Names, where there is a column of them.
    pub names: Option<&'a ArrayRef>,
    /// Rows of the same partition before this batch, where that is known.
    pub before: Option<u64>,
    /// Rows of the batch.
    pub rows: usize,
}

impl RowNames<'_> {
    /// One row.
    pub fn of(&self, row: usize) -> String {
        let place = match self.before {
            Some(before) => format!("row {} of its partition", before + row as u64),
            None => format!("row {row} of a batch of {}", self.rows),
        };
        let name = self.names.and_then(|names| {
            let one = cast(&names.slice(row, 1), &DataType::Utf8).ok()?;
            let one = one.as_string::<i32>();
            one.is_valid(0).then(|| one.value(0).to_owned())
        });
        match name {
            Some(name) => format!("{place}, `{name}`"),
            None => place,
        }
    }

    /// The library's error about rows of the batch.
    pub fn explain(&self, error: &Error) -> DataFusionError {
        match error.root() {
            Error::NonFinite { first, count, rows, .. } => refuse(format!(
                "{count} of {rows} embeddings of a batch hold NaN, infinity or a number too large for float32, the first is {}",
                self.of(usize::try_from(*first).unwrap_or(usize::MAX).min(self.rows.saturating_sub(1)))
            )),
            _ => library(error),
        }
    }
}

/// Whether a type is one of embeddings.
pub fn is_embedding(kind: &DataType) -> bool {
    matches!(kind, DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) if item.data_type().is_floating())
}

/// How long each list is: `None` for one that is null.
enum Lists<'a> {
    Fixed(usize),
    Offsets(&'a OffsetBuffer<i32>),
    LargeOffsets(&'a OffsetBuffer<i64>),
}

impl Lists<'_> {
    fn range(&self, row: usize) -> Range<usize> {
        match self {
            Lists::Fixed(size) => row * size..(row + 1) * size,
            Lists::Offsets(at) => at[row] as usize..at[row + 1] as usize,
            Lists::LargeOffsets(at) => at[row] as usize..at[row + 1] as usize,
        }
    }
}

/// The lists of a column, and the values that they are cut from; `wanted` says what the column should hold.
fn lists<'a>(column: &'a ArrayRef, wanted: &str) -> Result<(Lists<'a>, &'a ArrayRef)> {
    Ok(match column.data_type() {
        DataType::FixedSizeList(_, size) => {
            // Values of a slice are those of the slice.
            (Lists::Fixed(usize::try_from(*size).unwrap_or(0)), column.as_fixed_size_list().values())
        }
        DataType::List(_) => (Lists::Offsets(column.as_list::<i32>().offsets()), column.as_list::<i32>().values()),
        DataType::LargeList(_) => {
            (Lists::LargeOffsets(column.as_list::<i64>().offsets()), column.as_list::<i64>().values())
        }
        other => return Err(refuse(format!("expected {wanted}, got a column of {other}"))),
    })
}

/// Refuses null rows, and rows of another length; returns the range of values that all rows lie in, one after the other.
fn whole(column: &ArrayRef, lists: &Lists<'_>, size: usize, what: &str, names: &RowNames<'_>) -> Result<Range<usize>> {
    if let Some(row) = (0..column.len()).find(|row| column.is_null(*row)) {
        let count = column.null_count();
        return Err(refuse(format!("{count} of {} {what} are null, the first is {}", column.len(), names.of(row))));
    }
    let other = (0..column.len()).find(|row| lists.range(*row).len() != size);
    if let Some(row) = other {
        let got = lists.range(row).len();
        return Err(refuse(format!("expected {what} of {size} values, got {got} in {}", names.of(row))));
    }
    Ok(if column.is_empty() { 0..0 } else { lists.range(0).start..lists.range(column.len() - 1).end })
}

/// The rows `[n, dims]` of a column, without a copy where it holds float32.
pub fn rows<'a>(column: &'a ArrayRef, dims: usize, names: &RowNames<'_>) -> Result<Cow<'a, [f32]>> {
    let wanted = "embeddings as lists of float32, float64 or float16";
    let (lists, values) = lists(column, wanted)?;
    if !values.data_type().is_floating() {
        return Err(refuse(format!("expected {wanted}, got a column of {}", column.data_type())));
    }
    let range = whole(column, &lists, dims, "embeddings", names)?;
    if values.null_count() > 0
        && let Some(at) = range.clone().find(|at| values.is_null(*at))
    {
        let row = (at - range.start) / dims.max(1);
        return Err(refuse(format!("an embedding has a value that is null, in {}", names.of(row))));
    }
    Ok(match values.data_type() {
        DataType::Float32 => {
            let values: &'a Float32Array = values.as_primitive::<Float32Type>();
            Cow::Borrowed(&values.values()[range])
        }
        // What is too large becomes an infinity, which is refused where all infinities are.
        DataType::Float64 => {
            Cow::Owned(values.as_primitive::<Float64Type>().values()[range].iter().map(|v| *v as f32).collect())
        }
        _ => Cow::Owned(values.as_primitive::<Float16Type>().values()[range].iter().map(|v| v.to_f32()).collect()),
    })
}

/// Dimensions of the rows of a column, by its type or its first row; `None` if it has neither.
pub fn dims(column: &ArrayRef) -> Result<Option<usize>> {
    let (lists, _) = lists(column, "embeddings")?;
    Ok(match lists {
        Lists::Fixed(size) => Some(size),
        _ => (0..column.len()).find(|row| column.is_valid(*row)).map(|row| lists.range(row).len()),
    })
}

/// The codes `[n, levels]` of a column, all rows as long as the first.
pub fn codes(column: &ArrayRef) -> Result<Codes> {
    let wanted = "codes as lists of integers";
    let (lists, values) = lists(column, wanted)?;
    if !values.data_type().is_integer() {
        return Err(refuse(format!("expected {wanted}, got a column of {}", column.data_type())));
    }
    let names = RowNames { names: None, before: None, rows: column.len() };
    let levels = if column.is_empty() { 0 } else { lists.range(0).len() };
    let range = whole(column, &lists, levels, "codes", &names)?;
    let values = values.slice(range.start, range.len());
    let numbers = cast(&values, &DataType::UInt32)?;
    // What is not a number from 0 to 2^32 - 1 becomes null.
    if let Some(at) = (0..numbers.len()).find(|at| numbers.is_null(*at)) {
        return Err(refuse(format!("a code is null, negative or past 32 bits in {}", names.of(at / levels.max(1)))));
    }
    let numbers = numbers.as_primitive::<datafusion::arrow::datatypes::UInt32Type>().values().to_vec();
    Codes::from_vec(column.len(), levels, numbers).map_err(|e| library(&e))
}
