//! Histories and wishes to items, by a recommender on a thread of its own.

use crate::catalogue::Catalogue;
use crate::error::ApiError;
use crate::models::queue::{WorkQueue, take};
use crate::models::{RecommenderInfo, WorkerLimits};
use sememe::{Device, Error, Result};
use sememe_recommend::{
    DEFAULT_BEAMS, Prediction, RecommendOptions, Recommender, RecommenderQuery, RecommenderSession,
};
use std::fmt::Display;
use tokio::sync::oneshot;

/// No item of the catalogue, or no row of the recommender.
const NONE: u32 = u32::MAX;

/// What somebody took, oldest first, by numbers of the catalogue, and what they wish for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RankingQuery {
    /// Items, oldest first. Those that the recommender was not trained with are passed over.
    pub history: Vec<u32>,
    /// A vector of the items' kind.
    pub wish: Option<Vec<f32>>,
    /// Items that are wanted.
    pub count: usize,
    /// Prefixes that a search follows.
    pub beams: Option<usize>,
    /// Whether items of the history may come again.
    pub include_seen: bool,
}

/// An item that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedItem {
    /// Its number in the catalogue.
    pub item: u32,
    /// Natural logarithm of its probability among all items.
    pub log_probability: f64,
}

type Ranked = Vec<Vec<RankedItem>>;

#[derive(Debug)]
struct Job {
    queries: Vec<RankingQuery>,
    reply: oneshot::Sender<Result<Ranked, ApiError>>,
}

/// Which rows of a recommender are which items of the catalogue.
#[derive(Debug)]
struct ItemRows {
    item_of_row: Vec<u32>,
    /// Of the items that were there when it was loaded.
    row_of_item: Vec<u32>,
}

impl ItemRows {
    fn new(recommender: &Recommender, catalogue: &Catalogue) -> Result<Self> {
        let items = catalogue.read();
        let (rows, there) = (recommender.items(), items.len());
        let item_of_row: Vec<u32> = match recommender.keys() {
            Some(keys) => keys.iter().map(|key| items.find(key).unwrap_or(NONE)).collect(),
            None if rows == there => (0..rows as u32).collect(),
            None => {
                let problem = format!(
                    "knows {rows} items without keys, but there are {there} to serve; train it again with the keys of its items"
                );
                return Err(Error::Data(problem));
            }
        };
        if item_of_row.iter().all(|item| *item == NONE) {
            return Err(Error::Data(format!("none of its {rows} items is one of the {there} that are served")));
        }
        let mut row_of_item = vec![NONE; there];
        for (row, item) in (0u32..).zip(&item_of_row) {
            if let Some(place) = row_of_item.get_mut(*item as usize) {
                *place = row;
            }
        }
        Ok(Self { item_of_row, row_of_item })
    }

    fn row(&self, item: u32) -> Option<u32> {
        self.row_of_item.get(item as usize).copied().filter(|row| *row != NONE)
    }

    fn rows(&self, items: &[u32]) -> Vec<u32> {
        items.iter().filter_map(|item| self.row(*item)).collect()
    }
}

/// A recommender on a thread of its own.
#[derive(Debug)]
pub struct RecommendWorker {
    queue: WorkQueue<Job>,
    rows: std::sync::Arc<ItemRows>,
    info: RecommenderInfo,
    /// How far from 0 values of a wish may be, where wishes are read.
    wish_bound: Option<f32>,
}

impl RecommendWorker {
    /// Takes a recommender to a device, finds its items in the catalogue by key, and starts the thread. Wishes are read where the items'
    /// vectors that it was trained with have `dims` values.
    ///
    /// # Errors
    /// [`Error::Data`] for a recommender of other items; device errors.
    pub fn start(
        recommender: &Recommender,
        device: &Device,
        catalogue: &Catalogue,
        dims: usize,
        limits: WorkerLimits,
    ) -> Result<Self> {
        let rows = std::sync::Arc::new(ItemRows::new(recommender, catalogue)?);
        let prediction = recommender.settings().prediction;
        let predicts = match prediction {
            Prediction::Items => "items",
            Prediction::Levels => "levels",
            Prediction::Ordered => "ordered",
        };
        let searches = prediction == Prediction::Ordered;
        let wishes = !searches && recommender.vector_dims() == Some(dims);
        let wish_bound = recommender.wish_bound().filter(|_| wishes).map(round_down);
        let mut session = recommender.session(device)?;
        let own = std::sync::Arc::clone(&rows);
        let queue = WorkQueue::start("the recommender", "sememe-recommend", limits.queue, move |waiting| {
            while let Some(mut jobs) = take(&waiting, limits.batch, |job: &Job| job.queries.len()) {
                jobs.retain(|job| !job.reply.is_closed());
                answer(jobs, &mut session, &own, searches);
            }
        })?;
        let info = RecommenderInfo { predicts: predicts.into(), beams: searches, wishes };
        Ok(Self { queue, rows, info, wish_bound })
    }

    /// What it can be asked.
    #[must_use]
    pub fn info(&self) -> RecommenderInfo {
        self.info.clone()
    }

    /// How far from 0 values of a wish's vector may be; unknown where the items' own values are large for how much they differ.
    #[must_use]
    pub fn wish_bound(&self) -> Option<f32> {
        self.wish_bound
    }

    /// Refuses a wish that is of another kind than the items' vectors; `name` is what the error calls it.
    ///
    /// # Errors
    /// `bad_request`.
    pub fn check_wish(&self, wish: &[f32], name: &dyn Display) -> Result<(), ApiError> {
        let Some(bound) = self.wish_bound else { return Ok(()) };
        match wish.iter().position(|value| value.abs() > bound) {
            Some(at) => {
                let value = wish[at];
                let problem = format!("value {at} of {name} is {value:e}, expected -{bound:e} to {bound:e}");
                Err(ApiError::bad_request(problem).hint("send a vector by the model that made the items' vectors"))
            }
            None => Ok(()),
        }
    }

    /// Whether it was trained with an item of the catalogue.
    #[must_use]
    pub fn knows(&self, item: u32) -> bool {
        self.rows.row(item).is_some()
    }

    /// The most probable next items of each query, best first; none for one without a wish and without an item that was there in training.
    /// All queries are answered, or none.
    ///
    /// # Errors
    /// `bad_request` for beams where nothing is searched for, and for a wish that cannot be read; `busy` if too many wait already.
    pub async fn recommend(&self, queries: Vec<RankingQuery>) -> Result<Ranked, ApiError> {
        if let Some(beams) = queries.iter().find_map(|query| query.beams).filter(|_| !self.info.beams) {
            let problem = format!("`beams` is {beams}, but this recommender ranks all items and searches for none");
            return Err(ApiError::bad_request(problem).hint("leave it out"));
        }
        let readable =
            |query: &RankingQuery| query.wish.is_some() || query.history.iter().any(|item| self.knows(*item));
        let readable: Vec<bool> = queries.iter().map(readable).collect();
        let asked: Vec<_> = queries.into_iter().zip(&readable).filter_map(|(query, r)| r.then_some(query)).collect();
        if asked.is_empty() {
            return Ok(vec![Vec::new(); readable.len()]);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.put(Job { queries: asked, reply })?;
        let mut ranked = answer.await.map_err(ApiError::internal)??.into_iter();
        Ok(readable.iter().map(|readable| if *readable { ranked.next() } else { None }.unwrap_or_default()).collect())
    }
}

/// The next power of ten below: a bound that people and programs can write down.
fn round_down(bound: f64) -> f32 {
    let power = 10f64.powi(bound.log10().floor() as i32);
    // Powers are rounded to either side.
    let power = if power > bound { power / 10.0 } else { power };
    (power as f32).min(f32::MAX)
}

fn answer(jobs: Vec<Job>, session: &mut RecommenderSession, rows: &ItemRows, searches: bool) {
    let queries: Vec<&RankingQuery> = jobs.iter().flat_map(|job| &job.queries).collect();
    if queries.is_empty() {
        return;
    }
    match rank(&queries, session, rows, searches) {
        Ok(ranked) => {
            let mut ranked = ranked.into_iter();
            for Job { queries, reply } in jobs {
                // Whoever hung up needs no answer.
                let _ = reply.send(Ok(ranked.by_ref().take(queries.len()).collect()));
            }
        }
        Err(error) if jobs.len() == 1 => {
            let failed = ApiError::from(error);
            jobs.into_iter().for_each(|job| _ = job.reply.send(Err(failed.clone())));
        }
        // One request's query is not another's fault.
        Err(_) => jobs.into_iter().for_each(|job| answer(vec![job], session, rows, searches)),
    }
}

/// Answers queries, those together that are asked in the same way.
fn rank(
    queries: &[&RankingQuery],
    session: &mut RecommenderSession,
    rows: &ItemRows,
    searches: bool,
) -> Result<Ranked> {
    // A list is as long as its search is wide.
    let beams = |query: &RankingQuery| query.beams.or(searches.then(|| DEFAULT_BEAMS.max(query.count)));
    let histories: Vec<Vec<u32>> = queries.iter().map(|query| rows.rows(&query.history)).collect();
    let mut out: Ranked = vec![Vec::new(); queries.len()];
    let mut left: Vec<usize> = (0..queries.len()).collect();
    let served = |row: u32| rows.item_of_row[row as usize] != NONE;
    let some_are_not = rows.item_of_row.contains(&NONE);
    let allowed: Option<&(dyn Fn(u32) -> bool + Sync)> = if some_are_not { Some(&served) } else { None };
    while let Some(first) = left.first() {
        let way = |i: &usize| (queries[*i].include_seen, beams(queries[*i]));
        let asked = way(first);
        let (together, others): (Vec<usize>, Vec<usize>) = left.iter().partition(|i| way(i) == asked);
        let put: Vec<RecommenderQuery<'_>> = together
            .iter()
            .map(|i| RecommenderQuery { history: &histories[*i], wish: queries[*i].wish.as_deref() })
            .collect();
        let count = together.iter().map(|i| queries[*i].count).max().unwrap_or(0);
        let options = RecommendOptions { count, hide_seen: !asked.0, beams: asked.1, sampling: None };
        for (i, list) in together.iter().zip(session.recommend_with(&put, &options, allowed)?) {
            let ranked = |found: sememe_recommend::Recommendation| RankedItem {
                item: rows.item_of_row[found.item as usize],
                log_probability: found.log_probability,
            };
            out[*i] = list.into_iter().take(queries[*i].count).map(ranked).collect();
        }
        left = others;
    }
    Ok(out)
}
