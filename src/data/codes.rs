//! Codes: one row of small integers an item, coarse to fine.

use crate::error::{Error, Result};

/// An owned `[rows, levels]` table of codes, row-major.
///
/// ```
/// let codes = sememe::Codes::from_vec(2, 3, vec![12, 5, 33, 12, 5, 7])?;
/// assert_eq!(codes.row(1), [12, 5, 7]);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    rows: usize,
    levels: usize,
    data: Vec<u32>,
}

impl Codes {
    /// A table of zeros.
    ///
    /// # Panics
    /// If there are more codes than the address space holds.
    #[must_use]
    pub fn zeros(rows: usize, levels: usize) -> Self {
        // Saturating: a product that wraps round would make a small table that claims to be large.
        Self { rows, levels, data: vec![0; rows.saturating_mul(levels)] }
    }

    /// Wraps a row-major vector.
    ///
    /// # Errors
    /// If its length is not `rows × levels`, or `levels` is 0.
    pub fn from_vec(rows: usize, levels: usize, data: Vec<u32>) -> Result<Self> {
        if levels == 0 {
            return Err(Error::Data("a code table needs at least 1 level, got 0".into()));
        }
        crate::error::check_shape("codes", rows.saturating_mul(levels), data.len(), "code table")?;
        Ok(Self { rows, levels, data })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Codes a row.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// One row's codes, coarse to fine.
    #[must_use]
    pub fn row(&self, index: usize) -> &[u32] {
        &self.data[index * self.levels..(index + 1) * self.levels]
    }

    /// One row's codes, to be written.
    pub fn row_mut(&mut self, index: usize) -> &mut [u32] {
        &mut self.data[index * self.levels..(index + 1) * self.levels]
    }

    /// All codes, row-major.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.data
    }

    /// All codes, row-major, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        &mut self.data
    }

    /// Iterates over the rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        self.data.chunks_exact(self.levels)
    }
}
