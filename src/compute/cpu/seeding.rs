//! Twin of `shaders/seeding.wgsl`: the k-means++ pass, many candidates at a time.

use super::amx::SplitRows;
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

/// Columns whose sums are kept together; the table's rows are a multiple of it long.
const COLUMNS: usize = 16;

multiversion! {
    /// Sums of `min(table[i, j], nearest[i])` over the rows of a block, for every column.
    fn remaining(table: &[[f32; COLUMNS]], nearest: &[f32], sums: &mut [[f64; COLUMNS]]) {
        let width = sums.len();
        for (column, sum) in sums.iter_mut().enumerate() {
            let mut total = [0.0f64; COLUMNS];
            for (row, near) in table.chunks_exact(width).zip(nearest) {
                let values = &row[column];
                for l in 0..COLUMNS {
                    total[l] += f64::from(if values[l] < *near { values[l] } else { *near });
                }
            }
            *sum = total;
        }
    }
}

/// State of a start over `[n]` rows.
#[derive(Debug)]
pub struct Seeding {
    /// Squared L2 to the nearest chosen codeword; infinite before the first.
    nearest: Vec<f32>,
    /// `[n, t]` squared L2 to the candidates of the last attempt, each row in whole groups of columns.
    table: Vec<[f32; COLUMNS]>,
    t: usize,
    /// The rows as tiles, where the processor has them: a start passes over them dozens of times.
    split: Option<SplitRows>,
}

impl Seeding {
    /// Nothing chosen yet.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self { nearest: vec![f32::INFINITY; n], table: Vec::new(), t: 0, split: None }
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
        let groups = t.div_ceil(COLUMNS);
        self.table.resize(rows.n * groups, [0.0; COLUMNS]);
        if codebook.packed.is_some() && self.split.is_none() {
            self.split = Some(SplitRows::new(&rows.data, d));
        }
        let split = self.split.as_ref().filter(|_| codebook.packed.is_some());
        self.table
            .par_chunks_mut(BLOCK * groups)
            .zip(rows.data.par_chunks(BLOCK * d))
            .zip(norms.par_chunks(BLOCK))
            .enumerate()
            .for_each(|(block, ((table, part), norms))| {
                let table = table.as_flattened_mut();
                let mut engine = Engine::new(&codebook);
                let each = |i: usize, dots: &[f32]| {
                    squared(norms[i], &codebook.bias, dots, &mut table[i * groups * COLUMNS..][..t]);
                };
                match split {
                    Some(split) => engine.for_each_split(split, block * BLOCK, norms.len(), each),
                    None => engine.for_each(part, each),
                }
            });
        // A candidate is at 0 from itself, whatever rounding says.
        for (slot, i) in candidates.iter().enumerate() {
            self.table[*i as usize * groups + slot / COLUMNS][slot % COLUMNS] = 0.0;
        }
        Ok(self.potentials())
    }

    fn potentials(&self) -> Vec<f64> {
        let groups = self.t.div_ceil(COLUMNS);
        let partials: Vec<Vec<[f64; COLUMNS]>> = self
            .table
            .par_chunks(BLOCK * groups)
            .zip(self.nearest.par_chunks(BLOCK))
            .map(|(table, nearest)| {
                let mut sums = vec![[0.0f64; COLUMNS]; groups];
                remaining(table, nearest, &mut sums);
                sums
            })
            .collect();
        let mut total = vec![0.0; self.t];
        for part in partials {
            total.iter_mut().zip(part.as_flattened()).for_each(|(t, p)| *t += p);
        }
        total
    }

    /// Chooses the candidate in `slot`.
    pub fn accept(&mut self, slot: usize) -> Result<Vec<f64>> {
        let t = self.t;
        if slot >= t {
            return Err(Error::Data(format!("candidate {slot} of {t}")));
        }
        let groups = t.div_ceil(COLUMNS);
        let pairs = self.nearest.par_chunks_mut(BLOCK).zip(self.table.par_chunks(BLOCK * groups));
        pairs.for_each(|(nearest, table)| {
            for (near, row) in nearest.iter_mut().zip(table.chunks_exact(groups)) {
                *near = near.min(row[slot / COLUMNS][slot % COLUMNS]);
            }
        });
        Ok(self.potentials())
    }
}
