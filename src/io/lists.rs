//! What reading embeddings and reading codes from parquet share: guarded calls and list columns.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::parquet_pages::check_pages;
use super::window::Window;
use crate::error::{Error, Result};

/// Runs a call into the parquet crate, turning its errors, and a panic on a corrupt file, into ours.
///
/// The crate's decoders index into pages by numbers that the pages hold, and not all of those are checked.
pub(crate) fn guarded<T>(w: &Window, call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ParquetError::External(inner))) => Err(match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => w.bad(format_args!("not readable as parquet: {other}")),
        }),
        Ok(Err(e)) => Err(w.bad(format_args!("not readable as parquet: {e}"))),
        Err(_) => Err(w.bad("not readable as parquet: its pages are corrupt")),
    }
}

/// The schema and row counts of a parquet file.
pub(crate) struct ParquetMeta {
    pub meta: ArrowReaderMetadata,
    /// First row of each row group, and after them the number of rows.
    pub starts: Vec<usize>,
}

impl ParquetMeta {
    pub(crate) fn load(w: &Window) -> Result<Self> {
        // Without the Arrow schema that writers embed: the types follow from the parquet schema (every list is then
        // a `List`), and arrow-ipc 59 panics on an embedded schema that is corrupt.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let meta = guarded(w, || ArrowReaderMetadata::load(w, options))?;
        let mut starts = vec![0usize];
        let mut rows = 0usize;
        for group in meta.metadata().row_groups() {
            let count = usize::try_from(group.num_rows()).ok();
            let total = count.and_then(|c| rows.checked_add(c)).filter(|total| i64::try_from(*total).is_ok());
            rows = total.ok_or_else(|| w.bad(format_args!("a row group claims {} rows", group.num_rows())))?;
            starts.push(rows);
        }
        let columns = meta.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns);
        // `byte_range` panics where a column claims a negative place.
        let places = guarded(w, || Ok(columns.map(ColumnChunkMetaData::byte_range).collect::<Vec<_>>()))?;
        check_pages(w, places.into_iter())?;
        Ok(Self { meta, starts })
    }

    pub(crate) fn rows(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// The values (not rows) that each row group claims for a column without nested fields below its list.
    pub(crate) fn claimed_values(&self, column: usize) -> Vec<i64> {
        let schema = self.meta.parquet_schema();
        let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == column);
        let groups = self.meta.metadata().row_groups();
        groups
            .iter()
            .map(|g| leaf.and_then(|l| g.columns().get(l)).map_or(-1, ColumnChunkMetaData::num_values))
            .collect()
    }

    /// A reader of some columns from the row group `first_group` on, less its first `skip` rows.
    pub(crate) fn reader(
        &self,
        w: &Window,
        columns: &[usize],
        first_group: usize,
        skip: usize,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader> {
        guarded(w, || {
            let mask = ProjectionMask::roots(self.meta.parquet_schema(), columns.iter().copied());
            let rest = self.rows() - self.starts[first_group] - skip;
            let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(w.clone(), self.meta.clone())
                .with_projection(mask)
                .with_row_groups((first_group..self.starts.len() - 1).collect())
                .with_batch_size(batch_rows);
            if skip > 0 {
                let selectors = vec![RowSelector::skip(skip), RowSelector::select(rest)];
                builder = builder.with_row_selection(RowSelection::from(selectors));
            }
            builder.build()
        })
    }
}

/// The items of a list type.
pub(crate) fn list_item(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item) => Some(item),
        _ => None,
    }
}

/// A list column's items, and each row's range in them; `None` for a row that is null.
///
/// # Errors
/// If the column is not a list.
pub(crate) fn nullable_list_rows(w: &Window, column: &ArrayRef) -> Result<(ArrayRef, Vec<Option<Range<usize>>>)> {
    let Some(list) = column.as_list_opt::<i32>() else {
        return Err(w.bad(format_args!("holds {}, expected lists", column.data_type())));
    };
    let range = |(i, ends): (usize, &[i32])| (!list.is_null(i)).then(|| ends[0] as usize..ends[1] as usize);
    Ok((list.values().clone(), list.value_offsets().windows(2).enumerate().map(range).collect()))
}

/// As [`nullable_list_rows`] where nothing may be null. `first_row` is the column's first row, for messages.
///
/// # Errors
/// If a row or an item is null (named by the row's number), or the column is not a list.
pub(crate) fn list_rows(w: &Window, column: &ArrayRef, first_row: usize) -> Result<(ArrayRef, Vec<Range<usize>>)> {
    let (items, ranges) = nullable_list_rows(w, column)?;
    let mut out = Vec::with_capacity(ranges.len());
    for (i, range) in ranges.into_iter().enumerate() {
        let row = first_row + i;
        let Some(range) = range else {
            return Err(w.bad(format_args!("row {row} is null; drop or fill it before saving")));
        };
        if items.null_count() > 0
            && let Some(at) = range.clone().find(|at| items.is_null(*at))
        {
            return Err(w.bad(format_args!("row {row} holds a null at position {}; drop or fill it", at - range.start)));
        }
        out.push(range);
    }
    Ok((items, out))
}
