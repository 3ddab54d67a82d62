//! The nearest rows of a sample by brute force: a GEMM that leaves out, `f64` that decides.

use rayon::prelude::*;

use super::codes::shared_prefix;
use super::{piece_rows, refuse_non_finite};
use crate::compute::cpu::gemm::{Operand, gemm};
use crate::data::{Codes, Matrix, RowSource};
use crate::error::Result;

/// Queries a task.
const BLOCK: usize = 128;

/// Rows at one squared L2 from a query, counted by the length of the prefix they share with it.
struct Tied {
    squared_l2: f64,
    by_prefix: Vec<u64>,
    count: u64,
}

/// The nearest rows of one query as groups of ties: those before the last hold fewer than k rows together, so
/// memory stays at k groups however many rows tie.
pub(super) struct Nearest {
    groups: Vec<Tied>,
    held: u64,
}

impl Nearest {
    /// Squared L2 beyond which a row cannot count any more.
    fn reach(&self, k: usize) -> f64 {
        match self.groups.last() {
            Some(last) if self.held >= k as u64 => last.squared_l2,
            _ => f64::INFINITY,
        }
    }

    fn insert(&mut self, squared_l2: f64, shared: usize, levels: usize, k: usize) {
        let at = self.groups.partition_point(|g| g.squared_l2 < squared_l2);
        if self.groups.get(at).is_none_or(|g| g.squared_l2 != squared_l2) {
            self.groups.insert(at, Tied { squared_l2, by_prefix: vec![0; levels + 1], count: 0 });
        }
        self.groups[at].by_prefix[shared] += 1;
        self.groups[at].count += 1;
        self.held += 1;
        while let Some(last) = self.groups.pop_if(|last| self.held - last.count >= k as u64) {
            self.held -= last.count;
        }
    }

    /// Whether some row equals the query in every value.
    pub(super) fn has_duplicate(&self) -> bool {
        self.groups.first().is_some_and(|group| group.squared_l2 == 0.0)
    }

    /// `[levels + 1]` expected number of the k nearest rows by the length of the prefix they share with the query.
    pub(super) fn relevance_by_prefix(&self, k: usize, levels: usize) -> Vec<f64> {
        let (mut relevance, mut before) = (vec![0.0; levels + 1], 0u64);
        for group in &self.groups {
            let places = (k as u64 - before).min(group.count) as f64;
            for (sum, &count) in relevance.iter_mut().zip(&group.by_prefix) {
                *sum += count as f64 * places / group.count as f64;
            }
            before += group.count;
        }
        relevance
    }
}

/// The k nearest rows of each query, by one pass over the source.
pub(super) fn nearest_rows(source: &dyn RowSource, codes: &Codes, queries: &[usize], k: usize) -> Result<Vec<Nearest>> {
    let (rows, dims, levels) = (source.rows(), source.dims(), codes.levels());
    let mut wanted = Matrix::zeros(queries.len(), dims)?;
    for (slot, &query) in queries.iter().enumerate() {
        source.read_rows(query, wanted.row_mut(slot))?;
    }
    let norms: Vec<f64> = (0..queries.len()).map(|q| squared_norm(wanted.row(q))).collect();
    let mut found: Vec<Nearest> = queries.iter().map(|_| Nearest { groups: Vec::new(), held: 0 }).collect();
    let step = piece_rows(dims).min(rows);
    let mut buffer = vec![0.0f32; step * dims];
    for start in (0..rows).step_by(step) {
        let count = step.min(rows - start);
        let piece = &mut buffer[..count * dims];
        source.read_rows(start, piece)?;
        refuse_non_finite(piece, dims, start, source)?;
        let piece = &*piece;
        let squares: Vec<f64> = (0..count).into_par_iter().map(|j| squared_norm(&piece[j * dims..][..dims])).collect();
        let halves: Vec<f32> = squares.iter().map(|s| (s / 2.0) as f32).collect();
        let longest = squares.iter().fold(0.0f64, |m, &s| m.max(s)).sqrt();
        found.par_chunks_mut(BLOCK).enumerate().for_each_init(Vec::new, |scores: &mut Vec<f32>, (block, found)| {
            let from = block * BLOCK;
            scores.resize(found.len() * count, 0.0);
            dots(&wanted.as_slice()[from * dims..][..found.len() * dims], piece, dims, scores);
            for (i, nearest) in found.iter_mut().enumerate() {
                let (slot, query) = (from + i, queries[from + i]);
                let slack = rounding(norms[slot].sqrt(), longest, dims);
                let limit = |nearest: &Nearest| (((nearest.reach(k) - norms[slot]) / 2.0 + slack) as f32).next_up();
                let mut bound = limit(nearest);
                // ½‖y‖² − q·y is half the squared L2 less a constant of the query. Chunks of 16 let the
                // comparison run in vectors; `!(a > b)` lets NaN through to the f64 decision.
                let line = &scores[i * count..(i + 1) * count];
                for (chunk, (dot, half)) in line.chunks(16).zip(halves.chunks(16)).enumerate() {
                    let beyond = dot.iter().zip(half).fold(true, |all, (d, h)| all & (h - d > bound));
                    if beyond {
                        continue;
                    }
                    for j in chunk * 16..chunk * 16 + dot.len() {
                        if halves[j] - line[j] > bound || start + j == query {
                            continue;
                        }
                        let squared_l2 = squared_l2(wanted.row(slot), &piece[j * dims..][..dims]);
                        if squared_l2 <= nearest.reach(k) {
                            let shared = shared_prefix(codes.row(query), codes.row(start + j));
                            nearest.insert(squared_l2, shared, levels, k);
                            bound = limit(nearest);
                        }
                    }
                }
            }
        });
    }
    Ok(found)
}

/// How far the `f32` value of ½‖y‖² − q·y may be from the true one, for ‖q‖ and the largest ‖y‖.
///
/// With u = 2⁻²⁴ a dot product of d terms, in any order and with or without FMA, is within d·u/(1 − d·u)·‖q‖‖y‖ of
/// the true one (Higham, *Accuracy and Stability of Numerical Algorithms*, §3.1), plus d underflows; ½‖y‖² is rounded
/// once and the difference once. Doubled, to cover the `f64` side and the bound's own rounding. Infinite where `f32`
/// may overflow, so that everything is decided in `f64`.
pub(super) fn rounding(query: f64, longest: f64, dims: usize) -> f64 {
    let unit = 2f64.powi(-24);
    let (product, half) = (query * longest, longest * longest / 2.0);
    let share = dims as f64 * unit;
    if share >= 0.5 || product > 1e37 || half > 1e37 {
        return f64::INFINITY;
    }
    2.0 * (share / (1.0 - share) * product + unit * (2.0 * half + 2.0 * product) + dims as f64 * 2f64.powi(-126))
}

/// `out[i, j]` = row i of `left` · row j of `right`; `[a, d]` and `[b, d]` give `[a, b]`.
pub(super) fn dots(left: &[f32], right: &[f32], dims: usize, out: &mut [f32]) {
    let (a, b) = (left.len() / dims, right.len() / dims);
    assert!(left.len() == a * dims && right.len() == b * dims && out.len() == a * b, "shapes of a product agree");
    if !out.is_empty() {
        gemm((a, b, dims), 1.0, false, Operand::by_lane(left, dims), Operand::by_lane(right, dims), out);
    }
}

/// ‖a − b‖² in `f64`, eight partial sums in a fixed order.
fn squared_l2(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    for (x, y) in a.chunks(8).zip(b.chunks(8)) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            let delta = f64::from(x) - f64::from(y);
            *lane += delta * delta;
        }
    }
    lanes.iter().sum()
}

fn squared_norm(a: &[f32]) -> f64 {
    a.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}
