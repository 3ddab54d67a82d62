//! Rows in memory that Python owns: numpy's arrays of any strides, and Arrow's lists. They are read where they lie.

use std::ffi::c_char;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::DataType;
use half::f16;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use crate::errors::{data, row_type};

/// How a value is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F16,
    F32,
    F64,
}

/// A numpy array of two dimensions.
pub struct Strided {
    /// Keeps the values where they are.
    _owner: PyUntypedBuffer,
    start: *const u8,
    strides: [isize; 2],
    pub rows: usize,
    pub dims: usize,
    kind: Kind,
}

// SAFETY: the memory belongs to the array, which `_owner` keeps from being freed or resized; it is only read here. That nobody writes to an
// array while it is read is what Python's callers promise to all that releases the GIL.
unsafe impl Send for Strided {}
// SAFETY: as above; reading changes nothing.
unsafe impl Sync for Strided {}

impl Strided {
    /// Views an array of `float16`, `float32` or `float64` in the machine's byte order.
    pub fn new(array: &Bound<'_, PyAny>) -> PyResult<Self> {
        let owner = PyUntypedBuffer::get(array)?;
        let kind = match owner.format().to_bytes() {
            b"e" => Kind::F16,
            b"f" => Kind::F32,
            b"d" => Kind::F64,
            other => {
                let format = String::from_utf8_lossy(other).into_owned();
                return Err(row_type(format!("expected values of `e`, `f` or `d`, got `{format}`")));
            }
        };
        let &[rows, dims] = owner.shape() else {
            return Err(row_type(format!("expected 2 dimensions, got {}", owner.dimensions())));
        };
        if owner.suboffsets().is_some() {
            return Err(row_type("arrays of pointers are not read".into()));
        }
        let strides = [owner.strides()[0], owner.strides()[1]];
        let start = owner.buf_ptr().cast::<c_char>().cast::<u8>().cast_const();
        Ok(Self { _owner: owner, start, strides, rows, dims, kind })
    }

    /// All values, where they are `float32`, one after the other, and aligned.
    pub fn slice(&self) -> Option<&[f32]> {
        let row = isize::try_from(self.dims * 4).ok()?;
        let dense = (self.strides[1] == 4 || self.dims == 1) && (self.strides[0] == row || self.rows == 1);
        if self.kind != Kind::F32 || !dense || self.start.align_offset(align_of::<f32>()) != 0 {
            return None;
        }
        if self.rows * self.dims == 0 {
            return Some(&[]);
        }
        // SAFETY: the buffer has `rows × dims` values of `f32` in a row from `start` on, aligned, and lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(self.start.cast::<f32>(), self.rows * self.dims) })
    }

    /// Reads rows from `start` on; the range is the caller's to check.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        if let Some(values) = self.slice() {
            out.copy_from_slice(&values[start * self.dims..][..out.len()]);
            return;
        }
        assert!(start + out.len() / self.dims.max(1) <= self.rows, "rows past the last");
        for (at, row) in out.chunks_exact_mut(self.dims.max(1)).enumerate() {
            for (column, value) in row.iter_mut().enumerate() {
                let offset = (start + at) as isize * self.strides[0] + column as isize * self.strides[1];
                // SAFETY: row and column are within the shape, so the buffer's strides lead to one of its values.
                *value = unsafe {
                    let place = self.start.offset(offset);
                    match self.kind {
                        Kind::F16 => f16::from_bits(place.cast::<u16>().read_unaligned()).to_f32(),
                        Kind::F32 => place.cast::<f32>().read_unaligned(),
                        Kind::F64 => place.cast::<f64>().read_unaligned() as f32,
                    }
                };
            }
        }
    }
}

/// An Arrow array of lists of one length.
pub struct Lists {
    /// Numbers of all lists, from the first on.
    values: ArrayRef,
    /// The lists themselves, for those that are missing.
    lists: ArrayRef,
    first: usize,
    pub rows: usize,
    pub dims: usize,
}

impl Lists {
    /// Views lists of `float16`, `float32` or `float64`. `None` for an array of no lists, whose length says nothing.
    pub fn new(lists: &ArrayRef, name: &str) -> PyResult<Option<Self>> {
        let (values, first, dims) = match lists.data_type() {
            DataType::FixedSizeList(_, dims) => {
                let list = lists.as_fixed_size_list();
                let dims = usize::try_from(*dims).unwrap_or(0);
                (list.values().clone(), list.offset() * dims, dims)
            }
            DataType::List(_) => {
                let list = lists.as_list::<i32>();
                let offsets: Vec<usize> = list.offsets().iter().map(|at| *at as usize).collect();
                (list.values().clone(), offsets[0], even(lists, &offsets, name)?)
            }
            DataType::LargeList(_) => {
                let list = lists.as_list::<i64>();
                let offsets: Vec<usize> = list.offsets().iter().map(|at| *at as usize).collect();
                (list.values().clone(), offsets[0], even(lists, &offsets, name)?)
            }
            other => {
                return Err(row_type(format!("`{name}`: expected Arrow lists of floats, one a row, got {other}")));
            }
        };
        if lists.is_empty() {
            return Ok(None);
        }
        if !matches!(values.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64) {
            let kind = values.data_type();
            return Err(row_type(format!("`{name}`: expected Arrow lists of floats, got lists of {kind}; cast them")));
        }
        Ok(Some(Self { values, lists: lists.clone(), first, rows: lists.len(), dims }))
    }

    /// All values, where they are `float32` and none is missing.
    pub fn slice(&self) -> Option<&[f32]> {
        let values = self.values.as_primitive_opt::<Float32Type>()?;
        let whole = self.lists.null_count() == 0 && values.null_count() == 0;
        whole.then(|| &values.values()[self.first..self.first + self.rows * self.dims])
    }

    /// Reads rows from `start` on; what is missing is NaN. The range is the caller's to check.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        let (from, dims) = (self.first + start * self.dims, self.dims);
        let range = from..from + out.len();
        match self.values.data_type() {
            DataType::Float32 => {
                out.copy_from_slice(&self.values.as_primitive::<Float32Type>().values()[range.clone()]);
            }
            DataType::Float64 => {
                let values = &self.values.as_primitive::<Float64Type>().values()[range.clone()];
                out.iter_mut().zip(values).for_each(|(to, value)| *to = *value as f32);
            }
            _ => {
                let values = &self.values.as_primitive::<Float16Type>().values()[range.clone()];
                out.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_f32());
            }
        }
        if self.values.null_count() > 0 {
            range.zip(out.iter_mut()).filter(|(at, _)| self.values.is_null(*at)).for_each(|(_, to)| *to = f32::NAN);
        }
        if self.lists.null_count() > 0 && dims > 0 {
            let rows = out.chunks_exact_mut(dims).enumerate();
            rows.filter(|(at, _)| self.lists.is_null(start + at)).for_each(|(_, row)| row.fill(f32::NAN));
        }
    }
}

/// The one length of all lists.
fn even(lists: &ArrayRef, offsets: &[usize], name: &str) -> PyResult<usize> {
    let length = |row: usize| offsets[row + 1] - offsets[row];
    let Some(dims) = (0..lists.len()).find(|row| !lists.is_null(*row)).map(length) else { return Ok(0) };
    match (0..lists.len()).find(|row| length(*row) != dims) {
        None => Ok(dims),
        Some(row) if lists.is_null(row) => {
            Err(data(format!("`{name}`: row {row} is missing; leave it out, or cast to lists of one length")))
        }
        Some(row) => Err(data(format!(
            "`{name}`: row {row} holds {} values, those before it {dims}; rows have one length",
            length(row)
        ))),
    }
}
