//! Several arrays in one file, for programs that read numpy's or safetensors' files.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::atomic::AtomicFile;
use super::npy;
use super::options::extension;
use crate::error::{Error, Result, check_shape};

/// Values of one array, in C order.
#[derive(Clone, Copy, Debug)]
pub enum ArrayValues<'a> {
    /// Truth values, a byte each.
    Bool(&'a [bool]),
    /// Bytes.
    U8(&'a [u8]),
    /// 32-bit integers.
    I32(&'a [i32]),
    /// 64-bit integers.
    I64(&'a [i64]),
    /// 32-bit floats.
    F32(&'a [f32]),
}

/// An array with its name, for [`write_arrays`].
#[derive(Clone, Debug)]
pub struct NamedArray<'a> {
    /// Its name in the file.
    pub name: Cow<'a, str>,
    /// Its axes, four at most; none for a single number.
    pub shape: Vec<u64>,
    /// As many values as the axes ask for.
    pub values: ArrayValues<'a>,
}

impl ArrayValues<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bool(all) => all.len(),
            Self::U8(all) => all.len(),
            Self::I32(all) => all.len(),
            Self::I64(all) => all.len(),
            Self::F32(all) => all.len(),
        }
    }
}

impl<'a> NamedArray<'a> {
    /// An array of this shape.
    #[must_use]
    pub fn new(name: impl Into<Cow<'a, str>>, shape: &[usize], values: ArrayValues<'a>) -> Self {
        Self { name: name.into(), shape: shape.iter().map(|n| *n as u64).collect(), values }
    }

    /// The type as numpy spells it, as safetensors does, and bytes a value.
    fn kind(&self) -> (&'static str, &'static str, u64) {
        match self.values {
            ArrayValues::Bool(_) => ("|b1", "BOOL", 1),
            ArrayValues::U8(_) => ("|u1", "U8", 1),
            ArrayValues::I32(_) => ("<i4", "I32", 4),
            ArrayValues::I64(_) => ("<i8", "I64", 8),
            ArrayValues::F32(_) => ("<f4", "F32", 4),
        }
    }

    /// Refuses a shape that is not that of the values.
    fn check(&self) -> Result<()> {
        let values = self.shape.iter().try_fold(1u64, |n, axis| n.checked_mul(*axis));
        let wanted = values.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        check_shape("values", wanted, self.values.len(), self.name.as_ref())?;
        if self.shape.len() > 4 {
            return Err(Error::Data(format!("`{}` has {} axes, at most 4 are written", self.name, self.shape.len())));
        }
        Ok(())
    }

    fn len_bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.kind().2
    }

    fn put(&self, out: impl Write) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        match self.values {
            ArrayValues::Bool(all) => all.iter().try_for_each(|v| out.write_all(&[u8::from(*v)]))?,
            ArrayValues::U8(all) => out.write_all(all)?,
            ArrayValues::I32(all) => all.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))?,
            ArrayValues::I64(all) => all.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))?,
            ArrayValues::F32(all) => all.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))?,
        }
        out.flush()
    }
}

/// Writes arrays to a `.npz` (stored, so that it can be mapped) or `.safetensors` file, or one to a `.npy`, whole or not at all; the same
/// arrays give the same bytes.
///
/// # Errors
/// [`Error::Shape`] where a shape is not that of its values; if the extension is another, a name stands twice, a `.npy` is to hold several
/// arrays, or the file cannot be written.
pub fn write_arrays(path: impl AsRef<Path>, arrays: &[NamedArray<'_>]) -> Result<()> {
    let path = path.as_ref();
    arrays.iter().try_for_each(NamedArray::check)?;
    if let Some((at, twice)) = arrays.iter().enumerate().find(|(at, a)| arrays[..*at].iter().any(|b| a.name == b.name))
    {
        return Err(Error::Data(format!("array {at} is named `{}`, as one before it", twice.name)));
    }
    match (extension(path).as_str(), arrays) {
        ("npz", _) => write_npz(path, arrays),
        ("safetensors", _) => write_safetensors(path, arrays),
        ("npy", [only]) => write_npy(path, only),
        ("npy", _) => Err(Error::format(path, format!("a .npy holds one array, got {}; write a .npz", arrays.len()))),
        (other, _) => {
            Err(Error::format(path, format!("arrays are written as .npz, .safetensors or .npy, got `.{other}`")))
        }
    }
}

fn write_npy(path: &Path, array: &NamedArray<'_>) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.put(&npy::header_of(array.kind().0, &array.shape))?;
    if let Err(e) = array.put(&mut file) {
        return Err(file.failed(e));
    }
    file.commit()
}

fn write_npz(path: &Path, arrays: &[NamedArray<'_>]) -> Result<()> {
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

fn write_safetensors(path: &Path, arrays: &[NamedArray<'_>]) -> Result<()> {
    // Wide types first, so that every tensor is aligned to its own.
    let mut order: Vec<&NamedArray<'_>> = arrays.iter().collect();
    order.sort_by_key(|array| std::cmp::Reverse(array.kind().2));
    let (mut at, mut entries) = (0u64, Vec::new());
    for array in &order {
        let (_, dtype, _) = array.kind();
        let (shape, end) = (&array.shape, at + array.len_bytes());
        let name = serde_json::Value::from(array.name.as_ref());
        entries.push(format!("{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}"));
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
