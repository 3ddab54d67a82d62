//! How much is taken on.

use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Bounds on what a request may cost, and on how many are served at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body, in bytes. 32 MiB.
    pub body_bytes: usize,
    /// The most rows, texts, items or queries of a request. 16384.
    pub rows: usize,
    /// How long a request may take from its headers to its answer. 30 seconds.
    pub time: Duration,
    /// How long a body may take to come in. 10 seconds.
    pub body_seconds: Duration,
    /// How long the headers of a request may take, and a connection may be idle. 10 seconds.
    pub head_seconds: Duration,
    /// Requests that are worked on at once; more are answered with 429. 256.
    pub requests: usize,
    /// Connections at once; more wait to be accepted. 1024.
    pub connections: usize,
    /// How long requests that are being served may take to finish once the service stops. 10 seconds.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            rows: 16_384,
            time: Duration::from_secs(30),
            body_seconds: Duration::from_secs(10),
            head_seconds: Duration::from_secs(10),
            requests: 256,
            connections: 1024,
            stop: Duration::from_secs(10),
        }
    }
}

/// The limits that a client should know.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct LimitsJson {
    /// The longest body, in bytes.
    pub body_bytes: usize,
    /// The most rows, texts, items or queries of a request.
    pub rows: usize,
    /// How long a request may take.
    pub seconds: f64,
}

impl Limits {
    /// As clients see them.
    #[must_use]
    pub fn to_json(&self) -> LimitsJson {
        LimitsJson { body_bytes: self.body_bytes, rows: self.rows, seconds: self.time.as_secs_f64() }
    }
}
