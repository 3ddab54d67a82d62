//! `POST /v1/chat/completions`: a language model that names items, in the form that OpenAI's clients speak.

use crate::api::chat_check::CheckedChat;
use crate::api::chat_form::{ChatChunk, ChatCompletion, ChatRequest};
#[cfg(feature = "language")]
use crate::api::extract::JsonAnswer;
use crate::api::extract::{App, Current, JsonBody};
use crate::error::{ApiError, ErrorBody};
use crate::served::Served;
use axum::extract::State;
#[cfg(feature = "language")]
use axum::response::IntoResponse as _;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;

/// Goes on with a chat, in OpenAI's form: the answer is the ID of an item that exists, or, with a marker, a text that names such IDs
/// behind it.
///
/// With `stream` the answer comes as server-sent events: `data:` with a piece each, then `data: [DONE]`. An error after the first piece
/// comes as an event, too.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "recommendations", request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer, whole or in pieces", content(
            (ChatCompletion = "application/json"), (ChatChunk = "text/event-stream"),
        )),
        (status = 400, body = ErrorBody, description = "`bad_json`, `bad_request`"),
        (status = 422, body = ErrorBody, description = "`not_loaded`: no language model"),
    )
)]
pub async fn chat_completions(
    State(app): State<App>,
    Current(served): Current,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    if served.models().language.is_none() {
        return Err(ApiError::not_loaded("a language model", "language"));
    }
    answer(served, CheckedChat::new(request)?, app.0.limits().time).await
}

#[cfg(feature = "language")]
async fn answer(served: Arc<Served>, asked: CheckedChat, patience: Duration) -> Result<Response, ApiError> {
    use crate::api::chat_answers::{answer_in_pieces, answer_whole};
    if asked.stream {
        return answer_in_pieces(served, asked, patience).await;
    }
    Ok(JsonAnswer(answer_whole(served, asked).await?).into_response())
}

/// A build without language models has loaded none.
#[cfg(not(feature = "language"))]
async fn answer(_: Arc<Served>, _: CheckedChat, _: Duration) -> Result<Response, ApiError> {
    Err(ApiError::not_loaded("a language model", "language"))
}
