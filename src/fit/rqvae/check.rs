//! Validation of the RQ-VAE settings; every error names the field.

use super::config::*;
use crate::error::{Error, Result};

/// Widest layer and longest code vector.
const MOST_WIDTH: usize = 1 << 16;

/// Scores of a batch at most, 4 GiB.
const MOST_SCORES: u64 = 1 << 30;
/// Weights and codewords at most: an optimiser keeps four values for each.
const MOST_PARAMETERS: u64 = 1 << 31;

fn refuse(field: &str, problem: impl Into<String>) -> Result<()> {
    Err(Error::config(field, problem))
}

fn share(field: &str, value: f64, closed: bool) -> Result<()> {
    let fits = value >= 0.0 && if closed { value <= 1.0 } else { value < 1.0 };
    let end = if closed { ']' } else { ')' };
    if fits { Ok(()) } else { refuse(field, format!("expected a share in [0, 1{end}, got {value}")) }
}

fn positive(field: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        refuse(field, format!("expected a number above 0, got {value}"))
    }
}

fn weight(field: &str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        refuse(field, format!("expected a number of at least 0, got {value}"))
    }
}

fn at_least_one(field: &str, value: usize) -> Result<()> {
    if value > 0 { Ok(()) } else { refuse(field, "expected at least 1, got 0") }
}

impl RqVae {
    /// Refuses settings that cannot be used, before any data is read.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name, what is wrong and what would be right.
    pub fn validate(&self) -> Result<()> {
        self.validate_network()?;
        self.validate_quantiser()?;
        self.validate_losses()?;
        self.validate_training()?;
        self.preprocess.validate()
    }

    fn validate_network(&self) -> Result<()> {
        let decoder = self.decoder_hidden.clone().unwrap_or_default();
        for (field, widths) in [("hidden", &self.hidden), ("decoder_hidden", &decoder)] {
            if widths.len() > 32 {
                refuse(field, format!("expected at most 32 hidden layers, got {}", widths.len()))?;
            }
            if let Some((i, width)) = widths.iter().enumerate().find(|(_, w)| **w == 0 || **w > MOST_WIDTH) {
                refuse(&format!("{field}.{i}"), format!("expected a width of 1 to {MOST_WIDTH}, got {width}"))?;
            }
        }
        if self.code_dims == 0 || self.code_dims > MOST_WIDTH {
            refuse("code_dims", format!("expected 1 to {MOST_WIDTH} values, got {}", self.code_dims))?;
        }
        // Inputs come with the rows; what is between is known here.
        let widths = [&self.hidden[..], &[self.code_dims], &self.decoder_widths()].concat();
        let between = widths.windows(2).map(|w| w[0] as u64 * w[1] as u64);
        let codewords = self.codebook_sizes.iter().map(|k| (*k as u64).saturating_mul(self.code_dims as u64));
        let parameters = between.chain(codewords).fold(0u64, u64::saturating_add);
        if parameters > MOST_PARAMETERS {
            let problem = format!("expected at most {MOST_PARAMETERS} weights and codeword values, got {parameters}");
            refuse("hidden", problem)?;
        }
        at_least_one("pca_dims", self.pca_dims)?;
        if self.init == NetworkInit::Pca && self.layer_norm {
            let problem = "a start from PCA needs layers that can be linear; use `he` (or another) with `layer_norm`";
            refuse("init", problem)?;
        }
        share("dropout", self.dropout, false)
    }

    fn validate_quantiser(&self) -> Result<()> {
        let (levels, sizes) = (self.codebook_sizes.len(), &self.codebook_sizes);
        if levels == 0 || levels > 64 {
            refuse("codebook_sizes", format!("expected 1 to 64 levels, got {levels}"))?;
        }
        if let Some((l, size)) = sizes.iter().enumerate().find(|(_, k)| **k == 0 || **k > 1 << 20) {
            refuse(&format!("codebook_sizes.{l}"), format!("expected 1 to {} codewords, got {size}", 1 << 20))?;
        }
        if self.shared_codebook && sizes.iter().any(|k| *k != sizes[0]) {
            refuse("shared_codebook", format!("expected one size for all levels, got {sizes:?}"))?;
        }
        match self.start {
            CodebookStart::KMeans { iterations, rows } => {
                at_least_one("start.iterations", iterations)?;
                let most = sizes.iter().max().copied().unwrap_or(0);
                if rows < most {
                    let problem = format!("expected at least the {most} codewords of the largest level, got {rows}");
                    refuse("start.rows", problem)?;
                }
            }
            CodebookStart::Rows | CodebookStart::Uniform => {}
        }
        if let Estimator::Gumbel { from, to } = self.estimator {
            positive("estimator.from", from)?;
            positive("estimator.to", to)?;
            if self.codebook != CodebookUpdate::Gradient {
                refuse("codebook", "Gumbel-softmax mixes codewords, so they learn by `gradient`")?;
            }
            if self.sinkhorn.is_some() {
                refuse("sinkhorn", "Gumbel-softmax has no labels to balance; leave one of them out")?;
            }
        }
        match self.codebook {
            CodebookUpdate::Gradient => {}
            CodebookUpdate::Ema { decay, epsilon } => {
                share("codebook.decay", decay, false)?;
                positive("codebook.epsilon", epsilon)?;
            }
            CodebookUpdate::KMeans { iterations, every, balance, .. } => {
                at_least_one("codebook.iterations", iterations)?;
                at_least_one("codebook.every", every)?;
                if let Some(epsilon) = balance {
                    positive("codebook.balance", epsilon)?;
                }
                if self.restart.is_some() {
                    refuse(
                        "restart",
                        "codebooks by k-means move codewords without rows themselves; leave one of them out",
                    )?;
                }
            }
        }
        if self.sinkhorn.is_some() || matches!(self.estimator, Estimator::Gumbel { .. }) {
            let most = sizes.iter().max().copied().unwrap_or(0);
            let values = (self.batch_rows as u64).saturating_mul(most as u64);
            if values > MOST_SCORES {
                let problem = format!(
                    "Sinkhorn and Gumbel-softmax keep a score of every row of a batch with every codeword, {} GiB for {} rows and {most} \
                     codewords; at most {} rows",
                    values.saturating_mul(4) >> 30,
                    self.batch_rows,
                    MOST_SCORES / most.max(1) as u64
                );
                refuse("batch_rows", problem)?;
            }
        }
        share("quantize_dropout", self.quantize_dropout, false)?;
        if let Some(restart) = &self.restart {
            share("restart.threshold", restart.threshold, true)?;
            share("restart.until", restart.until, true)?;
            if restart.interval_steps == Some(0) {
                refuse("restart.interval_steps", "expected at least 1, got 0")?;
            }
        }
        if let Some(sinkhorn) = &self.sinkhorn {
            positive("sinkhorn.epsilon", sinkhorn.epsilon)?;
            at_least_one("sinkhorn.iterations", sinkhorn.iterations)?;
            if let Some(level) = sinkhorn.levels.iter().flatten().find(|l| **l >= levels) {
                refuse("sinkhorn.levels", format!("level {level} of {levels}; levels count from 0"))?;
            }
        }
        Ok(())
    }

    fn validate_losses(&self) -> Result<()> {
        weight("quantizer_weight", self.quantizer_weight)?;
        weight("commitment_weight", self.commitment_weight)?;
        if let Some(diversity) = &self.diversity {
            weight("diversity.weight", diversity.weight)?;
            at_least_one("diversity.clusters", diversity.clusters)?;
            positive("diversity.temperature", diversity.temperature)?;
            if self.codebook != CodebookUpdate::Gradient {
                refuse("diversity", "the diversity loss acts on codewords that learn by `gradient`")?;
            }
        }
        if let Some(alignment) = &self.alignment {
            weight("alignment.weight", alignment.weight)?;
            positive("alignment.temperature", alignment.temperature)?;
        }
        if let Some(repulsion) = &self.repulsion {
            weight("repulsion.weight", repulsion.weight)?;
        }
        if (self.alignment.is_some() || self.repulsion.is_some()) && self.batch_rows > 8192 {
            let problem = format!(
                "`alignment` and `repulsion` compare all rows of a batch with each other: expected at most 8192, got {}",
                self.batch_rows
            );
            refuse("batch_rows", problem)?;
        }
        Ok(())
    }

    fn validate_training(&self) -> Result<()> {
        positive("optimizer.rate", self.optimizer.rate)?;
        positive("optimizer.decoder_factor", self.optimizer.decoder_factor)?;
        weight("optimizer.decay", self.optimizer.decay)?;
        share("optimizer.beta1", self.optimizer.beta1, false)?;
        share("optimizer.beta2", self.optimizer.beta2, false)?;
        positive("optimizer.epsilon", self.optimizer.epsilon)?;
        share("optimizer.momentum", self.optimizer.momentum, false)?;
        share("schedule.least", self.schedule.least, true)?;
        if let Some(norm) = self.clip_norm {
            positive("clip_norm", norm)?;
        }
        at_least_one("batch_rows", self.batch_rows)?;
        if self.batch_rows > 1 << 20 {
            refuse("batch_rows", format!("expected at most {}, got {}", 1 << 20, self.batch_rows))?;
        }
        at_least_one("epochs", self.epochs)?;
        share("validation", self.validation, false)?;
        if self.monitor == Monitor::ValidationR2 && self.validation == 0.0 {
            refuse("monitor", "`validation-r2` needs rows that are kept out; set `validation`")?;
        }
        at_least_one("health_every", self.health_every)?;
        at_least_one("log_every", self.log_every)?;
        if self.patience == Some(0) {
            refuse("patience", "expected at least 1 epoch, got 0")?;
        }
        if self.checkpoint_steps == Some(0) {
            refuse("checkpoint_steps", "expected at least 1, got 0")?;
        }
        if self.max_training_rows == Some(0) {
            refuse("max_training_rows", "expected at least 1, got 0")?;
        }
        Ok(())
    }
}
