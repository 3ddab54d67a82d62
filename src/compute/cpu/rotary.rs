//! Twin of `shaders/rotary.wgsl`: rows turned pair by pair by their token's position.

use super::isa::multiversion;
use super::rms_norm::Tokens;
use crate::compute::tensor::HeadRows;
use rayon::prelude::*;

multiversion! {
    /// Turns the pairs `(x_i, x_{i + half})` of every row by the angles' cosines and `sign` times their sines.
    fn turn(sign: f32, dims: usize, angles: &[f32], rows: &mut [f32]) {
        let (cosines, sines) = angles.split_at(dims / 2);
        for row in rows.chunks_exact_mut(dims) {
            let (left, right) = row.split_at_mut(dims / 2);
            for (((a, b), c), s) in left.iter_mut().zip(right).zip(cosines).zip(sines) {
                let (x, y, s) = (*a, *b, sign * s);
                *a = c * x - s * y;
                *b = c * y + s * x;
            }
        }
    }
}

/// Turns the rows of every token, `x` from the first row on; a position past `angles [positions, dims]` leaves them.
pub fn rotary(rows: &HeadRows, inverse: bool, positions: &[u32], angles: &[f32], x: &mut [f32]) {
    let (tokens, sign) = (Tokens::new(rows), if inverse { -1.0 } else { 1.0 });
    x.par_chunks_mut(tokens.block() * tokens.stride).zip(positions.par_chunks(tokens.block())).for_each(
        |(x, positions)| {
            for (x, position) in x.chunks_mut(tokens.stride).zip(positions) {
                let at = (*position as usize).saturating_mul(tokens.dims);
                if let Some(angles) = angles.get(at..at.saturating_add(tokens.dims)) {
                    turn(sign, tokens.dims, angles, &mut x[..tokens.width]);
                }
            }
        },
    );
}
