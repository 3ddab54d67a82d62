//! Twin of `shaders/project.wgsl`: rows centred, multiplied with components, scaled.

use super::Rows;
use super::dots::matmul_nt_blocked;
use rayon::prelude::*;

/// `[n, p]` of `scale·((x − mean)·componentsᵀ)`; empty arguments are zero, identity and one.
pub fn project(rows: &Rows, mean: &[f32], components: &[f32], scales: &[f32]) -> Rows {
    let d = rows.d;
    let p = if components.is_empty() { d } else { components.len() / d };
    let mut out = vec![0.0f32; rows.n * p];
    out.par_chunks_mut(256 * p).zip(rows.data.par_chunks(256 * d)).for_each(|(out, part)| {
        let mut centred;
        let input = if mean.is_empty() {
            part
        } else {
            centred = part.to_vec();
            for row in centred.chunks_exact_mut(d) {
                super::residual::subtract(row, mean);
            }
            &centred
        };
        if components.is_empty() {
            out.copy_from_slice(input);
        } else {
            matmul_nt_blocked(input, components, d, out);
        }
        if !scales.is_empty() {
            for row in out.chunks_exact_mut(p) {
                for (v, s) in row.iter_mut().zip(scales) {
                    *v *= s;
                }
            }
        }
    });
    Rows::new(rows.n, p, out)
}
