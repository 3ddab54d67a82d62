//! The page: files that are part of the program.

use crate::api::extract::PathPart;
use crate::error::{ApiError, ErrorCode};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// What the page may do: load and ask its own server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

struct PageFile {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

macro_rules! files {
    ($($name:literal $kind:expr),* $(,)?) => {
        [$(PageFile { name: $name, kind: $kind, content: include_bytes!(concat!("../../page/", $name)) }),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: LazyLock<Vec<(PageFile, String)>> = LazyLock::new(|| {
    let tag = |file: PageFile| {
        let hash = Sha256::digest(file.content);
        let tag = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
        (file, format!("\"{tag}\""))
    };
    page_files().into_iter().map(tag).collect()
});

/// A test holds this list to the folder.
fn page_files() -> [PageFile; 12] {
    files![
        "index.html" "text/html; charset=utf-8",
        "page.css" "text/css; charset=utf-8",
        "page.js" SCRIPT,
        "server.js" SCRIPT,
        "parts.js" SCRIPT,
        "history.js" SCRIPT,
        "find.js" SCRIPT,
        "tree.js" SCRIPT,
        "item.js" SCRIPT,
        "recommend.js" SCRIPT,
        "route.js" SCRIPT,
        "ask.js" SCRIPT,
    ]
}

/// `GET /`.
pub(crate) async fn index(headers: HeaderMap) -> Result<Response, ApiError> {
    answer("index.html", &headers)
}

/// `GET /page.css`, and what else the page loads.
pub(crate) async fn file(PathPart(name): PathPart, headers: HeaderMap) -> Result<Response, ApiError> {
    answer(&name, &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let found = FILES.iter().find(|(file, _)| file.name == name);
    let (file, tag) = found.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is nothing at this path"))?;
    let known =
        headers.get_all(IF_NONE_MATCH).iter().any(|value| value.to_str().is_ok_and(|tags| tags.contains(tag.as_str())));
    let about = [
        (CONTENT_TYPE, file.kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, tag.as_str()),
    ];
    Ok(match known {
        true => (StatusCode::NOT_MODIFIED, about).into_response(),
        false => (about, file.content).into_response(),
    })
}
