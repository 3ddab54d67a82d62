//! One RQ-VAE step in f64, written from its formulas as plain loops: the losses, and the gradients by hand in reverse order.
//!
//! What the gradients are gradients of is said apart, in `surrogate`: differences of that loss check these derivatives.

use crate::support::network::{activated, slope};
use sememe::fit::rqvae::{CodebookUpdate, Commitment, Estimator, Reduction, RqVae, SinkhornForm};

/// Everything a step is told. Parameters are one flat run; `places` says what lies where.
#[derive(Clone)]
pub struct Problem {
    pub config: RqVae,
    pub n: usize,
    pub d: usize,
    pub x: Vec<f64>,
    pub aligned: Option<(Vec<f64>, usize)>,
    pub levels: usize,
    pub temperature: f64,
    pub noise: Vec<Vec<f64>>,
    pub masks: Vec<u32>,
    pub targets: Vec<Vec<u32>>,
    pub places: Vec<(String, usize, [usize; 2])>,
}

/// Places of one linear layer.
pub struct Layer {
    pub weight: usize,
    pub bias: usize,
    pub norm: Option<(usize, usize)>,
    pub inputs: usize,
    pub outputs: usize,
    pub hidden: bool,
}

/// What one layer leaves for the way back.
pub struct Kept {
    x: Vec<f64>,
    /// Normalised values and 1/√(variance + 1e-5) of each row, with a layer norm.
    hat: Vec<f64>,
    inverse: Vec<f64>,
    pub pre: Vec<f64>,
    /// Dropout's factors.
    keep: Vec<f64>,
}

/// A pass through a network.
pub struct Pass {
    pub layers: Vec<Kept>,
    pub output: Vec<f64>,
}

/// One level of the quantiser.
#[derive(Clone, Default)]
pub struct Level {
    /// Its input, `[n, e]`.
    pub residual: Vec<f64>,
    pub labels: Vec<usize>,
    /// The codeword of each row, or the mix of codewords.
    pub q: Vec<f64>,
    /// Gumbel-softmax: what is mixed, `[n, k]`.
    pub p: Vec<f64>,
    /// Rotation: each row's `λR`, `[n, e, e]`.
    pub turn: Vec<f64>,
    /// By how much the nearest label wins, at least over the rows: relative to the sizes that are compared.
    pub margin: f64,
    /// Rows whose label is not the nearest codeword.
    pub moved: usize,
}

/// What a step gives, and what its surrogate loss holds fixed.
pub struct Outcome {
    /// As the library orders them: reconstruction, levels, alignment, diversity, squared gradient norm, repulsion.
    pub losses: Vec<f64>,
    pub grads: Vec<f64>,
    pub z: Vec<f64>,
    pub levels: Vec<Level>,
    /// Nearest other row, and by how much.
    pub neighbours: Vec<usize>,
    pub neighbour_margin: f64,
    /// Smallest |value| that an activation met.
    pub kink: f64,
}

/// Squared L2 that a repelled pair has at least.
pub const FLOOR: f64 = 1e-4;

pub fn divisor(reduction: Reduction, dims: usize) -> f64 {
    if reduction == Reduction::Mean { dims as f64 } else { 1.0 }
}

pub fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Index and value of the smallest, and the value after it.
pub fn least_two(values: impl Iterator<Item = (usize, f64)>) -> (usize, f64, f64) {
    values.fold(
        (0, f64::INFINITY, f64::INFINITY),
        |(at, first, second), (i, v)| {
            if v < first { (i, v, first) } else { (at, first, second.min(v)) }
        },
    )
}

pub fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    most + values.map(|v| (v - most).exp()).sum::<f64>().ln()
}

/// `λR`: the reflections' product `I − 2uuᵀ + 2q̂r̂ᵀ` with `u = (r̂ + q̂)/‖r̂ + q̂‖` turns r̂ onto q̂; λ = ‖q‖/‖r‖ (Fifty et al. 2024, eq. 4).
fn rotation(r: &[f64], q: &[f64]) -> Vec<f64> {
    let e = r.len();
    let (long_r, long_q) = (dot(r, r).sqrt(), dot(q, q).sqrt());
    let u: Vec<f64> = (0..e).map(|c| r[c] / long_r + q[c] / long_q).collect();
    let length = dot(&u, &u).sqrt();
    let mut out = Vec::with_capacity(e * e);
    for a in 0..e {
        for b in 0..e {
            let one = if a == b { 1.0 } else { 0.0 };
            let turned = one - 2.0 * u[a] * u[b] / (length * length) + 2.0 * q[a] / long_q * r[b] / long_r;
            out.push(long_q / long_r * turned);
        }
    }
    out
}

impl Problem {
    pub fn place(&self, name: &str) -> Option<(usize, [usize; 2])> {
        self.places.iter().find(|(n, ..)| n == name).map(|(_, at, shape)| (*at, *shape))
    }

    pub fn network(&self, name: &str) -> Vec<Layer> {
        let mut out: Vec<Layer> = Vec::new();
        while let Some((weight, [outputs, inputs])) = self.place(&format!("{name}.{}.weight", out.len())) {
            let place = |what: &str| self.place(&format!("{name}.{}.{what}", out.len())).map(|(at, _)| at);
            let bias = place("bias").expect("a layer has a bias");
            let norm = place("norm.gain").zip(place("norm.bias"));
            let hidden = self.place(&format!("{name}.{}.weight", out.len() + 1)).is_some();
            out.push(Layer { weight, bias, norm, inputs, outputs, hidden });
        }
        out
    }

    /// First value and number of a level's codewords.
    pub fn codebook(&self, level: usize) -> (usize, usize) {
        let (at, [k, _]) = self.place(&format!("codebook.{level}")).expect("a level has a codebook");
        (at, k)
    }

    pub fn e(&self) -> usize {
        self.config.code_dims
    }

    /// `1/(n·divisor)` of reconstruction and of the quantiser's terms.
    pub fn units(&self) -> (f64, f64) {
        let n = self.n as f64;
        let (rows, codes) = (divisor(self.config.reconstruction, self.d), divisor(self.config.quantizer, self.e()));
        (1.0 / (n * rows), 1.0 / (n * codes))
    }

    /// Factor of the repulsion term.
    pub fn repulsion_weight(&self) -> f64 {
        let dims = if self.config.reconstruction == Reduction::Sum { self.d as f64 } else { 1.0 };
        self.config.repulsion.map_or(0.0, |r| r.weight * dims)
    }

    /// Runs a network; `bit` moves past its masks.
    pub fn forward(&self, layers: &[Layer], params: &[f64], input: &[f64], bit: &mut usize) -> Pass {
        let n = self.n;
        let mut x = input.to_vec();
        let mut kept = Vec::new();
        for layer in layers {
            let (i, o) = (layer.inputs, layer.outputs);
            let mut pre = Vec::with_capacity(n * o);
            for row in 0..n {
                for unit in 0..o {
                    let weights = &params[layer.weight + unit * i..][..i];
                    pre.push(dot(&x[row * i..][..i], weights) + params[layer.bias + unit]);
                }
            }
            let (mut hat, mut inverse) = (Vec::new(), Vec::new());
            if let Some((gain, shift)) = layer.norm {
                for row in pre.chunks_exact_mut(o) {
                    let mean = row.iter().sum::<f64>() / o as f64;
                    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / o as f64;
                    inverse.push(1.0 / (variance + 1e-5).sqrt());
                    for (unit, v) in row.iter_mut().enumerate() {
                        hat.push((*v - mean) * inverse[inverse.len() - 1]);
                        *v = params[gain + unit] * hat[hat.len() - 1] + params[shift + unit];
                    }
                }
            }
            let mut keep = vec![1.0; n * o];
            if layer.hidden && !self.masks.is_empty() {
                for (value, factor) in keep.iter_mut().enumerate() {
                    let at = *bit + value;
                    let kept = self.masks[at / 32] >> (at % 32) & 1 == 1;
                    *factor = if kept { 1.0 / (1.0 - self.config.dropout) } else { 0.0 };
                }
                *bit += (n * o).div_ceil(32) * 32;
            }
            let f = |(v, k): (&f64, &f64)| if layer.hidden { k * activated(self.config.activation, *v) } else { *v };
            let next = pre.iter().zip(&keep).map(f).collect();
            kept.push(Kept { x, hat, inverse, pre, keep });
            x = next;
        }
        Pass { layers: kept, output: x }
    }

    /// From the gradient of a network's output to that of its input; parameters' gradients are added to `out`.
    fn backward(&self, layers: &[Layer], params: &[f64], pass: &Pass, output: &[f64], out: &mut [f64]) -> Vec<f64> {
        let mut grad = output.to_vec();
        for (layer, kept) in layers.iter().zip(&pass.layers).rev() {
            let (i, o) = (layer.inputs, layer.outputs);
            if layer.hidden {
                for ((g, pre), keep) in grad.iter_mut().zip(&kept.pre).zip(&kept.keep) {
                    *g *= keep * slope(self.config.activation, *pre);
                }
            }
            if let Some((gain, shift)) = layer.norm {
                for row in 0..self.n {
                    let (g, hat) = (&mut grad[row * o..][..o], &kept.hat[row * o..][..o]);
                    for unit in 0..o {
                        out[gain + unit] += g[unit] * hat[unit];
                        out[shift + unit] += g[unit];
                        g[unit] *= params[gain + unit];
                    }
                    let (mean, along) = (g.iter().sum::<f64>() / o as f64, dot(g, hat) / o as f64);
                    for unit in 0..o {
                        g[unit] = kept.inverse[row] * (g[unit] - mean - hat[unit] * along);
                    }
                }
            }
            let mut below = vec![0.0; self.n * i];
            for row in 0..self.n {
                for unit in 0..o {
                    let g = grad[row * o + unit];
                    out[layer.bias + unit] += g;
                    for c in 0..i {
                        out[layer.weight + unit * i + c] += g * kept.x[row * i + c];
                        below[row * i + c] += g * params[layer.weight + unit * i + c];
                    }
                }
            }
            grad = below;
        }
        grad
    }

    /// Nearest or balanced labels, the margin and the moved rows.
    fn labels(&self, level: usize, residual: &[f64], book: &[f64]) -> (Vec<usize>, f64, usize) {
        let (e, n) = (self.e(), self.n);
        let k = book.len() / e;
        let distance = |i: usize, j: usize| squared(&residual[i * e..][..e], &book[j * e..][..e]);
        let mut margin = f64::INFINITY;
        let mut nearest = Vec::new();
        for i in 0..n {
            let (label, first, second) = least_two((0..k).map(|j| (j, distance(i, j))));
            let r = &residual[i * e..][..e];
            margin = margin.min((second - first) / (first + dot(r, r)));
            nearest.push(label);
        }
        let chosen = |s: &&sememe::fit::rqvae::Sinkhorn| s.levels.as_ref().is_none_or(|l| l.contains(&level));
        let Some(sinkhorn) = self.config.sinkhorn.as_ref().filter(chosen) else {
            return (nearest, margin, 0);
        };
        // Exponents, then rows to a sum of 1 and columns to n/k, in turns.
        let all: Vec<f64> = (0..n * k).map(|at| distance(at / k, at % k)).collect();
        let (low, high) = all.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let centre: Vec<f64> = (0..e).map(|c| (0..k).map(|j| book[j * e + c]).sum::<f64>() / k as f64).collect();
        let spread = book.chunks_exact(e).map(|c| squared(c, &centre)).sum::<f64>() / k as f64;
        let middle = (high + low) / 2.0;
        let exponent = |d: &f64| match sinkhorn.form {
            SinkhornForm::BatchRange => -(d - middle) / (high - middle + 1e-5) / sinkhorn.epsilon,
            SinkhornForm::Codebook => -d / (sinkhorn.epsilon * spread),
        };
        let mut plan: Vec<f64> = all.iter().map(exponent).collect();
        for _ in 0..sinkhorn.iterations {
            for row in plan.chunks_exact_mut(k) {
                let total = log_sum_exp(row.iter().copied());
                row.iter_mut().for_each(|v| *v -= total);
            }
            for j in 0..k {
                let total = log_sum_exp((0..n).map(|i| plan[i * k + j])) - (n as f64 / k as f64).ln();
                (0..n).for_each(|i| plan[i * k + j] -= total);
            }
        }
        margin = f64::INFINITY;
        let mut labels = Vec::new();
        for row in plan.chunks_exact(k) {
            let (label, first, second) = least_two(row.iter().map(|v| -v).enumerate());
            margin = margin.min(second - first);
            labels.push(label);
        }
        let moved = labels.iter().zip(&nearest).filter(|(a, b)| a != b).count();
        (labels, margin, moved)
    }

    /// Gumbel-softmax: `p = softmax((−‖r − c_j‖² + noise)/τ)` row by row, and `q = Σ p_j c_j`.
    pub fn mix(&self, level: usize, residual: &[f64], book: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let e = self.e();
        let k = book.len() / e;
        let (mut p, mut q) = (Vec::new(), vec![0.0; self.n * e]);
        for i in 0..self.n {
            let score = |j: usize| {
                let distance = squared(&residual[i * e..][..e], &book[j * e..][..e]);
                (self.noise[level][i * k + j] - distance) / self.temperature
            };
            let total = log_sum_exp((0..k).map(score));
            for j in 0..k {
                p.push((score(j) - total).exp());
                (0..e).for_each(|c| q[i * e + c] += p[i * k + j] * book[j * e + c]);
            }
        }
        (p, q)
    }

    /// Levels in use, and the sum of what they give; with none, the code vectors themselves.
    pub fn quantise(&self, params: &[f64], z: &[f64], used: usize) -> (Vec<Level>, Vec<f64>) {
        let e = self.e();
        let (mut residual, mut levels) = (z.to_vec(), Vec::new());
        let mut sum = vec![0.0; z.len()];
        for level in 0..used {
            let (at, k) = self.codebook(level);
            let book = &params[at..at + k * e];
            let (labels, margin, moved) = self.labels(level, &residual, book);
            let mut out = Level { residual: residual.clone(), labels, margin, moved, ..Level::default() };
            if matches!(self.config.estimator, Estimator::Gumbel { .. }) {
                (out.p, out.q) = self.mix(level, &residual, book);
            } else {
                out.labels.iter().for_each(|j| out.q.extend_from_slice(&book[j * e..][..e]));
            }
            if self.config.estimator == Estimator::Rotation {
                let rows = residual.chunks_exact(e).zip(out.q.chunks_exact(e));
                out.turn = rows.flat_map(|(r, q)| rotation(r, q)).collect();
            }
            for (at, q) in out.q.iter().enumerate() {
                residual[at] -= q;
                sum[at] += q;
            }
            levels.push(out);
        }
        (levels, if used > 0 { sum } else { z.to_vec() })
    }

    /// Losses and gradients.
    pub fn solve(&self, params: &[f64]) -> Outcome {
        let (config, n, e, all) = (&self.config, self.n, self.e(), self.config.codebook_sizes.len());
        let (encoder, decoder) = (self.network("encoder"), self.network("decoder"));
        let (unit, unit_q) = self.units();
        let (mut losses, mut grads) = (vec![0.0; all + 5], vec![0.0; params.len()]);
        let mut bit = 0;
        let there = self.forward(&encoder, params, &self.x, &mut bit);
        let z = &there.output;
        let (levels, code) = self.quantise(params, z, self.levels);
        let back = self.forward(&decoder, params, &code, &mut bit);
        losses[0] = unit * squared(&back.output, &self.x);
        let top: Vec<f64> = back.output.iter().zip(&self.x).map(|(y, x)| 2.0 * unit * (y - x)).collect();
        let mut grad = self.backward(&decoder, params, &back, &top, &mut grads);
        let (neighbours, neighbour_margin) = self.neighbours(z);
        if self.levels > 0 {
            losses[1 + all] = self.align(params, &code, &mut grad, &mut grads);
            let learn = 2.0 * unit_q * config.quantizer_weight;
            grad = match config.estimator {
                Estimator::StraightThrough => grad,
                Estimator::Rotation => self.turn_back(&levels, &grad),
                Estimator::Gumbel { .. } => self.unmix(params, &levels, &grad, learn, &mut grads),
            };
            let gumbel = matches!(config.estimator, Estimator::Gumbel { .. });
            for (l, level) in levels.iter().enumerate() {
                losses[1 + l] = unit_q * squared(&level.residual, &level.q);
                let committed = config.commitment == Commitment::Levels || l + 1 == self.levels;
                for at in 0..n * e {
                    let left = level.residual[at] - level.q[at];
                    if committed {
                        grad[at] += learn * config.commitment_weight * left;
                    }
                    if config.codebook == CodebookUpdate::Gradient && !gumbel {
                        grads[self.codebook(l).0 + level.labels[at / e] * e + at % e] -= learn * left;
                    }
                }
            }
            losses[4 + all] = self.repel(z, &neighbours, &mut grad);
            losses[2 + all] = (0..self.levels).map(|l| self.spread_out(params, l, &levels[l], &mut grads)).sum();
        }
        self.backward(&encoder, params, &there, &grad, &mut grads);
        let hidden = there.layers.iter().zip(&encoder).chain(back.layers.iter().zip(&decoder));
        let pres = hidden.filter(|(_, l)| l.hidden).flat_map(|(k, _)| &k.pre);
        let kink = pres.fold(f64::INFINITY, |m, v| m.min(v.abs()));
        Outcome { losses, grads, z: there.output, levels, neighbours, neighbour_margin, kink }
    }

    /// Through the turned levels: `r' = r − q`, `q = Mr`, so `∂r = Mᵀ(∂q − ∂r') + ∂r'`.
    fn turn_back(&self, levels: &[Level], grad: &[f64]) -> Vec<f64> {
        let e = self.e();
        let mut passed = vec![0.0; grad.len()];
        for level in levels.iter().rev() {
            for i in 0..self.n {
                let up: Vec<f64> = (0..e).map(|c| grad[i * e + c] - passed[i * e + c]).collect();
                for b in 0..e {
                    passed[i * e + b] += (0..e).map(|a| level.turn[(i * e + a) * e + b] * up[a]).sum::<f64>();
                }
            }
        }
        passed
    }

    /// Through the mixed levels, with the codebook term, which reaches q alone.
    fn unmix(&self, params: &[f64], levels: &[Level], grad: &[f64], learn: f64, grads: &mut [f64]) -> Vec<f64> {
        let e = self.e();
        let mut passed = vec![0.0; grad.len()];
        for (l, level) in levels.iter().enumerate().rev() {
            let (at, k) = self.codebook(l);
            for i in 0..self.n {
                let (r, q) = (&level.residual[i * e..][..e], &level.q[i * e..][..e]);
                let up: Vec<f64> =
                    (0..e).map(|c| grad[i * e + c] - passed[i * e + c] - learn * (r[c] - q[c])).collect();
                let p = &level.p[i * k..][..k];
                let slopes: Vec<f64> = (0..k).map(|j| dot(&up, &params[at + j * e..][..e])).collect();
                let mean = dot(p, &slopes);
                for j in 0..k {
                    let of_score = p[j] * (slopes[j] - mean) / self.temperature;
                    for c in 0..e {
                        let apart = r[c] - params[at + j * e + c];
                        grads[at + j * e + c] += p[j] * up[c] + 2.0 * of_score * apart;
                        passed[i * e + c] -= 2.0 * of_score * apart;
                    }
                }
            }
        }
        passed
    }
}
