//! What the kernels of decoders are compared with: plain f64 loops, and differences that the gradients among them are held to.

use sememe::compute::tensor::AttentionShape;

/// One row of `gain·x/√(mean(x²) + epsilon)`.
pub fn rms_norm(x: &[f64], gain: &[f64], epsilon: f64) -> Vec<f64> {
    let scale = rms_scale(x, epsilon);
    x.iter().zip(gain).map(|(x, g)| x * scale * g).collect()
}

pub fn rms_scale(x: &[f64], epsilon: f64) -> f64 {
    1.0 / (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + epsilon).sqrt()
}

/// The gradient of a row, by the chain rule through the scale, and the row's part of the gain's gradient.
pub fn rms_norm_backward(x: &[f64], gain: &[f64], epsilon: f64, up: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (s, d) = (rms_scale(x, epsilon), x.len());
    // ds/dx_c = -s³·x_c/d.
    let through: f64 = (0..d).map(|b| up[b] * gain[b] * x[b]).sum();
    let grad = (0..d).map(|c| up[c] * gain[c] * s - through * s.powi(3) * x[c] / d as f64).collect();
    (grad, (0..d).map(|c| up[c] * x[c] * s).collect())
}

/// One row turned by the cosines and sines of its position.
pub fn rotary(x: &[f64], angles: &[f64], inverse: bool) -> Vec<f64> {
    let half = x.len() / 2;
    let pair = |i: usize| {
        let (c, s) = (angles[i], if inverse { -angles[half + i] } else { angles[half + i] });
        (c * x[i] - s * x[half + i], c * x[half + i] + s * x[i])
    };
    (0..half).map(|i| pair(i).0).chain((0..half).map(|i| pair(i).1)).collect()
}

/// `silu(x₁)·x₂` of one row `[x₁ | x₂]`.
pub fn gated(x: &[f64]) -> Vec<f64> {
    let f = x.len() / 2;
    (0..f).map(|i| x[i] / (1.0 + (-x[i]).exp()) * x[f + i]).collect()
}

pub fn gated_backward(x: &[f64], up: &[f64]) -> Vec<f64> {
    let f = x.len() / 2;
    let left = |i: usize| {
        let e = (-x[i]).exp();
        // d(a/(1 + e^-a))/da, with e^-a divided out where it is large.
        let slope = if e > 1e100 { 0.0 } else { 1.0 / (1.0 + e) + x[i] * e / (1.0 + e).powi(2) };
        up[i] * x[f + i] * slope
    };
    let right = |i: usize| up[i] * x[i] / (1.0 + (-x[i]).exp());
    (0..f).map(left).chain((0..f).map(right)).collect()
}

/// Loss of a row of logits against `q`, and `softmax − q`; nothing for a target past the row.
pub fn cross_entropy(x: &[f64], target: usize, smoothing: f64) -> (f64, Vec<f64>) {
    if target >= x.len() {
        return (0.0, vec![0.0; x.len()]);
    }
    let top = x.iter().fold(f64::MIN, |a, b| a.max(*b));
    let log_sum = top + x.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
    let q = |j: usize| f64::from(u8::from(j == target)) * (1.0 - smoothing) + smoothing / x.len() as f64;
    let loss = (0..x.len()).map(|j| -q(j) * (x[j] - log_sum)).sum();
    (loss, (0..x.len()).map(|j| (x[j] - log_sum).exp() - q(j)).collect())
}

/// Result of an attention, and what its error is measured by.
pub struct Attended {
    pub out: Vec<f64>,
    /// `[tokens, heads]`.
    pub log_sums: Vec<f64>,
    /// `[tokens, heads]` largest `scale·Σ|q·k|` of a token's keys.
    pub score_sizes: Vec<f64>,
    /// `[tokens, heads]` largest absolute value that a token sees.
    pub value_sizes: Vec<f64>,
}

/// One head of one token: its query, and keys and values of the tokens that it sees.
struct Head<'a> {
    shape: &'a AttentionShape,
    starts: &'a [u32],
    qkv: &'a [f64],
    t: usize,
    head: usize,
}

impl<'a> Head<'a> {
    fn seen(&self) -> std::ops::RangeInclusive<usize> {
        self.starts[self.t] as usize..=self.t
    }

    /// First value of block `i` of `head_dims` values of token `t`.
    fn at(&self, t: usize, i: usize) -> usize {
        t * (self.shape.heads + 2 * self.shape.kv_heads) * self.shape.head_dims + i * self.shape.head_dims
    }

    fn block(&self, t: usize, i: usize) -> &'a [f64] {
        &self.qkv[self.at(t, i)..][..self.shape.head_dims]
    }

    /// Which block the key is; the value is `kv_heads` blocks on.
    fn key(&self) -> usize {
        self.shape.heads + self.head / (self.shape.heads / self.shape.kv_heads)
    }

    fn value(&self) -> usize {
        self.key() + self.shape.kv_heads
    }

    /// Scores of what it sees, and the log of the sum of their exponentials.
    fn scores(&self) -> (Vec<f64>, f64) {
        let scale = f64::from(self.shape.scale);
        let scores: Vec<f64> =
            self.seen().map(|j| scale * product(self.block(self.t, self.head), self.block(j, self.key()))).collect();
        let top = scores.iter().fold(f64::MIN, |a, b| a.max(*b));
        let log_sum = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
        (scores, log_sum)
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn size(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x * y).abs()).sum()
}

pub fn attention(shape: &AttentionShape, starts: &[u32], qkv: &[f64]) -> Attended {
    let (heads, h) = (shape.heads, shape.head_dims);
    let empty = || vec![0.0; shape.tokens * heads];
    let mut found = Attended {
        out: vec![0.0; shape.tokens * heads * h],
        log_sums: empty(),
        score_sizes: empty(),
        value_sizes: empty(),
    };
    for t in 0..shape.tokens {
        for head in 0..heads {
            let (one, at) = (Head { shape, starts, qkv, t, head }, t * heads + head);
            let (scores, log_sum) = one.scores();
            found.log_sums[at] = log_sum;
            for (j, score) in one.seen().zip(scores) {
                let value = one.block(j, one.value());
                let reach = f64::from(shape.scale).abs() * size(one.block(t, head), one.block(j, one.key()));
                found.score_sizes[at] = found.score_sizes[at].max(reach);
                for (c, v) in value.iter().enumerate() {
                    found.out[at * h + c] += (score - log_sum).exp() * v;
                    found.value_sizes[at] = found.value_sizes[at].max(v.abs());
                }
            }
        }
    }
    found
}

/// The gradient of queries, keys and values, and the sums of the sizes of its terms, each times `1 + reach`, where `reach` is how far
/// scores of that query may be off in units of the error of the terms.
pub fn attention_backward(
    shape: &AttentionShape,
    starts: &[u32],
    qkv: &[f64],
    grad_out: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let (heads, h, scale) = (shape.heads, shape.head_dims, f64::from(shape.scale));
    let forward = attention(shape, starts, qkv);
    let (mut grad, mut sizes) = (vec![0.0; qkv.len()], vec![0.0; qkv.len()]);
    for t in 0..shape.tokens {
        for head in 0..heads {
            let (one, at) = (Head { shape, starts, qkv, t, head }, t * heads + head);
            let (up, out) = (&grad_out[at * h..(at + 1) * h], &forward.out[at * h..(at + 1) * h]);
            let (scores, log_sum) = one.scores();
            for (j, score) in one.seen().zip(scores) {
                let (weight, reach) = ((score - log_sum).exp(), 1.0 + forward.score_sizes[at]);
                let (key, value) = (one.block(j, one.key()), one.block(j, one.value()));
                let slope = weight * (product(up, value) - product(up, out));
                let slope_size = weight * (size(up, value) + size(up, out)) * reach;
                for c in 0..h {
                    let mut add = |at: usize, term: f64, size: f64| {
                        grad[at] += term;
                        sizes[at] += size;
                    };
                    add(one.at(t, head) + c, scale * slope * key[c], (scale * slope_size * key[c]).abs());
                    let query = one.block(t, head)[c];
                    add(one.at(j, one.key()) + c, scale * slope * query, (scale * slope_size * query).abs());
                    add(one.at(j, one.value()) + c, weight * up[c], (weight * up[c] * reach).abs());
                }
            }
        }
    }
    (grad, sizes)
}

/// Holds a gradient of `loss` at `x` to central differences.
#[track_caller]
fn hold_gradient(what: &str, x: &[f64], grad: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert!(grad.iter().any(|g| g.abs() > 1e-3), "{what}: an uninformative gradient");
    for c in 0..x.len() {
        let step = |by: f64| {
            let mut moved = x.to_vec();
            moved[c] += by;
            loss(&moved)
        };
        let want = (step(1e-5) - step(-1e-5)) / 2e-5;
        assert!((grad[c] - want).abs() < 1e-7 * (1.0 + want.abs()), "{what}[{c}]: {} and {want}", grad[c]);
    }
}

#[test]
fn the_gradients_of_decoders_are_those_of_differences() {
    let draw = |name: &str, len: usize| -> Vec<f64> {
        let mut stream = sememe::rng::stream(3, name, len as u64);
        (0..len).map(|_| stream.normal()).collect()
    };
    let weigh = |values: &[f64], up: &[f64]| product(values, up);
    let (x, up, gain) = (draw("x", 6), draw("up", 6), draw("gain", 6));
    let (grad, products) = rms_norm_backward(&x, &gain, 0.25, &up);
    hold_gradient("rms norm", &x, &grad, |x| weigh(&rms_norm(x, &gain, 0.25), &up));
    hold_gradient("gain", &gain, &products, |gain| weigh(&rms_norm(&x, gain, 0.25), &up));
    hold_gradient("rotary", &x, &rotary(&up, &gain, true), |x| weigh(&rotary(x, &gain, false), &up));
    hold_gradient("gated", &x, &gated_backward(&x, &up[..3]), |x| weigh(&gated(x), &up[..3]));
    for (target, smoothing) in [(2, 0.0), (0, 0.3)] {
        hold_gradient("cross-entropy", &x, &cross_entropy(&x, target, smoothing).1, |x| {
            cross_entropy(x, target, smoothing).0
        });
    }
    for (heads, kv_heads) in [(1, 1), (4, 2), (2, 2), (3, 1)] {
        let shape = AttentionShape { tokens: 6, heads, kv_heads, head_dims: 3, scale: 0.5 };
        let starts = [0, 0, 0, 0, 4, 4];
        let (qkv, up) = (draw("qkv", 6 * (heads + 2 * kv_heads) * 3), draw("up", 6 * heads * 3));
        let (grad, _) = attention_backward(&shape, &starts, &qkv, &up);
        hold_gradient("attention", &qkv, &grad, |qkv| weigh(&attention(&shape, &starts, qkv).out, &up));
    }
}
