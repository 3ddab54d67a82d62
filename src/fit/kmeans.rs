//! Lloyd's algorithm on one level.

use super::exchange;
use super::init::{Init, TOLD, init};
use crate::compute::{Backend, Metric};
use crate::error::Result;
use crate::progress::{Event, Observer, check};
use crate::rng::stream;
use serde::{Deserialize, Serialize};

/// What happens to a codeword that no row chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyPolicy {
    /// It moves to the row that is farthest from its own codeword (distinct rows for several of them).
    #[default]
    Farthest,
    /// It stays where it is.
    Keep,
}

/// One level's settings.
#[derive(Clone)]
pub struct LevelSettings {
    pub k: usize,
    pub iterations: usize,
    pub tolerance: f64,
    pub starts: usize,
    pub seed: u64,
    pub level: usize,
    pub metric: Metric,
    pub init: Init,
    /// `[k, d]` codewords for the first start to begin with, in place of what `init` would choose.
    pub first: Option<Vec<f32>>,
    pub empty: EmptyPolicy,
    pub exchange: bool,
}

impl LevelSettings {
    /// Announces the phase to the observer.
    pub fn announce(&self, observer: &dyn Observer) {
        observer.event(Event::Phase { name: "train", total: Some(self.iterations as u64), unit: "iterations" });
    }
}

/// One level's result; the partition describes the rows under the codebook.
pub struct LevelFit<B: Backend> {
    pub codebook: B::Codebook,
    pub partition: B::Partition,
    pub counts: Vec<u32>,
    pub objective: f64,
    pub iterations: usize,
    pub converged: bool,
    pub reseeded: u64,
}

/// Rows for the empty codewords: the farthest, no two alike.
pub fn reseed<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    partition: &B::Partition,
    counts: &[u32],
) -> Result<Vec<(u32, Vec<f32>)>> {
    let empty: Vec<u32> = (0..counts.len() as u32).filter(|j| counts[*j as usize] == 0).collect();
    if empty.is_empty() {
        return Ok(Vec::new());
    }
    let (n, d) = backend.shape(rows);
    let mut changes: Vec<(u32, Vec<f32>)> = Vec::new();
    // Duplicates among the farthest rows would only make new empty codewords, so a few more are looked at.
    for index in backend.farthest(rows, partition, (4 * empty.len() + 16).min(n))? {
        let mut value = vec![0.0; d];
        backend.read_rows(rows, index as usize, &mut value)?;
        if changes.iter().all(|(_, v)| *v != value) {
            changes.push((empty[changes.len()], value));
            if changes.len() == empty.len() {
                break;
            }
        }
    }
    Ok(changes)
}

/// Sets the moved codewords down: part of the way from the receiving codeword to the drawn row.
fn apply<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    codebook: &mut B::Codebook,
    moves: &[exchange::Move],
    part: f32,
) -> Result<()> {
    let d = backend.shape(rows).1;
    let values = backend.read_codebook(codebook)?;
    let mut changes = Vec::with_capacity(moves.len());
    for step in moves {
        let mut value = vec![0.0f32; d];
        backend.read_rows(rows, step.row as usize, &mut value)?;
        for (v, c) in value.iter_mut().zip(&values[step.cluster as usize * d..]) {
            *v = c + part * (*v - c);
        }
        changes.push((step.codeword, value));
    }
    backend.set_codewords(codebook, &changes)
}

/// Converts a sum of scores to the objective: inertia under squared L2, `Σ ‖r‖(1 − cos)` under cosine.
pub fn objective(metric: Metric, constant: f64, score_sum: f64) -> f64 {
    match metric {
        Metric::SquaredL2 => (constant + 2.0 * score_sum).max(0.0),
        Metric::Cosine => (constant + score_sum).max(0.0),
    }
}

/// The part of the objective that depends on `rows` alone: their squared norms under squared L2, their norms under cosine.
pub fn constant<B: Backend>(backend: &B, rows: &B::Rows, metric: Metric) -> Result<f64> {
    match metric {
        Metric::SquaredL2 => backend.sum_squares(rows),
        Metric::Cosine => Ok(backend.row_norms(rows)?.into_iter().map(|v| f64::from(v).sqrt()).sum()),
    }
}

/// Fits one codebook, best of several starts. O(starts·iterations·n·k·d).
pub fn fit<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    settings: &LevelSettings,
    observer: &dyn Observer,
) -> Result<LevelFit<B>> {
    let constant = constant(backend, rows, settings.metric)?;
    let mut best: Option<LevelFit<B>> = None;
    for start in 0..settings.starts {
        let found = one(backend, rows, settings, constant, start, observer)?;
        if best.as_ref().is_none_or(|b| found.objective < b.objective) {
            best = Some(found);
        }
    }
    best.ok_or_else(|| crate::Error::config("starts", "expected at least 1, got 0"))
}

/// Fits one codebook from the start of that number. O(iterations·n·k·d).
pub fn one<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    settings: &LevelSettings,
    constant: f64,
    start: usize,
    observer: &dyn Observer,
) -> Result<LevelFit<B>> {
    let (n, d) = backend.shape(rows);
    let ones = vec![1.0f32; settings.k];
    let mut random = stream(settings.seed, "kmeans.start", (settings.level as u64) << 32 | start as u64);
    let first = match &settings.first {
        Some(first) if start == 0 => first.clone(),
        _ => {
            let first = init(backend, rows, settings.k, settings.init, &mut random, observer)?;
            if settings.k >= TOLD {
                // The start was a phase of its own.
                settings.announce(observer);
            }
            first
        }
    };
    let mut codebook = backend.codebook(settings.k, d, &first, settings.metric)?;
    let mut partition = backend.partition(n)?;
    let (mut previous, mut reseeded, mut converged, mut done) = (f64::INFINITY, 0u64, false, 0);
    let (mut jumped, mut step) = (false, None);
    for iteration in 1..=settings.iterations {
        check(observer)?;
        let assigned = backend.assign(rows, &codebook, &mut partition)?;
        let counts = backend.tally(&mut partition, settings.k)?;
        let now = objective(settings.metric, constant, assigned.score_sum);
        let changes = match settings.empty {
            EmptyPolicy::Farthest => reseed(backend, rows, &partition, &counts)?,
            EmptyPolicy::Keep => Vec::new(),
        };
        let share = if settings.exchange { exchange::share(iteration, settings.iterations) } else { 0.0 };
        let moves = if share > 0.0 && changes.is_empty() {
            let host = backend.read_partition(&partition)?;
            if step.is_none() {
                step = Some(exchange::step(backend, rows, &codebook, &host, &mut random)?);
            }
            exchange::choose(&host, &backend.row_norms(rows)?, settings.k, settings.metric, share, &mut random)
        } else {
            Vec::new()
        };
        backend.update(rows, &mut partition, &mut codebook, &ones)?;
        if !changes.is_empty() {
            backend.set_codewords(&mut codebook, &changes)?;
            reseeded += changes.len() as u64;
        }
        if !moves.is_empty() {
            apply(backend, rows, &mut codebook, &moves, step.unwrap_or_default())?;
        }
        done = iteration;
        observer.event(Event::Iteration {
            level: settings.level,
            start,
            iteration,
            inertia: now,
            reseeded: changes.len(),
        });
        // A codeword that jumped, now or before this assignment, makes two objectives incomparable; and while exchanges are
        // still to come, only one that found nothing to move may end the level.
        let quiet = changes.is_empty() && moves.is_empty();
        let waiting = settings.exchange && share == 0.0 && exchange::comes_after(iteration, settings.iterations);
        let comparable = quiet && !jumped && !waiting && previous.is_finite();
        jumped = !quiet;
        if comparable && settings.tolerance > 0.0 && previous - now <= settings.tolerance * previous {
            converged = true;
            break;
        }
        previous = now;
    }
    let assigned = backend.assign(rows, &codebook, &mut partition)?;
    let counts = backend.tally(&mut partition, settings.k)?;
    let reached = objective(settings.metric, constant, assigned.score_sum);
    Ok(LevelFit { codebook, partition, counts, objective: reached, iterations: done, converged, reseeded })
}
