//! Twin of `shaders/total.wgsl`: the sum of values or of their squares.

use super::isa::multiversion;
use rayon::prelude::*;

/// Values a task; partial sums are added in order.
const BLOCK: usize = 1 << 14;
/// Interleaved sums.
const LANES: usize = 16;

multiversion! {
    fn sum(values: &[f32], squares: bool, out: &mut f64) {
        let mut sums = [0.0f64; LANES];
        let (parts, tail) = values.as_chunks::<LANES>();
        for part in parts {
            for l in 0..LANES {
                let v = f64::from(part[l]);
                sums[l] += if squares { v * v } else { v };
            }
        }
        for (l, v) in tail.iter().enumerate() {
            let v = f64::from(*v);
            sums[l] += if squares { v * v } else { v };
        }
        *out = sums.iter().sum();
    }
}

/// Σ v or Σ v².
pub fn total(values: &[f32], squares: bool) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(BLOCK)
        .map(|part| {
            let mut out = 0.0;
            sum(part, squares, &mut out);
            out
        })
        .collect();
    parts.iter().sum()
}
