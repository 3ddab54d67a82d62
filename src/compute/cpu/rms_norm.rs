//! Twin of `shaders/rms_norm.wgsl`: rows brought to a mean square of 1, then scaled.

use super::isa::multiversion;
use crate::compute::tensor::HeadRows;
use rayon::prelude::*;

/// Values a task, about.
const BLOCK: usize = 1 << 13;
/// Interleaved sums.
const LANES: usize = 16;

/// How the rows of a token lie, from its first row on.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Values a row.
    pub dims: usize,
    /// Values of a token's rows.
    pub width: usize,
    /// Values from one token to the next.
    pub stride: usize,
}

impl Tokens {
    /// Those of `rows`; a single token has no next one.
    pub fn new(rows: &HeadRows) -> Self {
        let width = rows.heads * rows.dims;
        Self { dims: rows.dims, width, stride: if rows.tokens > 1 { rows.stride } else { width } }
    }

    /// Tokens a task.
    pub fn block(self) -> usize {
        (BLOCK / self.width.max(1)).max(1)
    }
}

multiversion! {
    /// Σ a·b.
    pub(super) fn dot(a: &[f32], b: &[f32], out: &mut f32) {
        let mut sums = [0.0f32; LANES];
        let ((xs, x_tail), (ys, y_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (x, y) in xs.iter().zip(ys) {
            for l in 0..LANES {
                sums[l] += x[l] * y[l];
            }
        }
        for (l, (x, y)) in x_tail.iter().zip(y_tail).enumerate() {
            sums[l] += x * y;
        }
        *out = sums.iter().sum();
    }
}

/// `1/√(mean(x²) + epsilon)`. Squares past f32's range give NaN, as a scale of 0 would hide them.
fn scale(row: &[f32], epsilon: f32) -> f32 {
    let mut squares = 0.0;
    dot(row, row, &mut squares);
    if squares.is_finite() { 1.0 / (squares / row.len() as f32 + epsilon).sqrt() } else { f32::NAN }
}

multiversion! {
    fn scaled(scale: f32, x: &[f32], gain: &[f32], y: &mut [f32]) {
        for ((y, x), g) in y.iter_mut().zip(x).zip(gain) {
            *y = x * scale * g;
        }
    }
}

/// `y = gain·x̂`; both from the first row on.
pub fn forward(rows: &HeadRows, epsilon: f32, x: &[f32], gain: &[f32], y: &mut [f32]) {
    let tokens = Tokens::new(rows);
    let block = tokens.block() * tokens.stride;
    y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
        for (y, x) in y.chunks_mut(tokens.stride).zip(x.chunks(tokens.stride)) {
            let (y, x) = (&mut y[..tokens.width], &x[..tokens.width]);
            for (y, x) in y.chunks_exact_mut(tokens.dims).zip(x.chunks_exact(tokens.dims)) {
                scaled(scale(x, epsilon), x, gain, y);
            }
        }
    });
}

multiversion! {
    /// `p = g·x̂`, `g ← g·gain`.
    fn products(scale: f32, x: &[f32], gain: &[f32], g: &mut [f32], p: &mut [f32]) {
        for (((g, p), x), gain) in g.iter_mut().zip(p.iter_mut()).zip(x).zip(gain) {
            *p = *g * (x * scale);
            *g *= gain;
        }
    }
}

multiversion! {
    /// `g ← scale·(g − mean·x̂)`.
    fn turned(scale: f32, mean: f32, x: &[f32], g: &mut [f32]) {
        for (g, x) in g.iter_mut().zip(x) {
            *g = scale * (*g - x * scale * mean);
        }
    }
}

/// Gradient of y to gradient of x, in place; `terms` receives `grad_y·x̂`, without gaps.
///
/// With `h = gain·grad_y`: `grad_x = scale·(h − x̂·mean(h·x̂))`.
pub fn backward(rows: &HeadRows, epsilon: f32, x: &[f32], gain: &[f32], grad: &mut [f32], terms: &mut [f32]) {
    let tokens = Tokens::new(rows);
    let (block, dense) = (tokens.block() * tokens.stride, tokens.block() * tokens.width);
    let blocks = grad.par_chunks_mut(block).zip(terms.par_chunks_mut(dense)).zip(x.par_chunks(block));
    blocks.for_each(|((grad, terms), x)| {
        let each = grad.chunks_mut(tokens.stride).zip(terms.chunks_mut(tokens.width)).zip(x.chunks(tokens.stride));
        for ((grad, terms), x) in each {
            let (grad, x) = (&mut grad[..tokens.width], &x[..tokens.width]);
            let heads = grad.chunks_exact_mut(tokens.dims).zip(terms.chunks_exact_mut(tokens.dims));
            for ((g, p), x) in heads.zip(x.chunks_exact(tokens.dims)) {
                let (scale, mut sum) = (scale(x, epsilon), 0.0);
                products(scale, x, gain, g, p);
                dot(g, x, &mut sum);
                turned(scale, sum * scale / tokens.dims as f32, x, g);
            }
        }
    });
}
