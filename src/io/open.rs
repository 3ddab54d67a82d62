//! Opening a file of embeddings, whatever its format.

use std::path::Path;

use super::window::Window;
use super::{npy, npz, tensors};
use crate::data::RowSource;
use crate::error::{Error, Result};

/// What is read, for messages.
const READ: &str = ".npy, .npz, .safetensors and .parquet are read";

/// How to open a file of embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// The array (`.npz`), tensor (`.safetensors`) or column (`.parquet`) to read. Without it `embeddings` is
    /// taken, or else the only one that can hold embeddings. A `.npy` holds one array and ignores it.
    pub array: Option<String>,
    /// The most bytes that a compressed array of an `.npz` may inflate to; it is then held in memory. 8 GiB.
    pub max_inflated_bytes: u64,
    /// How many times as many bytes a compressed array of more than 64 MiB may inflate to. 200.
    pub max_inflation_ratio: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { array: None, max_inflated_bytes: 8 << 30, max_inflation_ratio: 200 }
    }
}

/// The error for what only running a pickle would read.
pub(crate) fn pickled(path: &Path, what: &str) -> Error {
    Error::format(
        path,
        format!(
            "is {what}; reading it would run code from the file, so it is not read; \
             in Python, save it with `numpy.save` or `safetensors.torch.save_file`"
        ),
    )
}

/// The extension in lower case.
#[must_use]
pub fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Opens `[rows, dims]` embeddings in a `.npy`, `.npz`, `.safetensors` or (feature `parquet`) `.parquet` file.
///
/// The first bytes decide the format, the extension only where they do not. Floats of 16, 32 and 64 bits are
/// converted to `f32`; a value beyond its range becomes infinity, which [`Screened`](crate::Screened) finds.
/// Opening reads headers only, and reading takes memory for the range asked for, however large the file: rows are
/// read by position and nothing is memory-mapped. The exception is a compressed `.npz` array, which is inflated
/// into memory. A stored `.npz` array is read in place, without its checksum. Column-major (Fortran) arrays are
/// read column by column, so scattered small reads cost `dims` reads each. A parquet file is decoded forwards from
/// the row group that holds the first row asked for; reading it in order decodes each page once.
///
/// ```no_run
/// use sememe::io::{OpenOptions, open};
/// let rows = open("items.npz", &OpenOptions { array: Some("text".into()), ..Default::default() })?;
/// println!("{} × {}", rows.rows(), rows.dims());
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// If the file cannot be read; is empty, a folder, a pipe or a device; holds a pickle or another format; claims more
/// or less than it holds; holds no array of that name, or several that could be meant; or the array is not 2-D,
/// holds no values, or holds anything but floats. A file cut short later gives an error on reading.
pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Box<dyn RowSource>> {
    let path = path.as_ref();
    let extension = extension(path);
    if let "pt" | "pth" | "pkl" | "pickle" | "joblib" | "ckpt" = extension.as_str() {
        // A missing file is said to be missing.
        std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        return Err(pickled(path, &format!("a pickle by its extension `.{extension}`")));
    }
    let w = Window::open(path)?;
    let mut lead = [0u8; 9];
    let have = w.len().min(9) as usize;
    w.read_at(0, &mut lead[..have])?;
    let lead = &lead[..have];
    if lead.starts_with(npy::MAGIC) {
        return Ok(Box::new(npy::open(w)?));
    }
    if lead.starts_with(b"PK\x03\x04") || lead.starts_with(b"PK\x05\x06") {
        return Ok(Box::new(npz::open(&w, options)?));
    }
    if lead.starts_with(b"PAR1") {
        return open_parquet(w, options);
    }
    // Protocols 2 to 5 of pickle open with these.
    if let [0x80, 2..=5, ..] = lead {
        return Err(pickled(path, "a pickle by its first bytes"));
    }
    if tensors::looks_right(lead, w.len()) {
        return Ok(Box::new(tensors::open(&w, options.array.as_deref())?));
    }
    match extension.as_str() {
        "npy" => Ok(Box::new(npy::open(w)?)),
        "npz" => Ok(Box::new(npz::open(&w, options)?)),
        "safetensors" => Ok(Box::new(tensors::open(&w, options.array.as_deref())?)),
        "parquet" => open_parquet(w, options),
        "" => Err(Error::format(path, format!("is in a format that is not read; {READ}"))),
        other => Err(Error::format(path, format!("is in a format that is not read (`.{other}`); {READ}"))),
    }
}

#[cfg(feature = "parquet")]
fn open_parquet(w: Window, options: &OpenOptions) -> Result<Box<dyn RowSource>> {
    Ok(Box::new(super::parquet_rows::ParquetRows::open(w, options.array.as_deref())?))
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(w: Window, _: &OpenOptions) -> Result<Box<dyn RowSource>> {
    Err(w.bad("is a parquet file, which this build does not read; build with `--features parquet`"))
}
