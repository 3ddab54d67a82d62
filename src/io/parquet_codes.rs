//! Codes in parquet: column `row` (int64) and column `codes` (fixed-size list of uint32).

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, FixedSizeListArray, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::atomic::AtomicFile;
use super::codes_table::{Table, code};
use super::lists::{ParquetMeta, guarded, list_item, list_rows};
use super::window::Window;
use crate::error::{Error, Result};

const ROW_GROUP_ROWS: usize = 1 << 20;
const BATCH_ROWS: usize = 1 << 14;

/// The writer behind [`CodesWriter`](super::CodesWriter).
pub(crate) struct ParquetCodes {
    writer: ArrowWriter<AtomicFile>,
    schema: Arc<Schema>,
    item: FieldRef,
    /// Checked to fit when the file was created.
    levels: i32,
}

pub(super) fn refused(path: &Path, e: ParquetError) -> Error {
    let cause = match e {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => *io,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    };
    Error::io("write", path, cause)
}

impl ParquetCodes {
    /// `keyed`: with a column `key` of text between `row` and `codes`.
    pub(crate) fn create(path: &Path, levels: usize, keyed: bool) -> Result<Self> {
        let length =
            i32::try_from(levels).map_err(|_| Error::format(path, format!("{levels} levels do not fit a list")))?;
        let item: FieldRef = Arc::new(Field::new("item", DataType::UInt32, false));
        let key = keyed.then(|| Field::new("key", DataType::Utf8, false));
        let codes = Field::new("codes", DataType::FixedSizeList(item.clone(), length), false);
        let fields = std::iter::once(Field::new("row", DataType::Int64, false)).chain(key).chain([codes]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let file = AtomicFile::create(path)?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|e| refused(path, e))?;
        Ok(Self { writer, schema, item, levels: length })
    }

    pub(crate) fn put(&mut self, rows: &[u64], keys: Option<&[String]>, codes: &[u32]) -> Result<()> {
        // The numbers were checked to fit.
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| *r as i64)));
        let items: ArrayRef = Arc::new(UInt32Array::from(codes.to_vec()));
        let lists = FixedSizeListArray::try_new(self.item.clone(), self.levels, items, None);
        let keys = keys.map(|keys| Arc::new(StringArray::from_iter_values(keys)) as ArrayRef);
        let columns = |codes: ArrayRef| std::iter::once(rows).chain(keys).chain([codes]).collect();
        let batch = lists.and_then(|lists| RecordBatch::try_new(self.schema.clone(), columns(Arc::new(lists))));
        let done = batch.map_err(ParquetError::from).and_then(|batch| self.writer.write(&batch));
        done.map_err(|e| refused(self.writer.inner().path(), e))
    }

    pub(crate) fn finish(self) -> Result<()> {
        let path = self.writer.inner().path().to_path_buf();
        self.writer.into_inner().map_err(|e| refused(&path, e))?.commit()
    }
}

/// Appends every row's range of `items`, if they are of type `T`.
fn append<T: ArrowPrimitiveType<Native: Into<i128>>>(
    w: &Window,
    items: &ArrayRef,
    ranges: &[std::ops::Range<usize>],
    table: &mut Table,
) -> Option<Result<()>> {
    let values = items.as_primitive_opt::<T>()?.values();
    Some(ranges.iter().try_for_each(|range| {
        let row = table.rows();
        let codes = values[range.clone()].iter().map(|v| code(w, row, (*v).into()));
        table.push(w, codes)
    }))
}

/// Integers of any width; `None` for a column of anything else.
fn whole_numbers(column: &ArrayRef) -> Option<Vec<Option<i128>>> {
    fn of<T: ArrowPrimitiveType<Native: Into<i128>>>(column: &ArrayRef) -> Option<Vec<Option<i128>>> {
        Some(column.as_primitive_opt::<T>()?.iter().map(|v| v.map(Into::into)).collect())
    }
    of::<Int64Type>(column)
        .or_else(|| of::<UInt64Type>(column))
        .or_else(|| of::<Int32Type>(column))
        .or_else(|| of::<UInt32Type>(column))
        .or_else(|| of::<Int16Type>(column))
        .or_else(|| of::<UInt16Type>(column))
        .or_else(|| of::<Int8Type>(column))
        .or_else(|| of::<UInt8Type>(column))
}

/// Reads the list column `codes` and, if there, the integer column `row`.
pub(crate) fn read(w: &Window, table: &mut Table) -> Result<()> {
    let meta = ParquetMeta::load(w)?;
    let schema = meta.meta.schema().clone();
    let Ok(codes) = schema.index_of("codes") else {
        let names: Vec<&str> = schema.fields().iter().take(20).map(|f| f.name().as_str()).collect();
        return Err(w.bad(format_args!("has no column `codes`; it holds `{}`", names.join("`, `"))));
    };
    let item = list_item(schema.field(codes).data_type());
    if !item.is_some_and(|item| item.data_type().is_integer()) {
        let got = schema.field(codes).data_type();
        return Err(w.bad(format_args!("its column `codes` holds {got}, expected lists of integers")));
    }
    let numbers = schema.index_of("row").ok();
    if let Some(kind) = numbers.map(|i| schema.field(i).data_type()).filter(|kind| !kind.is_integer()) {
        return Err(w.bad(format_args!("its column `row` holds {kind}, expected whole numbers")));
    }
    let is_key = |i: &usize| matches!(schema.field(*i).data_type(), DataType::Utf8 | DataType::LargeUtf8);
    let keys = schema.index_of("key").ok().filter(is_key);
    let columns: Vec<usize> = [Some(codes), numbers, keys].into_iter().flatten().collect();
    let mut reader = meta.reader(w, &columns, 0, 0, BATCH_ROWS)?;
    while let Some(batch) = guarded(w, || reader.next().transpose().map_err(Into::into))? {
        let first = table.rows();
        let column = batch.column_by_name("codes").ok_or_else(|| w.bad("lost its column `codes`"))?;
        let (items, ranges) = list_rows(w, column, first)?;
        let done = append::<UInt32Type>(w, &items, &ranges, table)
            .or_else(|| append::<Int32Type>(w, &items, &ranges, table))
            .or_else(|| append::<Int64Type>(w, &items, &ranges, table))
            .or_else(|| append::<UInt64Type>(w, &items, &ranges, table))
            .or_else(|| append::<UInt16Type>(w, &items, &ranges, table))
            .or_else(|| append::<Int16Type>(w, &items, &ranges, table))
            .or_else(|| append::<UInt8Type>(w, &items, &ranges, table))
            .or_else(|| append::<Int8Type>(w, &items, &ranges, table));
        done.unwrap_or_else(|| Err(w.bad(format_args!("holds lists of {}", items.data_type()))))?;
        if let Some(column) = numbers.and_then(|_| batch.column_by_name("row")) {
            let rows = whole_numbers(column).ok_or_else(|| w.bad("lost its column `row`"))?;
            for (i, number) in rows.into_iter().enumerate() {
                let number = number.and_then(|number| u64::try_from(number).ok());
                table.push_number(number.ok_or_else(|| w.bad(format_args!("row {} has no row number", first + i)))?);
            }
        }
        if let Some(column) = keys.and_then(|_| batch.column_by_name("key")) {
            let texts: Option<Vec<Option<&str>>> = None
                .or_else(|| column.as_string_opt::<i32>().map(|a| a.iter().collect()))
                .or_else(|| column.as_string_opt::<i64>().map(|a| a.iter().collect()));
            texts.into_iter().flatten().flatten().for_each(|key| table.push_key(key.to_owned()));
        }
    }
    Ok(())
}
