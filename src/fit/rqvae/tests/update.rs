//! The first update of a training in f64: the optimisers as their papers write them, and codebooks as moving averages.

use super::oracle::{Outcome, Problem};
use sememe::fit::rqvae::{CodebookUpdate, OptimizerKind};

impl Problem {
    /// Parameters after the first step, with moments of zero before it.
    pub fn updated(&self, params: &[f64], found: &Outcome, rate: f64) -> Vec<f64> {
        let (config, o) = (&self.config, &self.config.optimizer);
        let mut out = params.to_vec();
        // As PyTorch's clip_grad_norm_: over the whole gradient.
        let norm = found.grads.iter().map(|g| g * g).sum::<f64>().sqrt();
        let factor = config.clip_norm.map_or(1.0, |clip| (clip / (norm + 1e-6)).min(1.0));
        let mut done = std::collections::HashSet::new();
        for (name, at, [rows, columns]) in &self.places {
            let codebook = name.starts_with("codebook");
            if !done.insert(*at) || codebook && (config.codebook != CodebookUpdate::Gradient || self.levels == 0) {
                continue;
            }
            let rate = if name.starts_with("decoder") { rate * o.decoder_factor } else { rate };
            let decay = if codebook { 0.0 } else { o.decay };
            for i in *at..at + rows * columns {
                let (w, g) = (params[i], factor * found.grads[i]);
                out[i] = match o.kind {
                    // Loshchilov and Hutter 2019, algorithm 2; Kingma and Ba 2015, algorithm 1.
                    OptimizerKind::AdamW | OptimizerKind::Adam => {
                        let decoupled = o.kind == OptimizerKind::AdamW;
                        let g = if decoupled { g } else { g + decay * w };
                        let (m, v) = ((1.0 - o.beta1) * g, (1.0 - o.beta2) * g * g);
                        let (m, v) = (m / (1.0 - o.beta1), v / (1.0 - o.beta2));
                        let shrunk = if decoupled { rate * decay * w } else { 0.0 };
                        w - shrunk - rate * m / (v.sqrt() + o.epsilon)
                    }
                    // The first step has no momentum yet.
                    OptimizerKind::Sgd => w - rate * (g + decay * w),
                    // Duchi, Hazan and Singer 2011; the decay joins the gradient, as PyTorch has it.
                    OptimizerKind::Adagrad => {
                        let g = g + decay * w;
                        w - rate * g / ((g * g).sqrt() + o.epsilon)
                    }
                };
            }
        }
        if let CodebookUpdate::Ema { decay, epsilon } = config.codebook {
            self.average(found, decay, epsilon, &mut out);
        }
        out
    }

    /// van den Oord et al. 2017, appendix A.1, from counts and sums of zero.
    fn average(&self, found: &Outcome, decay: f64, epsilon: f64, out: &mut [f64]) {
        let e = self.e();
        let mut books: Vec<(usize, usize)> = (0..self.levels).map(|l| self.codebook(l)).collect();
        books.dedup();
        for (at, k) in books {
            let (mut counts, mut sums) = (vec![0.0; k], vec![0.0; k * e]);
            for (l, level) in found.levels.iter().enumerate().filter(|(l, _)| self.codebook(*l).0 == at) {
                assert_eq!(self.codebook(l).1, k);
                for (i, label) in level.labels.iter().enumerate() {
                    counts[*label] += 1.0 - decay;
                    (0..e).for_each(|c| sums[label * e + c] += (1.0 - decay) * level.residual[i * e + c]);
                }
            }
            let total: f64 = counts.iter().sum();
            for j in (0..k).filter(|j| counts[*j] > 0.0) {
                let smoothed = (counts[j] + epsilon) / (total + k as f64 * epsilon) * total;
                (0..e).for_each(|c| out[at + j * e + c] = sums[j * e + c] / smoothed);
            }
        }
    }
}
