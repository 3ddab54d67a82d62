//! The state behind all connections: the generation that is served, and the counts that limits are held to.

use crate::error::{ApiError, ErrorCode};
use crate::manners::limits::Limits;
use crate::manners::metrics::Metrics;
use crate::manners::tokens::Tokens;
use crate::served::Served;
use crate::sources::Sources;
use sememe::Result;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How the service behaves.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bounds on what is taken on.
    pub limits: Limits,
    /// Who may ask; everybody, where there are none.
    pub tokens: Tokens,
    /// Threads that connections are served on; as many as cores otherwise.
    pub threads: Option<usize>,
    /// Whether logs may hold what clients send: keys, IDs and words.
    pub log_content: bool,
}

/// Bodies that are held at once, in lengths of the longest.
const BODIES: usize = 8;

/// What is served, how, and what became of it.
#[derive(Debug)]
pub struct Service {
    current: RwLock<Arc<Served>>,
    generation: AtomicU64,
    sources: Sources,
    settings: Settings,
    metrics: Metrics,
    work: Semaphore,
    held: AtomicUsize,
    stopping: AtomicBool,
    /// One load at a time.
    loading: Mutex<()>,
}

/// Bytes of bodies that are in memory, until it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    service: Arc<Service>,
    bytes: usize,
}

impl Service {
    /// Loads what the sources name.
    ///
    /// # Errors
    /// As [`Served::load`].
    pub fn new(sources: Sources, settings: Settings, routes: &[&'static str]) -> Result<Self> {
        let served = Served::load(&sources.resolve()?)?;
        for note in served.notes() {
            tracing::warn!("{note}");
        }
        Ok(Self {
            current: RwLock::new(Arc::new(served)),
            generation: AtomicU64::new(1),
            sources,
            work: Semaphore::new(settings.limits.requests),
            settings,
            metrics: Metrics::new(routes),
            held: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            loading: Mutex::new(()),
        })
    }

    /// What is served now.
    pub fn current(&self) -> Arc<Served> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which generation that is, from 1 on.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Loads the sources again and serves that from now on; requests that have begun keep what they began with. Blocks while it loads.
    ///
    /// # Errors
    /// As [`Served::load`]; what was served still is.
    pub fn reload(&self) -> Result<Arc<Served>> {
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.sources.resolve().and_then(|resolved| Served::load(&resolved));
        let served = Arc::new(loaded.inspect_err(|_| _ = self.metrics.failed_reloads.fetch_add(1, Ordering::Relaxed))?);
        // What got an ID after the store was read; most of it before anybody has to wait.
        served.follow(&self.current());
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            // Whoever adds to the old one after this asks for the current one, waits here, and finds the new one.
            served.follow(&current);
            *current = Arc::clone(&served);
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.metrics.reloads.fetch_add(1, Ordering::Relaxed);
        Ok(served)
    }

    /// Adds items that a generation gave IDs to, to it and to the one that is served by now.
    pub fn add(&self, to: &Arc<Served>, items: &[crate::catalogue::NewItem]) {
        to.catalogue().add(items);
        let current = self.current();
        if !Arc::ptr_eq(to, &current) {
            current.follow(to);
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The figures.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether no more work is taken on.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Takes on no more work from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// A turn to work on a request.
    ///
    /// # Errors
    /// `too_many_requests` if as many are worked on as may be.
    pub fn take_turn(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.work.try_acquire().map_err(|_| {
            let most = self.settings.limits.requests;
            ApiError::new(
                ErrorCode::TooManyRequests,
                format!("{most} requests are being served, which is as many as at once"),
            )
            .hint("ask again after the seconds that Retry-After says")
        })
    }

    /// Memory for bodies, none yet.
    pub fn hold_bytes(self: &Arc<Self>) -> HeldBytes {
        HeldBytes { service: Arc::clone(self), bytes: 0 }
    }
}

impl HeldBytes {
    /// Takes memory for so many bytes more.
    ///
    /// # Errors
    /// `busy` if all bodies together would hold more than eight of the longest.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.bytes += bytes;
        let held = self.service.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let most = self.service.settings.limits.body_bytes.saturating_mul(BODIES);
        if held > most { Err(ApiError::busy("the memory for bodies")) } else { Ok(()) }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.service.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
