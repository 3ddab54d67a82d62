//! What every request goes through: who asks, how much it brings, whether there is room, how long it takes, what is noted of it.

use crate::api::extract::App;
use crate::error::{ApiError, ErrorCode, clip};
use crate::manners::metrics::Gauge;
use crate::service::{HeldBytes, Service};
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// The middleware of all routes.
pub(crate) async fn guard(State(app): State<App>, request: Request<Body>, next: Next) -> Response {
    let service = app.0;
    let begun = Instant::now();
    let _flying = Gauge::hold(&service.metrics().in_flight);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let shown = service.settings().log_content.then(|| request.uri().path().to_owned());
    let mut response = match tokio::time::timeout(service.limits().time, admit(&service, request, next)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = service.limits().time.as_secs_f64();
            ApiError::new(ErrorCode::Timeout, format!("the request took longer than {seconds} seconds")).into_response()
        }
    };
    if service.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    note(&service, &method, route.as_ref(), shown.as_deref(), begun, &response);
    response
}

/// Counts the answer, and logs it.
fn note(
    service: &Service,
    method: &Method,
    route: Option<&MatchedPath>,
    path: Option<&str>,
    begun: Instant,
    answer: &Response,
) {
    let (status, took) = (answer.status().as_u16(), begun.elapsed());
    let route = route.map(MatchedPath::as_str);
    service.metrics().count(route, status, took);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    // Codes are no content; messages may quote keys.
    let code = answer.extensions().get::<ErrorCode>().copied();
    let path = path.map(clip);
    tracing::info!(%method, route = route.unwrap_or("other"), path, status, code = ?code, micros, "answered");
}

/// Whether a route is for those with a token.
fn is_guarded(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/metrics"
}

async fn admit(service: &Arc<Service>, request: Request<Body>, next: Next) -> Response {
    match work(service, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn work(service: &Arc<Service>, request: Request<Body>, next: Next) -> Result<Response, ApiError> {
    if !is_guarded(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    if service.is_stopping() {
        return Err(ApiError::new(ErrorCode::Busy, "the service is stopping").hint("ask another one, or again later"));
    }
    let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if !service.settings().tokens.admit(header) {
        let missing = if header.is_some() { "the token is wrong" } else { "a token is missing" };
        return Err(ApiError::new(ErrorCode::Unauthorized, missing).hint("send `Authorization: Bearer TOKEN`"));
    }
    // Not yet a turn: a body that comes slowly keeps nobody else from being served.
    let (parts, body) = request.into_parts();
    let mut held = service.hold_bytes();
    let body = read(service, &parts.headers, body, &mut held).await?;
    let _turn = service.take_turn()?;
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

/// A body, within the limits on bytes and seconds.
async fn read(service: &Service, headers: &HeaderMap, mut body: Body, held: &mut HeldBytes) -> Result<Bytes, ApiError> {
    let limits = service.limits();
    let too_large = || {
        ApiError::new(ErrorCode::TooLarge, format!("the body is longer than {} bytes", limits.body_bytes))
            .hint("send it in several requests")
    };
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|bytes| bytes > limits.body_bytes as u64) {
        return Err(too_large());
    }
    let whole = async {
        let (mut first, mut all) = (Bytes::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::bad_request("the body was cut short"))?;
            let Ok(data) = frame.into_data() else { continue };
            held.grow(data.len())?;
            if first.len() + all.len() + data.len() > limits.body_bytes {
                return Err(too_large());
            }
            match (first.is_empty(), all.is_empty()) {
                // Most bodies are one piece, which needs no copy.
                (true, true) => first = data,
                (false, true) => {
                    all.reserve(first.len() + data.len());
                    all.extend_from_slice(&first);
                    all.extend_from_slice(&data);
                    first = Bytes::new();
                }
                _ => all.extend_from_slice(&data),
            }
        }
        Ok(if all.is_empty() { first } else { Bytes::from(all) })
    };
    match tokio::time::timeout(limits.body_seconds, whole).await {
        Ok(body) => body,
        Err(_) => {
            let seconds = limits.body_seconds.as_secs_f64();
            Err(ApiError::new(ErrorCode::Timeout, format!("the body took longer than {seconds} seconds")))
        }
    }
}
