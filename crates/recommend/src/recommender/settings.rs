//! Settings of a recommender's training.

use super::history::HoldOut;
use crate::decoder::{DecoderShape, warmed_cosine};
use sememe::compute::tensor::Precision;
use sememe::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a recommender predicts, and so how it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The next item among all items at once: an item is one token, and all of them are scored.
    #[default]
    Items,
    /// The codes of the next item's ID, one after another, each from all before it: a code is one token, and IDs are searched for
    /// (Rajput et al. 2023).
    Ordered,
    /// All codes of the next item's ID at once, one head a level: an item is one token, and all items are scored by the sum of their codes'
    /// log-probabilities (Hou et al. 2025). For long IDs whose codes have no order.
    Levels,
}

/// How a recommender is built and trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecommenderSettings {
    /// What is predicted.
    pub prediction: Prediction,
    /// Values a token.
    pub dims: usize,
    /// Blocks of the decoder.
    pub layers: usize,
    /// Heads of its attention.
    pub heads: usize,
    /// Values of its feed-forward layers; `None` is three times `dims`.
    pub feed_forward: Option<usize>,
    /// The latest items of a history that it reads.
    pub positions: usize,
    /// Share of values that training leaves out.
    pub dropout: f64,
    /// Share of each target that is spread over all items; over all codes of its level where codes are predicted.
    pub smoothing: f64,
    /// Steps of histories that are taken to the device at a time: items, or codes in ordered prediction.
    pub batch_tokens: usize,
    /// Batches that one update learns from: their gradients are added up, which takes less memory than one batch as large.
    pub accumulate: usize,
    /// Passes over all histories, at most.
    pub epochs: usize,
    /// Epochs from one look at the validation items to the next.
    pub validate_every: usize,
    /// Looks without a better NDCG@10 after which training ends.
    pub patience: Option<usize>,
    /// Peak learning rate of AdamW.
    pub rate: f64,
    /// Share of all steps in which the rate rises to its peak; along half a cosine it falls to 0 afterwards.
    pub warmup: f64,
    /// Weight decay of the matrices.
    pub weight_decay: f64,
    /// Largest L2 norm of a step's gradient; `None` for any.
    pub clip_norm: Option<f64>,
    /// Standard deviation of the items' vectors at the start.
    pub item_deviation: f64,
    /// Arithmetic of matrix products.
    pub precision: Precision,
    /// Which items of a user are kept from training.
    pub hold_out: HoldOut,
    /// Of every draw.
    pub seed: u64,
}

impl Default for RecommenderSettings {
    fn default() -> Self {
        Self {
            prediction: Prediction::Items,
            dims: 128,
            layers: 2,
            heads: 2,
            feed_forward: None,
            positions: 50,
            dropout: 0.4,
            smoothing: 0.0,
            batch_tokens: 2048,
            accumulate: 1,
            epochs: 24,
            validate_every: 1,
            patience: Some(4),
            rate: 2e-3,
            warmup: 0.1,
            weight_decay: 1e-4,
            clip_norm: None,
            item_deviation: 0.02,
            precision: Precision::F32,
            hold_out: HoldOut::Test,
            seed: 0,
        }
    }
}

impl RecommenderSettings {
    /// The decoder that they describe.
    #[must_use]
    pub fn shape(&self) -> DecoderShape {
        let small = DecoderShape::small(self.dims, self.layers, self.heads, self.positions);
        DecoderShape { feed_forward: self.feed_forward.unwrap_or(small.feed_forward), ..small }
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that cannot be used.
    pub fn validate(&self) -> Result<()> {
        if self.heads == 0 || !self.dims.is_multiple_of(self.heads) {
            let problem = format!("expected a divisor of `dims` ({}), got {}", self.dims, self.heads);
            return Err(Error::config("heads", problem));
        }
        self.shape().validate()?;
        let whole = [
            ("batch_tokens", self.batch_tokens, self.positions, 1 << 20),
            ("accumulate", self.accumulate, 1, 1 << 20),
            ("epochs", self.epochs, 1, 1 << 20),
            ("validate_every", self.validate_every, 1, 1 << 20),
            ("patience", self.patience.unwrap_or(1), 1, 1 << 20),
        ];
        for (name, value, least, most) in whole {
            if value < least || value > most {
                let of = if name == "batch_tokens" { " (a history of `positions` items has to fit)" } else { "" };
                return Err(Error::config(name, format!("expected {least} to {most}{of}, got {value}")));
            }
        }
        for (name, value) in [("dropout", self.dropout), ("smoothing", self.smoothing), ("warmup", self.warmup)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config(name, format!("expected a share in [0, 1), got {value}")));
            }
        }
        let positive = [
            ("rate", self.rate),
            ("item_deviation", self.item_deviation),
            ("clip_norm", self.clip_norm.unwrap_or(1.0)),
        ];
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

    /// Learning rate of step `step` (from 0) of `total`.
    #[must_use]
    pub fn rate_at(&self, step: u64, total: u64) -> f64 {
        warmed_cosine(self.rate, self.warmup, step, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_cannot_be_used_are_named_with_their_value() {
        let refused = |change: fn(&mut RecommenderSettings)| {
            let mut settings = RecommenderSettings::default();
            change(&mut settings);
            settings.validate().expect_err("refused").to_string()
        };
        RecommenderSettings::default().validate().expect("the defaults");
        assert!(refused(|s| s.heads = 3).contains("`dims` (128), got 3"));
        assert!(refused(|s| s.heads = 0).contains("got 0"));
        assert!(refused(|s| s.dims = usize::MAX - 1).contains("dims"));
        assert!(refused(|s| s.positions = usize::MAX).contains("positions"));
        assert!(refused(|s| s.batch_tokens = 49).contains("got 49"));
        assert!(refused(|s| s.accumulate = 0).contains("accumulate"));
        assert!(refused(|s| s.dropout = 1.0).contains("share in [0, 1), got 1"));
        assert!(refused(|s| s.rate = f64::NAN).contains("got NaN"));
        assert!(refused(|s| s.weight_decay = -1.0).contains("got -1"));
        assert!(refused(|s| s.patience = Some(0)).contains("patience"));
        assert!(refused(|s| s.epochs = 0).contains("epochs"));
    }

    #[test]
    fn the_rate_rises_and_falls_to_nothing() {
        let settings = RecommenderSettings { rate: 1.0, warmup: 0.1, ..RecommenderSettings::default() };
        assert!((settings.rate_at(0, 100) - 0.1).abs() < 1e-12);
        assert!((settings.rate_at(9, 100) - 1.0).abs() < 1e-12);
        assert!((settings.rate_at(54, 100) - 0.5).abs() < 1e-12);
        assert!(settings.rate_at(99, 100) < 1e-12);
        assert!(settings.rate_at(0, 1) > 0.0);
    }
}
