//! Connections: how they are accepted, how long they may take, and how they end.

use crate::api::router;
use crate::manners::metrics::Gauge;
use crate::service::Service;
use crate::stalling::Stalling;
use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// The longest head of a request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// How long to wait after a connection could not be accepted: most often there are no more file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves connections until `stop` says so, then those that are left until they have their answers.
pub(super) async fn accept(listener: TcpListener, service: &Arc<Service>, mut stop: watch::Receiver<bool>) {
    let routes = router(Arc::clone(service));
    let most = service.limits().connections;
    let turns = Arc::new(Semaphore::new(most));
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    loop {
        // Beyond the limit, connections wait in the system's own queue.
        let turn = tokio::select! {
            turn = Arc::clone(&turns).acquire_owned() => turn,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(turn) = turn else { break };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match stream {
            Ok((stream, _)) => {
                let connection = serve_connection(stream, routes.clone(), Arc::clone(service), Some(stop.clone()));
                tokio::spawn(async move {
                    connection.await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    // What was begun is finished. Whoever comes now hears that this service is stopping.
    let until = Instant::now() + service.limits().stop;
    tracing::info!("stopping");
    let finished = turns.acquire_many(all);
    tokio::pin!(finished);
    loop {
        tokio::select! {
            biased;
            _ = &mut finished => break,
            () = sleep_until(until) => {
                let left = most - turns.available_permits();
                tracing::warn!(connections = left, "cut what took too long to finish");
                break;
            }
            stream = listener.accept() => match stream {
                Ok((stream, _)) => _ = tokio::spawn(serve_connection(stream, routes.clone(), Arc::clone(service), None)),
                Err(_) => sleep(ACCEPT_AGAIN).await,
            },
        }
    }
}

/// One connection to its end; `stop` tells it to end once it has answered what it has begun. Without it, it ends after one answer.
async fn serve_connection(
    stream: TcpStream,
    routes: Router,
    service: Arc<Service>,
    stop: Option<watch::Receiver<bool>>,
) {
    let _open = Gauge::hold(&service.metrics().connections);
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    // Whether a request has come: hyper lets idle connections go when it is told to stop, but not those that never asked for anything.
    let asked = Arc::new(AtomicBool::new(false));
    let (noted, routes) = (Arc::clone(&asked), TowerToHyperService::new(routes));
    let noting = service_fn(move |request| {
        noted.store(true, Ordering::Relaxed);
        routes.call(request)
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.limits().head_seconds)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(stop.is_some())
        .serve_connection(TokioIo::new(Stalling::new(stream, service.limits().time)), noting);
    tokio::pin!(connection);
    let told = async {
        match stop {
            Some(mut stop) => _ = stop.wait_for(|stop| *stop).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(told);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    // Clients that hang up, or speak something else: nothing that the service could mend.
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = &mut told, if !stopping => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
