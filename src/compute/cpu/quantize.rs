//! Twin of `shaders/quantize.wgsl`: codewords taken from residuals and added to what was taken before.

use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 128;

/// `next = residual − c[label]`; `sum = c[label]` or `sum += c[label]`. Labels past the codebook take nothing.
pub fn quantize(
    e: usize,
    first: bool,
    residual: &[f32],
    codebook: &[f32],
    labels: &[u32],
    next: &mut [f32],
    sum: &mut [f32],
) {
    let blocks = next
        .par_chunks_mut(BLOCK * e)
        .zip(sum.par_chunks_mut(BLOCK * e))
        .zip(residual.par_chunks(BLOCK * e))
        .zip(labels.par_chunks(BLOCK));
    blocks.for_each(|(((next, sum), residual), labels)| {
        let rows = next.chunks_exact_mut(e).zip(sum.chunks_exact_mut(e)).zip(residual.chunks_exact(e)).zip(labels);
        for (((next, sum), residual), label) in rows {
            let at = *label as usize * e;
            match codebook.get(at..at + e) {
                Some(codeword) => {
                    for (((n, s), r), c) in next.iter_mut().zip(sum).zip(residual).zip(codeword) {
                        *n = r - c;
                        *s = if first { *c } else { *s + c };
                    }
                }
                None => {
                    next.copy_from_slice(residual);
                    if first {
                        sum.fill(0.0);
                    }
                }
            }
        }
    });
}
