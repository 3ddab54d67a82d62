//! What the program says while it works: bars on a terminal, plain lines elsewhere, both to stderr.

use crate::flags::Common;
use crate::text::{percent, time, whole};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use sememe::progress::LevelSummary;
use sememe::{Event, Observer};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static STOP: AtomicBool = AtomicBool::new(false);

/// Without a terminal, how long a phase runs before it says how far it is, and how often.
const EVERY: Duration = Duration::from_secs(10);

/// Whether Ctrl-C or SIGTERM came.
pub fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Lines,
    Bars,
}

struct State {
    bar: Option<ProgressBar>,
    name: String,
    unit: &'static str,
    total: Option<u64>,
    begun: Instant,
    told: Instant,
    levels: usize,
    starts: usize,
    iterations: u64,
    level: usize,
    terse: bool,
    notes: Vec<String>,
}

/// The observer of every verb.
pub struct Progress {
    /// Whether the result is one JSON object.
    pub json: bool,
    /// Whether nothing but results and errors is wanted.
    pub quiet: bool,
    mode: Mode,
    state: Mutex<State>,
}

impl Progress {
    /// Listens for Ctrl-C and SIGTERM from now on.
    pub fn new(common: &Common) -> anyhow::Result<Self> {
        ctrlc::set_handler(|| {
            // The second one does not wait for the step to end.
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })?;
        let mode = match (common.quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        let now = Instant::now();
        let state = State {
            bar: None,
            name: String::new(),
            unit: "",
            total: None,
            begun: now,
            told: now,
            levels: 0,
            starts: 1,
            iterations: 0,
            level: 0,
            terse: false,
            notes: Vec::new(),
        };
        Ok(Self { json: common.json, quiet: common.quiet, mode, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many levels and starts are coming, for what a training's bars and lines count.
    pub fn expect_levels(&self, levels: usize, starts: usize) {
        let mut state = self.state();
        (state.levels, state.starts, state.level) = (levels, starts.max(1), 0);
    }

    /// From now on no line for each level and round: many trainings follow.
    pub fn many_trainings(&self) {
        self.state().terse = true;
    }

    /// Opens a phase that the program itself goes through.
    pub fn phase(&self, name: &str, total: u64, unit: &'static str) {
        self.event(Event::Phase { name, total: Some(total), unit });
    }

    /// Takes the bar away: what follows is the result.
    pub fn finish(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line to stderr, above the bar if there is one.
    pub fn say(&self, line: &str) {
        say(self.mode, &self.state(), line);
    }

    /// Something the user should know: a line now, or an entry of the JSON's `notes`.
    pub fn note(&self, note: &str) {
        let mut state = self.state();
        if state.terse && state.notes.iter().any(|told| told == note) {
            // Every training of a row of them would say so again.
            return;
        }
        if self.json || state.terse {
            state.notes.push(note.to_owned());
        }
        if !self.json {
            say(self.mode, &state, &format!("note: {note}"));
        }
    }

    /// Notes gathered for the JSON.
    pub fn notes(&self) -> Vec<String> {
        self.state().notes.clone()
    }
}

fn say(mode: Mode, state: &State, line: &str) {
    match (mode, &state.bar) {
        (Mode::Silent, _) => {}
        (Mode::Bars, Some(bar)) => bar.suspend(|| put(line)),
        _ => put(line),
    }
}

/// A closed stderr is no reason to stop working.
fn put(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn rate(done: u64, elapsed: Duration, unit: &str) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    if rate >= 10.0 { format!("{} {unit}/s", whole(rate as u64)) } else { format!("{rate:.1} {unit}/s") }
}

fn style(unit: &'static str) -> ProgressStyle {
    let template = "{msg:<12} {bar:30.cyan/dim} {pos_of}  {rate}  {left}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("pos_of", move |s: &ProgressState, w: &mut dyn std::fmt::Write| {
            let _ = write!(w, "{} of {} {unit}", whole(s.pos()), whole(s.len().unwrap_or(0)));
        })
        .with_key("rate", move |s: &ProgressState, w: &mut dyn std::fmt::Write| {
            if s.pos() > 0 {
                let _ = w.write_str(&rate(s.pos(), s.elapsed(), unit));
            }
        })
        .with_key("left", |s: &ProgressState, w: &mut dyn std::fmt::Write| {
            let eta = s.eta().as_secs_f64();
            if s.pos() > 0 && eta > 0.0 {
                let _ = write!(w, "{} left", time(eta));
            }
        })
        .progress_chars("━╸─")
}

impl State {
    /// What the phase is called on its bar.
    fn label(&self) -> String {
        match (self.name.as_str(), self.terse) {
            ("train", true) => format!("level {}", self.level + 1),
            ("train", false) => format!("level {}/{}", self.level + 1, self.levels),
            _ => self.name.clone(),
        }
    }

    fn begin(&mut self, mode: Mode, name: &str, total: Option<u64>, unit: &'static str) {
        let now = Instant::now();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        (self.name, self.unit, self.begun, self.told) = (name.to_owned(), unit, now, now);
        self.total = total.filter(|t| *t > 0);
        if name == "train" {
            self.iterations = self.total.unwrap_or(0);
            self.total = self.total.map(|t| t * self.starts as u64);
        }
        if mode == Mode::Bars {
            let bar = self.total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            if self.total.is_some() {
                bar.set_style(style(unit));
            }
            bar.set_message(self.label());
            self.bar = Some(bar);
        }
    }

    fn advance(&mut self, mode: Mode, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        let now = Instant::now();
        if mode == Mode::Lines && now - self.told >= EVERY {
            self.told = now;
            let elapsed = now - self.begun;
            let mut line = format!("{}: {}", self.label(), whole(done));
            if let Some(total) = self.total {
                line.push_str(&format!(" of {} {}", whole(total), self.unit));
                let left = elapsed.as_secs_f64() * (total.saturating_sub(done)) as f64 / done.max(1) as f64;
                line.push_str(&format!(", {}, {} left", rate(done, elapsed, self.unit), time(left)));
            } else {
                line.push_str(&format!(" {}, {}", self.unit, rate(done, elapsed, self.unit)));
            }
            put(&line);
        }
    }

    fn level_line(&self, l: &LevelSummary) -> String {
        let reseeded = if l.reseeded > 0 { format!(", {} reseeded", whole(l.reseeded)) } else { String::new() };
        let loads = l.balance.as_ref().map_or_else(String::new, |b| format!(", {}", crate::text::loads(b)));
        format!(
            "level {}/{}  K {:<4}  inertia {:.4e}  R² {:.4}  perplexity {:<5.1}  used {:<6}  {:>6}, {} of {} iterations{reseeded}{loads}",
            l.level + 1,
            self.levels,
            l.codebook_size,
            l.inertia,
            l.r2,
            l.perplexity,
            percent(l.utilisation),
            time(l.seconds),
            l.iterations,
            self.iterations
        )
    }
}

/// One line about an epoch of an RQ-VAE.
fn epoch_line(report: &sememe::progress::EpochReport) -> String {
    let width = report.epochs.to_string().len();
    let mut line = format!("epoch {:>width$}/{}  loss {:.4}", report.epoch, report.epochs, report.losses.total);
    match &report.health {
        Some(health) => {
            let levels: Vec<String> = health.levels.iter().map(|l| format!("{:.0}", l.perplexity)).collect();
            let least = || health.levels.iter().map(|l| l.utilisation).fold(1.0, f64::min);
            let used = health.shared.map_or_else(least, |s| s.utilisation);
            line.push_str(&format!(
                "  R² {:.4}  collisions {:.4}  perplexity {}  used {}",
                health.r2,
                health.collision_rate,
                levels.join("/"),
                percent(used)
            ));
        }
        None => line.push_str(&format!("  reconstruction {:.4}", report.losses.reconstruction)),
    }
    if report.restarted > 0 {
        line.push_str(&format!("  {} restarted", whole(report.restarted)));
    }
    line.push_str(&format!(
        "  {} rows/s{}",
        whole(report.rows_per_second as u64),
        if report.best { ", best" } else { "" }
    ));
    line
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state();
        match event {
            Event::Phase { name, total, unit } => state.begin(self.mode, name, total, unit),
            Event::Advance { done } => state.advance(self.mode, done),
            Event::Iteration { start, iteration, inertia, .. } => {
                let done = start as u64 * state.iterations + iteration as u64;
                tracing::debug!(level = state.level + 1, start, iteration, inertia, "iteration");
                state.advance(self.mode, done);
            }
            Event::Level(summary) => {
                state.level = summary.level + 1;
                if !state.terse {
                    let line = state.level_line(summary);
                    say(self.mode, &state, &line);
                }
            }
            Event::Epoch(report) => {
                let line = epoch_line(report);
                say(self.mode, &state, &line);
            }
            Event::Refined { .. } if state.terse => {}
            Event::Refined { round, r2 } => {
                let line = format!("refinement round {round:>2}  R² {r2:.4}");
                say(self.mode, &state, &line);
            }
            Event::Note(note) => {
                drop(state);
                self.note(note);
            }
            _ => {}
        }
    }

    fn stop(&self) -> bool {
        stopped()
    }
}
