//! `POST /v1/search`: items by words, by meaning, by a vector, or by an item that they are like.

use crate::api::encode::embed;
use crate::api::extract::{Current, JsonAnswer, JsonBody, given, given_whole};
use crate::api::rows::{RowName, read_row};
use crate::error::{ApiError, ErrorBody};
use crate::item::ItemJson;
use crate::served::Served;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::ToSchema;

/// The most items of one answer.
pub const MOST_ITEMS: usize = 1000;

/// What is searched for: exactly one of `words`, `text`, `vector` and `like`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words in keys and titles; the last may be a beginning.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub words: Option<String>,
    /// A text by its meaning.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// A vector of the kind that the codec takes.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, value_type = Option<Vec<f32>>)]
    pub vector: Option<Box<RawValue>>,
    /// The key of an item.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub like: Option<String>,
    /// Items at most.
    #[serde(default, deserialize_with = "given_whole")]
    #[schema(nullable = false, default = 20, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// Items that come unless it is said how many.
const LIMIT: usize = 20;

/// How items were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// Words in keys and titles.
    Words,
    /// Exact distances of vectors.
    Distance,
    /// Prefixes of IDs that are shared.
    Id,
}

/// An item that was found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FoundItem {
    /// The item.
    #[serde(flatten)]
    pub item: ItemJson,
    /// How far its vector is from the one that is searched for, by the codec's metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// How many codes it shares with what is searched for, from the first on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<usize>,
}

/// Items that were found, best first.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SearchAnswer {
    /// How they were found.
    pub by: FoundBy,
    /// The items.
    pub items: Vec<FoundItem>,
}

/// Finds items by words, by the meaning of a text, by a vector, or like another item.
///
/// By exact distance where the items' vectors are kept; otherwise by ID: items on the same codes, then those of ever shorter prefixes.
#[utoipa::path(
    post, path = "/v1/search", tag = "items", request_body = SearchRequest,
    responses(
        (status = 200, body = SearchAnswer, description = "Items, best first"),
        (status = 400, body = ErrorBody, description = "`bad_json`, `bad_request`, `rows_shape`, `not_finite`"),
        (status = 404, body = ErrorBody, description = "`unknown_item`: there is no item to be like"),
        (status = 422, body = ErrorBody, description = "`not_loaded`: a text, without a model for it"),
    )
)]
pub async fn search(
    Current(served): Current,
    JsonBody(request): JsonBody<SearchRequest>,
) -> Result<JsonAnswer<SearchAnswer>, ApiError> {
    let SearchRequest { words, text, vector, like, limit } = request;
    let limit = limit.unwrap_or(LIMIT);
    check_items("limit", limit)?;
    let answer = match (words, text, vector, like) {
        (Some(words), None, None, None) => by_words(served, words, limit).await?,
        (None, Some(text), None, None) => {
            let vector = embed(&served, vec![text], 1).await?;
            by_vector(served, vector, limit).await?
        }
        (None, None, Some(text), None) => {
            let mut vector = Vec::with_capacity(served.codec().dims());
            read_row(text.get(), RowName::Vector, served.codec().dims(), &mut vector)?;
            by_vector(served, vector, limit).await?
        }
        (None, None, None, Some(key)) => by_likeness(served, &key, limit).await?,
        (words, text, vector, like) => {
            let given = [words.is_some(), text.is_some(), vector.is_some(), like.is_some()];
            let count = given.iter().filter(|given| **given).count();
            return Err(ApiError::bad_request(format!("the body has {count} of `words`, `text`, `vector` and `like`"))
                .hint("give exactly one of them"));
        }
    };
    Ok(JsonAnswer(answer))
}

/// Refuses a number of items that is not from 1 to [`MOST_ITEMS`].
pub(crate) fn check_items(field: &str, count: usize) -> Result<(), ApiError> {
    if (1..=MOST_ITEMS).contains(&count) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("`{field}` is {count}, expected 1 to {MOST_ITEMS}")))
}

/// How many codes two items share, from the first on.
pub(crate) fn shared_codes(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

async fn by_words(served: Arc<Served>, words: String, limit: usize) -> Result<SearchAnswer, ApiError> {
    let find = move || {
        let items = served.catalogue().read();
        let found = items.search(&words, limit);
        ItemJson::list(&found, &items, served.names())
    };
    let found = tokio::task::spawn_blocking(find).await.map_err(ApiError::internal)?;
    let item = |item| FoundItem { item, distance: None, shared: None };
    Ok(SearchAnswer { by: FoundBy::Words, items: found.into_iter().map(item).collect() })
}

async fn by_vector(served: Arc<Served>, vector: Vec<f32>, limit: usize) -> Result<SearchAnswer, ApiError> {
    let codes = served.encoding().encode(vector.clone()).await?;
    if served.vectors().is_some() {
        return by_distance(served, vector, codes, limit, None).await;
    }
    Ok(by_id(&served, &codes, limit, None))
}

async fn by_likeness(served: Arc<Served>, key: &str, limit: usize) -> Result<SearchAnswer, ApiError> {
    let (number, codes) = {
        let items = served.catalogue().read();
        let number = items.find(key).ok_or_else(|| ApiError::unknown_items(&[key]))?;
        (number, items.item(number).codes.to_vec())
    };
    match served.vectors().and_then(|vectors| vectors.of(number)).map(<[f32]>::to_vec) {
        Some(vector) => by_distance(served, vector, codes, limit, Some(number)).await,
        // The vector of an item that was assigned its ID since the vectors were loaded is not kept.
        None => Ok(by_id(&served, &codes, limit, Some(number))),
    }
}

/// Exact distances, beside how many codes are shared.
async fn by_distance(
    served: Arc<Served>,
    vector: Vec<f32>,
    codes: Vec<u32>,
    limit: usize,
    except: Option<u32>,
) -> Result<SearchAnswer, ApiError> {
    let measure = move || -> Result<SearchAnswer, ApiError> {
        let found = match served.vectors() {
            Some(vectors) => vectors.nearest(&vector, limit, except)?,
            None => Vec::new(),
        };
        let items = served.catalogue().read();
        let show = |(number, distance): (u32, f64)| {
            let item = items.item(number);
            let shared = Some(shared_codes(item.codes, &codes));
            FoundItem { item: served.show(&item), distance: Some(distance), shared }
        };
        Ok(SearchAnswer { by: FoundBy::Distance, items: found.into_iter().map(show).collect() })
    };
    tokio::task::spawn_blocking(measure).await.map_err(ApiError::internal)?
}

/// Items on the same codes, then those of ever shorter prefixes.
fn by_id(served: &Served, codes: &[u32], limit: usize, except: Option<u32>) -> SearchAnswer {
    let items = served.catalogue().read();
    let found = items.sharing(codes, limit, &|number| Some(number) == except);
    let show = |(number, shared): (u32, usize)| FoundItem {
        item: served.show(&items.item(number)),
        distance: None,
        shared: Some(shared),
    };
    SearchAnswer { by: FoundBy::Id, items: found.into_iter().map(show).collect() }
}
