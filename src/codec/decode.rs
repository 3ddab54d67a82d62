//! Codes back to rows.

use super::Inner;
use crate::compute::cpu::dots::matmul_nt;
use crate::data::{Codes, Matrix};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 256;

/// `[n, d]` rows; the codes may have fewer columns than the codec has levels.
pub fn decode(codec: &Inner, codes: &Codes) -> Result<Matrix> {
    let chain = &codec.chain;
    let (depth, sizes, p, d) = (codes.levels(), chain.codebook_sizes(), chain.inner_dims(), chain.dims);
    if depth == 0 || depth > sizes.len() {
        return Err(Error::Shape {
            what: "levels",
            expected: sizes.len(),
            got: depth,
            place: "codes to decode".into(),
        });
    }
    for (i, row) in codes.iter().enumerate() {
        for (level, (code, size)) in row.iter().zip(&sizes).enumerate() {
            if *code as usize >= *size {
                return Err(Error::Data(format!(
                    "code {code} of row {i}, level {level} is past the last of {size} codewords"
                )));
            }
        }
    }
    // Components as columns, so that the way back is a product with rows of p values.
    let mut back = vec![0.0f32; chain.components.len()];
    for c in 0..chain.components.len().checked_div(d).unwrap_or(0) {
        for i in 0..d {
            back[i * p + c] = chain.components[c * d + i];
        }
    }
    let mut out = Matrix::zeros(codes.rows(), d)?;
    out.as_mut_slice().par_chunks_mut(BLOCK * d.max(1)).zip(codes.as_slice().par_chunks(BLOCK * depth)).for_each(
        |(out, codes)| {
            let mut inner = vec![0.0f32; codes.len() / depth * p];
            for (row, codes) in inner.chunks_exact_mut(p).zip(codes.chunks_exact(depth)) {
                // From the finest level up: what a level was divided by multiplies all that came after it.
                for (level, code) in codes.iter().enumerate().rev() {
                    let codeword = chain.codebooks[level].row(*code as usize);
                    row.iter_mut().zip(codeword).for_each(|(v, c)| *v += c);
                    if let Some(norm) = codec.residual_norms.get(level) {
                        row.iter_mut().for_each(|v| *v *= norm);
                    }
                }
                if chain.normalize_rows {
                    row.iter_mut().for_each(|v| *v *= codec.manifest.mean_norm);
                }
                row.iter_mut().zip(&chain.scales).for_each(|(v, s)| *v /= s);
            }
            if chain.components.is_empty() {
                out.copy_from_slice(&inner);
            } else {
                matmul_nt(&inner, &back, p, out);
            }
            for row in out.chunks_exact_mut(d) {
                row.iter_mut().zip(&chain.mean).for_each(|(v, m)| *v += m);
            }
        },
    );
    Ok(out)
}
