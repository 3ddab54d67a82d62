//! Twin of `shaders/seeding.wgsl`: the k-means++ pass, many candidates at a time.

use super::dots::Engine;
use super::isa::multiversion;
use super::row_norm;
use super::{Codebook, Rows};
use crate::compute::Metric;
use crate::error::{Error, Result, check_shape};
use rayon::prelude::*;

/// Candidates a pass, at most: the table stays small beside the rows.
const MOST: usize = 64;
/// Rows whose sums are added before they join the total.
const BLOCK: usize = 1024;

multiversion! {
    /// `max(norm + 2·(bias − dots), 0)`.
    fn squared(norm: f32, bias: &[f32], dots: &[f32], out: &mut [f32]) {
        for ((o, b), x) in out.iter_mut().zip(bias).zip(dots) {
            let v = norm + 2.0 * (b - x);
            *o = if v > 0.0 { v } else { 0.0 };
        }
    }
}

multiversion! {
    /// Adds `min(table[i, j], nearest[i])` over the rows of a block, column by column.
    fn remaining(table: &[f32], t: usize, nearest: &[f32], sums: &mut [f64]) {
        for (row, near) in table.chunks_exact(t).zip(nearest) {
            for (s, v) in sums.iter_mut().zip(row) {
                *s += f64::from(if v < near { *v } else { *near });
            }
        }
    }
}

/// State of a start over `[n]` rows.
#[derive(Debug)]
pub struct Seeding {
    /// Squared L2 to the nearest chosen codeword; infinite before the first.
    nearest: Vec<f32>,
    /// `[n, t]` squared L2 to the candidates of the last attempt.
    table: Vec<f32>,
    t: usize,
}

impl Seeding {
    /// Nothing chosen yet.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self { nearest: vec![f32::INFINITY; n], table: Vec::new(), t: 0 }
    }

    /// Rows drawn with probability proportional to `nearest`, or uniformly before the first choice and where all are 0.
    pub fn draw(&self, uniforms: &[f64]) -> Result<Vec<u32>> {
        let n = self.nearest.len();
        if n == 0 {
            return Err(Error::Data("there is no row to draw".into()));
        }
        let mut cumulative = Vec::with_capacity(n);
        let mut total = 0.0f64;
        for v in &self.nearest {
            total += f64::from(*v);
            cumulative.push(total);
        }
        let flat = !total.is_finite() || total <= 0.0;
        let pick = |u: &f64| {
            let at = if flat { (u * n as f64) as usize } else { cumulative.partition_point(|c| *c <= u * total) };
            at.min(n - 1) as u32
        };
        Ok(uniforms.iter().map(pick).collect())
    }

    /// Fills the table for `candidates` and returns what would remain with each.
    pub fn attempt(&mut self, rows: &Rows, candidates: &[u32]) -> Result<Vec<f64>> {
        check_shape("rows", self.nearest.len(), rows.n, "seeding")?;
        if candidates.is_empty() || candidates.len() > MOST {
            return Err(Error::Data(format!("{} candidates, 1 to {MOST} can be tried", candidates.len())));
        }
        if let Some(row) = candidates.iter().find(|i| **i as usize >= rows.n) {
            return Err(Error::Data(format!("candidate row {row} of {}", rows.n)));
        }
        let (d, t) = (rows.d, candidates.len());
        let values = candidates.iter().flat_map(|i| &rows.data[*i as usize * d..][..d]).copied().collect();
        let codebook = Codebook::new(t, d, values, Metric::SquaredL2);
        let norms = row_norm::norms(rows);
        self.t = t;
        self.table.resize(rows.n * t, 0.0);
        self.table
            .par_chunks_mut(BLOCK * t)
            .zip(rows.data.par_chunks(BLOCK * d))
            .zip(norms.par_chunks(BLOCK))
            .for_each(|((table, part), norms)| {
                Engine::new(&codebook).for_each(part, |i, dots| {
                    squared(norms[i], &codebook.bias, dots, &mut table[i * t..(i + 1) * t]);
                });
            });
        // A candidate is at 0 from itself, whatever rounding says.
        for (slot, i) in candidates.iter().enumerate() {
            self.table[*i as usize * t + slot] = 0.0;
        }
        Ok(self.potentials())
    }

    fn potentials(&self) -> Vec<f64> {
        let t = self.t;
        let partials: Vec<Vec<f64>> = self
            .table
            .par_chunks(BLOCK * t)
            .zip(self.nearest.par_chunks(BLOCK))
            .map(|(table, nearest)| {
                let mut sums = vec![0.0f64; t];
                remaining(table, t, nearest, &mut sums);
                sums
            })
            .collect();
        partials.into_iter().fold(vec![0.0; t], |mut total, part| {
            total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            total
        })
    }

    /// Chooses the candidate in `slot`.
    pub fn accept(&mut self, slot: usize) -> Result<Vec<f64>> {
        let t = self.t;
        if slot >= t {
            return Err(Error::Data(format!("candidate {slot} of {t}")));
        }
        for (near, row) in self.nearest.iter_mut().zip(self.table.chunks_exact(t)) {
            *near = near.min(row[slot]);
        }
        Ok(self.potentials())
    }
}
