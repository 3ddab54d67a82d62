//! Twin of `shaders/segment.wgsl`: rows added up by label, and labels counted.

use rayon::prelude::*;

/// Columns a task: every task walks over all rows, in order, and adds its columns.
const COLUMNS: usize = 64;

/// `out[j] = alpha·Σ_{label i = j} values[i] (+ out)`, in row order.
pub fn sums(e: usize, alpha: f32, accumulate: bool, values: &[f32], labels: &[u32], out: &mut [f32]) {
    let k = out.len() / e;
    let parts: Vec<(usize, Vec<f32>)> = (0..e.div_ceil(COLUMNS))
        .into_par_iter()
        .map(|part| {
            let (start, end) = (part * COLUMNS, (part * COLUMNS + COLUMNS).min(e));
            let width = end - start;
            let mut sums = vec![0.0f32; k * width];
            for (row, label) in values.chunks_exact(e).zip(labels) {
                if (*label as usize) < k {
                    let sum = &mut sums[*label as usize * width..][..width];
                    sum.iter_mut().zip(&row[start..end]).for_each(|(s, v)| *s += v);
                }
            }
            (start, sums)
        })
        .collect();
    for (start, sums) in parts {
        let width = sums.len() / k.max(1);
        for (out, sum) in out.chunks_exact_mut(e).zip(sums.chunks_exact(width.max(1))) {
            for (o, s) in out[start..].iter_mut().zip(sum) {
                *o = if accumulate { *o + alpha * s } else { alpha * s };
            }
        }
    }
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
