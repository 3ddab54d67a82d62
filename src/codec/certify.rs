//! Which codes of a fast path are proven to be the reference's, given how far a row may be off where the levels begin.

use crate::compute::bound::Arithmetic;
use crate::compute::reference::ResidualQuantizer;
use crate::compute::{LevelCodes, Metric};

/// Norms of the model that bounds need, in f64 and rounded up.
#[derive(Clone, Debug)]
pub struct NormBounds {
    /// Largest codeword norm of each level.
    codewords: Vec<f64>,
    /// Largest price of each level, either way; 0 without prices.
    prices: Vec<f64>,
    /// Frobenius norm of S·P (`√Σ scale²` without components); 0 where nothing is projected.
    frobenius: f64,
    /// The same of each level's rows of S·P, of a product quantiser.
    columns: Vec<f64>,
    /// Bound on the spectral norm of S·P: the components are orthonormal, so the largest scale.
    spectral: f64,
    mean_norm: f64,
    cosine: bool,
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt() * (1.0 + 1e-12)
}

/// A bound on the norm of a row after centring, if there is any preprocessing but `normalize_rows`.
fn centred_norm(quantizer: &ResidualQuantizer, a: &Arithmetic, x: &[f32]) -> f64 {
    if quantizer.mean.is_empty() {
        norm(x.iter().copied())
    } else {
        norm(x.iter().zip(&quantizer.mean).map(|(v, m)| v - m)) * (1.0 + 4.0 * a.unit)
    }
}

impl NormBounds {
    /// Derives the norms. O(Σk·p + p·d).
    #[must_use]
    pub fn new(quantizer: &ResidualQuantizer) -> Self {
        let codewords = quantizer
            .codebooks
            .iter()
            .map(|b| (0..b.rows()).map(|j| norm(b.row(j).iter().copied())).fold(0.0, f64::max))
            .collect();
        let highest = |level| quantizer.prices(level).iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
        let prices = (0..quantizer.codebooks.len()).map(highest).collect();
        let scale = |c: usize| quantizer.scales.get(c).copied().unwrap_or(1.0);
        let d = quantizer.dims.max(1);
        let scaled = |rows: std::ops::Range<usize>| {
            let values = quantizer.components.get(rows.start * d..rows.end * d).unwrap_or_default();
            norm(values.iter().enumerate().map(|(i, v)| v * scale(rows.start + i / d)))
        };
        let columns =
            (0..quantizer.codebooks.len()).filter(|_| quantizer.product).map(|l| scaled(quantizer.columns(l)));
        let largest = quantizer.scales.iter().fold(0.0f64, |m, s| m.max(f64::from(s.abs())));
        let spectral = if quantizer.scales.is_empty() { 1.0 } else { largest };
        Self {
            codewords,
            prices,
            frobenius: if quantizer.components.is_empty() { 0.0 } else { scaled(0..quantizer.inner_dims()) },
            columns: columns.collect(),
            // Stored components are orthonormal up to f32 rounding.
            spectral: spectral * 1.001,
            mean_norm: norm(quantizer.mean.iter().copied()),
            cosine: quantizer.metric == Metric::Cosine,
        }
    }

    /// δ of a row after preprocessing: proven. With an encoder, `measure` says what it becomes.
    #[must_use]
    pub fn entry(&self, quantizer: &ResidualQuantizer, a: &Arithmetic, x: &[f32], entry_norm: Option<f32>) -> f64 {
        let delta = self.prepared_error(quantizer, a, centred_norm(quantizer, a, x), self.frobenius);
        match entry_norm {
            Some(norm) => a.normalized_error(delta, f64::from(norm)),
            None => delta,
        }
    }

    /// δ before `normalize_rows` of a row with this [`centred_norm`], in columns whose rows of S·P have this Frobenius norm.
    fn prepared_error(&self, quantizer: &ResidualQuantizer, a: &Arithmetic, centred: f64, frobenius: f64) -> f64 {
        let mut delta = 0.0;
        if !(quantizer.mean.is_empty() && quantizer.components.is_empty() && quantizer.scales.is_empty()) {
            // fl(x − mean): one rounding of each value, of the difference's size.
            let centring = if quantizer.mean.is_empty() { 0.0 } else { a.unit * centred };
            delta = a.projection_error(centred, centring, frobenius, self.spectral)
                + 2.0 * a.unit * centred * self.spectral
                // A device may take subnormal values of row, mean and difference for 0, and a scale makes that larger.
                + 4.0 * f64::from(f32::MIN_POSITIVE) * (quantizer.dims as f64).sqrt() * self.spectral;
        }
        delta
    }

    /// Whether the codes of row `i`, which is `x`, are proven greedily, given the δ with which it entered the first level.
    #[must_use]
    pub fn greedy(
        &self,
        quantizer: &ResidualQuantizer,
        a: &Arithmetic,
        x: &[f32],
        mut delta: f64,
        found: &LevelCodes,
        i: usize,
    ) -> bool {
        let levels = self.codewords.len();
        // Fewer columns are off by less.
        let by_columns = quantizer.product && !quantizer.normalize_rows;
        let centred = if by_columns { centred_norm(quantizer, a, x) } else { 0.0 };
        for (level, (codeword, price)) in self.codewords.iter().zip(&self.prices).enumerate() {
            let at = i * levels + level;
            let mut norm = f64::from(found.norm[at]);
            if by_columns {
                delta = self.prepared_error(quantizer, a, centred, self.columns[level]);
            }
            if quantizer.normalize_residuals {
                delta = a.normalized_error(delta, norm);
                norm = 1.0;
            }
            let error = a.score_error(self.cosine, norm, delta, *codeword, *price);
            // Written so that NaN proves nothing; the second test keeps every product inside f32's range.
            let proven = f64::from(found.margin[at]) > 2.0 * error && (norm + codeword) * codeword + price < 1e36;
            if !proven {
                return false;
            }
            // Levels with columns of their own do not see what another left: each is off by no more than the whole row.
            if !quantizer.product {
                delta = a.residual_error(delta, norm + codeword);
            }
        }
        true
    }

    /// A bound on the norm of a preprocessed row.
    #[must_use]
    pub fn prepared_norm(&self, quantizer: &ResidualQuantizer, x: &[f32]) -> f64 {
        if quantizer.normalize_rows {
            1.0
        } else if quantizer.is_plain() {
            norm(x.iter().copied())
        } else {
            (norm(x.iter().copied()) + self.mean_norm) * self.spectral
        }
    }

    /// Whether a row's beam codes are proven, given its norm and δ at the first level and its smallest deciding gap.
    #[must_use]
    pub fn beam(&self, a: &Arithmetic, norm: f64, delta: f64, margin: f32) -> bool {
        let (codewords, prices) = (self.codewords.iter().sum::<f64>(), self.prices.iter().sum::<f64>());
        f64::from(margin) > 2.0 * a.beam_error(norm, delta, &self.codewords, &self.prices)
            && (norm + codewords) * codewords + prices < 1e36
    }
}
