//! How far a computed score may be from the true one, and what that means for a code.
//!
//! The model is the standard one of floating-point error analysis (Higham, *Accuracy and Stability of Numerical
//! Algorithms*, 2nd ed., chapters 3 and 4): one operation is right within a factor 1 ± u, and a sum in which
//! every term passes through at most m roundings is right within `γ_m·Σ|terms|`, `γ_m = m·u/(1 − m·u)`.
//!
//! Write r̃ for the residual a device holds and r for the reference's. A device's score is
//! `s̃_j = fl(b̃_j − w̃_j·fl(r̃·c_j))`. With `‖r̃ − r‖ ≤ δ`, a dot product within `η‖r̃‖‖c_j‖`, and `b̃_j`, `w̃_j` rounded
//! to f32 once (the device may sum ½‖c‖² itself, which adds η), for squared L2
//!
//! `|s̃_j − s_j| ≤ δ‖c_j‖ + η‖r̃‖‖c_j‖ + (η + 2u)·½‖c_j‖² + 2u·‖r̃‖‖c_j‖`,
//!
//! and for cosine, where `w_j‖c_j‖ = 1` and `b_j = 0`,
//!
//! `|s̃_j − s_j| ≤ δ + (2η + 4u)‖r̃‖`.
//!
//! A price λ_j is added to `b_j` in f64 before that is rounded, and passes through the rounding of the difference: at most
//! `2u·|λ_j|` more in either case.
//!
//! All grow with `‖c_j‖` and `|λ_j|`, so the largest codeword's and price's bound E serves for all, and a winner that leads by more than
//! 2E is the reference's winner: for every other j, `s_j − s_1 ≥ (s̃_j − s̃_1) − 2E > 0`.
//! The reference itself works in f64 with error below `2⁻⁴⁰` of the same magnitudes, which [`SLACK`] covers along
//! with the rounding of this file's own arithmetic and the norms' (relative 10⁻³) inaccuracy.

/// Factor by which a bound is widened for everything that is of second order.
pub const SLACK: f64 = 1.01;

/// `γ_m = m·u/(1 − m·u)`, infinite where `m·u ≥ 1`.
#[must_use]
pub fn gamma(m: f64, u: f64) -> f64 {
    let mu = m * u;
    if mu < 1.0 { mu / (1.0 - mu) } else { f64::INFINITY }
}

/// The rounding guarantees of a device's arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// η: error of a dot product with a codeword, relative to the product of the norms.
    pub dot: f64,
    /// η of a dot product in the projection onto components.
    pub projection: f64,
    /// u: error of one operation.
    pub unit: f64,
    /// Dimensions, for the subnormal term.
    pub dims: usize,
}

impl Arithmetic {
    /// Absolute error from subnormals that a device may flush to zero, for operands of norm `a` and `b`.
    fn subnormal(&self, a: f64, b: f64) -> f64 {
        self.dims as f64 * f64::from(f32::MIN_POSITIVE) * 4.0 * (1.0 + a + b)
    }

    /// E: how far any score of a level may be off, for a residual of computed norm `norm` that may itself be off by `delta`,
    /// and codewords of norm at most `codeword` and price at most `price` either way.
    #[must_use]
    pub fn score_error(&self, cosine: bool, norm: f64, delta: f64, codeword: f64, price: f64) -> f64 {
        let norm = norm * 1.001;
        let main = if cosine {
            delta + (2.0 * self.dot + 4.0 * self.unit) * norm
        } else {
            delta * codeword
                + (self.dot + 2.0 * self.unit) * norm * codeword
                + (self.dot + 2.0 * self.unit) * 0.5 * codeword * codeword
        };
        // The computed margin is a rounded difference of two scores.
        let margin = self.unit * 2.0 * (norm * codeword + 0.5 * codeword * codeword + price);
        SLACK * (main + margin + 2.0 * self.unit * price) + self.subnormal(norm, codeword)
    }

    /// δ after a level: the new residual is `fl(r̃ − c)`, one rounding a value.
    #[must_use]
    pub fn residual_error(&self, delta: f64, next_norm: f64) -> f64 {
        delta + SLACK * self.unit * next_norm * 1.001 + self.subnormal(0.0, 0.0)
    }

    /// δ after dividing a residual of norm `norm` (off by `delta`) by its computed norm: the direction turns by at most
    /// `2δ/‖r‖`, the norm is off by `η/2 + 2u` and each quotient by 2.5 ulp (the least that WGSL asks of a division).
    #[must_use]
    pub fn normalized_error(&self, delta: f64, norm: f64) -> f64 {
        if norm <= 0.0 {
            return f64::INFINITY;
        }
        SLACK * (2.0 * delta / norm + self.dot + 8.0 * self.unit) + self.subnormal(1.0, 0.0) / norm
    }

    /// δ after centring and projecting: each of the `p` outputs is a dot product with a component, so
    /// `‖δ‖ ≤ (η + 3u)·‖x − mean‖·‖S·P‖_F`, and the centring's own rounding passes through with the largest scale.
    #[must_use]
    pub fn projection_error(&self, centred_norm: f64, centring: f64, frobenius: f64, spectral: f64) -> f64 {
        SLACK * ((self.projection + 3.0 * self.unit) * centred_norm * frobenius + centring * spectral)
            + self.subnormal(centred_norm, frobenius)
    }

    /// How far the cost of a whole prefix may be off in a beam search: one codeword a level, of norm at most `codewords[l]`, dot
    /// and of price at most `prices[l]`, products with a row of norm `norm` (off by `delta`), and a table of codeword products
    /// rounded to f32.
    #[must_use]
    pub fn beam_error(&self, norm: f64, delta: f64, codewords: &[f64], prices: &[f64]) -> f64 {
        let depth = codewords.len() as f64;
        let pairs = codewords.iter().zip(prices);
        let singles: f64 = pairs.map(|(c, p)| self.score_error(false, norm, delta, *c, *p)).sum();
        let sum: f64 = codewords.iter().sum();
        let terms = norm * 1.001 * sum + 0.5 * sum * sum + prices.iter().sum::<f64>();
        // A cost is a sum of depth·(depth + 3)/2 terms, each rounded once more in the table.
        singles + SLACK * gamma(0.5 * depth * (depth + 3.0) + 1.0, self.unit) * terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_grows_and_saturates() {
        assert!(gamma(2.0, 1e-3) > 2e-3);
        assert!(gamma(1e9, 1e-7).is_infinite());
    }

    #[test]
    fn errors_grow_with_every_argument() {
        let a = Arithmetic { dot: 1e-6, projection: 1e-6, unit: 6e-8, dims: 8 };
        let base = a.score_error(false, 1.0, 1e-7, 1.0, 0.0);
        assert!(a.score_error(false, 2.0, 1e-7, 1.0, 0.0) > base);
        assert!(a.score_error(false, 1.0, 1e-6, 1.0, 0.0) > base);
        assert!(a.score_error(false, 1.0, 1e-7, 2.0, 0.0) > base);
        assert!(a.score_error(false, 1.0, 1e-7, 1.0, 1.0) > base);
        assert!(a.score_error(true, 1.0, 1e-7, 1.0, 1.0) > a.score_error(true, 1.0, 1e-7, 1.0, 0.0));
        assert!(a.beam_error(1.0, 1e-7, &[1.0; 3], &[0.0; 3]) > 3.0 * base);
        assert!(a.beam_error(1.0, 1e-7, &[1.0; 3], &[1.0; 3]) > a.beam_error(1.0, 1e-7, &[1.0; 3], &[0.0; 3]));
        assert!(a.projection_error(1.0, 0.0, 2.0, 1.0) > 2e-6);
        assert!(a.normalized_error(1e-7, 0.0).is_infinite());
    }
}
