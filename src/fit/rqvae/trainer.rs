//! The trainer: its state between steps, and how a training run is created, started and resumed. `steps` holds the loop, `epoch` the
//! end of each epoch.

use super::config::{NetworkInit, RqVae};
use super::data::TrainingData;
use super::layout::{ParameterLayout, PrincipalDirections, carried, initialise};
use super::origin::{TrainingOrigin, TrainingStart};
use super::report::{CheckpointKind, Recorder};
use super::session::Session;
use crate::compute::reference::ResidualQuantizer;
use crate::compute::tensor::TensorBackend;
use crate::compute::{Device, on_device};
use crate::data::{Matrix, RowSource};
use crate::error::{Error, Result};
use crate::fit::preprocess::FittedSteps;
use crate::progress::{Health, Observer};

/// Tensors as they are between steps, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub params: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// Counts `[k + 1]` and means `[k, e]` of each distinct codebook.
    pub ema: Vec<(Vec<f32>, Vec<f32>)>,
    pub usage: Vec<Vec<f32>>,
    /// Loss terms summed since the last logged step.
    pub losses: Vec<f32>,
}

/// Counters between steps.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Whole epochs.
    pub epoch: u64,
    /// Steps within the epoch.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Steps since the codebooks started; `None` before that.
    pub codebook_steps: Option<u64>,
    /// Steps since the last check for dead codewords.
    pub since_restart: u64,
    /// Spread of each level's codewords at the beginning of the epoch, for Sinkhorn.
    pub spread: Vec<f64>,
    /// Cluster of every codeword of each level at the beginning of the epoch, for the diversity loss.
    pub clusters: Vec<Vec<u32>>,
    /// Epoch at whose beginning codebooks were last fitted.
    pub refitted: u64,
    /// Codewords restarted in this epoch.
    pub restarted: u64,
    /// Steps whose losses are in the snapshot.
    pub loss_steps: u64,
    /// Loss terms summed over the epoch's logged steps, and their number.
    pub epoch_losses: Vec<f64>,
    pub epoch_loss_steps: u64,
    /// Epoch of the best look at the corpus, from 1, and its measure.
    pub best: Option<(u64, Vec<f64>)>,
    /// Epochs since then.
    pub stale: u64,
    /// Whether training is over.
    pub finished: bool,
    /// The last look at the corpus.
    pub health: Option<Health>,
}

/// A training run of an RQ-VAE. It can stop after any step, be saved, and resume to bit-identical results.
///
/// ```
/// use sememe::fit::rqvae::{RqVae, RqVaeTrainer};
/// use sememe::{Device, Matrix};
/// let rows = Matrix::from_vec(64, 4, (0..256).map(|i| ((i * 37) % 64) as f32 / 32.0 - 1.0).collect())?;
/// let config = RqVae {
///     hidden: vec![16], code_dims: 4, codebook_sizes: vec![8, 8], batch_rows: 16, epochs: 2, ..RqVae::default()
/// };
/// let mut trainer = RqVaeTrainer::new(config)?;
/// trainer.run(&rows, None, &Device::cpu(), &(), &mut ())?;
/// let again = RqVaeTrainer::from_bytes(&trainer.to_bytes()?)?;
/// assert_eq!((again.steps(), again.is_finished()), (8, true));
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RqVaeTrainer {
    pub(super) config: RqVae,
    /// Preprocessing and codebooks of the codec to start from, until the training begins.
    pub(super) start: Option<(FittedSteps, Vec<Matrix>)>,
    /// Once it has begun.
    pub(super) origin: Option<TrainingOrigin>,
    pub(super) progress: Progress,
    pub(super) state: Snapshot,
    /// Parameters after the best epoch.
    pub(super) best: Vec<f32>,
}

impl RqVaeTrainer {
    /// A training that has not begun.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: RqVae) -> Result<Self> {
        config.validate()?;
        let (progress, state) = (Progress::default(), Snapshot::default());
        Ok(Self { config, start: None, origin: None, progress, state, best: Vec::new() })
    }

    /// RQ-KMeans+: a training that starts from a fitted RQ-KMeans. Preprocessing, levels and codebooks are its own; the
    /// encoder is `z = x + MLP(x)` and the decoder `x = z + MLP(z)`, their last layers zero, so that the first step starts
    /// where k-means ended. `mean_norm` is the codec's (1 without row normalisation).
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Codec`] for a quantiser that has networks already, compares by cosine or normalises residuals.
    pub fn from_quantizer(config: RqVae, quantizer: &ResidualQuantizer, mean_norm: f32) -> Result<Self> {
        let levels_differ = quantizer.normalize_residuals || quantizer.product;
        if quantizer.encoder.is_some() || quantizer.metric != crate::Metric::SquaredL2 || levels_differ {
            let problem = "a start for RQ-KMeans+ is a codec of RQ-KMeans by squared L2, without networks and without normalised \
                           residuals";
            return Err(Error::Codec(problem.into()));
        }
        let mut config = config;
        config.codebook_sizes = quantizer.codebook_sizes();
        config.code_dims = quantizer.inner_dims();
        config.shared_codebook = false;
        config.autoencoder_epochs = 0;
        config.preprocess.normalize = quantizer.normalize_rows;
        if config.init == NetworkInit::Pca {
            // The way past the networks carries everything already.
            config.init = NetworkInit::He;
        }
        let mut trainer = Self::new(config)?;
        trainer.start = Some((FittedSteps::of(quantizer, mean_norm), quantizer.codebooks.clone()));
        Ok(trainer)
    }

    /// Whether it started from a codec (RQ-KMeans+).
    #[must_use]
    pub fn began_from_codec(&self) -> bool {
        self.start.is_some() || self.origin.as_ref().is_some_and(|o| o.warm.is_some())
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &RqVae {
        &self.config
    }

    /// Takes settings over that change nothing of what is trained: `epochs`, `patience`, `health_every`, `log_every`,
    /// `checkpoint_steps`, `stop_on_collapse`. More epochs let a training go on that had ended; the learning rate follows the new
    /// length from there.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first other field that differs.
    pub fn continue_with(&mut self, config: &RqVae) -> Result<()> {
        config.validate()?;
        let mut same = config.clone();
        let own = &self.config;
        (same.epochs, same.patience, same.health_every) = (own.epochs, own.patience, own.health_every);
        (same.log_every, same.checkpoint_steps) = (own.log_every, own.checkpoint_steps);
        same.stop_on_collapse = own.stop_on_collapse;
        let fields = |c: &RqVae| serde_json::to_value(c).map_err(|e| Error::Data(e.to_string()));
        if let (serde_json::Value::Object(new), serde_json::Value::Object(old)) = (fields(&same)?, fields(own)?)
            && let Some((field, value)) = new.iter().find(|(field, value)| old.get(*field) != Some(value))
        {
            let before = old.get(field).cloned().unwrap_or_default();
            let problem =
                format!("the training began with {before} and cannot go on with {value}; give the same, or start anew");
            return Err(Error::config(field.clone(), problem));
        }
        if config.epochs as u64 > self.progress.epoch && config.epochs > own.epochs {
            self.progress.finished = false;
        }
        self.config = config.clone();
        Ok(())
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.progress.steps
    }

    /// Whole epochs taken.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.progress.epoch
    }

    /// Whether the training has ended: all epochs are done, or it stopped improving.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress.finished
    }

    /// The last look at the whole corpus.
    #[must_use]
    pub fn health(&self) -> Option<&Health> {
        self.progress.health.as_ref()
    }

    /// The best epoch so far, from 1.
    #[must_use]
    pub fn best_epoch(&self) -> Option<u64> {
        self.progress.best.as_ref().map(|b| b.0)
    }

    /// Trains on a source's rows, from where the training stopped to its end. `aligned` are the rows to align with, as many and in
    /// the same order. Stopping by the observer keeps every finished step, and going on gives the same bits as never having
    /// stopped, on one backend.
    ///
    /// Time O(epochs · n · (parameters + Σ k·e)); memory: the training rows once, four times the parameters, and one batch's
    /// activations.
    ///
    /// # Errors
    /// [`Error::Data`] for too few rows, for other rows than those it began with, for a loss that is not finite, and for a collapse
    /// under `stop_on_collapse`; [`Error::NonFinite`]; [`Error::Interrupted`] after a stop; device errors; whatever `recorder`
    /// returns.
    pub fn run(
        &mut self,
        source: &dyn RowSource,
        aligned: Option<&dyn RowSource>,
        device: &Device,
        observer: &dyn Observer,
        recorder: &mut dyn Recorder,
    ) -> Result<()> {
        if self.config.alignment.is_some() != aligned.is_some() {
            let problem = if aligned.is_some() { "set it to use the aligned rows" } else { "needs rows to align with" };
            return Err(Error::config("alignment", problem));
        }
        on_device!(device, backend => self.run_on(backend, source, aligned, observer, recorder))
    }

    pub(super) fn layout(&self) -> Result<ParameterLayout> {
        let origin = self.origin.as_ref().ok_or_else(|| Error::Data("the training has not begun".into()))?;
        let inner = origin.learned.components.len().checked_div(origin.dims).filter(|p| *p > 0).unwrap_or(origin.dims);
        Ok(ParameterLayout::new(&self.config, inner, origin.aligned, origin.warm.is_some()))
    }

    fn run_on<B: TensorBackend>(
        &mut self,
        backend: &B,
        source: &dyn RowSource,
        aligned: Option<&dyn RowSource>,
        observer: &dyn Observer,
        recorder: &mut dyn Recorder,
    ) -> Result<()> {
        if !backend.offers(self.config.precision) {
            let problem = format!("`{}` has no {} products; use `f32`", backend.info().name, self.config.precision);
            return Err(Error::config("precision", problem));
        }
        let data = self.load(backend, source, aligned, observer)?;
        let layout = self.layout()?;
        if self.state.params.is_empty() {
            let principal = if self.config.init == NetworkInit::Pca && !layout.skip {
                Some(data.principal(backend, carried(&self.config, layout.dims))?)
            } else {
                None
            };
            self.begin(&layout, principal.as_ref());
        }
        if self.progress.finished {
            return Ok(());
        }
        let config = self.config.clone();
        let aligned = data.aligned.as_ref().map(|a| a.dims);
        let mut session = Session::new(backend, &config, &layout, aligned, config.batch_rows.min(data.rows()).max(1))?;
        self.upload(&mut session)?;
        let progress = &self.progress;
        if progress.step == 0 && progress.epoch > 0 && self.best_epoch() == Some(progress.epoch) {
            // A kill may have come between `last` and `best`, which hold the same at the end of a best epoch.
            recorder.checkpoint(CheckpointKind::Best, &|| self.to_bytes())?;
        }
        let outcome = self.epochs_on(&mut session, &data, observer, recorder);
        if matches!(outcome, Err(Error::Interrupted(_))) {
            self.download(&session)?;
            recorder.checkpoint(CheckpointKind::Last, &|| self.to_bytes())?;
        }
        outcome
    }

    /// Reads the rows; the first time, this is where the training begins.
    pub(super) fn load<B: TensorBackend>(
        &mut self,
        backend: &B,
        source: &dyn RowSource,
        aligned: Option<&dyn RowSource>,
        observer: &dyn Observer,
    ) -> Result<TrainingData> {
        let beginning = match (&self.origin, &self.start) {
            (Some(origin), _) => TrainingStart::Again(origin),
            (None, Some((learned, books))) => TrainingStart::FromCodec(learned, books),
            (None, None) => TrainingStart::Anew,
        };
        let (data, origin) = TrainingData::load(backend, &self.config, &beginning, source, aligned, observer)?;
        if let Some(origin) = origin {
            self.origin = Some(origin);
            self.start = None;
        }
        Ok(data)
    }

    /// Weights and counters before the first step.
    pub(super) fn begin(&mut self, layout: &ParameterLayout, principal: Option<&PrincipalDirections>) {
        let mut params = initialise(&self.config, layout, principal);
        let books = layout.books();
        if let Some(warm) = self.origin.as_ref().and_then(|o| o.warm.as_ref()) {
            for ((place, _), book) in books.iter().zip(warm) {
                params[*place..place + book.as_slice().len()].copy_from_slice(book.as_slice());
            }
        }
        let e = layout.code_dims;
        let terms = layout.sizes.len() + super::session::EXTRA_LOSSES;
        self.state = Snapshot {
            first: vec![0.0; params.len()],
            second: vec![0.0; params.len()],
            ema: books.iter().map(|(_, k)| (vec![0.0; k + 1], vec![0.0; k * e])).collect(),
            usage: books.iter().map(|(_, k)| vec![0.0; *k]).collect(),
            losses: vec![0.0; terms],
            params,
        };
        self.progress.epoch_losses = vec![0.0; terms];
    }

    pub(super) fn upload<B: TensorBackend>(&self, session: &mut Session<'_, B>) -> Result<()> {
        let (backend, state) = (session.at.backend, &self.state);
        backend.write_tensor(&mut session.params, 0, &state.params)?;
        session.codebooks_moved = true;
        backend.write_tensor(&mut session.first, 0, &state.first)?;
        backend.write_tensor(&mut session.second, 0, &state.second)?;
        for ((counts, means), (n, m)) in session.ema.iter_mut().zip(&state.ema) {
            backend.write_tensor(counts, 0, n)?;
            backend.write_tensor(means, 0, m)?;
        }
        for (usage, values) in session.usage.iter_mut().zip(&state.usage) {
            backend.write_tensor(usage, 0, values)?;
        }
        backend.write_tensor(&mut session.losses, 0, &state.losses)
    }

    pub(super) fn download<B: TensorBackend>(&mut self, session: &Session<'_, B>) -> Result<()> {
        let (backend, state) = (session.at.backend, &mut self.state);
        backend.read_tensor(&session.params, 0, &mut state.params)?;
        backend.read_tensor(&session.first, 0, &mut state.first)?;
        backend.read_tensor(&session.second, 0, &mut state.second)?;
        for ((counts, means), (n, m)) in session.ema.iter().zip(&mut state.ema) {
            backend.read_tensor(counts, 0, n)?;
            backend.read_tensor(means, 0, m)?;
        }
        for (usage, values) in session.usage.iter().zip(&mut state.usage) {
            backend.read_tensor(usage, 0, values)?;
        }
        backend.read_tensor(&session.losses, 0, &mut state.losses)
    }
}
