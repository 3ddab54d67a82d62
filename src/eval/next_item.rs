//! A floor for recommenders: the next item of a user, ranked by code similarity and by three baselines.

use rayon::prelude::*;
use serde::Serialize;

use super::behaviour::Interactions;
use super::nearest::{dots, rounding};
use super::prefixes::Prefixes;
use super::rank::of_one;
use super::refuse_non_finite;
use crate::data::{Codes, Matrix, RowSource, Sequences};
use crate::error::{Error, Result, check_shape};

/// How [`measure_next_item`] weighs a history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextItemOptions {
    /// Weight of an event over that of the one after it, in (0, 1]; 1 forgets nothing.
    pub decay: f64,
    /// Users that item-kNN adds to the denominator of its cosine, so that two items with one user each are not the
    /// closest of all; 0 is the plain cosine.
    pub shrink: f64,
    /// Events before the last that popularity and item-kNN do not learn from, as they are the validation part of the
    /// published protocols. All but the last belong to the history that is ranked from.
    pub validation: usize,
    /// Users drawn, at most; all by default.
    pub users: Option<usize>,
    /// Seed of that draw.
    pub seed: u64,
}

impl Default for NextItemOptions {
    fn default() -> Self {
        Self { decay: 0.8, shrink: 1.0, validation: 1, users: None, seed: 0 }
    }
}

impl NextItemOptions {
    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::Config`] for a decay outside (0, 1], a negative shrink, or 0 users.
    pub fn validate(&self) -> Result<()> {
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            return Err(Error::config("next_item.decay", format!("expected a factor in (0, 1], got {}", self.decay)));
        }
        if !(self.shrink >= 0.0 && self.shrink.is_finite()) {
            return Err(Error::config("next_item.shrink", format!("expected 0 or more users, got {}", self.shrink)));
        }
        if self.users == Some(0) {
            return Err(Error::config("next_item.users", "expected at least 1 user, got 0"));
        }
        Ok(())
    }
}

/// How well the last item of a user is found from the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NextItemMeasures {
    /// Users measured.
    pub users: usize,
    /// Users left out, as they have one event or took their last item before.
    pub left_out: usize,
    /// Weight of an event over that of the one after it.
    pub decay: f64,
    /// One entry a way of ranking.
    pub rankings: Vec<Ranking>,
}

/// What one way of ranking reaches, in expectation over its ties.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// `codes`, `popularity`, `item_knn` or `vectors`.
    pub by: &'static str,
    /// Share of the users whose last item is among the first 5.
    pub recall_at_5: f64,
    /// The same among the first 10.
    pub recall_at_10: f64,
    /// NDCG among the first 5: 1/log₂(place + 1).
    pub ndcg_at_5: f64,
    /// The same among the first 10.
    pub ndcg_at_10: f64,
}

/// One user's question: the history, its weights, and the item to be found.
struct Question<'a> {
    history: &'a [u32],
    target: usize,
}

impl Question<'_> {
    /// Items with the weight of each event, the latest 1; in the order of time, an item as often as it was taken.
    fn weighted(&self, decay: f64) -> impl Iterator<Item = (usize, f64)> + '_ {
        weighted(self.history, decay)
    }
}

/// Items of a history with the weight of each event, the latest 1.
pub(super) fn weighted(history: &[u32], decay: f64) -> impl Iterator<Item = (usize, f64)> + '_ {
    let ages = (0..history.len()).rev();
    history.iter().map(|&item| item as usize).zip(ages.map(move |age| libm::pow(decay, age as f64)))
}

/// Ranks all items a user has not taken yet, and says how high the last item of the user comes: leave-last-out, full
/// ranking, no sampled candidates.
///
/// - `codes`: Σ over the history of decay^age × length of the common prefix;
/// - `popularity`: how many users took an item, but for their last and validation events;
/// - `item_knn`: Σ over the history of decay^age × |A ∩ B| / (√(|A||B|) + shrink), from the same events;
/// - `vectors`, if rows are given: the cosine of an item's row and the decayed mean of the history's rows, each of
///   length 1. Scores that `f32` cannot tell apart are decided in `f64`; equal rows tie.
///
/// A last item that ties with others takes each of their places with equal probability. Nothing is trained on, so this
/// is a floor: what IDs carry without a model. Rows are held in memory. Cost for `vectors`: `users × N × d`.
///
/// # Errors
/// [`Error::Config`] for options that cannot be used; [`Error::Shape`] if rows and codes disagree in number;
/// [`Error::Data`] for an item that is no row, or if no user is left; [`Error::NonFinite`]; what the source returns.
pub fn measure_next_item(
    codes: &Codes,
    rows: Option<&dyn RowSource>,
    sequences: &Sequences,
    options: &NextItemOptions,
) -> Result<NextItemMeasures> {
    sequences.check(codes.rows())?;
    next_item(&Prefixes::new(codes), codes, rows, sequences, options)
}

pub(super) fn next_item(
    prefixes: &Prefixes,
    codes: &Codes,
    rows: Option<&dyn RowSource>,
    sequences: &Sequences,
    options: &NextItemOptions,
) -> Result<NextItemMeasures> {
    options.validate()?;
    if let Some(rows) = rows {
        check_shape("rows", codes.rows(), rows.rows(), rows.name())?;
    }
    let mut questions: Vec<Question<'_>> = sequences
        .iter()
        .filter_map(|items| {
            let (&target, history) = items.split_last()?;
            let usable = !history.is_empty() && !history.contains(&target);
            usable.then_some(Question { history, target: target as usize })
        })
        .collect();
    let left_out = sequences.users() - questions.len();
    if questions.is_empty() {
        return Err(Error::Data(format!(
            "none of {} users has an item before the last one, so there is nothing to rank from",
            sequences.users()
        )));
    }
    if let Some(cap) = options.users.filter(|cap| *cap < questions.len()) {
        let drawn = crate::rng::stream(options.seed, "eval.next_item", 0).sample(questions.len() as u64, cap);
        let mut keep = vec![false; questions.len()];
        drawn.iter().for_each(|&at| keep[at as usize] = true);
        let mut at = 0..;
        questions.retain(|_| keep[at.next().unwrap_or(0)]);
    }
    let learned = Interactions::new(
        codes.rows(),
        sequences.iter().map(|items| &items[..items.len().saturating_sub(1 + options.validation)]),
    );
    let mut rankings = vec![
        summed("codes", &by_codes(&questions, prefixes, options.decay)),
        summed("popularity", &by_popularity(&questions, &learned, codes.rows())),
        summed("item_knn", &by_item_knn(&questions, &learned, codes.rows(), options)),
    ];
    if let Some(rows) = rows {
        rankings.push(summed("vectors", &by_vectors(&questions, rows, options.decay)?));
    }
    Ok(NextItemMeasures { users: questions.len(), left_out, decay: options.decay, rankings })
}

/// `(candidates before the target, candidates on its score with itself)` of each question, as measures.
fn summed(by: &'static str, places: &[(usize, usize)]) -> Ranking {
    let mut sums = [0.0; 4];
    for &(better, tied) in places {
        let (at_5, at_10) = (of_one(better, tied, 5), of_one(better, tied, 10));
        sums.iter_mut().zip([at_5.0, at_10.0, at_5.1, at_10.1]).for_each(|(sum, value)| *sum += value);
    }
    let [recall_at_5, recall_at_10, ndcg_at_5, ndcg_at_10] = sums.map(|sum| sum / places.len() as f64);
    Ranking { by, recall_at_5, recall_at_10, ndcg_at_5, ndcg_at_10 }
}

/// Counts how the scores of candidates compare with the target's.
#[derive(Default)]
struct TargetRank {
    better: usize,
    tied: usize,
}

impl TargetRank {
    fn see(&mut self, score: f64, target: f64) {
        self.better += usize::from(score > target);
        self.tied += usize::from(score == target);
    }
}

fn by_codes(questions: &[Question<'_>], prefixes: &Prefixes, decay: f64) -> Vec<(usize, usize)> {
    let levels = prefixes.of_row.len();
    let rows = prefixes.order.len();
    let fresh = || {
        let weights: Vec<Vec<f64>> = prefixes.starts.iter().map(|starts| vec![0.0; starts.len() - 1]).collect();
        (weights, vec![false; rows])
    };
    let place = |(weights, taken): &mut (Vec<Vec<f64>>, Vec<bool>), question: &Question<'_>| {
        for (item, weight) in question.weighted(decay) {
            taken[item] = true;
            (0..levels).for_each(|level| weights[level][prefixes.of_row[level][item] as usize] += weight);
        }
        let score = |item: usize| (0..levels).map(|l| weights[l][prefixes.of_row[l][item] as usize]).sum::<f64>();
        let target = score(question.target);
        let mut firsts: Vec<u32> = question.history.iter().map(|&item| prefixes.of_row[0][item as usize]).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let (mut place, mut seen) = (TargetRank::default(), 0usize);
        for &first in &firsts {
            let range = prefixes.starts[0][first as usize]..prefixes.starts[0][first as usize + 1];
            for &item in &prefixes.order[range] {
                if !taken[item] {
                    seen += 1;
                    place.see(score(item), target);
                }
            }
        }
        if target == 0.0 {
            // All that share nothing with the history; what was taken shares with itself, so it is among the seen.
            let taken = taken_once(question.history);
            place.tied += rows - taken - seen;
        }
        for (item, _) in question.weighted(decay) {
            taken[item] = false;
            (0..levels).for_each(|level| weights[level][prefixes.of_row[level][item] as usize] = 0.0);
        }
        (place.better, place.tied)
    };
    questions.par_iter().map_init(fresh, place).collect()
}

fn taken_once(history: &[u32]) -> usize {
    let mut set = history.to_vec();
    set.sort_unstable();
    set.dedup();
    set.len()
}

fn by_popularity(questions: &[Question<'_>], learned: &Interactions, rows: usize) -> Vec<(usize, usize)> {
    let mut sorted: Vec<usize> = (0..rows).map(|item| learned.degree(item)).collect();
    sorted.sort_unstable();
    let place = |question: &Question<'_>| {
        let target = learned.degree(question.target);
        let (from, to) = (sorted.partition_point(|&d| d < target), sorted.partition_point(|&d| d <= target));
        let mut history = question.history.to_vec();
        history.sort_unstable();
        history.dedup();
        let mut taken = TargetRank::default();
        history.iter().for_each(|&item| taken.see(learned.degree(item as usize) as f64, target as f64));
        (rows - to - taken.better, to - from - taken.tied)
    };
    questions.par_iter().map(place).collect()
}

/// Of each item, the others with users in common, and how similar they are.
pub(super) fn item_similarities(learned: &Interactions, rows: usize, shrink: f64) -> Vec<Vec<(u32, f64)>> {
    (0..rows)
        .into_par_iter()
        .map_init(
            || (vec![0u32; rows], Vec::new()),
            |(counts, touched), item| {
                learned.common(item, counts, touched);
                let similar = |&other: &u32| {
                    let common = f64::from(std::mem::take(&mut counts[other as usize]));
                    let users = learned.degree(item) * learned.degree(other as usize);
                    (other, common / ((users as f64).sqrt() + shrink))
                };
                touched.iter().map(similar).collect()
            },
        )
        .collect()
}

fn by_item_knn(
    questions: &[Question<'_>],
    learned: &Interactions,
    rows: usize,
    options: &NextItemOptions,
) -> Vec<(usize, usize)> {
    // Similarities once for each item; a history then adds up a few of these lists.
    let near = item_similarities(learned, rows, options.shrink);
    let place = |(scores, touched): &mut (Vec<f64>, Vec<u32>), question: &Question<'_>| {
        touched.clear();
        for (item, weight) in question.weighted(options.decay) {
            for &(other, similarity) in &near[item] {
                // An event so long ago that its weight underflows touches nothing.
                let more = weight * similarity;
                if more > 0.0 {
                    if scores[other as usize] == 0.0 {
                        touched.push(other);
                    }
                    scores[other as usize] += more;
                }
            }
        }
        let target = scores[question.target];
        let (mut place, mut history) = (TargetRank::default(), question.history.to_vec());
        history.sort_unstable();
        history.dedup();
        let taken_and_seen = history.iter().filter(|&&item| scores[item as usize] > 0.0).count();
        for &other in touched.iter() {
            place.see(scores[other as usize], target);
        }
        history.iter().filter(|&&item| scores[item as usize] > 0.0).for_each(|&item| {
            let score = scores[item as usize];
            place.better -= usize::from(score > target);
            place.tied -= usize::from(score == target);
        });
        if target == 0.0 {
            place.tied += rows - touched.len() - (history.len() - taken_and_seen);
        }
        touched.iter().for_each(|&other| scores[other as usize] = 0.0);
        (place.better, place.tied)
    };
    questions.par_iter().map_init(|| (vec![0.0f64; rows], Vec::new()), place).collect()
}

/// Users a task of the product, and items a task.
const USERS: usize = 64;
const ITEMS: usize = 2048;

/// All rows, each divided by its length.
pub(super) fn normalised_rows(source: &dyn RowSource) -> Result<Matrix> {
    let (rows, dims) = (source.rows(), source.dims());
    let mut units = Matrix::zeros(rows, dims)?;
    for start in (0..rows).step_by(ITEMS) {
        let count = ITEMS.min(rows - start);
        let piece = &mut units.as_mut_slice()[start * dims..(start + count) * dims];
        source.read_rows(start, piece)?;
        refuse_non_finite(piece, dims, start, source)?;
        piece.par_chunks_exact_mut(dims.max(1)).for_each(|row| {
            let norm = wide_dot(row, row).sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
        });
    }
    Ok(units)
}

fn by_vectors(questions: &[Question<'_>], source: &dyn RowSource, decay: f64) -> Result<Vec<(usize, usize)>> {
    let units = &normalised_rows(source)?;
    let (rows, dims) = (units.rows(), units.dims());
    let places = questions.par_chunks(USERS).flat_map_iter(|part| {
        let mut wanted = vec![0.0f32; part.len() * dims];
        let mut targets = Vec::with_capacity(part.len());
        for (question, out) in part.iter().zip(wanted.chunks_exact_mut(dims.max(1))) {
            let mut mean = vec![0.0f64; dims];
            for (item, weight) in question.weighted(decay) {
                mean.iter_mut().zip(units.row(item)).for_each(|(m, &x)| *m += weight * f64::from(x));
            }
            // A length of about 1 keeps `f32` in its range; it changes no rank.
            let norm = mean.iter().map(|m| m * m).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            out.iter_mut().zip(&mean).for_each(|(o, m)| *o = (m / norm) as f32);
            targets.push(wide_dot(out, units.row(question.target)));
        }
        let mut places: Vec<TargetRank> = part.iter().map(|_| TargetRank::default()).collect();
        let mut scores = vec![0.0f32; part.len() * ITEMS.min(rows)];
        // Every vector is of length 0 or 1, within rounding.
        let slack = rounding(1.0 + 1e-6, 1.0 + 1e-6, dims);
        for start in (0..rows).step_by(ITEMS) {
            let count = ITEMS.min(rows - start);
            let piece = &units.as_slice()[start * dims..(start + count) * dims];
            dots(&wanted, piece, dims, &mut scores[..part.len() * count]);
            for (at, place) in places.iter_mut().enumerate() {
                let (target, query) = (targets[at], &wanted[at * dims..(at + 1) * dims]);
                let (low, high) = (((target - slack) as f32).next_down(), ((target + slack) as f32).next_up());
                let line = &scores[at * count..(at + 1) * count];
                for (j, &score) in line.iter().enumerate() {
                    if score > high {
                        place.better += 1;
                    } else if score >= low {
                        place.see(wide_dot(query, units.row(start + j)), target);
                    }
                }
            }
        }
        let mut out = Vec::with_capacity(part.len());
        for (at, (question, mut place)) in part.iter().zip(places).enumerate() {
            let mut history = question.history.to_vec();
            history.sort_unstable();
            history.dedup();
            let mut taken = TargetRank::default();
            for &item in &history {
                taken.see(wide_dot(&wanted[at * dims..(at + 1) * dims], units.row(item as usize)), targets[at]);
            }
            place.better -= taken.better;
            place.tied -= taken.tied;
            out.push((place.better, place.tied));
        }
        out
    });
    Ok(places.collect())
}

/// a · b in `f64`, eight partial sums in a fixed order.
fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    for (x, y) in a.chunks(8).zip(b.chunks(8)) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += f64::from(x) * f64::from(y);
        }
    }
    lanes.iter().sum()
}
