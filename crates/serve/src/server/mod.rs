//! A service from its address to its end: what is loaded, who tells it to stop or to load anew.

mod connections;

use crate::api::ROUTES;
use crate::service::{Service, Settings};
use crate::sources::Sources;
use sememe::{Error, Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

/// A service that has loaded its sources and has its address, but answers nothing yet.
#[derive(Debug)]
pub struct Bound {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    service: Arc<Service>,
    wishes: Arc<Wishes>,
    signals: bool,
}

#[derive(Debug)]
struct Wishes {
    stop: watch::Sender<bool>,
    reload: Notify,
    /// Do not wait for what was begun.
    leave: Notify,
}

/// Tells a running service what to do, from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    service: Arc<Service>,
    wishes: Arc<Wishes>,
}

impl Handle {
    /// Finish what was begun, then leave.
    pub fn stop(&self) {
        self.service.stop();
        self.wishes.stop.send_replace(true);
    }

    /// As a signal does: the first time finish, the second time leave at once.
    fn hear_stop(&self) {
        if self.service.is_stopping() {
            self.wishes.leave.notify_one();
        }
        self.stop();
    }

    /// Load the sources again, as SIGHUP asks for; blocks until that is served or has failed.
    ///
    /// # Errors
    /// What the sources say; the service goes on with what it had.
    pub fn reload(&self) -> Result<()> {
        self.service.reload().map(|_| ())
    }

    /// Which generation is served, from 1 on.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.service.generation()
    }
}

/// Loads the sources, listens at `address`, tells `ready` where that is, and serves until SIGTERM or SIGINT; SIGHUP loads the sources again.
///
/// # Errors
/// As [`Bound::new`] and [`Bound::run`].
pub fn serve(sources: Sources, settings: Settings, address: &str, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let bound = Bound::new(sources, settings, address)?.with_signals();
    ready(bound.address());
    bound.run()
}

impl Bound {
    /// Loads the sources and listens at an address such as `127.0.0.1:8080`; port 0 takes any.
    ///
    /// # Errors
    /// What the sources say; [`Error::Io`] if the address cannot be listened at.
    pub fn new(sources: Sources, settings: Settings, address: &str) -> Result<Self> {
        let failed = |action: &'static str| {
            let path = PathBuf::from(address);
            move |source: std::io::Error| Error::Io { action, path, source }
        };
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        if let Some(count) = settings.threads {
            threads.worker_threads(count.max(1));
        }
        let runtime = threads.enable_all().thread_name("sememe-serve").build().map_err(failed("start threads for"))?;
        // Before the work, so that a port in use is said at once.
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed("listen at"))?;
        let address = listener.local_addr().map_err(failed("listen at"))?;
        let service = Arc::new(Service::new(sources, settings, &ROUTES)?);
        let wishes = Arc::new(Wishes { stop: watch::channel(false).0, reload: Notify::new(), leave: Notify::new() });
        Ok(Self { runtime, listener, address, service, wishes, signals: false })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many items it serves.
    #[must_use]
    pub fn items(&self) -> usize {
        self.service.current().catalogue().read().len()
    }

    /// Hears SIGTERM, SIGINT and SIGHUP while it runs; a second one of the first two does not wait for what was begun.
    #[must_use]
    pub fn with_signals(mut self) -> Self {
        self.signals = true;
        self
    }

    /// What tells it what to do while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { service: Arc::clone(&self.service), wishes: Arc::clone(&self.wishes) }
    }

    /// Serves until it is told to stop, finishes what it had begun, and returns.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if a second signal came before that was finished. The store is whole all the same.
    pub fn run(self) -> Result<()> {
        let Self { runtime, listener, service, wishes, signals, address: _ } = self;
        let ended = runtime.block_on(async {
            if signals {
                tokio::spawn(hear(Handle { service: Arc::clone(&service), wishes: Arc::clone(&wishes) }));
            }
            tokio::spawn(reload_when_asked(Arc::clone(&service), Arc::clone(&wishes)));
            tokio::select! {
                () = connections::accept(listener, &service, wishes.stop.subscribe()) => Ok(()),
                () = wishes.leave.notified() => {
                    Err(Error::Interrupted("told to stop again; what was being answered was cut".into()))
                }
            }
        });
        // Work that nobody waits for any more; what the store has begun is whole or absent either way.
        runtime.shutdown_timeout(Duration::from_millis(100));
        ended
    }
}

/// Turns signals into wishes.
#[cfg(unix)]
async fn hear(handle: Handle) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)] = kinds.map(signal) else {
        tracing::error!("no signal can be heard; the service stops only when it is killed");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {
                handle.wishes.reload.notify_one();
                continue;
            }
        }
        handle.hear_stop();
    }
}

#[cfg(not(unix))]
async fn hear(handle: Handle) {
    while tokio::signal::ctrl_c().await.is_ok() {
        handle.hear_stop();
    }
}

/// Loads a new generation at every wish; wishes that come while one is loaded are one.
async fn reload_when_asked(service: Arc<Service>, wishes: Arc<Wishes>) {
    loop {
        wishes.reload.notified().await;
        let begun = Instant::now();
        let worker = Arc::clone(&service);
        match tokio::task::spawn_blocking(move || worker.reload()).await {
            Ok(Ok(served)) => {
                let (generation, seconds) = (service.generation(), begun.elapsed().as_secs_f64());
                let items = served.catalogue().read().len();
                tracing::info!(
                    generation,
                    items,
                    seconds,
                    codec = served.codec().content_hash(),
                    "serving a new generation"
                );
                for note in served.notes() {
                    tracing::warn!("{note}");
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "nothing new is served: what was to be loaded cannot be"),
            Err(error) => tracing::error!(%error, "nothing new is served: loading failed"),
        }
    }
}
