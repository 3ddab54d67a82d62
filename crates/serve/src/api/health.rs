//! `GET /healthz`, `/readyz` and `/metrics`: for whoever keeps the service running.

use crate::api::extract::{App, Current, JsonAnswer};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// That the service is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthAnswer {
    /// `alive` or `ready`.
    status: &'static str,
}

/// Whether the process answers at all.
#[utoipa::path(
    get, path = "/healthz", tag = "service",
    responses((status = 200, body = HealthAnswer, description = "It does"))
)]
pub(crate) async fn alive() -> JsonAnswer<HealthAnswer> {
    JsonAnswer(HealthAnswer { status: "alive" })
}

/// Whether requests should be sent here: everything is loaded, and the service is not stopping.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses(
        (status = 200, body = HealthAnswer, description = "They should"),
        (status = 503, body = ErrorBody, description = "`busy`: the service is stopping"),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<JsonAnswer<HealthAnswer>, ApiError> {
    if app.0.is_stopping() {
        return Err(ApiError::new(ErrorCode::Busy, "the service is stopping"));
    }
    Ok(JsonAnswer(HealthAnswer { status: "ready" }))
}

/// Figures of the service in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, body = String, content_type = "text/plain", description = "The figures"))
)]
pub(crate) async fn metrics(State(app): State<App>, Current(served): Current) -> Response {
    let items = served.catalogue().read().len();
    let text = app.0.metrics().render(items, app.0.generation());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
