//! One level of a training, from pass to pass.

use crate::compute::exact_sums::{LevelSums, Quanta, real};
use crate::data::Matrix;
use crate::fit::{EmptyPolicy, RqKMeans};
use serde::{Deserialize, Serialize};

/// Passes for even loads that may go by without a gain.
const PATIENCE: usize = 4;

/// A level that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelState {
    /// Passes that moved codewords.
    pub iterations: usize,
    pub converged: bool,
    /// The objective before the last of them.
    previous: Option<f64>,
    /// A codeword jumped in the last of them.
    jumped: bool,
    pub reseeded: u64,
    /// ε in units of scores; 0 without balance.
    pub epsilon: f64,
    /// Prices, `[k]`, or none.
    pub prices: Vec<f64>,
    /// Passes that moved prices alone, and how many of them since loads became more even.
    settled: usize,
    since: usize,
    /// The most even loads so far under the final codewords, and their prices.
    best: Option<(f64, Vec<f64>)>,
}

/// What comes after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another pass.
    Pass,
    /// Another pass, under new prices.
    Reprice,
    /// The level is done.
    Done,
}

impl LevelState {
    pub fn new(prices: &[f32], epsilon: f64) -> Self {
        Self { epsilon, prices: prices.iter().map(|p| f64::from(*p)).collect(), ..Self::default() }
    }

    /// Prices as the codec has them.
    pub fn narrow(&self) -> Vec<f32> {
        self.prices.iter().map(|p| *p as f32).collect()
    }

    /// Whether codewords still move.
    fn moves(&self, config: &RqKMeans) -> bool {
        self.iterations < config.iterations && !self.converged
    }

    /// Takes the sums of all rows in: moves codewords `[k, e]` to the means of their rows. Returns the objective, how many codewords were reseeded, and what comes
    /// next.
    pub fn take(
        &mut self,
        config: &RqKMeans,
        book: &mut Matrix,
        sums: &LevelSums,
        quanta: Quanta,
    ) -> (f64, usize, Next) {
        let now = real(sums.objective, quanta.squares);
        let balance = config.balance.as_ref().filter(|_| !self.prices.is_empty());
        let worst = worst_load(&sums.counts);
        if !self.moves(config) {
            let next = match balance {
                Some(balance) => self.settle(worst, balance.tolerance, balance.iterations),
                None => Next::Done,
            };
            return (now, 0, next);
        }
        let reseeded = move_codewords(book, sums, quanta, config.empty);
        self.iterations += 1;
        self.reseeded += reseeded as u64;
        let gain = self.previous.filter(|_| reseeded == 0 && !self.jumped).map(|previous| (previous - now, previous));
        self.converged = config.tolerance > 0.0
            && gain.is_some_and(|(gain, previous)| match balance {
                None => gain <= config.tolerance * previous,
                // Under prices that move, the objective may rise a little.
                Some(balance) => gain.abs() <= config.tolerance * previous && worst <= balance.tolerance.max(0.05),
            });
        self.previous = Some(now);
        self.jumped = reseeded > 0;
        let next = match balance {
            Some(_) => Next::Reprice,
            None if self.moves(config) => Next::Pass,
            None => Next::Done,
        };
        (now, reseeded, next)
    }

    /// A pass under the final codewords: whether loads are as even as was asked, or will not be.
    fn settle(&mut self, worst: f64, tolerance: f64, most: usize) -> Next {
        self.settled += 1;
        self.since += 1;
        if self.best.as_ref().is_none_or(|(least, _)| worst < *least) {
            self.best = Some((worst, self.prices.clone()));
            self.since = 0;
        }
        if worst > tolerance && self.settled < most.max(1) && self.since < PATIENCE {
            return Next::Reprice;
        }
        if let Some((_, prices)) = self.best.take() {
            self.prices = prices;
        }
        let (low, high) = self.prices.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(*p), h.max(*p)));
        self.prices.iter_mut().for_each(|price| *price -= 0.5 * (low + high));
        Next::Done
    }
}

/// By what share the worst load is off from that of all alike.
fn worst_load(counts: &[u64]) -> f64 {
    let wanted = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
    counts.iter().map(|load| (*load as f64 / wanted - 1.0).abs()).fold(0.0, f64::max)
}

/// Lloyd's update; codewords without rows move to the farthest ones. Returns how many of these there were.
fn move_codewords(book: &mut Matrix, sums: &LevelSums, quanta: Quanta, empty: EmptyPolicy) -> usize {
    let e = book.dims();
    let mut far = sums.far.rows.iter();
    let mut reseeded = 0;
    for (j, count) in sums.counts.iter().enumerate() {
        if *count > 0 {
            let total = &sums.sums[j * e..(j + 1) * e];
            let mean = |sum: &i64| (real(i128::from(*sum), quanta.values) / *count as f64) as f32;
            book.row_mut(j).iter_mut().zip(total).for_each(|(value, sum)| *value = mean(sum));
        } else if empty == EmptyPolicy::Farthest
            && let Some((_, row)) = far.next()
        {
            book.row_mut(j).copy_from_slice(row);
            reseeded += 1;
        }
    }
    reseeded
}
