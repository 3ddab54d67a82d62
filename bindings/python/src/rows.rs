//! Rows as the libraries read them: pieces in memory, files, or batches that were set down in a temporary file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_arrow::{PyArray, PyArrayReader};
use sememe::io::OpenOptions;
use sememe::{Error, MatrixView, RowSource, check_shape};

use crate::buffer::{Lists, Strided};
use crate::errors::{OrRaise as _, data, of_class};

enum Piece {
    Strided(Strided),
    Lists(Lists),
}

impl Piece {
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Strided(array) => (array.rows, array.dims),
            Self::Lists(lists) => (lists.rows, lists.dims),
        }
    }

    fn slice(&self) -> Option<&[f32]> {
        match self {
            Self::Strided(array) => array.slice(),
            Self::Lists(lists) => lists.slice(),
        }
    }

    fn read(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::Strided(array) => array.read(start, out),
            Self::Lists(lists) => lists.read(start, out),
        }
    }
}

enum Place {
    /// Pieces and the number of rows before each, and before the end.
    Memory(Vec<Piece>, Vec<usize>),
    Files(Box<dyn RowSource>),
    /// A file that has no name, of `f32` in the machine's byte order.
    Spooled(Mutex<File>, usize),
}

/// Rows, shared by Python and the threads that work on them.
pub struct Held {
    place: Place,
    dims: usize,
    name: String,
}

impl Held {
    fn pieces(pieces: Vec<Piece>, name: String) -> sememe::Result<Self> {
        let (mut before, mut dims) = (vec![0], None);
        for piece in &pieces {
            let (rows, width) = piece.shape();
            check_shape("d", *dims.get_or_insert(width), width, name.as_str())?;
            before.push(before.last().copied().unwrap_or(0) + rows);
        }
        Ok(Self { place: Place::Memory(pieces, before), dims: dims.unwrap_or(0), name })
    }

    /// Views of every piece with the row it begins at, where all lie in memory as the libraries want them.
    pub fn views(&self) -> Option<Vec<(usize, MatrixView<'_>)>> {
        let Place::Memory(pieces, before) = &self.place else { return None };
        let views = pieces
            .iter()
            .zip(before)
            .map(|(piece, start)| Some((*start, MatrixView::new(piece.shape().0, self.dims, piece.slice()?).ok()?)));
        views.collect()
    }
}

impl RowSource for Held {
    fn rows(&self) -> usize {
        match &self.place {
            Place::Memory(_, before) => before.last().copied().unwrap_or(0),
            Place::Files(source) => source.rows(),
            Place::Spooled(_, rows) => *rows,
        }
    }

    fn dims(&self) -> usize {
        self.dims
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn read_rows(&self, start: usize, out: &mut [f32]) -> sememe::Result<()> {
        let (count, dims) = (out.len().checked_div(self.dims).unwrap_or(0), self.dims);
        if let Place::Files(source) = &self.place {
            return source.read_rows(start, out);
        }
        check_shape("values", count * dims, out.len(), "read buffer")?;
        if start.checked_add(count).is_none_or(|end| end > self.rows()) {
            let (rows, name) = (self.rows(), &self.name);
            return Err(Error::Data(format!(
                "{count} rows from row {start} on reach past the {rows} rows of `{name}`"
            )));
        }
        match &self.place {
            Place::Memory(pieces, before) => {
                let mut done = 0;
                while done < count {
                    let row = start + done;
                    // The last piece that begins at or before the row; empty ones begin where the next does.
                    let at = before.partition_point(|first| *first <= row) - 1;
                    let take = (before[at + 1] - row).min(count - done);
                    pieces[at].read(row - before[at], &mut out[done * dims..(done + take) * dims]);
                    done += take;
                }
                Ok(())
            }
            Place::Spooled(file, _) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let at = start as u64 * dims as u64 * 4;
                let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytemuck::cast_slice_mut(out)));
                read.map_err(|e| Error::io("read", "temporary file of rows", e))
            }
            Place::Files(_) => Ok(()),
        }
    }
}

/// A source that several may hold.
#[derive(Clone)]
pub struct Shared(pub Arc<Held>);

impl RowSource for Shared {
    fn rows(&self) -> usize {
        self.0.rows()
    }
    fn dims(&self) -> usize {
        self.0.dims()
    }
    fn name(&self) -> String {
        self.0.name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> sememe::Result<()> {
        self.0.read_rows(start, out)
    }
}

/// Rows that Python found a way to.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Rows(pub Shared);

impl Rows {
    fn hold(py: Python<'_>, held: sememe::Result<Held>) -> PyResult<Self> {
        Ok(Self(Shared(Arc::new(held.or_raise(py)?))))
    }
}

#[pymethods]
impl Rows {
    /// Arrays of numpy `[n, d]`, one after the other, read where they lie.
    #[staticmethod]
    fn of_arrays(py: Python<'_>, arrays: Vec<Bound<'_, PyAny>>, name: String) -> PyResult<Self> {
        let pieces: PyResult<Vec<Piece>> = arrays.iter().map(|array| Strided::new(array).map(Piece::Strided)).collect();
        Self::hold(py, Held::pieces(pieces?, name))
    }

    /// An Arrow array, read where it lies.
    #[staticmethod]
    fn of_arrow(py: Python<'_>, array: PyArray, column: Option<&str>, name: String) -> PyResult<Self> {
        let list = column_of(array.array(), column, &name)?;
        let pieces = Lists::new(&list, &name)?.map(Piece::Lists).into_iter().collect();
        Self::hold(py, Held::pieces(pieces, name))
    }

    /// An Arrow stream, whose arrays are all held.
    #[staticmethod]
    fn of_stream(py: Python<'_>, stream: PyArrayReader, column: Option<&str>, name: String) -> PyResult<Self> {
        let reader = stream.into_reader()?;
        let mut pieces = Vec::new();
        for array in reader {
            let array = array.map_err(|e| data(format!("`{name}`: {e}")))?;
            pieces.extend(Lists::new(&column_of(&array, column, &name)?, &name)?.map(Piece::Lists));
        }
        Self::hold(py, Held::pieces(pieces, name))
    }

    /// Files of any format that the program reads, one after the other.
    #[staticmethod]
    fn of_files(py: Python<'_>, paths: Vec<PathBuf>, array: Option<String>) -> PyResult<Self> {
        let options = OpenOptions { array, ..OpenOptions::default() };
        let source = py.detach(|| sememe::io::open_all(&paths, &options)).or_raise(py)?;
        let (dims, name) = (source.dims(), source.name());
        Self::hold(py, Ok(Held { place: Place::Files(source), dims, name }))
    }

    /// `(rows, dims)`.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.0.rows(), self.0.dims())
    }

    /// Whether they are used where they lie, without a copy of any of them.
    #[getter]
    fn lies_ready(&self) -> bool {
        self.0.0.views().is_some()
    }
}

/// The lists of an array: itself, or one column of a table's rows.
fn column_of(array: &arrow_array::ArrayRef, column: Option<&str>, name: &str) -> PyResult<arrow_array::ArrayRef> {
    use arrow_array::cast::AsArray as _;
    use arrow_schema::DataType;
    let Some(table) = array.as_struct_opt() else {
        return match column {
            Some(column) => {
                Err(of_class("SettingError", format!("`column`: `{name}` is no table, it has no column `{column}`")))
            }
            None => Ok(array.clone()),
        };
    };
    let names = table.column_names();
    let listed = || names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(column) = column {
        let missing = || of_class("SettingError", format!("`column`: no column `{column}`, there are {}", listed()));
        return table.column_by_name(column).cloned().ok_or_else(missing);
    }
    let is_list =
        |kind: &DataType| matches!(kind, DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_));
    let lists: Vec<usize> = (0..names.len()).filter(|at| is_list(table.column(*at).data_type())).collect();
    match lists.as_slice() {
        [one] => Ok(table.column(*one).clone()),
        _ => {
            let found = lists.len();
            let problem = format!("{found} of its columns hold lists: name one by `column`; there are {}", listed());
            Err(of_class("SettingError", format!("`{name}`: {problem}")))
        }
    }
}

/// An Arrow stream that is read array by array.
#[pyclass(frozen, module = "sememe._sememe")]
pub struct Stream {
    reader: Mutex<Box<dyn pyo3_arrow::ffi::ArrayReader + Send>>,
    column: Option<String>,
    name: String,
}

#[pymethods]
impl Stream {
    #[new]
    #[pyo3(signature = (stream, column, name))]
    fn new(stream: PyArrayReader, column: Option<String>, name: String) -> PyResult<Self> {
        Ok(Self { reader: Mutex::new(stream.into_reader()?), column, name })
    }

    /// The next array's rows; nothing after the last.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Rows>> {
        let next = self.reader.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(array) = next else { return Ok(None) };
        let array = array.map_err(|e| data(format!("`{}`: {e}", self.name)))?;
        let lists = Lists::new(&column_of(&array, self.column.as_deref(), &self.name)?, &self.name)?;
        let pieces = lists.map(Piece::Lists).into_iter().collect();
        Rows::hold(py, Held::pieces(pieces, self.name.clone())).map(Some)
    }
}

/// Sets batches of rows down in a temporary file, so that they can be read again.
#[pyclass(module = "sememe._sememe")]
pub struct Spool {
    file: Option<File>,
    rows: usize,
    dims: Option<usize>,
    name: String,
}

#[pymethods]
impl Spool {
    #[new]
    fn new(name: String) -> PyResult<Self> {
        Ok(Self { file: Some(tempfile::tempfile()?), rows: 0, dims: None, name })
    }

    /// Adds a batch.
    fn add(&mut self, py: Python<'_>, rows: &Rows) -> PyResult<()> {
        let (source, added) = (&rows.0, rows.0.rows());
        let dims = *self.dims.get_or_insert(source.dims());
        check_shape("d", dims, source.dims(), self.name.as_str()).or_raise(py)?;
        let Some(file) = &mut self.file else { return Err(PyRuntimeError::new_err("the rows were taken")) };
        py.detach(|| {
            let step = ((4 << 20) / (dims.max(1) * 4)).max(1);
            let mut buffer = vec![0.0f32; step.min(added) * dims];
            for start in (0..added).step_by(step) {
                let part = &mut buffer[..step.min(added - start) * dims];
                source.read_rows(start, part)?;
                file.write_all(bytemuck::cast_slice(part))
                    .map_err(|e| Error::io("write", "temporary file of rows", e))?;
            }
            Ok(())
        })
        .or_raise(py)?;
        self.rows += added;
        Ok(())
    }

    /// All of them.
    fn take(&mut self, py: Python<'_>) -> PyResult<Rows> {
        let Some(file) = self.file.take() else { return Err(PyRuntimeError::new_err("the rows were taken")) };
        let place = Place::Spooled(Mutex::new(file), self.rows);
        Rows::hold(py, Ok(Held { place, dims: self.dims.unwrap_or(0), name: self.name.clone() }))
    }
}
