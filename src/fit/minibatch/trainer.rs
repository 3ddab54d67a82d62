//! The mini-batch trainer: its state, and training from batches or a source.

use super::MiniBatchRqKMeans;
use super::order::{epoch_order, read_runs};
use crate::compute::moments::Moments;
use crate::compute::{Backend, Device, on_device};
use crate::data::{MatrixView, RowSource};
use crate::error::{Error, Result, check_shape};
use crate::progress::{Event, Observer, check};
use serde::{Deserialize, Serialize};

/// One level in training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LevelState {
    /// `[k, d]`; empty until the level is started.
    pub codebook: Vec<f32>,
    /// Rows each codeword has seen.
    pub seen: Vec<u64>,
    /// Sum and number of input norms, under residual normalisation.
    pub norms: (f64, u64),
    /// Sum and number of squared residual norms after the level, over the last epoch.
    pub residual: (f64, u64),
    /// Codewords that were moved to a far row.
    pub reseeded: u64,
    /// Batches the level trained on.
    pub steps: u64,
}

/// The shift and scale applied to all rows before the first level, see [`range`](crate::fit::range).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RangeFrame {
    /// `[d]`, or empty.
    pub mean: Vec<f32>,
    /// `[d]`, or empty.
    pub scales: Vec<f32>,
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
    pub(super) config: MiniBatchRqKMeans,
    pub(super) dims: usize,
    pub(super) levels: Vec<LevelState>,
    /// Rows collected for the first level that is not started.
    pub(super) buffer: Vec<f32>,
    /// Batches taken in all.
    pub(super) steps: u64,
    pub(super) rows: u64,
    /// Of the rows of the last epoch.
    pub(super) moments: Moments,
    /// Origin and unit that are applied to all rows; set by the first non-empty batch.
    pub(super) frame: Option<RangeFrame>,
    /// Where [`fit_source`](Self::fit_source) goes on: epoch, batch within it.
    pub(super) position: (u64, u64),
    /// Level that trains now, under `layer_wise`.
    pub(super) current: usize,
    /// Rows that start a level: the setting, or what the source allows.
    pub(super) init_rows: usize,
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
        let levels = vec![LevelState::default(); config.codebook_sizes.len()];
        let init_rows = config.init_rows;
        Ok(Self {
            config,
            dims,
            levels,
            buffer: Vec::new(),
            steps: 0,
            rows: 0,
            moments: Moments::default(),
            frame: None,
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
        let unit = self.frame.as_ref().and_then(|f| f.scales.first()).map_or(1.0, |s| f64::from(*s));
        let mean = |l: &LevelState| l.residual.0 / l.residual.1 as f64 / (unit * unit);
        self.levels.iter().filter(|l| l.residual.1 > 0).map(mean).collect()
    }

    /// Under `layer_wise`: freezes the level in training and continues with the next.
    pub fn next_level(&mut self) {
        self.current = (self.current + 1).min(self.levels.len() - 1);
    }

    /// Trains on one batch `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Data`] for zero rows under cosine and for values outside of what float32 can
    /// square, device errors. The trainer is as before the call then.
    pub fn partial_fit<'a>(&mut self, rows: impl Into<MatrixView<'a>>, device: &Device) -> Result<()> {
        let rows = rows.into();
        on_device!(device, backend => {
            let mut books = self.resident(backend)?;
            let admitted = self.check_batch(backend, rows)?;
            let mut next = self.clone();
            next.take(backend, &mut books, admitted, &())?;
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
    /// As [`partial_fit`](Self::partial_fit), with [`Error::Interrupted`] after a stop; read errors. After a stop and for rows that
    /// cannot be read or used, the trainer is as after the last finished batch; after a device's error, as after the last epoch.
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
        // Codewords move on the device; what is kept here is whole whatever happens to that.
        let mut whole = self.clone();
        let mut books = self.resident(backend)?;
        observer.event(Event::Phase { name: "train", total: Some(self.batches(source.rows()).2), unit: "batches" });
        while self.position.0 < self.config.epochs as u64 {
            let outcome = match self.epoch(backend, &mut books, source, observer) {
                // Everything else is found before a batch moves anything.
                Err(error @ (Error::Device(_) | Error::DeviceLost(_) | Error::OutOfMemory { .. })) => {
                    *self = whole;
                    return Err(error);
                }
                outcome => outcome,
            };
            if let Err(error) = self.store(backend, &books) {
                *self = whole;
                return Err(error);
            }
            outcome?;
            save(self)?;
            whole.clone_from(self);
        }
        Ok(())
    }

    /// Batches an epoch, of each level's share under `layer_wise`, and in all.
    fn batches(&self, n: usize) -> (u64, u64, u64) {
        let batches = n.div_ceil(self.config.batch_rows) as u64;
        let total = batches * self.config.epochs as u64;
        (batches, total.div_ceil(self.levels.len() as u64), total)
    }

    /// What is left of the present epoch.
    fn epoch<B: Backend>(
        &mut self,
        backend: &B,
        books: &mut Vec<B::Codebook>,
        source: &dyn RowSource,
        observer: &dyn Observer,
    ) -> Result<()> {
        let (n, d, size) = (source.rows(), self.dims, self.config.batch_rows);
        let (batches, share, total) = self.batches(n);
        let order = epoch_order(self.config.seed, self.position.0, n);
        let mut values = vec![0.0f32; size.min(n) * d];
        if self.position.1 == 0 {
            self.levels.iter_mut().for_each(|l| l.residual = (0.0, 0));
            self.moments = Moments::default();
        }
        while self.position.1 < batches {
            check(observer)?;
            let start = self.position.1 as usize * size;
            let count = size.min(n - start);
            read_runs(source, &order, start, &mut values[..count * d])?;
            let done = self.position.0 * batches + self.position.1;
            let admitted = self.check_batch(backend, MatrixView::new(count, d, &values[..count * d])?)?;
            if let Some(note) = &admitted.note {
                observer.event(Event::Note(note));
            }
            self.current = if self.config.layer_wise { (done / share) as usize } else { 0 };
            let started = books.len();
            self.take(backend, books, admitted, observer)?;
            if books.len() > started {
                // The choice of first codewords may have been a phase of its own.
                observer.event(Event::Phase { name: "train", total: Some(total), unit: "batches" });
            }
            self.position.1 += 1;
            observer.event(Event::Advance { done: done + 1 });
        }
        self.position = (self.position.0 + 1, 0);
        Ok(())
    }

    /// The started levels' codebooks on a device.
    pub(super) fn resident<B: Backend>(&self, backend: &B) -> Result<Vec<B::Codebook>> {
        self.levels
            .iter()
            .take_while(|l| !l.codebook.is_empty())
            .map(|l| backend.codebook(l.codebook.len() / self.dims, self.dims, &l.codebook, self.config.metric))
            .collect()
    }

    pub(super) fn store<B: Backend>(&mut self, backend: &B, books: &[B::Codebook]) -> Result<()> {
        for (level, book) in self.levels.iter_mut().zip(books) {
            level.codebook = backend.read_codebook(book)?;
        }
        Ok(())
    }
}
