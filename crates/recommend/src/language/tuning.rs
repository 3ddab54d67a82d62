//! Fine-tuning: updates, looks at the validation chats, early stopping, and a state that can be saved after any update.

use std::sync::Arc;
use std::time::Instant;

use super::chat_batches::{ChatTokens, batches};
use super::model::LanguageModel;
use super::network::{LanguageNetwork, TokenBatch};
use super::shape::LanguageShape;
use super::tuned::{TuningStart, initial};
use super::tuning_settings::{Learn, TuningSettings};
use crate::decoder::{AdamStep, Moments};
use sememe::compute::tensor::TensorBackend;
use sememe::compute::{BackendTask, run_on};
use sememe::digest::PartDigest;
use sememe::progress::{Event, Observer, check as check_interrupt};
use sememe::rng::stream;
use sememe::{Device, Error, Result};
use serde::{Deserialize, Serialize};

/// What a fine-tuning starts from and learns from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TuningInput<'a> {
    pub shape: &'a LanguageShape,
    pub params: &'a [f32],
    /// The first token that the model did not know before.
    pub first_new: usize,
    pub training: &'a [ChatTokens],
    pub validation: &'a [ChatTokens],
}

/// An update that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuningUpdate {
    /// Updates so far, this one included, and all that there will be.
    pub update: u64,
    /// All that there will be, unless fine-tuning ends early.
    pub total: u64,
    /// Mean cross-entropy of the tokens that are learned, in nats, before the update.
    pub loss: f64,
    /// L2 norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Tokens that passed through the model, a second.
    pub tokens_per_second: f64,
}

/// A look at the validation chats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TuningLook {
    /// Updates before it.
    pub update: u64,
    /// Mean loss of the updates since the last look.
    pub loss: f64,
    /// Mean cross-entropy of the tokens that the model should say in the validation chats, in nats; `None` without such chats.
    pub validation_loss: Option<f64>,
    /// Whether it is the lowest so far.
    pub best: bool,
}

/// What a fine-tuning says while it goes on, and is given to keep.
pub trait TuningRecorder {
    /// An update was made.
    ///
    /// # Errors
    /// An error stops the fine-tuning, which then stands after this update.
    fn update(&mut self, _update: &TuningUpdate) -> Result<()> {
        Ok(())
    }

    /// The validation chats were looked at.
    ///
    /// # Errors
    /// An error stops the fine-tuning.
    fn look(&mut self, _look: &TuningLook) -> Result<()> {
        Ok(())
    }

    /// Whether [`checkpoint`](Self::checkpoint) should be called now, after an update. It is at the end, and at a stop, in any case.
    fn due(&mut self) -> bool {
        false
    }

    /// The fine-tuning as it is now.
    ///
    /// # Errors
    /// An error stops the fine-tuning.
    fn checkpoint(&mut self, _tuning: &LanguageTuning) -> Result<()> {
        Ok(())
    }
}

impl TuningRecorder for () {}

/// Counters between updates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TuningProgress {
    pub epoch: usize,
    /// Updates of this epoch that are done.
    pub done: usize,
    pub updates: u64,
    /// Sum of losses, and tokens that they are of, since the last look.
    pub loss: f64,
    pub asked: u64,
    /// The lowest validation loss.
    pub best: Option<f64>,
    /// Looks since then.
    pub stale: usize,
    /// Whether the validation chats are to be looked at before the next update.
    pub look_due: bool,
    pub finished: bool,
    pub looks: Vec<TuningLook>,
}

/// The fine-tuning of a language model. It can stop after any update, be saved, and go on to the same bits.
#[derive(Clone, PartialEq)]
pub struct LanguageTuning {
    pub(crate) settings: TuningSettings,
    pub(crate) progress: TuningProgress,
    /// Of the model and the chats that it began with.
    pub(crate) fingerprint: Option<String>,
    pub(crate) trained: Vec<f32>,
    pub(crate) moments: Moments,
    /// What was learned at the best look; empty before the first, and without validation chats.
    pub(crate) best: Vec<f32>,
}

impl std::fmt::Debug for LanguageTuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageTuning")
            .field("learned", &self.trained.len())
            .field("settings", &self.settings)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl LanguageTuning {
    /// A fine-tuning that has not begun.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(settings: TuningSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self {
            settings,
            progress: TuningProgress::default(),
            fingerprint: None,
            trained: Vec::new(),
            moments: Moments::default(),
            best: Vec::new(),
        })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &TuningSettings {
        &self.settings
    }

    /// The looks so far.
    #[must_use]
    pub fn looks(&self) -> &[TuningLook] {
        &self.progress.looks
    }

    /// Updates so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.progress.updates
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress.finished
    }

    /// Learns until the end, or until the observer asks to stop: then [`Error::Interrupted`], after a last checkpoint. Tokens from
    /// `first_new` on are new ones, as [`LanguageModel::add_tokens`] gave them. Returns the model of the best look, or the last one
    /// without validation chats. O(tokens·parameters) an epoch.
    ///
    /// # Errors
    /// Chats that do not fit the model or the settings; another model or other chats than a resumed fine-tuning began with; a loss that
    /// is not finite; device errors.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &mut self,
        mut model: LanguageModel,
        first_new: u32,
        training: &[ChatTokens],
        validation: &[ChatTokens],
        device: &Device,
        observer: &dyn Observer,
        recorder: &mut dyn TuningRecorder,
    ) -> Result<LanguageModel> {
        let (shape, params, first_new) = (model.shape(), model.params(), first_new as usize);
        let input = TuningInput { shape, params, first_new, training, validation };
        let learned = self.learn(&input, device, observer, recorder)?;
        model.set_params(learned)?;
        Ok(model)
    }

    /// Learns until the end, and returns the model's parameters.
    pub(crate) fn learn(
        &mut self,
        input: &TuningInput<'_>,
        device: &Device,
        observer: &dyn Observer,
        recorder: &mut dyn TuningRecorder,
    ) -> Result<Vec<f32>> {
        self.check(input)?;
        let fingerprint = fingerprint(input);
        match &self.fingerprint {
            Some(begun) if *begun != fingerprint => {
                let problem = "the fine-tuning began with another model or other chats; give the same, or start anew";
                return Err(Error::Data(problem.into()));
            }
            _ => self.fingerprint = Some(fingerprint),
        }
        let scope = self.settings.scope(input.first_new);
        if self.trained.is_empty() {
            let mut random = stream(self.settings.seed, "language.tuning", 0);
            self.trained = initial(input.shape, &scope, input.params, &mut random);
            self.moments = Moments::zeros(self.trained.len());
        }
        let wanted = super::tuned::TunedLayout::new(input.shape, &scope).end;
        sememe::check_shape("parameters", wanted, self.trained.len(), "the fine-tuning that is resumed")?;
        run_on(device, TuningTask { tuning: self, input, observer, recorder })
    }

    /// Refuses what cannot be learned from.
    fn check(&self, input: &TuningInput<'_>) -> Result<()> {
        let (settings, vocabulary) = (&self.settings, input.shape.vocabulary);
        if settings.context > input.shape.decoder.positions {
            let problem =
                format!("the model reads {} tokens at most, got {}", input.shape.decoder.positions, settings.context);
            return Err(Error::config("context", problem));
        }
        if input.first_new >= vocabulary && settings.learn == Learn::NewTokens {
            return Err(Error::config("learn", "there are no new tokens to learn"));
        }
        if input.training.is_empty() {
            return Err(Error::Data("there is no chat to learn from".into()));
        }
        for (kind, chats) in [("training", input.training), ("validation", input.validation)] {
            for (number, chat) in chats.iter().enumerate() {
                chat.check(settings.context, vocabulary)
                    .map_err(|problem| Error::Data(format!("{kind} chat {number}: {problem}")))?;
            }
        }
        Ok(())
    }

    fn run_on<B: TensorBackend>(
        &mut self,
        backend: &B,
        input: &TuningInput<'_>,
        observer: &dyn Observer,
        recorder: &mut dyn TuningRecorder,
    ) -> Result<Vec<f32>> {
        let (settings, scope) = (self.settings.clone(), self.settings.scope(input.first_new));
        let start = TuningStart { scope, trained: &self.trained, moments: &self.moments };
        let most = settings.batch_tokens;
        let mut network =
            LanguageNetwork::new(backend, input.shape, settings.precision, input.params, most, Some(&start))?;
        // Batches differ a little in number from epoch to epoch; the first stands for all in the rate's course.
        let per_epoch = batches(input.training, most, Some((settings.seed, 0))).len().div_ceil(settings.accumulate);
        let total = (per_epoch * settings.epochs) as u64;
        observer.event(Event::Phase { name: "fine-tune", total: Some(total), unit: "updates" });
        while self.progress.epoch < settings.epochs && !self.progress.finished {
            let batches = batches(input.training, most, Some((settings.seed, self.progress.epoch as u64)));
            let updates: Vec<&[Vec<usize>]> = batches.chunks(settings.accumulate).collect();
            while self.progress.look_due || self.progress.done < updates.len() {
                let advanced = self.advance(&mut network, input, &updates, total, observer, recorder);
                if matches!(advanced, Err(Error::Interrupted(_))) || (advanced.is_ok() && recorder.due()) {
                    self.keep(&network)?;
                    recorder.checkpoint(self)?;
                }
                advanced?;
                if self.progress.finished {
                    break;
                }
            }
            self.progress.epoch += 1;
            self.progress.done = 0;
        }
        self.progress.finished = true;
        self.keep(&network)?;
        recorder.checkpoint(self)?;
        if self.best.is_empty() {
            return network.read_params();
        }
        drop(network);
        // The model with what was learned at the best look.
        let start = TuningStart { scope, trained: &self.best, moments: &self.moments };
        LanguageNetwork::new(backend, input.shape, settings.precision, input.params, 1, Some(&start))?.read_params()
    }

    /// One update, or a look that is due: nothing of it is done if it is interrupted.
    fn advance<B: TensorBackend>(
        &mut self,
        network: &mut LanguageNetwork<'_, B>,
        input: &TuningInput<'_>,
        updates: &[&[Vec<usize>]],
        total: u64,
        observer: &dyn Observer,
        recorder: &mut dyn TuningRecorder,
    ) -> Result<()> {
        check_interrupt(observer)?;
        if self.progress.look_due {
            return self.look(network, input, observer, recorder);
        }
        let update = self.update(network, input, updates[self.progress.done], total)?;
        self.progress.look_due = (self.progress.done * self.settings.looks) % updates.len() < self.settings.looks;
        observer.event(Event::Advance { done: self.progress.updates.min(total) });
        recorder.update(&update)
    }

    /// One update from some batches.
    fn update<B: TensorBackend>(
        &mut self,
        network: &mut LanguageNetwork<'_, B>,
        input: &TuningInput<'_>,
        chunk: &[Vec<usize>],
        total: u64,
    ) -> Result<TuningUpdate> {
        let begun = Instant::now();
        let packed: Vec<TokenBatch> = chunk.iter().map(|batch| TokenBatch::of(input.training, batch)).collect();
        let asked: usize = packed.iter().map(|b| b.asked.len()).sum();
        let tokens: usize = packed.iter().map(|b| b.tokens.len()).sum();
        for (number, batch) in packed.iter().enumerate() {
            network.gradients(batch, asked, number > 0)?;
        }
        let TuningSettings { weight_decay, clip_norm, .. } = self.settings;
        let rate = self.settings.rate_at(self.progress.updates, total);
        network.update(&AdamStep { rate, weight_decay, clip_norm, time: self.progress.updates + 1 })?;
        let (loss, norm) = (network.take_loss()?, network.squared_norm()?.sqrt());
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(Error::Data(format!(
                "the loss is {} and the gradient's norm {norm} in update {}: the fine-tuning diverged; the last checkpoint is from \
                 before that. Lower `rate` ({}), or set `clip_norm`",
                loss / asked.max(1) as f64,
                self.progress.updates + 1,
                self.settings.peak_rate()
            )));
        }
        self.progress.updates += 1;
        self.progress.done += 1;
        self.progress.loss += loss;
        self.progress.asked += asked as u64;
        Ok(TuningUpdate {
            update: self.progress.updates,
            total,
            loss: loss / asked.max(1) as f64,
            gradient_norm: norm,
            rate,
            tokens_per_second: tokens as f64 / begun.elapsed().as_secs_f64().max(1e-9),
        })
    }

    /// Looks at the validation chats.
    fn look<B: TensorBackend>(
        &mut self,
        network: &mut LanguageNetwork<'_, B>,
        input: &TuningInput<'_>,
        observer: &dyn Observer,
        recorder: &mut dyn TuningRecorder,
    ) -> Result<()> {
        let mut asked = 0usize;
        for batch in batches(input.validation, self.settings.batch_tokens, None) {
            check_interrupt(observer)?;
            let batch = TokenBatch::of(input.validation, &batch);
            asked += batch.asked.len();
            network.measure(&batch)?;
        }
        self.progress.look_due = false;
        let reached = if asked > 0 { Some(network.take_loss()? / asked as f64) } else { None };
        let best = reached.is_some_and(|loss| self.progress.best.is_none_or(|best| loss < best));
        let loss = self.progress.loss / self.progress.asked.max(1) as f64;
        let look = TuningLook { update: self.progress.updates, loss, validation_loss: reached, best };
        (self.progress.loss, self.progress.asked) = (0.0, 0);
        if best {
            (self.progress.best, self.progress.stale) = (reached, 0);
            self.best = network.read_trained()?.0;
        } else if reached.is_some() {
            self.progress.stale += 1;
        }
        self.progress.finished = reached.is_some() && self.settings.patience.is_some_and(|p| self.progress.stale >= p);
        self.progress.looks.push(look);
        recorder.look(&look)
    }

    /// Reads what is learned from the device.
    fn keep<B: TensorBackend>(&mut self, network: &LanguageNetwork<'_, B>) -> Result<()> {
        (self.trained, self.moments) = network.read_trained()?;
        Ok(())
    }
}

/// Fine-tunes on whichever backend.
struct TuningTask<'a> {
    tuning: &'a mut LanguageTuning,
    input: &'a TuningInput<'a>,
    observer: &'a dyn Observer,
    recorder: &'a mut dyn TuningRecorder,
}

impl BackendTask for TuningTask<'_> {
    type Output = Result<Vec<f32>>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let backend = &**backend;
        self.tuning.run_on(backend, self.input, self.observer, self.recorder)
    }
}

/// Of everything that a fine-tuning starts from and learns from.
fn fingerprint(input: &TuningInput<'_>) -> String {
    let mut digest = PartDigest::new();
    digest.part(format!("{:?} {}", input.shape, input.first_new).as_bytes());
    for block in input.params.chunks(1 << 16) {
        digest.part(&block.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }
    for chats in [input.training, input.validation] {
        digest.part(&(chats.len() as u64).to_le_bytes());
        for chat in chats {
            let words = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            digest.part(&words(&chat.tokens));
            digest.part(&words(&chat.learned));
        }
    }
    digest.finish()
}
