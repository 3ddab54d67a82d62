//! Balanced k-means: prices added to the scores even out the loads of the codewords.
//!
//! Every codeword has a price λ_j that is added to its score, and a row goes where `s_j + λ_j` is smallest. The prices are the
//! dual variables of a transport problem: an iteration spreads every row over the codewords by `exp(−(s_j + λ_j)/ε)`, sees what each
//! codeword would get, and moves its price by `ε·ln(got/wanted)`. That is Sinkhorn's algorithm in the log domain (Cuturi 2013; as a
//! dual ascent, Peyré and Cuturi 2019, section 4); its state is one price per codeword. Prices are kept from one Lloyd
//! iteration to the next, so one pass over the rows does for both. With bounds in place of equal shares, a price is only as far from 0 as its bound
//! asks (Benamou et al. 2015). Exact loads are made of that by [`capacity`](super::capacity).

use super::capacity::{BoundedLevel, narrow};
use super::kmeans::{self, LevelFit, LevelSettings};
use crate::compute::{Backend, Metric};
use crate::error::{Error, Result};
use crate::progress::{Event, LevelBalance, Observer, check};
use crate::rng::stream;
use serde::{Deserialize, Serialize};

/// Steps of the prices before the first and before every other iteration.
const FIRST_STEPS: usize = 20;
const STEPS: usize = 8;
/// The same where loads are made exact afterwards, which forgives prices that are a little off.
const EXACT_STEPS: usize = 4;
/// Rows a codeword of the sample that these steps look at.
const SAMPLE: usize = 32;

/// Codewords of a level with exact loads at most: costs of all pairs take 4 GiB.
const MOST_EXACT: usize = 1 << 14;

/// The target for the loads of the codewords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LoadTarget {
    /// As even as Sinkhorn's prices make them.
    #[default]
    Even,
    /// Bounds that the assignment of the training rows keeps exactly.
    Capacity {
        /// Fewest rows of a codeword; `None` is n/k, rounded down.
        minimum: Option<u32>,
        /// Most rows of a codeword; `None` is n/k, rounded up.
        maximum: Option<u32>,
    },
}

/// Settings of balanced levels.
///
/// The prices that balance a level are part of the codec, so a new row's code depends on that row alone and keeps the balance.
///
/// ```
/// use sememe::{Balance, Codec, Device, Matrix, RqKMeans};
/// let rows = Matrix::from_vec(12, 1, (0..12).map(|i| if i < 9 { i as f32 * 0.1 } else { 50.0 + i as f32 }).collect())?;
/// let config = RqKMeans { codebook_sizes: vec![3], balance: Some(Balance::capacity()), ..RqKMeans::default() };
/// let (codec, codes) = Codec::train_assigned(&rows, &config, &Device::cpu(), &())?;
/// for codeword in 0..3 {
///     assert_eq!(codes.as_slice().iter().filter(|c| **c == codeword).count(), 4);
/// }
/// assert_eq!(codec.encode(&rows)?, codes);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Balance {
    /// What is asked of the loads.
    pub loads: LoadTarget,
    /// Levels from 0 that are balanced; `None` is all of them.
    pub levels: Option<Vec<usize>>,
    /// ε: rows are spread by `exp(−L/(ε·D))`, L their squared L2 to a codeword plus its price, D the level's mean squared L2 to the
    /// nearest codeword when balancing begins; under cosine both are ‖r‖(1 − cos). So ε has no scale. Smaller is more even and slower to settle.
    pub epsilon: f64,
    /// Iterations of Sinkhorn's algorithm with the final codewords, at most.
    pub iterations: usize,
    /// They stop once no codeword's share of softly assigned rows is off by more than this share of what is wanted.
    pub tolerance: f64,
}

impl Default for Balance {
    fn default() -> Self {
        Self { loads: LoadTarget::Even, levels: None, epsilon: 0.045, iterations: 30, tolerance: 0.01 }
    }
}

impl Balance {
    /// Even loads by Sinkhorn's prices.
    #[must_use]
    pub fn sinkhorn() -> Self {
        Self::default()
    }

    /// Exactly n/k rows a codeword, rounded down or up.
    #[must_use]
    pub fn capacity() -> Self {
        Self { loads: LoadTarget::Capacity { minimum: None, maximum: None }, ..Self::default() }
    }

    /// Iterations of a level that these loads take to settle, where nobody says how many.
    #[must_use]
    pub fn settling_iterations(&self) -> usize {
        match self.loads {
            // A third of them go without prices, and even loads settle slowly: R² is still rising at 25.
            LoadTarget::Even => 40,
            LoadTarget::Capacity { .. } => 25,
        }
    }

    /// Refuses settings that cannot be used with codebooks of these sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name.
    pub fn validate(&self, sizes: &[usize]) -> Result<()> {
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::config("balance.epsilon", format!("expected a number above 0, got {}", self.epsilon)));
        }
        if !(self.tolerance >= 0.0 && self.tolerance < 1.0) {
            let problem = format!("expected a share in [0, 1), got {}", self.tolerance);
            return Err(Error::config("balance.tolerance", problem));
        }
        if let Some(levels) = &self.levels {
            if let Some(level) = levels.iter().find(|l| **l >= sizes.len()) {
                let problem = format!("level {level} of {}; levels count from 0", sizes.len());
                return Err(Error::config("balance.levels", problem));
            }
            if levels.is_empty() {
                return Err(Error::config("balance.levels", "expected at least 1 level; leave `balance` out instead"));
            }
        }
        if let LoadTarget::Capacity { minimum: Some(minimum), maximum: Some(maximum) } = self.loads
            && minimum > maximum
        {
            let problem = format!("expected at least the minimum of {minimum}, got {maximum}");
            return Err(Error::config("balance.maximum", problem));
        }
        let most =
            sizes.iter().enumerate().filter(|(level, _)| self.applies(*level)).map(|(_, k)| *k).max().unwrap_or(0);
        if self.is_exact() && most > MOST_EXACT {
            let bytes = (most as u64).saturating_mul(most as u64).saturating_mul(16) >> 30;
            let problem = format!(
                "exact loads keep a cost for every pair of codewords, {bytes} GiB for {most}: at most {MOST_EXACT} a level; use smaller \
                 codebooks, or even loads"
            );
            return Err(Error::config("balance.loads", problem));
        }
        if matches!(self.loads, LoadTarget::Capacity { maximum: Some(0), .. }) {
            return Err(Error::config("balance.maximum", "expected at least 1, got 0"));
        }
        Ok(())
    }

    /// Whether a level is balanced.
    #[must_use]
    pub fn applies(&self, level: usize) -> bool {
        self.levels.as_ref().is_none_or(|levels| levels.contains(&level))
    }

    /// Fewest and most rows of each of k codewords that n rows are shared by.
    ///
    /// # Errors
    /// [`Error::Config`] for bounds that cannot hold n rows, with the least that can.
    pub fn bounds(&self, n: usize, k: usize) -> Result<(u32, u32)> {
        let (down, up) = ((n / k) as u32, n.div_ceil(k) as u32);
        let LoadTarget::Capacity { minimum, maximum } = self.loads else { return Ok((down, up)) };
        // A bound that is not given gives way to the other.
        let least = minimum.unwrap_or(down.min(maximum.unwrap_or(down)));
        let most = maximum.unwrap_or(up.max(least));
        if (most as usize).saturating_mul(k) < n {
            let problem =
                format!("{k} codewords of at most {most} rows cannot hold {n} rows; the least that can is {up}");
            return Err(Error::config("balance.maximum", problem));
        }
        if (least as usize).saturating_mul(k) > n {
            let problem =
                format!("{n} rows are too few for {k} codewords of at least {least}; the most that can be is {down}");
            return Err(Error::config("balance.minimum", problem));
        }
        Ok((least, most))
    }

    /// Whether bounds are kept exactly.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.loads, LoadTarget::Capacity { .. })
    }
}

/// One level's result, with its prices and what they do.
pub(super) struct BalancedFit<B: Backend> {
    pub outcome: LevelFit<B>,
    pub prices: Vec<f32>,
    pub report: LevelBalance,
}

/// The target load of every codeword.
struct TargetLoads {
    low: f64,
    high: f64,
}

impl TargetLoads {
    /// Moves prices after a pass that found `loads`; returns the largest share by which a load was off.
    fn step(&self, prices: &mut [f64], loads: &[f64], epsilon: f64) -> f64 {
        let mut worst = 0.0f64;
        for (price, load) in prices.iter_mut().zip(loads) {
            // An empty codeword's price falls by as much as a load of a millionth of a row asks for.
            let load = load.max(1e-6);
            let lowest = *price + epsilon * libm::log(load / self.high);
            // No price is too high for a minimum of 0.
            let highest = if self.low > 0.0 { *price + epsilon * libm::log(load / self.low) } else { f64::INFINITY };
            let next = 0.0f64.clamp(lowest, highest);
            worst = worst.max(libm::expm1(((next - *price) / epsilon).abs()));
            *price = next;
        }
        worst
    }
}

/// A level under way.
struct BalanceRun<'a, B: Backend> {
    level: BoundedLevel<'a, B>,
    settings: &'a LevelSettings,
    balance: &'a Balance,
    wanted: TargetLoads,
    constant: f64,
    observer: &'a dyn Observer,
}

/// Fits one balanced codebook, best of several starts. O(starts·iterations·n·k·d), and for exact loads what is said there.
pub(super) fn fit<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    settings: &LevelSettings,
    balance: &Balance,
    observer: &dyn Observer,
) -> Result<BalancedFit<B>> {
    let (n, k) = (backend.shape(rows).0, settings.k);
    let bounds = balance.bounds(n, k)?;
    let wanted = if balance.is_exact() {
        TargetLoads { low: f64::from(bounds.0), high: f64::from(bounds.1) }
    } else {
        TargetLoads { low: n as f64 / k as f64, high: n as f64 / k as f64 }
    };
    let constant = kmeans::constant(backend, rows, settings.metric)?;
    let level = BoundedLevel { backend, rows, metric: settings.metric, bounds };
    let run = BalanceRun { level, settings, balance, wanted, constant, observer };
    let mut best: Option<BalancedFit<B>> = None;
    for start in 0..settings.starts {
        let found = run.one(start)?;
        if best.as_ref().is_none_or(|b| found.outcome.objective < b.outcome.objective) {
            best = Some(found);
        }
    }
    best.ok_or_else(|| Error::config("starts", "expected at least 1, got 0"))
}

/// ε in units of scores, from the objective of `n` unbalanced rows.
fn epsilon_of(balance: &Balance, metric: Metric, constant: f64, n: usize, objective: f64) -> f64 {
    // A score is half of the squared L2. Rows that lie on their codewords leave nothing to compare with: then a millionth of
    // the rows' own size.
    let half = if metric == Metric::SquaredL2 { 0.5 } else { 1.0 };
    let unit = (half * objective / n as f64).max(1e-6 * half * constant / n as f64);
    (balance.epsilon * unit).clamp(1e-30, 1e30)
}

/// The same of rows at hand.
pub(super) fn epsilon<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    metric: Metric,
    balance: &Balance,
    objective: f64,
) -> Result<f64> {
    let constant = kmeans::constant(backend, rows, metric)?;
    Ok(epsilon_of(balance, metric, constant, backend.shape(rows).0, objective))
}

impl<B: Backend> BalanceRun<'_, B> {
    fn one(&self, start: usize) -> Result<BalancedFit<B>> {
        let Self { level: BoundedLevel { backend, rows, .. }, settings, .. } = *self;
        // A third of the iterations without prices, with exchanges: they spread the codewords over the rows.
        let plain = (settings.iterations / 3).max(1);
        let first = LevelSettings { iterations: plain, ..settings.clone() };
        let outcome = kmeans::one(backend, rows, &first, self.constant, start, self.observer)?;
        let LevelFit { mut codebook, mut partition, .. } = outcome;
        if settings.k >= super::init::TOLD {
            settings.announce(self.observer);
        }
        let epsilon =
            epsilon_of(self.balance, settings.metric, self.constant, backend.shape(rows).0, outcome.objective);
        let mut prices = vec![0.0f64; settings.k];
        let (mut previous, mut converged, mut done) = (f64::INFINITY, false, outcome.iterations);
        let ones = vec![1.0f32; settings.k];
        let sampled = self.sample(start)?;
        let few = sampled.as_ref().unwrap_or(rows);
        let mut few_partition = backend.partition(backend.shape(few).0)?;
        for iteration in plain + 1..=settings.iterations {
            // Codewords that move under stale prices chase rows that the next prices take away: on all of an iteration's
            // loads a single step a time diverges.
            let steps = if self.balance.is_exact() { EXACT_STEPS } else { STEPS };
            for _ in 0..if iteration == plain + 1 { FIRST_STEPS } else { steps } {
                self.pass(few, &mut codebook, &mut few_partition, &mut prices, epsilon)?;
            }
            let (now, worst) = self.pass(rows, &mut codebook, &mut partition, &mut prices, epsilon)?;
            backend.tally(&mut partition, settings.k)?;
            backend.update(rows, &mut partition, &mut codebook, &ones)?;
            done = iteration;
            self.report_progress(start, iteration, now);
            let still = previous.is_finite() && (previous - now).abs() <= settings.tolerance * previous;
            if settings.tolerance > 0.0 && still && worst <= self.balance.tolerance.max(0.05) {
                converged = true;
                break;
            }
            previous = now;
        }
        // Exact loads are made from any prices; good ones only save work.
        let most =
            if self.balance.is_exact() { self.balance.iterations.min(EXACT_STEPS) } else { self.balance.iterations };
        for _ in 0..most {
            let (_, worst) = self.pass(rows, &mut codebook, &mut partition, &mut prices, epsilon)?;
            if worst <= self.balance.tolerance {
                break;
            }
        }
        let outcome = LevelFit { codebook, partition, iterations: done, converged, ..outcome };
        if self.balance.is_exact() { self.exact(outcome, prices) } else { self.even(outcome, prices) }
    }

    /// Enough rows for a step of the prices, where that saves much.
    fn sample(&self, start: usize) -> Result<Option<B::Rows>> {
        let (BoundedLevel { backend, rows, .. }, settings) = (&self.level, self.settings);
        let (n, size) = (backend.shape(rows).0, (SAMPLE * settings.k).max(8192));
        if 2 * size > n {
            return Ok(None);
        }
        let mut random = stream(settings.seed, "balance.sample", (settings.level as u64) << 32 | start as u64);
        let picks: Vec<u32> = random.sample(n as u64, size).into_iter().map(|i| i as u32).collect();
        backend.gather_rows(rows, &picks).map(Some)
    }

    fn report_progress(&self, start: usize, iteration: usize, inertia: f64) {
        self.observer.event(Event::Iteration { level: self.settings.level, start, iteration, inertia, reseeded: 0 });
    }

    /// Assigns under the present prices and moves them; returns the objective and how far off the worst load was.
    fn pass(
        &self,
        rows: &B::Rows,
        codebook: &mut B::Codebook,
        partition: &mut B::Partition,
        prices: &mut [f64],
        epsilon: f64,
    ) -> Result<(f64, f64)> {
        check(self.observer)?;
        let BoundedLevel { backend, rows: all, .. } = self.level;
        backend.set_prices(codebook, &narrow(prices))?;
        let mut found = backend.loads(rows, codebook, epsilon as f32, partition)?;
        let scale = backend.shape(all).0 as f64 / backend.shape(rows).0 as f64;
        found.loads.iter_mut().for_each(|load| *load *= scale);
        // Soft shares estimate what the labels paid closely enough to see when the objective stands still.
        let paid: f64 = found.loads.iter().zip(&*prices).map(|(load, price)| load * price).sum();
        let now = kmeans::objective(self.settings.metric, self.constant, found.score_sum - paid);
        Ok((now, self.wanted.step(prices, &found.loads, epsilon)))
    }

    /// The loads that the prices alone would give, compared with the assignment.
    fn report(&self, assigned: &[u32], priced: &[u32], moved: usize) -> LevelBalance {
        let range = |counts: &[u32]| {
            let least = counts.iter().min().copied().unwrap_or(0);
            (u64::from(least), u64::from(counts.iter().max().copied().unwrap_or(0)))
        };
        let ((least_load, largest_load), (least_priced_load, largest_priced_load)) = (range(assigned), range(priced));
        LevelBalance {
            minimum: u64::from(self.level.bounds.0),
            maximum: u64::from(self.level.bounds.1),
            exact: self.balance.is_exact(),
            least_load,
            largest_load,
            least_priced_load,
            largest_priced_load,
            moved_rows: moved as u64,
        }
    }

    /// Finishes a level whose codes follow from the prices alone.
    fn even(&self, mut outcome: LevelFit<B>, mut prices: Vec<f64>) -> Result<BalancedFit<B>> {
        let BoundedLevel { backend, rows, .. } = self.level;
        let (low, high) = prices.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(*p), h.max(*p)));
        prices.iter_mut().for_each(|p| *p -= 0.5 * (low + high));
        let prices = narrow(&prices);
        backend.set_prices(&mut outcome.codebook, &prices)?;
        let assigned = backend.assign(rows, &outcome.codebook, &mut outcome.partition)?;
        outcome.counts = backend.tally(&mut outcome.partition, self.settings.k)?;
        let paid: f64 = outcome.counts.iter().zip(&prices).map(|(c, p)| f64::from(*c) * f64::from(*p)).sum();
        outcome.objective = kmeans::objective(self.settings.metric, self.constant, assigned.score_sum - paid);
        let report = self.report(&outcome.counts, &outcome.counts, 0);
        Ok(BalancedFit { outcome, prices, report })
    }

    /// Iterations with exact loads: until nothing changes where that is quick, twice where it is not.
    fn exact(&self, outcome: LevelFit<B>, mut prices: Vec<f64>) -> Result<BalancedFit<B>> {
        let BoundedLevel { backend, rows, .. } = self.level;
        let (n, k) = (backend.shape(rows).0, self.settings.k);
        let LevelFit { mut codebook, mut partition, iterations, .. } = outcome;
        let rounds = ((1 << 23) / (n * k).max(1)).clamp(2, self.settings.iterations.max(2));
        let (mut round, mut last) = (1, Vec::new());
        let (found, converged) = loop {
            let found =
                self.level.assign(&mut codebook, &mut partition, prices.clone(), round == rounds, self.observer)?;
            let settled = found.labels == last;
            if round == rounds {
                break (found, settled);
            }
            if settled {
                let prices = found.prices.iter().map(|p| f64::from(*p)).collect();
                break (self.level.assign(&mut codebook, &mut partition, prices, true, self.observer)?, true);
            }
            let mut labelled = backend.partition_from(&found.labels)?;
            backend.tally(&mut labelled, k)?;
            backend.update(rows, &mut labelled, &mut codebook, &vec![1.0; k])?;
            prices = found.prices.iter().map(|p| f64::from(*p)).collect();
            last = found.labels;
            round += 1;
        };
        let priced = self.level.priced(&mut codebook, &mut partition, &found.prices)?;
        let moved = BoundedLevel::<B>::wrong(&found.labels, &priced).count();
        let priced_counts = backend.tally(&mut partition, k)?;
        let mut partition = backend.partition_from(&found.labels)?;
        let counts = backend.tally(&mut partition, k)?;
        let report = self.report(&counts, &priced_counts, moved);
        let objective = kmeans::objective(self.settings.metric, self.constant, found.score_sum);
        let outcome = LevelFit { codebook, partition, counts, objective, iterations, converged, reseeded: 0 };
        Ok(BalancedFit { outcome, prices: found.prices, report })
    }
}
