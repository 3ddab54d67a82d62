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
mod settings;
mod trained;
mod trainer;

pub use self::history::{HoldOut, NextItem, questions};
pub use self::items::ItemSources;
pub use self::options::{DEFAULT_BEAMS, RecommendOptions};
pub use self::settings::{Prediction, RecommenderSettings};
pub use self::trainer::{RecommenderEpoch, RecommenderTraining, TrainingRecorder};

use self::measure::{RankingRequest, measure};
use self::network::Network;
use self::ordered::{AnswerTask, OrderedMeasureTask, OrderedParts, OrderedRequest};
use self::plan::NetworkPlan;
use crate::decoding::log_sum;
use sememe::compute::tensor::TensorBackend;
use sememe::compute::{BackendTask, run_on};
use sememe::eval::{RankingMeasures, best_items};
use sememe::progress::Observer;
use sememe::{Device, Error, Matrix, Result, Sequences, check_shape};
use std::sync::Arc;

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

    /// Numbers that it has learned.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.params.len()
    }

    /// The `count` most probable next items of each history, best first. With `hide_seen`, items of the history are left out;
    /// `allowed`, where given, says which items may come. A history is read from its end, as far as the decoder reaches.
    /// Otherwise as [`recommend_with`](Self::recommend_with).
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

    /// The most probable next items of each history, best first, the lower number on a tie. Probabilities are those among all items,
    /// whatever is left out; items that share an ID share its probability equally in ordered prediction.
    ///
    /// A recommender of items scores them all: O(histories·(positions·parameters of the decoder + items·dims)); so does one of levels, by
    /// the sums of their codes' log-probabilities, whose share among all items an item's probability is. One that predicts IDs code
    /// by code searches for them with `beams` prefixes, and a list may hold fewer than `count` items:
    /// O(histories·(positions + beams)·levels·parameters of the decoder).
    ///
    /// # Errors
    /// [`Error::Data`] for an empty history or an unknown item; [`Error::Config`] for beams or sampling where nothing is searched for;
    /// device errors.
    pub fn recommend_with(
        &self,
        histories: &[&[u32]],
        options: &RecommendOptions,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
        device: &Device,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let RecommendOptions { count, hide_seen, ref sampling, .. } = *options;
        for (number, history) in histories.iter().enumerate() {
            if history.is_empty() {
                return Err(Error::Data(format!("history {number} is empty; give at least 1 item")));
            }
            if let Some(item) = history.iter().find(|item| **item as usize >= self.items()) {
                let items = self.items();
                return Err(Error::Data(format!("history {number} names item {item}, past the {items} items")));
            }
        }
        match self.settings.prediction {
            Prediction::Items | Prediction::Levels => {
                self.refuse_search("sampling", sampling.is_some())?;
                self.refuse_search("beams", options.beams.is_some())?;
                self.rank_all(histories, count, hide_seen, allowed, device)
            }
            Prediction::Ordered => {
                let beams = options.beams.unwrap_or(DEFAULT_BEAMS.max(count));
                let request = OrderedRequest { beams, sampling: sampling.as_ref(), hide_seen };
                run_on(device, AnswerTask { of: self.ordered(), histories, count, request, allowed })
            }
        }
    }

    fn ordered(&self) -> OrderedParts<'_> {
        OrderedParts { settings: &self.settings, sources: &self.sources, params: &self.params }
    }

    fn refuse_search(&self, field: &'static str, given: bool) -> Result<()> {
        if given {
            let problem =
                "this recommender ranks all items and searches for none, so there is nothing to set; leave it out";
            return Err(Error::config(field, problem));
        }
        Ok(())
    }

    /// Lists from the scores of all items.
    fn rank_all(
        &self,
        histories: &[&[u32]],
        count: usize,
        hide_seen: bool,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
        device: &Device,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let forbidden: Vec<u32> = match allowed {
            Some(allowed) => (0..self.items() as u32).filter(|item| !allowed(*item)).collect(),
            None => Vec::new(),
        };
        let mut out = Vec::with_capacity(histories.len());
        self.with_scores(histories, device, &mut |first, scores| {
            for (row, history) in scores.chunks_exact(self.items()).zip(&histories[first..]) {
                let all = log_sum(row);
                // No list holds a NaN.
                let mut ranked = row.to_vec();
                forbidden.iter().for_each(|item| ranked[*item as usize] = f32::NAN);
                let list = best_items(&ranked, count, if hide_seen { history } else { &[] });
                let scored = |item: u32| Recommendation { item, log_probability: f64::from(row[item as usize]) - all };
                out.push(list.into_iter().map(scored).collect());
            }
            Ok(())
        })?;
        Ok(out)
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
        histories.check(self.items())?;
        if questions(histories, from_end).next().is_none() {
            return Err(Error::Data(format!(
                "none of {} users has {} items or more, so there is nothing to ask",
                histories.users(),
                from_end + 2
            )));
        }
        let asked = &RankingRequest { histories, from_end, hide_seen };
        match self.settings.prediction {
            Prediction::Items | Prediction::Levels => {
                self.refuse_search("beams", beams.is_some())?;
                run_on(device, MeasureTask { recommender: self, asked, observer })
            }
            Prediction::Ordered => {
                let beams = beams.unwrap_or(DEFAULT_BEAMS);
                run_on(device, OrderedMeasureTask { of: self.ordered(), asked, beams, observer })
            }
        }
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

    /// A network for histories of so many items together, or for some of them at a time.
    fn network<'a, B: TensorBackend>(&self, backend: &'a B, tokens: usize) -> Result<Network<'a, B>> {
        let (settings, sources) = (&self.settings, &self.sources);
        let most = settings.batch_tokens.min(tokens).max(1);
        Network::new(backend, settings, sources, sources.vectors.as_ref(), &self.params, most, None)
    }

    fn with_scores(
        &self,
        histories: &[&[u32]],
        device: &Device,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        run_on(device, ScoreTask { recommender: self, histories, sink })
    }
}

/// Measures on whichever backend.
struct MeasureTask<'a> {
    recommender: &'a Recommender,
    asked: &'a RankingRequest<'a>,
    observer: &'a dyn Observer,
}

impl BackendTask for MeasureTask<'_> {
    type Output = Result<RankingMeasures>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let backend = &**backend;
        let tokens = self.asked.histories.events();
        let mut network = self.recommender.network(backend, tokens)?;
        measure(&mut network, &self.recommender.settings, self.asked, self.observer)
    }
}

/// Scores on whichever backend.
struct ScoreTask<'a> {
    recommender: &'a Recommender,
    histories: &'a [&'a [u32]],
    sink: &'a mut dyn FnMut(usize, &[f32]) -> Result<()>,
}

impl BackendTask for ScoreTask<'_> {
    type Output = Result<()>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let backend = &**backend;
        let tokens = self.histories.iter().map(|h| h.len()).sum();
        self.recommender.network(backend, tokens)?.score(self.histories, self.sink)
    }
}
