//! Codes back to rows.

use super::parts::CodecParts;
use crate::compute::Storage as _;
use crate::compute::cpu::Cpu;
use crate::compute::cpu::dots::matmul_nt;
use crate::data::{Codes, Matrix};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// Rows a task, fewer where they are wide.
const BLOCK: usize = 256;
/// Bytes of the widest values of a task.
const BLOCK_BYTES: usize = 16 << 20;

/// `[n, d]` rows; the codes may have fewer columns than the codec has levels.
pub fn decode(codec: &CodecParts, codes: &Codes) -> Result<Matrix> {
    let quantizer = &codec.quantizer;
    let (depth, sizes, p, d) = (codes.levels(), quantizer.codebook_sizes(), quantizer.inner_dims(), quantizer.dims);
    let e = quantizer.code_dims();
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
    let mut back = vec![0.0f32; quantizer.components.len()];
    for c in 0..quantizer.components.len().checked_div(d).unwrap_or(0) {
        for i in 0..d {
            back[i * p + c] = quantizer.components[c * d + i];
        }
    }
    let (decoder, cpu) = (codec.decoder()?, Cpu::new());
    let block = |out: &mut [f32], codes: &[u32]| -> Result<()> {
        let n = codes.len() / depth;
        let mut inner = vec![0.0f32; n * e];
        for (row, codes) in inner.chunks_exact_mut(e).zip(codes.chunks_exact(depth)) {
            // From the finest level up: what a level was divided by multiplies all that came after it.
            for (level, code) in codes.iter().enumerate().rev() {
                let codeword = quantizer.codebooks[level].row(*code as usize);
                row[quantizer.columns(level)].iter_mut().zip(codeword).for_each(|(v, c)| *v += c);
                if let Some(norm) = codec.residual_norms.get(level) {
                    row.iter_mut().for_each(|v| *v *= norm);
                }
            }
        }
        if let Some(decoder) = decoder {
            let sums = cpu.upload_rows(n, e, &mut |start, part| {
                part.copy_from_slice(&inner[start * e..start * e + part.len()]);
                Ok(())
            })?;
            inner = vec![0.0f32; n * p];
            cpu.read_rows(&decoder.forward(&cpu, &sums)?, 0, &mut inner)?;
        }
        for row in inner.chunks_exact_mut(p) {
            if quantizer.normalize_rows {
                row.iter_mut().for_each(|v| *v *= codec.manifest.mean_norm);
            }
            row.iter_mut().zip(&quantizer.scales).for_each(|(v, s)| *v /= s);
        }
        if quantizer.components.is_empty() {
            out.copy_from_slice(&inner);
        } else {
            matmul_nt(&inner, &back, p, out);
        }
        for row in out.chunks_exact_mut(d) {
            row.iter_mut().zip(&quantizer.mean).for_each(|(v, m)| *v += m);
        }
        Ok(())
    };
    let mut out = Matrix::zeros(codes.rows(), d)?;
    let rows = (BLOCK_BYTES / (4 * d.max(p).max(e))).clamp(1, BLOCK);
    out.as_mut_slice()
        .par_chunks_mut(rows * d.max(1))
        .zip(codes.as_slice().par_chunks(rows * depth))
        .try_for_each(|(out, codes)| block(out, codes))?;
    Ok(out)
}
