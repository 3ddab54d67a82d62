//! Twin of `shaders/segment.wgsl`: rows added up by label, and labels counted.

use super::isa::multiversion;
use rayon::prelude::*;

/// Labels a task: every task walks over all labels, in order, and adds the rows of its own.
const LABELS: usize = 32;

multiversion! {
    fn add(row: &[f32], sum: &mut [f32]) {
        for (s, v) in sum.iter_mut().zip(row) {
            *s += v;
        }
    }
}

/// `out[j] = alpha·Σ_{label i = j} values[i] (+ out)`, in row order.
pub fn sums(e: usize, alpha: f32, accumulate: bool, values: &[f32], labels: &[u32], out: &mut [f32]) {
    out.par_chunks_mut(LABELS * e).enumerate().for_each(|(part, out)| {
        let mut sums = vec![0.0f32; out.len()];
        let first = part * LABELS;
        for (row, label) in values.chunks_exact(e).zip(labels) {
            let own = (*label as usize).checked_sub(first).filter(|own| *own < LABELS);
            if let Some(sum) = own.and_then(|own| sums.get_mut(own * e..(own + 1) * e)) {
                add(row, sum);
            }
        }
        for (o, s) in out.iter_mut().zip(&sums) {
            *o = if accumulate { *o + alpha * s } else { alpha * s };
        }
    });
}

/// `counts[j] = |{i: label i = j}| (+ counts)`; exact up to 2²⁴.
pub fn counts(accumulate: bool, labels: &[u32], counts: &mut [f32]) {
    if !accumulate {
        counts.fill(0.0);
    }
    for label in labels {
        if let Some(count) = counts.get_mut(*label as usize) {
            *count += 1.0;
        }
    }
}
