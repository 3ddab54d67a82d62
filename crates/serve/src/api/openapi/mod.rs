//! The OpenAPI document: from the handlers and their types what is true of every service, and from what is served the rest, how many values
//! a row has, say.

mod bounds;

use crate::api::{assign, encode, health, ids, info, items, prefixes};
use crate::api::{chat, recommend, search};
use crate::error::{ErrorBody, ErrorCode};
use crate::manners::limits::Limits;
use crate::served::Served;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bounds::Bounds;
use hyper::body::Bytes;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

#[derive(OpenApi)]
#[openapi(
    info(title = "Sememe", description = "Semantic IDs: encode, assign, find, recommend"),
    paths(
        info::info,
        encode::encode,
        assign::assign,
        items::item,
        ids::id,
        prefixes::root,
        prefixes::prefix,
        search::search,
        recommend::recommend,
        chat::chat_completions,
        health::alive,
        health::ready,
        health::metrics,
    ),
    components(schemas(ErrorBody))
)]
struct Document;

/// What any request may be answered with, beside what its endpoint says; whether it is only for requests with bodies.
const ANY: [(ErrorCode, &str, bool); 7] = [
    (ErrorCode::Unauthorized, "`unauthorized`: a token is missing or wrong", false),
    (ErrorCode::TooLarge, "`too_large`: a longer body, more rows or a longer chat than are taken", true),
    (ErrorCode::UnsupportedMediaType, "`unsupported_media_type`", true),
    (ErrorCode::TooManyRequests, "`too_many_requests`: ask again after Retry-After", false),
    (ErrorCode::Busy, "`busy`, `timeout`, `store`: ask again after Retry-After", false),
    (ErrorCode::Internal, "`internal`: the service failed; its log says more", false),
    (ErrorCode::BadRequest, "`bad_request`, `bad_json`", true),
];

/// The document of what is served, made anew for each generation.
#[derive(Debug)]
pub struct ApiDocument {
    general: Value,
    made: Mutex<Option<(Weak<Served>, Bytes)>>,
}

impl ApiDocument {
    /// What is true of every service; `tokens` says whether requests need one.
    pub fn new(tokens: bool) -> Self {
        // The types can be written as JSON.
        let general = serde_json::to_value(document(tokens)).unwrap_or_default();
        Self { general, made: Mutex::default() }
    }

    /// `GET /openapi.json`.
    pub fn answer(&self, served: &Arc<Served>, limits: &Limits) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.of(served, limits)).into_response()
    }

    fn of(&self, served: &Arc<Served>, limits: &Limits) -> Bytes {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, bytes)) = made.as_ref()
            && std::ptr::eq(of.as_ptr(), Arc::as_ptr(served))
        {
            return bytes.clone();
        }
        let mut document = self.general.clone();
        Bounds::new(served, limits).apply(&mut document);
        let bytes = Bytes::from(document.to_string());
        *made = Some((Arc::downgrade(served), bytes.clone()));
        bytes
    }
}

fn document(tokens: bool) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    if tokens && let Some(components) = &mut document.components {
        components.add_security_scheme("bearer", bearer);
    }
    for (path, item) in &mut document.paths.paths {
        let guarded = path.starts_with("/v1/") || path == "/metrics";
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            if guarded {
                add_errors(operation, tokens);
            }
            if guarded && tokens {
                operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("bearer", [])]);
            }
        }
    }
    document
}

fn add_errors(operation: &mut Operation, tokens: bool) {
    let with_body = operation.request_body.is_some();
    for (code, description, for_bodies) in ANY {
        if (for_bodies && !with_body) || (code == ErrorCode::Unauthorized && !tokens) {
            continue;
        }
        let content = Content::new(Some(Ref::from_schema_name("ErrorBody")));
        let response = ResponseBuilder::new().description(description).content("application/json", content).build();
        let status = code.status().as_u16().to_string();
        operation.responses.responses.entry(status).or_insert(RefOr::T(response));
    }
}
