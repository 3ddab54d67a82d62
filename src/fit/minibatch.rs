//! Mini-batch residual k-means: for rows that stream by, or do not fit memory.
//!
//! Source: Sculley, *Web-scale k-means clustering* (2010), level by level as GRID's residual mini-batch k-means does it: a
//! buffer of rows starts a level by k-means++ and a few iterations of k-means, then every batch moves each codeword towards the mean of its rows by
//! the share `b_j / n_j` of the batch in all rows it has seen.
//!
//! One file past the usual length: settings, state and the steps on it are one machine, whose fields nothing else may touch.

use super::init::Init;
use super::kmeans::{self, EmptyPolicy, Settings};
use super::residual::{Fitted, TrainingSummary, perplexity};
use crate::compute::reference::Chain;
use crate::compute::{Backend, Device, Metric, on_device};
use crate::data::{Matrix, MatrixView, RowSource, first_non_finite};
use crate::error::{Error, Result, check_shape};
use crate::progress::{Event, LevelSummary, Observer, check};
use crate::rng::stream;
use serde::{Deserialize, Serialize};

/// Rows that stay together when an epoch's order is drawn: long enough for a disk, short enough to mix.
const RUN: usize = 64;
/// Every so many batches, codewords with less than [`IDLE`] of the mean count move to the batch's farthest rows.
const RESEED_EVERY: u64 = 20;
const IDLE: f64 = 0.02;
/// Lloyd iterations on the rows that start a level.
const START_ITERATIONS: usize = 10;

/// Settings of mini-batch RQ-KMeans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MiniBatchRqKMeans {
    /// Codewords of each level, coarse to fine.
    pub codebook_sizes: Vec<usize>,
    /// Rows a batch.
    pub batch_rows: usize,
    /// Rows that a level collects before k-means starts it; fewer on a source whose passes give a level less than twice as many.
    pub init_rows: usize,
    /// Passes over a source.
    pub epochs: usize,
    /// Train one level after the other, each for an equal share of the batches; otherwise all started levels in every batch.
    pub layer_wise: bool,
    /// How rows are compared with codewords.
    pub metric: Metric,
    /// Divide every level's input by its L2 norm; decoding multiplies by the mean norm seen.
    pub normalize_residuals: bool,
    /// A codeword moves by at least this share of the way to its batch mean; above 0 an endless stream is followed for ever.
    pub least_rate: f64,
    /// The seed of everything random.
    pub seed: u64,
}

impl Default for MiniBatchRqKMeans {
    fn default() -> Self {
        Self {
            codebook_sizes: vec![256; 3],
            batch_rows: 4096,
            init_rows: 8192,
            epochs: 10,
            layer_wise: true,
            metric: Metric::SquaredL2,
            normalize_residuals: false,
            least_rate: 0.0,
            seed: 0,
        }
    }
}

impl MiniBatchRqKMeans {
    /// Refuses settings that cannot be used.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name.
    pub fn validate(&self) -> Result<()> {
        let most = self.codebook_sizes.iter().copied().max().unwrap_or(0);
        if self.codebook_sizes.is_empty() || self.codebook_sizes.len() > 64 || self.codebook_sizes.contains(&0) {
            let problem = format!("expected 1 to 64 levels of at least 1 codeword, got {:?}", self.codebook_sizes);
            return Err(Error::config("codebook_sizes", problem));
        }
        if self.batch_rows == 0 {
            return Err(Error::config("batch_rows", "expected at least 1, got 0"));
        }
        if self.init_rows < most {
            let problem =
                format!("expected at least the {most} codewords of the largest level, got {}", self.init_rows);
            return Err(Error::config("init_rows", problem));
        }
        if self.epochs == 0 {
            return Err(Error::config("epochs", "expected at least 1, got 0"));
        }
        if !(0.0..=1.0).contains(&self.least_rate) {
            return Err(Error::config("least_rate", format!("expected a share in [0, 1], got {}", self.least_rate)));
        }
        Ok(())
    }
}

/// One level in training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Level {
    /// `[k, d]`; empty until the level is started.
    codebook: Vec<f32>,
    /// Rows each codeword has seen.
    seen: Vec<u64>,
    /// Sum and number of input norms, under residual normalisation.
    norms: (f64, u64),
    /// Sum and number of squared residual norms after the level, over the last epoch.
    residual: (f64, u64),
    /// Codewords that were moved to a far row.
    reseeded: u64,
    /// Batches the level trained on.
    steps: u64,
}

/// A mini-batch training that can stop after any batch, be saved, and go on: [`partial_fit`](Self::partial_fit) takes batches as
/// they come, [`fit_source`](Self::fit_source) walks over a source from where it stopped.
///
/// ```
/// use sememe::{Codec, Device, Matrix, TrainedBy, fit::{MiniBatchRqKMeans, MiniBatchTrainer}};
/// let rows = Matrix::from_vec(64, 1, (0..64).map(|i| (i % 4) as f32 * 10.0 + (i % 3) as f32 * 0.1).collect())?;
/// let config = MiniBatchRqKMeans {
///     codebook_sizes: vec![4], init_rows: 16, batch_rows: 16, ..MiniBatchRqKMeans::default()
/// };
/// let mut trainer = MiniBatchTrainer::new(config, 1)?;
/// trainer.fit_source(&rows, &Device::cpu(), &())?;
/// let again = MiniBatchTrainer::from_bytes(&trainer.to_bytes()?)?;
/// let codec = Codec::from_fitted(again.finish()?, TrainedBy::MiniBatch(again.config()))?;
/// assert_eq!(codec.levels(), 1);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MiniBatchTrainer {
    config: MiniBatchRqKMeans,
    dims: usize,
    levels: Vec<Level>,
    /// Rows collected for the first level that is not started.
    buffer: Vec<f32>,
    /// Batches taken in all.
    steps: u64,
    rows: u64,
    /// Column sums, sum of squares and number of the rows of the last epoch: their variance.
    moments: (Vec<f64>, f64, u64),
    /// Where [`fit_source`](Self::fit_source) goes on: epoch, batch within it.
    position: (u64, u64),
    /// Level that trains now, under `layer_wise`.
    current: usize,
    /// Rows that start a level: the setting, or what the source allows.
    init_rows: usize,
}

impl MiniBatchTrainer {
    /// An untrained trainer for rows of `dims` values.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: MiniBatchRqKMeans, dims: usize) -> Result<Self> {
        config.validate()?;
        if dims == 0 {
            return Err(Error::Data("rows of 0 values cannot be quantised".into()));
        }
        let levels = vec![Level::default(); config.codebook_sizes.len()];
        let (moments, init_rows) = ((vec![0.0; dims], 0.0, 0), config.init_rows);
        Ok(Self {
            config,
            dims,
            levels,
            buffer: Vec::new(),
            steps: 0,
            rows: 0,
            moments,
            position: (0, 0),
            current: 0,
            init_rows,
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &MiniBatchRqKMeans {
        &self.config
    }

    /// Values a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Whole epochs taken by [`fit_source`](Self::fit_source) so far.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.position.0
    }

    /// Batches taken so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Mean squared L2 norm of the residual after each started level, over the last epoch (`track_residuals` elsewhere).
    #[must_use]
    pub fn residuals(&self) -> Vec<f64> {
        self.levels.iter().filter(|l| l.residual.1 > 0).map(|l| l.residual.0 / l.residual.1 as f64).collect()
    }

    /// Under `layer_wise`: freezes the level that trains now and goes on to the next.
    pub fn next_level(&mut self) {
        self.current = (self.current + 1).min(self.levels.len() - 1);
    }

    /// Trains on one batch `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Data`] for zero rows under cosine, device errors. The trainer is as before
    /// the call then.
    pub fn partial_fit<'a>(&mut self, rows: impl Into<MatrixView<'a>>, device: &Device) -> Result<()> {
        let rows = rows.into();
        on_device!(device, backend => {
            let mut books = self.resident(backend)?;
            let mut next = self.clone();
            next.batch(backend, &mut books, rows)?;
            next.store(backend, &books)?;
            *self = next;
            Ok(())
        })
    }

    /// Trains on a source's rows from where the last call stopped until `epochs` passes are complete.
    ///
    /// Every epoch visits all rows once, in runs of 64 whose order is drawn anew. Stopping by the observer keeps every finished
    /// batch, and going on later gives the same bits as never having stopped, on one device.
    ///
    /// # Errors
    /// As [`partial_fit`](Self::partial_fit), with [`Error::Interrupted`] after a stop; read errors.
    pub fn fit_source(&mut self, source: &dyn RowSource, device: &Device, observer: &dyn Observer) -> Result<()> {
        self.fit_source_saving(source, device, observer, &mut |_| Ok(()))
    }

    /// As [`fit_source`](Self::fit_source), calling `save` after every epoch, for checkpoints.
    ///
    /// # Errors
    /// As [`fit_source`](Self::fit_source), and whatever `save` returns.
    pub fn fit_source_saving(
        &mut self,
        source: &dyn RowSource,
        device: &Device,
        observer: &dyn Observer,
        save: &mut dyn FnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        let (n, most) = (source.rows(), self.config.codebook_sizes.iter().copied().max().unwrap_or(0));
        check_shape("d", self.dims, source.dims(), source.name())?;
        if n < most {
            return Err(Error::Data(format!(
                "{n} training rows are fewer than the {most} codewords of a level; give more rows or a smaller codebook size"
            )));
        }
        let share = n.saturating_mul(self.config.epochs) / self.levels.len();
        self.init_rows = self.config.init_rows.min((share / 2).max(most));
        on_device!(device, backend => self.fit_on(backend, source, observer, save))
    }

    fn fit_on<B: Backend>(
        &mut self,
        backend: &B,
        source: &dyn RowSource,
        observer: &dyn Observer,
        save: &mut dyn FnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        let (n, d, size) = (source.rows(), self.dims, self.config.batch_rows);
        let batches = n.div_ceil(size) as u64;
        let epochs = self.config.epochs as u64;
        let total = batches * epochs;
        let share = total.div_ceil(self.levels.len() as u64);
        observer.event(Event::Phase { name: "train", total: Some(total), unit: "batches" });
        let mut books = self.resident(backend)?;
        let mut values = vec![0.0f32; size.min(n) * d];
        let mut outcome = Ok(());
        'all: while self.position.0 < epochs {
            let order = epoch_order(self.config.seed, self.position.0, n);
            if self.position.1 == 0 {
                self.levels.iter_mut().for_each(|l| l.residual = (0.0, 0));
                self.moments = (vec![0.0; d], 0.0, 0);
            }
            while self.position.1 < batches {
                if let Err(stop) = check(observer) {
                    outcome = Err(stop);
                    break 'all;
                }
                let start = self.position.1 as usize * size;
                let count = size.min(n - start);
                read_runs(source, &order, start, &mut values[..count * d])?;
                let done = self.position.0 * batches + self.position.1;
                self.current = if self.config.layer_wise { (done / share) as usize } else { 0 };
                let rows = MatrixView::new(count, d, &values[..count * d])?;
                if let Err(error) = self.batch(backend, &mut books, rows) {
                    outcome = Err(error);
                    break 'all;
                }
                self.position.1 += 1;
                observer.event(Event::Advance { done: done + 1 });
            }
            self.position = (self.position.0 + 1, 0);
            self.store(backend, &books)?;
            save(self)?;
        }
        self.store(backend, &books)?;
        outcome
    }

    /// The started levels' codebooks on a device.
    fn resident<B: Backend>(&self, backend: &B) -> Result<Vec<B::Codebook>> {
        self.levels
            .iter()
            .take_while(|l| !l.codebook.is_empty())
            .map(|l| backend.codebook(l.codebook.len() / self.dims, self.dims, &l.codebook, self.config.metric))
            .collect()
    }

    fn store<B: Backend>(&mut self, backend: &B, books: &[B::Codebook]) -> Result<()> {
        for (level, book) in self.levels.iter_mut().zip(books) {
            level.codebook = backend.read_codebook(book)?;
        }
        Ok(())
    }

    fn batch<B: Backend>(&mut self, backend: &B, books: &mut Vec<B::Codebook>, rows: MatrixView<'_>) -> Result<()> {
        check_shape("d", self.dims, rows.dims(), "batch")?;
        let (n, d) = (rows.rows(), rows.dims());
        if n == 0 {
            return Ok(());
        }
        if let Some((first, count)) = first_non_finite(rows.as_slice(), d) {
            let (first, count, rows) = (first as u64, count as u64, n as u64);
            return Err(Error::NonFinite { first, count, rows, place: "batch".into() });
        }
        let mut resident = backend.upload_rows(n, d, &mut |start, out| rows.read_rows(start, out))?;
        if self.config.metric == Metric::Cosine
            && let Some(at) = backend.row_norms(&resident)?.iter().position(|v| *v == 0.0)
        {
            return Err(Error::Data(format!(
                "row {at} of the batch is zero and has no direction for cosine; drop it or use squared L2"
            )));
        }
        self.moments.0.iter_mut().zip(backend.column_sums(&resident)?).for_each(|(m, s)| *m += s);
        self.moments.1 += backend.sum_squares(&resident)?;
        self.moments.2 += n as u64;
        // Under residual normalisation: what each row was divided by so far, to report errors in the rows' own unit.
        let mut scale: Vec<f64> = Vec::new();
        for level in 0..self.levels.len() {
            if self.config.normalize_residuals {
                let norms = backend.normalize(&mut resident)?;
                scale.resize(n, 1.0);
                scale.iter_mut().zip(&norms).for_each(|(s, v)| *s *= f64::from(*v));
                let sum = norms.iter().map(|v| f64::from(*v)).sum::<f64>();
                let state = &mut self.levels[level];
                state.norms = (state.norms.0 + sum, state.norms.1 + n as u64);
            }
            if level == books.len() {
                // This level is still being collected for, and those after it wait.
                if !self.collect(backend, books, &resident, level)? {
                    break;
                }
            }
            let train = !self.config.layer_wise || level == self.current;
            let mut partition = backend.partition(n)?;
            backend.assign(&resident, &books[level], &mut partition)?;
            if train {
                self.step(backend, &mut books[level], &resident, &mut partition, level)?;
            }
            backend.residual(&mut resident, &books[level], &partition)?;
            let left = super::residual::squared_error(backend, &resident, &scale)?;
            let state = &mut self.levels[level];
            state.residual = (state.residual.0 + left, state.residual.1 + n as u64);
            if self.config.layer_wise && level == self.current {
                break;
            }
        }
        self.steps += 1;
        self.rows += n as u64;
        Ok(())
    }

    /// Adds a batch's rows to the buffer; starts the level once there are enough. Says whether it is started.
    fn collect<B: Backend>(
        &mut self,
        backend: &B,
        books: &mut Vec<B::Codebook>,
        rows: &B::Rows,
        level: usize,
    ) -> Result<bool> {
        let (n, d) = backend.shape(rows);
        let room = (self.init_rows - (self.buffer.len() / d).min(self.init_rows)).min(n);
        let mut part = vec![0.0f32; room * d];
        backend.read_rows(rows, 0, &mut part)?;
        self.buffer.extend_from_slice(&part);
        if self.buffer.len() / d < self.init_rows {
            return Ok(false);
        }
        self.start(backend, books, level)?;
        Ok(true)
    }

    fn start<B: Backend>(&mut self, backend: &B, books: &mut Vec<B::Codebook>, level: usize) -> Result<()> {
        let (d, k) = (self.dims, self.config.codebook_sizes[level]);
        let held = MatrixView::new(self.buffer.len() / d, d, &self.buffer)?;
        let sample = backend.upload_rows(held.rows(), d, &mut |start, out| held.read_rows(start, out))?;
        // A few full iterations on the buffer: data rows alone make poor codewords of residuals, and one near the origin would
        // take most rows from them for good.
        let settings = Settings {
            k,
            iterations: START_ITERATIONS,
            tolerance: 0.0,
            starts: 1,
            seed: self.config.seed,
            level,
            metric: self.config.metric,
            init: Init::KMeansPlusPlus,
            first: None,
            empty: EmptyPolicy::Farthest,
            exchange: true,
        };
        let start = kmeans::fit(backend, &sample, &settings, &())?;
        let first = backend.read_codebook(&start.codebook)?;
        books.push(start.codebook);
        self.levels[level].codebook = first;
        self.levels[level].seen = vec![0; k];
        self.buffer = Vec::new();
        Ok(())
    }

    /// One update of one level.
    fn step<B: Backend>(
        &mut self,
        backend: &B,
        book: &mut B::Codebook,
        rows: &B::Rows,
        partition: &mut B::Partition,
        level: usize,
    ) -> Result<()> {
        let state = &mut self.levels[level];
        let counts = backend.tally(partition, state.seen.len())?;
        let mut weights = vec![0.0f32; counts.len()];
        for ((weight, seen), count) in weights.iter_mut().zip(&mut state.seen).zip(&counts) {
            *seen += u64::from(*count);
            if *count > 0 {
                *weight = (f64::from(*count) / *seen as f64).max(self.config.least_rate) as f32;
            }
        }
        backend.update(rows, partition, book, &weights)?;
        state.steps += 1;
        if state.steps.is_multiple_of(RESEED_EVERY) {
            let mean = state.seen.iter().sum::<u64>() as f64 / state.seen.len() as f64;
            let idle: Vec<usize> = (0..state.seen.len()).filter(|j| (state.seen[*j] as f64) < IDLE * mean).collect();
            let far = backend.farthest(rows, partition, idle.len().min(backend.shape(rows).0))?;
            let mut changes = Vec::new();
            for (j, row) in idle.into_iter().zip(far) {
                let mut value = vec![0.0; self.dims];
                backend.read_rows(rows, row as usize, &mut value)?;
                changes.push((j as u32, value));
                // As if it had never been: its next batch places it.
                state.seen[j] = 0;
                state.reseeded += 1;
            }
            if !changes.is_empty() {
                backend.set_codewords(book, &changes)?;
            }
        }
        Ok(())
    }

    /// The model as it stands.
    ///
    /// # Errors
    /// [`Error::Data`] if a level has not been started: too few rows came by.
    pub fn finish(&self) -> Result<Fitted> {
        let (sums, squares, seen) = &self.moments;
        let variance = squares - sums.iter().map(|s| s * s).sum::<f64>() / (*seen).max(1) as f64;
        let mut codebooks = Vec::new();
        let mut levels = Vec::new();
        for (level, state) in self.levels.iter().enumerate() {
            if state.codebook.is_empty() {
                return Err(Error::Data(format!(
                    "level {level} has seen {} of the {} rows that start it; give more rows or a smaller `init_rows`",
                    self.buffer.len() / self.dims,
                    self.init_rows
                )));
            }
            let k = self.config.codebook_sizes[level];
            codebooks.push(Matrix::from_vec(k, self.dims, state.codebook.clone())?);
            let counts: Vec<u32> = state.seen.iter().map(|c| u32::try_from(*c).unwrap_or(u32::MAX)).collect();
            levels.push(LevelSummary {
                level,
                codebook_size: k,
                iterations: state.steps as usize,
                converged: false,
                inertia: state.residual.0,
                // A level that last trained on part of the epoch saw part of the variance.
                r2: if variance > 0.0 && state.residual.1 > 0 {
                    1.0 - state.residual.0 / state.residual.1 as f64 * *seen as f64 / variance
                } else {
                    0.0
                },
                utilisation: counts.iter().filter(|c| **c > 0).count() as f64 / k as f64,
                perplexity: perplexity(&counts),
                reseeded: state.reseeded,
                balance: None,
                seconds: 0.0,
            });
        }
        let mean = |l: &Level| if l.norms.1 == 0 { 1.0 } else { (l.norms.0 / l.norms.1 as f64) as f32 };
        let residual_norms =
            if self.config.normalize_residuals { self.levels.iter().map(mean).collect() } else { Vec::new() };
        Ok(Fitted {
            chain: Chain {
                dims: self.dims,
                codebooks,
                metric: self.config.metric,
                normalize_residuals: self.config.normalize_residuals,
                ..Chain::default()
            },
            mean_norm: 1.0,
            residual_norms,
            beam: 1,
            shared_codebook: false,
            probes: Matrix::default(),
            summary: TrainingSummary {
                rows: self.rows,
                source_rows: self.rows,
                total_variance: variance.max(0.0),
                kept_variance: 1.0,
                levels,
                ..TrainingSummary::default()
            },
        })
    }

    /// The whole state as bytes, for a checkpoint.
    ///
    /// # Errors
    /// [`Error::Codec`] if it cannot be written down, which a valid state never meets.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::Codec(format!("cannot write the training state: {e}")))
    }

    /// Reads a state that [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`Error::Codec`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let state: Self =
            serde_json::from_slice(bytes).map_err(|e| Error::Codec(format!("not a mini-batch training state: {e}")))?;
        state.config.validate()?;
        let fits = |(level, k): (&Level, &usize)| {
            level.codebook.is_empty() || (level.codebook.len() == k * state.dims && level.seen.len() == *k)
        };
        let whole = state.dims > 0
            && state.levels.len() == state.config.codebook_sizes.len()
            && state.levels.iter().zip(&state.config.codebook_sizes).all(fits)
            && state.buffer.len().is_multiple_of(state.dims)
            && state.current < state.levels.len()
            && state.levels.iter().all(|l| l.codebook.iter().all(|v| v.is_finite()));
        if whole {
            Ok(state)
        } else {
            Err(Error::Codec("damaged mini-batch training state: its parts do not fit".into()))
        }
    }
}

/// Start rows of an epoch's runs, shuffled (Fisher–Yates).
fn epoch_order(seed: u64, epoch: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).step_by(RUN).collect();
    let mut random = stream(seed, "minibatch.order", epoch);
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    // The short last run goes last, so that a position in the epoch tells its run by division.
    if !n.is_multiple_of(RUN)
        && let Some(at) = order.iter().position(|start| start + RUN > n)
    {
        let short = order.remove(at);
        order.push(short);
    }
    order
}

/// Reads rows `start..` of an epoch in its order.
fn read_runs(source: &dyn RowSource, order: &[usize], start: usize, out: &mut [f32]) -> Result<()> {
    let d = source.dims();
    let (mut at, end) = (start, start + out.len() / d);
    while at < end {
        let (run, inside) = (order[at / RUN], at % RUN);
        let count = (RUN - inside).min(end - at);
        source.read_rows(run + inside, &mut out[(at - start) * d..(at - start + count) * d])?;
        at += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_row_once() {
        for n in [1, 63, 64, 65, 1000] {
            let rows = Matrix::from_vec(n, 1, (0..n).map(|i| i as f32).collect()).unwrap();
            let order = epoch_order(3, 1, n);
            let mut seen = Vec::new();
            for start in (0..n).step_by(100) {
                let mut part = vec![0.0; 100.min(n - start)];
                read_runs(&rows, &order, start, &mut part).unwrap();
                seen.extend(part);
            }
            seen.sort_by(f32::total_cmp);
            assert_eq!(seen, rows.as_slice(), "n = {n}");
        }
    }
}
