//! Figures of the service, as Prometheus reads them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets of times, in seconds.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Statuses that are counted by their number; others count as 0.
const STATUSES: [u16; 14] = [0, 200, 304, 400, 401, 404, 405, 409, 413, 415, 422, 429, 500, 503];

/// Figures of one route.
#[derive(Debug, Default)]
struct RouteFigures {
    statuses: [AtomicU64; STATUSES.len()],
    /// Not cumulative; the last is for what took longer than all buckets.
    times: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// All figures.
#[derive(Debug)]
pub struct Metrics {
    routes: Vec<(&'static str, RouteFigures)>,
    /// Requests being served.
    pub in_flight: AtomicI64,
    /// Connections that are open.
    pub connections: AtomicI64,
    /// Rows that were encoded.
    pub rows: AtomicU64,
    /// Items that got an ID.
    pub new_items: AtomicU64,
    /// Items that were asked for an ID and had one.
    pub known_items: AtomicU64,
    /// Generations that were taken up.
    pub reloads: AtomicU64,
    /// Generations that could not be loaded.
    pub failed_reloads: AtomicU64,
}

/// Adds one as long as it lives.
#[derive(Debug)]
pub struct Gauge<'a>(&'a AtomicI64);

impl<'a> Gauge<'a> {
    /// Counts from now on.
    #[must_use]
    pub fn hold(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Figures of these routes; all others are counted together.
    #[must_use]
    pub fn new(routes: &[&'static str]) -> Self {
        let named = std::iter::once(&"other").chain(routes);
        Self {
            routes: named.map(|route| (*route, RouteFigures::default())).collect(),
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            rows: AtomicU64::new(0),
            new_items: AtomicU64::new(0),
            known_items: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
        }
    }

    /// Counts a request that was answered.
    pub fn count(&self, route: Option<&str>, status: u16, took: Duration) {
        let known = route.and_then(|route| self.routes.iter().position(|(name, _)| *name == route));
        let Some((_, figures)) = self.routes.get(known.unwrap_or(0)) else { return };
        let place = STATUSES.iter().position(|known| *known == status).unwrap_or(0);
        figures.statuses[place].fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        figures.times[bucket].fetch_add(1, Ordering::Relaxed);
        figures.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All figures in Prometheus' text format; `items` and `generation` are of what is served now.
    #[must_use]
    pub fn render(&self, items: usize, generation: u64) -> String {
        let mut out = String::new();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        out.push_str(
            "# HELP sememe_requests_total Requests that were answered.\n# TYPE sememe_requests_total counter\n",
        );
        for (route, figures) in &self.routes {
            for (status, count) in STATUSES.iter().zip(&figures.statuses).filter(|(_, count)| load(count) > 0) {
                let _ = writeln!(out, "sememe_requests_total{{route=\"{route}\",status=\"{status}\"}} {}", load(count));
            }
        }
        out.push_str(
            "# HELP sememe_request_seconds Time from headers to answer.\n# TYPE sememe_request_seconds histogram\n",
        );
        for (route, figures) in &self.routes {
            let mut sum = 0;
            for (count, end) in figures.times.iter().zip(BUCKETS.iter().map(f64::to_string).chain(["+Inf".into()])) {
                sum += load(count);
                let _ = writeln!(out, "sememe_request_seconds_bucket{{route=\"{route}\",le=\"{end}\"}} {sum}");
            }
            let seconds = load(&figures.micros) as f64 / 1e6;
            let _ = writeln!(out, "sememe_request_seconds_sum{{route=\"{route}\"}} {seconds}");
            let _ = writeln!(out, "sememe_request_seconds_count{{route=\"{route}\"}} {sum}");
        }
        let counters = [
            ("sememe_rows_encoded_total", "Rows that were encoded.", load(&self.rows)),
            ("sememe_items_new_total", "Items that got an ID.", load(&self.new_items)),
            ("sememe_items_known_total", "Items that were asked for an ID and had one.", load(&self.known_items)),
            ("sememe_reloads_total", "Generations that were taken up.", load(&self.reloads)),
            ("sememe_reloads_failed_total", "Generations that could not be loaded.", load(&self.failed_reloads)),
        ];
        for (name, help, value) in counters {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
        }
        let gauges = [
            ("sememe_requests_in_flight", "Requests being served.", self.in_flight.load(Ordering::Relaxed)),
            ("sememe_connections", "Connections that are open.", self.connections.load(Ordering::Relaxed)),
            ("sememe_items", "Items that are served.", items as i64),
            ("sememe_generation", "Which generation is served, from 1 on.", generation as i64),
        ];
        for (name, help, value) in gauges {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        out
    }
}
