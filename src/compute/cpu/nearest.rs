//! Twin of `shaders/nearest.wgsl`: the best codeword of every row of dot products.

use super::assign::top_two;
use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 64;

/// `labels[i] = argmin_j (half_norms[j] − dots[i, j])`.
pub fn nearest(k: usize, dots: &[f32], half_norms: &[f32], labels: &mut [u32]) {
    labels.par_chunks_mut(BLOCK).zip(dots.par_chunks(BLOCK * k)).for_each(|(labels, dots)| {
        for (label, dots) in labels.iter_mut().zip(dots.chunks_exact(k)) {
            *label = top_two(dots, half_norms).0;
        }
    });
}

/// `labels[i] = argmin_{j ≠ i} (half_norms[j] − dots[i, j])`; 0 for a row that is alone.
pub fn nearest_other(n: usize, dots: &[f32], half_norms: &[f32], labels: &mut [u32]) {
    labels.par_chunks_mut(BLOCK).zip(dots.par_chunks(BLOCK * n)).enumerate().for_each(|(block, (labels, dots))| {
        for (at, (label, dots)) in labels.iter_mut().zip(dots.chunks_exact(n)).enumerate() {
            let i = block * BLOCK + at;
            let (left, low, _) = top_two(&dots[..i], &half_norms[..i]);
            let (right, score, _) = top_two(&dots[i + 1..], &half_norms[i + 1..]);
            // The left side wins a tie, since its indices are lower; an empty side has the largest score.
            *label = if score < low { right + i as u32 + 1 } else { left };
        }
    });
}
