//! The trainer: what is asked of all rows next, and what is made of the answer.

use super::level::{LevelState, Next};
use super::partial::{Body, Partial};
use super::round::{Round, Task};
use crate::compute::exact_sums::{Quanta, real};
use crate::compute::reference::ResidualQuantizer;
use crate::data::{Matrix, largest_magnitude};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::fit::preprocess::FittedSteps;
use crate::fit::start::PricedLevel;
use crate::fit::{DistributedRqKMeans, EmptyPolicy, Fitted, TrainingSummary, range, residual::perplexity_of};
use crate::progress::{Event, LevelBalance, LevelSummary, Observer};
use crate::{Codec, TrainedBy};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The farthest rows that are looked for, for codewords that run empty.
const FAR_ROWS: usize = 64;
/// A sample of so large a share of what was wanted is enough.
const ENOUGH: f64 = 0.8;

/// How far a training has got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Stage {
    Count,
    Sample { threshold: u64 },
    Level(LevelState),
    Finish,
    Done(Outcome),
}

/// What training came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    pub residual_norms: Vec<f32>,
    pub summary: TrainingSummary,
}

/// What is remembered of a level that is done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DoneLevel {
    pub iterations: usize,
    pub converged: bool,
    pub reseeded: u64,
}

/// Trains RQ-KMeans on rows that lie anywhere, round by round; see [`distributed`](super) for an example.
///
/// It holds the sample and the codebooks, not the rows. Every round is one pass of the workers over their rows: one that counts, one that samples (more where most rows
/// are alike), for every level at most `iterations` (and with balance up to that many more for the loads), and one at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct DistributedTrainer {
    pub(super) config: DistributedRqKMeans,
    pub(super) dims: usize,
    pub(super) stage: Stage,
    pub(super) rows: u64,
    pub(super) largest: f32,
    /// Rows that levels start from; empty until they are known.
    pub(super) sample: Arc<Matrix>,
    pub(super) mean_norm: f32,
    pub(super) kept_variance: f64,
    /// Preprocessing, and the codebooks of the levels so far; the last is the one that trains.
    pub(super) quantizer: ResidualQuantizer,
    pub(super) levels: Vec<DoneLevel>,
}

impl DistributedTrainer {
    /// An untrained trainer for rows of `dims` values.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Data`] for rows of 0 values.
    pub fn new(config: DistributedRqKMeans, dims: usize) -> Result<Self> {
        config.validate()?;
        if dims == 0 {
            return Err(Error::Data("rows of 0 values cannot be quantised".into()));
        }
        Ok(Self {
            config,
            dims,
            stage: Stage::Count,
            rows: 0,
            largest: 0.0,
            sample: Arc::new(Matrix::zeros(0, dims)?),
            mean_norm: 1.0,
            kept_variance: 1.0,
            quantizer: ResidualQuantizer::default(),
            levels: Vec::new(),
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &DistributedRqKMeans {
        &self.config
    }

    /// Values a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Rows of all parts together; 0 before they were counted.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What is asked of all rows next; `None` once the codec is trained.
    ///
    /// # Errors
    /// [`Error::Codec`] for codewords that overflowed.
    pub fn round(&self) -> Result<Option<Round>> {
        let kmeans = &self.config.kmeans;
        let (task, codec) = match &self.stage {
            Stage::Count => (Task::Count, None),
            Stage::Sample { threshold } => {
                let most = self.config.sample(self.dims);
                (Task::Sample { seed: kmeans.seed, most, threshold: *threshold }, None)
            }
            Stage::Level(level) => {
                let far = match kmeans.empty {
                    // A priced codeword gets its rows back by its price.
                    EmptyPolicy::Farthest if level.prices.is_empty() => self.current().rows().min(FAR_ROWS),
                    _ => 0,
                };
                (Task::Level { quanta: self.quanta(), far }, Some(self.codec_so_far(Some(level))?))
            }
            Stage::Finish => (Task::Finish { quanta: self.finish_quanta() }, Some(self.codec_so_far(None)?)),
            Stage::Done(_) => return Ok(None),
        };
        Round::new(self.dims, task, codec).map(Some)
    }

    /// Takes what all rows answered to [`round`](Self::round). Where a level begins, it is first trained on the sample, on `device`.
    ///
    /// # Errors
    /// [`Error::Data`] for an answer to another round, too few (distinct) rows, and rows that changed between two passes; device errors;
    /// [`Error::Interrupted`]. The trainer is as before the call then.
    pub fn take(&mut self, partial: &Partial, device: &Device, observer: &dyn Observer) -> Result<()> {
        let Some(round) = self.round()? else {
            return Err(Error::Data("the training has ended: it asks for no more".into()));
        };
        round.check(&partial.round)?;
        if !matches!(self.stage, Stage::Count) && partial.rows != self.rows {
            return Err(Error::Data(format!(
                "{} rows were counted in the first pass, {} answered now: the rows changed, or an answer is missing or came twice; store the rows first, \
                 and train on what is stored",
                self.rows, partial.rows
            )));
        }
        let mut next = self.clone();
        next.advance(partial, round.task, device, observer)?;
        *self = next;
        Ok(())
    }

    fn advance(&mut self, partial: &Partial, task: Task, device: &Device, observer: &dyn Observer) -> Result<()> {
        match (&mut self.stage, &partial.body, task) {
            (Stage::Count, Body::Count { largest }, _) => self.counted(partial.rows, *largest),
            (Stage::Sample { .. }, Body::Sample(sample), Task::Sample { threshold, .. }) => {
                let (found, wanted) = (sample.rows.len(), self.config.sample(self.dims));
                if threshold != u64::MAX && (found as f64) < ENOUGH * wanted as f64 {
                    // Many rows are alike, and each counts once.
                    let factor = (1.2 * wanted as f64 / found.max(1) as f64).max(2.0);
                    self.stage = Stage::Sample { threshold: scaled(threshold as f64 * factor) };
                    return Ok(());
                }
                let values = sample.rows.iter().flat_map(|(_, row)| row.iter().copied()).collect();
                self.sample = Arc::new(Matrix::from_vec(found, self.dims, values)?);
                self.sampled(device, observer)
            }
            (Stage::Level(level), Body::Level(sums), Task::Level { quanta, .. }) => {
                let kmeans = &self.config.kmeans;
                let at = self.quantizer.codebooks.len() - 1;
                let mut moved = self.quantizer.codebooks[at].clone();
                let (inertia, reseeded, next) = level.take(kmeans, &mut moved, sums, quanta);
                let iteration = level.iterations;
                observer.event(Event::Iteration { level: at, start: 0, iteration, inertia, reseeded });
                if next == Next::Reprice {
                    let LevelState { prices, epsilon, .. } = &*level;
                    let (quantizer, counts) = (&self.quantizer, &sums.counts);
                    let passed = PricedLevel { quantizer, moved: &moved, prices, counts, epsilon: *epsilon };
                    level.prices = kmeans.settle_prices(&passed, &self.sample, device)?;
                }
                self.quantizer.codebooks[at] = moved;
                if next == Next::Done { self.end_level(device, observer) } else { Ok(()) }
            }
            (Stage::Finish, Body::Depths(sums, quanta), _) => {
                let outcome = self.outcome(sums, *quanta);
                outcome.summary.levels.iter().for_each(|level| observer.event(Event::Level(level)));
                self.stage = Stage::Done(outcome);
                Ok(())
            }
            _ => Err(Error::Data("an answer of another kind than what was asked".into())),
        }
    }

    fn counted(&mut self, rows: u64, largest: f32) -> Result<()> {
        let most = self.config.largest_codebook();
        if rows == 0 {
            return Err(Error::Data("there are no rows to train on".into()));
        }
        if rows < most as u64 {
            return Err(Error::Data(format!(
                "{rows} training rows are fewer than the {most} codewords of a level; give more rows or a smaller codebook size"
            )));
        }
        range::unit(largest, "the rows")?;
        (self.rows, self.largest) = (rows, largest);
        let wanted = self.config.sample(self.dims) as f64;
        let share = (1.1 * wanted + 4.0 * wanted.sqrt()) / rows as f64;
        self.stage = Stage::Sample { threshold: scaled(share * TOP) };
        Ok(())
    }

    fn sampled(&mut self, device: &Device, observer: &dyn Observer) -> Result<()> {
        let (most, found) = (self.config.largest_codebook(), self.sample.rows());
        if found < most {
            return Err(Error::Data(format!(
                "{found} distinct rows among {} are fewer than the {most} codewords of a level; give a smaller codebook size",
                self.rows
            )));
        }
        if (found as u64) < self.rows {
            observer.event(Event::Note(&format!(
                "preprocessing and the first codewords of levels come from {found} distinct rows of {}; all rows train",
                self.rows
            )));
        }
        let kmeans = &self.config.kmeans;
        let steps = kmeans.learn_steps(&self.sample, self.largest, device, observer)?;
        let FittedSteps { mean, components, scales, mean_norm, kept_variance } = steps;
        range::check_fits(self.largest, &mean, &scales, "the rows")?;
        (self.mean_norm, self.kept_variance) = (mean_norm, kept_variance);
        self.quantizer = ResidualQuantizer {
            dims: self.dims,
            mean,
            components,
            scales,
            normalize_rows: kmeans.preprocess.normalize,
            metric: kmeans.metric,
            normalize_residuals: kmeans.normalize_residuals,
            ..ResidualQuantizer::default()
        };
        self.begin_level(device, observer)
    }

    fn begin_level(&mut self, device: &Device, observer: &dyn Observer) -> Result<()> {
        let kmeans = &self.config.kmeans;
        let started = kmeans.start_level(&self.quantizer, &self.sample, device, observer)?;
        observer.event(Event::Phase { name: "train", total: Some(kmeans.iterations as u64), unit: "iterations" });
        self.quantizer.codebooks.push(started.codebook);
        self.stage = Stage::Level(LevelState::new(&started.prices, started.epsilon));
        if kmeans.iterations == 0 && started.prices.is_empty() { self.end_level(device, observer) } else { Ok(()) }
    }

    fn end_level(&mut self, device: &Device, observer: &dyn Observer) -> Result<()> {
        let Stage::Level(level) = std::mem::replace(&mut self.stage, Stage::Finish) else { return Ok(()) };
        let LevelState { iterations, converged, reseeded, .. } = level;
        self.levels.push(DoneLevel { iterations, converged, reseeded });
        if self.config.kmeans.balance.is_some() {
            self.quantizer.prices.resize(self.levels.len(), Vec::new());
            self.quantizer.prices[self.levels.len() - 1] = level.narrow();
        }
        if self.levels.len() < self.config.kmeans.codebook_sizes.len() {
            return self.begin_level(device, observer);
        }
        Ok(())
    }

    fn current(&self) -> &Matrix {
        &self.quantizer.codebooks[self.quantizer.codebooks.len() - 1]
    }

    /// The levels so far as a codec.
    fn codec_so_far(&self, level: Option<&LevelState>) -> Result<Codec> {
        let mut quantizer = self.quantizer.clone();
        if let Some(level) = level.filter(|level| !level.prices.is_empty()) {
            quantizer.prices.resize(quantizer.codebooks.len(), Vec::new());
            quantizer.prices[self.levels.len()] = level.narrow();
        }
        if quantizer.prices.iter().all(Vec::is_empty) {
            quantizer.prices = Vec::new();
        } else {
            quantizer.prices.resize(quantizer.codebooks.len(), Vec::new());
        }
        let norms = if quantizer.normalize_residuals { quantizer.codebooks.len() } else { 0 };
        let fitted = Fitted {
            quantizer,
            mean_norm: self.mean_norm,
            residual_norms: vec![1.0; norms],
            beam: 1,
            ..Fitted::default()
        };
        Codec::from_fitted(fitted, TrainedBy::Distributed(&self.config))
    }

    /// The largest value, either way, of what enters the first level.
    fn entering(&self) -> f64 {
        let most = |values: &[f32]| f64::from(largest_magnitude(values));
        let q = &self.quantizer;
        if q.normalize_rows {
            return 1.0;
        }
        let wide = if q.components.is_empty() { 1.0 } else { (self.dims as f64).sqrt() };
        let scale = if q.scales.is_empty() { 1.0 } else { most(&q.scales) };
        (f64::from(self.largest) + most(&q.mean)) * wide * scale
    }

    /// The largest value of each level's codewords.
    fn reach(&self) -> impl Iterator<Item = f64> {
        self.quantizer.codebooks.iter().map(|book| f64::from(largest_magnitude(book.as_slice())))
    }

    fn quanta(&self) -> Quanta {
        // Rounding adds less than a millionth.
        let most = if self.config.kmeans.normalize_residuals {
            1.0
        } else {
            self.entering() + self.reach().take(self.levels.len()).sum::<f64>()
        };
        Quanta::new(most * (1.0 + 1e-6), self.rows, self.quantizer.inner_dims())
    }

    fn finish_quanta(&self) -> Quanta {
        let most = if self.config.kmeans.normalize_residuals {
            // Each level may leave more than it got, in the unit of the rows.
            let dims = (self.quantizer.inner_dims() as f64).sqrt();
            self.entering() * self.reach().map(|reach| 1.0 + reach * dims).product::<f64>()
        } else {
            self.entering() + self.reach().sum::<f64>()
        };
        Quanta::new(most * (1.0 + 1e-6), self.rows, self.quantizer.inner_dims())
    }

    fn outcome(&self, sums: &crate::compute::exact_sums::DepthSums, quanta: Quanta) -> Outcome {
        let total = sums.deviation(self.rows, quanta);
        let level = |(level, done): (usize, &DoneLevel)| {
            let loads = &sums.loads[level];
            let inertia = real(sums.errors[level], quanta.squares);
            let (least, largest) = (loads.iter().min().copied().unwrap_or(0), loads.iter().max().copied().unwrap_or(0));
            let k = loads.len() as u64;
            let balance = (!self.quantizer.prices(level).is_empty()).then(|| LevelBalance {
                minimum: self.rows / k,
                maximum: self.rows.div_ceil(k),
                exact: false,
                least_load: least,
                largest_load: largest,
                least_priced_load: least,
                largest_priced_load: largest,
                moved_rows: 0,
            });
            LevelSummary {
                level,
                codebook_size: loads.len(),
                iterations: done.iterations,
                converged: done.converged,
                inertia,
                r2: if total > 0.0 { 1.0 - inertia / total } else { 0.0 },
                utilisation: loads.iter().filter(|n| **n > 0).count() as f64 / loads.len() as f64,
                perplexity: perplexity_of(loads.iter().map(|n| *n as f64)),
                reseeded: done.reseeded,
                balance,
                seconds: 0.0,
            }
        };
        let levels = self.levels.iter().enumerate().map(level).collect();
        let norm = |sum: &i128| (real(*sum, quanta.values) / self.rows as f64) as f32;
        Outcome {
            residual_norms: if self.quantizer.normalize_residuals {
                sums.norms.iter().map(norm).collect()
            } else {
                Vec::new()
            },
            summary: TrainingSummary {
                rows: self.rows,
                source_rows: self.rows,
                total_variance: total,
                kept_variance: self.kept_variance,
                levels,
                ..TrainingSummary::default()
            },
        }
    }

    /// The codec of a training that has ended.
    ///
    /// # Errors
    /// [`Error::Data`] for a training that has not.
    pub fn codec(&self) -> Result<Codec> {
        let Stage::Done(Outcome { residual_norms, summary }) = &self.stage else {
            return Err(Error::Data("the training has not ended: answer its rounds first".into()));
        };
        let fitted = Fitted {
            quantizer: self.quantizer.clone(),
            mean_norm: self.mean_norm,
            residual_norms: residual_norms.clone(),
            beam: 1,
            summary: summary.clone(),
            ..Fitted::default()
        };
        Codec::from_fitted(fitted, TrainedBy::Distributed(&self.config))
    }
}

/// 2^64.
const TOP: f64 = 18_446_744_073_709_551_616.0;

/// A threshold; all rows' hashes are at most the largest.
fn scaled(threshold: f64) -> u64 {
    if threshold >= TOP { u64::MAX } else { threshold as u64 }
}
