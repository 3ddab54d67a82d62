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
    /// drawn if all are −∞. O(n + likeliest·log n) where the likeliest tokens that are looked at decide, O(n·log n) otherwise.
    ///
    /// A draw is a place among the tokens in the order of their probabilities, the likeliest first: as a rule it is among the first few of
    /// a vocabulary, so no more are put in order than are needed.
    pub(crate) fn draw(&self, log_probabilities: &[f64], draws: u32, random: &mut Stream) -> Vec<u32> {
        let mut counts = vec![0u32; log_probabilities.len()];
        let best = log_probabilities.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        if !best.is_finite() {
            return counts;
        }
        let weight = |(i, log): (usize, &f64)| (libm::exp((log - best) / self.temperature), i);
        let mut ranked = Ranked::new(log_probabilities.iter().enumerate().map(weight).collect());
        let places: Vec<f64> = (0..draws).map(|_| random.uniform()).collect();
        let drawn = loop {
            match ranked.drawn(self.top_p, &places) {
                Some(drawn) => break drawn,
                None => ranked.rank_more(),
            }
        };
        drawn.into_iter().for_each(|place| counts[ranked.weights[place].1] += 1);
        counts
    }
}

/// Tokens that are put in order up to the first this many, then times this many more.
const FIRST: usize = 64;

/// Weights of tokens, the largest first as far as they are in order; of equal ones the lower token first.
struct Ranked {
    /// With their tokens.
    weights: Vec<(f64, usize)>,
    /// Sums of the weights that are in order, up to and with each.
    sums: Vec<f64>,
    /// The sum of all weights in the order in which they came.
    sum: f64,
    /// How far any two orders of adding all weights may differ.
    slack: f64,
}

impl Ranked {
    fn new(weights: Vec<(f64, usize)>) -> Self {
        let sum = weights.iter().map(|(weight, _)| weight).sum::<f64>();
        // Each order is off by less than n·ε of the sum, as no weight is negative; twice for two, twice again to be safe.
        let slack = 4.0 * weights.len() as f64 * f64::EPSILON * sum;
        Self { weights, sums: Vec::new(), sum, slack }
    }

    /// Whether all are in order.
    fn is_whole(&self) -> bool {
        self.sums.len() == self.weights.len()
    }

    /// Puts more of them in order.
    fn rank_more(&mut self) {
        let (done, all) = (self.sums.len(), self.weights.len());
        let wanted = FIRST.max(8 * done);
        let rest = &mut self.weights[done..];
        // The order is total, so which come first does not depend on how they are selected.
        let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let more = if wanted < rest.len() / 2 {
            rest.select_nth_unstable_by(wanted, order);
            wanted
        } else {
            all - done
        };
        rest[..more].sort_unstable_by(order);
        for (weight, _) in &self.weights[done..done + more] {
            self.sums.push(self.sums.last().copied().unwrap_or(0.0) + weight);
        }
    }

    /// The places in order that numbers of [0, 1) fall on, among the likeliest that have `share` of the sum together: as they would be if all
    /// were in order. `None` if that takes more of them.
    fn drawn(&self, share: f64, numbers: &[f64]) -> Option<Vec<usize>> {
        // The sum is that of all in order, which is known to within the slack until they are.
        let (low, high) = match (self.is_whole(), self.sums.last()) {
            (true, Some(sum)) => (*sum, *sum),
            _ => (self.sum - self.slack, self.sum + self.slack),
        };
        // The last of those that are kept is the first with whose weight the sum reaches the share.
        let reaches = |enough: f64| self.sums.iter().position(|sum| *sum >= enough);
        let (first, last) = (reaches(share * low), reaches(share * high));
        let (low, high) = match (first, last) {
            (Some(first), Some(last)) => (self.sums[first], self.sums[last]),
            (Some(first), None) => (self.sums[first], high),
            (None, _) => (share * low, high),
        };
        let past = |number: f64, sum: f64| self.sums.partition_point(|s| *s <= number * sum);
        let place = |number: &f64| match (first, past(*number, low), past(*number, high)) {
            (Some(kept), place, _) if first == last => Some(place.min(kept)),
            // Whatever the sum is, and whichever the last is, it is this one.
            (first, place, same) if place == same && place < first.map_or(self.sums.len(), |first| first + 1) => {
                Some(place)
            }
            _ => None,
        };
        numbers.iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sememe::rng::stream;

    /// All weights put in order, as seeds have been read from the start.
    fn plain(sampling: &Sampling, logs: &[f64], draws: u32, random: &mut Stream) -> Vec<u32> {
        let mut counts = vec![0u32; logs.len()];
        let best = logs.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        if !best.is_finite() {
            return counts;
        }
        let mut weights: Vec<(f64, usize)> =
            logs.iter().enumerate().map(|(i, log)| (libm::exp((log - best) / sampling.temperature), i)).collect();
        weights.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let enough = sampling.top_p * weights.iter().map(|(weight, _)| weight).sum::<f64>();
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

    /// Log-probabilities of several kinds: spread, peaked, many alike, some impossible.
    fn logs(kind: usize, count: usize, random: &mut Stream) -> Vec<f64> {
        (0..count)
            .map(|i| match kind {
                0 => random.normal(),
                1 => 12.0 * random.normal(),
                2 => (3.0 * random.normal()).round(),
                3 if i % 3 == 0 => f64::NEG_INFINITY,
                3 => -(i as f64) / 5.0,
                _ => 0.0,
            })
            .collect()
    }

    #[test]
    fn draws_are_those_of_all_weights_in_order() {
        let mut random = stream(3, "test", 0);
        for count in [1, 2, 63, 64, 65, 130, 700, 5000] {
            for kind in 0..5 {
                let logs = logs(kind, count, &mut random);
                for top_p in [1.0, 0.999_999, 0.9, 0.5, 1e-9] {
                    for temperature in [1.0, 0.3, 3.0] {
                        for draws in [0, 1, 50] {
                            let sampling = Sampling { temperature, top_p, seed: 0 };
                            let own = || stream(9, "test", (count * kind) as u64);
                            let wanted = plain(&sampling, &logs, draws, &mut own());
                            let (mut once, mut again) = (own(), own());
                            assert_eq!(
                                sampling.draw(&logs, draws, &mut once),
                                wanted,
                                "{count} of kind {kind}, {sampling:?}, {draws} draws"
                            );
                            // Whatever is drawn next is the same, too.
                            plain(&sampling, &logs, draws, &mut again);
                            assert_eq!(once.uniform(), again.uniform());
                        }
                    }
                }
            }
        }
        let none = Sampling::default().draw(&[f64::NEG_INFINITY; 3], 5, &mut random);
        assert_eq!(none, [0, 0, 0]);
    }

    #[test]
    fn a_few_of_a_vocabulary_are_put_in_order() {
        let mut random = stream(4, "test", 0);
        let count = 50_000;
        let weights: Vec<(f64, usize)> =
            logs(1, count, &mut random).into_iter().map(|log| libm::exp((log - 50.0) / 3.0)).zip(0..).collect();
        let mut ranked = Ranked::new(weights);
        let numbers: Vec<f64> = (0..50).map(|_| random.uniform()).collect();
        let mut rounds = 0;
        while ranked.drawn(0.9, &numbers).is_none() {
            ranked.rank_more();
            rounds += 1;
        }
        assert!(rounds > 0 && ranked.sums.len() < count / 10, "{rounds} rounds, {} in order", ranked.sums.len());
    }
}
