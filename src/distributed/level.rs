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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::far_rows::FarRows;

    /// Three codewords of two values: two rows each for the first and the last.
    fn sums() -> LevelSums {
        let far = FarRows { most: 2, rows: vec![(9.0, vec![7.0, 8.0]), (4.0, vec![5.0, 6.0])] };
        LevelSums { counts: vec![2, 0, 2], sums: vec![4, 8, 0, 0, -2, 6], objective: 40, far }
    }

    const QUANTA: Quanta = Quanta { most: 10.0, values: 1, squares: 2 };

    #[test]
    fn codewords_move_to_their_means_and_empty_ones_to_the_farthest_row() {
        let book = Matrix::from_vec(3, 2, vec![1.0; 6]).unwrap();
        let mut moved = book.clone();
        assert_eq!(move_codewords(&mut moved, &sums(), QUANTA, EmptyPolicy::Farthest), 1);
        assert_eq!(moved.as_slice(), [1.0, 2.0, 7.0, 8.0, -0.5, 1.5]);
        let mut kept = book;
        assert_eq!(move_codewords(&mut kept, &sums(), QUANTA, EmptyPolicy::Keep), 0);
        assert_eq!(kept.as_slice(), [1.0, 2.0, 1.0, 1.0, -0.5, 1.5]);
    }

    #[test]
    fn a_level_ends_when_nothing_is_gained_and_never_right_after_a_jump() {
        let config = RqKMeans { iterations: 9, tolerance: 0.01, ..RqKMeans::default() };
        let mut book = Matrix::from_vec(3, 2, vec![1.0; 6]).unwrap();
        let mut level = LevelState::new(&[], 0.0);
        let full = LevelSums { counts: vec![2, 1, 1], ..sums() };
        assert_eq!(level.take(&config, &mut book, &full, QUANTA), (10.0, 0, Next::Pass));
        assert_eq!(level.take(&config, &mut book, &sums(), QUANTA), (10.0, 1, Next::Pass));
        // The last one jumped, so nothing can be said of the gain.
        assert_eq!(level.take(&config, &mut book, &full, QUANTA), (10.0, 0, Next::Pass));
        assert_eq!(level.take(&config, &mut book, &full, QUANTA), (10.0, 0, Next::Done));
        assert!(level.converged && level.iterations == 4 && level.reseeded == 1);
        let mut never = LevelState::new(&[], 0.0);
        let config = RqKMeans { tolerance: 0.0, ..config };
        let ends = (0..9).map(|_| never.take(&config, &mut book, &full, QUANTA).2).collect::<Vec<_>>();
        assert_eq!(ends[7..], [Next::Pass, Next::Done]);
    }

    #[test]
    fn loads_settle_under_the_best_prices() {
        let balance = crate::Balance { tolerance: 0.2, iterations: 20, ..crate::Balance::sinkhorn() };
        let config = RqKMeans { iterations: 0, balance: Some(balance), ..RqKMeans::default() };
        let mut book = Matrix::from_vec(3, 2, vec![1.0; 6]).unwrap();
        let mut pass = |level: &mut LevelState, counts: [u64; 3], price: f64| {
            level.prices = vec![price, 0.0, -1.0];
            level.take(&config, &mut book, &LevelSums { counts: counts.to_vec(), ..sums() }, QUANTA).2
        };
        let mut level = LevelState::new(&[0.0; 3], 0.1);
        assert_eq!(pass(&mut level, [6, 4, 2], 5.0), Next::Reprice);
        assert_eq!(pass(&mut level, [5, 4, 3], 3.0), Next::Reprice);
        // Four passes without a gain.
        for _ in 0..3 {
            assert_eq!(pass(&mut level, [7, 4, 1], 9.0), Next::Reprice);
        }
        assert_eq!(pass(&mut level, [7, 4, 1], 9.0), Next::Done);
        // Those of the second pass, around 0.
        assert_eq!(level.prices, [2.0, -1.0, -2.0]);
        let mut even = LevelState::new(&[0.0; 3], 0.1);
        assert_eq!(pass(&mut even, [4, 4, 4], 1.0), Next::Done);
    }
}
