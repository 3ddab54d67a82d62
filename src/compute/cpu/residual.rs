//! Twin of `shaders/residual.wgsl`: rows less their codewords, in place.

use super::{Codebook, Partition, Rows};
use rayon::prelude::*;

/// Subtracts one codeword from one row.
#[inline]
pub fn subtract(row: &mut [f32], codeword: &[f32]) {
    for (v, c) in row.iter_mut().zip(codeword) {
        *v -= c;
    }
}

/// `rows ← rows − codewords[label]`, parallel over blocks.
pub fn residual(rows: &mut Rows, codebook: &Codebook, partition: &Partition) {
    let d = rows.d;
    rows.data.par_chunks_mut(512 * d).zip(partition.labels.par_chunks(512)).for_each(|(part, labels)| {
        for (row, label) in part.chunks_exact_mut(d).zip(labels) {
            subtract(row, &codebook.values[*label as usize * d..][..d]);
        }
    });
    rows.touch();
}
