//! Vectors as a file of rows, with the keys of the rows beside it.

use std::path::Path;

use super::input::Texts;
use super::table::{ReadTable, VectorTable};
use sememe::data::{RowSource, first_non_finite};
use sememe::io::{OpenOptions, RowsWriter, open, read_bytes_capped, write_bytes_atomic};
use sememe::{Error, Remedy, Result};

/// Result of [`export`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Whether the rows were written; not if they were there already.
    pub written: bool,
    /// Vectors whose values are all zero, which say nothing of their items.
    pub zero_vectors: usize,
}

/// Writes the vectors of items, in their order, as `.npy` or `.safetensors`, and their keys as JSONL with the field `id`, as
/// `train`, `assign` and the other verbs take them. A file that says the same already is left alone. Reads the table twice, O(items · dims), a row in memory at a time.
///
/// # Errors
/// [`Error::Store`] for an item without a vector; [`Error::Data`] for one that holds NaN or infinity or has another number of values
/// than the first; and what the system returns. Neither file is changed then.
pub fn export(texts: &Texts, target: &VectorTable, rows: &Path, keys: Option<&Path>) -> Result<Exported> {
    let Some(table) = ReadTable::existing(target, &texts.keys)? else {
        let place = target.path.display();
        return Err(Error::Store(format!("`{place}` has no table `{}`; embed into it first", target.table)));
    };
    let (mut dims, mut zero_vectors) = (0, 0);
    let mut values: Vec<f32> = Vec::new();
    let mut old: Option<Box<dyn RowSource>> =
        if rows.exists() { open(rows, &OpenOptions::default()).ok() } else { None };
    let mut there: Vec<f32> = Vec::new();
    table.vectors(&texts.keys, &mut |at, bytes| {
        take(bytes, &mut values);
        let key = texts.key(at);
        if at == 0 {
            dims = values.len();
            old = old.take().filter(|old| old.rows() == texts.keys.len() && old.dims() == dims && dims > 0);
            there = vec![0.0; dims];
        }
        if values.len() != dims || dims == 0 || bytes.len() != 4 * dims {
            let got = values.len();
            return Err(Error::Data(format!("the vector of `{key}` has {got} values, that of the first item {dims}")));
        }
        if first_non_finite(&values, dims).is_some() {
            return Err(Error::Data(format!("the vector of `{key}` in `{}` holds NaN or infinity", target.table))
                .mend([Remedy::set("rebuild", "true").to("ask for all again")]));
        }
        zero_vectors += usize::from(values.iter().all(|value| *value == 0.0));
        // A file that cannot be read is replaced.
        let same =
            old.as_ref().is_some_and(|old| old.read_rows(at, &mut there).is_ok() && bits(&there).eq(bits(&values)));
        if !same {
            old = None;
        }
        Ok(())
    })?;
    let changed = old.is_none();
    if changed {
        let mut out = RowsWriter::create(rows, texts.keys.len(), dims)?;
        table.vectors(&texts.keys, &mut |_, bytes| {
            take(bytes, &mut values);
            out.write(&values)
        })?;
        out.finish()?;
    }
    if let Some(path) = keys {
        let mut lines = String::new();
        for key in &texts.keys {
            lines.push_str(&serde_json::json!({ "id": key }).to_string());
            lines.push('\n');
        }
        if !read_bytes_capped(path, lines.len() as u64).is_ok_and(|there| there == lines.as_bytes()) {
            write_bytes_atomic(path, lines.as_bytes())?;
        }
    }
    Ok(Exported { written: changed, zero_vectors })
}

fn bits(values: &[f32]) -> impl Iterator<Item = u32> + '_ {
    values.iter().map(|v| v.to_bits())
}

fn take(bytes: &[u8], values: &mut Vec<f32>) {
    values.clear();
    values.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
}
