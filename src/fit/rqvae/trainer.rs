//! The training: what it keeps from step to step, and the loop over epochs and steps.

use super::config::{CodebookUpdate, Commitment, Monitor, NetworkInit, Reduction, RqVae};
use super::data::TrainingData;
use super::health::Look;
use super::layout::{Layout, Principal, carried, initialise};
use super::report::{CheckpointKind, Recorder};
use super::schedule::{learning_rate, temperature};
use super::session::{Dropout, Session, mask_bits};
use super::step::StepInput;
use crate::compute::reference::Chain;
use crate::compute::tensor::{TensorBackend, from};
use crate::compute::{Device, on_device};
use crate::data::{Matrix, RowSource};
use crate::error::{Error, Result};
use crate::fit::preprocess::Learned;
use crate::progress::{EpochReport, Event, Health, Losses, Observer, StepReport, check};
use crate::rng::stream;
use std::time::Instant;

/// Values of a window of batches that are sent to the device together.
const WINDOW_VALUES: usize = 1 << 22;
/// And the most batches it holds.
const WINDOW_STEPS: usize = 16;

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

/// What a training starts from and depends on.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Dimensions of a row before preprocessing.
    pub dims: usize,
    /// Rows of the source and how many of them are used.
    pub source_rows: u64,
    pub rows: u64,
    /// A hash of the rows, so that going on with others is noticed.
    pub fingerprint: u64,
    pub learned: Learned,
    /// Codebooks of the codec that RQ-KMeans+ starts from.
    pub warm: Option<Vec<Matrix>>,
    pub variance: f64,
    /// Dimensions of the embeddings to align with.
    pub aligned: Option<usize>,
    /// Rows of the source for measuring how exactly a device encodes.
    pub probes: Matrix,
}

/// A training of an RQ-VAE that can stop after any step, be saved, and go on to the same bits.
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
    pub(super) start: Option<(Learned, Vec<Matrix>)>,
    /// Once it has begun.
    pub(super) origin: Option<Origin>,
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
    /// [`Error::Config`]; [`Error::Codec`] for a chain that has networks already, compares by cosine or normalises residuals.
    pub fn from_chain(config: RqVae, chain: &Chain, mean_norm: f32) -> Result<Self> {
        if chain.encoder.is_some() || chain.metric != crate::Metric::SquaredL2 || chain.normalize_residuals {
            let problem = "a start for RQ-KMeans+ is a codec of RQ-KMeans by squared L2, without networks and without normalised \
                           residuals";
            return Err(Error::Codec(problem.into()));
        }
        let mut config = config;
        config.codebook_sizes = chain.codebook_sizes();
        config.code_dims = chain.inner_dims();
        config.shared_codebook = false;
        config.autoencoder_epochs = 0;
        config.preprocess.normalize = chain.normalize_rows;
        if config.init == NetworkInit::Pca {
            // The way past the networks carries everything already.
            config.init = NetworkInit::He;
        }
        let mut trainer = Self::new(config)?;
        trainer.start = Some((Learned::of(chain, mean_norm), chain.codebooks.clone()));
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

    pub(super) fn layout(&self) -> Result<Layout> {
        let origin = self.origin.as_ref().ok_or_else(|| Error::Data("the training has not begun".into()))?;
        let inner = origin.learned.components.len().checked_div(origin.dims).filter(|p| *p > 0).unwrap_or(origin.dims);
        Ok(Layout::new(&self.config, inner, origin.aligned, origin.warm.is_some()))
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
        let data = TrainingData::load(backend, self, source, aligned, observer)?;
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
            recorder.checkpoint(CheckpointKind::Best, self)?;
        }
        let outcome = self.epochs_on(&mut session, &data, observer, recorder);
        if matches!(outcome, Err(Error::Interrupted(_))) {
            self.download(&session)?;
            recorder.checkpoint(CheckpointKind::Last, self)?;
        }
        outcome
    }

    /// Weights and counters before the first step.
    pub(super) fn begin(&mut self, layout: &Layout, principal: Option<&Principal>) {
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

    fn download<B: TensorBackend>(&mut self, session: &Session<'_, B>) -> Result<()> {
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

    fn epochs_on<B: TensorBackend>(
        &mut self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        observer: &dyn Observer,
        recorder: &mut dyn Recorder,
    ) -> Result<()> {
        let backend = session.at.backend;
        let config = session.at.config;
        let batches = data.training.len().div_ceil(config.batch_rows) as u64;
        let total = batches * config.epochs as u64;
        let window = (WINDOW_VALUES / (config.batch_rows * session.layout.dims).max(1)).clamp(1, WINDOW_STEPS);
        let room = window * config.batch_rows.min(data.training.len());
        let mut x = backend.zeros("rows", room.max(session.rows) * session.layout.dims)?;
        let mut h = backend.zeros("aligned rows", data.aligned.as_ref().map_or(0, |a| room * a.dims))?;
        let dropout_bits = dropout_bits(session.layout, config.batch_rows);
        let mut masks =
            backend.index("dropout masks", if config.dropout > 0.0 { window * dropout_bits / 32 } else { 0 })?;
        observer.event(Event::Phase { name: "train rq-vae", total: Some(total), unit: "steps" });
        while self.progress.epoch < config.epochs as u64 && !self.is_tired() {
            let epoch = self.progress.epoch;
            let quantised = epoch >= config.autoencoder_epochs as u64;
            if quantised && self.progress.codebook_steps.is_none() {
                self.start_codebooks(session, data, &mut x, observer)?;
            }
            self.refit_codebooks(session, data, &mut x, observer)?;
            let order = shuffled(&data.training, config.seed, epoch);
            let begun = Instant::now();
            let mut trained = 0usize;
            // Kept with the state: in the midst of an epoch the codebooks are others than at its beginning.
            if self.progress.step == 0 && quantised {
                if config.sinkhorn.is_some() {
                    self.progress.spread = session.spread()?;
                }
                if let Some(diversity) = config.diversity {
                    self.progress.clusters = session.clusters(diversity.clusters, observer)?;
                }
            }
            let spread = self.progress.spread.clone();
            while self.progress.step < batches {
                // Windows lie at fixed places of an epoch, so that going on in the midst of one changes nothing.
                let at = self.progress.step as usize;
                let end = ((at / window + 1) * window).min(batches as usize);
                let first = at * config.batch_rows;
                let rows = &order[first..(end * config.batch_rows).min(order.len())];
                backend.write_tensor(&mut x, 0, &data.gather(rows))?;
                if let Some(aligned) = &data.aligned {
                    backend.write_tensor(&mut h, 0, &aligned.gather(rows))?;
                }
                if config.dropout > 0.0 {
                    let words = dropout_words(config, self.progress.steps, end - at, dropout_bits);
                    backend.write_index(&mut masks, 0, &words)?;
                }
                if config.diversity.is_some() && quantised {
                    session.draw_targets(&self.progress.clusters, epoch, (at / window) as u64)?;
                }
                for step in at..end {
                    check(observer)?;
                    let offset = (step - at) * config.batch_rows;
                    let n = config.batch_rows.min(rows.len() - offset);
                    let (t, levels) = (self.progress.steps, self.levels_of_step(session.layout, quantised));
                    let input = StepInput {
                        x: from(&x, offset * session.layout.dims),
                        aligned: data.aligned.as_ref().map(|a| (from(&h, offset * a.dims), a.dims)),
                        n,
                        levels,
                        time: t + 1,
                        codebook_time: self.progress.codebook_steps.unwrap_or(0) + 1,
                        rate: learning_rate(config, t, total),
                        temperature: temperature(config, t, total) as f32,
                        dropout: (config.dropout > 0.0).then(|| Dropout {
                            bits: &masks,
                            first_bit: (step - at) * dropout_bits,
                            scale: (1.0 / (1.0 - config.dropout)) as f32,
                        }),
                        noise: self.noise(session.layout, n, levels),
                        spread: &spread,
                    };
                    backend.together(|| session.step(&input))?;
                    trained += n;
                    self.after_step(session, n, levels, batches, total, recorder)?;
                    observer.event(Event::Advance { done: self.progress.steps });
                }
            }
            // Waits for what is recorded, so that the rate is of work done.
            backend.read_tensor(&session.losses, 0, &mut [0.0])?;
            let rate = trained as f64 / begun.elapsed().as_secs_f64().max(1e-9);
            self.end_epoch(session, data, &mut x, rate, total, observer, recorder)?;
        }
        self.finish_training(session, data, &mut x, observer, recorder)
    }

    fn start_codebooks<B: TensorBackend>(
        &mut self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<()> {
        if self.origin.as_ref().is_some_and(|o| o.warm.is_some()) {
            // The codec's own codewords stay; a pass of 0 iterations gives averages their loads.
            session.refit(&data.corpus(), &data.training, x, 0, None, observer)?;
        } else {
            session.start_codebooks(&data.corpus(), &data.training, x, self.config.seed, observer)?;
        }
        self.progress.codebook_steps = Some(0);
        Ok(())
    }

    /// Codebooks by k-means: fitted once at the beginning of every so many epochs, counted from the one that they started in.
    fn refit_codebooks<B: TensorBackend>(
        &mut self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<()> {
        let CodebookUpdate::KMeans { iterations, every, settle, balance } = self.config.codebook else { return Ok(()) };
        let epoch = self.progress.epoch;
        let begun = self.progress.codebook_steps.is_some_and(|steps| steps > 0);
        let due = epoch.saturating_sub(self.config.autoencoder_epochs as u64).is_multiple_of(every as u64);
        let open = due && epoch + (settle as u64) < self.config.epochs as u64;
        if begun && open && self.progress.step == 0 && self.progress.refitted != epoch {
            let corpus = data.corpus();
            let moved = session.refit(&corpus, &data.training, x, iterations, balance, observer)?;
            self.progress.restarted += moved;
            self.progress.refitted = epoch;
        }
        Ok(())
    }

    /// Levels that the next step quantises with.
    fn levels_of_step(&self, layout: &Layout, quantised: bool) -> usize {
        let all = layout.sizes.len();
        if !quantised {
            return 0;
        }
        if self.config.quantize_dropout > 0.0 {
            let mut random = stream(self.config.seed, "rqvae.levels", self.progress.steps);
            if random.uniform() < self.config.quantize_dropout {
                return 1 + random.below(all as u64) as usize;
            }
        }
        all
    }

    /// Standard Gumbel noise of each level, where it is used.
    fn noise(&self, layout: &Layout, n: usize, levels: usize) -> Vec<Vec<f32>> {
        if !matches!(self.config.estimator, super::config::Estimator::Gumbel { .. }) {
            return Vec::new();
        }
        (0..levels)
            .map(|level| {
                let at = self.progress.steps << 8 | level as u64;
                let mut random = stream(self.config.seed, "rqvae.gumbel", at);
                // −ln(−ln u), with u away from 0 and 1.
                let draw = || (-libm::log(-libm::log(random.uniform() * (1.0 - 2e-12) + 1e-12))) as f32;
                std::iter::repeat_with(draw).take(n * layout.sizes[level]).collect()
            })
            .collect()
    }

    fn after_step<B: TensorBackend>(
        &mut self,
        session: &mut Session<'_, B>,
        n: usize,
        levels: usize,
        batches: u64,
        total: u64,
        recorder: &mut dyn Recorder,
    ) -> Result<()> {
        let config = session.at.config;
        let p = &mut self.progress;
        (p.step, p.steps, p.loss_steps) = (p.step + 1, p.steps + 1, p.loss_steps + 1);
        if levels > 0 {
            p.codebook_steps = p.codebook_steps.map(|t| t + 1);
            p.since_restart += 1;
        }
        if let Some(restart) = &config.restart {
            let interval = restart.interval_steps.map_or(batches, |s| s as u64);
            let open = (p.steps as f64) < restart.until * total as f64 && p.steps < total;
            // A shortened batch or prefix has no inputs for all levels.
            if p.since_restart >= interval && levels == session.layout.sizes.len() {
                p.since_restart = 0;
                if open {
                    let mut random = stream(config.seed, "rqvae.restart", p.steps);
                    p.restarted += session.restart_dead(n, restart.threshold, &mut random)?;
                }
            }
        }
        if self.progress.steps.is_multiple_of(config.log_every as u64) {
            let losses = self.take_losses(session)?;
            recorder.step(&StepReport {
                step: self.progress.steps,
                epoch: self.progress.epoch + 1,
                learning_rate: learning_rate(config, self.progress.steps - 1, total),
                losses,
            })?;
        }
        // The end of an epoch writes one of its own.
        let within = self.progress.step < batches;
        if within && config.checkpoint_steps.is_some_and(|every| self.progress.steps.is_multiple_of(every as u64)) {
            self.require_finite(session)?;
            self.download(session)?;
            recorder.checkpoint(CheckpointKind::Last, self)?;
        }
        Ok(())
    }

    fn not_finite(&self) -> Error {
        Error::Data(format!(
            "the loss is not finite at step {} (epoch {}): the training diverged; the last checkpoint is from before that. Lower \
             `optimizer.rate` ({}), or set `clip_norm`",
            self.progress.steps,
            self.progress.epoch + 1,
            self.config.optimizer.rate
        ))
    }

    /// Refuses to keep a state whose losses or gradients are not finite.
    fn require_finite<B: TensorBackend>(&self, session: &Session<'_, B>) -> Result<()> {
        let mut terms = vec![0.0f32; session.layout.sizes.len() + super::session::EXTRA_LOSSES];
        session.at.backend.read_tensor(&session.losses, 0, &mut terms)?;
        if terms.iter().all(|v| v.is_finite()) { Ok(()) } else { Err(self.not_finite()) }
    }

    /// Means of the losses since the last call; they join the epoch's.
    fn take_losses<B: TensorBackend>(&mut self, session: &mut Session<'_, B>) -> Result<Losses> {
        self.require_finite(session)?;
        let backend = session.at.backend;
        let mut terms = vec![0.0f32; self.progress.epoch_losses.len()];
        backend.read_tensor(&session.losses, 0, &mut terms)?;
        let (len, steps) = (terms.len(), self.progress.loss_steps);
        backend.clear(&mut session.losses, 0, len)?;
        let sums: Vec<f64> = terms.iter().map(|v| f64::from(*v)).collect();
        self.progress.epoch_losses.iter_mut().zip(&sums).for_each(|(e, s)| *e += s);
        self.progress.epoch_loss_steps += steps;
        self.progress.loss_steps = 0;
        Ok(self.losses(&sums, steps, session.layout.dims))
    }

    fn losses(&self, sums: &[f64], steps: u64, dims: usize) -> Losses {
        let (config, count) = (&self.config, steps.max(1) as f64);
        let levels = config.codebook_sizes.len();
        let mean: Vec<f64> = sums.iter().map(|s| s / count).collect();
        let quantizer = mean[1..=levels].to_vec();
        let codebook = if config.codebook == CodebookUpdate::Gradient { 1.0 } else { 0.0 };
        let terms = |weight: f64, commitment: Commitment| match commitment {
            Commitment::Levels => weight * quantizer.iter().sum::<f64>(),
            Commitment::Sum => weight * quantizer.last().copied().unwrap_or(0.0),
        };
        let quantised = terms(config.commitment_weight, config.commitment) + terms(codebook, Commitment::Levels);
        let repulsion = config.repulsion.map(|_| mean[4 + levels]);
        let unit = match config.reconstruction {
            Reduction::Mean => 1.0,
            Reduction::Sum => dims as f64,
        };
        let alignment = config.alignment.map(|_| mean[1 + levels]);
        let diversity = config.diversity.map(|_| mean[2 + levels]);
        let total = mean[0]
            + config.quantizer_weight * quantised
            + config.repulsion.map_or(0.0, |r| unit * r.weight) * repulsion.unwrap_or(0.0)
            + config.alignment.map_or(0.0, |a| a.weight) * alignment.unwrap_or(0.0)
            + config.diversity.map_or(0.0, |d| d.weight) * diversity.unwrap_or(0.0);
        let gradient_norm = mean[3 + levels].max(0.0).sqrt();
        Losses { total, reconstruction: mean[0], quantizer, diversity, repulsion, alignment, gradient_norm }
    }

    /// Looks at the corpus, keeps the best, tells and saves.
    #[allow(clippy::too_many_arguments)]
    fn end_epoch<B: TensorBackend>(
        &mut self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        x: &mut B::Tensor,
        rows_per_second: f64,
        total: u64,
        observer: &dyn Observer,
        recorder: &mut dyn Recorder,
    ) -> Result<()> {
        let config = session.at.config;
        if self.progress.loss_steps > 0 {
            self.take_losses(session)?;
        }
        let sums = std::mem::take(&mut self.progress.epoch_losses);
        let losses = self.losses(&sums, self.progress.epoch_loss_steps, session.layout.dims);
        self.progress.epoch_losses = vec![0.0; sums.len()];
        self.progress.epoch_loss_steps = 0;
        let epoch = self.progress.epoch + 1;
        let last = epoch == config.epochs as u64;
        let quantised = self.progress.codebook_steps.is_some();
        let due = quantised && (epoch.is_multiple_of(config.health_every as u64) || last);
        // Not to be stopped: losses are taken already, and what follows is short.
        let look = if due { Some(self.look(session, data, last, x, &())?) } else { None };
        let better = look.as_ref().is_some_and(|l| self.improves(&l.health));
        let restarted = std::mem::take(&mut self.progress.restarted);
        (self.progress.epoch, self.progress.step) = (epoch, 0);
        self.progress.stale = if better { 0 } else { self.progress.stale + u64::from(quantised) };
        self.download(session)?;
        if let Some(look) = &look {
            self.progress.health = Some(look.health.clone());
            if better {
                self.progress.best = Some((epoch, self.measure(&look.health)));
                self.best = self.state.params.clone();
            }
        }
        let report = EpochReport {
            epoch,
            epochs: config.epochs as u64,
            step: self.progress.steps,
            learning_rate: learning_rate(config, self.progress.steps.saturating_sub(1), total),
            losses,
            restarted,
            health: look.as_ref().map(|l| l.health.clone()),
            best: better,
            rows_per_second,
        };
        recorder.epoch(&report)?;
        observer.event(Event::Epoch(&report));
        if let Some(look) = &look {
            recorder.usage(&look.loads)?;
        }
        recorder.checkpoint(CheckpointKind::Last, self)?;
        if better {
            recorder.checkpoint(CheckpointKind::Best, self)?;
        }
        if let Some(alarm) = look.as_ref().and_then(|l| l.health.alarm()) {
            observer.event(Event::Note(&format!("epoch {epoch}: {alarm}")));
            if config.stop_on_collapse {
                return Err(Error::Data(format!("stopped after epoch {epoch}: {alarm}")));
            }
        }
        let tired = self.is_tired();
        if tired && !last {
            observer.event(Event::Note(&format!(
                "no better epoch than {} within {}: training ends",
                self.best_epoch().unwrap_or(0),
                self.progress.stale
            )));
        }
        Ok(())
    }

    fn look<B: TensorBackend>(
        &self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        depths: bool,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<Look> {
        session.look(&data.corpus(), &data.training, &data.validation, depths, x, observer)
    }

    /// Whether the monitored measure has not improved for as long as patience lasts.
    fn is_tired(&self) -> bool {
        self.config.patience.is_some_and(|patience| self.progress.stale >= patience as u64)
    }

    /// What is to grow, the first first.
    fn measure(&self, health: &Health) -> Vec<f64> {
        match self.config.monitor {
            Monitor::R2 => vec![health.r2],
            Monitor::ValidationR2 => vec![health.validation_r2.unwrap_or(f64::NEG_INFINITY)],
            Monitor::CollisionRate => vec![-health.collision_rate, health.r2],
        }
    }

    fn improves(&self, health: &Health) -> bool {
        let new = self.measure(health);
        match &self.progress.best {
            None => true,
            Some((_, old)) => new.partial_cmp(old) == Some(std::cmp::Ordering::Greater),
        }
    }

    /// Back to the best epoch, with a look at every depth.
    fn finish_training<B: TensorBackend>(
        &mut self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        x: &mut B::Tensor,
        observer: &dyn Observer,
        recorder: &mut dyn Recorder,
    ) -> Result<()> {
        let whole = |h: &Health| h.levels.iter().all(|l| l.r2.is_some());
        // The last epoch was looked at with every depth already; an earlier one was not.
        let seen = self.best_epoch() == Some(self.progress.epoch) && self.progress.health.as_ref().is_some_and(whole);
        if !seen {
            if !self.best.is_empty() {
                session.at.backend.write_tensor(&mut session.params, 0, &self.best)?;
                session.codebooks_moved = true;
            }
            let look = self.look(session, data, true, x, observer)?;
            self.progress.best = Some((self.best_epoch().unwrap_or(0), self.measure(&look.health)));
            recorder.usage(&look.loads)?;
            self.progress.health = Some(look.health);
        }
        self.progress.finished = true;
        recorder.checkpoint(CheckpointKind::Last, self)
    }
}

/// The training rows in the order of an epoch (Fisher and Yates).
fn shuffled(rows: &[u32], seed: u64, epoch: u64) -> Vec<u32> {
    let mut order = rows.to_vec();
    let mut random = stream(seed, "rqvae.order", epoch);
    for i in (1..order.len()).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    order
}

/// Bits of a full batch's masks.
fn dropout_bits(layout: &Layout, rows: usize) -> usize {
    let layers = layout.encoder.iter().chain(&layout.decoder).filter(|l| l.hidden);
    layers.map(|l| mask_bits(rows, l.outputs)).sum()
}

/// Masks of some steps: each bit is set with probability 1 − p.
fn dropout_words(config: &RqVae, first: u64, steps: usize, bits: usize) -> Vec<u32> {
    let mut words = Vec::with_capacity(steps * bits / 32);
    for step in 0..steps as u64 {
        let mut random = stream(config.seed, "rqvae.dropout", first + step);
        for _ in 0..bits / 32 {
            words.push((0..32).fold(0u32, |word, bit| word | u32::from(random.uniform() >= config.dropout) << bit));
        }
    }
    words
}
