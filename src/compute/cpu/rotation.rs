//! Twin of `shaders/rotation.wgsl`: gradients through the rotation that carries a residual onto its codeword.

use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 64;

fn dot(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>) -> f32 {
    a.zip(b).map(|(x, y)| f64::from(x) * f64::from(y)).sum::<f64>() as f32
}

/// `out = λ·Rᵀ·upstream` a row, with `q = residual − next`.
///
/// With unit vectors r̂, q̂ and `w = (r̂ + q̂)/‖r̂ + q̂‖`, `R = I − 2wwᵀ + 2q̂r̂ᵀ`, so `Rᵀg = g − 2w(w·g) + 2r̂(q̂·g)`.
pub fn backward(e: usize, residual: &[f32], next: &[f32], upstream: &[f32], out: &mut [f32]) {
    let blocks = out
        .par_chunks_mut(BLOCK * e)
        .zip(residual.par_chunks(BLOCK * e))
        .zip(next.par_chunks(BLOCK * e))
        .zip(upstream.par_chunks(BLOCK * e));
    blocks.for_each(|(((out, residual), next), upstream)| {
        let rows = out.chunks_exact_mut(e).zip(residual.chunks_exact(e)).zip(next.chunks_exact(e));
        for (((out, r), next), g) in rows.zip(upstream.chunks_exact(e)) {
            let q = || r.iter().zip(next).map(|(r, n)| r - n);
            let from = dot(r.iter().copied(), r.iter().copied()).sqrt();
            let to = dot(q(), q()).sqrt();
            let sum = || r.iter().zip(q()).map(|(r, q)| r / from + q / to);
            let bisector = dot(sum(), sum());
            // Written so that NaN takes the way of the formula.
            if from == 0.0 || to == 0.0 || bisector <= 1e-6 {
                out.copy_from_slice(g);
                continue;
            }
            let along = dot(sum(), g.iter().copied()) / bisector;
            let onto = dot(q(), g.iter().copied()) / to;
            for (((o, g), r), s) in out.iter_mut().zip(g).zip(r).zip(sum()) {
                *o = to / from * (g - 2.0 * s * along + 2.0 * r / from * onto);
            }
        }
    });
}
