//! Twin of `shaders/assign.wgsl`: nearest codeword, its score, and the second-best score, block by block.

use super::dots::{Engine, matmul_nt_blocked};
use super::isa::multiversion;
use super::normalize::unit_rows;
use super::residual::subtract;
use super::row_norm::squares;
use super::{Codebook, Partition, Rows};
use crate::compute::{AssignmentScores, LevelCodes, PreprocessSteps};
use crate::data::MatrixView;
use rayon::prelude::*;

/// Rows a task: fixed, so that sums do not depend on the thread count.
const BLOCK: usize = 512;
/// Rows that go through all levels together, so that their residuals stay in cache.
const CHAIN_BLOCK: usize = 256;

/// Codewords looked at together.
const LANES: usize = 16;

/// Best score, second-best score and best part of every lane.
struct Lanes {
    best: [f32; LANES],
    second: [f32; LANES],
    part: [u32; LANES],
}

multiversion! {
    /// The lanes' best two of `bias[j] − dots[j]`, over whole parts of 16. Apart from the merge, whose indexing would keep the
    /// lanes out of registers.
    fn best_lanes(dots: &[[f32; LANES]], bias: &[[f32; LANES]], out: &mut Lanes) {
        let mut best = [f32::MAX; LANES];
        let mut second = [f32::MAX; LANES];
        let mut part = [0u32; LANES];
        for (p, (x, b)) in dots.iter().zip(bias).enumerate() {
            for l in 0..LANES {
                let s = b[l] - x[l];
                // The loser of this comparison is what may be second.
                let less = s < best[l];
                let loser = if less { best[l] } else { s };
                second[l] = if loser < second[l] { loser } else { second[l] };
                best[l] = if less { s } else { best[l] };
                part[l] = if less { p as u32 } else { part[l] };
            }
        }
        *out = Lanes { best, second, part };
    }
}

/// Best index, best score, second-best score of `bias[j] − dots[j]`; the lowest index wins a tie.
pub(super) fn top_two(dots: &[f32], bias: &[f32]) -> (u32, f32, f32) {
    let (dot_parts, dot_tail) = dots.as_chunks::<LANES>();
    let (bias_parts, bias_tail) = bias.as_chunks::<LANES>();
    let mut lanes = Lanes { best: [f32::MAX; LANES], second: [f32::MAX; LANES], part: [0; LANES] };
    best_lanes(dot_parts, bias_parts, &mut lanes);
    let (mut winner, mut low, mut next) = (0u32, f32::MAX, f32::MAX);
    for l in 0..LANES {
        let (best, at) = (lanes.best[l], lanes.part[l] * LANES as u32 + l as u32);
        if best < low || (best == low && at < winner) {
            next = if low < next { low } else { next };
            low = best;
            winner = at;
        } else if best < next {
            next = best;
        }
        if lanes.second[l] < next {
            next = lanes.second[l];
        }
    }
    let offset = dot_parts.len() * LANES;
    for (t, (x, b)) in dot_tail.iter().zip(bias_tail).enumerate() {
        let s = b - x;
        if s < low {
            next = low;
            low = s;
            winner = (offset + t) as u32;
        } else if s < next {
            next = s;
        }
    }
    (winner, low, next)
}

/// Fills labels and scores; returns the sum of the best scores, block by block in order.
pub fn assign(rows: &Rows, codebook: &Codebook, partition: &mut Partition) -> AssignmentScores {
    let d = rows.d;
    let Partition { labels, best, second, .. } = partition;
    let sums: Vec<f64> = labels
        .par_chunks_mut(BLOCK)
        .zip(best.par_chunks_mut(BLOCK))
        .zip(second.par_chunks_mut(BLOCK))
        .zip(rows.data.par_chunks(BLOCK * d))
        .map(|(((labels, best), second), part)| {
            let mut sum = 0.0f64;
            Engine::new(codebook).for_each(part, |i, dots| {
                (labels[i], best[i], second[i]) = top_two(dots, &codebook.bias);
                sum += f64::from(best[i]);
            });
            sum
        })
        .collect();
    AssignmentScores { score_sum: sums.into_iter().sum() }
}

/// Codes of host rows, a block at a time: copied, preprocessed and taken through all levels while in cache. Shapes are checked.
pub fn encode_rows(rows: MatrixView<'_>, steps: &PreprocessSteps<'_>, codebooks: &[Codebook]) -> LevelCodes {
    let (n, d, levels) = (rows.rows(), rows.dims(), codebooks.len());
    let entries = if steps.normalize_rows { n } else { 0 };
    let inner = if steps.components.is_empty() { d } else { steps.components.len() / d };
    let mut out = LevelCodes { entry_norm: vec![0.0; entries], ..LevelCodes::zeros(n, levels) };
    let mut entry: Vec<&mut [f32]> = out.entry_norm.chunks_mut(CHAIN_BLOCK).collect();
    entry.resize_with(n.div_ceil(CHAIN_BLOCK), Default::default);
    type Parts<'a> = ((((&'a mut [u32], &'a mut [f32]), &'a mut [f32]), &'a mut [f32]), &'a [f32]);
    let block = |((((codes, margin), norm), entry), part): Parts<'_>| {
        let mut work = preprocess(part, d, steps);
        if steps.normalize_rows {
            unit_rows(&mut work, inner, entry);
        }
        if steps.product {
            side_by_side(&work, inner, codebooks, codes, margin, norm);
        } else {
            chain(&mut work, codebooks, steps.normalize_residuals, codes, margin, norm);
        }
    };
    let size = CHAIN_BLOCK * levels;
    if n <= CHAIN_BLOCK {
        // One block: no need to wake the pool.
        if let Some(entry) = entry.pop() {
            block(((((&mut out.codes, &mut out.margin), &mut out.norm), entry), rows.as_slice()));
        }
    } else {
        out.codes
            .par_chunks_mut(size)
            .zip(out.margin.par_chunks_mut(size))
            .zip(out.norm.par_chunks_mut(size))
            .zip(entry)
            .zip(rows.as_slice().par_chunks(CHAIN_BLOCK * d))
            .for_each(block);
    }
    out
}

/// A block's rows, centred, projected and scaled.
fn preprocess(part: &[f32], d: usize, steps: &PreprocessSteps<'_>) -> Vec<f32> {
    let mut work = part.to_vec();
    if !steps.mean.is_empty() {
        work.chunks_exact_mut(d).for_each(|row| subtract(row, steps.mean));
    }
    if !steps.components.is_empty() {
        let p = steps.components.len() / d;
        let mut out = vec![0.0f32; part.len() / d * p];
        matmul_nt_blocked(&work, steps.components, d, &mut out);
        work = out;
    }
    if !steps.scales.is_empty() {
        for row in work.chunks_exact_mut(steps.scales.len()) {
            row.iter_mut().zip(steps.scales).for_each(|(v, s)| *v *= s);
        }
    }
    work
}

/// Takes a block through all levels, in place.
fn chain(
    rows: &mut [f32],
    codebooks: &[Codebook],
    normalize: bool,
    codes: &mut [u32],
    margin: &mut [f32],
    norm: &mut [f32],
) {
    let levels = codebooks.len();
    let d = codebooks[0].d;
    let mut norms = vec![0.0f32; rows.len() / d];
    for (level, codebook) in codebooks.iter().enumerate() {
        if normalize {
            unit_rows(rows, d, &mut norms);
        } else {
            squares(rows, d, &mut norms);
            norms.iter_mut().for_each(|v| *v = v.sqrt());
        }
        Engine::new(codebook).for_each(rows, |i, dots| {
            let (label, best, second) = top_two(dots, &codebook.bias);
            let at = i * levels + level;
            (codes[at], margin[at], norm[at]) = (label, second - best, norms[i]);
        });
        if level + 1 < levels {
            for (i, row) in rows.chunks_exact_mut(d).enumerate() {
                subtract(row, &codebook.values[codes[i * levels + level] as usize * d..][..d]);
            }
        }
    }
}

/// Takes a block's rows `[_, d]` through levels that look at columns of their own, which are copied so that they lie together.
fn side_by_side(
    rows: &[f32],
    d: usize,
    codebooks: &[Codebook],
    codes: &mut [u32],
    margin: &mut [f32],
    norm: &mut [f32],
) {
    let levels = codebooks.len();
    let mut norms = vec![0.0f32; rows.len() / d];
    let mut own = Vec::with_capacity(rows.len());
    let mut first = 0;
    for (level, codebook) in codebooks.iter().enumerate() {
        own.clear();
        rows.chunks_exact(d).for_each(|row| own.extend_from_slice(&row[first..first + codebook.d]));
        first += codebook.d;
        squares(&own, codebook.d, &mut norms);
        Engine::new(codebook).for_each(&own, |i, dots| {
            let (label, best, second) = top_two(dots, &codebook.bias);
            let at = i * levels + level;
            (codes[at], margin[at], norm[at]) = (label, second - best, norms[i].sqrt());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_two_agrees_with_a_sorted_scan() {
        let mut random = crate::rng::stream(11, "top-two", 0);
        for k in [1, 2, 15, 16, 17, 31, 33, 256, 257] {
            for _ in 0..50 {
                // Few distinct values, so that ties abound.
                let dots: Vec<f32> = (0..k).map(|_| random.below(8) as f32).collect();
                let bias: Vec<f32> = (0..k).map(|_| random.below(4) as f32).collect();
                let mut scores: Vec<(f32, u32)> = (0..k).map(|j| (bias[j] - dots[j], j as u32)).collect();
                scores.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let second = scores.get(1).map_or(f32::MAX, |s| s.0);
                assert_eq!(top_two(&dots, &bias), (scores[0].1, scores[0].0, second), "k = {k}");
            }
        }
    }
}
