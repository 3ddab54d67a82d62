//! Twin of `shaders/ema.wgsl`: codewords as moving averages of their rows.

use rayon::prelude::*;

/// Moves counts and means and derives the codewords; `counts` is `[k + 1]`, the last being ΣN.
#[allow(clippy::too_many_arguments)]
pub fn ema(
    e: usize,
    decay: f32,
    epsilon: f32,
    batch: &[f32],
    sums: &[f32],
    counts: &mut [f32],
    means: &mut [f32],
    codebook: &mut [f32],
) {
    let k = batch.len();
    for (n, b) in counts.iter_mut().zip(batch) {
        *n = decay * *n + (1.0 - decay) * b;
    }
    let total = counts[..k].iter().map(|n| f64::from(*n)).sum::<f64>() as f32;
    counts[k] = total;
    let smooth = total / (total + k as f32 * epsilon);
    let rows = means.par_chunks_mut(e).zip(codebook.par_chunks_mut(e)).zip(sums.par_chunks(e)).zip(&counts[..k]);
    rows.for_each(|(((mean, codeword), sum), n)| {
        let size = (n + epsilon) * smooth;
        for ((m, c), s) in mean.iter_mut().zip(codeword).zip(sum) {
            *m = decay * *m + (1.0 - decay) * s;
            // Not `> 0`: NaN must show.
            if *n != 0.0 {
                *c = *m / size;
            }
        }
    });
}
