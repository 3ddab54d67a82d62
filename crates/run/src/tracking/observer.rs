//! Turns progress events into tracked metrics.

use std::sync::Mutex;

use super::Tracker;
use sememe::progress::{Event, Observer};
use sememe::{Error, Result};

/// An observer that hands everything on to another and keeps the figures in a tracker: iterations and levels of k-means, rounds of
/// refinement, epochs of networks.
///
/// ```
/// use sememe_run::tracking::{Tracker, Tracking, TrackingObserver};
/// use sememe::{Codec, Device, Matrix, RqKMeans};
/// # let folder = tempfile::tempdir()?;
/// let mut tracker = Tracker::start(&Tracking::default(), folder.path())?;
/// let rows = Matrix::from_vec(8, 2, (0..16).map(|i| (i * i % 7) as f32).collect())?;
/// let watch = TrackingObserver::new(&mut tracker, "train", &());
/// Codec::train(&rows, &RqKMeans { codebook_sizes: vec![2, 2], ..RqKMeans::default() }, &Device::cpu(), &watch)?;
/// watch.done()?;
/// assert!(tracker.finish(true)?.scalars > 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TrackingObserver<'a> {
    phase: &'a str,
    inner: &'a dyn Observer,
    state: Mutex<ObserverState<'a>>,
}

struct ObserverState<'a> {
    tracker: &'a mut Tracker,
    /// The first error of a file: an observer cannot fail, so the work is asked to stop.
    failed: Option<Error>,
}

impl<'a> TrackingObserver<'a> {
    /// Watches a phase.
    pub fn new(tracker: &'a mut Tracker, phase: &'a str, inner: &'a dyn Observer) -> Self {
        Self { phase, inner, state: Mutex::new(ObserverState { tracker, failed: None }) }
    }

    /// Says whether all figures were kept: where one could not be, the work was asked to stop, and this is why.
    ///
    /// # Errors
    /// The first error of the tracker.
    pub fn done(self) -> Result<()> {
        let state = self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.failed.map_or(Ok(()), Err)
    }

    fn keep(&self, step: u64, values: &[(String, f64)]) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.failed.is_none() {
            let values: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            state.failed = state.tracker.scalars(self.phase, step, &values).err();
        }
    }
}

impl Observer for TrackingObserver<'_> {
    fn event(&self, event: Event<'_>) {
        let named = |values: &[(&str, f64)]| values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect::<Vec<_>>();
        match &event {
            Event::Iteration { level, start, iteration, inertia, reseeded } => {
                let place = format!("level_{}/start_{}", level + 1, start + 1);
                let values = [(format!("{place}/inertia"), *inertia), (format!("{place}/reseeded"), *reseeded as f64)];
                self.keep(*iteration as u64, &values);
            }
            Event::Level(level) => self.keep(
                level.level as u64 + 1,
                &named(&[
                    ("level/inertia", level.inertia),
                    ("level/r2", level.r2),
                    ("level/utilisation", level.utilisation),
                    ("level/perplexity", level.perplexity),
                    ("level/iterations", level.iterations as f64),
                    ("level/seconds", level.seconds),
                ]),
            ),
            Event::Refined { round, r2 } => self.keep(*round as u64, &named(&[("refine/r2", *r2)])),
            Event::Epoch(report) => self.keep(report.step, &report.scalars()),
            _ => {}
        }
        self.inner.event(event);
    }

    fn stop(&self) -> bool {
        let failed = self.state.lock().is_ok_and(|state| state.failed.is_some());
        failed || self.inner.stop()
    }
}
