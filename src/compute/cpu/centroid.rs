//! Twin of `shaders/centroid.wgsl`: sums and means of the rows of each label, in row order.
//!
//! Between two updates of the same rows only the rows that changed their label move from one sum to another: after a few
//! Lloyd iterations that is a small share, and the pass over all rows is spared. Sums are f64, so moving rows back and
//! forth costs no accuracy that f32 codewords could show.

use super::{Codebook, Partition, Rows};
use rayon::prelude::*;

/// Sums that describe `labels` over the rows named by `version`.
#[derive(Debug)]
pub struct Running {
    version: u64,
    k: usize,
    labels: Vec<u32>,
    sums: Vec<f64>,
}

fn add(sum: &mut [f64], row: &[f32], sign: f64) {
    for (s, v) in sum.iter_mut().zip(row) {
        *s += sign * f64::from(*v);
    }
}

/// Brings the partition's running sums up to its labels.
fn refresh(rows: &Rows, partition: &mut Partition, k: usize) {
    let d = rows.d;
    let valid = partition.running.take().filter(|r| r.version == rows.version && r.k == k && r.labels.len() == rows.n);
    let (labels, order, starts) = (&partition.labels, &partition.order, &partition.starts);
    if let Some(mut running) = valid {
        // (codeword, row, sign) of every move, counted into buckets by codeword so that each sum sees row order.
        let moved: Vec<u32> =
            (0..rows.n as u32).filter(|i| running.labels[*i as usize] != labels[*i as usize]).collect();
        if moved.len() * 3 < rows.n {
            let mut starts = vec![0u32; k + 1];
            for i in &moved {
                for label in [running.labels[*i as usize], labels[*i as usize]] {
                    if (label as usize) < k {
                        starts[label as usize + 1] += 1;
                    }
                }
            }
            for j in 0..k {
                starts[j + 1] += starts[j];
            }
            let mut next = starts.clone();
            let mut moves = vec![(0u32, 0.0f64); starts[k] as usize];
            for i in &moved {
                for (label, sign) in [(running.labels[*i as usize], -1.0), (labels[*i as usize], 1.0)] {
                    // Labels past k belong to no codeword.
                    if (label as usize) < k {
                        moves[next[label as usize] as usize] = (*i, sign);
                        next[label as usize] += 1;
                    }
                }
            }
            running.sums.par_chunks_mut(d).enumerate().for_each(|(j, sum)| {
                for (i, sign) in &moves[starts[j] as usize..starts[j + 1] as usize] {
                    add(sum, &rows.data[*i as usize * d..][..d], *sign);
                }
            });
            running.labels.copy_from_slice(labels);
            partition.running = Some(running);
            return;
        }
    }
    let mut sums = vec![0.0f64; k * d];
    sums.par_chunks_mut(d).enumerate().for_each(|(j, sum)| {
        for i in &order[starts[j] as usize..starts[j + 1] as usize] {
            add(sum, &rows.data[*i as usize * d..][..d], 1.0);
        }
    });
    partition.running = Some(Running { version: rows.version, k, labels: labels.clone(), sums });
}

/// `[k, d]` sums.
pub fn sums(rows: &Rows, partition: &mut Partition, k: usize) -> Vec<f64> {
    refresh(rows, partition, k);
    partition.running.as_ref().map(|r| r.sums.clone()).unwrap_or_default()
}

/// `c_j ← c_j + w_j·(mean_j − c_j)`; `w_j = 1` stores the mean itself.
pub fn update(rows: &Rows, partition: &mut Partition, codebook: &mut Codebook, weights: &[f32]) {
    refresh(rows, partition, codebook.k);
    let Some(running) = &partition.running else { return };
    for (j, (codeword, sum)) in
        codebook.values.chunks_exact_mut(codebook.d).zip(running.sums.chunks_exact(rows.d)).enumerate()
    {
        let count = f64::from(partition.counts[j]);
        if count == 0.0 {
            continue;
        }
        let w = f64::from(weights[j]);
        for (c, s) in codeword.iter_mut().zip(sum) {
            let mean = s / count;
            *c = if w == 1.0 { mean } else { f64::from(*c) + w * (mean - f64::from(*c)) } as f32;
        }
    }
    codebook.derive();
}
