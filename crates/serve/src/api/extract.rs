//! What handlers take out of a request: the generation that serves it, and its body.

use crate::error::{ApiError, ErrorCode};
use crate::served::Served;
use crate::service::Service;
use axum::body::Body;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Query};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde::de::{self, DeserializeOwned, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The state of the routes.
#[derive(Clone, Debug)]
pub struct App(pub Arc<Service>);

/// What is served when a request begins, until it ends: a reload does not change it under a request's hands.
#[derive(Clone, Debug)]
pub struct Current(pub Arc<Served>);

impl<S: Send + Sync> FromRequestParts<S> for Current
where
    App: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(App::from_ref(state).0.current()))
    }
}

/// A body, whole. It was read within the limits before the handler was called.
#[derive(Clone, Debug)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let body = request.into_body().collect().await;
        Ok(Self(body.map_err(|_| ApiError::bad_request("the body was cut short"))?.to_bytes()))
    }
}

/// The media type of a body, without its parameters, in lower case.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A body of JSON. A body that does not say what it is counts as JSON.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, ApiError> {
        check_json(request.headers())?;
        let RawBody(body) = RawBody::from_request(request, state).await?;
        Ok(Self(parse_json(&body)?))
    }
}

/// Refuses a body that says it is something else than JSON.
///
/// # Errors
/// `unsupported_media_type`.
pub fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    match media_type(headers) {
        Some(other) if other != "application/json" && !other.ends_with("+json") => {
            Err(ApiError::new(ErrorCode::UnsupportedMediaType, format!("this endpoint takes no `{other}`"))
                .hint("send `content-type: application/json`"))
        }
        _ => Ok(()),
    }
}

/// A JSON object of this form.
///
/// # Errors
/// `bad_json`, with the line and column.
pub fn parse_json<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    // serde would take a list of the fields' values as well.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::new(ErrorCode::BadJson, "the body is a list, expected an object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(ErrorCode::BadJson, format!("the body cannot be read: {error}")))
}

/// A field that may be left out, but is not null where it is there: what the document says of it is what is taken.
///
/// # Errors
/// As the field's own type.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// A whole number. Some clients write all numbers with a fraction, and to JSON Schema `20.0` is as whole as `20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<T>(pub T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(number: D) -> Result<Self, D::Error> {
        struct WholeNumber<T>(PhantomData<T>);
        impl<T: TryFrom<i128>> Visitor<'_> for WholeNumber<T> {
            type Value = Whole<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole<T>, E> {
                within(number.into()).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole<T>, E> {
                within(number.into()).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole<T>, E> {
                // Past this, a float64 stands for several whole numbers.
                let whole = (number.fract() == 0.0 && number.abs() <= MOST_EXACT).then_some(number as i128);
                whole.and_then(within).ok_or_else(|| E::invalid_type(Unexpected::Float(number), &self))
            }
        }
        number.deserialize_any(WholeNumber(PhantomData))
    }
}

/// Whole numbers up to 2⁵³ are float64 values, every one.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

fn within<T: TryFrom<i128>>(number: i128) -> Option<Whole<T>> {
    T::try_from(number).ok().map(Whole)
}

/// As [`given`], of a whole number.
///
/// # Errors
/// What is no whole number, or none of the type.
pub fn given_whole<'de, T: TryFrom<i128>, D: Deserializer<'de>>(field: D) -> Result<Option<T>, D::Error> {
    Whole::deserialize(field).map(|Whole(number)| Some(number))
}

/// A whole number that may be null, which is as if it were not there.
///
/// # Errors
/// As [`given_whole`].
pub fn whole_or_null<'de, T: TryFrom<i128>, D: Deserializer<'de>>(field: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(field)?.map(|Whole(number)| number))
}

/// An answer of JSON.
#[derive(Clone, Debug)]
pub struct JsonAnswer<T>(pub T);

impl<T: Serialize> IntoResponse for JsonAnswer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

/// The one variable part of a path, percent-decoded.
#[derive(Clone, Debug)]
pub struct PathPart(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathPart {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(ApiError::bad_request("the path is no percent-encoded UTF-8")),
        }
    }
}

/// What follows the question mark of a URL.
#[derive(Clone, Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(ApiError::bad_request(format!("the part of the URL after `?`: {}", error.body_text()))),
        }
    }
}
