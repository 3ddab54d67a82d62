//! Twin of `shaders/layer_norm.wgsl`: rows brought to mean 0 and variance 1, then scaled and shifted.

use super::isa::multiversion;
use rayon::prelude::*;

/// Added to the variance.
const EPSILON: f32 = 1e-5;
/// Rows a task.
const BLOCK: usize = 64;
/// Interleaved sums.
const LANES: usize = 16;

multiversion! {
    /// Σ (x − shift) and Σ (x − shift)² of a row.
    fn moments(row: &[f32], shift: f32, out: &mut (f32, f32)) {
        let (mut sums, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
        let (parts, tail) = row.as_chunks::<LANES>();
        for part in parts {
            for l in 0..LANES {
                let v = part[l] - shift;
                sums[l] += v;
                squares[l] += v * v;
            }
        }
        for (l, v) in tail.iter().enumerate() {
            let v = v - shift;
            sums[l] += v;
            squares[l] += v * v;
        }
        *out = (sums.iter().sum(), squares.iter().sum());
    }
}

/// Mean and 1/√(variance + ε).
fn statistics(row: &[f32]) -> (f32, f32) {
    let d = row.len() as f32;
    let mut out = (0.0, 0.0);
    moments(row, 0.0, &mut out);
    let mean = out.0 / d;
    // Squares about the mean: about 0 they would cancel where the mean is large.
    moments(row, mean, &mut out);
    (mean, 1.0 / (out.1 / d + EPSILON).sqrt())
}

/// `y = gain·x̂ + bias`.
pub fn forward(d: usize, x: &[f32], gain: &[f32], bias: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(BLOCK * d).zip(x.par_chunks(BLOCK * d)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            let (mean, scale) = statistics(x);
            for (((y, x), g), b) in y.iter_mut().zip(x).zip(gain).zip(bias) {
                *y = (x - mean) * scale * g + b;
            }
        }
    });
}

/// Gradient of y to gradient of x, in place; `products` receives `grad_y·x̂`.
///
/// With `h = gain·grad_y`: `grad_x = scale·(h − mean(h) − x̂·mean(h·x̂))`.
pub fn backward(d: usize, x: &[f32], gain: &[f32], grad: &mut [f32], products: &mut [f32]) {
    let blocks = grad.par_chunks_mut(BLOCK * d).zip(products.par_chunks_mut(BLOCK * d)).zip(x.par_chunks(BLOCK * d));
    blocks.for_each(|((grad, products), x)| {
        for ((grad, products), x) in grad.chunks_exact_mut(d).zip(products.chunks_exact_mut(d)).zip(x.chunks_exact(d)) {
            let (mean, scale) = statistics(x);
            let (mut first, mut second) = (0.0f32, 0.0f32);
            for (((g, p), x), gain) in grad.iter_mut().zip(products.iter_mut()).zip(x).zip(gain) {
                let unit = (x - mean) * scale;
                *p = *g * unit;
                *g *= gain;
                first += *g;
                second += *g * unit;
            }
            let (first, second) = (first / d as f32, second / d as f32);
            for (g, x) in grad.iter_mut().zip(x) {
                *g = scale * (*g - first - (x - mean) * scale * second);
            }
        }
    });
}
