//! Twin of `shaders/loads.wgsl`, with `assign` in the same pass: labels, and what every codeword would get of softly assigned rows.

use super::assign::top_two;
use super::dots::Engine;
use super::isa::multiversion;
use super::math::exp;
use super::{Codebook, Partition, Rows};
use crate::compute::SoftLoads;
use rayon::prelude::*;

/// Rows a task: fixed, so that sums do not depend on the thread count.
const BLOCK: usize = 512;
/// Rows whose blocks are kept together.
const WAVE: usize = 256 * BLOCK;
/// Interleaved sums.
const LANES: usize = 16;

multiversion! {
    /// `weights_j = e^((best − (bias_j − dots_j))·scale)`; returns their sum.
    fn weigh(dots: &[f32], bias: &[f32], best: f32, scale: f32, weights: &mut [f32], out: &mut f32) {
        let mut sums = [0.0f32; LANES];
        let (xs, x_tail) = dots.as_chunks::<LANES>();
        let (bs, b_tail) = bias.as_chunks::<LANES>();
        let (ws, w_tail) = weights.as_chunks_mut::<LANES>();
        for ((x, b), w) in xs.iter().zip(bs).zip(ws) {
            for l in 0..LANES {
                w[l] = exp((best - (b[l] - x[l])) * scale);
                sums[l] += w[l];
            }
        }
        for (l, ((x, b), w)) in x_tail.iter().zip(b_tail).zip(w_tail).enumerate() {
            *w = exp((best - (b - x)) * scale);
            sums[l] += *w;
        }
        *out = sums.iter().sum();
    }
}

multiversion! {
    /// `loads += weights·factor`.
    fn add(weights: &[f32], factor: f32, loads: &mut [f32]) {
        for (l, w) in loads.iter_mut().zip(weights) {
            *l += w * factor;
        }
    }
}

/// See [`Backend::loads`](crate::compute::Backend::loads). A block's loads are added in f32, blocks in order in f64.
pub fn loads(rows: &Rows, codebook: &Codebook, epsilon: f32, partition: &mut Partition) -> SoftLoads {
    let (d, k, scale) = (rows.d, codebook.k, 1.0 / epsilon);
    let Partition { labels, best, second, .. } = partition;
    let mut found = SoftLoads { score_sum: 0.0, loads: vec![0.0; k] };
    // A block has loads of its own: so many at a time that they stay small beside the rows.
    let waves = labels.chunks_mut(WAVE).zip(best.chunks_mut(WAVE)).zip(second.chunks_mut(WAVE));
    for (((labels, best), second), rows) in waves.zip(rows.data.chunks(WAVE * d.max(1))) {
        let blocks: Vec<(f64, Vec<f32>)> = labels
            .par_chunks_mut(BLOCK)
            .zip(best.par_chunks_mut(BLOCK))
            .zip(second.par_chunks_mut(BLOCK))
            .zip(rows.par_chunks(BLOCK * d))
            .map(|(((labels, best), second), part)| {
                let (mut sum, mut loads, mut weights) = (0.0f64, vec![0.0f32; k], vec![0.0f32; k]);
                Engine::new(codebook).for_each(part, |i, dots| {
                    (labels[i], best[i], second[i]) = top_two(dots, &codebook.bias);
                    sum += f64::from(best[i]);
                    let mut total = 0.0;
                    weigh(dots, &codebook.bias, best[i], scale, &mut weights, &mut total);
                    add(&weights, 1.0 / total, &mut loads);
                });
                (sum, loads)
            })
            .collect();
        for (sum, loads) in &blocks {
            found.score_sum += sum;
            found.loads.iter_mut().zip(loads).for_each(|(all, part)| *all += f64::from(*part));
        }
    }
    found
}
