//! Twin of `shaders/softmax.wgsl`: softmax of rows, its derivative, and cross-entropy.

use super::isa::multiversion;
use super::math::exp;
use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 16;
/// Interleaved sums.
const LANES: usize = 16;

multiversion! {
    /// The largest value of a row; NaN if one is.
    pub(super) fn largest(row: &[f32], out: &mut f32) {
        let mut best = [f32::MIN; LANES];
        let mut bad = [0.0f32; LANES];
        let (parts, tail) = row.as_chunks::<LANES>();
        for part in parts {
            for l in 0..LANES {
                best[l] = if part[l] > best[l] { part[l] } else { best[l] };
                bad[l] += part[l] * 0.0;
            }
        }
        for (l, v) in tail.iter().enumerate() {
            best[l] = if *v > best[l] { *v } else { best[l] };
            bad[l] += v * 0.0;
        }
        let bad: f32 = bad.iter().sum();
        *out = best.iter().fold(f32::MIN, |a, b| a.max(*b)) + bad;
    }
}

multiversion! {
    /// `x ← e^(x − shift)`; returns the sum.
    pub(super) fn exponentials(row: &mut [f32], shift: f32, out: &mut f32) {
        let mut sums = [0.0f32; LANES];
        let (parts, tail) = row.as_chunks_mut::<LANES>();
        for part in parts {
            for l in 0..LANES {
                part[l] = exp(part[l] - shift);
                sums[l] += part[l];
            }
        }
        for (l, v) in tail.iter_mut().enumerate() {
            *v = exp(*v - shift);
            sums[l] += *v;
        }
        *out = sums.iter().sum();
    }
}

/// Softmax in place; returns the log of the sum of exponentials.
fn softmax(row: &mut [f32]) -> f32 {
    let (mut shift, mut sum) = (0.0, 0.0);
    largest(row, &mut shift);
    exponentials(row, shift, &mut sum);
    row.iter_mut().for_each(|v| *v /= sum);
    shift + libm::logf(sum)
}

/// `dots ← softmax((2·(dots − half_norms) + noise)/temperature)`.
pub fn gumbel(k: usize, temperature: f32, half_norms: &[f32], noise: &[f32], dots: &mut [f32]) {
    dots.par_chunks_mut(BLOCK * k).zip(noise.par_chunks(BLOCK * k)).for_each(|(dots, noise)| {
        for (row, noise) in dots.chunks_exact_mut(k).zip(noise.chunks_exact(k)) {
            for ((v, b), g) in row.iter_mut().zip(half_norms).zip(noise) {
                *v = (2.0 * (*v - b) + g) / temperature;
            }
            softmax(row);
        }
    });
}

/// `grad ← scale·p·(grad − Σ p·grad)`.
pub fn backward(k: usize, scale: f32, probabilities: &[f32], grad: &mut [f32]) {
    grad.par_chunks_mut(BLOCK * k).zip(probabilities.par_chunks(BLOCK * k)).for_each(|(grad, p)| {
        for (grad, p) in grad.chunks_exact_mut(k).zip(p.chunks_exact(k)) {
            let mean = grad.iter().zip(p).map(|(g, p)| f64::from(*g) * f64::from(*p)).sum::<f64>() as f32;
            for (g, p) in grad.iter_mut().zip(p) {
                *g = scale * p * (*g - mean);
            }
        }
    });
}

/// Cross-entropy with targets, and its gradient in place of the logits.
pub fn contrast(
    m: usize,
    scale: f32,
    exclude_diagonal: bool,
    targets: &[u32],
    weights: Option<&[f32]>,
    logits: &mut [f32],
    loss: &mut [f32],
) {
    let rows = logits.par_chunks_mut(m).zip(loss.par_iter_mut()).zip(targets).enumerate();
    rows.for_each(|(i, ((row, loss), target))| {
        let weight = weights.map_or(1.0, |w| w[i]);
        let target = *target as usize;
        let wanted = row.get(target).copied().unwrap_or(0.0);
        if exclude_diagonal && i < m {
            // Its exponential is 0 and its own gradient with it.
            row[i] = f32::MIN / 2.0;
        }
        let log_sum = softmax(row);
        *loss = weight * (log_sum - wanted);
        if let Some(p) = row.get_mut(target) {
            *p -= 1.0;
        }
        row.iter_mut().for_each(|p| *p *= scale * weight);
    });
}
