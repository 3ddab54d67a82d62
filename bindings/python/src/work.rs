//! Long work on a thread of its own, so that the caller's thread hears Ctrl-C and calls Python.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use sememe::{Error, Event, Observer};
use serde_json::{Value, json};

use crate::errors::OrRaise as _;
use crate::{pool, values};

/// How often the caller's thread looks for signals and tells of progress.
const BEAT: Duration = Duration::from_millis(50);
/// How long work that was asked to stop may take to its next step before it is left behind.
const GRACE: Duration = Duration::from_millis(700);
/// No progress within the phase.
const NONE: u64 = u64::MAX;

type Outcome<T> = std::thread::Result<PyResult<sememe::Result<T>>>;

enum Message<T> {
    Told(Value),
    Done(Outcome<T>),
}

/// What the work reports to: events go to the caller's thread, which may wish for a stop.
pub struct Watch {
    stop: AtomicBool,
    advanced: AtomicU64,
    tell: Mutex<Box<dyn FnMut(Value) + Send>>,
}

impl Watch {
    /// Tells the caller of an event that is none of the libraries' own.
    pub fn tell(&self, value: Value) {
        self.send(value);
    }

    fn send(&self, value: Value) {
        let mut tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = self.take_advance() {
            tell(json!({"kind": "advance", "done": done}));
        }
        tell(value);
    }

    fn take_advance(&self) -> Option<u64> {
        Some(self.advanced.swap(NONE, Ordering::Relaxed)).filter(|done| *done != NONE)
    }
}

impl Observer for Watch {
    fn event(&self, event: Event<'_>) {
        match event {
            // There may be millions of these: the last one counts.
            Event::Advance { done } => self.advanced.store(done, Ordering::Relaxed),
            Event::Phase { name, total, unit } => {
                self.send(json!({"kind": "phase", "name": name, "total": total, "unit": unit}));
            }
            Event::Iteration { level, start, iteration, inertia, reseeded } => self.send(json!({
                "kind": "iteration", "level": level, "start": start, "iteration": iteration, "inertia": inertia, "reseeded": reseeded,
            })),
            Event::Level(summary) => self.send(tagged("level", summary)),
            Event::Refined { round, r2 } => self.send(json!({"kind": "refined", "round": round, "r2": r2})),
            Event::Epoch(report) => self.send(tagged("epoch", report)),
            Event::Note(text) => self.send(json!({"kind": "note", "text": text})),
            _ => {}
        }
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn tagged(kind: &str, report: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    value["kind"] = kind.into();
    value
}

/// Does some work on a thread of its own with the GIL released. `progress` is called with every event, on this thread. Ctrl-C, and
/// whatever `progress` raises, ask the work to stop; it is waited for a moment, as it may have something to keep.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> sememe::Result<T> + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver): (Sender<Message<T>>, Receiver<Message<T>>) = channel();
    let told = sender.clone();
    let watch = Arc::new(Watch {
        stop: AtomicBool::new(false),
        advanced: AtomicU64::new(NONE),
        // Nobody listens any more once the caller has gone.
        tell: Mutex::new(Box::new(move |value| drop(told.send(Message::Told(value))))),
    });
    let working = watch.clone();
    std::thread::Builder::new()
        .name("sememe".into())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| pool::install(|| work(&working))));
            drop(sender.send(Message::Done(outcome)));
        })
        .map_err(|e| PyRuntimeError::new_err(format!("cannot start a thread: {e}")))?;
    attend(py, progress, &watch, receiver)
}

fn attend<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    watch: &Watch,
    receiver: Receiver<Message<T>>,
) -> PyResult<T> {
    let mut stopped: Option<(PyErr, Instant)> = None;
    let mut heard = Instant::now();
    let tell = |value: &Value| match progress {
        Some(progress) => progress.call1((values::to_python(py, value)?,)).map(|_| ()),
        None => Ok(()),
    };
    // Waited on by this thread alone; the lock is what lets it be carried past the GIL.
    let receiver = Mutex::new(receiver);
    loop {
        let message = py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(BEAT));
        let mut asked = Ok(());
        match message {
            Ok(Message::Told(value)) if stopped.is_none() => asked = tell(&value),
            Ok(Message::Told(_)) => {}
            Ok(Message::Done(outcome)) => {
                let outcome = outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
                return match (stopped, outcome) {
                    (None, outcome) => outcome.or_raise(py),
                    (Some((error, _)), outcome) => Err(noted(py, error, outcome.err())),
                };
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the work ended without a result"));
            }
        }
        if heard.elapsed() >= BEAT || asked.is_err() {
            heard = Instant::now();
            if let (None, Some(done)) = (&stopped, watch.take_advance()) {
                asked = asked.and_then(|()| tell(&json!({"kind": "advance", "done": done})));
            }
            asked = asked.and_then(|()| py.check_signals());
        }
        if let (Err(error), None) = (asked, &stopped) {
            watch.stop.store(true, Ordering::Relaxed);
            stopped = Some((error, Instant::now()));
        }
        if let Some((error, since)) = &stopped
            && since.elapsed() >= GRACE
        {
            // It holds all that it works on and ends at its next step.
            let _ = error.value(py).call_method1("add_note", ("the work ends at its next step, in the background",));
            return Err(error.clone_ref(py));
        }
    }
}

/// The error that asked for the stop, with where the work has got to.
fn noted(py: Python<'_>, error: PyErr, ended: Option<Error>) -> PyErr {
    // Without more to say, that it was stopped is what the error itself says.
    if let Some(ended) = ended.filter(|ended| !matches!(ended.root(), Error::Interrupted(more) if more.is_empty())) {
        let made = crate::errors::raise(py, &ended);
        // A note more is worth no other error.
        let _ = error.value(py).call_method1("add_note", (made.value(py).to_string(),));
    }
    error
}

/// Does short work on this thread with the GIL released.
pub fn at_once<T: Send>(py: Python<'_>, work: impl FnOnce() -> sememe::Result<T> + Send) -> PyResult<T> {
    py.detach(|| pool::install(work))?.or_raise(py)
}
