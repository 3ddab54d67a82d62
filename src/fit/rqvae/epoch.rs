//! The end of an epoch: reports losses, measures the corpus, writes checkpoints and decides on early stopping.

use super::config::{CodebookUpdate, Commitment, Monitor, Reduction};
use super::data::TrainingData;
use super::health::CorpusMeasures;
use super::report::{CheckpointKind, Recorder};
use super::schedule::learning_rate;
use super::session::Session;
use super::trainer::RqVaeTrainer;
use crate::compute::tensor::TensorBackend;
use crate::error::{Error, Result};
use crate::progress::{EpochReport, Event, Health, Losses, Observer};

impl RqVaeTrainer {
    pub(super) fn not_finite(&self) -> Error {
        Error::Data(format!(
            "the loss is not finite at step {} (epoch {}): the training diverged; the last checkpoint is from before that. Lower \
             `optimizer.rate` ({}), or set `clip_norm`",
            self.progress.steps,
            self.progress.epoch + 1,
            self.config.optimizer.rate
        ))
    }

    /// Refuses to keep a state whose losses or gradients are not finite.
    pub(super) fn require_finite<B: TensorBackend>(&self, session: &Session<'_, B>) -> Result<()> {
        let mut terms = vec![0.0f32; session.layout.sizes.len() + super::session::EXTRA_LOSSES];
        session.at.backend.read_tensor(&session.losses, 0, &mut terms)?;
        if terms.iter().all(|v| v.is_finite()) { Ok(()) } else { Err(self.not_finite()) }
    }

    /// Means of the losses since the last call; they join the epoch's.
    pub(super) fn take_losses<B: TensorBackend>(&mut self, session: &mut Session<'_, B>) -> Result<Losses> {
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

    pub(super) fn losses(&self, sums: &[f64], steps: u64, dims: usize) -> Losses {
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

    /// Measures the corpus, keeps the best parameters, reports the epoch and writes checkpoints.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn end_epoch<B: TensorBackend>(
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
        recorder.checkpoint(CheckpointKind::Last, &|| self.to_bytes())?;
        if better {
            recorder.checkpoint(CheckpointKind::Best, &|| self.to_bytes())?;
        }
        if let Some(alarm) = look.as_ref().and_then(|l| l.health.alarm()) {
            observer.event(Event::Note(&format!("epoch {epoch}: {alarm}")));
            if config.stop_on_collapse {
                return Err(Error::Data(format!("stopped after epoch {epoch}: {alarm}")));
            }
        }
        let tired = self.out_of_patience();
        if tired && !last {
            observer.event(Event::Note(&format!(
                "no better epoch than {} within {}: training ends",
                self.best_epoch().unwrap_or(0),
                self.progress.stale
            )));
        }
        Ok(())
    }

    pub(super) fn look<B: TensorBackend>(
        &self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        depths: bool,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<CorpusMeasures> {
        session.look(&data.corpus(), &data.training, &data.validation, depths, x, observer)
    }

    /// Whether the monitored measure has not improved for as long as patience lasts.
    pub(super) fn out_of_patience(&self) -> bool {
        self.config.patience.is_some_and(|patience| self.progress.stale >= patience as u64)
    }

    /// The monitored measures in order of priority; larger is better.
    pub(super) fn measure(&self, health: &Health) -> Vec<f64> {
        match self.config.monitor {
            Monitor::R2 => vec![health.r2],
            Monitor::ValidationR2 => vec![health.validation_r2.unwrap_or(f64::NEG_INFINITY)],
            Monitor::CollisionRate => vec![-health.collision_rate, health.r2],
        }
    }

    pub(super) fn improves(&self, health: &Health) -> bool {
        let new = self.measure(health);
        match &self.progress.best {
            None => true,
            Some((_, old)) => new.partial_cmp(old) == Some(std::cmp::Ordering::Greater),
        }
    }

    /// Back to the best epoch, with a look at every depth.
    pub(super) fn finish_training<B: TensorBackend>(
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
        recorder.checkpoint(CheckpointKind::Last, &|| self.to_bytes())
    }
}
