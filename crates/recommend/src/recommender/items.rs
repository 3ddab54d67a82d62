//! What an item is made of: a vector of its own, codewords of its ID, a map of its text's vector, or their sum.
//!
//! The sum is one table `[items, dims]`, which is both what the decoder reads and what its output is compared with: with codes
//! alone, an item's score is the sum of one score a level, so that a few thousand vectors name any number of items.

use crate::decoder::DeviceSegments;
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};
use sememe::data::first_non_finite;
use sememe::rng::Stream;
use sememe::{Codes, Error, Matrix, Result, check_shape};
use std::collections::HashMap;

/// Where the vectors of items come from; at least one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemSources {
    /// Rows of the catalogue.
    pub items: usize,
    /// Whether each item has a vector of its own, as in SASRec. Items without events stay where they began.
    pub identities: bool,
    /// `[items, levels]`: a vector for every code of every level.
    pub codes: Option<Codes>,
    /// Whether every prefix of an ID past its first code has a vector as well, up to the whole ID (Singh et al. 2024): what items that
    /// share a prefix have in common is learned from all of them, and the rest from an item's own events.
    pub prefixes: bool,
    /// `[items, t]`: a learned linear map of an item's vector, of its text say.
    pub vectors: Option<Matrix>,
}

impl ItemSources {
    /// Checks that there is a source, and that all are of the same items.
    ///
    /// # Errors
    /// [`Error::Config`] without items or sources; [`Error::Shape`] for another number of rows; [`Error::NonFinite`].
    pub fn validate(&self) -> Result<()> {
        if self.items == 0 {
            return Err(Error::config("items", "expected at least 1 item, got 0"));
        }
        if self.items > u32::MAX as usize {
            return Err(Error::config("items", format!("expected at most {}, got {}", u32::MAX, self.items)));
        }
        if !self.identities && self.codes.is_none() && self.vectors.is_none() {
            let problem = "items need something to be told apart by: identities, codes, or vectors";
            return Err(Error::config("items", problem));
        }
        if self.prefixes && self.codes.is_none() {
            return Err(Error::config("prefixes", "prefixes are of codes, and there are none"));
        }
        if let Some(codes) = &self.codes {
            check_shape("rows", self.items, codes.rows(), "codes of items")?;
            if codes.levels() == 0 {
                return Err(Error::config("codes", "expected at least 1 level, got 0"));
            }
        }
        if let Some(vectors) = &self.vectors {
            check_shape("rows", self.items, vectors.rows(), "vectors of items")?;
            if let Some((first, count)) = first_non_finite(vectors.as_slice(), vectors.dims()) {
                let (first, count, rows) = (first as u64, count as u64, vectors.rows() as u64);
                return Err(Error::NonFinite { first, count, rows, place: "vectors of items".into() });
            }
        }
        Ok(())
    }

    /// Tables of learned vectors that codes lead to: of each, the row of every item, and how many rows there are.
    pub(crate) fn lookups(&self) -> Vec<(Vec<u32>, usize)> {
        let Some(codes) = &self.codes else { return Vec::new() };
        let mut out: Vec<(Vec<u32>, usize)> = (0..codes.levels())
            .map(|level| {
                let rows: Vec<u32> = codes.iter().map(|c| c[level]).collect();
                let count = rows.iter().max().map_or(1, |most| *most as usize + 1);
                (rows, count)
            })
            .collect();
        if self.prefixes {
            out.extend((2..=codes.levels()).map(|depth| prefixes(codes, depth)));
        }
        out
    }
}

/// The number of every item's prefix of `depth` codes, counted in the order in which prefixes first occur, and how many there are.
fn prefixes(codes: &Codes, depth: usize) -> (Vec<u32>, usize) {
    let mut numbers: HashMap<&[u32], u32> = HashMap::new();
    let mut rows = Vec::with_capacity(codes.rows());
    for c in codes.iter() {
        let next = numbers.len() as u32;
        rows.push(*numbers.entry(&c[..depth]).or_insert(next));
    }
    let count = numbers.len().max(1);
    (rows, count)
}

/// Places of what makes up the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemLayout {
    pub items: usize,
    pub dims: usize,
    /// `[items, dims]`.
    pub identities: Option<usize>,
    /// `[rows, dims]` of each table of [`ItemSources::lookups`], and its rows.
    pub lookups: Vec<(usize, usize)>,
    /// `[dims, t]`, and t.
    pub map: Option<(usize, usize)>,
    pub end: usize,
}

impl ItemLayout {
    pub fn new(sources: &ItemSources, dims: usize, start: usize) -> Self {
        let mut next = start;
        let mut take = |len: usize| {
            next += len;
            next - len
        };
        let identities = sources.identities.then(|| take(sources.items * dims));
        let lookups = sources.lookups().into_iter().map(|(_, rows)| (take(rows * dims), rows)).collect();
        let map = sources.vectors.as_ref().map(|v| (take(dims * v.dims()), v.dims()));
        Self { items: sources.items, dims, identities, lookups, map, end: next }
    }

    /// Starts small: the first logits should say nothing. Each source's rows have values of about `deviation`.
    pub fn initialise(&self, deviation: f64, stream: &mut Stream, params: &mut [f32]) {
        let mut normal = |at: usize, len: usize, deviation: f64| {
            params[at..at + len].iter_mut().for_each(|v| *v = (deviation * stream.normal()) as f32);
        };
        if let Some(at) = self.identities {
            normal(at, self.items * self.dims, deviation);
        }
        let shared = deviation / (self.lookups.len().max(1) as f64).sqrt();
        for (at, k) in &self.lookups {
            normal(*at, k * self.dims, shared);
        }
        if let Some((at, t)) = self.map {
            // Vectors are scaled to a mean norm of 1.
            normal(at, self.dims * t, deviation);
        }
    }
}

/// `vectors` brought to a mean of 0 and a mean norm of 1, with the mean and the factor, so that any kind of vector starts alike, and a
/// step of Adam, which moves every weight as far, moves a mapped vector no further than one that is learned as it is.
pub(crate) fn scaled_vectors(vectors: &Matrix) -> (Matrix, Vec<f32>, f64) {
    let (n, t) = (vectors.rows(), vectors.dims());
    let mut mean = vec![0.0f64; t];
    for row in vectors.as_slice().chunks_exact(t.max(1)) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n.max(1) as f64);
    }
    let norm = |row: &[f32]| row.iter().zip(&mean).map(|(v, m)| (f64::from(*v) - m).powi(2)).sum::<f64>().sqrt();
    let typical = vectors.as_slice().chunks_exact(t.max(1)).map(norm).sum::<f64>() / n.max(1) as f64;
    let factor = if typical > 0.0 { 1.0 / typical } else { 0.0 };
    let mut out = vectors.clone();
    for row in out.as_mut_slice().chunks_exact_mut(t.max(1)) {
        row.iter_mut().zip(&mean).for_each(|(v, m)| *v = ((f64::from(*v) - m) * factor) as f32);
    }
    (out, mean.iter().map(|m| *m as f32).collect(), factor)
}

/// A vector as [`scaled_vectors`] leaves those of items.
pub(crate) fn scaled_vector(vector: &[f32], mean: &[f32], factor: f64) -> Vec<f32> {
    vector.iter().zip(mean).map(|(v, m)| ((f64::from(*v) - f64::from(*m)) * factor) as f32).collect()
}

/// The sources and their table on a device.
pub(crate) struct ItemTable<B: TensorBackend> {
    pub layout: ItemLayout,
    /// `[tables, items]`: the row of each item in each table of look-ups.
    codes: B::Index,
    /// Items by row, of each table.
    segments: Vec<DeviceSegments<B>>,
    /// `[items, t]`.
    vectors: B::Tensor,
    /// `[items, dims]`.
    pub table: B::Tensor,
    /// Its gradient.
    pub grad: B::Tensor,
}

impl<B: TensorBackend> ItemTable<B> {
    /// `vectors` are scaled already.
    pub fn new(backend: &B, sources: &ItemSources, vectors: Option<&Matrix>, layout: ItemLayout) -> Result<Self> {
        let (n, d) = (layout.items, layout.dims);
        let lookups = sources.lookups();
        let mut codes = backend.index("codes of items", lookups.len() * n)?;
        let mut segments = Vec::new();
        for (number, (rows, count)) in lookups.iter().enumerate() {
            backend.write_index(&mut codes, number * n, rows)?;
            let mut sorted = DeviceSegments::new(backend, n)?;
            sorted.sort(backend, rows, *count)?;
            segments.push(sorted);
        }
        let mut held = backend.zeros("vectors of items", vectors.map_or(0, |v| v.as_slice().len()))?;
        if let Some(vectors) = vectors {
            backend.write_tensor(&mut held, 0, vectors.as_slice())?;
        }
        let (table, grad) = (backend.zeros("items", n * d)?, backend.zeros("items", n * d)?);
        Ok(Self { layout, codes, segments, vectors: held, table, grad })
    }

    /// The table from the parameters. O(items·dims·(levels + t)).
    pub fn compose(&mut self, backend: &B, precision: Precision, params: &B::Tensor) -> Result<()> {
        let ItemLayout { items, dims, .. } = self.layout;
        let mut filled = false;
        if let Some(at) = self.layout.identities {
            backend.combine(items * dims, 1.0, from(params, at), 0.0, &mut self.table, 0)?;
            filled = true;
        }
        for (level, (at, k)) in self.layout.lookups.iter().enumerate() {
            let rows = from(&self.codes, level * items);
            backend.gather((items, dims, *k), from(params, *at), rows, filled, &mut self.table, 0)?;
            filled = true;
        }
        if let Some((at, t)) = self.layout.map {
            let product = Product { layout: Layout::Nt, m: items, n: dims, k: t, alpha: 1.0, accumulate: filled };
            backend.matmul(&product, precision, whole(&self.vectors), from(params, at), &mut self.table, 0)?;
        }
        Ok(())
    }

    /// Lets go of all but the table, which can be neither composed again nor learned from then.
    pub fn freeze(&mut self, backend: &B) -> Result<()> {
        self.codes = backend.index("codes of items", 0)?;
        self.segments.clear();
        self.vectors = backend.zeros("vectors of items", 0)?;
        self.grad = backend.zeros("items", 0)?;
        Ok(())
    }

    /// Gradients of the parameters from that of the table.
    pub fn decompose(&self, backend: &B, precision: Precision, grads: &mut B::Tensor) -> Result<()> {
        let ItemLayout { items, dims, .. } = self.layout;
        if let Some(at) = self.layout.identities {
            backend.combine(items * dims, 1.0, whole(&self.grad), 0.0, grads, at)?;
        }
        for ((at, k), segments) in self.layout.lookups.iter().zip(&self.segments) {
            backend.clear(grads, *at, k * dims)?;
            backend.scatter_rows((items, dims, *k), 1.0, &segments.get(), &self.grad, grads, *at)?;
        }
        if let Some((at, t)) = self.layout.map {
            let product = Product { layout: Layout::Tn, m: dims, n: t, k: items, alpha: 1.0, accumulate: false };
            backend.matmul(&product, precision, whole(&self.grad), whole(&self.vectors), grads, at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_do_not_fit_are_refused() {
        let codes = Codes::from_vec(2, 1, vec![0, 3]).expect("codes");
        let refused = |s: ItemSources| s.validate().expect_err("refused").to_string();
        assert!(refused(ItemSources::default()).contains("at least 1 item"));
        assert!(refused(ItemSources { items: 2, ..Default::default() }).contains("told apart"));
        assert!(refused(ItemSources { items: 3, codes: Some(codes.clone()), ..Default::default() }).contains('3'));
        let vectors = Matrix::from_vec(2, 1, vec![1.0, f32::NAN]).expect("vectors");
        assert!(refused(ItemSources { items: 2, vectors: Some(vectors), ..Default::default() }).contains("vectors"));
        let good = ItemSources { items: 2, codes: Some(codes), ..Default::default() };
        good.validate().expect("codes alone");
        assert_eq!(good.lookups(), [(vec![0, 3], 4)]);
    }

    #[test]
    fn prefixes_are_counted_in_their_order() {
        let codes = Codes::from_vec(4, 3, vec![1, 0, 2, 0, 0, 2, 1, 0, 2, 1, 0, 0]).expect("codes");
        let sources = ItemSources { items: 4, codes: Some(codes), prefixes: true, ..Default::default() };
        let lookups = sources.lookups();
        assert_eq!(lookups[..3], [(vec![1, 0, 1, 1], 2), (vec![0; 4], 1), (vec![2, 2, 2, 0], 3)]);
        assert_eq!(lookups[3..], [(vec![0, 1, 0, 0], 2), (vec![0, 1, 0, 2], 3)]);
        assert!(ItemSources { codes: None, identities: true, ..sources }.validate().is_err());
    }

    #[test]
    fn vectors_are_centred_and_scaled() {
        let vectors = Matrix::from_vec(2, 2, vec![1.0, 5.0, 3.0, 5.0]).expect("vectors");
        let (scaled, mean, factor) = scaled_vectors(&vectors);
        assert_eq!((mean, factor), (vec![2.0, 5.0], 1.0));
        assert_eq!(scaled.as_slice(), [-1.0, 0.0, 1.0, 0.0]);
        // A factor past f32's range is kept all the same.
        let tiny = Matrix::from_vec(2, 1, vec![1e-44, -1e-44]).expect("vectors");
        let (scaled, _, factor) = scaled_vectors(&tiny);
        assert!(factor.is_finite() && factor > f64::from(f32::MAX), "{factor:e}");
        assert_eq!(scaled.as_slice(), [1.0, -1.0]);
        let same = Matrix::from_vec(2, 1, vec![7.0, 7.0]).expect("vectors");
        assert_eq!(scaled_vectors(&same).0.as_slice(), [0.0, 0.0]);
    }
}
