//! Twin of `shaders/restride.wgsl`: rows to a tensor and back. Neither is padded here, so this is a copy.

use super::Rows;

/// The values of rows `first..first + count`.
pub fn rows_to_tensor(rows: &Rows, first: usize, count: usize, out: &mut [f32]) {
    out[..count * rows.d].copy_from_slice(&rows.data[first * rows.d..(first + count) * rows.d]);
}

/// New `[n, d]` rows.
pub fn tensor_to_rows(values: &[f32], n: usize, d: usize) -> Rows {
    Rows::new(n, d, values[..n * d].to_vec())
}
