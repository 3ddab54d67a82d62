//! One column of a parquet file as text.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};

use super::lists::{Meta, guarded};
use super::window::Window;
use crate::error::Result;

const BATCH_ROWS: usize = 1 << 14;

fn numbers<T: ArrowPrimitiveType<Native: ToString>>(column: &ArrayRef) -> Option<Vec<String>> {
    let values = column.as_primitive_opt::<T>()?;
    Some(values.iter().map(|v| v.map_or(String::new(), |v| v.to_string())).collect())
}

/// Text, numbers and truth values; nulls are empty.
pub(crate) fn read(w: &Window, field: &str) -> Result<Vec<String>> {
    let meta = Meta::load(w)?;
    let schema = meta.meta.schema().clone();
    let Ok(at) = schema.index_of(field) else {
        let names: Vec<&str> = schema.fields().iter().take(20).map(|f| f.name().as_str()).collect();
        return Err(w.bad(format_args!("has no column `{field}`; it holds `{}`", names.join("`, `"))));
    };
    let mut reader = meta.reader(w, &[at], 0, 0, BATCH_ROWS)?;
    let mut out = Vec::new();
    while let Some(batch) = guarded(w, || reader.next().transpose().map_err(Into::into))? {
        let column = batch.column(0);
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
        let texts: Vec<String> = texts.ok_or_else(|| {
            w.bad(format_args!("its column `{field}` holds {}, expected text or numbers", column.data_type()))
        })?;
        out.extend(texts);
    }
    Ok(out)
}
