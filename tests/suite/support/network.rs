//! What the kernels of networks are compared with: plain f64 loops, one formula after the other.

use sememe::compute::tensor::{Activation, Layout, Product, Rule, Step};

/// The sums of a product and, for bounds, the sums of the terms' sizes.
pub fn product(p: &Product, a: &[f32], b: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (m, n, k) = (p.m, p.n, p.k);
    let (mut values, mut sizes) = (Vec::with_capacity(m * n), Vec::with_capacity(m * n));
    for i in 0..m {
        for j in 0..n {
            let (mut value, mut size) = (0.0f64, 0.0f64);
            for t in 0..k {
                let (left, right) = match p.layout {
                    Layout::Nt => (a[i * k + t], b[j * k + t]),
                    Layout::Nn => (a[i * k + t], b[t * n + j]),
                    Layout::Tn => (a[t * m + i], b[t * n + j]),
                };
                let term = f64::from(left) * f64::from(right);
                value += term;
                size += term.abs();
            }
            values.push(value);
            sizes.push(size);
        }
    }
    (values, sizes)
}

/// Density of the normal distribution.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The normal distribution: Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …). Marsaglia 2004, "Evaluating the normal distribution".
/// Absolute error about 1e-15, so it is no oracle for the relative size of the lower tail.
pub fn normal(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 9.0 {
        return if x.is_nan() { x } else { f64::from(u8::from(x > 0.0)) };
    }
    let (mut sum, mut term, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    0.5 + density(x) * sum
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// f(x).
pub fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Gelu => x * normal(x),
        Activation::Silu => x * sigmoid(x),
    }
}

/// f′(x).
pub fn slope(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => f64::from(u8::from(x > 0.0)),
        Activation::Gelu => normal(x) + if x.abs() > 40.0 { 0.0 } else { x * density(x) },
        Activation::Silu if x < -700.0 => 0.0,
        Activation::Silu => sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
    }
}

/// What is known of a row before it is normalised.
pub struct Moments {
    pub mean: f64,
    /// 1/√(variance + 1e-5).
    pub scale: f64,
    /// Largest absolute value.
    pub largest: f64,
}

pub fn moments(row: &[f32]) -> Moments {
    let d = row.len() as f64;
    let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / d;
    let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / d;
    let largest = row.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    Moments { mean, scale: 1.0 / (variance + 1e-5).sqrt(), largest }
}

/// One normalised row.
pub fn layer_norm(row: &[f32], gain: &[f32], bias: &[f32]) -> Vec<f64> {
    let m = moments(row);
    let one = |c: usize| f64::from(gain[c]) * (f64::from(row[c]) - m.mean) * m.scale + f64::from(bias[c]);
    (0..row.len()).map(one).collect()
}

/// The gradient of a row, by the chain rule through mean and variance, and the row's part of the gain's gradient.
pub fn layer_norm_backward(row: &[f32], gain: &[f32], upstream: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (m, d) = (moments(row), row.len());
    let off: Vec<f64> = row.iter().map(|v| f64::from(*v) - m.mean).collect();
    let inner: Vec<f64> = (0..d).map(|c| f64::from(upstream[c]) * f64::from(gain[c])).collect();
    // y = off·s with s = (variance + 1e-5)^(-1/2): ds/dx_c = -s³·off_c/d, doff_b/dx_c = [b = c] - 1/d.
    let through_scale: f64 = (0..d).map(|b| inner[b] * off[b]).sum();
    let through_mean = inner.iter().sum::<f64>() * m.scale / d as f64;
    let one = |c: usize| inner[c] * m.scale - through_mean - through_scale * m.scale.powi(3) * off[c] / d as f64;
    let products = (0..d).map(|c| f64::from(upstream[c]) * off[c] * m.scale).collect();
    ((0..d).map(one).collect(), products)
}

/// One parameter's step: (parameter, first, second) before and after.
pub fn stepped(step: &Step, norm_squared: f64, grad: f64, (w, first, second): (f64, f64, f64)) -> (f64, f64, f64) {
    let (rate, decay, t) = (f64::from(step.rate), f64::from(step.decay), step.time as f64);
    let clip = if step.clip.is_finite() { (f64::from(step.clip) / (norm_squared.sqrt() + 1e-6)).min(1.0) } else { 1.0 };
    let plain = grad * clip;
    match step.rule {
        Rule::Sgd { momentum: 0.0 } => (w - rate * (plain + decay * w), first, second),
        Rule::Sgd { momentum } => {
            let g = plain + decay * w;
            let b = if step.time == 1 { g } else { f64::from(momentum) * first + g };
            (w - rate * b, b, second)
        }
        Rule::Adam { beta1, beta2, epsilon, decoupled } => {
            let (beta1, beta2) = (f64::from(beta1), f64::from(beta2));
            let g = if decoupled { plain } else { plain + decay * w };
            let m = beta1 * first + (1.0 - beta1) * g;
            let v = beta2 * second + (1.0 - beta2) * g * g;
            let (m_hat, v_hat) = (m / (1.0 - beta1.powf(t)), v / (1.0 - beta2.powf(t)));
            let shrunk = if decoupled { w - rate * decay * w } else { w };
            (shrunk - rate * m_hat / (v_hat.sqrt() + f64::from(epsilon)), m, v)
        }
        Rule::Adagrad { epsilon } => {
            let g = plain + decay * w;
            let s = first + g * g;
            (w - rate * g / (s.sqrt() + f64::from(epsilon)), s, second)
        }
    }
}

#[test]
fn the_oracles_agree_with_what_is_known() {
    // Abramowitz and Stegun, table 26.1.
    for (x, want) in
        [(0.0, 0.5), (1.0, 0.841_344_746_068_543), (-2.0, 0.022_750_131_948_179), (3.0, 0.998_650_101_968_37)]
    {
        assert!((normal(x) - want).abs() < 1e-14, "{x}");
    }
    // Derivatives against differences.
    for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
        for i in -60..60 {
            let (x, h) = (f64::from(i) * 0.1 + 0.05, 1e-5);
            let want = (activated(activation, x + h) - activated(activation, x - h)) / (2.0 * h);
            assert!((slope(activation, x) - want).abs() < 1e-8, "{activation:?} at {x}");
        }
    }
    let (row, gain, up) = ([0.5f32, -1.25, 2.0, 0.75], [1.5f32, -0.5, 1.0, 2.0], [0.25f32, 1.0, -0.5, 2.0]);
    let loss = |row: &[f32]| -> f64 {
        layer_norm(row, &gain, &[0.0; 4]).iter().zip(&up).map(|(y, g)| y * f64::from(*g)).sum()
    };
    let (got, _) = layer_norm_backward(&row, &gain, &up);
    for c in 0..4 {
        let (mut above, mut below) = (row, row);
        (above[c], below[c]) = (row[c] + 1.0 / 1024.0, row[c] - 1.0 / 1024.0);
        assert!((got[c] - (loss(&above) - loss(&below)) * 512.0).abs() < 1e-4, "{c}");
    }
}
