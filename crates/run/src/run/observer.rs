//! Observer that tracks the metrics of every phase.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::Phase;
use crate::tracking::{Tracker, Tracking, TrackingObserver, TrackingReport};
use sememe::progress::{Event, Observer};
use sememe::{Error, Result};

/// Hands events on, and keeps their figures once a phase is at work: a run in which nothing is to be done opens no file and no server.
pub(super) struct RunObserver<'a> {
    inner: &'a dyn Observer,
    tracking: &'a Tracking,
    folder: PathBuf,
    state: Mutex<ObserverState>,
}

#[derive(Default)]
struct ObserverState {
    tracker: Option<Tracker>,
    phase: Option<Phase>,
    failed: Option<Error>,
}

impl<'a> RunObserver<'a> {
    pub(super) fn new(inner: &'a dyn Observer, tracking: &'a Tracking, folder: PathBuf) -> Self {
        Self { inner, tracking, folder, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, ObserverState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A phase begins; what an earlier run told of its steps from `from_step` on is taken back.
    pub(super) fn begin(&self, phase: Phase, settings: &Value, from_step: u64) -> Result<()> {
        let mut state = self.state();
        if state.tracker.is_none() {
            state.tracker = Some(Tracker::start(self.tracking, &self.folder)?);
        }
        state.phase = Some(phase);
        if let Some(tracker) = &mut state.tracker {
            tracker.begin(phase.name(), from_step)?;
            each_leaf(phase.name(), settings, &mut |name, value| {
                if !value.is_null() {
                    tracker.param(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                }
            });
        }
        Ok(())
    }

    /// Figures of a step of the phase at work, which no event tells of.
    pub(super) fn scalars(&self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut state = self.state();
        let ObserverState { tracker, phase, .. } = &mut *state;
        match (tracker, phase) {
            (Some(tracker), Some(phase)) => tracker.scalars(phase.name(), step, values),
            _ => Ok(()),
        }
    }

    /// A phase has ended, with these findings.
    pub(super) fn end(&self, phase: Phase, facts: &Value, seconds: f64) -> Result<()> {
        let mut state = self.state();
        state.phase = None;
        if let Some(failed) = state.failed.take() {
            return Err(failed);
        }
        let Some(tracker) = &mut state.tracker else { return Ok(()) };
        let mut found = vec![("summary/seconds".to_owned(), seconds)];
        each_leaf("summary", facts, &mut |name, value| {
            if let Some(value) = value.as_f64() {
                found.push((name.replace('.', "/"), value));
            }
        });
        let found: Vec<(&str, f64)> = found.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        tracker.scalars(phase.name(), 0, &found)?;
        tracker.sync()
    }

    /// The run has ended; waits for a server.
    pub(super) fn finish(&self, ok: bool) -> Result<Option<TrackingReport>> {
        self.state().tracker.take().map(|tracker| tracker.finish(ok)).transpose()
    }
}

/// Calls with every value that is no tree, by its name with dots; lists of numbers are one value each.
fn each_leaf(path: &str, value: &Value, each: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, inner)| each_leaf(&format!("{path}.{name}"), inner, each)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().for_each(|(at, inner)| each_leaf(&format!("{path}.{}", at + 1), inner, each));
        }
        other => each(path, other),
    }
}

impl Observer for RunObserver<'_> {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state();
        let ObserverState { tracker, phase, failed } = &mut *state;
        match (tracker, phase, &failed) {
            (Some(tracker), Some(phase), None) => {
                let watch = TrackingObserver::new(tracker, phase.name(), self.inner);
                watch.event(event);
                *failed = watch.done().err();
            }
            _ => self.inner.event(event),
        }
    }

    fn stop(&self) -> bool {
        self.inner.stop() || self.state().failed.is_some()
    }
}
