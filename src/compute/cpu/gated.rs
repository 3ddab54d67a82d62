//! Twin of `shaders/gated.wgsl`: one half of a row gates the other.

use super::isa::multiversion;
use super::math::sigmoid;
use rayon::prelude::*;

/// Values of y a task, about.
const BLOCK: usize = 1 << 13;

multiversion! {
    fn gate(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = a * sigmoid(*a) * b;
        }
    }
}

multiversion! {
    /// `grad_a = g·b·silu′(a)`, `grad_b = g·silu(a)`.
    fn slopes(a: &[f32], b: &[f32], g: &[f32], grad_a: &mut [f32], grad_b: &mut [f32]) {
        for ((((ga, gb), a), b), g) in grad_a.iter_mut().zip(grad_b).zip(a).zip(b).zip(g) {
            let s = sigmoid(*a);
            *ga = g * b * (s * (1.0 + a * (1.0 - s)));
            *gb = g * (a * s);
        }
    }
}

/// `y = silu(x₁)·x₂` for rows `[x₁ | x₂]` of `2f` values.
pub fn forward(f: usize, x: &[f32], y: &mut [f32]) {
    let rows = (BLOCK / f).max(1);
    y.par_chunks_mut(rows * f).zip(x.par_chunks(rows * 2 * f)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(f).zip(x.chunks_exact(2 * f)) {
            gate(&x[..f], &x[f..], y);
        }
    });
}

/// The gradient of x from that of y.
pub fn backward(f: usize, x: &[f32], grad_y: &[f32], grad_x: &mut [f32]) {
    let rows = (BLOCK / f).max(1);
    let blocks = grad_x.par_chunks_mut(rows * 2 * f).zip(x.par_chunks(rows * 2 * f)).zip(grad_y.par_chunks(rows * f));
    blocks.for_each(|((grad, x), g)| {
        for ((grad, x), g) in grad.chunks_exact_mut(2 * f).zip(x.chunks_exact(2 * f)).zip(g.chunks_exact(f)) {
            let (grad_a, grad_b) = grad.split_at_mut(f);
            slopes(&x[..f], &x[f..], g, grad_a, grad_b);
        }
    });
}
