//! Twin of `shaders/optimizer.wgsl`: one step over a run of parameters.

use super::isa::multiversion;
use crate::compute::tensor::{Rule, Step};
use rayon::prelude::*;

/// Parameters a task.
const BLOCK: usize = 1 << 14;

multiversion! {
    fn sgd(rate: f32, keep: f32, decay: f32, scale: f32, w: &mut [f32], g: &[f32], b: &mut [f32]) {
        for ((w, g), b) in w.iter_mut().zip(g).zip(b) {
            let g = g * scale + decay * *w;
            // The first step has no direction to keep; what lies there is not read.
            *b = if keep == 0.0 { g } else { keep * *b + g };
            *w -= rate * *b;
        }
    }
}

/// What an Adam step multiplies with.
#[derive(Clone, Copy)]
pub struct Adam {
    rate: f32,
    /// Factor of the weights before the step: `1 − lr·decay` when decoupled.
    shrink: f32,
    /// Decay that joins the gradient otherwise.
    decay: f32,
    scale: f32,
    beta1: f32,
    beta2: f32,
    /// `1/(1 − β₁ᵗ)`, `1/√(1 − β₂ᵗ)`.
    correct: (f32, f32),
    epsilon: f32,
}

multiversion! {
    fn descend(rate: f32, decay: f32, scale: f32, w: &mut [f32], g: &[f32]) {
        for (w, g) in w.iter_mut().zip(g) {
            *w -= rate * (g * scale + decay * *w);
        }
    }
}

multiversion! {
    fn adam(h: Adam, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * h.scale + h.decay * *w;
            *m = h.beta1 * *m + (1.0 - h.beta1) * g;
            *v = h.beta2 * *v + (1.0 - h.beta2) * g * g;
            *w = *w * h.shrink - h.rate * (*m * h.correct.0) / (v.sqrt() * h.correct.1 + h.epsilon);
        }
    }
}

multiversion! {
    fn adagrad(rate: f32, epsilon: f32, decay: f32, scale: f32, w: &mut [f32], g: &[f32], s: &mut [f32]) {
        for ((w, g), s) in w.iter_mut().zip(g).zip(s) {
            let g = g * scale + decay * *w;
            *s += g * g;
            *w -= rate * g / (s.sqrt() + epsilon);
        }
    }
}

/// One step; slices are those of the step's run, and empty where the rule has no use for them. `norm_squared` is of the whole gradient.
pub fn optimize(
    step: &Step,
    norm_squared: f32,
    grads: &[f32],
    params: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    // Written so that a NaN norm stays NaN.
    let scale = if step.clip.is_finite() {
        let ratio = step.clip / (norm_squared.sqrt() + 1e-6);
        if ratio >= 1.0 { 1.0 } else { ratio }
    } else {
        1.0
    };
    let time = step.time.max(1) as f64;
    let parts = params.par_chunks_mut(BLOCK).zip(grads.par_chunks(BLOCK));
    match step.rule {
        Rule::Sgd { momentum: 0.0 } => {
            parts.for_each(|(w, g)| descend(step.rate, step.decay, scale, w, g));
        }
        Rule::Sgd { momentum } => {
            let keep = if step.time <= 1 { 0.0 } else { momentum };
            parts
                .zip(first.par_chunks_mut(BLOCK))
                .for_each(|((w, g), b)| sgd(step.rate, keep, step.decay, scale, w, g, b));
        }
        Rule::Adam { beta1, beta2, epsilon, decoupled } => {
            let h = Adam {
                rate: step.rate,
                shrink: if decoupled { 1.0 - step.rate * step.decay } else { 1.0 },
                decay: if decoupled { 0.0 } else { step.decay },
                scale,
                beta1,
                beta2,
                correct: (
                    (1.0 / (1.0 - f64::from(beta1).powf(time))) as f32,
                    (1.0 / (1.0 - f64::from(beta2).powf(time)).sqrt()) as f32,
                ),
                epsilon,
            };
            let parts = parts.zip(first.par_chunks_mut(BLOCK)).zip(second.par_chunks_mut(BLOCK));
            parts.for_each(|(((w, g), m), v)| adam(h, w, g, m, v));
        }
        Rule::Adagrad { epsilon } => {
            let parts = parts.zip(first.par_chunks_mut(BLOCK));
            parts.for_each(|((w, g), s)| adagrad(step.rate, epsilon, step.decay, scale, w, g, s));
        }
    }
}
