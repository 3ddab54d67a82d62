//! `GET /v1/items/{key}`: an item, its place in the tree of IDs, and its neighbours there.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use crate::api::extract::{Asked, Current, JsonAnswer, PathPart};
use crate::error::{ApiError, ErrorBody};
use crate::item::ItemJson;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The most neighbours.
const MOST: usize = 1000;

/// What may follow the question mark.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ItemQuestion {
    /// How many neighbours to list. 10.
    #[serde(default = "ten")]
    #[param(maximum = 1000, default = 10)]
    neighbours: usize,
}

fn ten() -> usize {
    10
}

/// An item, its place and its neighbours.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemAnswer {
    #[serde(flatten)]
    item: ItemJson,
    /// The text that was embedded, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Its codes one by one, each with how many items share the prefix that ends with it.
    path: Vec<PathStep>,
    /// The items that share the longest prefixes with it.
    neighbours: Vec<NeighbourJson>,
}

/// One code of an ID.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PathStep {
    /// The code.
    code: u32,
    /// Its token in the served spelling.
    token: String,
    /// Items that share the prefix up to here, this one included.
    items: usize,
}

/// An item near another.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NeighbourJson {
    #[serde(flatten)]
    item: ItemJson,
    /// Codes of the common prefix.
    shared: usize,
}

/// An item with its text, its place in the tree of IDs, and its neighbours there.
#[utoipa::path(
    get, path = "/v1/items/{key}", tag = "items",
    params(("key" = String, Path, description = "The item's key, percent-encoded"), ItemQuestion),
    responses(
        (status = 200, body = ItemAnswer, description = "The item"),
        (status = 400, body = ErrorBody, description = "`bad_request`"),
        (status = 404, body = ErrorBody, description = "`unknown_item`"),
    )
)]
pub(crate) async fn item(
    Current(served): Current,
    PathPart(key): PathPart,
    Asked(asked): Asked<ItemQuestion>,
) -> Result<JsonAnswer<ItemAnswer>, ApiError> {
    if asked.neighbours > MOST {
        return Err(ApiError::bad_request(format!("`neighbours`: expected at most {MOST}, got {}", asked.neighbours)));
    }
    let items = served.catalogue().read();
    let number = items.find(&key).ok_or_else(|| ApiError::unknown_items(&[&key]))?;
    let item = items.item(number);
    let step = |(level, code): (usize, &u32)| PathStep {
        code: *code,
        token: served.names().token(level, *code),
        items: items.with_prefix(&item.codes[..=level]).len(),
    };
    let path = item.codes.iter().enumerate().map(step).collect();
    let near = items.sharing(item.codes, asked.neighbours, &|other| other == number);
    let show = |(other, shared): (u32, usize)| NeighbourJson { item: served.show(&items.item(other)), shared };
    let neighbours = near.into_iter().map(show).collect();
    let text = item.text.map(str::to_owned);
    Ok(JsonAnswer(ItemAnswer { item: served.show(&item), text, path, neighbours }))
}
