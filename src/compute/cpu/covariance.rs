//! Twin of `shaders/covariance.wgsl`: sums of products of centred rows.

use super::Rows;
use super::dots::matmul_nt;
use rayon::prelude::*;

/// Rows whose products are summed in f32 before they join the f64 total.
const BLOCK: usize = 1024;
/// Blocks in flight at a time, which bounds the memory; fixed, so that the order of addition is.
const WAVE: usize = 4;

/// `[d, d]` of `Σ (x − mean)(x − mean)ᵀ`; an empty mean is zero.
pub fn scatter(rows: &Rows, mean: &[f32]) -> Vec<f64> {
    let d = rows.d;
    let mut total = vec![0.0f64; d * d];
    for wave in rows.data.chunks(BLOCK * WAVE * d) {
        let partials: Vec<Vec<f32>> = wave
            .par_chunks(BLOCK * d)
            .map(|part| {
                let m = part.len() / d;
                // Transposed, so that both operands of the product are rows of dimensions.
                let mut columns = vec![0.0f32; part.len()];
                for (i, row) in part.chunks_exact(d).enumerate() {
                    for (c, v) in row.iter().enumerate() {
                        columns[c * m + i] = v - mean.get(c).copied().unwrap_or(0.0);
                    }
                }
                let mut out = vec![0.0f32; d * d];
                matmul_nt(&columns, &columns, m, &mut out);
                out
            })
            .collect();
        for part in partials {
            for (t, p) in total.iter_mut().zip(part) {
                *t += f64::from(p);
            }
        }
    }
    total
}
