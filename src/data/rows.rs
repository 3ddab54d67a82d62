//! Where rows come from: memory, a file read piece by piece, anything with random access.

use super::{Matrix, MatrixView};
use crate::error::{Error, Result, check_shape};

/// A source of `[rows, dims]` rows of `f32` that is read in pieces.
///
/// Reading the same range twice gives the same values. Implementations are shared between threads.
pub trait RowSource: Send + Sync {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Values a row.
    fn dims(&self) -> usize;
    /// A name for messages: a path, or what holds the rows.
    fn name(&self) -> String;
    /// Reads `out.len() / dims` rows from row `start` on.
    ///
    /// # Errors
    /// If the range is out of bounds or the source cannot be read.
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()>;
}

/// Checks that `values` values from row `start` on lie inside `[rows, dims]`; returns how many rows they are. For sources of rows.
///
/// # Errors
/// [`Error::Shape`] for values that are no whole rows, [`Error::Data`] for rows past the last, whatever the numbers.
pub(crate) fn check_range(start: usize, values: usize, rows: usize, dims: usize, name: &str) -> Result<usize> {
    let count = values.checked_div(dims).unwrap_or(0);
    check_shape("values", count * dims, values, "read buffer")?;
    if start.checked_add(count).is_none_or(|end| end > rows) {
        return Err(Error::Data(format!("{count} rows from row {start} on reach past the {rows} rows of `{name}`")));
    }
    Ok(count)
}

impl RowSource for MatrixView<'_> {
    fn rows(&self) -> usize {
        MatrixView::rows(self)
    }
    fn dims(&self) -> usize {
        MatrixView::dims(self)
    }
    fn name(&self) -> String {
        "rows in memory".into()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let (rows, dims) = (MatrixView::rows(self), MatrixView::dims(self));
        check_range(start, out.len(), rows, dims, "rows in memory")?;
        // In range of a slice by the check above, so nothing overflows.
        let from = start * dims;
        out.copy_from_slice(&self.as_slice()[from..from + out.len()]);
        Ok(())
    }
}

impl RowSource for Matrix {
    fn rows(&self) -> usize {
        Matrix::rows(self)
    }
    fn dims(&self) -> usize {
        Matrix::dims(self)
    }
    fn name(&self) -> String {
        "rows in memory".into()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.view().read_rows(start, out)
    }
}

/// Index of the first row of `values` that holds NaN or infinity, and how many rows do.
///
/// Decided on the bits, so that no float optimisation can assume it away.
#[must_use]
pub fn first_non_finite(values: &[f32], dims: usize) -> Option<(usize, usize)> {
    if dims == 0 {
        return None;
    }
    let bad = |row: &[f32]| row.iter().fold(0u32, |m, v| m.max(v.to_bits() & 0x7f80_0000)) == 0x7f80_0000;
    let mut found: Option<(usize, usize)> = None;
    for (i, row) in values.chunks_exact(dims).enumerate() {
        if bad(row) {
            found = Some(found.map_or((i, 1), |(first, count)| (first, count + 1)));
        }
    }
    found
}

/// The largest of finite `values`, either way; 0 for none.
#[must_use]
pub(crate) fn largest_magnitude(values: &[f32]) -> f32 {
    // Without their sign, finite floats are ordered as their bits are.
    f32::from_bits(values.iter().fold(0u32, |m, v| m.max(v.to_bits() & 0x7fff_ffff)))
}

/// What to do with rows that hold NaN or infinity, and with rows of zeros where they have no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRows {
    /// Refuse the input, naming the first such row and how many there are.
    #[default]
    Refuse,
    /// Leave them out and say which.
    Drop,
}

/// A source less its rows with NaN or infinity, and less its rows of zeros where they have no place; made by one pass over the source.
pub struct Screened<S> {
    inner: S,
    /// Indices kept, if any row was dropped.
    kept: Option<Vec<u64>>,
    dropped: Vec<u64>,
    zeros: usize,
}

impl<S: RowSource> Screened<S> {
    /// Reads `source` once and refuses or drops rows with NaN or infinity.
    ///
    /// # Errors
    /// [`Error::NonFinite`] under [`BadRows::Refuse`], read errors, and [`Error::Data`] if no row is left.
    pub fn new(source: S, policy: BadRows) -> Result<Self> {
        Self::screen(source, policy, false)
    }

    /// As [`new`](Self::new), for a use in which only directions count, such as cosine: rows of zeros have none and are refused or
    /// dropped too.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Data`] with the first row of zeros and their number under [`BadRows::Refuse`].
    pub fn directions(source: S, policy: BadRows) -> Result<Self> {
        Self::screen(source, policy, true)
    }

    fn screen(source: S, policy: BadRows, directions: bool) -> Result<Self> {
        let (rows, dims) = (source.rows(), source.dims());
        let step = (4 << 20) / (dims.max(1) * 4) + 1;
        let mut buffer = vec![0.0f32; step.min(rows) * dims];
        let mut dropped: Vec<u64> = Vec::new();
        let mut zero_rows: Vec<u64> = Vec::new();
        for start in (0..rows).step_by(step) {
            let count = step.min(rows - start);
            let part = &mut buffer[..count * dims];
            source.read_rows(start, part)?;
            if first_non_finite(part, dims).is_some() {
                for (i, row) in part.chunks_exact(dims).enumerate() {
                    if first_non_finite(row, dims).is_some() {
                        dropped.push((start + i) as u64);
                    }
                }
            }
            if directions {
                let zero = part.chunks_exact(dims.max(1)).enumerate().filter(|(_, row)| row.iter().all(|v| *v == 0.0));
                zero_rows.extend(zero.map(|(i, _)| (start + i) as u64));
            }
        }
        if let (Some(&first), BadRows::Refuse) = (dropped.first(), policy) {
            return Err(Error::NonFinite {
                first,
                count: dropped.len() as u64,
                rows: rows as u64,
                place: source.name(),
            });
        }
        if let (Some(first), BadRows::Refuse) = (zero_rows.first(), policy) {
            return Err(Error::Data(format!(
                "{} of {rows} rows of `{}` are zero and have no direction for cosine, the first is row {first}; drop them or use squared L2",
                zero_rows.len(),
                source.name()
            )));
        }
        let zeros = zero_rows.len();
        dropped.append(&mut zero_rows);
        dropped.sort_unstable();
        if dropped.is_empty() {
            return Ok(Self { inner: source, kept: None, dropped, zeros });
        }
        if dropped.len() == rows {
            let what = match zeros {
                0 => "hold NaN or infinity",
                z if z == rows => "are zero and have no direction for cosine",
                _ => "are zero, or hold NaN or infinity",
            };
            return Err(Error::Data(format!("all {rows} rows of `{}` {what}", source.name())));
        }
        let mut bad = dropped.iter().copied().peekable();
        let kept = (0..rows as u64).filter(|i| bad.next_if_eq(i).is_none()).collect();
        Ok(Self { inner: source, kept: Some(kept), dropped, zeros })
    }

    /// Indices of the rows that were left out, ascending.
    #[must_use]
    pub fn dropped(&self) -> &[u64] {
        &self.dropped
    }

    /// How many of them were rows of zeros.
    #[must_use]
    pub fn dropped_zeros(&self) -> usize {
        self.zeros
    }

    /// Index in the original source of row `index` of this one.
    #[must_use]
    pub fn original(&self, index: usize) -> u64 {
        self.kept.as_ref().map_or(index as u64, |kept| kept[index])
    }
}

impl<S: RowSource> RowSource for Screened<S> {
    fn rows(&self) -> usize {
        self.kept.as_ref().map_or(self.inner.rows(), Vec::len)
    }
    fn dims(&self) -> usize {
        self.inner.dims()
    }
    fn name(&self) -> String {
        self.inner.name()
    }
    fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let Some(kept) = &self.kept else { return self.inner.read_rows(start, out) };
        let dims = self.dims();
        let count = check_range(start, out.len(), kept.len(), dims, &self.name())?;
        let wanted = &kept[start..start + count];
        // Consecutive runs are read in one go.
        let mut at = 0;
        while at < count {
            let mut end = at + 1;
            while end < count && wanted[end] == wanted[end - 1] + 1 {
                end += 1;
            }
            self.inner.read_rows(wanted[at] as usize, &mut out[at * dims..end * dims])?;
            at = end;
        }
        Ok(())
    }
}

/// References and smart pointers to a source are sources too.
macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: RowSource + ?Sized> RowSource for $pointer {
            fn rows(&self) -> usize {
                (**self).rows()
            }
            fn dims(&self) -> usize {
                (**self).dims()
            }
            fn name(&self) -> String {
                (**self).name()
            }
            fn read_rows(&self, start: usize, out: &mut [f32]) -> Result<()> {
                (**self).read_rows(start, out)
            }
        }
    )*};
}

forward!(&S, Box<S>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_any_numbers_are_checked() {
        let check = |start, values, rows, dims| check_range(start, values, rows, dims, "r");
        assert_eq!(check(0, 6, 2, 3).unwrap(), 2);
        assert_eq!(check(2, 0, 2, 3).unwrap(), 0);
        assert_eq!(check(0, 0, 2, 0).unwrap(), 0);
        assert!(matches!(check(0, 5, 2, 3), Err(Error::Shape { .. })));
        assert!(matches!(check(0, 5, 2, 0), Err(Error::Shape { .. })));
        for start in [1, 2, 3, usize::MAX / 3, usize::MAX - 1, usize::MAX] {
            assert!(matches!(check(start, 6, 2, 3), Err(Error::Data(_))), "{start}");
        }
    }

    #[test]
    fn sources_in_memory_refuse_rows_past_the_last() {
        let rows = Matrix::from_vec(2, 3, vec![1., 2., 3., 4., f32::NAN, 6.]).unwrap();
        let screened = Screened::new(&rows, BadRows::Drop).unwrap();
        let mut out = [0.0; 3];
        // 3 × this is 1 more than what 64 bits hold: unchecked, it would start at value 0.
        let wraps = usize::MAX / 3 + 1;
        for start in [2, wraps, usize::MAX] {
            assert!(matches!(rows.read_rows(start, &mut out), Err(Error::Data(_))), "{start}");
            assert!(matches!(screened.read_rows(start, &mut out), Err(Error::Data(_))), "{start}");
        }
        rows.read_rows(1, &mut out).unwrap();
        assert_eq!((out[0], out[2]), (4.0, 6.0));
    }

    #[test]
    fn rows_without_a_direction_are_dropped_where_directions_count() {
        let values = vec![0.0, 0.0, 1.0, f32::NAN, 0.0, -0.0, 3.0, 4.0];
        let rows = Matrix::from_vec(4, 2, values).unwrap();
        let plain = Screened::new(&rows, BadRows::Drop).unwrap();
        assert_eq!((plain.dropped(), plain.dropped_zeros(), plain.rows()), (&[1][..], 0, 3));
        let directions = Screened::directions(&rows, BadRows::Drop).unwrap();
        assert_eq!((directions.dropped(), directions.dropped_zeros()), (&[0, 1, 2][..], 2));
        let mut row = [0.0; 2];
        directions.read_rows(0, &mut row).unwrap();
        assert_eq!((directions.rows(), directions.original(0), row), (1, 3, [3.0, 4.0]));
        let zeros = Matrix::zeros(3, 2).unwrap();
        let text = |policy| Screened::directions(&zeros, policy).err().unwrap().to_string();
        assert!(text(BadRows::Refuse).contains("3 of 3 rows") && text(BadRows::Refuse).contains("row 0"));
        assert!(text(BadRows::Drop).contains("all 3 rows") && text(BadRows::Drop).contains("no direction"));
        assert!(Screened::new(&zeros, BadRows::Refuse).unwrap().dropped().is_empty());
    }

    #[test]
    fn the_largest_value_has_no_sign() {
        assert_eq!((largest_magnitude(&[1.0, -3.0, 2.0]), largest_magnitude(&[])), (3.0, 0.0));
        assert_eq!(largest_magnitude(&[-0.0, 1e-45]), 1e-45);
    }
}
