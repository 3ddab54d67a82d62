//! Twin of `shaders/combine.wgsl`: linear combinations, value by value.

use super::isa::multiversion;
use rayon::prelude::*;

/// Values a task.
const BLOCK: usize = 1 << 15;

multiversion! {
    fn add(alpha: f32, x: &[f32], beta: f32, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = alpha * x + beta * *y;
        }
    }
}

multiversion! {
    fn difference(scale: f32, a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = scale * (a - b);
        }
    }
}

/// `y = alpha·x + beta·y`; `beta = 0` does not read y.
pub fn combine(alpha: f32, x: &[f32], beta: f32, y: &mut [f32]) {
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        if beta == 0.0 {
            y.iter_mut().zip(x).for_each(|(y, x)| *y = alpha * x);
        } else {
            add(alpha, x, beta, y);
        }
    });
}

/// `out = scale·(a − b)`.
pub fn subtract(scale: f32, a: &[f32], b: &[f32], out: &mut [f32]) {
    let parts = out.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
    parts.for_each(|((out, a), b)| difference(scale, a, b, out));
}

/// `y_i += alpha·scales[i]·x_i` for rows of `d` values.
pub fn combine_rows(d: usize, alpha: f32, scales: &[f32], x: &[f32], y: &mut [f32]) {
    for ((y, x), scale) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(scales) {
        add(alpha * scale, x, 1.0, y);
    }
}
