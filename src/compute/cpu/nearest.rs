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
