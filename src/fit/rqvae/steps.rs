//! The loop over epochs and steps.

use std::time::Instant;

use super::config::{CodebookUpdate, RqVae};
use super::data::TrainingData;
use super::layout::ParameterLayout;
use super::report::{CheckpointKind, Recorder};
use super::schedule::{learning_rate, temperature};
use super::session::{Dropout, Session, mask_bits};
use super::step::StepInput;
use super::trainer::RqVaeTrainer;
use crate::compute::tensor::{TensorBackend, from};
use crate::error::Result;
use crate::progress::{Event, Observer, StepReport, check};
use crate::rng::stream;

/// Values of a window of batches that are sent to the device together.
const WINDOW_VALUES: usize = 1 << 22;
/// And the most batches it holds.
const WINDOW_STEPS: usize = 16;

impl RqVaeTrainer {
    pub(super) fn epochs_on<B: TensorBackend>(
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
        while self.progress.epoch < config.epochs as u64 && !self.out_of_patience() {
            let epoch = self.progress.epoch;
            // Once begun, quantising goes on, also where the training was lengthened since.
            let quantised = epoch >= config.epochs_before_codebooks() || self.progress.codebook_steps.is_some();
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

    pub(super) fn start_codebooks<B: TensorBackend>(
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
    pub(super) fn refit_codebooks<B: TensorBackend>(
        &mut self,
        session: &mut Session<'_, B>,
        data: &TrainingData,
        x: &mut B::Tensor,
        observer: &dyn Observer,
    ) -> Result<()> {
        let CodebookUpdate::KMeans { iterations, every, settle, balance } = self.config.codebook else { return Ok(()) };
        let epoch = self.progress.epoch;
        let begun = self.progress.codebook_steps.is_some_and(|steps| steps > 0);
        let due = epoch.saturating_sub(self.config.epochs_before_codebooks()).is_multiple_of(every as u64);
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
    pub(super) fn levels_of_step(&self, layout: &ParameterLayout, quantised: bool) -> usize {
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
    pub(super) fn noise(&self, layout: &ParameterLayout, n: usize, levels: usize) -> Vec<Vec<f32>> {
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

    pub(super) fn after_step<B: TensorBackend>(
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
            recorder.checkpoint(CheckpointKind::Last, &|| self.to_bytes())?;
        }
        Ok(())
    }
}

/// The training rows in the order of an epoch.
fn shuffled(rows: &[u32], seed: u64, epoch: u64) -> Vec<u32> {
    let mut order = rows.to_vec();
    stream(seed, "rqvae.order", epoch).shuffle(&mut order);
    order
}

/// Bits of a full batch's masks.
fn dropout_bits(layout: &ParameterLayout, rows: usize) -> usize {
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
