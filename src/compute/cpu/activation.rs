//! Twin of `shaders/activation.wgsl`: activations and their derivatives, with dropout masks.

use super::isa::multiversion;
use super::math::{erf, exp, sigmoid};
use crate::compute::tensor::Activation;
use rayon::prelude::*;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// Values a task: a multiple of a mask's word.
const BLOCK: usize = 1 << 14;

multiversion! {
    fn relu(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            // NaN stays NaN: a loss must show it.
            *y = if *x <= 0.0 { 0.0 } else { *x };
        }
    }
}

multiversion! {
    fn gelu(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2));
        }
    }
}

multiversion! {
    fn silu(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * sigmoid(*x);
        }
    }
}

multiversion! {
    fn relu_slope(x: &[f32], g: &mut [f32]) {
        for (g, x) in g.iter_mut().zip(x) {
            *g = if *x <= 0.0 { 0.0 } else { *g };
        }
    }
}

multiversion! {
    fn gelu_slope(x: &[f32], g: &mut [f32]) {
        for (g, x) in g.iter_mut().zip(x) {
            let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * exp(-0.5 * x * x);
            *g *= 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2)) + x * density;
        }
    }
}

multiversion! {
    fn silu_slope(x: &[f32], g: &mut [f32]) {
        for (g, x) in g.iter_mut().zip(x) {
            let s = sigmoid(*x);
            *g *= s * (1.0 + x * (1.0 - s));
        }
    }
}

/// `y = f(x)` on this thread.
pub fn forward(activation: Activation, x: &[f32], y: &mut [f32]) {
    match activation {
        Activation::Relu => relu(x, y),
        Activation::Gelu => gelu(x, y),
        Activation::Silu => silu(x, y),
    }
}

/// Multiplies value i by `scale` where bit `first + i` is set and by 0 elsewhere.
fn mask(values: &mut [f32], bits: &[u32], first: usize, scale: f32) {
    for (i, v) in values.iter_mut().enumerate() {
        let at = first + i;
        let kept = bits[at / 32] >> (at % 32) & 1 == 1;
        *v = if kept { *v * scale } else { 0.0 };
    }
}

/// A mask as the kernels see it: words, place of the first value's bit, factor.
pub type Bits<'a> = Option<(&'a [u32], usize, f32)>;

/// `post = f(pre)`, masked.
pub fn activate(activation: Activation, pre: &[f32], bits: Bits<'_>, post: &mut [f32]) {
    post.par_chunks_mut(BLOCK).zip(pre.par_chunks(BLOCK)).enumerate().for_each(|(b, (post, pre))| {
        forward(activation, pre, post);
        if let Some((words, first, scale)) = bits {
            mask(post, words, first + b * BLOCK, scale);
        }
    });
}

/// `grad ← grad·f′(pre)`, masked.
pub fn backward(activation: Activation, pre: &[f32], bits: Bits<'_>, grad: &mut [f32]) {
    grad.par_chunks_mut(BLOCK).zip(pre.par_chunks(BLOCK)).enumerate().for_each(|(b, (grad, pre))| {
        if let Some((words, first, scale)) = bits {
            mask(grad, words, first + b * BLOCK, scale);
        }
        match activation {
            Activation::Relu => relu_slope(pre, grad),
            Activation::Gelu => gelu_slope(pre, grad),
            Activation::Silu => silu_slope(pre, grad),
        }
    });
}

/// `x ← scale·x` where the mask keeps a value, 0 elsewhere.
pub fn dropout((words, first, scale): (&[u32], usize, f32), x: &mut [f32]) {
    x.par_chunks_mut(BLOCK).enumerate().for_each(|(b, x)| mask(x, words, first + b * BLOCK, scale));
}
