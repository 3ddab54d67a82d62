//! `POST /v1/encode`: rows or texts to codes and IDs.

use crate::api::extract::{App, Current, JsonAnswer, RawBody, check_json, given, media_type, parse_json};
use crate::api::rows::{check_count, read_rows, rows_of_bytes};
use crate::error::{ApiError, ErrorBody};
use crate::served::Served;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::atomic::Ordering;
use utoipa::ToSchema;

/// The media type of raw values.
pub(crate) const RAW: &str = "application/octet-stream";

/// Either rows or texts.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "what the document shows; bodies are read as EncodeBody, without a copy of the rows' text"
)]
pub(crate) struct EncodeRequest {
    /// Embeddings, as many values each as the codec takes.
    #[schema(nullable = false)]
    rows: Option<Vec<Vec<f32>>>,
    /// Texts, for the model that made the items' vectors.
    #[schema(nullable = false)]
    texts: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodeBody<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    rows: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "given")]
    texts: Option<Vec<String>>,
}

/// Codes and IDs, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EncodeAnswer {
    /// Codes, coarse to fine.
    codes: Vec<Vec<u32>>,
    /// The same as the IDs of the first items on these codes.
    ids: Vec<String>,
}

/// Rows or texts to codes and IDs. Nothing is kept: the same row has the same codes, here and on every other device.
///
/// With `content-type: application/octet-stream` the body is rows of little-endian float32 values, one after the other; with
/// `accept: application/octet-stream` the answer is little-endian uint32 codes, `levels` a row.
#[utoipa::path(
    post, path = "/v1/encode", tag = "ids",
    request_body(content(
        (EncodeRequest = "application/json"),
        (Vec<u8> = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "Codes and IDs", content(
            (EncodeAnswer = "application/json"), (Vec<u8> = "application/octet-stream"),
        )),
        (status = 400, body = ErrorBody, description = "`bad_json`, `bad_request`, `rows_shape`, `not_finite`"),
        (status = 422, body = ErrorBody, description = "`not_loaded`: texts, without a model for them"),
    )
)]
pub(crate) async fn encode(
    State(app): State<App>,
    Current(served): Current,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let most = app.0.limits().rows;
    let rows = if media_type(&headers).as_deref() == Some(RAW) {
        rows_of_bytes(&body, served.codec().dims(), most)?
    } else {
        check_json(&headers)?;
        let asked: EncodeBody<'_> = parse_json(&body)?;
        match (asked.rows, asked.texts) {
            (Some(rows), None) => read_rows(rows.get(), served.codec().dims(), most)?,
            (None, Some(texts)) => embed(&served, texts, most).await?,
            _ => return Err(ApiError::bad_request("expected one of `rows` and `texts`")),
        }
    };
    let codes = served.encoding().encode(rows).await?;
    let levels = served.codec().levels();
    app.0.metrics().rows.fetch_add((codes.len() / levels) as u64, Ordering::Relaxed);
    let raw = headers.get(ACCEPT).is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.contains(RAW)));
    if raw {
        let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
        return Ok(([(CONTENT_TYPE, RAW)], bytes).into_response());
    }
    let ids = codes.chunks_exact(levels).map(|codes| served.names().write(codes, 0));
    let ids = ids.collect::<sememe::Result<_>>()?;
    let codes = codes.chunks_exact(levels).map(<[u32]>::to_vec).collect();
    Ok(JsonAnswer(EncodeAnswer { codes, ids }).into_response())
}

/// Vectors of texts, one after the other.
pub(super) async fn embed(served: &Served, texts: Vec<String>, most: usize) -> Result<Vec<f32>, ApiError> {
    check_count(texts.len(), most, "texts")?;
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let vectors = served.models().embed(texts).await?;
    let (expected, got) = (served.codec().dims(), vectors.dims());
    if expected == got {
        return Ok(vectors.into_vec());
    }
    Err(ApiError::internal(format!("the model of texts gives vectors of {got} values, the codec takes {expected}")))
}
