//! Twin of `shaders/repel.wgsl`: what drives rows apart from their neighbours.

use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 64;

/// `pull[i] = scale·(z_i − z_j)/(‖z_i − z_j‖² + epsilon)`, `logs[i] = ln(‖z_i − z_j‖² + epsilon)`.
pub fn repel(e: usize, scale: f32, epsilon: f32, z: &[f32], neighbours: &[u32], pull: &mut [f32], logs: &mut [f32]) {
    let blocks = pull.par_chunks_mut(BLOCK * e).zip(logs.par_chunks_mut(BLOCK)).zip(neighbours.par_chunks(BLOCK));
    blocks.enumerate().for_each(|(block, ((pull, logs), neighbours))| {
        for (at, ((pull, log), j)) in pull.chunks_exact_mut(e).zip(logs).zip(neighbours).enumerate() {
            let i = block * BLOCK + at;
            let other = *j as usize;
            if other == i || other >= z.len() / e {
                pull.fill(0.0);
                *log = 0.0;
                continue;
            }
            let (row, other) = (&z[i * e..][..e], &z[other * e..][..e]);
            let mut squared = 0.0f64;
            for ((p, a), b) in pull.iter_mut().zip(row).zip(other) {
                *p = a - b;
                squared += f64::from(*p) * f64::from(*p);
            }
            let d = squared as f32 + epsilon;
            *log = libm::logf(d);
            pull.iter_mut().for_each(|p| *p *= scale / d);
        }
    });
}
