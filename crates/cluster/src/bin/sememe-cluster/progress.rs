//! What is said while work goes on: a bar on a terminal, plain lines elsewhere, both to stderr.

use indicatif::{ProgressBar, ProgressStyle};
use sememe::{Event, Observer};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static STOP: AtomicBool = AtomicBool::new(false);

/// Waits for Ctrl-C and SIGTERM; the second one does not wait for the work to end.
pub async fn listen() {
    loop {
        wished().await;
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    }
}

#[cfg(unix)]
async fn wished() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        },
        Err(_) => _ = tokio::signal::ctrl_c().await,
    }
}

#[cfg(not(unix))]
async fn wished() {
    _ = tokio::signal::ctrl_c().await;
}

pub struct Progress {
    quiet: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bar: Mutex::new(None) }
    }

    /// Takes the bar away: what follows is the result.
    pub fn finish(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*bar, self.quiet) {
            (_, true) => {}
            (Some(bar), _) => bar.println(line),
            // A closed stderr is no reason to stop.
            (None, _) => _ = writeln!(std::io::stderr().lock(), "{line}"),
        }
    }

    fn begin(&self, name: &str, total: Option<u64>, unit: &str) {
        self.finish();
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{msg} {wide_bar} {human_pos}/{human_len}"),
            None => (ProgressBar::new_spinner(), "{msg} {spinner} {elapsed}, {human_pos}"),
        };
        let style = ProgressStyle::with_template(&format!("{template} {unit}"));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Phase { name, total, unit } => self.begin(name, total, unit),
            Event::Advance { done } => {
                if let Some(bar) = &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
                    bar.set_position(done);
                }
            }
            Event::Level(level) => self.say(&format!(
                "level {}  K {}  R² {:.4}  perplexity {:.1}  used {:.1} %, {} iterations",
                level.level + 1,
                level.codebook_size,
                level.r2,
                level.perplexity,
                100.0 * level.utilisation,
                level.iterations
            )),
            Event::Note(note) => self.say(&format!("note: {note}")),
            _ => {}
        }
    }

    fn stop(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}
