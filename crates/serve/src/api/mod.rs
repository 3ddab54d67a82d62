//! The routes. One module an endpoint: its JSON, its handler, and what the OpenAPI document says of it.

mod assign;
pub mod chat;
#[cfg(feature = "language")]
mod chat_answers;
mod chat_check;
mod chat_form;
mod encode;
pub mod extract;
mod guard;
mod health;
mod ids;
mod info;
mod items;
mod openapi;
mod page;
mod prefixes;
pub mod recommend;
mod recommend_form;
mod rows;
pub mod search;

use crate::api::extract::{App, Current};
use crate::api::openapi::ApiDocument;
use crate::error::{ApiError, ErrorCode};
use crate::service::Service;
use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use std::sync::Arc;

/// All routes, as figures name them.
pub(crate) const ROUTES: [&str; 16] = [
    "/v1/info",
    "/v1/encode",
    "/v1/assign",
    "/v1/items/{key}",
    "/v1/ids/{id}",
    "/v1/prefixes",
    "/v1/prefixes/{prefix}",
    "/v1/search",
    "/v1/recommend",
    "/v1/chat/completions",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/",
    "/{file}",
];

/// The routes of a service.
pub(crate) fn router(service: Arc<Service>) -> Router {
    let document = Arc::new(ApiDocument::new(service.settings().tokens.are_asked()));
    let openapi = move |State(app): State<App>, Current(served): Current| {
        let document = Arc::clone(&document);
        async move { document.answer(&served, app.0.limits()) }
    };
    let app = App(service);
    Router::new()
        .route("/v1/info", get(info::info))
        .route("/v1/encode", post(encode::encode))
        .route("/v1/assign", post(assign::assign))
        .route("/v1/items/{key}", get(items::item))
        .route("/v1/ids/{id}", get(ids::id))
        .route("/v1/prefixes", get(prefixes::root))
        .route("/v1/prefixes/{prefix}", get(prefixes::prefix))
        .route("/v1/search", post(search::search))
        .route("/v1/recommend", post(recommend::recommend))
        .route("/v1/chat/completions", post(chat::chat_completions))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi))
        .route("/", get(page::index))
        .route("/{file}", get(page::file))
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

async fn nothing() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is nothing at this path").hint("`/openapi.json` lists what there is")
}

async fn other_method() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, "this path takes other methods").hint("`/openapi.json` lists them")
}
