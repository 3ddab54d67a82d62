//! Twin of `shaders/normalize.wgsl`: rows divided by their L2 norm.

use super::Rows;
use super::row_norm::squares;
use rayon::prelude::*;

/// Divides `[m, d]` rows by their norms, which go to `norms`; a zero row stays zero.
pub fn unit_rows(rows: &mut [f32], d: usize, norms: &mut [f32]) {
    squares(rows, d, norms);
    for (row, norm) in rows.chunks_exact_mut(d).zip(norms) {
        // Squares of very small or very large values leave f32's range; f64 does not.
        if !(*norm > f32::MIN_POSITIVE * 1e8 && *norm < f32::MAX / 4.0) {
            *norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        } else {
            *norm = norm.sqrt();
        }
        if *norm > 0.0 {
            for v in row {
                *v /= *norm;
            }
        }
    }
}

/// Normalises in place, parallel over blocks.
pub fn normalize(rows: &mut Rows) -> Vec<f32> {
    let d = rows.d;
    let mut norms = vec![0.0; rows.n];
    rows.data.par_chunks_mut(512 * d).zip(norms.par_chunks_mut(512)).for_each(|(part, out)| unit_rows(part, d, out));
    rows.touch();
    norms
}
