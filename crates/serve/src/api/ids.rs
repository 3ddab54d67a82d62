//! `GET /v1/ids/{id}`: the items of an ID.

use crate::api::extract::{Current, JsonAnswer, PathPart};
use crate::error::{ApiError, ErrorBody, ErrorCode, clip};
use crate::item::ItemJson;
use serde::Serialize;
use utoipa::ToSchema;

/// The items of an ID.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IdAnswer {
    /// The ID in the served spelling.
    id: String,
    /// Its codes.
    codes: Vec<u32>,
    /// The items on these codes; the one with its counter, if the ID has one.
    items: Vec<ItemJson>,
}

/// The items of an ID, in the served spelling or plain: `25-4-47` names all items on these codes, `25-4-47-1` the second.
#[utoipa::path(
    get, path = "/v1/ids/{id}", tag = "items",
    params(("id" = String, Path, description = "The ID, in the served spelling or as `25-4-47`, percent-encoded")),
    responses(
        (status = 200, body = IdAnswer, description = "The items"),
        (status = 400, body = ErrorBody, description = "`bad_request`: no ID"),
        (status = 404, body = ErrorBody, description = "`unknown_id`: no item has it"),
    )
)]
pub(crate) async fn id(Current(served): Current, PathPart(text): PathPart) -> Result<JsonAnswer<IdAnswer>, ApiError> {
    let named = served.names().parse(&text)?;
    let items = served.catalogue().read();
    let on_codes = items.with_prefix(&named.codes);
    let wanted = on_codes.iter().copied().filter(|n| named.counter == 0 || items.item(*n).counter == named.counter);
    let found: Vec<u32> = wanted.collect();
    if found.is_empty() {
        return Err(ApiError::new(ErrorCode::UnknownId, format!("no item has the ID `{}`", clip(&text)))
            .hint("`/v1/prefixes/…` lists the items of a shorter prefix"));
    }
    let shown = ItemJson::list(&found, &items, served.names());
    let id = served.names().write(&named.codes, named.counter)?;
    Ok(JsonAnswer(IdAnswer { id, codes: named.codes, items: shown }))
}
