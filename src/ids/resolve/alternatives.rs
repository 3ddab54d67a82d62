//! What another code would cost an item.

use crate::codec::Codec;
use crate::compute::Metric;
use crate::compute::reference::{Reference, Scratch, squared_distances};
use crate::data::RowSource;
use crate::error::{Error, Result, check_shape};

/// What codes cost an item: how far it is from what they stand for.
pub trait Alternatives: Sync {
    /// Codewords of each level.
    fn codebook_sizes(&self) -> Vec<usize>;

    /// Writes into `out`, `[k]`, the squared L2 between item `item` and `prefix` followed by each codeword of level
    /// `prefix.len()`, nothing after it.
    ///
    /// # Errors
    /// If the item cannot be read.
    fn squared_l2(&self, item: usize, prefix: &[u32], out: &mut Vec<f64>) -> Result<()>;

    /// Writes into `out`, `[k]`, what [`relocate`](super::relocate) keeps low when it chooses between the same codes: the squared L2,
    /// unless the item got its codes by something else than their distance alone.
    ///
    /// # Errors
    /// If the item cannot be read.
    fn costs(&self, item: usize, prefix: &[u32], out: &mut Vec<f64>) -> Result<()> {
        self.squared_l2(item, prefix, out)
    }

    /// The squared L2 between an item and all its codes.
    ///
    /// # Errors
    /// If the item cannot be read.
    fn squared_l2_of(&self, item: usize, codes: &[u32]) -> Result<f64> {
        let mut out = Vec::new();
        let Some((last, prefix)) = codes.split_last() else { return Ok(0.0) };
        self.squared_l2(item, prefix, &mut out)?;
        Ok(out[*last as usize])
    }
}

/// What a codec's codes cost the rows of a source, in the space of its codewords: after preprocessing and, where the codec has one, the
/// encoder's network.
///
/// Distances are squared L2. Where a balanced codec raises the scores of full codewords by prices, [`costs`](Alternatives::costs) adds
/// twice those prices to the distances, as encoding does, so that an item stays where encoding put it unless it has to move; the
/// distances themselves never hold a price. Everything is computed in f64 in the order of the reference, so it is the same on every
/// machine. O(p·d + levels·e + k·e) a call, the encoder's parameters, and one row read.
///
/// ```
/// use sememe::ids::resolve::{CodecAlternatives, relocate};
/// use sememe::{Codec, Device, Matrix, RqKMeans};
/// let rows = Matrix::from_vec(4, 1, vec![0.0, 0.1, 5.0, 5.3])?;
/// let config = RqKMeans { codebook_sizes: vec![2, 2], ..RqKMeans::default() };
/// let codec = Codec::train(&rows, &config, &Device::cpu(), &())?;
/// let codes = codec.encode(&rows)?;
/// let prices = CodecAlternatives::new(&codec, &rows, None)?;
/// let resolved = relocate(&["a", "b", "c", "d"], &codes, 1, &prices)?;
/// assert_eq!(resolved.cost.ids_after, 4);
/// # Ok::<(), sememe::Error>(())
/// ```
pub struct CodecAlternatives<'a> {
    codec: &'a Codec,
    reference: Reference,
    rows: &'a dyn RowSource,
    numbers: Option<&'a [u64]>,
}

impl<'a> CodecAlternatives<'a> {
    /// Prices for `rows`; item i is row `numbers[i]`, or row i without numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows of other dimensions than the codec's, [`Error::Data`] for a number past the rows, [`Error::Config`] for
    /// a codec under which squared L2 does not add up over levels (cosine, or normalised residuals).
    pub fn new(codec: &'a Codec, rows: &'a dyn RowSource, numbers: Option<&'a [u64]>) -> Result<Self> {
        check_shape("d", codec.dims(), rows.dims(), rows.name())?;
        let quantizer = codec.quantizer();
        if quantizer.metric == Metric::Cosine || quantizer.normalize_residuals {
            let problem =
                "relocating needs a codec with squared L2 and without normalised residuals; number the items instead";
            return Err(Error::config("codec", problem));
        }
        if let Some(far) = numbers.and_then(|numbers| numbers.iter().find(|n| **n >= rows.rows() as u64)) {
            return Err(Error::Data(format!(
                "row {far} of the codes is past the {} rows of `{}`",
                rows.rows(),
                rows.name()
            )));
        }
        Ok(Self { codec, reference: Reference::new(quantizer), rows, numbers })
    }
}

impl Alternatives for CodecAlternatives<'_> {
    fn codebook_sizes(&self) -> Vec<usize> {
        self.codec.codebook_sizes()
    }

    fn squared_l2(&self, item: usize, prefix: &[u32], out: &mut Vec<f64>) -> Result<()> {
        let mut scratch = Scratch::default();
        let left = self.left(item, prefix, &mut scratch)?;
        let book = self.codec.codebook(prefix.len());
        out.clear();
        out.resize(book.rows(), 0.0);
        let columns = self.codec.quantizer().columns(prefix.len());
        squared_distances(&left[columns.clone()], book.as_slice(), out);
        // What a product quantiser's level does not look at is left over whichever codeword it takes.
        let others = left.iter().enumerate().filter(|(c, _)| !columns.contains(c));
        let rest: f64 = others.map(|(_, v)| v * v).sum();
        out.iter_mut().for_each(|square| *square += rest);
        Ok(())
    }

    fn costs(&self, item: usize, prefix: &[u32], out: &mut Vec<f64>) -> Result<()> {
        self.squared_l2(item, prefix, out)?;
        // A score is half a squared L2, less what all codewords have in common, plus the price.
        let quantizer = self.codec.quantizer();
        let priced = prefix.iter().enumerate().filter_map(|(level, code)| quantizer.prices(level).get(*code as usize));
        let so_far: f64 = priced.map(|price| 2.0 * f64::from(*price)).sum();
        out.iter_mut().for_each(|cost| *cost += so_far);
        let prices = quantizer.prices(prefix.len());
        out.iter_mut().zip(prices).for_each(|(cost, price)| *cost += 2.0 * f64::from(*price));
        Ok(())
    }

    fn squared_l2_of(&self, item: usize, codes: &[u32]) -> Result<f64> {
        let mut scratch = Scratch::default();
        Ok(self.left(item, codes, &mut scratch)?.iter().map(|v| v * v).sum())
    }
}

impl CodecAlternatives<'_> {
    /// What a prefix leaves over of an item, `[e]`.
    fn left<'s>(&self, item: usize, prefix: &[u32], scratch: &'s mut Scratch) -> Result<&'s mut [f64]> {
        let number = self.numbers.map_or(item as u64, |numbers| numbers[item]) as usize;
        let mut row = vec![0.0f32; self.codec.dims()];
        self.rows.read_rows(number, &mut row)?;
        if let Some((_, count)) = crate::data::first_non_finite(&row, row.len()) {
            let (first, count, rows) = (number as u64, count as u64, self.rows.rows() as u64);
            return Err(Error::NonFinite { first, count, rows, place: self.rows.name() });
        }
        let left = self.reference.enter(self.codec.quantizer(), &row, scratch);
        for (level, code) in prefix.iter().enumerate() {
            let columns = self.codec.quantizer().columns(level);
            for (v, c) in left[columns].iter_mut().zip(self.codec.codebook(level).row(*code as usize)) {
                *v -= f64::from(*c);
            }
        }
        Ok(left)
    }
}
