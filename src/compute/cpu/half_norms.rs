//! Twin of `shaders/half_norms.wgsl`: ½‖c‖² of every codeword.

use super::isa::multiversion;
use rayon::prelude::*;

/// Codewords a task.
const BLOCK: usize = 32;
/// Interleaved sums.
const LANES: usize = 16;

multiversion! {
    fn half_norm(codeword: &[f32], out: &mut f32) {
        let mut sums = [0.0f64; LANES];
        let (parts, tail) = codeword.as_chunks::<LANES>();
        for part in parts {
            for l in 0..LANES {
                let v = f64::from(part[l]);
                sums[l] += v * v;
            }
        }
        for (l, v) in tail.iter().enumerate() {
            sums[l] += f64::from(*v) * f64::from(*v);
        }
        *out = (0.5 * sums.iter().sum::<f64>()) as f32;
    }
}

/// `out[j] = ½‖c_j‖²`, summed in f64.
pub fn half_norms(e: usize, codebook: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(BLOCK).zip(codebook.par_chunks(BLOCK * e)).for_each(|(out, part)| {
        out.iter_mut().zip(part.chunks_exact(e)).for_each(|(out, codeword)| half_norm(codeword, out));
    });
}
