//! Sums over rows whose bits depend on the rows alone: not on their order, nor on how they are divided among machines.
//!
//! Every row's share is computed in f64 by the [`reference`](super::reference), which gives the same bits on any machine, rounded to a whole number of quanta
//! 2^−bits, and added as an integer. Integers add up alike in any order; floats do not.

use super::Metric;
use super::cpu::isa::multiversion;
use super::far_rows::FarRows;
use super::reference::{Reference, ResidualQuantizer, Scratch, squared_distances, squared_norm, unit};
use crate::data::{Matrix, MatrixView};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// Rows that one thread takes at a time.
const BLOCK: usize = 512;
/// A value is at most 2^51 quanta, so that [`add_row`] may round it by an addition.
const VALUE_BITS: i32 = 51;
/// A sum of all rows' values stays below 2^62.
const SUM_BITS: i32 = 62;
/// A square is at most 2^80 quanta: 2^46 rows fit, and no bit of an f64 is lost that the sum could show.
const SQUARE_BITS: i32 = 80;
/// 1.5·2^52: what an f64 of at most 2^51 is added to so that its whole part is in the lowest bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// 2^`bits`.
fn power(bits: i32) -> f64 {
    libm::ldexp(1.0, bits)
}

/// The least b with `value` ≤ 2^b.
fn ceil_log2(value: f64) -> i32 {
    let (mantissa, exponent) = libm::frexp(value);
    if mantissa == 0.5 { exponent - 1 } else { exponent }
}

/// Quanta of values up to `most`, either way, of which `rows` are added.
#[must_use]
pub fn value_bits(most: f64, rows: u64) -> i32 {
    if most > 0.0 { VALUE_BITS.min(SUM_BITS - ceil_log2(rows.max(1) as f64)) - ceil_log2(most) } else { 0 }
}

/// Quanta of squares up to `most`.
#[must_use]
pub fn square_bits(most: f64) -> i32 {
    if most > 0.0 { SQUARE_BITS - ceil_log2(most) } else { 0 }
}

/// A sum of quanta as a number.
#[must_use]
pub fn real(sum: i128, bits: i32) -> f64 {
    libm::ldexp(sum as f64, -bits)
}

/// A number in quanta.
fn quanta(value: f64, scale: f64) -> i128 {
    (value * scale).round() as i128
}

multiversion! {
    /// `sums[c] += row[c]` in quanta of 1/`scale`; each at most 2^51 of them.
    fn add_row(sums: &mut [i64], row: &[f64], scale: f64) {
        for (sum, value) in sums.iter_mut().zip(row) {
            // The sum's lowest bits are those of the nearest whole number, to even on a tie.
            *sum = sum.wrapping_add(((value * scale + MAGIC).to_bits() as i64).wrapping_sub(MAGIC.to_bits() as i64));
        }
    }
}

multiversion! {
    /// Whether every value is within `most` of 0; NaN is not.
    fn all_within(row: &[f64], most: f64) -> bool {
        row.iter().fold(true, |within, value| within & (value.abs() <= most))
    }
}

/// What Lloyd's algorithm needs to know of rows: by codeword how many, and the sum of what the level saw of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelSums {
    /// Rows a codeword, `[k]`.
    pub counts: Vec<u64>,
    /// Sums of the level's input by codeword, `[k, e]`, in quanta of values.
    pub sums: Vec<i64>,
    /// The objective, in quanta of squares.
    pub objective: i128,
    /// The farthest rows.
    pub far: FarRows,
}

/// The fixed-point grids of one pass.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quanta {
    /// Values of rows are at most so large, either way.
    pub most: f64,
    /// Their quanta are 2^−this.
    pub values: i32,
    /// Those of squares.
    pub squares: i32,
}

impl Quanta {
    /// For `rows` rows of `dims` values up to `most`, and squared lengths of at most four times theirs.
    #[must_use]
    pub fn new(most: f64, rows: u64, dims: usize) -> Self {
        let square = 4.0 * most * most * dims.max(1) as f64;
        Self { most, values: value_bits(most, rows), squares: square_bits(square) }
    }

    /// For rows of `dims` values of which only `typical` ones are known: 2^40 times their squares are still within range.
    #[must_use]
    pub fn around(typical: f64, dims: usize) -> Self {
        let quanta = Self::new(typical, 1, dims);
        Self { most: f64::MAX, values: quanta.values, squares: quanta.squares - 20 }
    }
}

/// Rows with codes `[n, levels]` of the first levels of a quantiser.
#[derive(Clone, Copy)]
pub struct CodedRows<'a> {
    /// `[n, d]`.
    pub rows: MatrixView<'a>,
    /// `[n, levels]`.
    pub codes: &'a [u32],
    /// The levels that there are.
    pub quantizer: &'a ResidualQuantizer,
    /// Its constants.
    pub reference: &'a Reference,
    /// The number of the first row, for messages.
    pub first: usize,
}

impl CodedRows<'_> {
    /// Rows `start..end` of these.
    fn slice(&self, start: usize, end: usize) -> Self {
        let levels = self.quantizer.codebooks.len();
        let (rows, codes) = (self.rows.slice(start, end), &self.codes[start * levels..end * levels]);
        Self { rows, codes, first: self.first + start, ..*self }
    }

    /// Adds up parts of the rows in parallel: `add` is called with a sum of its own and a part.
    fn each_part<S: Clone + Send + Sync>(
        self,
        sums: &mut S,
        empty: &S,
        add: impl Fn(&mut S, Self) -> Result<()> + Sync,
        merge: impl Fn(&mut S, &S) -> Result<()>,
    ) -> Result<()> {
        let n = self.rows.rows();
        let threads = rayon::current_num_threads().min(n.div_ceil(BLOCK)).max(1);
        if threads == 1 {
            return add(sums, self);
        }
        let step = n.div_ceil(threads);
        let part = |thread: usize| {
            let mut part = empty.clone();
            add(&mut part, self.slice((thread * step).min(n), ((thread + 1) * step).min(n)))?;
            Ok(part)
        };
        let parts = (0..threads).into_par_iter().map(part).collect::<Result<Vec<_>>>()?;
        parts.iter().try_for_each(|part| merge(sums, part))
    }

    fn code(&self, row: usize, level: usize) -> usize {
        self.codes[row * self.quantizer.codebooks.len() + level] as usize
    }

    /// Takes the codeword of a level from a row that has reached it.
    fn subtract(&self, row: usize, level: usize, values: &mut [f64]) {
        let book = &self.quantizer.codebooks[level];
        let own = &mut values[self.quantizer.columns(level)];
        own.iter_mut().zip(book.row(self.code(row, level))).for_each(|(v, c)| *v -= f64::from(*c));
    }

    fn changed(&self, most: f64) -> Error {
        Error::Data(format!(
            "a row is larger than all rows were in the first pass, past {most:.3e}: the rows changed between two passes; store them first, and train \
             on what is stored"
        ))
    }
}

impl LevelSums {
    /// Nothing yet, for `codewords` codewords of `dims` values.
    #[must_use]
    pub fn empty(codewords: usize, dims: usize, far: usize) -> Self {
        Self { counts: vec![0; codewords], sums: vec![0; codewords * dims], objective: 0, far: FarRows::of(far) }
    }

    /// Adds rows by their codes at the quantiser's last level, in parallel. O(n·(p·d + levels·e)).
    ///
    /// # Errors
    /// [`Error::Data`] for a value past what `quanta` are for, and for a zero row under cosine.
    pub fn add(&mut self, coded: CodedRows<'_>, quanta: Quanta) -> Result<()> {
        let codewords = self.counts.len();
        let empty = Self::empty(codewords, self.sums.len() / codewords.max(1), self.far.most);
        coded.each_part(self, &empty, |sums, part| sums.add_part(part, quanta), Self::merge)
    }

    fn add_part(&mut self, coded: CodedRows<'_>, quanta_of: Quanta) -> Result<()> {
        let CodedRows { rows, quantizer, reference, .. } = coded;
        let (values, squares) = (power(quanta_of.values), power(quanta_of.squares));
        let last = quantizer.codebooks.len() - 1;
        let book = &quantizer.codebooks[last];
        let (mut scratch, mut error) = (Scratch::default(), [0.0f64]);
        for i in 0..rows.rows() {
            let row = reference.enter(quantizer, rows.row(i), &mut scratch);
            for level in 0..last {
                if quantizer.normalize_residuals {
                    unit(row);
                }
                coded.subtract(i, level, row);
            }
            if quantizer.normalize_residuals {
                unit(row);
            }
            if !all_within(row, quanta_of.most) {
                return Err(coded.changed(quanta_of.most));
            }
            let code = coded.code(i, last);
            self.counts[code] += 1;
            add_row(&mut self.sums[code * row.len()..][..row.len()], row, values);
            squared_distances(row, book.row(code), &mut error);
            self.far.offer(error[0], row);
            let cost = match quantizer.metric {
                Metric::SquaredL2 => error[0],
                Metric::Cosine => {
                    let norm = squared_norm(row).sqrt();
                    if norm == 0.0 && last == 0 {
                        return Err(Error::Data(format!(
                            "row {} is zero (or nothing beside the others) and has no direction for cosine; drop it or use squared L2",
                            coded.first + i
                        )));
                    }
                    let mut score = [0.0];
                    reference.scores(quantizer, last, row, &[code as u32], &mut score);
                    (norm + score[0] - f64::from(quantizer.prices(last).get(code).copied().unwrap_or(0.0))).max(0.0)
                }
            };
            self.objective = self.objective.saturating_add(quanta(cost, squares));
        }
        Ok(())
    }

    /// Takes other rows in.
    ///
    /// # Errors
    /// [`Error::Data`] for sums of other shapes, and past what an integer holds.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.counts.len() != other.counts.len()
            || self.sums.len() != other.sums.len()
            || self.far.most != other.far.most
        {
            return Err(misfit());
        }
        add_all(&mut self.counts, &other.counts, u64::checked_add)?;
        add_all(&mut self.sums, &other.sums, i64::checked_add)?;
        self.objective = self.objective.checked_add(other.objective).ok_or_else(past)?;
        self.far.merge(&other.far);
        Ok(())
    }
}

fn misfit() -> Error {
    Error::Data("sums of different shapes cannot be added: they are of different rounds".into())
}

fn past() -> Error {
    Error::Data("a sum is past what it can hold: its parts are damaged".into())
}

fn add_all<T: Copy>(into: &mut [T], from: &[T], add: impl Fn(T, T) -> Option<T>) -> Result<()> {
    for (a, b) in into.iter_mut().zip(from) {
        *a = add(*a, *b).ok_or_else(past)?;
    }
    Ok(())
}

/// How near the rows come to their originals, level by level, and how many rows each codeword has.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthSums {
    /// Rows by codeword, a list a level.
    pub loads: Vec<Vec<u64>>,
    /// Squared error after each level, in quanta of squares.
    pub errors: Vec<i128>,
    /// Norms of each level's input, in quanta of values; zeros without normalised residuals.
    pub norms: Vec<i128>,
    /// Sums of the rows by column, in quanta of values.
    pub columns: Vec<i128>,
    /// Sum of the rows' squares, in quanta of squares.
    pub squares: i128,
}

impl DepthSums {
    /// Nothing yet, for codebooks of these sizes and rows of `dims` values.
    #[must_use]
    pub fn empty(codebook_sizes: &[usize], dims: usize) -> Self {
        Self {
            loads: codebook_sizes.iter().map(|k| vec![0; *k]).collect(),
            errors: vec![0; codebook_sizes.len()],
            norms: vec![0; codebook_sizes.len()],
            columns: vec![0; dims],
            squares: 0,
        }
    }

    /// Adds rows as they enter the first level, and what each level leaves of them in the rows' own unit. O(n·(p·d + levels·e)).
    ///
    /// # Errors
    /// [`Error::Data`] for a value past what `quanta` are for.
    pub fn add_inner(&mut self, coded: CodedRows<'_>, quanta: Quanta) -> Result<()> {
        coded.each_part(self, &self.emptied(), |sums, part| sums.add_inner_part(part, quanta), Self::merge)
    }

    fn emptied(&self) -> Self {
        Self::empty(&self.loads.iter().map(Vec::len).collect::<Vec<_>>(), self.columns.len())
    }

    fn add_inner_part(&mut self, coded: CodedRows<'_>, quanta_of: Quanta) -> Result<()> {
        let CodedRows { rows, quantizer, reference, .. } = coded;
        let (values, scale) = (power(quanta_of.values), power(quanta_of.squares));
        let mut scratch = Scratch::default();
        for i in 0..rows.rows() {
            let row = reference.enter(quantizer, rows.row(i), &mut scratch);
            if !all_within(row, quanta_of.most) {
                return Err(coded.changed(quanta_of.most));
            }
            self.squares = self.squares.saturating_add(quanta(squared_norm(row), scale));
            self.columns
                .iter_mut()
                .zip(&*row)
                .for_each(|(sum, value)| *sum = sum.saturating_add(quanta(*value, values)));
            let mut own = 1.0;
            for level in 0..quantizer.codebooks.len() {
                if quantizer.normalize_residuals {
                    let norm = unit(row);
                    self.norms[level] = self.norms[level].saturating_add(quanta(norm, values));
                    own *= norm;
                }
                coded.subtract(i, level, row);
                self.loads[level][coded.code(i, level)] += 1;
                self.errors[level] = self.errors[level].saturating_add(quanta(squared_norm(row) * own * own, scale));
            }
        }
        Ok(())
    }

    /// Adds rows as they are, with what each number of levels makes of them, `[n, d]` a depth. O(n·d·levels).
    ///
    /// # Errors
    /// [`Error::Data`] for a value past what `quanta` are for.
    pub fn add_decoded(&mut self, coded: CodedRows<'_>, decoded: &[Matrix], quanta: Quanta) -> Result<()> {
        let first = coded.first;
        let add =
            |sums: &mut Self, part: CodedRows<'_>| sums.add_decoded_part(part, decoded, part.first - first, quanta);
        coded.each_part(self, &self.emptied(), add, Self::merge)
    }

    fn add_decoded_part(
        &mut self,
        coded: CodedRows<'_>,
        decoded: &[Matrix],
        from: usize,
        quanta_of: Quanta,
    ) -> Result<()> {
        let (values, scale) = (power(quanta_of.values), power(quanta_of.squares));
        let (mut wide, mut error) = (vec![0.0f64; coded.rows.dims()], [0.0f64]);
        for i in 0..coded.rows.rows() {
            wide.iter_mut().zip(coded.rows.row(i)).for_each(|(wide, value)| *wide = f64::from(*value));
            let square = squared_norm(&wide);
            // NaN is no number of quanta.
            let too_far = |square: f64| (square * scale).is_nan() || square * scale > power(100);
            self.squares = self.squares.saturating_add(quanta(square, scale));
            self.columns
                .iter_mut()
                .zip(&wide)
                .for_each(|(sum, value)| *sum = sum.saturating_add(quanta(*value, values)));
            for (level, back) in decoded.iter().enumerate() {
                self.loads[level][coded.code(i, level)] += 1;
                squared_distances(&wide, back.row(from + i), &mut error);
                if too_far(square) || too_far(error[0]) {
                    return Err(Error::Data(format!(
                        "row {}, {:.1e} long, is too far from the rows that the codec was trained on to be measured with them",
                        coded.first + i,
                        square.sqrt()
                    )));
                }
                self.errors[level] = self.errors[level].saturating_add(quanta(error[0], scale));
            }
        }
        Ok(())
    }

    /// Takes other rows in.
    ///
    /// # Errors
    /// As [`LevelSums::merge`].
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let sizes = |s: &Self| s.loads.iter().map(Vec::len).collect::<Vec<_>>();
        if sizes(self) != sizes(other) || self.columns.len() != other.columns.len() {
            return Err(misfit());
        }
        for (into, from) in self.loads.iter_mut().zip(&other.loads) {
            add_all(into, from, u64::checked_add)?;
        }
        add_all(&mut self.errors, &other.errors, i128::checked_add)?;
        add_all(&mut self.norms, &other.norms, i128::checked_add)?;
        add_all(&mut self.columns, &other.columns, i128::checked_add)?;
        self.squares = self.squares.checked_add(other.squares).ok_or_else(past)?;
        Ok(())
    }

    /// Squared L2 of `rows` rows to their mean, in all.
    #[must_use]
    pub fn deviation(&self, rows: u64, quanta: Quanta) -> f64 {
        let centre: f64 = self.columns.iter().map(|sum| real(*sum, quanta.values).powi(2)).sum();
        (real(self.squares, quanta.squares) - centre / rows.max(1) as f64).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_to_the_nearest_quantum_and_add_up_in_any_order() {
        let values = [0.5, -0.5, 1.5, -1.5, 0.25, -3.75, 2_251_799_813_685_247.0, -2_251_799_813_685_247.0];
        let mut sums = [0i64; 8];
        add_row(&mut sums, &values, 1.0);
        assert_eq!(sums, [0, 0, 2, -2, 0, -4, 2_251_799_813_685_247, -2_251_799_813_685_247]);
        let mut random = crate::rng::stream(1, "test", 0);
        let mut rows: Vec<Vec<f64>> = (0..500).map(|_| (0..33).map(|_| random.normal()).collect()).collect();
        let bits = value_bits(6.0, 500);
        let sum = |rows: &[Vec<f64>]| {
            let mut sums = vec![0i64; 33];
            rows.iter().for_each(|row| add_row(&mut sums, row, power(bits)));
            sums
        };
        let forwards = sum(&rows);
        let want: f64 = rows.iter().map(|row| row[7]).sum();
        assert!((real(i128::from(forwards[7]), bits) - want).abs() < 1e-11 * want.abs().max(1.0));
        rows.reverse();
        assert_eq!(sum(&rows), forwards);
    }

    #[test]
    fn quanta_leave_room_for_all_rows() {
        for (most, rows) in
            [(1.0, 1), (1.0, 1 << 40), (0.3, 63_436), (1e18, 1 << 30), (1e-9, 7), (f64::MIN_POSITIVE, 3)]
        {
            let bits = value_bits(most, rows);
            let one = most * libm::ldexp(1.0, bits.min(1000));
            assert!(one <= libm::ldexp(1.0, 51) && one * rows as f64 <= libm::ldexp(1.0, 62), "{most} {rows}: {bits}");
        }
        assert_eq!((value_bits(0.0, 5), square_bits(0.0)), (0, 0));
        assert_eq!((ceil_log2(1.0), ceil_log2(1.5), ceil_log2(2.0), ceil_log2(0.5)), (0, 1, 1, -1));
    }

    #[test]
    fn sums_past_their_range_are_refused() {
        let mut sums = LevelSums::empty(1, 1, 0);
        sums.sums[0] = i64::MAX;
        let other = sums.clone();
        assert!(sums.merge(&other).unwrap_err().to_string().contains("damaged"));
        assert!(sums.merge(&LevelSums::empty(2, 1, 0)).is_err());
    }
}
