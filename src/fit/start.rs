//! A level's first codewords from a sample of the rows, for trainings whose rows are elsewhere.

use super::balance;
use super::preprocess::{self, FittedSteps, RawRows};
use super::residual::RqKMeans;
use super::training_rows::refuse_zero_rows;
use crate::compute::reference::ResidualQuantizer;
use crate::compute::{Backend, Device, Metric, on_device};
use crate::data::{Matrix, RowSource as _};
use crate::error::Result;
use crate::progress::Observer;

/// What a level begins with.
pub(crate) struct StartedLevel {
    /// `[k, e]`.
    pub codebook: Matrix,
    /// `[k]`, or none.
    pub prices: Vec<f32>,
    /// ε of a balanced level in units of scores, else 0.
    pub epsilon: f64,
}

/// A name for messages.
const PLACE: &str = "the sample";

fn upload<B: Backend>(backend: &B, sample: &Matrix) -> Result<B::Rows> {
    backend.upload_rows(sample.rows(), sample.dims(), &mut |start, out| sample.read_rows(start, out))
}

impl RqKMeans {
    /// Learns the steps before the first level from a sample of rows whose largest value, either way, is `largest`.
    pub(crate) fn learn_steps(
        &self,
        sample: &Matrix,
        largest: f32,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<FittedSteps> {
        // As in training where all rows are at hand.
        let free_origin = self.metric == Metric::SquaredL2 && !self.normalize_residuals && !self.preprocess.normalize;
        on_device!(device, backend => {
            let rows = upload(backend, sample)?;
            let raw = RawRows { rows, largest, place: PLACE, free_origin };
            Ok(preprocess::learn(backend, raw, &self.preprocess, observer)?.1)
        })
    }

    /// Trains the level after those that `before` has on what it leaves of a sample.
    pub(crate) fn start_level(
        &self,
        before: &ResidualQuantizer,
        sample: &Matrix,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<StartedLevel> {
        on_device!(device, backend => start_on(backend, self, before, sample, observer))
    }
}

/// What the levels of `before` leave of a sample, as the next level sees it.
fn level_rows<B: Backend>(
    backend: &B,
    config: &RqKMeans,
    before: &ResidualQuantizer,
    levels: usize,
    sample: &Matrix,
) -> Result<B::Rows> {
    let steps = FittedSteps::of(before, 1.0);
    let mut rows = preprocess::apply(backend, upload(backend, sample)?, &steps, before.normalize_rows)?;
    if config.metric == Metric::Cosine {
        refuse_zero_rows(backend, &rows, PLACE)?;
    }
    let n = backend.shape(&rows).0;
    for (level, book) in before.codebooks[..levels].iter().enumerate() {
        if config.normalize_residuals {
            backend.normalize(&mut rows)?;
        }
        let codebook = priced(backend, book, before.prices(level), config.metric)?;
        let mut partition = backend.partition(n)?;
        backend.assign(&rows, &codebook, &mut partition)?;
        backend.residual(&mut rows, &codebook, &partition)?;
    }
    if config.normalize_residuals {
        backend.normalize(&mut rows)?;
    }
    Ok(rows)
}

fn priced<B: Backend>(backend: &B, book: &Matrix, prices: &[f32], metric: Metric) -> Result<B::Codebook> {
    let mut codebook = backend.codebook(book.rows(), book.dims(), book.as_slice(), metric)?;
    if !prices.is_empty() {
        backend.set_prices(&mut codebook, prices)?;
    }
    Ok(codebook)
}

fn start_on<B: Backend>(
    backend: &B,
    config: &RqKMeans,
    before: &ResidualQuantizer,
    sample: &Matrix,
    observer: &dyn Observer,
) -> Result<StartedLevel> {
    let level = before.codebooks.len();
    let rows = level_rows(backend, config, before, level, sample)?;
    let e = backend.shape(&rows).1;
    let fitted = config.fit_level(backend, &rows, level, None, observer)?;
    let epsilon = match &config.balance {
        Some(balance) if !fitted.prices.is_empty() => {
            balance::epsilon(backend, &rows, config.metric, balance, fitted.outcome.objective)?
        }
        _ => 0.0,
    };
    let codebook = Matrix::from_vec(config.codebook_sizes[level], e, backend.read_codebook(&fitted.outcome.codebook)?)?;
    Ok(StartedLevel { codebook, prices: fitted.prices, epsilon })
}

/// A balanced level after a pass over all rows.
pub(crate) struct PricedLevel<'a> {
    /// The codebooks, this level's last, before its codewords moved.
    pub quantizer: &'a ResidualQuantizer,
    /// The codewords after they moved, `[k, e]`.
    pub moved: &'a Matrix,
    /// The prices that the pass was made under, `[k]`.
    pub prices: &'a [f64],
    /// Rows of each codeword in that pass, `[k]`.
    pub counts: &'a [u64],
    /// ε in units of scores.
    pub epsilon: f64,
}

/// Steps of the prices on the sample for every pass over all rows.
const STEPS: usize = 12;
/// A codeword's load on the sample is steered to at most so many times what is wanted, either way.
const MOST_OFF: f64 = 4.0;

impl RqKMeans {
    /// Prices that make the loads of all rows even after codewords moved, as far as a sample can tell: all rows are passed over once, the sample many times.
    /// What the loads of the sample were in that pass, beside those of all rows, says what they have to become.
    pub(crate) fn settle_prices(&self, level: &PricedLevel<'_>, sample: &Matrix, device: &Device) -> Result<Vec<f64>> {
        on_device!(device, backend => settle_on(backend, self, level, sample))
    }
}

fn settle_on<B: Backend>(backend: &B, config: &RqKMeans, level: &PricedLevel<'_>, sample: &Matrix) -> Result<Vec<f64>> {
    let PricedLevel { quantizer, moved, prices, counts, epsilon } = *level;
    let last = quantizer.codebooks.len() - 1;
    let rows = level_rows(backend, config, quantizer, last, sample)?;
    let n = backend.shape(&rows).0;
    let mut partition = backend.partition(n)?;
    let narrow = |prices: &[f64]| prices.iter().map(|p| *p as f32).collect::<Vec<_>>();
    let before = priced(backend, &quantizer.codebooks[last], &narrow(prices), config.metric)?;
    let found = backend.loads(&rows, &before, epsilon as f32, &mut partition)?.loads;
    let (all, k) = (counts.iter().sum::<u64>() as f64, counts.len() as f64);
    let off = |count: u64| (all / k / (count as f64).max(1e-6)).clamp(1.0 / MOST_OFF, MOST_OFF);
    let mut wanted: Vec<f64> =
        found.iter().zip(counts).map(|(load, count)| (load * off(*count)).max(1e-3 * n as f64 / k)).collect();
    let total: f64 = wanted.iter().sum();
    wanted.iter_mut().for_each(|load| *load *= n as f64 / total);
    let mut prices = prices.to_vec();
    for _ in 0..STEPS {
        let codebook = priced(backend, moved, &narrow(&prices), config.metric)?;
        let found = backend.loads(&rows, &codebook, epsilon as f32, &mut partition)?.loads;
        for ((price, load), wanted) in prices.iter_mut().zip(&found).zip(&wanted) {
            *price += epsilon * libm::log(load.max(1e-6) / wanted);
        }
    }
    // Only differences of prices count.
    let mean = prices.iter().sum::<f64>() / k;
    prices.iter_mut().for_each(|price| *price -= mean);
    Ok(prices)
}
