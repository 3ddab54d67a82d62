//! `[recommend]`: what a recommender learns from, what items are told apart by, and how it is built and trained.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use sememe::io::EventFields;
use sememe::{Error, Result};
use sememe_recommend::{HoldOut, Precision, Prediction, RecommenderSettings};

/// What becomes of events that name no item of the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownEvents {
    /// The file is refused.
    #[default]
    Refuse,
    /// They are left out and counted.
    Drop,
}

/// A recommender over the run's IDs. The names are those of the program's `recommend train`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recommend {
    /// What users did, as [`read_events`](sememe::io::read_events) reads it; items by their keys.
    pub interactions: PathBuf,
    /// What the fields of events are called, where that is not usual.
    pub event_fields: EventFields,
    /// What becomes of events of unknown items.
    pub unknown: UnknownEvents,
    /// Items have learned vectors for the codes of their IDs.
    pub ids: bool,
    /// And for every prefix of an ID.
    pub prefixes: bool,
    /// Items have a learned map of their vectors.
    pub vectors: bool,
    /// Items have learned vectors of their own.
    pub identities: bool,
    /// What is predicted: the next item among all of them, its ID code by code, or all codes of its ID at once.
    pub prediction: Prediction,
    /// Values of an item inside the network.
    pub dims: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Values of the feed-forward layers; without it three times `dims`.
    pub feed_forward: Option<usize>,
    /// The latest items of a history that are read.
    pub positions: usize,
    /// Share of values that training leaves out.
    pub dropout: f64,
    /// Share of each target that is spread over all items.
    pub smoothing: f64,
    /// Steps of histories that are taken to the device at a time.
    pub batch_tokens: usize,
    /// Batches that one update learns from.
    pub accumulate: usize,
    /// Passes over all histories, at most.
    pub epochs: usize,
    /// Looks at the validation items without a better NDCG@10 after which training ends; 0 for never.
    pub patience: usize,
    /// Epochs from one look to the next.
    pub validate_every: usize,
    /// Peak learning rate of AdamW.
    pub rate: f64,
    /// Share of all steps in which the rate rises.
    pub warmup: f64,
    /// Weight decay of the matrices.
    pub weight_decay: f64,
    /// Largest L2 norm of a step's gradient; without it any.
    pub clip_norm: Option<f64>,
    /// Standard deviation of the items' vectors at the start.
    pub item_deviation: f64,
    /// Arithmetic of products.
    pub precision: Precision,
    /// Which items of a user are kept from training.
    pub hold_out: HoldOut,
    /// Of every draw; 0 is the run's.
    pub seed: u64,
}

impl Default for Recommend {
    fn default() -> Self {
        let base = RecommenderSettings::default();
        Self {
            interactions: PathBuf::new(),
            event_fields: EventFields::default(),
            unknown: UnknownEvents::Refuse,
            ids: true,
            prefixes: true,
            vectors: false,
            identities: false,
            prediction: base.prediction,
            dims: base.dims,
            layers: base.layers,
            heads: base.heads,
            feed_forward: base.feed_forward,
            positions: base.positions,
            dropout: base.dropout,
            smoothing: base.smoothing,
            batch_tokens: base.batch_tokens,
            accumulate: base.accumulate,
            epochs: base.epochs,
            patience: base.patience.unwrap_or(0),
            validate_every: base.validate_every,
            rate: base.rate,
            warmup: base.warmup,
            weight_decay: base.weight_decay,
            clip_norm: base.clip_norm,
            item_deviation: base.item_deviation,
            precision: base.precision,
            hold_out: base.hold_out,
            seed: base.seed,
        }
    }
}

impl Recommend {
    /// The recommender's own settings; `seed` is the run's.
    #[must_use]
    pub fn settings(&self, seed: u64) -> RecommenderSettings {
        RecommenderSettings {
            prediction: self.prediction,
            dims: self.dims,
            layers: self.layers,
            heads: self.heads,
            feed_forward: self.feed_forward,
            positions: self.positions,
            dropout: self.dropout,
            smoothing: self.smoothing,
            batch_tokens: self.batch_tokens,
            accumulate: self.accumulate,
            epochs: self.epochs,
            validate_every: self.validate_every,
            patience: (self.patience > 0).then_some(self.patience),
            rate: self.rate,
            warmup: self.warmup,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            item_deviation: self.item_deviation,
            precision: self.precision,
            hold_out: self.hold_out,
            seed: if self.seed == 0 { seed } else { self.seed },
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.interactions.as_os_str().is_empty() {
            return Err(Error::config("interactions", "expected a file of what users did, got nothing"));
        }
        self.event_fields.validate()?;
        if !(self.ids || self.vectors || self.identities) {
            let problem = "items need something to be told apart by; set one of `ids`, `vectors` and `identities`";
            return Err(Error::config("ids", problem));
        }
        if self.prediction == Prediction::Ordered && (!self.ids || self.identities) {
            let field = if self.ids { "identities" } else { "ids" };
            return Err(Error::config(
                field,
                "ordered prediction reads and writes IDs code by code, and nothing else tells items apart",
            ));
        }
        if self.prediction == Prediction::Levels && !self.ids {
            return Err(Error::config("ids", "all codes of an ID at once are predicted, so items need IDs"));
        }
        self.settings(0).validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// A setting that the section cannot say would be one that a run silently ignores.
    #[test]
    fn the_section_has_every_setting_of_a_recommender_and_hands_it_on() {
        let names = |value: Value| match value {
            Value::Object(map) => map.keys().cloned().collect::<Vec<_>>(),
            other => panic!("{other}"),
        };
        let base = serde_json::to_value(RecommenderSettings::default()).expect("JSON");
        let section = serde_json::to_value(Recommend::default()).expect("JSON");
        for name in names(base.clone()) {
            assert!(section.get(&name).is_some(), "`{name}` is no key of [recommend]");
        }
        assert_eq!(serde_json::to_value(Recommend::default().settings(0)).expect("JSON"), base);
        let other = RecommenderSettings {
            prediction: Prediction::Ordered,
            dims: 48,
            layers: 3,
            heads: 4,
            feed_forward: Some(7),
            positions: 9,
            dropout: 0.25,
            smoothing: 0.125,
            batch_tokens: 99,
            accumulate: 5,
            epochs: 6,
            validate_every: 2,
            patience: None,
            rate: 0.5,
            warmup: 0.75,
            weight_decay: 0.0625,
            clip_norm: Some(3.0),
            item_deviation: 0.375,
            precision: Precision::Bf16,
            hold_out: HoldOut::Validation,
            seed: 8,
        };
        let mut given = serde_json::to_value(&other).expect("JSON");
        given["patience"] = 0.into();
        given["interactions"] = "a.csv".into();
        let read: Recommend = serde_json::from_value(given).expect("a section");
        assert_eq!(read.settings(1), other);
        assert_eq!(Recommend::default().settings(5).seed, 5);
    }
}
