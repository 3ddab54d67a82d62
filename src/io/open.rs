//! Opening a file of embeddings, whatever its format.

use std::path::Path;

use super::options::{OpenOptions, extension, pickled};
use super::window::Window;
use super::{json_rows, npy, npz, shards, tensors};
use crate::data::{Matrix, RowSource};
use crate::error::{Error, Result};

/// What is read, for messages.
const READ: &str = ".npy, .npz, .safetensors, .parquet and .jsonl are read";

/// Opens `[rows, dims]` embeddings in a `.npy`, `.npz`, `.safetensors`, `.jsonl` (a list a line) or (feature `parquet`) `.parquet` file, or
/// in all files of a folder, which are of one format and are read in the order of their names.
///
/// The first bytes decide the format, the extension only where they do not. Floats of 16, 32 and 64 bits and integers of 8 are
/// converted to `f32`; a value beyond its range becomes infinity, and a list or a value that is null NaN, both of which
/// [`Screened`](crate::Screened) finds. Unsigned integers of fewer than 256 columns are refused, as those are packed bits.
/// Opening reads headers only, and reading takes memory for the range asked for, however large the file: rows are
/// read by position and nothing is memory-mapped. The exception is a compressed `.npz` array, which is inflated
/// into memory. A stored `.npz` array is read in place, without its checksum. Column-major (Fortran) arrays are
/// read column by column, so scattered small reads cost `dims` reads each. A parquet file is decoded forwards from
/// the row group that holds the first row asked for; reading it in order decodes each page once. A `.jsonl` is looked through for its
/// lines when it is opened and parsed as it is read; a `.jsonl.gz` is parsed into memory.
///
/// ```no_run
/// use sememe::io::{OpenOptions, open};
/// let rows = open("items.npz", &OpenOptions { array: Some("text".into()), ..Default::default() })?;
/// println!("{} × {}", rows.rows(), rows.dims());
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// If the file cannot be read; is empty, a pipe or a device; holds a pickle or another format; claims more
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
    if path.is_dir() {
        return open_folder(path, options);
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
        "jsonl" => Ok(Box::new(json_rows::JsonRows::open(w, options.array.as_deref())?)),
        "gz" => {
            let (field, rows) = json_rows::read_compressed(&w, options.array.as_deref())?;
            Ok(Box::new(NamedRows { name: w.named(&field).name(), rows }))
        }
        "" => Err(Error::format(path, format!("is in a format that is not read; {READ}"))),
        other => Err(Error::format(path, format!("is in a format that is not read (`.{other}`); {READ}"))),
    }
}

/// Opens several files of embeddings as one source: the rows of the first, then those of the second, and so on. A folder among them
/// stands for its files, see [`open`].
///
/// # Errors
/// As for [`open`]; if the files have rows of different dimensions, or there is no file.
pub fn open_all<P: AsRef<Path>>(paths: &[P], options: &OpenOptions) -> Result<Box<dyn RowSource>> {
    match paths {
        [] => Err(Error::Data("expected at least 1 file of rows, got 0".into())),
        [one] => open(one, options),
        [first, rest @ ..] => {
            let parts = paths.iter().map(|path| open(path, options)).collect::<Result<_>>()?;
            shards::joined(format!("{} and {} more", first.as_ref().display(), rest.len()), parts)
        }
    }
}

/// Opens all files of a folder, in the order of their names.
fn open_folder(folder: &Path, options: &OpenOptions) -> Result<Box<dyn RowSource>> {
    let files = shards::files_of(folder, &["npy", "npz", "safetensors", "parquet", "jsonl", "jsonl.gz"])?;
    let parts = files.iter().map(|path| open(path, options)).collect::<Result<_>>()?;
    shards::joined(folder.display().to_string(), parts)
}

/// Rows in memory that came from a file.
struct NamedRows {
    name: String,
    rows: Matrix,
}

impl RowSource for NamedRows {
    fn rows(&self) -> usize {
        self.rows.rows()
    }
    fn dims(&self) -> usize {
        self.rows.dims()
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.rows.read_rows(start, out)
    }
}

#[cfg(feature = "parquet")]
fn open_parquet(w: Window, options: &OpenOptions) -> Result<Box<dyn RowSource>> {
    Ok(Box::new(super::parquet_rows::ParquetRows::open(w, options.array.as_deref())?))
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(w: Window, _: &OpenOptions) -> Result<Box<dyn RowSource>> {
    Err(w.bad("is a parquet file, which this build does not read").mend([crate::Remedy::build("parquet")]))
}
