//! What every request that fails is answered with.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sememe::Error;
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// What kind of failure it is: a name that programs can rely on, and its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The body is no JSON, or not of the form that the endpoint takes (400).
    BadJson,
    /// Something in the request cannot be used (400).
    BadRequest,
    /// A row has another number of values than the codec takes (400).
    RowsShape,
    /// A row holds NaN, infinity or a number too large for float32 (400).
    NotFinite,
    /// There is no item with that key (404).
    UnknownItem,
    /// No item has that ID (404).
    UnknownId,
    /// A bearer token is missing or wrong (401).
    Unauthorized,
    /// There is nothing at that path (404).
    NotFound,
    /// That path takes other methods (405).
    MethodNotAllowed,
    /// The body is longer, or has more rows, than is taken (413).
    TooLarge,
    /// The body is of a type that the endpoint does not take (415).
    UnsupportedMediaType,
    /// As many requests as are served at once are being served (429, with Retry-After).
    TooManyRequests,
    /// A queue is full, or the service is stopping (503, with Retry-After).
    Busy,
    /// The request took longer than it may (503).
    Timeout,
    /// The service was started without what the request needs (422): 501 would be the service's own fault, and asked again for nothing.
    NotLoaded,
    /// Two items of a request have one key (409).
    SameKey,
    /// The store of IDs cannot be read or written (503).
    Store,
    /// The service itself failed (500).
    Internal,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadJson | Self::BadRequest | Self::RowsShape | Self::NotFinite => StatusCode::BAD_REQUEST,
            Self::UnknownItem | Self::UnknownId | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::NotLoaded => StatusCode::UNPROCESSABLE_ENTITY,
            Self::SameKey => StatusCode::CONFLICT,
            Self::Busy | Self::Timeout | Self::Store => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which it is worth another try, where it is.
    fn retry_after(self) -> Option<u32> {
        matches!(self, Self::TooManyRequests | Self::Busy | Self::Timeout | Self::Store).then_some(1)
    }
}

/// A request that failed: a code, a sentence and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiError {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// What is wrong, with the numbers.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The body of an answer to a request that failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ApiError,
}

impl ApiError {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Something in the request that cannot be used.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// An endpoint whose `needs` the service was started without; `source` is the field of [`crate::Sources`] that names it.
    pub fn not_loaded(needs: &str, source: &str) -> Self {
        let message = format!("this service was started without {needs}");
        Self::new(ErrorCode::NotLoaded, message).hint(format!("whoever runs it can name one as `{source}`"))
    }

    /// Keys that name no item.
    pub fn unknown_items<S: AsRef<str>>(keys: &[S]) -> Self {
        let shown: Vec<String> = keys.iter().take(5).map(|key| format!("`{}`", clip(key.as_ref()))).collect();
        let more = keys.len().saturating_sub(shown.len());
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        Self::new(ErrorCode::UnknownItem, format!("there is no item {}{rest}", shown.join(", ")))
    }

    /// A queue that is full.
    pub fn busy(what: &str) -> Self {
        Self::new(ErrorCode::Busy, format!("{what} is busy")).hint("ask again after the seconds that Retry-After says")
    }

    /// A failure of the service's own; what it was goes into the log only.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(ErrorCode::Internal, "the service failed; its log says more")
    }
}

/// At most 200 characters of what a client sent.
pub(crate) fn clip(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(end, _)| &text[..end])
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// What a library says of what a request asked for.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error.root() {
            Error::Shape { .. } => Self::new(ErrorCode::RowsShape, error.to_string()),
            Error::NonFinite { .. } => Self::new(ErrorCode::NotFinite, error.to_string()),
            Error::Data(_) | Error::Text { .. } | Error::Config { .. } => Self::bad_request(error.to_string()),
            Error::Store(_) => {
                tracing::error!(%error, "store failed");
                // What the place of a store is called is the operator's own business.
                Self::new(ErrorCode::Store, "the store of IDs cannot be used; the service's log says more")
                    .hint("nothing of this request was kept; send it again")
            }
            _ => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code;
        let body = serde_json::to_vec(&ErrorBody { error: self }).unwrap_or_default();
        let mut response = (code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = code.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == ErrorCode::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(code);
        response
    }
}
