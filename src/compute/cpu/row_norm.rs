//! Twin of `shaders/row_norm.wgsl`: squared L2 norms of the rows.

use super::Rows;
use super::isa::multiversion;
use rayon::prelude::*;

multiversion! {
    /// Squared L2 norms of `[m, d]` rows, each in 16 interleaved sums.
    pub(super) fn squares(rows: &[f32], d: usize, out: &mut [f32]) {
        for (o, row) in out.iter_mut().zip(rows.chunks_exact(d)) {
            let mut sums = [0.0f32; 16];
            let (parts, tail) = row.as_chunks::<16>();
            for part in parts {
                for l in 0..16 {
                    sums[l] += part[l] * part[l];
                }
            }
            for (l, v) in tail.iter().enumerate() {
                sums[l] += v * v;
            }
            let mut total = 0.0f32;
            for s in sums {
                total += s;
            }
            *o = total;
        }
    }
}

/// `[n]` squared norms, computed once for a content.
pub fn norms(rows: &Rows) -> &[f32] {
    rows.norms.get_or_init(|| {
        let mut out = vec![0.0; rows.n];
        out.par_chunks_mut(512)
            .zip(rows.data.par_chunks(512 * rows.d.max(1)))
            .for_each(|(o, part)| squares(part, rows.d, o));
        out
    })
}
