//! Twin of `shaders/restride.wgsl`: rows to a tensor and back, and some columns of rows. Nothing is padded here, so these are copies.

use super::Rows;

/// The values of rows `first..first + count`.
pub fn rows_to_tensor(rows: &Rows, first: usize, count: usize, out: &mut [f32]) {
    out[..count * rows.d].copy_from_slice(&rows.data[first * rows.d..(first + count) * rows.d]);
}

/// New `[n, d]` rows.
pub fn tensor_to_rows(values: &[f32], n: usize, d: usize) -> Rows {
    Rows::new(n, d, values[..n * d].to_vec())
}

/// New `[n, count]` rows: columns `first..first + count`.
pub fn columns(rows: &Rows, first: usize, count: usize) -> Rows {
    let mut data = Vec::with_capacity(rows.n * count);
    rows.data.chunks_exact(rows.d).for_each(|row| data.extend_from_slice(&row[first..first + count]));
    Rows::new(rows.n, count, data)
}
