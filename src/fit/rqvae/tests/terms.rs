//! The oracle's terms beside reconstruction and quantiser: alignment, repulsion, diversity. Each gives its loss without its
//! factor, and adds its gradient with it.

use super::oracle::{FLOOR, Level, Problem, dot, least_two, log_sum_exp, squared};

impl Problem {
    /// Similarities `(P·q_i)·h_j/τ` of row i with all embeddings.
    pub fn similarities(&self, params: &[f64], q: &[f64]) -> Vec<f64> {
        let (h, c) = self.aligned.as_ref().expect("aligned rows");
        let temperature = self.config.alignment.expect("alignment").temperature;
        let mapped: Vec<f64> = match self.place("projection") {
            Some((at, _)) => (0..*c).map(|a| dot(&params[at + a * q.len()..][..q.len()], q)).collect(),
            None => q.to_vec(),
        };
        h.chunks_exact(*c).map(|row| dot(&mapped, row) / temperature).collect()
    }

    /// Cross-entropy of those with the diagonal; gradients join that of the code and the projection's.
    pub fn align(&self, params: &[f64], code: &[f64], grad: &mut [f64], grads: &mut [f64]) -> f64 {
        let (Some(alignment), Some((h, c))) = (self.config.alignment, self.aligned.as_ref()) else { return 0.0 };
        let (e, n) = (self.e(), self.n);
        let mut loss = 0.0;
        for i in 0..n {
            let q = &code[i * e..][..e];
            let s = self.similarities(params, q);
            let total = log_sum_exp(s.iter().copied());
            loss += (total - s[i]) / n as f64;
            // The gradient of P·q.
            let mut mapped = vec![0.0; *c];
            for j in 0..n {
                let one = if i == j { 1.0 } else { 0.0 };
                let g = alignment.weight / n as f64 * ((s[j] - total).exp() - one) / alignment.temperature;
                (0..*c).for_each(|a| mapped[a] += g * h[j * c + a]);
            }
            for a in 0..*c {
                match self.place("projection") {
                    Some((at, _)) => {
                        for b in 0..e {
                            grads[at + a * e + b] += mapped[a] * q[b];
                            grad[i * e + b] += mapped[a] * params[at + a * e + b];
                        }
                    }
                    None => grad[i * e + a] += mapped[a],
                }
            }
        }
        loss
    }

    /// Every row's nearest other row, and by how much it is at least.
    pub fn neighbours(&self, z: &[f64]) -> (Vec<usize>, f64) {
        let e = self.e();
        let mut margin = f64::INFINITY;
        let row = |i: usize| &z[i * e..][..e];
        let one = |i: usize| {
            let others = (0..self.n).filter(|j| *j != i).map(|j| (j, squared(row(i), row(j))));
            let (label, first, second) = least_two(others);
            margin = margin.min((second - first) / (second + dot(row(i), row(i))));
            label
        };
        ((0..self.n).map(one).collect(), margin)
    }

    /// `−½·mean ln(‖z_i − z_j‖² + floor)`; both rows of a pair move.
    pub fn repel(&self, z: &[f64], neighbours: &[usize], grad: &mut [f64]) -> f64 {
        let (e, n, weight) = (self.e(), self.n, self.repulsion_weight());
        let mut loss = 0.0;
        for (i, j) in neighbours.iter().enumerate().filter(|_| self.config.repulsion.is_some()) {
            let distance = squared(&z[i * e..][..e], &z[j * e..][..e]) + FLOOR;
            loss -= 0.5 * distance.ln() / n as f64;
            for c in 0..e {
                let pull = weight / n as f64 * (z[i * e + c] - z[j * e + c]) / distance;
                grad[i * e + c] -= pull;
                grad[j * e + c] += pull;
            }
        }
        loss
    }

    /// Of one level: `Σ_j count_j/n · (log Σ_{m ≠ j} exp(c_j·c_m/τ) − c_j·c_t/τ)`, and its gradient.
    pub fn spread_out(&self, params: &[f64], l: usize, level: &Level, grads: &mut [f64]) -> f64 {
        let Some(diversity) = self.config.diversity else { return 0.0 };
        let (e, (at, k)) = (self.e(), self.codebook(l));
        let book = |j: usize| &params[at + j * e..][..e];
        let mut loss = 0.0;
        for j in 0..k {
            let share = level.labels.iter().filter(|label| **label == j).count() as f64 / self.n as f64;
            let s: Vec<f64> = (0..k).map(|m| dot(book(j), book(m)) / diversity.temperature).collect();
            let total = log_sum_exp((0..k).filter(|m| *m != j).map(|m| s[m]));
            let target = self.targets[l][j] as usize;
            loss += share * (total - s[target]);
            for m in (0..k).filter(|m| *m != j) {
                let one = if m == target { 1.0 } else { 0.0 };
                let g = diversity.weight * share * ((s[m] - total).exp() - one) / diversity.temperature;
                for c in 0..e {
                    grads[at + j * e + c] += g * book(m)[c];
                    grads[at + m * e + c] += g * book(j)[c];
                }
            }
        }
        loss
    }
}
