//! The loss whose true derivative a step's gradient is, in f64 and forward only: what gradients do not pass is held at the
//! values of one point. Central differences of it check the oracle's derivatives.
//!
//! Straight-through (van den Oord et al. 2017): with `q₀`, `c₀`, `r₀` and labels held,
//! `dec(z + (q₀ − z₀))` against x, `‖r₀ − c‖²` for codewords, `‖r − c₀‖²` with `r = z − Σ earlier c₀` for the encoder.
//! Rotation (Fifty et al. 2024): the decoder reads `Σ M₀·r` instead, each level's `λR = M₀` held, `r' = r − M₀·r`.
//! Gumbel-softmax: the decoder reads the mix itself, and so does the next level; only the codebook term `‖r₀ − q‖²` and the
//! commitment `‖z − Σ earlier q₀ − q₀‖²` hold what the other one moves.
//! Labels, neighbours and, through the labels, how many rows chose a codeword are held throughout.

use super::oracle::{FLOOR, Outcome, Problem, squared};
use sememe::fit::rqvae::{CodebookUpdate, Commitment, Estimator};

fn log_sum_exp(values: &[f64]) -> f64 {
    values.iter().map(|v| v.exp()).sum::<f64>().ln()
}

impl Problem {
    /// The loss at `params`, with what is held as `at` found it.
    pub fn surrogate(&self, params: &[f64], at: &Outcome) -> f64 {
        let (config, n, e) = (&self.config, self.n, self.e());
        let (unit, unit_q) = self.units();
        let mut bit = 0;
        let z = self.forward(&self.network("encoder"), params, &self.x, &mut bit).output;
        let mut loss = 0.0;
        let mut code = z.clone();
        if self.levels > 0 {
            let mut residual = z.clone();
            let mut held_sum = vec![0.0; n * e];
            let mut sum = vec![0.0; n * e];
            for (l, held) in at.levels.iter().enumerate() {
                let (place, k) = self.codebook(l);
                let book = &params[place..place + k * e];
                let codewords: Vec<f64> = held.labels.iter().flat_map(|j| book[j * e..][..e].to_vec()).collect();
                let q = match config.estimator {
                    Estimator::StraightThrough => held.q.clone(),
                    Estimator::Rotation => (0..n * e)
                        .map(|v| (0..e).map(|b| held.turn[v * e + b] * residual[v / e * e + b]).sum())
                        .collect(),
                    Estimator::Gumbel { .. } => self.mix(l, &residual, book).1,
                };
                let learns = if matches!(config.estimator, Estimator::Gumbel { .. }) { &q } else { &codewords };
                if config.codebook == CodebookUpdate::Gradient {
                    loss += config.quantizer_weight * unit_q * squared(&held.residual, learns);
                }
                (0..n * e).for_each(|v| held_sum[v] += held.q[v]);
                if config.commitment == Commitment::Levels || l + 1 == self.levels {
                    loss += config.quantizer_weight * config.commitment_weight * unit_q * squared(&z, &held_sum);
                }
                (0..n * e).for_each(|v| (residual[v], sum[v]) = (residual[v] - q[v], sum[v] + q[v]));
                if let Some(diversity) = config.diversity {
                    loss += diversity.weight * self.drawn_apart(l, book, &held.labels, diversity.temperature);
                }
            }
            code = match config.estimator {
                Estimator::StraightThrough => (0..n * e).map(|v| z[v] + (held_sum[v] - at.z[v])).collect(),
                _ => sum,
            };
            if let Some(alignment) = config.alignment.filter(|_| self.aligned.is_some()) {
                for (i, q) in code.chunks_exact(e).enumerate() {
                    let s = self.similarities(params, q);
                    loss -= alignment.weight / n as f64 * (s[i].exp() / s.iter().map(|v| v.exp()).sum::<f64>()).ln();
                }
            }
            if config.repulsion.is_some() {
                for (i, j) in at.neighbours.iter().enumerate() {
                    let distance = squared(&z[i * e..][..e], &z[j * e..][..e]) + FLOOR;
                    loss -= self.repulsion_weight() * 0.5 * distance.ln() / n as f64;
                }
            }
        }
        let y = self.forward(&self.network("decoder"), params, &code, &mut bit).output;
        loss + unit * squared(&y, &self.x)
    }

    /// Over rows instead of codewords: each row's codeword against all others.
    fn drawn_apart(&self, l: usize, book: &[f64], labels: &[usize], temperature: f64) -> f64 {
        let e = self.e();
        let product = |a: usize, b: usize| (0..e).map(|c| book[a * e + c] * book[b * e + c]).sum::<f64>() / temperature;
        let row = |j: &usize| {
            let others: Vec<f64> = (0..book.len() / e).filter(|m| m != j).map(|m| product(*j, m)).collect();
            log_sum_exp(&others) - product(*j, self.targets[l][*j] as usize)
        };
        labels.iter().map(row).sum::<f64>() / self.n as f64
    }

    /// The loss, put together from its reported terms.
    pub fn total(&self, losses: &[f64]) -> f64 {
        let (config, all) = (&self.config, self.config.codebook_sizes.len());
        let mut quantiser = 0.0;
        for l in 0..self.levels {
            let committed = config.commitment == Commitment::Levels || l + 1 == self.levels;
            let learned = if config.codebook == CodebookUpdate::Gradient { 1.0 } else { 0.0 };
            quantiser += losses[1 + l] * (learned + if committed { config.commitment_weight } else { 0.0 });
        }
        let others = [
            (config.alignment.map_or(0.0, |a| a.weight), losses[1 + all]),
            (config.diversity.map_or(0.0, |d| d.weight), losses[2 + all]),
            (self.repulsion_weight(), losses[4 + all]),
        ];
        losses[0] + config.quantizer_weight * quantiser + others.iter().map(|(w, loss)| w * loss).sum::<f64>()
    }

    /// Central differences of fourth order of the surrogate around the point that gave `at`.
    pub fn differences(&self, params: &[f64], at: &Outcome) -> Vec<f64> {
        const STEP: f64 = 1e-5;
        let mut moved = params.to_vec();
        let mut difference = |i: usize| {
            let mut loss = |steps: f64| {
                moved[i] = params[i] + steps * STEP;
                self.surrogate(&moved, at)
            };
            let (near, far) = (loss(1.0) - loss(-1.0), loss(2.0) - loss(-2.0));
            moved[i] = params[i];
            (8.0 * near - far) / (12.0 * STEP)
        };
        (0..params.len()).map(&mut difference).collect()
    }
}
