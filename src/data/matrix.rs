//! Dense `f32` rows, row-major.

use crate::error::{Error, Result};

/// An owned `[rows, dims]` matrix of `f32`, row-major.
///
/// ```
/// let m = sememe::Matrix::from_vec(2, 3, vec![1., 2., 3., 4., 5., 6.])?;
/// assert_eq!(m.row(1), [4., 5., 6.]);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    rows: usize,
    dims: usize,
    data: Vec<f32>,
}

/// A borrowed `[rows, dims]` matrix of `f32`, row-major.
#[derive(Clone, Copy, Debug)]
pub struct MatrixView<'a> {
    rows: usize,
    dims: usize,
    data: &'a [f32],
}

fn checked_len(rows: usize, dims: usize) -> Result<usize> {
    rows.checked_mul(dims)
        .filter(|n| *n <= isize::MAX as usize / 4)
        .ok_or_else(|| Error::Data(format!("a matrix of {rows} × {dims} f32 does not fit the address space")))
}

impl Matrix {
    /// A matrix of zeros.
    ///
    /// # Errors
    /// If `rows × dims` overflows.
    pub fn zeros(rows: usize, dims: usize) -> Result<Self> {
        Ok(Self { rows, dims, data: vec![0.0; checked_len(rows, dims)?] })
    }

    /// Wraps a row-major vector.
    ///
    /// # Errors
    /// If its length is not `rows × dims`.
    pub fn from_vec(rows: usize, dims: usize, data: Vec<f32>) -> Result<Self> {
        crate::error::check_shape("values", checked_len(rows, dims)?, data.len(), "matrix")?;
        Ok(Self { rows, dims, data })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// One row.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.dims..(index + 1) * self.dims]
    }

    /// One row, to be written.
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.data[index * self.dims..(index + 1) * self.dims]
    }

    /// All values, row-major.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// All values, row-major, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values themselves.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.data
    }

    /// A borrowed view of the whole matrix.
    #[must_use]
    pub fn view(&self) -> MatrixView<'_> {
        MatrixView { rows: self.rows, dims: self.dims, data: &self.data }
    }
}

impl<'a> MatrixView<'a> {
    /// Views a row-major slice as `[rows, dims]`.
    ///
    /// # Errors
    /// If its length is not `rows × dims`.
    pub fn new(rows: usize, dims: usize, data: &'a [f32]) -> Result<Self> {
        crate::error::check_shape("values", checked_len(rows, dims)?, data.len(), "matrix view")?;
        Ok(Self { rows, dims, data })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// One row.
    #[must_use]
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.data[index * self.dims..(index + 1) * self.dims]
    }

    /// All values, row-major.
    #[must_use]
    pub fn as_slice(&self) -> &'a [f32] {
        self.data
    }

    /// Rows `start..end`.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> MatrixView<'a> {
        MatrixView { rows: end - start, dims: self.dims, data: &self.data[start * self.dims..end * self.dims] }
    }
}

impl<'a> From<&'a Matrix> for MatrixView<'a> {
    fn from(m: &'a Matrix) -> Self {
        m.view()
    }
}
