//! Twin of `shaders/cross_entropy.wgsl`: cross-entropy with smoothed targets, and its gradient.

use super::isa::multiversion;
use super::softmax::{exponentials, largest};
use rayon::prelude::*;

/// Rows a task at most.
const BLOCK: usize = 16;
/// Interleaved sums.
const LANES: usize = 16;
/// Values whose exponentials are summed in f32.
const STRIPE: usize = 2048;

multiversion! {
    /// `x ← scale·x − less`.
    fn scale_less(row: &mut [f32], scale: f32, less: f32) {
        row.iter_mut().for_each(|v| *v = *v * scale - less);
    }
}

multiversion! {
    /// Σ (x − shift).
    fn shifted_sum(row: &[f32], shift: f32, out: &mut f32) {
        let mut sums = [0.0f32; LANES];
        let (parts, tail) = row.as_chunks::<LANES>();
        for part in parts {
            for l in 0..LANES {
                sums[l] += part[l] - shift;
            }
        }
        for (l, v) in tail.iter().enumerate() {
            sums[l] += v - shift;
        }
        *out = sums.iter().sum();
    }
}

/// Cross-entropy with smoothed targets, and its gradient in place of the logits; rows of `k` values.
pub fn cross_entropy(k: usize, scale: f32, smoothing: f32, targets: &[u32], logits: &mut [f32], loss: &mut [f32]) {
    // Rows as wide as a vocabulary are a task each.
    let rows = ((1 << 13) / k).clamp(1, BLOCK);
    let tasks = logits.par_chunks_mut(rows * k).zip(loss.par_chunks_mut(rows)).zip(targets.par_chunks(rows));
    tasks.for_each(|((logits, loss), targets)| {
        for ((row, loss), target) in logits.chunks_exact_mut(k).zip(loss).zip(targets) {
            *loss = entropy(row, *target as usize, scale, smoothing);
        }
    });
}

/// One row of it; returns its loss.
fn entropy(row: &mut [f32], target: usize, scale: f32, smoothing: f32) -> f32 {
    if target >= row.len() {
        row.fill(0.0);
        return 0.0;
    }
    let (mut shift, uniform) = (0.0, smoothing / row.len() as f32);
    largest(row, &mut shift);
    let wanted = f64::from(row[target] - shift);
    let (mut sum, mut all, mut part) = (0.0f64, 0.0f64, 0.0f32);
    for stripe in row.chunks_mut(STRIPE) {
        // Without smoothing, logits that are no matter how far below the largest do not count.
        if smoothing > 0.0 {
            shifted_sum(stripe, shift, &mut part);
            all += f64::from(part);
        }
        exponentials(stripe, shift, &mut part);
        sum += f64::from(part);
    }
    let picked = (1.0 - smoothing) * scale;
    scale_less(row, (f64::from(scale) / sum) as f32, scale * uniform);
    row[target] -= picked;
    (libm::log(sum) - f64::from(1.0 - smoothing) * wanted - f64::from(uniform) * all) as f32
}
