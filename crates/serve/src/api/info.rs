//! `GET /v1/info`: what is served and what can be asked of it.

use crate::api::extract::{App, Current, JsonAnswer};
use crate::error::ApiError;
use crate::manners::limits::LimitsJson;
use crate::models::{LanguageInfo, LanguageWorker, RecommendWorker, RecommenderInfo};
use crate::served::Served;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// What is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InfoAnswer {
    /// The release of the service.
    version: &'static str,
    /// Which generation is served: one more after every reload.
    generation: u64,
    /// Items that have an ID.
    items: usize,
    /// Codes an ID.
    levels: usize,
    /// Codewords of each level.
    codebook_sizes: Vec<usize>,
    /// Values of a row.
    dims: usize,
    /// The codec's content hash.
    codec: String,
    /// How IDs are written.
    style: String,
    /// The ID of some item; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    example_id: Option<String>,
    /// What can be asked.
    can: CanJson,
    /// The recommender, if one is loaded.
    recommender: Option<RecommenderInfo>,
    /// The language model, if one is loaded.
    language: Option<LanguageInfo>,
    /// What a request may cost.
    limits: LimitsJson,
}

/// What can be asked of the service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CanJson {
    /// Codes of rows.
    encode: bool,
    /// Codes of texts.
    encode_text: bool,
    /// IDs that stay.
    assign: bool,
    /// Items by words.
    search_words: bool,
    /// Items by the meaning of a text.
    search_text: bool,
    /// Items by a vector.
    search_vector: bool,
    /// The next items of a history.
    recommend: bool,
    /// Items for a wish in words.
    recommend_text: bool,
    /// Answers of a language model.
    chat: bool,
}

/// What is served and what can be asked of it.
#[utoipa::path(
    get, path = "/v1/info", tag = "service",
    responses((status = 200, body = InfoAnswer, description = "What is served"))
)]
pub(crate) async fn info(State(app): State<App>, Current(served): Current) -> Result<JsonAnswer<InfoAnswer>, ApiError> {
    let codec = served.codec();
    let items = served.catalogue().read();
    let example = items.with_prefix(&[]).first().map(|number| served.show(&items.item(*number)).id);
    Ok(JsonAnswer(InfoAnswer {
        version: env!("CARGO_PKG_VERSION"),
        generation: app.0.generation(),
        items: items.len(),
        levels: codec.levels(),
        codebook_sizes: codec.codebook_sizes(),
        dims: codec.dims(),
        codec: codec.content_hash().to_owned(),
        style: served.names().style().to_owned(),
        example_id: example,
        can: can(&served, items.is_empty()),
        recommender: served.models().recommender.as_ref().map(RecommendWorker::info),
        language: served.models().language.as_ref().map(LanguageWorker::info),
        limits: app.0.limits().to_json(),
    }))
}

fn can(served: &Served, no_items: bool) -> CanJson {
    let models = served.models();
    let texts = models.embedder.is_some();
    let wishes = models.recommender.as_ref().is_some_and(|worker| worker.info().wishes);
    CanJson {
        encode: true,
        encode_text: texts,
        assign: served.assigning().is_some(),
        search_words: !no_items,
        search_text: texts && !no_items,
        search_vector: !no_items,
        recommend: models.recommender.is_some(),
        recommend_text: texts && wishes,
        chat: models.language.is_some(),
    }
}
