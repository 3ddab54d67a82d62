//! A recommender on a device, for one question after another.

use super::history::questions;
use super::items::scaled_vector;
use super::measure::{RankingRequest, measure};
use super::network::Network;
use super::options::{DEFAULT_BEAMS, RecommendOptions};
use super::ordered::{OrderedRequest, OrderedSearcher, searcher};
use super::scorer::{ItemScorer, ScoreQuery};
use super::settings::Prediction;
use super::{Recommendation, Recommender};
use crate::decoding::log_sum;
use sememe::compute::tensor::TensorBackend;
use sememe::compute::{BackendTask, run_on};
use sememe::eval::{RankingMeasures, best_items};
use sememe::progress::Observer;
use sememe::{Device, Error, Result, Sequences, check_shape};
use std::sync::Arc;

/// How many times as long as an item's a wish's vector may be, once the items' mean is taken from both. Past it the vector is of another
/// kind, and further up nothing but it would be read.
const LONGEST_WISH: f64 = 1e6;

/// What a recommender is asked: what somebody took, what somebody wishes for, or both.
///
/// ```
/// use sememe_recommend::RecommenderQuery;
/// let query = RecommenderQuery { history: &[3, 4, 5], wish: None };
/// assert_eq!(query.history.len(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecommenderQuery<'a> {
    /// Items, oldest first.
    pub history: &'a [u32],
    /// A vector of the kind that the items' vectors are, of a text say. It is read after the history, as an item is that has nothing but
    /// its vector.
    pub wish: Option<&'a [f32]>,
}

/// A recommender on a device: its parameters are there, and its items are made up, once for all questions. `Send`, and apart from the
/// recommender that it was made from.
///
/// ```
/// use sememe::{Device, Sequences};
/// use sememe_recommend::{ItemSources, RecommenderQuery, RecommenderSettings, RecommenderTraining};
///
/// let histories = Sequences::from_lists((0..9).map(|user| (0..6).map(|t| (user + t) % 9).collect::<Vec<u32>>()))?;
/// let sources = ItemSources { items: 9, identities: true, ..ItemSources::default() };
/// let settings = RecommenderSettings { dims: 8, positions: 8, batch_tokens: 64, epochs: 2, ..RecommenderSettings::default() };
/// let recommender = RecommenderTraining::new(settings)?.run(&sources, &histories, &Device::cpu(), &(), &mut ())?;
///
/// let mut session = recommender.session(&Device::cpu())?;
/// for user in 0..3 {
///     let query = RecommenderQuery { history: &[user, user + 1], wish: None };
///     assert_eq!(session.recommend(&[query], 5, true, None)?[0].len(), 5);
/// }
/// # Ok::<(), sememe::Error>(())
/// ```
pub struct RecommenderSession {
    engine: SessionEngine,
    items: usize,
    /// Items of a user that training did not see.
    hold_out: usize,
    /// What is taken from vectors, and their factor then.
    scaling: Option<(Vec<f32>, f64)>,
}

/// What answers, by what is predicted.
enum SessionEngine {
    /// All items are scored.
    Items(Box<dyn ItemScorer>),
    /// IDs are searched for.
    Ordered(Box<dyn OrderedSearcher>),
}

impl std::fmt::Debug for RecommenderSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecommenderSession").field("items", &self.items).finish_non_exhaustive()
    }
}

impl Recommender {
    /// Takes the recommender to a device, to answer many questions there. O(parameters + items·dims·(levels + t)), once.
    ///
    /// # Errors
    /// Device errors.
    pub fn session(&self, device: &Device) -> Result<RecommenderSession> {
        self.session_for(device, usize::MAX)
    }

    /// How far from 0 each value of a wish may be for the wish to be read, whatever the others are. `None` where no wish is read, and where
    /// the items' vectors are so far from 0 for how little they differ that no such bound is.
    #[must_use]
    pub fn wish_bound(&self) -> Option<f64> {
        let (mean, factor) = self.scaling.as_ref()?;
        if self.settings.prediction == Prediction::Ordered {
            return None;
        }
        let furthest = mean.iter().fold(0.0f64, |most, value| most.max(f64::from(*value).abs()));
        // The norm of values that are no further than this from the mean is at most the longest; a little less, as values are rounded.
        let reach = 0.999 * LONGEST_WISH / (factor * (mean.len() as f64).sqrt());
        Some((reach - furthest).min(f64::from(f32::MAX))).filter(|bound| *bound > 0.0)
    }

    /// A session for batches of up to `tokens` items, or fewer.
    pub(super) fn session_for(&self, device: &Device, tokens: usize) -> Result<RecommenderSession> {
        Ok(RecommenderSession {
            engine: run_on(device, SessionTask { recommender: self, tokens })?,
            items: self.items(),
            hold_out: self.settings.hold_out.items(),
            scaling: self.scaling.clone(),
        })
    }
}

/// Makes a network that stays on its device.
struct SessionTask<'a> {
    recommender: &'a Recommender,
    tokens: usize,
}

impl BackendTask for SessionTask<'_> {
    type Output = Result<SessionEngine>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let Recommender { settings, sources, params, .. } = self.recommender;
        if settings.prediction == Prediction::Ordered {
            return Ok(SessionEngine::Ordered(searcher(backend, settings, sources, params)?));
        }
        let most = settings.batch_tokens.min(self.tokens).max(1);
        let mut network = Network::new(backend, settings, sources, sources.vectors.as_ref(), params, most, None)?;
        network.freeze()?;
        Ok(SessionEngine::Items(Box::new(network)))
    }
}

impl RecommenderSession {
    /// Items that it knows.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// The `count` most probable next items of each query, best first. With `hide_seen`, items of the history are left out;
    /// `allowed`, where given, says which items may come. A history is read from its end, as far as the decoder reaches. Otherwise as
    /// [`recommend_with`](Self::recommend_with).
    ///
    /// # Errors
    /// As for [`recommend_with`](Self::recommend_with).
    pub fn recommend(
        &mut self,
        queries: &[RecommenderQuery<'_>],
        count: usize,
        hide_seen: bool,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let options = RecommendOptions { count, hide_seen, ..RecommendOptions::default() };
        self.recommend_with(queries, &options, allowed)
    }

    /// The most probable next items of each query, best first, the lower number on a tie. Probabilities are those among all items,
    /// whatever is left out; items that share an ID share its probability equally in ordered prediction.
    ///
    /// A recommender of items scores them all: O(queries·(positions·parameters of the decoder + items·dims)). One that predicts IDs code
    /// by code searches for them with `beams` prefixes, and a list may hold fewer than `count` items:
    /// O(queries·(positions + beams)·levels·parameters of the decoder).
    ///
    /// # Errors
    /// [`Error::Data`] for a query without history and wish, an unknown item, a wish that is not finite or no vector of the items' kind;
    /// [`Error::Shape`] for a wish of another width; [`Error::Config`] for one if items have no vectors or IDs are predicted, and for beams
    /// or sampling where nothing is searched for; device errors.
    pub fn recommend_with(
        &mut self,
        queries: &[RecommenderQuery<'_>],
        options: &RecommendOptions,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let RecommendOptions { count, hide_seen, ref sampling, beams } = *options;
        let checked = queries
            .iter()
            .enumerate()
            .map(|(n, query)| self.checked(n, query))
            .collect::<Result<Vec<ScoreQuery<'_>>>>()?;
        let scorer = match &mut self.engine {
            SessionEngine::Items(scorer) => scorer,
            SessionEngine::Ordered(searcher) => {
                let histories: Vec<&[u32]> = queries.iter().map(|query| query.history).collect();
                let beams = beams.unwrap_or(DEFAULT_BEAMS.max(count));
                let request = OrderedRequest { beams, sampling: sampling.as_ref(), hide_seen };
                return searcher.answer(&histories, count, &request, allowed);
            }
        };
        refuse_search("sampling", sampling.is_some())?;
        refuse_search("beams", beams.is_some())?;
        let forbidden: Vec<u32> = match allowed {
            Some(allowed) => (0..self.items as u32).filter(|item| !allowed(*item)).collect(),
            None => Vec::new(),
        };
        let (items, mut out, mut ranked) = (self.items, Vec::with_capacity(queries.len()), Vec::new());
        scorer.score(&checked, &mut |first, scores| {
            for (row, query) in scores.chunks_exact(items).zip(&queries[first..]) {
                let mut among = row;
                if !forbidden.is_empty() {
                    ranked.clear();
                    ranked.extend_from_slice(row);
                    // No list holds a NaN.
                    forbidden.iter().for_each(|item| ranked[*item as usize] = f32::NAN);
                    among = &ranked;
                }
                let (all, left_out) = (log_sum(row), if hide_seen { query.history } else { &[] });
                let scored = |item| Recommendation { item, log_probability: f64::from(row[item as usize]) - all };
                out.push(best_items(among, count, left_out).into_iter().map(scored).collect());
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// As [`evaluate_with`](Self::evaluate_with), with as many beams as there are by default.
    ///
    /// # Errors
    /// As for [`evaluate_with`](Self::evaluate_with).
    pub fn evaluate(
        &mut self,
        histories: &Sequences,
        from_end: usize,
        hide_seen: bool,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures> {
        self.evaluate_with(histories, from_end, hide_seen, None, observer)
    }

    /// Where the item `from_end` places before each user's end (0 is the last) stands among all items, after what came before it. Where
    /// items are searched for, `beams` prefixes are followed, [`DEFAULT_BEAMS`] if it is `None`, and an item that is not found stands nowhere.
    ///
    /// # Errors
    /// [`Error::Data`] for unknown items, or if no user has an item before that one; [`Error::Config`] for beams where nothing is
    /// searched for; device errors.
    pub fn evaluate_with(
        &mut self,
        histories: &Sequences,
        from_end: usize,
        hide_seen: bool,
        beams: Option<usize>,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures> {
        check_questions(histories, self.items, from_end)?;
        let asked = RankingRequest { histories, from_end, hide_seen };
        match &mut self.engine {
            SessionEngine::Items(scorer) => {
                refuse_search("beams", beams.is_some())?;
                measure(scorer.as_mut(), self.items, self.hold_out, &asked, observer)
            }
            SessionEngine::Ordered(searcher) => searcher.measure(&asked, beams.unwrap_or(DEFAULT_BEAMS), observer),
        }
    }

    /// A query as the network reads it.
    fn checked<'a>(&self, number: usize, query: &RecommenderQuery<'a>) -> Result<ScoreQuery<'a>> {
        if query.history.is_empty() && query.wish.is_none() {
            return Err(Error::Data(format!("history {number} is empty; give at least 1 item, or a wish")));
        }
        if let Some(item) = query.history.iter().find(|item| **item as usize >= self.items) {
            let items = self.items;
            return Err(Error::Data(format!("history {number} names item {item}, past the {items} items")));
        }
        let wish = query.wish.map(|wish| self.scaled(number, wish)).transpose()?;
        Ok(ScoreQuery { history: query.history, wish })
    }

    fn scaled(&self, number: usize, wish: &[f32]) -> Result<Vec<f32>> {
        if matches!(self.engine, SessionEngine::Ordered(_)) {
            let problem = "the recommender predicts IDs code by code and reads no vector without an ID; one that ranks all items reads wishes";
            return Err(Error::config("wish", problem));
        }
        let Some((mean, factor)) = &self.scaling else {
            let problem = "the recommender was trained without vectors of its items, so it cannot read one; train it with vectors";
            return Err(Error::config("wish", problem));
        };
        check_shape("values", mean.len(), wish.len(), format!("wish {number}"))?;
        if let Some(at) = wish.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data(format!("value {at} of wish {number} is {}", wish[at])));
        }
        let scaled = scaled_vector(wish, mean, *factor);
        let norm = scaled.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if norm.is_nan() || norm > LONGEST_WISH {
            return Err(Error::Data(format!(
                "wish {number} is {norm:.0e} times as far from the mean of the items' vectors as items are, expected at most \
                 {LONGEST_WISH:.0e}; give a vector by the same model as theirs"
            )));
        }
        Ok(scaled)
    }
}

fn refuse_search(field: &'static str, given: bool) -> Result<()> {
    if given {
        let problem =
            "this recommender ranks all items and searches for none, so there is nothing to set; leave it out";
        return Err(Error::config(field, problem));
    }
    Ok(())
}

/// Refuses histories that have nothing to ask.
fn check_questions(histories: &Sequences, items: usize, from_end: usize) -> Result<()> {
    histories.check(items)?;
    if questions(histories, from_end).next().is_none() {
        return Err(Error::Data(format!(
            "none of {} users has {} items or more, so there is nothing to ask",
            histories.users(),
            from_end + 2
        )));
    }
    Ok(())
}
