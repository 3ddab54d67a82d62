//! Settings of a language model's fine-tuning.

use super::tuned::{TuneKind, TuneScope};
use crate::decoder::warmed_cosine;
use sememe::compute::tensor::Precision;
use sememe::{Error, Result};
use serde::{Deserialize, Serialize};

/// What of a language model fine-tuning changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learn {
    /// Everything.
    #[default]
    Full,
    /// A change of low rank to every matrix (LoRA, Hu et al. 2021), and the vectors of new tokens. It is added to the matrices in the
    /// end, so that the model has the form that it had.
    LowRank,
    /// The vectors of new tokens alone: the model stays as it was for all other texts.
    NewTokens,
}

/// How a language model is fine-tuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuningSettings {
    /// What is changed.
    pub learn: Learn,
    /// Rank of the changes of [`Learn::LowRank`].
    pub rank: usize,
    /// Factor of these changes, times their rank.
    pub alpha: f64,
    /// Tokens of the longest chat; longer ones are left out.
    pub context: usize,
    /// Tokens that pass through the model together.
    pub batch_tokens: usize,
    /// Passes whose gradients are one update.
    pub accumulate: usize,
    /// Passes over all chats.
    pub epochs: usize,
    /// Looks at the validation chats an epoch.
    pub looks: usize,
    /// Looks without a lower loss after which fine-tuning ends.
    pub patience: Option<usize>,
    /// Peak learning rate of AdamW; `None` is 5e-4 for all of a model, 1e-3 for changes of low rank, 1e-2 for new tokens.
    pub rate: Option<f64>,
    /// Share of all updates in which the rate rises to its peak; along half a cosine it falls to 0 afterwards.
    pub warmup: f64,
    /// Weight decay of the matrices, where all is learned.
    pub weight_decay: f64,
    /// Largest L2 norm of an update's gradient; `None` for any.
    pub clip_norm: Option<f64>,
    /// Arithmetic of matrix products.
    pub precision: Precision,
    /// Of every draw.
    pub seed: u64,
}

impl Default for TuningSettings {
    fn default() -> Self {
        Self {
            learn: Learn::Full,
            rank: 16,
            alpha: 32.0,
            context: 512,
            batch_tokens: 1024,
            accumulate: 1,
            epochs: 1,
            looks: 2,
            patience: None,
            rate: None,
            warmup: 0.05,
            weight_decay: 0.0,
            clip_norm: Some(1.0),
            precision: Precision::F32,
            seed: 0,
        }
    }
}

impl TuningSettings {
    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let whole = [
            ("rank", self.rank, 1, 4096),
            ("context", self.context, 2, 1 << 20),
            ("batch_tokens", self.batch_tokens, self.context, 1 << 20),
            ("accumulate", self.accumulate, 1, 1 << 20),
            ("epochs", self.epochs, 1, 1 << 20),
            ("looks", self.looks, 1, 1 << 20),
            ("patience", self.patience.unwrap_or(1), 1, 1 << 20),
        ];
        for (name, value, least, most) in whole {
            if value < least || value > most {
                let of = if name == "batch_tokens" { " (a chat of `context` tokens has to fit)" } else { "" };
                return Err(Error::config(name, format!("expected {least} to {most}{of}, got {value}")));
            }
        }
        if !(0.0..1.0).contains(&self.warmup) {
            return Err(Error::config("warmup", format!("expected a share in [0, 1), got {}", self.warmup)));
        }
        let positive =
            [("alpha", self.alpha), ("rate", self.peak_rate()), ("clip_norm", self.clip_norm.unwrap_or(1.0))];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::config(name, format!("expected a positive number, got {value}")));
            }
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(Error::config("weight_decay", format!("expected 0 or more, got {}", self.weight_decay)));
        }
        Ok(())
    }

    /// The peak learning rate.
    #[must_use]
    pub fn peak_rate(&self) -> f64 {
        self.rate.unwrap_or(match self.learn {
            Learn::Full => 5e-4,
            Learn::LowRank => 1e-3,
            Learn::NewTokens => 1e-2,
        })
    }

    /// Learning rate of update `step` (from 0) of `total`.
    #[must_use]
    pub fn rate_at(&self, step: u64, total: u64) -> f64 {
        warmed_cosine(self.peak_rate(), self.warmup, step, total)
    }

    pub(crate) fn scope(&self, first_new: usize) -> TuneScope {
        let kind = match self.learn {
            Learn::Full => TuneKind::Full,
            Learn::LowRank => TuneKind::LowRank { rank: self.rank, scale: (self.alpha / self.rank as f64) as f32 },
            Learn::NewTokens => TuneKind::NewTokens,
        };
        TuneScope { kind, first_new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_cannot_be_used_are_named_with_their_value() {
        let refused = |change: fn(&mut TuningSettings)| {
            let mut settings = TuningSettings::default();
            change(&mut settings);
            settings.validate().expect_err("refused").to_string()
        };
        TuningSettings::default().validate().expect("the defaults");
        assert!(refused(|s| s.batch_tokens = 100).contains("got 100"));
        assert!(refused(|s| s.rank = 0).contains("rank"));
        assert!(refused(|s| s.rate = Some(f64::NAN)).contains("got NaN"));
        assert!(refused(|s| s.alpha = -1.0).contains("got -1"));
        assert!(refused(|s| s.warmup = 1.0).contains("got 1"));
        assert!(refused(|s| s.looks = 0).contains("looks"));
    }
}
