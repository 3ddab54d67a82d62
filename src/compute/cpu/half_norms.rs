//! Twin of `shaders/half_norms.wgsl`: ½‖c‖² of every codeword.

/// `out[j] = ½‖c_j‖²`, summed in f64.
pub fn half_norms(e: usize, codebook: &[f32], out: &mut [f32]) {
    for (o, c) in out.iter_mut().zip(codebook.chunks_exact(e)) {
        *o = (0.5 * c.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()) as f32;
    }
}
