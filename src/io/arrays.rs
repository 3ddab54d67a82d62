//! Several arrays in one file, for programs that read numpy's or safetensors' files.

use std::io::{BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::atomic::AtomicFile;
use super::npy;
use super::options::extension;
use crate::error::{Error, Result};

/// Values of one array.
pub(crate) enum Values<'a> {
    Bool(&'a [bool]),
    I32(&'a [i32]),
    I64(&'a [i64]),
}

/// A named array, C-ordered; an empty shape is a single number.
pub(crate) struct Array<'a> {
    pub name: &'static str,
    pub shape: Vec<u64>,
    pub values: Values<'a>,
}

impl Array<'_> {
    /// The type as numpy spells it, as safetensors does, and bytes a value.
    fn kind(&self) -> (&'static str, &'static str, u64) {
        match self.values {
            Values::Bool(_) => ("|b1", "BOOL", 1),
            Values::I32(_) => ("<i4", "I32", 4),
            Values::I64(_) => ("<i8", "I64", 8),
        }
    }

    fn len_bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.kind().2
    }

    fn put(&self, out: impl Write) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        match self.values {
            Values::Bool(all) => all.iter().try_for_each(|v| out.write_all(&[u8::from(*v)]))?,
            Values::I32(all) => all.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))?,
            Values::I64(all) => all.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))?,
        }
        out.flush()
    }
}

/// Writes arrays to a `.npz` (stored, so that it can be mapped) or `.safetensors` file, whole or not at all; the same arrays give the
/// same bytes.
///
/// # Errors
/// If the extension is another or the file cannot be written.
pub(crate) fn write_arrays(path: &Path, arrays: &[Array<'_>]) -> Result<()> {
    match extension(path).as_str() {
        "npz" => write_npz(path, arrays),
        "safetensors" => write_safetensors(path, arrays),
        other => Err(Error::format(path, format!("arrays are written as .npz or .safetensors, got `.{other}`"))),
    }
}

fn write_npz(path: &Path, arrays: &[Array<'_>]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    let mut fill = || -> zip::result::ZipResult<()> {
        let mut zip = ZipWriter::new(&mut file);
        // Without a clock, entries are dated 1980, and the same arrays give the same file.
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for array in arrays {
            zip.start_file(format!("{}.npy", array.name), options.large_file(array.len_bytes() >= u32::MAX.into()))?;
            zip.write_all(&npy::header_of(array.kind().0, &array.shape))?;
            array.put(&mut zip)?;
        }
        zip.finish()?;
        Ok(())
    };
    if let Err(e) = fill() {
        return Err(file.failed(e.into()));
    }
    file.commit()
}

fn write_safetensors(path: &Path, arrays: &[Array<'_>]) -> Result<()> {
    // Wide types first, so that every tensor is aligned to its own.
    let mut order: Vec<&Array<'_>> = arrays.iter().collect();
    order.sort_by_key(|array| std::cmp::Reverse(array.kind().2));
    let (mut at, mut entries) = (0u64, Vec::new());
    for array in &order {
        let (_, dtype, _) = array.kind();
        let (shape, end) = (&array.shape, at + array.len_bytes());
        entries.push(format!(
            "\"{}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}",
            array.name
        ));
        at = end;
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    // The format asks for data that starts at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = AtomicFile::create(path)?;
    file.put(&(header.len() as u64).to_le_bytes())?;
    file.put(&header)?;
    for array in order {
        if let Err(e) = array.put(&mut file) {
            return Err(file.failed(e));
        }
    }
    file.commit()
}
