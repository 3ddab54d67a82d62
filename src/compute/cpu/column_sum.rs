//! Twin of `shaders/column_sum.wgsl`: column sums in a fixed order.

use super::Rows;
use rayon::prelude::*;

/// Rows whose sums are added before they join the total: fixed, so that threads do not matter.
const BLOCK: usize = 2048;

/// `[d]` column sums in f64: block by block, then the blocks in order.
pub fn column_sums(rows: &Rows) -> Vec<f64> {
    let d = rows.d;
    let partials: Vec<Vec<f64>> = rows
        .data
        .par_chunks(BLOCK * d)
        .map(|part| {
            let mut sums = vec![0.0f64; d];
            for row in part.chunks_exact(d) {
                for (s, v) in sums.iter_mut().zip(row) {
                    *s += f64::from(*v);
                }
            }
            sums
        })
        .collect();
    partials.into_iter().fold(vec![0.0; d], |mut total, part| {
        for (t, p) in total.iter_mut().zip(part) {
            *t += p;
        }
        total
    })
}
