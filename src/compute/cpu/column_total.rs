//! Twin of `shaders/column_total.wgsl`: sums of the columns of a dense matrix.

use super::isa::multiversion;
use rayon::prelude::*;

/// Rows a task; partial sums are added in order.
const BLOCK: usize = 128;

multiversion! {
    fn add_rows(values: &[f32], out: &mut [f32]) {
        for row in values.chunks_exact(out.len()) {
            for (o, v) in out.iter_mut().zip(row) {
                *o += v;
            }
        }
    }
}

/// `out = alpha·Σ_i values[i, ·] (+ out)`.
pub fn column_total(d: usize, alpha: f32, accumulate: bool, values: &[f32], out: &mut [f32]) {
    let parts: Vec<Vec<f32>> = values
        .par_chunks(BLOCK * d)
        .map(|part| {
            let mut sums = vec![0.0f32; d];
            add_rows(part, &mut sums);
            sums
        })
        .collect();
    let mut sums = vec![0.0f32; d];
    parts.iter().for_each(|part| add_rows(part, &mut sums));
    for (o, s) in out.iter_mut().zip(sums) {
        *o = if accumulate { *o + alpha * s } else { alpha * s };
    }
}
