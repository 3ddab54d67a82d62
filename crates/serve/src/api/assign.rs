//! `POST /v1/assign`: IDs that stay.

use crate::api::encode::embed;
use crate::api::extract::{App, Current, JsonAnswer, RawBody, check_json, given, parse_json};
use crate::api::rows::{RowName, check_count, read_row};
use crate::assigning::AssignBatch;
use crate::catalogue::{Item, NewItem};
use crate::error::{ApiError, ErrorBody, ErrorCode, clip};
use crate::item::ItemJson;
use crate::served::Served;
use axum::extract::State;
use axum::http::HeaderMap;
use sememe::ids::store::AssignedId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// The longest key, in characters.
pub(super) const MOST_KEY: usize = 1024;

/// Items that want an ID.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "what the document shows; bodies are read as AssignBody, without a copy of the rows' text"
)]
pub(crate) struct AssignRequest {
    /// The items; all of them get an ID, or none.
    items: Vec<AssignItem>,
}

/// An item with either a row or a text.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(crate) struct AssignItem {
    /// What programs call it; it keeps its ID under this key.
    #[schema(min_length = 1)]
    key: String,
    /// Its embedding.
    #[schema(nullable = false)]
    row: Option<Vec<f32>>,
    /// Its text, for the model that made the items' vectors.
    #[schema(nullable = false)]
    text: Option<String>,
    /// What people call it, until the service is started again: the catalogue's file has the titles that stay.
    #[schema(nullable = false)]
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignBody<'a> {
    #[serde(borrow)]
    items: Vec<AskedItem<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedItem<'a> {
    key: String,
    #[serde(borrow, default, deserialize_with = "given")]
    row: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    #[serde(default, deserialize_with = "given")]
    title: Option<String>,
}

/// IDs, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignAnswer {
    /// The items with the IDs that they keep.
    items: Vec<AssignedJson>,
}

/// An item and how it came by its ID.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignedJson {
    #[serde(flatten)]
    item: ItemJson,
    /// Whether the ID is new.
    new: bool,
    /// Whether it is an older ID on other codes than those of this embedding.
    drifted: bool,
}

/// IDs that stay: an item that has one keeps it, whatever its embedding has become. All items of a request get theirs, or none does; once it
/// is answered the store has kept them.
#[utoipa::path(
    post, path = "/v1/assign", tag = "ids", request_body = AssignRequest,
    responses(
        (status = 200, body = AssignAnswer, description = "IDs, in the order of the request"),
        (status = 400, body = ErrorBody, description = "`bad_json`, `bad_request`, `rows_shape`, `not_finite`"),
        (status = 409, body = ErrorBody, description = "`same_key`: two items have one key"),
        (status = 422, body = ErrorBody, description = "`not_loaded`: no store, or texts without a model for them"),
        (status = 503, body = ErrorBody, description = "`store`, `busy`, `timeout`: ask again; who got an ID keeps it"),
    )
)]
pub(crate) async fn assign(
    State(app): State<App>,
    Current(served): Current,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<JsonAnswer<AssignAnswer>, ApiError> {
    let store = served.assigning().ok_or_else(|| ApiError::not_loaded("a store of IDs", "store"))?;
    check_json(&headers)?;
    let asked: AssignBody<'_> = parse_json(&body)?;
    check_count(asked.items.len(), app.0.limits().rows, "items")?;
    check_keys(&asked.items)?;
    let rows = rows(&served, &asked.items, app.0.limits().rows).await?;
    let codes = served.encoding().encode(rows).await?;
    app.0.metrics().rows.fetch_add(asked.items.len() as u64, Ordering::Relaxed);
    let keys = asked.items.iter().map(|item| item.key.clone()).collect();
    let given = if asked.items.is_empty() { Vec::new() } else { store.assign(AssignBatch { keys, codes }).await? };
    let new = |(item, given): (AskedItem<'_>, &AssignedId)| NewItem {
        key: item.key,
        title: item.title.filter(|title| !title.is_empty()),
        text: item.text,
        codes: given.id.codes.clone(),
        counter: given.id.counter,
    };
    let items: Vec<NewItem> = asked.items.into_iter().zip(&given).map(new).collect();
    app.0.add(&served, &items);
    let fresh = given.iter().filter(|given| given.new).count() as u64;
    app.0.metrics().new_items.fetch_add(fresh, Ordering::Relaxed);
    app.0.metrics().known_items.fetch_add(given.len() as u64 - fresh, Ordering::Relaxed);
    let shown = items.iter().zip(&given).map(|(item, given)| show(&served, item, given)).collect();
    Ok(JsonAnswer(AssignAnswer { items: shown }))
}

fn show(served: &Served, new: &NewItem, given: &AssignedId) -> AssignedJson {
    let items = served.catalogue().read();
    let known = items.find(&new.key).map(|number| items.item(number));
    let title = known.and_then(|item| item.title).or(new.title.as_deref());
    let item = Item { number: 0, key: &new.key, title, text: None, codes: &new.codes, counter: new.counter };
    AssignedJson { item: served.show(&item), new: given.new, drifted: given.drifted }
}

fn check_keys(items: &[AskedItem<'_>]) -> Result<(), ApiError> {
    let mut first = HashMap::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        // Bytes are counted at once, and are never fewer.
        let have = if item.key.len() > MOST_KEY { item.key.chars().count() } else { item.key.len() };
        if have == 0 || have > MOST_KEY {
            return Err(ApiError::bad_request(format!(
                "the key of item {at} has {have} characters, expected 1 to {MOST_KEY}"
            )));
        }
        if item.row.is_some() == item.text.is_some() {
            return Err(ApiError::bad_request(format!("item {at}: expected one of `row` and `text`")));
        }
        if let Some(first) = first.insert(item.key.as_str(), at) {
            let key = clip(&item.key);
            return Err(ApiError::new(ErrorCode::SameKey, format!("items {first} and {at} have the same key `{key}`"))
                .hint("send an item once in a request"));
        }
    }
    Ok(())
}

/// The rows of all items, those of texts by the model for them.
async fn rows(served: &Served, items: &[AskedItem<'_>], most: usize) -> Result<Vec<f32>, ApiError> {
    let dims = served.codec().dims();
    let texts: Vec<String> = items.iter().filter_map(|item| item.text.clone()).collect();
    let vectors = if texts.is_empty() { Vec::new() } else { embed(served, texts, most).await? };
    let mut of_texts = vectors.chunks_exact(dims);
    let mut rows = Vec::with_capacity(items.len() * dims);
    for (number, item) in items.iter().enumerate() {
        match item.row {
            Some(row) => read_row(row.get(), RowName::Row(number), dims, &mut rows)?,
            None => rows.extend_from_slice(of_texts.next().unwrap_or_default()),
        }
    }
    Ok(rows)
}
