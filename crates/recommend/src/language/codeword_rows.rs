//! Where the tokens of codes begin: a linear map takes their codewords to the vectors of the model's words.

use std::collections::HashMap;
use std::path::Path;

use super::chat_batches::ChatTokens;
use super::id_tokens::IdTokens;
use super::model::LanguageModel;
use super::shape::LanguageLayout;
use sememe::compute::{mean_row, solve_normal_equations};
use sememe::{Codec, Error, Result};

/// Chats that the map is fitted on, at most; they are spread evenly over all.
const MOST_CHATS: usize = 1 << 15;
/// What is added to the diagonal of the normal equations, as a share of its mean: fewer chats than dimensions still have a solution.
const RIDGE: f64 = 0.01;

/// A linear map from codewords to the vectors of a language model's words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodewordMap {
    /// Chats with words and one ID, which it was fitted on.
    pub chats: usize,
    /// Share of the variance of the words' vectors that it explains on them.
    pub explained: f64,
}

/// What a chat says of an ID: its codewords' values, and the words beside it.
struct Pair {
    codes: Vec<usize>,
    words: Vec<u32>,
}

/// The side of the fit that all tables share.
struct Fit {
    /// `[e]` of each pair: its ID's codewords, less their mean over the pairs.
    items: Vec<Vec<f64>>,
    /// `[e, e]` their products, with the ridge on the diagonal.
    gram: Vec<f64>,
    ridge: f64,
}

impl LanguageModel {
    /// Moves the vectors of codes' tokens from the mean of all tokens to where their codewords belong: a linear map is fitted on chats with
    /// one ID each, from the ID's codewords to the mean vector of the words beside it, and takes every codeword, less the mean of its level,
    /// to its token's vector. A level's vectors are then stretched to lie as far from the mean as words do. Words that more than half of
    /// the chats have say nothing of an item and are passed over; special tokens and counters stay at the mean.
    ///
    /// `bundle` is the folder that `export` wrote, and whose tokens the model was given
    /// ([`add_id_tokens`](Self::add_id_tokens)). O(chats·e² + e³) for codewords of e values in all.
    ///
    /// # Errors
    /// [`Error::Data`] for a codec with other codebooks than the IDs have, and without chats that have one ID and words beside it; files that
    /// cannot be read.
    pub fn place_id_tokens(
        &mut self,
        bundle: impl AsRef<Path>,
        codec: &Codec,
        chats: &[ChatTokens],
    ) -> Result<CodewordMap> {
        let tokens = IdTokens::read(bundle.as_ref())?;
        let levels = tokens.levels(&codec.codebook_sizes())?;
        if !tokens.are_in(self) {
            return Err(Error::Data("the model has not been given the tokens of IDs yet".into()));
        }
        let first = tokens.first();
        let pairs = pairs(chats, first, &levels);
        if pairs.len() < 2 {
            let problem = format!(
                "{} of {} chats have one ID and words beside it; vectors of codes cannot be fitted on fewer than 2",
                pairs.len(),
                chats.len()
            );
            return Err(Error::Data(problem));
        }
        let books = Codebooks::new(codec);
        let (shape, mut params) = (self.shape().clone(), self.params().to_vec());
        let (layout, d) = (LanguageLayout::new(&shape), shape.decoder.dims);
        let tables = if shape.tied { vec![layout.embedding] } else { vec![layout.embedding, layout.output] };
        let fit = Fit::new(&pairs, &books)?;
        let mut explained = 0.0;
        for (number, at) in tables.into_iter().enumerate() {
            let known = &params[at..at + first as usize * d];
            let (map, share) = fit.map(&pairs, known, d)?;
            if number == 0 {
                explained = share;
            }
            let mean = mean_row(known, d);
            let spread = spread(known, &mean);
            for (level, start) in levels.iter().enumerate() {
                let rows = books.moved(level, &map, d);
                let own = (rows.iter().map(|v| v * v).sum::<f64>() / rows.len() as f64).sqrt();
                let stretch = if own > 0.0 { spread / own } else { 0.0 };
                let from = at + start.start as usize * d;
                for (i, value) in params[from..from + rows.len()].iter_mut().enumerate() {
                    *value = (f64::from(mean[i % d]) + stretch * rows[i]) as f32;
                }
            }
        }
        self.set_params(params)?;
        Ok(CodewordMap { chats: pairs.len(), explained })
    }
}

/// Chats in which one ID stands, whole, and words that not most chats have.
fn pairs(chats: &[ChatTokens], first: u32, levels: &[std::ops::Range<u32>]) -> Vec<Pair> {
    let step = chats.len().div_ceil(MOST_CHATS).max(1);
    let mut pairs: Vec<Pair> =
        chats.iter().step_by(step).filter_map(|chat| pair(&chat.tokens, first, levels)).collect();
    let mut chats_of: HashMap<u32, usize> = HashMap::new();
    for pair in &pairs {
        let mut words = pair.words.clone();
        words.sort_unstable();
        words.dedup();
        words.into_iter().for_each(|word| *chats_of.entry(word).or_default() += 1);
    }
    let most = pairs.len() / 2;
    for pair in &mut pairs {
        pair.words.retain(|word| chats_of.get(word).is_none_or(|count| *count <= most));
    }
    pairs.retain(|pair| !pair.words.is_empty());
    pairs
}

/// The ID and the words of a chat; none if it has no whole ID, or several.
fn pair(tokens: &[u32], first: u32, levels: &[std::ops::Range<u32>]) -> Option<Pair> {
    let codes_at = |at: usize| -> Option<Vec<usize>> {
        let ids = tokens.get(at..at + levels.len())?;
        let code = |(token, level): (&u32, &std::ops::Range<u32>)| {
            level.contains(token).then(|| (token - level.start) as usize)
        };
        ids.iter().zip(levels).map(code).collect()
    };
    let mut found = (0..tokens.len()).filter_map(codes_at);
    let codes = found.next()?;
    if found.any(|others| others != codes) {
        return None;
    }
    let words = tokens.iter().copied().filter(|token| *token < first).collect();
    Some(Pair { codes, words })
}

/// Codewords as vectors that add up to an item: of a product quantiser each level has columns of its own.
struct Codebooks {
    /// `[k, w]` of each level, and its first column.
    levels: Vec<(Vec<f64>, usize, usize)>,
    dims: usize,
}

impl Codebooks {
    fn new(codec: &Codec) -> Self {
        let (mut levels, mut next, mut dims) = (Vec::new(), 0, 0);
        for level in 0..codec.levels() {
            let book = codec.codebook(level);
            let values = book.as_slice().iter().map(|v| f64::from(*v)).collect();
            levels.push((values, book.dims(), next));
            dims = dims.max(next + book.dims());
            next += if codec.quantizer().product { book.dims() } else { 0 };
        }
        Self { levels, dims }
    }

    /// The sum of an ID's codewords, `[e]`.
    fn item(&self, codes: &[usize]) -> Vec<f64> {
        let mut out = vec![0.0; self.dims];
        for ((values, width, column), code) in self.levels.iter().zip(codes) {
            let codeword = &values[code * width..(code + 1) * width];
            out[*column..column + width].iter_mut().zip(codeword).for_each(|(o, v)| *o += v);
        }
        out
    }

    /// `[k, d]` codewords of a level, less their mean, under the map `[e, d]`.
    fn moved(&self, level: usize, map: &[f64], d: usize) -> Vec<f64> {
        let (values, width, column) = &self.levels[level];
        let k = values.len() / width;
        let mut mean = vec![0.0; *width];
        values.chunks_exact(*width).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / k as f64));
        let mut out = vec![0.0; k * d];
        for (row, o) in values.chunks_exact(*width).zip(out.chunks_exact_mut(d)) {
            for (i, value) in row.iter().enumerate() {
                let weights = &map[(column + i) * d..(column + i + 1) * d];
                o.iter_mut().zip(weights).for_each(|(o, w)| *o += (value - mean[i]) * w);
            }
        }
        out
    }
}

impl Fit {
    fn new(pairs: &[Pair], books: &Codebooks) -> Result<Self> {
        let e = books.dims;
        let mut items: Vec<Vec<f64>> = pairs.iter().map(|pair| books.item(&pair.codes)).collect();
        centre(&mut items, e);
        let mut gram = vec![0.0; e * e];
        for item in &items {
            for (value, row) in item.iter().zip(gram.chunks_exact_mut(e)) {
                row.iter_mut().zip(item).for_each(|(g, v)| *g += value * v);
            }
        }
        let trace: f64 = gram.iter().step_by(e + 1).sum();
        if !(trace > 0.0 && trace.is_finite()) {
            return Err(Error::Data("all chats are about the same ID, so vectors of codes cannot be fitted".into()));
        }
        let ridge = RIDGE * trace / e as f64;
        gram.iter_mut().step_by(e + 1).for_each(|v| *v += ridge);
        Ok(Self { items, gram, ridge })
    }

    /// The map `[e, d]` to the words of a table, and the share of their variance that it explains.
    fn map(&self, pairs: &[Pair], known: &[f32], d: usize) -> Result<(Vec<f64>, f64)> {
        let mut words: Vec<Vec<f64>> = pairs.iter().map(|pair| mean_of_words(&pair.words, known, d)).collect();
        centre(&mut words, d);
        let e = self.gram.len().isqrt();
        let (mut right, mut variance) = (vec![0.0; e * d], 0.0);
        for (item, words) in self.items.iter().zip(&words) {
            variance += words.iter().map(|v| v * v).sum::<f64>();
            for (value, row) in item.iter().zip(right.chunks_exact_mut(d)) {
                row.iter_mut().zip(words).for_each(|(r, v)| *r += value * v);
            }
        }
        let map = solve_normal_equations(&self.gram, &right, e, d, "codewords and words")?;
        // ‖Y − XM‖² = ‖Y‖² − 2·⟨M, XᵀY⟩ + ⟨M, XᵀX·M⟩, and (XᵀX + R)·M = XᵀY.
        let inner: f64 = map.iter().zip(&right).map(|(m, r)| m * r).sum();
        let own: f64 = map.iter().map(|m| m * m).sum();
        let explained = if variance > 0.0 { (inner + self.ridge * own) / variance } else { 0.0 };
        Ok((map, explained))
    }
}

/// Takes their mean from rows `[n, dims]`.
fn centre(rows: &mut [Vec<f64>], dims: usize) {
    let n = rows.len() as f64;
    let mut mean = vec![0.0; dims];
    rows.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / n));
    rows.iter_mut().for_each(|row| row.iter_mut().zip(&mean).for_each(|(v, m)| *v -= m));
}

/// The mean of the words' vectors, `[d]`.
fn mean_of_words(words: &[u32], known: &[f32], d: usize) -> Vec<f64> {
    let mut sum = vec![0.0; d];
    for word in words {
        let row = &known[*word as usize * d..(*word as usize + 1) * d];
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
    }
    sum.iter_mut().for_each(|s| *s /= words.len() as f64);
    sum
}

/// Root of the mean squared distance of a value to the mean of its column.
fn spread(rows: &[f32], mean: &[f32]) -> f64 {
    let squares = rows
        .chunks_exact(mean.len())
        .map(|row| row.iter().zip(mean).map(|(v, m)| (f64::from(*v) - f64::from(*m)).powi(2)).sum::<f64>());
    (squares.sum::<f64>() / rows.len().max(1) as f64).sqrt()
}
