//! Training: epochs, looks at the validation items, early stopping, and a state that can be saved at any time.

use std::sync::Arc;
use std::time::Instant;

use super::Recommender;
use super::history::{batches, check, pieces, steps_of};
use super::items::{ItemSources, scaled_vectors};
use super::learner::UpdatePart;
use super::measure::RankingRequest;
use super::network::Network;
use super::ordered::OrderedTraining;
use super::plan::NetworkPlan;
use super::settings::{Prediction, RecommenderSettings};
use super::trained::TrainedNetwork;
use crate::decoder::{DecoderShape, Moments, mask_bits, mask_count, mask_words};
use sememe::compute::tensor::TensorBackend;
use sememe::compute::{BackendTask, run_on};
use sememe::progress::{Event, Observer, check as check_interrupt};
use sememe::{Device, Error, Matrix, Result, Sequences, check_shape};
use serde::{Deserialize, Serialize};

/// A finished epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecommenderEpoch {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean cross-entropy of its steps, in nats.
    pub loss: f64,
    /// NDCG@10 of the validation items, if they were looked at.
    pub validation_ndcg_at_10: Option<f64>,
    /// Whether that is the best so far.
    pub best: bool,
    /// Steps of histories learned from a second. Differs from run to run.
    #[serde(skip)]
    pub tokens_per_second: f64,
}

/// What a training says while it goes on, and is given to keep.
pub trait TrainingRecorder {
    /// An epoch is over.
    ///
    /// # Errors
    /// An error stops the training.
    fn epoch(&mut self, _epoch: &RecommenderEpoch) -> Result<()> {
        Ok(())
    }

    /// The training as it is now, at the end of an epoch.
    ///
    /// # Errors
    /// An error stops the training.
    fn checkpoint(&mut self, _training: &RecommenderTraining) -> Result<()> {
        Ok(())
    }
}

impl TrainingRecorder for () {}

/// Counters between epochs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainingProgress {
    pub epoch: usize,
    pub steps: u64,
    /// The best epoch so far, from 1, and its NDCG@10.
    pub best: Option<(usize, f64)>,
    /// Looks since then.
    pub stale: usize,
    pub finished: bool,
    pub epochs: Vec<RecommenderEpoch>,
}

/// The training of a recommender. It can stop after any epoch, be saved, and go on to the same bits.
#[derive(Clone, PartialEq)]
pub struct RecommenderTraining {
    pub(crate) settings: RecommenderSettings,
    pub(crate) progress: TrainingProgress,
    /// Of the histories and items that it began with.
    pub(crate) fingerprint: Option<String>,
    pub(crate) params: Vec<f32>,
    pub(crate) moments: Moments,
    pub(crate) best: Vec<f32>,
}

impl std::fmt::Debug for RecommenderTraining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecommenderTraining")
            .field("parameters", &self.params.len())
            .field("settings", &self.settings)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl RecommenderTraining {
    /// A training that has not begun.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(settings: RecommenderSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self {
            settings,
            progress: TrainingProgress::default(),
            fingerprint: None,
            params: Vec::new(),
            moments: Moments::default(),
            best: Vec::new(),
        })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &RecommenderSettings {
        &self.settings
    }

    /// The epochs so far.
    #[must_use]
    pub fn epochs(&self) -> &[RecommenderEpoch] {
        &self.progress.epochs
    }

    /// Whether it has ended: all epochs are done, or it stopped improving.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress.finished
    }

    /// Trains until the end, or until the observer asks to stop: then [`Error::Interrupted`], and the training stands at the last epoch's
    /// end. Returns the recommender of the best epoch.
    ///
    /// # Errors
    /// Sources or histories that do not fit; other ones than a resumed training began with; a loss that is not finite; device errors.
    pub fn run(
        &mut self,
        sources: &ItemSources,
        histories: &Sequences,
        device: &Device,
        observer: &dyn Observer,
        recorder: &mut dyn TrainingRecorder,
    ) -> Result<Recommender> {
        sources.validate()?;
        let plan = NetworkPlan::new(&self.settings, sources)?;
        check(histories, sources.items, self.settings.hold_out)?;
        let fingerprint = training_digest(sources, histories);
        match &self.fingerprint {
            Some(begun) if *begun != fingerprint => {
                let problem = "the training began with other histories, codes or vectors; give the same, or start anew";
                return Err(Error::Data(problem.into()));
            }
            _ => self.fingerprint = Some(fingerprint),
        }
        let scaled = sources.vectors.as_ref().map(scaled_vectors);
        let vectors = scaled.as_ref().map(|(vectors, ..)| vectors);
        if self.params.is_empty() {
            self.params = NetworkPlan::initialise(&self.settings, sources)?;
            self.moments = Moments::zeros(plan.len);
            self.best = self.params.clone();
        }
        check_shape("parameters", plan.len, self.params.len(), "the training that is resumed")?;
        let task = TrainingTask { training: self, plan, sources, vectors, histories, observer, recorder };
        run_on(device, task)?;
        Recommender::from_params(&self.settings, sources, scaled, self.best.clone())
    }

    fn run_on<B: TensorBackend>(
        &mut self,
        backend: &Arc<B>,
        network: &mut impl TrainedNetwork,
        plan: &NetworkPlan,
        histories: &Sequences,
        observer: &dyn Observer,
        recorder: &mut dyn TrainingRecorder,
    ) -> Result<()> {
        let settings = self.settings.clone();
        let pieces = pieces(histories, settings.hold_out.items(), settings.positions);
        let (most, an_item) = (settings.batch_tokens, plan.tokens_an_item);
        let per_epoch = |epoch: usize| batches(&pieces, an_item, most, settings.seed, epoch as u64);
        // Batches differ a little in number from epoch to epoch; the first stands for all in the rate's course.
        let total = (updates(&per_epoch(0), &settings) * settings.epochs) as u64;
        observer.event(Event::Phase { name: "train recommender", total: Some(total), unit: "steps" });
        while self.progress.epoch < settings.epochs && !self.progress.finished {
            let (begun, mut tokens) = (Instant::now(), 0usize);
            let batches = per_epoch(self.progress.epoch);
            let mut steps = self.progress.steps;
            for group in batches.chunks(settings.accumulate) {
                let group: Vec<Vec<&[u32]>> =
                    group.iter().map(|batch| batch.iter().map(|p| pieces[*p]).collect()).collect();
                let lengths: Vec<usize> =
                    group.iter().map(|batch| batch.iter().map(|piece| steps_of(piece, an_item)).sum()).collect();
                let of_update = lengths.iter().sum();
                let rate = settings.rate_at(steps, total);
                for (number, (batch, n)) in group.iter().zip(&lengths).enumerate() {
                    check_interrupt(observer)?;
                    let draw = steps * settings.accumulate as u64 + number as u64;
                    let masks = masks(&settings, &plan.shape, *n, draw);
                    let part = UpdatePart { tokens: of_update, first: number == 0, last: number + 1 == group.len() };
                    backend.together(|| network.step(&settings, batch, masks.as_deref(), part, (rate, steps + 1)))?;
                }
                steps += 1;
                tokens += of_update;
                observer.event(Event::Advance { done: steps.min(total) });
            }
            let loss = network.take_loss()? / updates(&batches, &settings).max(1) as f64;
            let tokens_per_second = tokens as f64 / begun.elapsed().as_secs_f64().max(1e-9);
            if !loss.is_finite() {
                return Err(Error::Data(format!(
                    "the loss is not finite in epoch {}: the training diverged; the last checkpoint is from before that. Lower `rate` \
                     ({}), or set `clip_norm`",
                    self.progress.epoch + 1,
                    settings.rate
                )));
            }
            self.progress.steps = steps;
            self.progress.epoch += 1;
            self.end_epoch(network, histories, loss, tokens_per_second, observer, recorder)?;
        }
        Ok(())
    }

    fn end_epoch(
        &mut self,
        network: &mut impl TrainedNetwork,
        histories: &Sequences,
        loss: f64,
        tokens_per_second: f64,
        observer: &dyn Observer,
        recorder: &mut dyn TrainingRecorder,
    ) -> Result<()> {
        let (settings, epoch) = (&self.settings, self.progress.epoch);
        let last = epoch == settings.epochs;
        let mut report = RecommenderEpoch { epoch, loss, validation_ndcg_at_10: None, best: false, tokens_per_second };
        self.params = network.read_params()?;
        if last || epoch.is_multiple_of(settings.validate_every) {
            let from_end = settings.hold_out.items() - 1;
            let asked = RankingRequest { histories, from_end, hide_seen: false };
            let reached = network.measure(settings, &asked, observer)?.all.ndcg_at_10;
            report.validation_ndcg_at_10 = Some(reached);
            if self.progress.best.is_none_or(|(_, best)| reached > best) {
                self.progress.best = Some((epoch, reached));
                self.progress.stale = 0;
                self.best.clone_from(&self.params);
                report.best = true;
            } else {
                self.progress.stale += 1;
            }
        }
        self.progress.finished = last || settings.patience.is_some_and(|p| self.progress.stale >= p);
        self.moments = network.read_moments()?;
        self.progress.epochs.push(report);
        recorder.epoch(&report)?;
        recorder.checkpoint(self)
    }
}

/// How many updates learn from these batches.
fn updates(batches: &[Vec<usize>], settings: &RecommenderSettings) -> usize {
    batches.len().div_ceil(settings.accumulate)
}

/// Dropout masks for `n` tokens, if there are any.
fn masks(settings: &RecommenderSettings, shape: &DecoderShape, n: usize, draw: u64) -> Option<Vec<u32>> {
    let words = mask_count(shape) * mask_bits(n, shape.dims) / 32;
    (settings.dropout > 0.0).then(|| mask_words(1.0 - settings.dropout, settings.seed, draw, words))
}

/// A training on whichever backend.
struct TrainingTask<'a> {
    training: &'a mut RecommenderTraining,
    plan: NetworkPlan,
    sources: &'a ItemSources,
    vectors: Option<&'a Matrix>,
    histories: &'a Sequences,
    observer: &'a dyn Observer,
    recorder: &'a mut dyn TrainingRecorder,
}

impl BackendTask for TrainingTask<'_> {
    type Output = Result<()>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Result<()> {
        let Self { training, plan, sources, vectors, histories, observer, recorder } = self;
        let (settings, params, moments) = (&training.settings, &training.params[..], &training.moments);
        match settings.prediction {
            Prediction::Items | Prediction::Levels => {
                let most = settings.batch_tokens;
                let mut network = Network::new(backend, settings, sources, vectors, params, most, Some(moments))?;
                training.run_on(backend, &mut network, &plan, histories, observer, recorder)
            }
            Prediction::Ordered => {
                let mut network = OrderedTraining::new(backend, settings, sources, vectors, params, moments)?;
                training.run_on(backend, &mut network, &plan, histories, observer, recorder)
            }
        }
    }
}

/// SHA-256 of everything that a training learns from: two of them are the same only if their items and histories are.
///
/// ```
/// use sememe::Sequences;
/// use sememe_recommend::{ItemSources, training_digest};
/// let sources = ItemSources { items: 3, identities: true, ..ItemSources::default() };
/// let of = |list: [u32; 2]| Ok::<_, sememe::Error>(training_digest(&sources, &Sequences::from_lists([list])?));
/// assert_ne!(of([0, 1])?, of([1, 0])?);
/// # Ok::<(), sememe::Error>(())
/// ```
#[must_use]
pub fn training_digest(sources: &ItemSources, histories: &Sequences) -> String {
    let mut digest = sememe::digest::PartDigest::new();
    digest.part(&(sources.items as u64).to_le_bytes());
    digest.part(&[u8::from(sources.identities), u8::from(sources.prefixes)]);
    let words = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    if let Some(codes) = &sources.codes {
        digest.part(&words(codes.as_slice()));
    }
    if let Some(vectors) = &sources.vectors {
        digest.part(&vectors.as_slice().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }
    histories.iter().for_each(|items| digest.part(&words(items)));
    digest.finish()
}
