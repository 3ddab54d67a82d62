//! Writes `[rows, dims]` floats piece by piece.

use std::path::Path;

use super::atomic::AtomicFile;
use super::npy;
use super::options::extension;
use crate::error::{Error, Result, check_shape};

/// Writes `f32` rows to a `.npy` or `.safetensors` file (tensor `embeddings`), which appears when it is complete.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("rows.npy");
/// let mut out = sememe::io::RowsWriter::create(&path, 2, 3)?;
/// out.write(&[1., 2., 3.])?;
/// out.write(&[4., 5., 6.])?;
/// out.finish()?;
/// assert_eq!(sememe::io::open(&path, &Default::default())?.rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RowsWriter {
    file: AtomicFile,
    rows: usize,
    dims: usize,
    written: usize,
}

impl RowsWriter {
    /// Starts a file of `[rows, dims]`; the extension picks the format.
    ///
    /// # Errors
    /// If the extension is another, the shape holds no values or overflows, or the file cannot be created.
    pub fn create(path: impl AsRef<Path>, rows: usize, dims: usize) -> Result<Self> {
        let path = path.as_ref();
        let bytes = (rows as u64).checked_mul(dims as u64).and_then(|n| n.checked_mul(4));
        let Some(bytes) = bytes.filter(|bytes| *bytes > 0) else {
            return Err(Error::format(path, format!("a shape of ({rows}, {dims}) cannot be written")));
        };
        let header = match extension(path).as_str() {
            "npy" => npy::header_bytes("<f4", rows, dims),
            "safetensors" => tensor_header(rows, dims, bytes),
            other => {
                let problem = format!("rows are written as .npy or .safetensors, got `.{other}`");
                return Err(Error::format(path, problem));
            }
        };
        let mut file = AtomicFile::create(path)?;
        file.put(&header)?;
        Ok(Self { file, rows, dims, written: 0 })
    }

    /// Appends whole rows, `[any, dims]`.
    ///
    /// # Errors
    /// If `values` is not whole rows, there are more than announced, or the file cannot be written.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        let count = values.len() / self.dims;
        let place = || self.file.path().display().to_string();
        check_shape("values", count * self.dims, values.len(), place())?;
        if count > self.rows - self.written {
            return check_shape("rows", self.rows, self.written.saturating_add(count), place());
        }
        let mut bytes = Vec::with_capacity(values.len().min(1 << 16) * 4);
        for part in values.chunks(1 << 16) {
            bytes.clear();
            bytes.extend(part.iter().flat_map(|v| v.to_le_bytes()));
            self.file.put(&bytes)?;
        }
        self.written += count;
        Ok(())
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// If fewer rows were written than announced (nothing is left behind then), or the file cannot be put in place.
    pub fn finish(self) -> Result<()> {
        check_shape("rows", self.rows, self.written, self.file.path().display().to_string())?;
        self.file.commit()
    }
}

fn tensor_header(rows: usize, dims: usize, bytes: u64) -> Vec<u8> {
    let mut json =
        format!("{{\"embeddings\":{{\"dtype\":\"F32\",\"shape\":[{rows},{dims}],\"data_offsets\":[0,{bytes}]}}}}");
    // The format asks for data that starts at a multiple of 8.
    while json.len() % 8 != 0 {
        json.push(' ');
    }
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend(json.as_bytes());
    out
}
