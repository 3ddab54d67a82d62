//! A trained recommender: from a history of items to the items that may come next.

mod file;
#[cfg(test)]
mod gradient_tests;
mod history;
mod items;
mod learner;
mod levels;
#[cfg(test)]
mod levels_tests;
mod measure;
mod network;
mod options;
mod ordered;
mod plan;
mod scorer;
mod session;
mod settings;
mod trained;
mod trainer;

pub use self::history::{HoldOut, NextItem, questions};
pub use self::items::ItemSources;
pub use self::options::{DEFAULT_BEAMS, RecommendOptions};
pub use self::session::{RecommenderQuery, RecommenderSession};
pub use self::settings::{Prediction, RecommenderSettings};
pub use self::trainer::{RecommenderEpoch, RecommenderTraining, TrainingRecorder, training_digest};

use self::plan::NetworkPlan;
use sememe::eval::RankingMeasures;
use sememe::progress::Observer;
use sememe::{Device, Error, Matrix, Result, Sequences, check_shape};

/// An item with its score: the logarithm of its probability among all items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recommendation {
    /// Row of the catalogue.
    pub item: u32,
    /// Natural logarithm of the probability; all items' probabilities add up to 1.
    pub log_probability: f64,
}

/// A decoder over items with everything that it needs to answer.
#[derive(Clone, PartialEq)]
pub struct Recommender {
    pub(crate) settings: RecommenderSettings,
    /// Codes and identities, with the vectors as they are used.
    pub(crate) sources: ItemSources,
    /// What was taken from vectors, and the factor that they were multiplied by then.
    pub(crate) scaling: Option<(Vec<f32>, f64)>,
    pub(crate) params: Vec<f32>,
    /// What items are called, if it knows.
    pub(crate) keys: Option<Vec<String>>,
}

impl std::fmt::Debug for Recommender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recommender")
            .field("items", &self.items())
            .field("parameters", &self.parameters())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Recommender {
    /// From a training's parameters.
    pub(crate) fn from_params(
        settings: &RecommenderSettings,
        sources: &ItemSources,
        scaled: Option<(Matrix, Vec<f32>, f64)>,
        params: Vec<f32>,
    ) -> Result<Self> {
        let (vectors, scaling) = match scaled {
            Some((vectors, mean, factor)) => (Some(vectors), Some((mean, factor))),
            None => (None, None),
        };
        let sources = ItemSources { vectors, ..sources.clone() };
        let made = Self { settings: settings.clone(), sources, scaling, params, keys: None };
        made.check()?;
        Ok(made)
    }

    /// Refuses parts that do not fit together.
    pub(crate) fn check(&self) -> Result<()> {
        self.settings.validate()?;
        self.sources.validate()?;
        let plan = NetworkPlan::new(&self.settings, &self.sources)?;
        check_shape("parameters", plan.len, self.params.len(), "recommender")?;
        if let Some(bad) = self.params.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data(format!("parameter {bad} of {} is {}", self.params.len(), self.params[bad])));
        }
        Ok(())
    }

    /// The settings it was trained with.
    #[must_use]
    pub fn settings(&self) -> &RecommenderSettings {
        &self.settings
    }

    /// Items that it knows.
    #[must_use]
    pub fn items(&self) -> usize {
        self.sources.items
    }

    /// What its items are called.
    #[must_use]
    pub fn keys(&self) -> Option<&[String]> {
        self.keys.as_deref()
    }

    /// Gives the items names, in the order of the rows; they are saved with the recommender.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of keys; [`Error::Data`] for an empty key or one that stands twice.
    pub fn with_keys(self, keys: Vec<String>) -> Result<Self> {
        check_shape("items", self.items(), keys.len(), "keys of items")?;
        sememe::ids::check_keys(&keys)?;
        Ok(Self { keys: Some(keys), ..self })
    }

    /// Values of the vectors that its items have, if they have some: those of a wish are as many.
    #[must_use]
    pub fn vector_dims(&self) -> Option<usize> {
        self.sources.vectors.as_ref().map(Matrix::dims)
    }

    /// Numbers that it has learned.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.params.len()
    }

    /// The `count` most probable next items of each history, best first. With `hide_seen`, items of the history are left out;
    /// `allowed`, where given, says which items may come. A history is read from its end, as far as the decoder reaches. Whoever asks
    /// more than once keeps a [`session`](Self::session). Otherwise as [`recommend_with`](Self::recommend_with).
    ///
    /// # Errors
    /// [`Error::Data`] for an empty history or an unknown item; device errors.
    pub fn recommend(
        &self,
        histories: &[&[u32]],
        count: usize,
        hide_seen: bool,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
        device: &Device,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let options = RecommendOptions { count, hide_seen, ..RecommendOptions::default() };
        self.recommend_with(histories, &options, allowed, device)
    }

    /// As [`RecommenderSession::recommend_with`], once.
    ///
    /// # Errors
    /// As for a session.
    pub fn recommend_with(
        &self,
        histories: &[&[u32]],
        options: &RecommendOptions,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
        device: &Device,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let queries: Vec<_> = histories.iter().map(|history| RecommenderQuery { history, wish: None }).collect();
        let tokens = histories.iter().map(|h| h.len()).sum();
        self.session_for(device, tokens)?.recommend_with(&queries, options, allowed)
    }

    /// Where the item `from_end` places before each user's end (0 is the last) stands among all items, after what came before it. Where
    /// items are searched for, `beams` prefixes are followed, [`DEFAULT_BEAMS`] if it is `None`, and an item that is not found stands nowhere.
    ///
    /// # Errors
    /// [`Error::Data`] for unknown items, or if no user has an item before that one; [`Error::Config`] for beams where nothing is
    /// searched for; device errors.
    pub fn evaluate_with(
        &self,
        histories: &Sequences,
        from_end: usize,
        hide_seen: bool,
        beams: Option<usize>,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures> {
        self.session_for(device, histories.events())?.evaluate_with(histories, from_end, hide_seen, beams, observer)
    }

    /// As [`evaluate_with`](Self::evaluate_with), with as many beams as there are by default.
    ///
    /// # Errors
    /// As for [`evaluate_with`](Self::evaluate_with).
    pub fn evaluate(
        &self,
        histories: &Sequences,
        from_end: usize,
        hide_seen: bool,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures> {
        self.evaluate_with(histories, from_end, hide_seen, None, device, observer)
    }
}
