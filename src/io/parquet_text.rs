//! Columns of parquet files as text.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::atomic::AtomicFile;
use super::lists::{ParquetMeta, guarded, list_item};
use super::parquet_codes::refused;
use super::window::Window;
use crate::error::{Error, Result};

const BATCH_ROWS: usize = 1 << 14;

fn numbers<T: ArrowPrimitiveType<Native: ToString>>(column: &ArrayRef) -> Option<Vec<String>> {
    let values = column.as_primitive_opt::<T>()?;
    Some(values.iter().map(|v| v.map_or(String::new(), |v| v.to_string())).collect())
}

/// Text, numbers and truth values; nulls are empty. A key is text or a whole number.
pub(crate) fn read(w: &Window, field: &str, key: bool) -> Result<Vec<String>> {
    let mut out = Vec::new();
    // With a separator, the first field is taken for a key.
    each(w, &[field], key.then_some(" "), &mut |_, values| {
        out.push(std::mem::take(&mut values[0]));
        Ok(())
    })?;
    Ok(out)
}

/// The names of all columns.
pub(crate) fn columns(w: &Window) -> Result<Vec<String>> {
    Ok(ParquetMeta::load(w)?.meta.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// Calls `row` with the number, from 1 on, and the texts of every row, in the order of `wanted`, the first of which is a key if lists
/// are allowed. Lists are joined by `separator`; without one they are refused. `details.brand` is the field `brand` of the struct
/// `details`, unless there is a column of that name.
pub(crate) fn each(
    w: &Window,
    wanted: &[&str],
    separator: Option<&str>,
    row: &mut dyn FnMut(u64, &mut [String]) -> Result<()>,
) -> Result<()> {
    let meta = ParquetMeta::load(w)?;
    let schema = meta.meta.schema().clone();
    let mut places = Vec::with_capacity(wanted.len());
    for (at, field) in wanted.iter().enumerate() {
        let Some(place) = place(schema.fields(), field) else {
            let names: Vec<&str> = schema.fields().iter().take(40).map(|f| f.name().as_str()).collect();
            return Err(w.bad(format_args!("has no column `{field}`; it holds `{}`", names.join("`, `"))));
        };
        let kind = place.kind;
        if at == 0 && separator.is_some() && (kind.is_floating() || list_item(kind).is_some()) {
            return Err(w.bad(format_args!("its column `{field}` holds {kind}, expected text or whole numbers")));
        }
        places.push(place);
    }
    let mut columns: Vec<usize> = places.iter().map(|place| place.steps[0]).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut reader = meta.reader(w, &columns, 0, 0, BATCH_ROWS)?;
    let mut values = vec![String::new(); wanted.len()];
    let mut number = 0u64;
    while let Some(batch) = guarded(w, || reader.next().transpose().map_err(Into::into))
        .map_err(|e| near(w, number, meta.rows() as u64, &e))?
    {
        let mut texts = Vec::with_capacity(wanted.len());
        for (field, place) in wanted.iter().zip(&places) {
            let name = schema.field(place.steps[0]).name();
            let lost = || w.bad(format_args!("lost its column `{field}`"));
            let mut column = batch.column_by_name(name).ok_or_else(lost)?;
            // Rows whose struct is null have no field, whatever lies there.
            let mut absent: Vec<usize> = Vec::new();
            for step in &place.steps[1..] {
                let within = column.as_struct_opt().ok_or_else(lost)?;
                absent.extend((0..within.len()).filter(|row| within.is_null(*row)));
                column = within.columns().get(*step).ok_or_else(lost)?;
            }
            let mut found = joined(w, field, column, separator)?;
            absent.iter().for_each(|row| found[*row].clear());
            texts.push(found);
        }
        for i in 0..batch.num_rows() {
            number += 1;
            for (value, texts) in values.iter_mut().zip(&mut texts) {
                *value = std::mem::take(&mut texts[i]);
            }
            row(number, &mut values)?;
        }
    }
    Ok(())
}

/// Where a field is: a column, then a child of each struct on the way.
struct FieldPath<'s> {
    steps: Vec<usize>,
    kind: &'s DataType,
}

fn place<'s>(fields: &'s Fields, path: &str) -> Option<FieldPath<'s>> {
    if let Some((at, field)) = fields.find(path) {
        return Some(FieldPath { steps: vec![at], kind: field.data_type() });
    }
    path.match_indices('.').find_map(|(dot, _)| match fields.find(&path[..dot]) {
        Some((at, field)) => match field.data_type() {
            DataType::Struct(inner) => {
                let mut found = place(inner, &path[dot + 1..])?;
                found.steps.insert(0, at);
                Some(found)
            }
            _ => None,
        },
        None => None,
    })
}

/// A column as texts, its lists joined.
fn joined(w: &Window, field: &str, column: &ArrayRef, separator: Option<&str>) -> Result<Vec<String>> {
    let (Some(separator), Some(list)) = (separator, column.as_list_opt::<i32>()) else {
        return scalars(w, field, column);
    };
    let items = scalars(w, field, list.values())?;
    let ends = list.value_offsets();
    let parts = ends.windows(2).map(|ends| &items[ends[0] as usize..ends[1] as usize]);
    let full = |parts: &[String]| {
        let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| !p.trim().is_empty()).collect();
        parts.join(separator)
    };
    Ok(parts.map(full).collect())
}

/// The decoder does not say which row it stumbled over; it was in the batch after `read`.
fn near(w: &Window, read: u64, rows: u64, e: &Error) -> Error {
    let text = e.to_string();
    let cause = text.split_once("not readable as parquet: ").map_or(text.as_str(), |(_, cause)| cause);
    w.bad(format_args!(
        "not readable as parquet in rows {} to {}: {cause}",
        read + 1,
        (read + BATCH_ROWS as u64).min(rows)
    ))
}

fn scalars(w: &Window, field: &str, column: &ArrayRef) -> Result<Vec<String>> {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let texts = None
        .or_else(|| column.as_string_opt::<i32>().map(|a| a.iter().map(text).collect()))
        .or_else(|| column.as_string_opt::<i64>().map(|a| a.iter().map(text).collect()))
        .or_else(|| column.as_string_view_opt().map(|a| a.iter().map(text).collect()))
        .or_else(|| {
            let truths = column.as_boolean_opt()?;
            Some(truths.iter().map(|v| v.map_or(String::new(), |v| v.to_string())).collect())
        })
        .or_else(|| numbers::<Int64Type>(column))
        .or_else(|| numbers::<Int32Type>(column))
        .or_else(|| numbers::<Int16Type>(column))
        .or_else(|| numbers::<Int8Type>(column))
        .or_else(|| numbers::<UInt64Type>(column))
        .or_else(|| numbers::<UInt32Type>(column))
        .or_else(|| numbers::<UInt16Type>(column))
        .or_else(|| numbers::<UInt8Type>(column))
        .or_else(|| numbers::<Float64Type>(column))
        .or_else(|| numbers::<Float32Type>(column));
    texts.ok_or_else(|| {
        w.bad(format_args!("its column `{field}` holds {}, expected text or numbers", column.data_type()))
    })
}

/// Writes columns of text to a parquet file that appears when it is complete.
pub struct ParquetTexts {
    writer: ArrowWriter<AtomicFile>,
    schema: Arc<Schema>,
}

impl ParquetTexts {
    /// Starts a file: columns that always hold a text, then those that may hold none.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path, full: &[&str], nullable: &[&str]) -> Result<Self> {
        let fields = full.iter().map(|name| (name, false)).chain(nullable.iter().map(|name| (name, true)));
        let fields: Vec<Field> = fields.map(|(name, null)| Field::new(*name, DataType::Utf8, null)).collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let file = AtomicFile::create(path)?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|e| refused(path, e))?;
        Ok(Self { writer, schema })
    }

    /// Writes rows, given as one list a column.
    ///
    /// # Errors
    /// If the system refuses, or the columns are not of one length.
    pub fn put(&mut self, columns: &[Vec<Option<&str>>]) -> Result<()> {
        let arrays = columns.iter().map(|texts| Arc::new(StringArray::from(texts.clone())) as ArrayRef).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays);
        let done = batch.map_err(ParquetError::from).and_then(|batch| self.writer.write(&batch));
        done.map_err(|e| refused(self.writer.inner().path(), e))
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn finish(self) -> Result<()> {
        let path = self.writer.inner().path().to_path_buf();
        self.writer.into_inner().map_err(|e| refused(&path, e))?.commit()
    }
}
