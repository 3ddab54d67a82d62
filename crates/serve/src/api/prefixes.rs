//! `GET /v1/prefixes/{prefix}`: the tree of IDs, node by node.

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

use crate::api::extract::{Asked, Current, JsonAnswer, PathPart};
use crate::error::{ApiError, ErrorBody, ErrorCode, clip};
use crate::item::ItemJson;
use crate::served::Served;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The most items.
const MOST: usize = 10_000;

/// What may follow the question mark.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PrefixQuestion {
    /// How many items to list. 50.
    #[serde(default = "fifty")]
    #[param(maximum = 10_000, default = 50)]
    limit: usize,
}

fn fifty() -> usize {
    50
}

/// What begins with a prefix.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PrefixAnswer {
    /// The prefix in the served spelling; empty for the root.
    prefix: String,
    /// Its codes.
    codes: Vec<u32>,
    /// Items whose IDs begin with it.
    items_total: usize,
    /// The codes that follow it, in their order; none after a whole ID.
    children: Vec<ChildJson>,
    /// The first of the items, in the order of their IDs.
    items: Vec<ItemJson>,
}

/// A code that follows a prefix.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChildJson {
    /// The code.
    code: u32,
    /// The prefix that ends with it, plain: what `/v1/prefixes/` takes.
    prefix: String,
    /// The code's token in the served spelling.
    token: String,
    /// Items whose IDs begin with that prefix.
    items: usize,
    /// The first of them.
    example: ItemJson,
}

/// All IDs: the codes that they begin with.
#[utoipa::path(
    get, path = "/v1/prefixes", tag = "items", params(PrefixQuestion),
    responses(
        (status = 200, body = PrefixAnswer, description = "The root of the tree of IDs"),
        (status = 400, body = ErrorBody, description = "`bad_request`"),
    )
)]
pub(crate) async fn root(
    Current(served): Current,
    Asked(asked): Asked<PrefixQuestion>,
) -> Result<JsonAnswer<PrefixAnswer>, ApiError> {
    node(&served, Vec::new(), &asked)
}

/// What begins with a prefix: the codes that follow it, and items.
#[utoipa::path(
    get, path = "/v1/prefixes/{prefix}", tag = "items",
    params(("prefix" = String, Path, description = "The first codes of an ID, in the served spelling or as `25-4`, percent-encoded"), PrefixQuestion),
    responses(
        (status = 200, body = PrefixAnswer, description = "The node of the tree of IDs"),
        (status = 400, body = ErrorBody, description = "`bad_request`: no prefix of an ID"),
        (status = 404, body = ErrorBody, description = "`unknown_id`: no item's ID begins with it"),
    )
)]
pub(crate) async fn prefix(
    Current(served): Current,
    PathPart(text): PathPart,
    Asked(asked): Asked<PrefixQuestion>,
) -> Result<JsonAnswer<PrefixAnswer>, ApiError> {
    let codes = served.names().parse_prefix(&text)?;
    if served.catalogue().read().with_prefix(&codes).is_empty() {
        return Err(ApiError::new(ErrorCode::UnknownId, format!("no item's ID begins with `{}`", clip(&text))));
    }
    node(&served, codes, &asked)
}

fn node(served: &Served, codes: Vec<u32>, asked: &PrefixQuestion) -> Result<JsonAnswer<PrefixAnswer>, ApiError> {
    if asked.limit > MOST {
        return Err(ApiError::bad_request(format!("`limit`: expected at most {MOST}, got {}", asked.limit)));
    }
    let (items, names) = (served.catalogue().read(), served.names());
    let all = items.with_prefix(&codes);
    let child = |(code, numbers): (u32, &[u32])| {
        let mut longer = codes.clone();
        longer.push(code);
        Some(ChildJson {
            code,
            prefix: names.plain_prefix(&longer),
            token: names.token(codes.len(), code),
            items: numbers.len(),
            example: served.show(&items.item(*numbers.first()?)),
        })
    };
    let answer = PrefixAnswer {
        prefix: names.write_prefix(&codes),
        items_total: all.len(),
        children: items.children(&codes).into_iter().filter_map(child).collect(),
        items: ItemJson::list(&all[..all.len().min(asked.limit)], &items, names),
        codes,
    };
    Ok(JsonAnswer(answer))
}
