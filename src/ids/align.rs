//! Names that stay when a codec is trained again: its codewords take the numbers of the old codec's that mean the same.
//!
//! A codec's codes are names of groups, given by chance: trained again on nearly the same rows, nearly the same groups come out under
//! other numbers, and every ID changes. Aligning renames the new codec's codewords, level by level, such that as many rows as
//! possible keep their codes. It changes no group and no reconstruction. [`eval::measure_churn`](crate::eval::measure_churn) tells what
//! is left.

use super::resolve::min_cost::assign;
use crate::codec::Codec;
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};
use crate::rng;

/// Codewords of a level, at most: the matching holds a number a pair.
const MAX_CODEWORDS: usize = 8192;
/// Rounds of matching a codebook that all levels share.
const SHARED_ROUNDS: usize = 8;
/// Points that stand in for rows: 64 for every codeword of the largest level, within these bounds.
const POINTS: std::ops::RangeInclusive<usize> = 1 << 14..=1 << 16;

/// A codec under the names of an older one.
#[derive(Clone, Debug)]
pub struct Aligned {
    /// The new codec, renamed.
    pub codec: Codec,
    /// Where each codeword of each level went.
    pub permutations: Vec<Vec<u32>>,
}

/// The new codec with its codewords renamed such that `new_codes`, its codes of some rows, agree with `old_codes`, the old codec's
/// codes of the same rows, as far as renaming can make them.
///
/// Give the rows whose IDs are in use. [`match_codes`] says what is best and how it is found; a codebook that levels share has one
/// renaming for all of them. Codewords that are equal stay in their order, so that the one that won their ties still does.
///
/// ```
/// use sememe::{Codec, Device, Matrix, RqKMeans, ids::align};
/// let rows = Matrix::from_vec(6, 1, vec![0.0, 0.1, 5.0, 5.1, 9.0, 9.1])?;
/// let train = |seed| {
///     let config = RqKMeans { codebook_sizes: vec![3], seed, ..RqKMeans::default() };
///     Codec::train(&rows, &config, &Device::cpu(), &())
/// };
/// let (old, new) = (train(1)?, train(2)?);
/// let aligned = align(&new, &old, &new.encode(&rows)?, &old.encode(&rows)?)?;
/// assert_eq!(aligned.codec.encode(&rows)?, old.encode(&rows)?);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// As [`match_codes`]; [`Error::Shape`] if the codes are not of the codecs' levels.
pub fn align(new: &Codec, old: &Codec, new_codes: &Codes, old_codes: &Codes) -> Result<Aligned> {
    check_shape("levels", new.levels(), new_codes.levels(), "codes of the new codec")?;
    check_shape("levels", old.levels(), old_codes.levels(), "codes of the old codec")?;
    let sizes = new.codebook_sizes();
    let mut permutations = if new.manifest().shared_codebook {
        vec![match_shared(new_codes, old_codes, sizes[0])?; sizes.len()]
    } else {
        match_codes(new_codes, old_codes, &sizes)?
    };
    for (level, order) in permutations.iter_mut().enumerate() {
        keep_ties(new, level, order);
    }
    let codec = new.permute(&permutations, Some(old.content_hash()))?;
    Ok(Aligned { codec, permutations })
}

/// As [`align`], where no rows are at hand: in their place come the points that random IDs of the old codec stand for, 64 for every
/// codeword of its largest level but 16,384 at least and 65,536 at most. Where rows are at hand, use them: they weigh codewords by how many items they name.
///
/// # Errors
/// As [`align`]; [`Error::Shape`] if the codecs take rows of different dimensions; [`Error::Data`] for a codec with networks, as what
/// those make of random IDs is like no row.
pub fn align_without_rows(new: &Codec, old: &Codec) -> Result<Aligned> {
    check_shape("d", old.dims(), new.dims(), "the new codec")?;
    if [new, old].iter().any(|codec| codec.manifest().encoder.is_some() || codec.manifest().decoder.is_some()) {
        let problem =
            "a codec with networks is aligned by rows only, as random IDs stand for nothing behind them; give rows";
        return Err(Error::Data(problem.into()));
    }
    let sizes = old.codebook_sizes();
    let points = (64 * sizes.iter().copied().max().unwrap_or(0)).clamp(*POINTS.start(), *POINTS.end());
    let mut stream = rng::stream(0, "align", 0);
    let mut draw = |size: &usize| stream.below(*size as u64) as u32;
    let flat = (0..points).flat_map(|_| sizes.iter().map(&mut draw).collect::<Vec<_>>()).collect();
    let rows = old.decode(&Codes::from_vec(points, sizes.len(), flat)?)?;
    // The codes that such a point has, which are not always those it was made of.
    align(new, old, &new.encode(&rows)?, &old.encode(&rows)?)
}

/// The best new name of each code, level by level: `[level][code]`, a permutation of `0..codebook_sizes[level]`.
///
/// At each level the names are those under which the most rows keep their code, among the rows that kept all codes before it: an
/// optimal assignment over the table of how often a code of `new` meets one of `old`. Among equals, those under which more of all
/// rows keep the code; codes that no such row has take the names that are left, in order. A level that `old` lacks keeps its names,
/// and an old code past the new codebook is nobody's. O(levels · (n + k³)) in the worst case, and 8·k² bytes; far less where groups
/// are much the same.
///
/// # Errors
/// [`Error::Shape`] for tables of different numbers of rows, or not a size a level; [`Error::Data`] for a code past its codebook;
/// [`Error::Config`] for more than 8,192 codewords a level.
pub fn match_codes(new: &Codes, old: &Codes, codebook_sizes: &[usize]) -> Result<Vec<Vec<u32>>> {
    check_shape("levels", new.levels(), codebook_sizes.len(), "codebook sizes")?;
    check_shape("rows", old.rows(), new.rows(), "codes of the new codec")?;
    for (level, size) in codebook_sizes.iter().enumerate() {
        check(new, level..level + 1, *size)?;
    }
    let mut agrees = vec![true; new.rows()];
    let mut permutations = Vec::with_capacity(codebook_sizes.len());
    for (level, size) in codebook_sizes.iter().copied().enumerate() {
        if level >= old.levels() {
            permutations.push((0..size as u32).collect());
            continue;
        }
        let mut weights = Weights::new(size, new.rows());
        for (i, agrees) in agrees.iter().enumerate() {
            weights.add(new.row(i)[level], old.row(i)[level], *agrees);
        }
        let order = weights.best();
        for (i, agrees) in agrees.iter_mut().enumerate() {
            *agrees &= order[new.row(i)[level] as usize] == old.row(i)[level];
        }
        permutations.push(order);
    }
    Ok(permutations)
}

/// One renaming for all levels: what a row's prefix keeps depends on the renaming itself, so it is found in rounds, each
/// weighing rows by what the one before it kept, and the best of the rounds counts.
fn match_shared(new: &Codes, old: &Codes, size: usize) -> Result<Vec<u32>> {
    check_shape("rows", old.rows(), new.rows(), "codes of the new codec")?;
    check(new, 0..new.levels(), size)?;
    let levels = new.levels().min(old.levels());
    let mut best: Option<(usize, Vec<u32>)> = None;
    let mut order: Option<Vec<u32>> = None;
    for _ in 0..SHARED_ROUNDS {
        let mut weights = Weights::new(size, new.rows() * levels);
        for (new, old) in new.iter().zip(old.iter()) {
            let mut agrees = true;
            for (a, b) in new.iter().zip(old) {
                weights.add(*a, *b, agrees);
                agrees &= order.as_ref().is_none_or(|order| order[*a as usize] == *b);
            }
        }
        let found = weights.best();
        let keeps =
            |(new, old): (&[u32], &[u32])| new.iter().zip(old).take_while(|(a, b)| found[**a as usize] == **b).count();
        let kept: usize = new.iter().zip(old.iter()).map(keeps).sum();
        if best.as_ref().is_some_and(|(most, _)| kept <= *most) {
            break;
        }
        best = Some((kept, found.clone()));
        order = Some(found);
    }
    Ok(best.map_or_else(|| (0..size as u32).collect(), |(_, order)| order))
}

fn check(codes: &Codes, levels: std::ops::Range<usize>, size: usize) -> Result<()> {
    if size > MAX_CODEWORDS {
        let problem = format!("{size} codewords in a level, at most {MAX_CODEWORDS} are matched");
        return Err(Error::config("codebook_sizes", problem));
    }
    for (i, row) in codes.iter().enumerate() {
        for level in levels.clone() {
            if row[level] as usize >= size {
                return Err(Error::Data(format!(
                    "row {i} has code {} at level {level}, past the {size} codewords of its codebook",
                    row[level]
                )));
            }
        }
    }
    Ok(())
}

/// How often a new code meets an old one.
struct Weights {
    size: usize,
    /// `[new, old]`
    table: Vec<f64>,
    /// What a row is worth that lost its prefix already: all of them together less than one that has not.
    lost: f64,
}

impl Weights {
    fn new(size: usize, rows: usize) -> Self {
        Self { size, table: vec![0.0; size * size], lost: 1.0 / (2.0 * (rows as f64 + 1.0)) }
    }

    fn add(&mut self, new: u32, old: u32, agrees: bool) {
        if (old as usize) < self.size {
            self.table[new as usize * self.size + old as usize] += if agrees { 1.0 } else { self.lost };
        }
    }

    /// The assignment of the most weight; codes without any take what is left, ascending.
    fn best(self) -> Vec<u32> {
        let size = self.size;
        let rows: Vec<usize> = (0..size).filter(|j| self.table[j * size..][..size].iter().any(|w| *w > 0.0)).collect();
        let costs: Vec<f64> = rows.iter().flat_map(|j| &self.table[j * size..][..size]).map(|w| -w).collect();
        let mut order = vec![u32::MAX; size];
        let mut taken = vec![false; size];
        for (j, to) in rows.iter().zip(assign(&costs, &vec![1; size])) {
            order[*j] = to as u32;
            taken[to] = true;
        }
        let mut left = (0..size as u32).filter(|to| !taken[*to as usize]);
        order.iter_mut().filter(|to| **to == u32::MAX).for_each(|to| *to = left.next().unwrap_or(0));
        order
    }
}

/// Equal codewords tie for every row, and the lowest index wins: among themselves they keep their order.
fn keep_ties(codec: &Codec, level: usize, order: &mut [u32]) {
    let book = codec.codebook(level);
    let mut by_value: Vec<usize> = (0..book.rows()).collect();
    let bits = |j: usize| book.row(j).iter().map(|v| v.to_bits());
    by_value.sort_by(|a, b| bits(*a).cmp(bits(*b)).then(a.cmp(b)));
    for equal in by_value.chunk_by(|a, b| book.row(*a) == book.row(*b)).filter(|equal| equal.len() > 1) {
        let mut names: Vec<u32> = equal.iter().map(|j| order[*j]).collect();
        names.sort_unstable();
        equal.iter().zip(names).for_each(|(j, name)| order[*j] = name);
    }
}
