//! What the code of a row *is*: preprocessing, encoder and all levels in f64, in one fixed order, with `+ − × ÷ √` only.
//!
//! A network in front of the levels adds `erf` and `exp`, from `libm`, which is plain code and rounds alike everywhere.
//!
//! Every dot product here runs in [`LANES`] interleaved sums that are added as a binary tree; no operation is fused.
//! So any IEEE 754 machine gives the same bits, whatever its vector width. Fast paths on any device are held
//! against this: where they cannot prove that they agree (see [`bound`](super::bound)), this decides.

use super::Metric;
use super::cpu::isa::multiversion;
use super::mlp::{Layer, Mlp};
use super::tensor::Activation;
use crate::data::Matrix;
use std::ops::Range;

/// Interleaved partial sums of a reference dot product.
pub const LANES: usize = 32;

/// A fitted residual or product quantiser: preprocessing, an optional encoder network, and one codebook per level.
///
/// A row x `[d]` becomes `y = S·P·(x − mean)` `[p]`, divided by its norm if `normalize_rows`; then level by level
/// the best codeword is taken (see the score in [`compute`](super)) and subtracted. With an encoder, the levels work on
/// `z = encoder(y)` `[e]` instead of y; without, `z = y` and `e = p`. Decoding adds the codewords up, runs the decoder and inverts the preprocessing.
///
/// A product quantiser gives each level columns of its own: level by level, the best codeword for those columns of y is taken, and decoding
/// sets the codewords side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResidualQuantizer {
    /// Dimensions of an input row.
    pub dims: usize,
    /// `[d]`, or empty for no centring.
    pub mean: Vec<f32>,
    /// P, `[p, d]` row-major, or empty for the identity.
    pub components: Vec<f32>,
    /// S, `[p]`, or empty for ones.
    pub scales: Vec<f32>,
    /// Divide the preprocessed row by its norm.
    pub normalize_rows: bool,
    /// From y `[p]` to z `[e]`.
    pub encoder: Option<Mlp>,
    /// From a sum of codewords `[e]` back to `[p]`.
    pub decoder: Option<Mlp>,
    /// One `[k, e]` codebook a level; of a product quantiser one `[k, w]`, whose widths add up to e.
    pub codebooks: Vec<Matrix>,
    /// Added to the score of each codeword, `[k]` per level. A level without prices has an empty list; the outer list is empty if no level has any.
    pub prices: Vec<Vec<f32>>,
    /// How codewords are compared.
    pub metric: Metric,
    /// Divide every level's input by its norm (GRID's `normalize_residuals`).
    pub normalize_residuals: bool,
    /// Each level has its own columns, side by side in the order of the levels, and none sees what another left.
    pub product: bool,
}

impl ResidualQuantizer {
    /// p: dimensions after preprocessing.
    #[must_use]
    pub fn inner_dims(&self) -> usize {
        if self.components.is_empty() { self.dims } else { self.components.len() / self.dims.max(1) }
    }

    /// e: dimensions of codewords.
    #[must_use]
    pub fn code_dims(&self) -> usize {
        self.encoder.as_ref().map_or_else(|| self.inner_dims(), Mlp::outputs)
    }

    /// The columns that a level looks at: those of its own of a product quantiser, else all e.
    #[must_use]
    pub fn columns(&self, level: usize) -> Range<usize> {
        let start = if self.product { self.codebooks[..level].iter().map(Matrix::dims).sum() } else { 0 };
        start..start + self.codebooks[level].dims()
    }

    /// Whether a row passes to the first level unchanged.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.mean.is_empty()
            && self.components.is_empty()
            && self.scales.is_empty()
            && !self.normalize_rows
            && self.encoder.is_none()
    }

    /// The prices of a level's codewords, empty where there are none.
    #[must_use]
    pub fn prices(&self, level: usize) -> &[f32] {
        self.prices.get(level).map_or(&[], Vec::as_slice)
    }

    /// Codewords of every level.
    #[must_use]
    pub fn codebook_sizes(&self) -> Vec<usize> {
        self.codebooks.iter().map(Matrix::rows).collect()
    }
}

multiversion! {
    /// `out[j] = Σ_c row[c]·codewords[j, c]`, each in the reference's order.
    pub fn dots(row: &[f64], codewords: &[f32], out: &mut [f64]) {
        let d = row.len();
        for (slot, codeword) in out.iter_mut().zip(codewords.chunks_exact(d.max(1))) {
            let mut sums = [0.0f64; LANES];
            let (rows, row_tail) = row.as_chunks::<LANES>();
            let (words, word_tail) = codeword.as_chunks::<LANES>();
            for (a, b) in rows.iter().zip(words) {
                for l in 0..LANES {
                    sums[l] += a[l] * f64::from(b[l]);
                }
            }
            for (l, (a, b)) in row_tail.iter().zip(word_tail).enumerate() {
                sums[l] += a * f64::from(*b);
            }
            let mut width = LANES / 2;
            while width > 0 {
                for l in 0..width {
                    sums[l] += sums[l + width];
                }
                width /= 2;
            }
            *slot = sums[0];
        }
    }
}

multiversion! {
    /// `out[j] = Σ_c (row[c] − codewords[j, c])²`, each in the order of [`dots`].
    pub fn squared_distances(row: &[f64], codewords: &[f32], out: &mut [f64]) {
        let d = row.len();
        for (slot, codeword) in out.iter_mut().zip(codewords.chunks_exact(d.max(1))) {
            let mut sums = [0.0f64; LANES];
            let (rows, row_tail) = row.as_chunks::<LANES>();
            let (words, word_tail) = codeword.as_chunks::<LANES>();
            for (a, b) in rows.iter().zip(words) {
                for l in 0..LANES {
                    let step = a[l] - f64::from(b[l]);
                    sums[l] += step * step;
                }
            }
            for (l, (a, b)) in row_tail.iter().zip(word_tail).enumerate() {
                let step = a - f64::from(*b);
                sums[l] += step * step;
            }
            let mut width = LANES / 2;
            while width > 0 {
                for l in 0..width {
                    sums[l] += sums[l + width];
                }
                width /= 2;
            }
            *slot = sums[0];
        }
    }
}

fn dot(a: &[f64], b: &[f32]) -> f64 {
    let mut out = [0.0];
    dots(a, b, &mut out);
    out[0]
}

/// Σ f(v) in the order of a dot product.
fn sum(a: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0.0f64; LANES];
    for part in a.chunks(LANES) {
        for (s, v) in sums.iter_mut().zip(part) {
            *s += f(*v);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Σ v², in the order of a dot product.
#[must_use]
pub fn squared_norm(values: &[f64]) -> f64 {
    sum(values, |v| v * v)
}

/// Divides values by their norm, unless that is 0, and returns it.
pub fn unit(values: &mut [f64]) -> f64 {
    let norm = squared_norm(values).sqrt();
    if norm > 0.0 {
        for v in values {
            *v /= norm;
        }
    }
    norm
}

/// What follows a layer: `max(0, x)`, `(x·½)·(1 + erf(x/√2))`, `x/(1 + exp(−x))`.
fn activate(activation: Activation, values: &mut [f64]) {
    for v in values {
        *v = match activation {
            Activation::Relu if *v <= 0.0 => 0.0,
            Activation::Relu => *v,
            Activation::Gelu => *v * 0.5 * (1.0 + libm::erf(*v / std::f64::consts::SQRT_2)),
            Activation::Silu => *v / (1.0 + libm::exp(-*v)),
        };
    }
}

/// One layer: dot products, then the bias, then layer norm and activation where there.
fn layer(layer: &Layer, x: &[f64], out: &mut Vec<f64>) {
    out.resize(layer.weight.rows(), 0.0);
    dots(x, layer.weight.as_slice(), out);
    out.iter_mut().zip(&layer.bias).for_each(|(v, b)| *v += f64::from(*b));
    if let Some((gain, bias)) = &layer.norm {
        let d = out.len() as f64;
        let mean = sum(out, |v| v) / d;
        out.iter_mut().for_each(|v| *v -= mean);
        let deviation = (sum(out, |v| v * v) / d + 1e-5).sqrt();
        for ((v, g), b) in out.iter_mut().zip(gain).zip(bias) {
            *v = f64::from(*g) * (*v / deviation) + f64::from(*b);
        }
    }
    if let Some(activation) = layer.activation {
        activate(activation, out);
    }
}

/// `row ← mlp(row)`; with a skip connection the input is added last.
fn network(mlp: &Mlp, row: &mut Vec<f64>, input: &mut Vec<f64>, spare: &mut Vec<f64>) {
    if mlp.skip {
        input.clear();
        input.extend_from_slice(row);
    }
    for part in &mlp.layers {
        layer(part, row, spare);
        std::mem::swap(row, spare);
    }
    if mlp.skip {
        row.iter_mut().zip(input).for_each(|(v, x)| *v += *x);
    }
}

/// Per-codebook constants of the score, in f64, computed once.
#[derive(Clone, Debug)]
pub struct Reference {
    weights: Vec<Vec<f64>>,
    biases: Vec<Vec<f64>>,
}

/// Scratch buffers for evaluating one row, reused between rows.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    centred: Vec<f64>,
    row: Vec<f64>,
    spare: Vec<f64>,
    scores: Vec<f64>,
}

impl Reference {
    /// Derives the constants of `quantizer`. O(Σk·p).
    #[must_use]
    pub fn new(quantizer: &ResidualQuantizer) -> Self {
        let mut weights = Vec::new();
        let mut biases = Vec::new();
        for (level, book) in quantizer.codebooks.iter().enumerate() {
            let squares: Vec<f64> = (0..book.rows())
                .map(|j| {
                    let wide: Vec<f64> = book.row(j).iter().map(|v| f64::from(*v)).collect();
                    dot(&wide, book.row(j))
                })
                .collect();
            match quantizer.metric {
                Metric::SquaredL2 => {
                    weights.push(vec![1.0; book.rows()]);
                    biases.push(squares.iter().map(|s| 0.5 * s).collect());
                }
                Metric::Cosine => {
                    weights.push(squares.iter().map(|s| if *s > 0.0 { 1.0 / s.sqrt() } else { 0.0 }).collect());
                    biases.push(vec![0.0; book.rows()]);
                }
            }
            let priced = biases[level].iter_mut().zip(quantizer.prices(level));
            priced.for_each(|(bias, price)| *bias += f64::from(*price));
        }
        Self { weights, biases }
    }

    /// ½‖c‖² (or 0 under cosine) plus the price of every codeword of a level.
    #[must_use]
    pub fn biases(&self, level: usize) -> &[f64] {
        &self.biases[level]
    }

    /// Scores of codewords `which` of a level for a row that has reached it, in f64. O(which·e).
    pub fn scores(&self, quantizer: &ResidualQuantizer, level: usize, row: &[f64], which: &[u32], out: &mut [f64]) {
        let columns = quantizer.columns(level);
        for (slot, j) in out.iter_mut().zip(which.iter().map(|j| *j as usize)) {
            let dot = dot(&row[columns.clone()], quantizer.codebooks[level].row(j));
            *slot = self.biases[level][j] - self.weights[level][j] * dot;
        }
    }

    /// What a codeword's dot product with a row is multiplied with: 1, or 1/‖c‖ under cosine.
    #[must_use]
    pub fn weights(&self, level: usize) -> &[f64] {
        &self.weights[level]
    }

    /// Preprocesses `x` into `scratch`, returning p values.
    pub fn preprocess<'s>(&self, quantizer: &ResidualQuantizer, x: &[f32], scratch: &'s mut Scratch) -> &'s mut [f64] {
        let Scratch { centred, row, .. } = scratch;
        centred.clear();
        if quantizer.mean.is_empty() {
            centred.extend(x.iter().map(|v| f64::from(*v)));
        } else {
            centred.extend(x.iter().zip(&quantizer.mean).map(|(v, m)| f64::from(*v) - f64::from(*m)));
        }
        row.clear();
        if quantizer.components.is_empty() {
            row.extend_from_slice(centred);
        } else {
            row.resize(quantizer.inner_dims(), 0.0);
            dots(centred, &quantizer.components, row);
        }
        for (v, s) in row.iter_mut().zip(&quantizer.scales) {
            *v *= f64::from(*s);
        }
        if quantizer.normalize_rows {
            unit(row);
        }
        row
    }

    /// What enters the first level, `[e]`: `x` preprocessed and, where there is an encoder, encoded.
    pub fn enter<'s>(&self, quantizer: &ResidualQuantizer, x: &[f32], scratch: &'s mut Scratch) -> &'s mut [f64] {
        self.preprocess(quantizer, x, scratch);
        let Scratch { centred, row, spare, .. } = scratch;
        if let Some(encoder) = &quantizer.encoder {
            network(encoder, row, centred, spare);
        }
        row
    }

    /// Writes the codes of `x` `[d]` into `codes` `[levels]`. O(p·d + parameters of the encoder + Σk·e).
    pub fn encode(&self, quantizer: &ResidualQuantizer, x: &[f32], scratch: &mut Scratch, codes: &mut [u32]) {
        let mut scores = std::mem::take(&mut scratch.scores);
        let entered = self.enter(quantizer, x, scratch);
        for (level, book) in quantizer.codebooks.iter().enumerate() {
            let row = &mut entered[quantizer.columns(level)];
            if quantizer.normalize_residuals {
                unit(row);
            }
            scores.resize(book.rows(), 0.0);
            dots(row, book.as_slice(), &mut scores);
            let mut best = (f64::INFINITY, 0usize);
            for (j, s) in scores.iter().enumerate() {
                let s = self.biases[level][j] - self.weights[level][j] * s;
                if s < best.0 {
                    best = (s, j);
                }
            }
            codes[level] = best.1 as u32;
            for (v, c) in row.iter_mut().zip(book.row(best.1)) {
                *v -= f64::from(*c);
            }
        }
        scratch.scores = scores;
    }

    /// Codeword products for [`encode_beam`](Self::encode_beam): entry `m` is `[k_m, Σ_{l<m} k_l]` in f64.
    #[must_use]
    pub fn gram(&self, quantizer: &ResidualQuantizer) -> Vec<Vec<f64>> {
        let mut tables = Vec::new();
        for (m, book) in quantizer.codebooks.iter().enumerate() {
            let before: usize = quantizer.codebooks[..m].iter().map(Matrix::rows).sum();
            let mut table = vec![0.0; book.rows() * before];
            let mut wide = Vec::new();
            for j in 0..book.rows() {
                wide.clear();
                wide.extend(book.row(j).iter().map(|v| f64::from(*v)));
                let mut at = j * before;
                for earlier in &quantizer.codebooks[..m] {
                    dots(&wide, earlier.as_slice(), &mut table[at..at + earlier.rows()]);
                    at += earlier.rows();
                }
            }
            tables.push(table);
        }
        tables
    }

    /// Writes the codes that a beam of `width` prefixes finds (see [`Backend::beam`](super::Backend::beam)) into `codes`.
    /// Squared L2 without residual normalisation only. O(Σk·e + width·levels·Σk), and the encoder.
    pub fn encode_beam(
        &self,
        quantizer: &ResidualQuantizer,
        gram: &[Vec<f64>],
        width: usize,
        x: &[f32],
        scratch: &mut Scratch,
        codes: &mut [u32],
    ) {
        let mut scores = std::mem::take(&mut scratch.scores);
        let row = self.enter(quantizer, x, scratch);
        let mut beam: Vec<(f64, Vec<u32>)> = vec![(0.0, Vec::new())];
        for (level, book) in quantizer.codebooks.iter().enumerate() {
            scores.resize(book.rows(), 0.0);
            dots(row, book.as_slice(), &mut scores);
            let before: usize = quantizer.codebooks[..level].iter().map(Matrix::rows).sum();
            // The beam is kept in lexicographic order, so (b, j) orders prefixes lexicographically too. The order is total, so which
            // entries stay does not depend on how they are selected, nor on when those are let go that others have surpassed.
            let keep = if level + 1 == quantizer.codebooks.len() { 1 } else { width };
            let order =
                |a: &(f64, u32, u32), b: &(f64, u32, u32)| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2)));
            let mut next: Vec<(f64, u32, u32)> = Vec::with_capacity(book.rows() + keep);
            for (b, (cost, prefix)) in beam.iter().enumerate() {
                let mut columns = Vec::with_capacity(prefix.len());
                let mut offset = 0;
                for (earlier, code) in quantizer.codebooks.iter().zip(prefix) {
                    columns.push(offset + *code as usize);
                    offset += earlier.rows();
                }
                for (j, dot) in scores.iter().enumerate() {
                    let mut step = self.biases[level][j] - dot;
                    for column in &columns {
                        step += gram[level][j * before + column];
                    }
                    next.push((cost + step, b as u32, j as u32));
                }
                if keep < next.len() {
                    next.select_nth_unstable_by(keep, order);
                    next.truncate(keep);
                }
            }
            next.sort_by_key(|e| (e.1, e.2));
            beam = next
                .into_iter()
                .map(|(cost, b, j)| {
                    let mut prefix = beam[b as usize].1.clone();
                    prefix.push(j);
                    (cost, prefix)
                })
                .collect();
        }
        codes.copy_from_slice(&beam[0].1);
        scratch.scores = scores;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_match_a_plain_sum_on_integers() {
        for d in [1, 2, 31, 32, 33, 64, 100] {
            let row: Vec<f64> = (0..d).map(|i| f64::from(i % 7) - 3.0).collect();
            let word: Vec<f32> = (0..d).map(|i| (i % 5) as f32 - 2.0).collect();
            let plain: f64 = row.iter().zip(&word).map(|(a, b)| a * f64::from(*b)).sum();
            assert_eq!(dot(&row, &word), plain, "d = {d}");
        }
    }

    #[test]
    fn the_lowest_index_wins_a_tie() {
        let book = Matrix::from_vec(3, 2, vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0]).unwrap();
        let quantizer = ResidualQuantizer { dims: 2, codebooks: vec![book], ..ResidualQuantizer::default() };
        let reference = Reference::new(&quantizer);
        let mut codes = [9];
        reference.encode(&quantizer, &[0.0, 1.0], &mut Scratch::default(), &mut codes);
        assert_eq!(codes, [1]);
        let mut beam = [9];
        reference.encode_beam(
            &quantizer,
            &reference.gram(&quantizer),
            2,
            &[0.0, 1.0],
            &mut Scratch::default(),
            &mut beam,
        );
        assert_eq!(beam, [1]);
    }
}
