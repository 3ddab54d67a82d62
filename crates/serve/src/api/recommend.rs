//! `POST /v1/recommend`: histories and wishes to the items that may come next, with what speaks for them.

use crate::api::encode::embed;
use crate::api::extract::{App, Current, JsonAnswer, JsonBody};
use crate::api::recommend_form::{
    Reason, RecommendAnswer, RecommendQuery, RecommendRequest, Recommendations, RecommendedItem,
};
use crate::api::rows::{RowName, check_count, read_row};
use crate::api::search::{check_items, shared_codes};
use crate::catalogue::Items;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::manners::limits::Limits;
use crate::models::{RankedItem, RankingQuery, RecommendWorker};
use crate::served::Served;
use axum::extract::State;

/// Items of a list, unless it is said.
const COUNT: usize = 10;
/// The most queries of one request, whatever the limits say.
const MOST_QUERIES: usize = 256;
/// The most items of all lists of one answer.
const MOST_LISTED: usize = 20_000;
/// The most items of a history: more than any decoder reads.
pub(super) const MOST_HISTORY: usize = 10_000;
/// The most prefixes that a search follows.
pub(super) const MOST_BEAMS: usize = 1000;
/// Items of the history that are named as reasons.
const REASONS: usize = 3;

/// Recommends items to whoever took some, wishes for something, or both: one query, or several as `queries`.
///
/// Every item that comes exists. Probabilities are those among all items, whatever is left out. To a history of nothing but items that are
/// newer than the recommender, no items are the answer.
#[utoipa::path(
    post, path = "/v1/recommend", tag = "recommendations", request_body = RecommendRequest,
    responses(
        (status = 200, body = RecommendAnswer, description = "Items that may come next, best first"),
        (status = 400, body = ErrorBody, description = "`bad_json`, `bad_request`, `rows_shape`, `not_finite`"),
        (status = 404, body = ErrorBody, description = "`unknown_item`: keys that are none"),
        (status = 422, body = ErrorBody, description = "`not_loaded`: no recommender, or no model for texts"),
    )
)]
pub async fn recommend(
    State(app): State<App>,
    Current(served): Current,
    JsonBody(request): JsonBody<RecommendRequest>,
) -> Result<JsonAnswer<RecommendAnswer>, ApiError> {
    let Some(worker) = &served.models().recommender else {
        return Err(ApiError::not_loaded("a recommender", "recommender"));
    };
    let (queries, several) = queries(request, most_queries(app.0.limits()))?;
    let asked = Asked::check(&served, worker, queries, several).await?;
    let ranked = worker.recommend(asked.iter().map(|asked| asked.query.clone()).collect()).await?;
    let items = served.catalogue().read();
    let mut answers: Vec<Recommendations> =
        asked.into_iter().zip(&ranked).map(|(asked, ranked)| asked.answer(ranked, &served, &items)).collect();
    Ok(JsonAnswer(match (several, answers.pop()) {
        (false, Some(only)) => RecommendAnswer::One(only),
        (_, last) => {
            answers.extend(last);
            RecommendAnswer::Several { answers }
        }
    }))
}

/// The most queries of a request.
pub(super) fn most_queries(limits: &Limits) -> usize {
    limits.rows.min(MOST_QUERIES)
}

/// The queries of a request, and whether they came as several.
fn queries(request: RecommendRequest, most: usize) -> Result<(Vec<RecommendQuery>, bool), ApiError> {
    let RecommendRequest { queries, history, text, vector, count, beams, include_seen } = request;
    let single = history.is_some()
        || text.is_some()
        || vector.is_some()
        || count.is_some()
        || beams.is_some()
        || include_seen.is_some();
    match queries {
        Some(_) if single => Err(ApiError::bad_request("the body has `queries` and fields of a single query")
            .hint("put them into the queries")),
        Some(queries) => {
            check_count(queries.len(), most, "queries")?;
            Ok((queries, true))
        }
        None => {
            let (history, include_seen) = (history.unwrap_or_default(), include_seen.unwrap_or_default());
            Ok((vec![RecommendQuery { history, text, vector, count, beams, include_seen }], false))
        }
    }
}

/// A query that can be asked.
struct Asked {
    query: RankingQuery,
    /// Keys that the recommender does not know.
    unread: Vec<String>,
}

impl Asked {
    /// Looks up all keys, and embeds all texts together.
    async fn check(
        served: &Served,
        worker: &RecommendWorker,
        queries: Vec<RecommendQuery>,
        several: bool,
    ) -> Result<Vec<Self>, ApiError> {
        let dims = served.codec().dims();
        let (mut out, mut texts, mut of_text) = (Vec::with_capacity(queries.len()), Vec::new(), Vec::new());
        {
            let items = served.catalogue().read();
            let mut unknown: Vec<&str> = Vec::new();
            let listed: usize = queries.iter().map(|query| query.count.unwrap_or(COUNT)).fold(0, usize::saturating_add);
            if queries.len() > 1 && listed > MOST_LISTED {
                let problem = format!("the queries ask for {listed} items, at most {MOST_LISTED} come at once");
                return Err(ApiError::new(ErrorCode::TooLarge, problem).hint("send them in several requests"));
            }
            for query in &queries {
                out.push(Self::look_up(query, &items, worker, &mut unknown)?);
            }
            if !unknown.is_empty() {
                return Err(ApiError::unknown_items(&unknown));
            }
        }
        for (place, query) in queries.into_iter().enumerate() {
            if (query.text.is_some() || query.vector.is_some()) && !worker.info().wishes {
                return Err(ApiError::bad_request("the recommender reads no wishes")
                    .hint("send a history; a recommender of items that was trained with their vectors reads wishes"));
            }
            match (query.text, query.vector) {
                (Some(_), Some(_)) => {
                    return Err(ApiError::bad_request("a query has `text` and `vector`").hint("give one of them"));
                }
                (Some(text), None) => {
                    texts.push(text);
                    of_text.push(place);
                }
                (None, Some(vector)) => {
                    let name = if several { RowName::VectorOf(place) } else { RowName::Vector };
                    let mut wish = Vec::with_capacity(dims);
                    read_row(vector.get(), name, dims, &mut wish)?;
                    worker.check_wish(&wish, &name)?;
                    out[place].query.wish = Some(wish);
                }
                (None, None) if out[place].query.history.is_empty() => {
                    return Err(ApiError::bad_request("a query has neither a history nor a wish")
                        .hint("name at least 1 item, or send a wish"));
                }
                (None, None) => {}
            }
        }
        if !texts.is_empty() {
            let count = texts.len();
            let vectors = embed(served, texts, count).await?;
            for (row, place) in vectors.chunks_exact(dims).zip(of_text) {
                out[place].query.wish = Some(row.to_vec());
            }
        }
        Ok(out)
    }

    fn look_up<'a>(
        query: &'a RecommendQuery,
        items: &Items,
        worker: &RecommendWorker,
        unknown: &mut Vec<&'a str>,
    ) -> Result<Self, ApiError> {
        let count = query.count.unwrap_or(COUNT);
        check_items("count", count)?;
        if query.history.len() > MOST_HISTORY {
            let got = query.history.len();
            return Err(ApiError::bad_request(format!("a history has {got} items, expected at most {MOST_HISTORY}")));
        }
        if let Some(beams) = query.beams.filter(|beams| *beams == 0 || *beams > MOST_BEAMS) {
            return Err(ApiError::bad_request(format!("`beams` is {beams}, expected 1 to {MOST_BEAMS}")));
        }
        let (mut history, mut unread) = (Vec::with_capacity(query.history.len()), Vec::new());
        for key in &query.history {
            match items.find(key) {
                Some(number) => {
                    if !worker.knows(number) {
                        unread.push(key.clone());
                    }
                    history.push(number);
                }
                None => unknown.push(key),
            }
        }
        let (beams, include_seen) = (query.beams, query.include_seen);
        Ok(Self { query: RankingQuery { history, wish: None, count, beams, include_seen }, unread })
    }

    fn answer(self, ranked: &[RankedItem], served: &Served, items: &Items) -> Recommendations {
        let mut seen = self.query.history;
        // The latest first, each once.
        seen.reverse();
        let mut once = std::collections::HashSet::new();
        seen.retain(|number| once.insert(*number));
        let show = |ranked: &RankedItem| {
            let item = items.item(ranked.item);
            RecommendedItem {
                item: served.show(&item),
                probability: ranked.log_probability.exp(),
                log_probability: ranked.log_probability,
                why: reasons(item.codes, ranked.item, &seen, items),
            }
        };
        Recommendations { items: ranked.iter().map(show).collect(), unread: self.unread }
    }
}

/// The items of a history whose IDs begin as these codes do, the most alike first, then the latest.
fn reasons(codes: &[u32], itself: u32, latest_first: &[u32], items: &Items) -> Vec<Reason> {
    let alike = |number: &u32| {
        let shared = shared_codes(items.item(*number).codes, codes);
        (shared > 0 && *number != itself).then_some((shared, *number))
    };
    let mut found: Vec<(usize, u32)> = latest_first.iter().filter_map(alike).collect();
    // Stable, so that the latest stay first among equals.
    found.sort_by_key(|found| std::cmp::Reverse(found.0));
    found.truncate(REASONS);
    let reason = |(shared, number): (usize, u32)| {
        let item = items.item(number);
        Reason { key: item.key.to_owned(), title: item.title.map(str::to_owned), shared }
    };
    found.into_iter().map(reason).collect()
}
