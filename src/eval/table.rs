//! Code tables of unknown origin: which way round they are, and how codes are counted.

use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// Levels of an ID at most, here and in every system read about.
const MOST_LEVELS: usize = 64;

/// A code table as this crate counts: `[rows, levels]`, every level from 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeTable {
    /// `[rows, levels]`.
    pub codes: Codes,
    /// `[levels]` codewords of each level.
    pub codebook_sizes: Vec<usize>,
    /// How the table had to be read, in the order in which it was done; empty if as it stands.
    pub readings: Vec<CodeAdjustment>,
}

/// Something that a code table did not say itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeAdjustment {
    /// It was `[levels, rows]`, as GRID writes it, often with a last level that tells colliding items apart.
    Transposed,
    /// Codes were counted on from level to level, as TorchEasyRec writes them; sizes of earlier levels were subtracted.
    Offset,
    /// Sizes were not given: each is the highest code and one more, so use and balance are of at least so many codewords.
    SizesGuessed,
}

/// Finds out how a code table is meant, where that is certain, and refuses it where it is not.
///
/// `codebook_sizes` has one size a level or one for all; without it, a level's highest code tells. `rows` is how many items there
/// are, if that is known.
///
/// A table of at most 64 rows and more than 64 columns is turned round, as no ID has so many codes; so is one whose columns are
/// as many as `rows`, and whose rows are not. With sizes, codes that lie past their own codebook but all in the place that the
/// earlier levels leave them are counted from there.
///
/// ```
/// use sememe::{Codes, eval::{CodeAdjustment, interpret_codes}};
/// let table = interpret_codes(Codes::from_vec(2, 2, vec![0, 5, 3, 4])?, Some(&[4]), None)?;
/// assert_eq!(table.codes.row(0), [0, 1]);
/// assert_eq!(table.readings, [CodeAdjustment::Offset]);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if rows or sizes disagree in number; [`Error::Data`] for a code beyond its codebook, and for codes that look
/// counted on from level to level while no sizes say so; [`Error::Config`] for a size of 0.
pub fn interpret_codes(codes: Codes, codebook_sizes: Option<&[usize]>, rows: Option<usize>) -> Result<CodeTable> {
    let mut readings = Vec::new();
    let by_shape = codes.rows() <= MOST_LEVELS && codes.levels() > MOST_LEVELS;
    let turn = match rows {
        Some(rows) => codes.rows() != rows && codes.levels() == rows,
        None => by_shape,
    };
    let mut codes = if turn {
        readings.push(CodeAdjustment::Transposed);
        transposed(&codes)
    } else {
        codes
    };
    if let Some(rows) = rows {
        check_shape("rows", rows, codes.rows(), "codes")?;
    }
    if codes.levels() > MOST_LEVELS {
        return Err(Error::Data(format!(
            "{} codes an ID, expected at most {MOST_LEVELS}: a table of [rows, levels], coarse to fine",
            codes.levels()
        )));
    }
    let levels = codes.levels();
    let ranges = ranges(&codes);
    let sizes: Vec<usize> = match codebook_sizes {
        Some([size]) => vec![*size; levels],
        Some(sizes) => {
            check_shape("levels", sizes.len(), levels, "codes")?;
            sizes.to_vec()
        }
        None => {
            let on = levels > 1 && ranges.windows(2).all(|pair| pair[1].0 > pair[0].1);
            if on {
                return Err(Error::Data(format!(
                    "every level's codes begin past those of the level before it ({}), as if counted on from level to \
                     level",
                    ranges.iter().map(|(low, high)| format!("{low} to {high}")).collect::<Vec<_>>().join(", ")
                ))
                .mend([crate::Remedy::give("codebook_sizes").to("make it certain")]));
            }
            readings.push(CodeAdjustment::SizesGuessed);
            ranges.iter().map(|(_, high)| *high as usize + 1).collect()
        }
    };
    if let Some(level) = sizes.iter().position(|size| *size == 0) {
        return Err(Error::config(format!("codebook_sizes.{level}"), "a codebook of 0 codewords; give at least 1"));
    }
    let starts: Vec<usize> = sizes.iter().scan(0usize, |sum, size| Some(std::mem::replace(sum, *sum + size))).collect();
    let fits = ranges.iter().zip(&sizes).all(|((_, high), size)| (*high as usize) < *size);
    let counted_on = || {
        let within = |((low, high), (start, size)): (&(u32, u32), (&usize, &usize))| {
            *low as usize >= *start && (*high as usize) < start + size
        };
        ranges.iter().zip(starts.iter().zip(&sizes)).all(within)
    };
    if !fits && counted_on() {
        readings.push(CodeAdjustment::Offset);
        for id in codes.as_mut_slice().chunks_exact_mut(levels) {
            id.iter_mut().zip(&starts).for_each(|(code, start)| *code -= *start as u32);
        }
    } else if !fits && ranges.iter().zip(&sizes).all(|((low, high), size)| *low >= 1 && *high as usize <= *size) {
        return Err(Error::Data(format!(
            "codes go from 1 to {}, as if counted from 1, and a codebook of {} ends with code {}; subtract 1 from every code",
            ranges.iter().map(|(_, high)| *high).max().unwrap_or(0),
            sizes[0],
            sizes[0] - 1
        )));
    }
    Ok(CodeTable { codes, codebook_sizes: sizes, readings })
}

fn transposed(codes: &Codes) -> Codes {
    let mut out = Codes::zeros(codes.levels(), codes.rows());
    for (level, line) in codes.iter().enumerate() {
        line.iter().enumerate().for_each(|(row, &code)| out.row_mut(row)[level] = code);
    }
    out
}

/// `[levels]` lowest and highest code.
fn ranges(codes: &Codes) -> Vec<(u32, u32)> {
    let mut ranges = vec![(u32::MAX, 0); codes.levels()];
    for id in codes.iter() {
        ranges
            .iter_mut()
            .zip(id)
            .for_each(|((low, high), &code)| (*low, *high) = ((*low).min(code), (*high).max(code)));
    }
    ranges
}
