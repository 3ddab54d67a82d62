//! Vectors from a server that speaks OpenAI's `/v1/embeddings`: vLLM, TEI, Ollama, llama.cpp, OpenAI and others.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use super::embedder::{EmbedCall, EmbedError, Embedder};
use super::response::{out_of_credit, start, vectors, words};
use super::retry;
use sememe::data::Matrix;
use sememe::{Error, Remedy, Result};

/// Larger answers are refused: 65,536 vectors of 4,096 values take about 5 GB as text, and nobody asks for so many at once.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// Stands where a secret was.
const HIDDEN: &str = "***";

/// A secret that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key that an environment variable holds, less white space around it.
    ///
    /// # Errors
    /// [`Error::Config`] if the variable is not set, empty, or holds what no HTTP header may; never quotes it.
    pub fn from_env(name: &str) -> Result<Self> {
        let bad = |what: &str| Error::config("api_key", format!("the environment variable `{name}` {what}"));
        let key = std::env::var(name).map_err(|e| match e {
            std::env::VarError::NotPresent => bad("is not set; set it to the endpoint's key"),
            std::env::VarError::NotUnicode(_) => bad("is not UTF-8"),
        })?;
        Self::new(key.trim()).map_err(|_| bad("is empty or holds characters that no key has"))
    }

    /// A key.
    ///
    /// # Errors
    /// [`Error::Config`] if it is empty or holds anything but visible ASCII.
    pub fn new(key: &str) -> Result<Self> {
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::config("api_key", "is empty or holds characters that no key has"));
        }
        Ok(Self(key.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({HIDDEN})")
    }
}

/// An endpoint and how it is asked.
///
/// ```
/// use sememe_text::embed::Endpoint;
/// let mut endpoint = Endpoint::new("http://localhost:11434/v1", "all-minilm");
/// endpoint.retries = 2;
/// let embedder = endpoint.connect()?;
/// assert_eq!(embedder.url(), "http://localhost:11434/v1/embeddings");
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its base, as OpenAI's clients take it: `http://localhost:8000/v1`; `/embeddings` is added unless it ends so.
    pub url: String,
    /// The model's name at the endpoint.
    pub model: String,
    /// Sent as `Authorization: Bearer`.
    pub api_key: Option<ApiKey>,
    /// Values a vector, for models that can shorten them; sent as `dimensions`.
    pub dimensions: Option<usize>,
    /// Further fields of the request, such as vLLM's `truncate_prompt_tokens`. Vectors count as made with them.
    pub extra: Map<String, Value>,
    /// How long a call may take.
    pub timeout: Duration,
    /// How often a call is tried again after 408, 429, 5xx, a timeout or a broken connection.
    pub retries: u32,
    /// The wait before the first of those, doubled for each further one up to a minute; a server's `Retry-After` goes before it.
    pub backoff: Duration,
    /// A server that asks for a longer wait is not waited for.
    pub longest_wait: Duration,
}

impl Endpoint {
    /// An endpoint without a key: a minute a call, five retries from half a second on.
    #[must_use]
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            api_key: None,
            dimensions: None,
            extra: Map::new(),
            timeout: Duration::from_secs(60),
            retries: 5,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(300),
        }
    }

    /// Checks everything that can be checked without the server; connections are made as they are needed.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL that is none, is not `http` or `https` or holds a name and password; an empty model; zero dimensions or
    /// timeout; and `extra` fields that this program sets itself.
    pub fn connect(self) -> Result<EndpointEmbedder> {
        let url = full_url(&self.url)?;
        if self.model.trim().is_empty() {
            return Err(Error::config("model", "expected the model's name at the endpoint, got nothing"));
        }
        if self.dimensions == Some(0) {
            return Err(Error::config("dimensions", "expected at least 1, got 0"));
        }
        if self.timeout.is_zero() {
            return Err(Error::config("timeout", "expected more than 0 s"));
        }
        for own in ["model", "input", "dimensions", "encoding_format"] {
            if self.extra.contains_key(own) {
                return Err(Error::config("extra", format!("`{own}` is set by the program itself")));
            }
        }
        let agent = Agent::config_builder()
            // Statuses carry a body that says more.
            .http_status_as_error(false)
            // A redirected POST would lose its body, and could take the key elsewhere.
            .max_redirects(0)
            .timeout_global(Some(self.timeout))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("sememe/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections_per_host(256)
            .build()
            .new_agent();
        Ok(EndpointEmbedder { endpoint: self, url, agent, answered: AtomicBool::new(false) })
    }
}

fn full_url(given: &str) -> Result<String> {
    let bad = |problem: String| Err(Error::config("url", problem));
    let Some((scheme, rest)) = given.split_once("://").filter(|(s, _)| matches!(*s, "http" | "https")) else {
        return bad(format!("`{given}` is no http:// or https:// address, such as http://localhost:8000/v1"));
    };
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let host = path.split('/').next().unwrap_or_default();
    if host.contains('@') {
        let own = Remedy::give("api_key").to("give a key by itself");
        return bad("holds a name or password".into()).map_err(|e| e.mend([own]));
    }
    if host.is_empty() || !given.bytes().all(|b| b.is_ascii_graphic()) || given.contains('#') {
        return bad(format!("`{}` is no address", start(given.as_bytes())));
    }
    let path = path.trim_end_matches('/');
    let path = if path.ends_with("/embeddings") { path.to_owned() } else { format!("{path}/embeddings") };
    Ok(format!("{scheme}://{path}{}", query.map(|query| format!("?{query}")).unwrap_or_default()))
}

/// An [`Endpoint`] in use.
#[derive(Debug)]
pub struct EndpointEmbedder {
    endpoint: Endpoint,
    url: String,
    agent: Agent,
    /// Whether it ever gave vectors.
    answered: AtomicBool,
}

/// Why a call failed.
enum CallError {
    /// Another try may help, after so long if the server says.
    Passing(String, Option<Duration>),
    /// It takes too long; another try may help, or fewer texts.
    Late(String),
    /// Its answer is too long; fewer texts help.
    Large(String),
    /// The server is at fault, or one of the texts: another try may help, or fewer texts.
    Inner(String, Option<Duration>),
    /// It does not take these texts, or not so many; fewer may help.
    Texts(String),
    /// Nothing will help.
    Lasting(String),
    /// Another key may.
    Key(String, Remedy),
}

impl EndpointEmbedder {
    /// Where requests go.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// One try; the body of a good answer.
    fn once(&self, request: &[u8]) -> Result<Vec<u8>, CallError> {
        let mut call =
            self.agent.post(&self.url).header("content-type", "application/json").header("accept", "application/json");
        if let Some(key) = &self.endpoint.api_key {
            call = call.header("authorization", format!("Bearer {}", key.0));
        }
        let mut answer = call.send(request).map_err(|e| self.unreached(&e))?;
        let status = answer.status().as_u16();
        let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (millis, after, to) = (header("retry-after-ms"), header("retry-after"), header("location"));
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|e| self.unreached(&e))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let said = words(&body).unwrap_or_else(|| start(&body));
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let problem = format!("answered HTTP {status}{said}");
        let wait = retry::asked(millis.as_deref(), after.as_deref(), SystemTime::now());
        Err(match status {
            429 if out_of_credit(&body) => CallError::Lasting(problem),
            500 => CallError::Inner(problem, wait),
            408 | 429 | 501..=599 => CallError::Passing(problem, wait),
            // A gate in front of it looks into texts.
            403 if self.answered.load(Ordering::Relaxed) => CallError::Texts(problem),
            401 | 403 if self.endpoint.api_key.is_none() => {
                CallError::Key(problem, Remedy::give("api_key").to("give the key that it may want"))
            }
            401 | 403 => CallError::Key(problem, Remedy::give("api_key").to("give the right key")),
            404 => CallError::Lasting(format!(
                "{problem}; does it serve the model `{}`, and is its base that of `/v1/embeddings`?",
                self.endpoint.model
            )),
            400 | 413 | 422 | 424 => CallError::Texts(problem),
            300..=399 => {
                CallError::Lasting(format!("{problem}; give the address that it points to, {}", to.unwrap_or_default()))
            }
            _ => CallError::Lasting(problem),
        })
    }

    /// An error without an answer.
    fn unreached(&self, e: &ureq::Error) -> CallError {
        match e {
            ureq::Error::Timeout(_) => {
                let limit = self.endpoint.timeout.as_secs_f64();
                CallError::Late(format!("did not answer within {limit} s"))
            }
            ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_) => {
                CallError::Passing(format!("cannot be reached, or broke off ({e}); is it running?"), None)
            }
            ureq::Error::BodyExceedsLimit(limit) => CallError::Large(format!("answered with more than {limit} bytes")),
            other => CallError::Lasting(format!("cannot be asked: {other}")),
        }
    }

    /// Waits, unless the run ends.
    fn rest(wait: Duration, call: &EmbedCall<'_>) -> Result<(), EmbedError> {
        let begun = Instant::now();
        loop {
            if call.stopped() {
                return Err(EmbedError::All(Error::Interrupted(String::new())));
            }
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// The error, with the place and without the key, which servers like to quote.
    fn refuse(&self, problem: &str) -> Error {
        Error::Endpoint(self.hide(&format!("`{}` {problem}", self.url)))
    }

    fn hide(&self, text: &str) -> String {
        match &self.endpoint.api_key {
            Some(key) => text.replace(&key.0, HIDDEN),
            None => text.to_owned(),
        }
    }
}

impl Embedder for EndpointEmbedder {
    fn model(&self) -> &str {
        &self.endpoint.model
    }

    fn settings(&self) -> String {
        // Maps are sorted, so that this is one text for the same settings.
        serde_json::json!({ "dimensions": self.endpoint.dimensions, "extra": self.endpoint.extra }).to_string()
    }

    fn embed(&self, texts: &[&str], call: &EmbedCall<'_>) -> Result<Matrix, EmbedError> {
        let mut request = self.endpoint.extra.clone();
        request.insert("model".into(), self.endpoint.model.clone().into());
        request.insert("input".into(), texts.iter().copied().map(Value::from).collect());
        if let Some(dims) = self.endpoint.dimensions {
            request.insert("dimensions".into(), dims.into());
        }
        let request = serde_json::to_vec(&request).map_err(|e| Error::Data(format!("a text cannot be sent: {e}")))?;
        let of_texts = |problem: &str| EmbedError::Texts(self.refuse(problem));
        let of_all = |problem: &str| EmbedError::All(self.refuse(problem));
        let ways_with_time = [Remedy::raise("timeout"), Remedy::lower("batch_items")];
        let mut tries = 0u32;
        let body = loop {
            Self::rest(Duration::ZERO, call)?;
            tries += 1;
            let mut late = false;
            let (problem, asked, inner) = match self.once(&request) {
                Ok(body) => break body,
                Err(CallError::Lasting(problem)) => return Err(of_all(&problem)),
                Err(CallError::Key(problem, key)) => return Err(EmbedError::All(self.refuse(&problem).mend([key]))),
                Err(CallError::Large(problem)) => {
                    return Err(EmbedError::Texts(self.refuse(&problem).mend([Remedy::lower("batch_items")])));
                }
                Err(CallError::Texts(problem)) => return Err(of_texts(&problem)),
                // Smaller parts tell more than the same again.
                Err(CallError::Inner(problem, _)) if call.is_part() => return Err(of_texts(&problem)),
                Err(CallError::Inner(problem, asked)) => (problem, asked, true),
                Err(CallError::Passing(problem, asked)) => (problem, asked, false),
                Err(CallError::Late(problem)) => {
                    late = true;
                    (problem, None, false)
                }
            };
            if tries > self.endpoint.retries {
                let often = if tries > 1 { format!(", tried {tries} times") } else { String::new() };
                let problem = format!("{problem}{often}");
                let error = self.refuse(&problem);
                let error = if late { error.mend(ways_with_time) } else { error };
                return Err(if inner { EmbedError::Texts(error) } else { EmbedError::All(error) });
            }
            if let Some(wait) = asked.filter(|wait| *wait > self.endpoint.longest_wait) {
                let (wait, most) = (wait.as_secs(), self.endpoint.longest_wait.as_secs());
                return Err(of_all(&format!("{problem}; it asks to wait {wait} s, at most {most} s are waited")));
            }
            let wait = asked.unwrap_or_else(|| retry::backoff(self.endpoint.backoff, tries));
            tracing::warn!(
                "{}",
                self.hide(&format!("`{}` {problem}; try {} in {:.1} s", self.url, tries + 1, wait.as_secs_f64()))
            );
            Self::rest(wait, call)?;
        };
        let matrix = vectors(&body, texts.len()).map_err(|problem| of_texts(&problem))?;
        match self.endpoint.dimensions {
            Some(dims) if dims != matrix.dims() => {
                let got = matrix.dims();
                let problem = format!(
                    "returned vectors of {got} values where {dims} are asked for; the model may not shorten them"
                );
                Err(EmbedError::All(self.refuse(&problem).mend([Remedy::omit("dimensions")])))
            }
            _ => {
                self.answered.store(true, Ordering::Relaxed);
                Ok(matrix)
            }
        }
    }

    fn fault(&self, problem: String) -> Error {
        Error::Endpoint(problem)
    }
}
