//! MLflow over REST (API 2.0), from a thread of its own.
//!
//! Figures gather and go out in batches. A server that does not answer is tried again, with growing pauses, until the patience is over;
//! one that refuses is not. Either way the rest is left out, with one note.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use super::{Mlflow, MlflowRun};
use sememe::{Error, Result};

/// Figures that may wait for the server; more are left out rather than held up the run.
const QUEUE: usize = 1 << 16;
/// The API takes 1,000 metrics, 100 parameters and 100 tags at once.
const MOST_METRICS: usize = 500;
const MOST_PARAMS: usize = 100;
/// How long figures gather.
const GATHER: Duration = Duration::from_secs(1);
/// What older servers take as a parameter's value.
const PARAM_CHARS: usize = 500;
/// What a server may answer.
const MAX_ANSWER_BYTES: u64 = 4 << 20;
const ALREADY_THERE: &str = "RESOURCE_ALREADY_EXISTS";

enum Message {
    Metric { key: String, value: f64, step: u64, millis: u64 },
    Param { key: String, value: String },
    Finish { ok: bool },
}

/// The state that the worker thread shares with the run.
#[derive(Default)]
struct RemoteStatus {
    run: Option<MlflowRun>,
    notes: Vec<String>,
}

/// The run's end of the channel to the worker thread.
pub(super) struct MlflowSender {
    messages: SyncSender<Message>,
    status: Arc<Mutex<RemoteStatus>>,
    /// Closed when the thread is done.
    done: Receiver<()>,
    patience: Duration,
    dropped: u64,
    finished: bool,
}

impl MlflowSender {
    pub(super) fn start(settings: &Mlflow) -> Result<Self> {
        let (messages, inbox) = sync_channel(QUEUE);
        let (alive, done) = sync_channel::<()>(0);
        let status = Arc::new(Mutex::new(RemoteStatus::default()));
        let patience = Duration::from_secs(settings.patience_seconds);
        let client = MlflowClient::new(settings)?;
        let ours = status.clone();
        let work = move || {
            // Dropped at the end, which closes `done`.
            let _alive = alive;
            MlflowWorker {
                client,
                inbox,
                status: ours,
                metrics: Vec::new(),
                params: BTreeMap::new(),
                settled: BTreeSet::new(),
            }
            .run();
        };
        let thread = thread::Builder::new().name("mlflow".into()).spawn(work);
        thread.map_err(|e| Error::Data(format!("no thread for MLflow: {e}")))?;
        Ok(Self { messages, status, done, patience, dropped: 0, finished: false })
    }

    pub(super) fn metric(&mut self, name: &str, value: f64, step: u64, unix_seconds: f64) {
        self.send(Message::Metric { key: key(name), value, step, millis: (unix_seconds * 1000.0) as u64 });
    }

    pub(super) fn param(&mut self, name: &str, value: &str) {
        self.send(Message::Param { key: key(name), value: value.chars().take(PARAM_CHARS).collect() });
    }

    /// Never waits: the run goes before the server.
    fn send(&mut self, message: Message) {
        // A thread that gave up takes nothing any more, and has said why.
        if let Err(std::sync::mpsc::TrySendError::Full(_)) = self.messages.try_send(message) {
            self.dropped += 1;
        }
    }

    /// Ends the MLflow run and returns it, with notes on what went wrong.
    pub(super) fn finish(mut self, ok: bool) -> (Option<MlflowRun>, Vec<String>) {
        let in_time = self.end(ok);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let (run, mut notes) = (status.run.take(), std::mem::take(&mut status.notes));
        if self.dropped > 0 {
            notes.push(format!("MLflow was too slow for {} figures, which it does not have", self.dropped));
        }
        if !in_time && notes.is_empty() {
            let seconds = self.patience.as_secs();
            notes.push(format!("MLflow did not take the last figures within {seconds} s; its run may look unfinished"));
        }
        (run, notes)
    }

    /// Whether the thread was done in time.
    fn end(&mut self, ok: bool) -> bool {
        self.finished = true;
        let until = Instant::now() + self.patience;
        let mut message = Message::Finish { ok };
        // A full queue is waited for here.
        loop {
            match self.messages.try_send(message) {
                Err(std::sync::mpsc::TrySendError::Full(back)) if Instant::now() < until => {
                    message = back;
                    thread::sleep(Duration::from_millis(20));
                }
                _ => break,
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        self.done.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for MlflowSender {
    fn drop(&mut self) {
        if !self.finished {
            self.end(false);
        }
    }
}

/// As MLflow allows names: letters, digits, `_`, `-`, `.`, blanks and `/`.
fn key(name: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || "_-. /".contains(c) { c } else { '_' };
    name.chars().take(250).map(good).collect()
}

/// The worker thread's end: collects messages and sends them in batches.
struct MlflowWorker {
    client: MlflowClient,
    inbox: Receiver<Message>,
    status: Arc<Mutex<RemoteStatus>>,
    metrics: Vec<Value>,
    params: BTreeMap<String, String>,
    /// Parameters that the server has: it refuses a batch that changes one.
    settled: BTreeSet<String>,
}

impl MlflowWorker {
    fn run(mut self) {
        if let Err(problem) = self.all() {
            let place = &self.client.settings.uri;
            let note =
                format!("MLflow at `{place}`: {problem}; the run goes on without it, the files have every figure");
            tracing::warn!("{note}");
            self.status.lock().unwrap_or_else(PoisonError::into_inner).notes.push(note);
        }
    }

    fn all(&mut self) -> Result<(), String> {
        let run = self.client.open()?;
        self.status.lock().unwrap_or_else(PoisonError::into_inner).run = Some(run.clone());
        let status = loop {
            let until = Instant::now() + GATHER;
            let status = self.gather(until);
            self.flush(&run)?;
            if let Some(status) = status {
                break status;
            }
        };
        let body = json!({ "run_id": run.run_id, "status": status, "end_time": now_millis() });
        self.client.post("runs/update", &body).map(|_: Value| ())
    }

    /// Takes messages until a batch is full or the time is over; the run's status once it has ended.
    fn gather(&mut self, until: Instant) -> Option<&'static str> {
        while self.metrics.len() < MOST_METRICS && self.params.len() < MOST_PARAMS {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Message::Metric { key, value, step, millis }) => {
                    // Protocol buffers in JSON spell these out, which JSON numbers cannot.
                    let value = match value {
                        v if v.is_nan() => json!("NaN"),
                        v if v.is_infinite() => json!(if v > 0.0 { "Infinity" } else { "-Infinity" }),
                        v => json!(v),
                    };
                    self.metrics.push(json!({ "key": key, "value": value, "step": step, "timestamp": millis }));
                }
                Ok(Message::Param { key, value }) if !self.settled.contains(&key) => {
                    self.params.insert(key, value);
                }
                Ok(Message::Param { .. }) => {}
                Ok(Message::Finish { ok }) => return Some(if ok { "FINISHED" } else { "FAILED" }),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some("FAILED"),
            }
        }
        None
    }

    fn flush(&mut self, run: &MlflowRun) -> Result<(), String> {
        if self.metrics.is_empty() && self.params.is_empty() {
            return Ok(());
        }
        let params = std::mem::take(&mut self.params);
        self.settled.extend(params.keys().cloned());
        let params: Vec<Value> = params.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let body = json!({ "run_id": run.run_id, "metrics": std::mem::take(&mut self.metrics), "params": params });
        self.client.post("runs/log-batch", &body).map(|_: Value| ())
    }
}

/// HTTP client of the MLflow server; retries calls.
struct MlflowClient {
    settings: Mlflow,
    token: Option<String>,
    agent: Agent,
}

#[derive(Deserialize)]
struct Experiment {
    experiment_id: String,
    #[serde(default)]
    lifecycle_stage: String,
}

#[derive(Deserialize)]
struct Found {
    experiment: Experiment,
}

#[derive(Deserialize)]
struct Created {
    run: CreatedRun,
}

#[derive(Deserialize)]
struct CreatedRun {
    info: RunInfo,
}

#[derive(Deserialize)]
struct RunInfo {
    run_id: String,
}

/// Why a call failed.
enum CallError {
    /// Another try may help.
    Passing(String),
    /// None will; the server's own word for it, and what it says.
    Lasting { code: String, text: String },
}

impl MlflowClient {
    fn new(settings: &Mlflow) -> Result<Self> {
        let agent = Agent::config_builder()
            // Statuses carry a body that says more.
            .http_status_as_error(false)
            // A redirected POST would lose its body, and could take the token elsewhere.
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(settings.timeout_seconds)))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("sememe/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let mut settings = settings.clone();
        settings.uri.truncate(settings.uri.trim_end_matches('/').len());
        Ok(Self { token: settings.token()?, settings, agent })
    }

    /// Finds or makes the experiment, and makes the run.
    fn open(&self) -> Result<MlflowRun, String> {
        let experiment_id = self.experiment()?;
        let own = [
            ("mlflow.source.name", "sememe"),
            ("mlflow.source.type", "LOCAL"),
            ("sememe.version", env!("CARGO_PKG_VERSION")),
        ];
        let mut tags: Vec<Value> = own.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        tags.extend(self.settings.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })));
        let mut body = json!({ "experiment_id": experiment_id, "start_time": now_millis(), "tags": tags });
        if let Some(name) = &self.settings.run {
            body["run_name"] = json!(name);
        }
        let created: Created = self.post("runs/create", &body)?;
        let run_id = created.run.info.run_id;
        let url = format!("{}/#/experiments/{experiment_id}/runs/{run_id}", self.settings.uri);
        Ok(MlflowRun { experiment_id, run_id, url })
    }

    fn experiment(&self) -> Result<String, String> {
        let name = &self.settings.experiment;
        let found = || self.with_retries(|| self.get::<Found>("experiments/get-by-name", &[("experiment_name", name)]));
        let id = |found: Found| match found.experiment.lifecycle_stage.as_str() {
            "deleted" => Err(format!("its experiment `{name}` is deleted; restore it, or name another")),
            _ => Ok(found.experiment.experiment_id),
        };
        match found() {
            Ok(found) => return id(found),
            Err((code, _)) if code == "RESOURCE_DOES_NOT_EXIST" => {}
            Err((_, text)) => return Err(text),
        }
        let made = self.with_retries(|| self.send::<Experiment>("experiments/create", &json!({ "name": name })));
        match made {
            Ok(made) => Ok(made.experiment_id),
            // Another run made it in the meantime.
            Err((code, _)) if code == ALREADY_THERE => found().map_err(|(_, text)| text).and_then(id),
            Err((_, text)) => Err(text),
        }
    }

    fn post<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Result<T, String> {
        self.with_retries(|| self.send(method, body)).map_err(|(_, text)| text)
    }

    /// Tries until it works, the server refuses, or the patience is over.
    fn with_retries<T>(&self, call: impl Fn() -> Result<T, CallError>) -> Result<T, (String, String)> {
        let until = Instant::now() + Duration::from_secs(self.settings.patience_seconds);
        let mut pause = Duration::from_millis(200);
        loop {
            match call() {
                Ok(answer) => return Ok(answer),
                Err(CallError::Lasting { code, text }) => return Err((code, text)),
                Err(CallError::Passing(text)) if Instant::now() + pause >= until => return Err((String::new(), text)),
                Err(CallError::Passing(text)) => {
                    tracing::debug!("MLflow: {text}, again in {} ms", pause.as_millis());
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
            }
        }
    }

    fn address(&self, method: &str) -> String {
        format!("{}/api/2.0/mlflow/{method}", self.settings.uri)
    }

    fn get<T: DeserializeOwned>(&self, method: &str, query: &[(&str, &str)]) -> Result<T, CallError> {
        let mut call = self.agent.get(self.address(method)).header("accept", "application/json");
        for (name, value) in query {
            call = call.query(*name, *value);
        }
        if let Some(token) = &self.token {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        self.answer(call.call())
    }

    fn send<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Result<T, CallError> {
        let mut call = self.agent.post(self.address(method)).header("accept", "application/json");
        call = call.header("content-type", "application/json");
        if let Some(token) = &self.token {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        self.answer(call.send(body.to_string()))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, CallError> {
        let passing = |e: ureq::Error| CallError::Passing(self.shown(&e.to_string()));
        let mut answer = answer.map_err(passing)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(passing)?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&body).map_err(|_| CallError::Lasting {
                code: String::new(),
                text: self
                    .shown(&format!("answers with what no MLflow server says: {}", String::from_utf8_lossy(&body))),
            });
        }
        let reply: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = reply["message"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        let code = reply["error_code"].as_str().unwrap_or_default().to_owned();
        let said = if said.trim().is_empty() { String::new() } else { format!(": {said}") };
        let text = self.shown(&format!("answers with status {status}{said}"));
        match status {
            408 | 429 | 500.. => Err(CallError::Passing(text)),
            401 | 403 if self.token.is_none() => Err(CallError::Lasting {
                code,
                text: format!("{text}; name the variable with its token in `token_env`"),
            }),
            _ => Err(CallError::Lasting { code, text }),
        }
    }

    /// The beginning of a text of the server, in one line, without the token.
    fn shown(&self, text: &str) -> String {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = match &self.token {
            Some(token) => text.replace(token.as_str(), "***"),
            None => text,
        };
        match text.char_indices().nth(200) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.trim_end_matches(['.', ' ']).to_owned(),
        }
    }
}

fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64)
}
