//! Drawing tokens at random.

use sememe::rng::Stream;
use sememe::{Error, Result};

/// How IDs are drawn at random instead of searched for: token by token from the probabilities of what may come next.
///
/// ```
/// let sampling = sememe_recommend::Sampling { temperature: 0.7, top_p: 0.9, seed: 1 };
/// assert!(sampling.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Log-probabilities are divided by this: below 1 the likely become likelier, above 1 the unlikely.
    pub temperature: f64,
    /// Only the likeliest tokens are drawn that together have this share of the probability (Holtzman et al. 2020); 1 for all.
    pub top_p: f64,
    /// Of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::Config`] for a temperature that is not positive or a share outside of (0, 1].
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(Error::config("temperature", format!("expected a positive number, got {}", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::config("top_p", format!("expected a share in (0, 1], got {}", self.top_p)));
        }
        Ok(())
    }

    /// How often each of some tokens is drawn in `draws` draws, from their log-probabilities, which need not add up to 1. Nothing is
    /// drawn if all are −∞. O(n·log n + draws·log n).
    pub(crate) fn draw(&self, log_probabilities: &[f64], draws: u32, random: &mut Stream) -> Vec<u32> {
        let mut counts = vec![0u32; log_probabilities.len()];
        let best = log_probabilities.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        if !best.is_finite() {
            return counts;
        }
        let mut weights: Vec<(f64, usize)> = log_probabilities
            .iter()
            .enumerate()
            .map(|(i, log)| (libm::exp((log - best) / self.temperature), i))
            .collect();
        weights.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let enough = self.top_p * weights.iter().map(|(weight, _)| weight).sum::<f64>();
        // The sum up to and with each of the likeliest.
        let mut sums: Vec<f64> = Vec::new();
        for (weight, _) in &weights {
            let before = sums.last().copied().unwrap_or(0.0);
            if before >= enough && !sums.is_empty() {
                break;
            }
            sums.push(before + weight);
        }
        let total = sums.last().copied().unwrap_or(0.0);
        for _ in 0..draws {
            let at = random.uniform() * total;
            let place = sums.partition_point(|sum| *sum <= at).min(sums.len() - 1);
            counts[weights[place].1] += 1;
        }
        counts
    }
}
