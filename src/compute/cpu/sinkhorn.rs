//! Twin of `shaders/sinkhorn.wgsl`: labels balanced over a batch, in the log domain.

use super::isa::multiversion;
use super::math::exp;
use super::softmax::largest;
use crate::compute::tensor::Exponent;
use rayon::prelude::*;

/// Rows a task; what tasks found of the columns is merged in order.
const BLOCK: usize = 64;
/// Interleaved sums.
const LANES: usize = 16;

multiversion! {
    /// `t = a + v`, its largest value.
    fn shifted(a: &[f32], v: &[f32], t: &mut [f32]) {
        for ((t, a), v) in t.iter_mut().zip(a).zip(v) {
            *t = a + v;
        }
    }
}

multiversion! {
    /// Σ e^(t − shift).
    fn exp_sum(t: &[f32], shift: f32, out: &mut f32) {
        let mut sums = [0.0f32; LANES];
        let (parts, tail) = t.as_chunks::<LANES>();
        for part in parts {
            for l in 0..LANES {
                sums[l] += exp(part[l] - shift);
            }
        }
        for (l, v) in tail.iter().enumerate() {
            sums[l] += exp(v - shift);
        }
        *out = sums.iter().sum();
    }
}

multiversion! {
    /// `best = max(best, a + u)` a column.
    fn column_max(a: &[f32], u: f32, best: &mut [f32]) {
        for (b, a) in best.iter_mut().zip(a) {
            let t = a + u;
            *b = if t > *b { t } else { *b };
        }
    }
}

multiversion! {
    /// `sum += e^(a + u − best)` a column.
    fn column_sum(a: &[f32], u: f32, best: &[f32], sum: &mut [f32]) {
        for ((s, a), b) in sum.iter_mut().zip(a).zip(best) {
            *s += exp(a + u - b);
        }
    }
}

/// Dot products to exponents a, in place.
fn exponents(k: usize, e: usize, how: Exponent, residual: &[f32], half_norms: &[f32], dots: &mut [f32]) {
    let ranges: Vec<(f32, f32)> = dots
        .par_chunks_mut(BLOCK * k)
        .zip(residual.par_chunks(BLOCK * e))
        .map(|(dots, residual)| {
            let (mut low, mut high) = (f32::MAX, f32::MIN);
            for (row, r) in dots.chunks_exact_mut(k).zip(residual.chunks_exact(e)) {
                let norm = r.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() as f32;
                for (v, b) in row.iter_mut().zip(half_norms) {
                    *v = norm + 2.0 * (b - *v);
                    (low, high) = (low.min(*v), high.max(*v));
                }
            }
            (low, high)
        })
        .collect();
    let (low, high) = ranges.iter().fold((f32::MAX, f32::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (shift, scale) = match how {
        Exponent::BatchRange { epsilon } => {
            let middle = 0.5 * (high + low);
            (middle, -1.0 / ((high - middle + 1e-5) * epsilon))
        }
        Exponent::Fixed { scale } => (0.0, -1.0 / scale),
    };
    dots.par_chunks_mut(BLOCK * k).for_each(|part| part.iter_mut().for_each(|v| *v = (*v - shift) * scale));
}

/// See [`TensorBackend::sinkhorn`](crate::compute::tensor::TensorBackend::sinkhorn).
#[allow(clippy::too_many_arguments)]
pub fn sinkhorn(
    k: usize,
    e: usize,
    how: Exponent,
    iterations: usize,
    residual: &[f32],
    half_norms: &[f32],
    dots: &mut [f32],
    v: &mut [f32],
    labels: &mut [u32],
) {
    let n = labels.len();
    exponents(k, e, how, residual, half_norms, dots);
    let a = &*dots;
    let share = libm::logf(n as f32 / k as f32);
    v.fill(0.0);
    let mut u = vec![0.0f32; n];
    for _ in 0..iterations {
        let blocks = u.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK * k));
        let maxima: Vec<Vec<f32>> = blocks
            .map(|(u, a)| {
                let mut best = vec![f32::MIN; k];
                let mut t = vec![0.0f32; k];
                for (u, a) in u.iter_mut().zip(a.chunks_exact(k)) {
                    shifted(a, v, &mut t);
                    let (mut top, mut sum) = (0.0, 0.0);
                    largest(&t, &mut top);
                    exp_sum(&t, top, &mut sum);
                    *u = -(top + libm::logf(sum));
                    column_max(a, *u, &mut best);
                }
                best
            })
            .collect();
        let mut best = vec![f32::MIN; k];
        for part in &maxima {
            column_max(part, 0.0, &mut best);
        }
        let sums: Vec<Vec<f32>> = u
            .par_chunks(BLOCK)
            .zip(a.par_chunks(BLOCK * k))
            .map(|(u, a)| {
                let mut sum = vec![0.0f32; k];
                u.iter().zip(a.chunks_exact(k)).for_each(|(u, a)| column_sum(a, *u, &best, &mut sum));
                sum
            })
            .collect();
        for (j, (v, best)) in v.iter_mut().zip(&best).enumerate() {
            let sum: f32 = sums.iter().map(|part| part[j]).sum();
            *v = share - (best + libm::logf(sum));
        }
    }
    labels.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK * k)).for_each(|(labels, a)| {
        for (label, a) in labels.iter_mut().zip(a.chunks_exact(k)) {
            let mut best = (f32::MIN, 0);
            for (j, (a, v)) in a.iter().zip(&*v).enumerate() {
                if a + v > best.0 {
                    best = (a + v, j as u32);
                }
            }
            *label = best.1;
        }
    });
}
