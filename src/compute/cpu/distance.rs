//! Twin of `shaders/distance.wgsl`: the squared-L2 matrix of rows and codewords.

use super::dots::Engine;
use super::row_norm;
use super::{Codebook, Rows};
use rayon::prelude::*;

/// `[n, k]` of `‖r‖² + 2·(½‖c‖² − r·c)`, never below 0. The codebook is one for squared L2.
pub fn distance(rows: &Rows, codebook: &Codebook) -> Vec<f32> {
    let (d, k) = (rows.d, codebook.k);
    let norms = row_norm::norms(rows);
    let mut out = vec![0.0f32; rows.n * k];
    out.par_chunks_mut(512 * k).zip(rows.data.par_chunks(512 * d)).zip(norms.par_chunks(512)).for_each(
        |((out, part), norms)| {
            Engine::new(codebook).for_each(part, |i, dots| {
                for (j, o) in out[i * k..(i + 1) * k].iter_mut().enumerate() {
                    *o = (norms[i] + 2.0 * (codebook.bias[j] - dots[j])).max(0.0);
                }
            });
        },
    );
    out
}
