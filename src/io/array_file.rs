//! All arrays of a file, of any number of axes, by name: what other programs keep their models in.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::array_info::ArrayInfo;
use super::dense::{ArrayLayout, DenseRows};
use super::npy::{self, NpyHeader};
use super::npz::{Archive, ZipEntry};
use super::options::OpenOptions;
use super::tensors::{self, TensorFile};
use super::window::Window;
use crate::data::RowSource as _;
use crate::error::Result;

enum Source {
    Npy(Window),
    Npz { window: Window, archive: Mutex<Archive>, entries: Vec<ZipEntry>, options: OpenOptions },
    Tensors(TensorFile),
}

/// The arrays of a `.npy`, `.npz` or `.safetensors` file. Only headers are read until an array is asked for.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.npz");
/// use sememe::io::{ArrayFile, ArrayValues, NamedArray, OpenOptions, write_arrays};
/// let books = [0.5, 1.0, 2.0, 4.0];
/// write_arrays(&path, &[NamedArray::new("books", &[2, 1, 2], ArrayValues::F32(&books))])?;
/// let file = ArrayFile::open(&path, &OpenOptions::default())?;
/// assert_eq!(file.arrays()[0].shape, [2, 1, 2]);
/// assert_eq!(file.read("books")?, books);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ArrayFile {
    window: Window,
    arrays: Vec<ArrayInfo>,
    source: Source,
}

impl ArrayFile {
    /// Reads the headers; the first bytes decide the format. Of the options those about inflating count.
    ///
    /// # Errors
    /// If the file cannot be read, is of another format, or its headers are not right.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let window = Window::open(path.as_ref())?;
        let mut lead = [0u8; 9];
        let have = window.len().min(9) as usize;
        window.read_at(0, &mut lead[..have])?;
        let lead = &lead[..have];
        if lead.starts_with(npy::MAGIC) {
            let header = npy::read_header(&window)?;
            let arrays = vec![info(String::new(), &header)];
            return Ok(Self { source: Source::Npy(window.clone()), window, arrays });
        }
        if lead.starts_with(b"PK") {
            let (mut archive, entries) = super::npz::read_directory(&window)?;
            let mut arrays = Vec::with_capacity(entries.len());
            for entry in &entries {
                arrays.push(match entry.header(&window, &mut archive) {
                    Ok(header) => info(entry.name.clone(), &header),
                    Err(e) => {
                        ArrayInfo { name: entry.name.clone(), shape: Vec::new(), kind: e.to_string(), floats: false }
                    }
                });
            }
            let (archive, options) = (Mutex::new(archive), options.clone());
            let source = Source::Npz { window: window.clone(), archive, entries, options };
            return Ok(Self { source, window, arrays });
        }
        if tensors::looks_right(lead, window.len()) {
            let file = TensorFile::open(path.as_ref())?;
            let arrays = file.infos()?;
            return Ok(Self { source: Source::Tensors(file), window, arrays });
        }
        Err(window.bad("is none of .npy, .npz and .safetensors by its first bytes"))
    }

    /// What the file holds, in its order; of a `.safetensors` in the order of the names' bytes.
    #[must_use]
    pub fn arrays(&self) -> &[ArrayInfo] {
        &self.arrays
    }

    /// An array's values, of one byte each: a text, for one.
    ///
    /// # Errors
    /// As [`read`](Self::read), for values that are not unsigned bytes.
    pub fn read_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let window = self.part(name)?;
        if let Source::Tensors(_) = &self.source {
            return Err(window.bad("bytes are read from .npy and .npz"));
        }
        let header = npy::read_header(&window)?;
        if (header.kind, header.size_bytes) != (b'u', 1) {
            return Err(window.bad(format_args!("holds {}, expected uint8", header.kind_name())));
        }
        let (lines, length) = header.check_any(&window)?;
        window.bytes(header.start, lines * length)
    }

    /// The bytes of an array of a `.npy` or `.npz`, with its header.
    fn part(&self, name: &str) -> Result<Window> {
        let at = self.arrays.iter().position(|array| array.name == name);
        let at = at.ok_or_else(|| self.window.bad(format_args!("has no array `{name}`")))?;
        match &self.source {
            Source::Npz { window, archive, entries, options } => {
                let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                entries[at].open(window, &mut archive, options)
            }
            Source::Npy(window) => Ok(window.clone()),
            Source::Tensors(_) => Ok(self.window.clone().named(name)),
        }
    }

    /// An array's values in C order.
    ///
    /// # Errors
    /// If there is no array of this name; it holds no values, or anything but floats; its header claims more or less than there is; or it
    /// inflates beyond the limits.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let window = self.part(name)?;
        let Source::Tensors(file) = &self.source else { return read_npy(&window) };
        let shape = self.arrays.iter().find(|array| array.name == name).map_or(&[][..], |array| &array.shape);
        let values = file.read(name, shape)?;
        if values.is_empty() {
            return Err(window.bad("holds no values"));
        }
        Ok(values)
    }
}

fn info(name: String, header: &NpyHeader) -> ArrayInfo {
    // What does not fit is refused when it is read.
    let shape = header.shape.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect();
    let floats = header.number().is_some_and(super::numbers::NumberKind::is_float);
    ArrayInfo { name, shape, kind: header.kind_name(), floats }
}

fn read_npy(w: &Window) -> Result<Vec<f32>> {
    let header = npy::read_header(w)?;
    let Some(number) = header.number().filter(|number| number.is_float()) else {
        return Err(w.bad(format_args!("holds {}, expected float16, float32 or float64", header.kind_name())));
    };
    let (rows, dims) = header.check_any(w)?;
    let NpyHeader { start, big_endian, columns, .. } = header;
    if columns && header.shape.len() > 2 {
        let axes = header.shape.len();
        return Err(w.bad(format_args!(
            "has {axes} axes in Fortran order, of which at most 2 are read; save `numpy.ascontiguousarray(a)`"
        )));
    }
    let columns = columns && header.shape.len() == 2;
    let mut values = vec![0.0; rows * dims];
    DenseRows::new(w.clone(), ArrayLayout { start, rows, dims, number, big_endian, columns })
        .read_rows(0, &mut values)?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{ArrayValues, NamedArray, write_arrays};

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    fn opened(path: &Path) -> ArrayFile {
        ArrayFile::open(path, &OpenOptions::default()).expect("arrays")
    }

    #[test]
    fn floats_of_any_order_and_size_are_read() {
        let wanted = opened(&fixture("le_f4.npy")).read("").expect("values");
        assert!(wanted.len() > 4);
        for name in ["le_f4_fortran", "be_f4", "be_f4_fortran", "le_f8", "be_f8_fortran"] {
            let file = opened(&fixture(&format!("{name}.npy")));
            assert_eq!((file.arrays()[0].floats, file.read("").expect(name)), (true, wanted.clone()), "{name}");
        }
        let cube = opened(&fixture("cube.npy"));
        assert_eq!(cube.arrays()[0].shape.len(), 3);
        let count = cube.arrays()[0].shape.iter().product::<usize>();
        assert_eq!(cube.read("").expect("three axes").len(), count);
    }

    #[test]
    fn what_is_written_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (values, text) = ([0.5, -1.0, f32::MAX, 3.0, 1e-40, 0.0], *b"{\"a\":1}");
        let arrays = [
            NamedArray::new("x\"y", &[1, 3, 2], ArrayValues::F32(&values)),
            NamedArray::new("one", &[], ArrayValues::F32(&values[..1])),
            NamedArray::new("text", &[text.len()], ArrayValues::U8(&text)),
        ];
        for name in ["a.npz", "a.safetensors"] {
            let path = folder.path().join(name);
            write_arrays(&path, &arrays).expect(name);
            let file = opened(&path);
            let shape =
                |name: &str| file.arrays().iter().find(|array| array.name == name).map(|array| array.shape.clone());
            assert_eq!((shape("x\"y"), shape("one")), (Some(vec![1, 3, 2]), Some(vec![])), "{name}");
            assert_eq!(file.read("x\"y").expect(name), values);
            assert_eq!(file.read("one").expect(name), values[..1]);
            assert!(file.read("text").is_err() && file.read("none").is_err());
        }
        assert_eq!(opened(&folder.path().join("a.npz")).read_bytes("text").expect("bytes"), text);
        assert!(opened(&folder.path().join("a.npz")).read_bytes("one").is_err());
        let path = folder.path().join("a.npy");
        write_arrays(&path, &arrays[..1]).expect("one array");
        assert_eq!(opened(&path).read("").expect("values"), values);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = NamedArray::new("a", &[2], ArrayValues::F32(&[1.0, 2.0]));
        let refused = |name: &str, arrays: &[NamedArray<'_>]| {
            write_arrays(folder.path().join(name), arrays).expect_err(name).to_string()
        };
        assert!(refused("a.npy", &[one.clone(), one.clone()]).contains("named `a`"));
        let other = NamedArray { name: "b".into(), ..one.clone() };
        assert!(refused("a.npy", &[one.clone(), other]).contains("holds one array, got 2"));
        assert!(refused("a.txt", &[one]).contains("got `.txt`"));
        assert!(
            refused("a.npz", &[NamedArray::new("a", &[3], ArrayValues::F32(&[1.0]))])
                .contains("expected values = 3, got 1")
        );
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn what_is_no_array_of_floats_is_named() {
        let ints = opened(&fixture("ints.npy"));
        assert!(!ints.arrays()[0].floats && ints.read("").expect_err("integers").to_string().contains("int"));
        assert!(ArrayFile::open(fixture("object.npy"), &OpenOptions::default()).is_err());
        let other = ArrayFile::open(fixture("codes.parquet"), &OpenOptions::default()).err().expect("no arrays");
        assert!(other.to_string().contains("none of .npy"), "{other}");
    }
}
