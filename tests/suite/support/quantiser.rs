//! Quantisers in training as plain f64 loops: what both backends are compared with.

use sememe::rng;

/// One operation of WGSL is off by at most this share of its result: the direction of rounding is open.
pub const ROUNDING: f64 = 1.0 / (1u64 << 23) as f64;

/// Small integers in f32: their sums and products are exact in any order, and ties are frequent.
pub fn integers(name: &str, len: usize, low: i64, high: i64) -> Vec<f32> {
    let mut stream = rng::stream(23, name, len as u64);
    (0..len).map(|_| (low + stream.below((high - low + 1) as u64) as i64) as f32).collect()
}

/// Normal numbers.
pub fn normals(name: &str, len: usize, spread: f64) -> Vec<f32> {
    let mut stream = rng::stream(29, name, len as u64);
    (0..len).map(|_| (spread * stream.normal()) as f32).collect()
}

/// Labels below `bound`.
pub fn labels(name: &str, n: usize, bound: usize) -> Vec<u32> {
    let mut stream = rng::stream(31, name, n as u64);
    (0..n).map(|_| stream.below(bound as u64) as u32).collect()
}

/// Distinct rows of small integers.
pub fn distinct(name: &str, n: usize, e: usize) -> Vec<f32> {
    let mut stream = rng::stream(37, name, (n * 64 + e) as u64);
    let mut seen = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(n * e);
    while seen.len() < n {
        let row: Vec<i8> = (0..e).map(|_| stream.below(13) as i8 - 6).collect();
        if seen.insert(row.clone()) {
            out.extend(row.iter().map(|v| f32::from(*v)));
        }
    }
    out
}

/// `½‖c‖²` of every codeword.
pub fn half_norms(codebook: &[f32], e: usize) -> Vec<f64> {
    codebook.chunks_exact(e).map(|c| c.iter().map(|v| 0.5 * f64::from(*v) * f64::from(*v)).sum()).collect()
}

/// All dot products of rows with codewords.
pub fn dots(rows: &[f32], codebook: &[f32], e: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for row in rows.chunks_exact(e) {
        for codeword in codebook.chunks_exact(e) {
            out.push((0..e).map(|c| f64::from(row[c]) * f64::from(codeword[c])).sum());
        }
    }
    out
}

/// Sums of rows by label.
pub fn segment_sums(values: &[f32], labels: &[u32], e: usize, k: usize) -> Vec<f64> {
    let mut out = vec![0.0; k * e];
    for (i, label) in labels.iter().enumerate().filter(|(_, l)| (**l as usize) < k) {
        for c in 0..e {
            out[*label as usize * e + c] += f64::from(values[i * e + c]);
        }
    }
    out
}

/// How many rows have each label.
pub fn segment_counts(labels: &[u32], k: usize) -> Vec<f64> {
    (0..k).map(|j| labels.iter().filter(|l| **l as usize == j).count() as f64).collect()
}

/// State of the moving averages.
pub struct Averages {
    pub counts: Vec<f64>,
    pub means: Vec<f64>,
    pub codebook: Vec<f64>,
}

impl Averages {
    pub fn step(&mut self, decay: f64, epsilon: f64, batch: &[f32], sums: &[f32], e: usize) {
        let k = batch.len();
        for (count, b) in self.counts.iter_mut().zip(batch) {
            *count = decay * *count + (1.0 - decay) * f64::from(*b);
        }
        let all: f64 = self.counts[..k].iter().sum();
        self.counts[k] = all;
        for (c, sum) in sums.iter().enumerate() {
            let count = self.counts[c / e];
            self.means[c] = decay * self.means[c] + (1.0 - decay) * f64::from(*sum);
            if count != 0.0 {
                self.codebook[c] = self.means[c] / ((count + epsilon) / (all + k as f64 * epsilon) * all);
            }
        }
    }
}

/// The gradient of one row through the rotation, and `‖r̂ + q̂‖`. The rotation is written by its plane and angle:
/// `R = I + sin θ (b aᵀ − a bᵀ) + (cos θ − 1)(a aᵀ + b bᵀ)`, a along the residual and b across it, towards q.
pub fn rotated(residual: &[f32], next: &[f32], upstream: &[f32]) -> (Vec<f64>, f64) {
    let e = residual.len();
    let r: Vec<f64> = residual.iter().map(|v| f64::from(*v)).collect();
    let q: Vec<f64> = (0..e).map(|c| f64::from(residual[c]) - f64::from(next[c])).collect();
    let g: Vec<f64> = upstream.iter().map(|v| f64::from(*v)).collect();
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let (long, short) = (dot(&r, &r).sqrt(), dot(&q, &q).sqrt());
    if long == 0.0 || short == 0.0 {
        return (g, 2.0);
    }
    let a: Vec<f64> = r.iter().map(|v| v / long).collect();
    let cosine = dot(&a, &q) / short;
    let across: Vec<f64> = (0..e).map(|c| q[c] / short - cosine * a[c]).collect();
    let sine = dot(&across, &across).sqrt();
    let bisector = (2.0 + 2.0 * cosine).max(0.0).sqrt();
    if bisector < 1e-3 {
        return (g, 2.0);
    }
    let b: Vec<f64> = across.iter().map(|v| if sine > 1e-12 { v / sine } else { 0.0 }).collect();
    // The transpose turns back: the sign of the sine changes.
    let (ga, gb) = (dot(&a, &g), dot(&b, &g));
    let back = |c: usize| g[c] - sine * (b[c] * ga - a[c] * gb) + (cosine - 1.0) * (a[c] * ga + b[c] * gb);
    ((0..e).map(|c| short / long * back(c)).collect(), bisector)
}

/// Softmax of a row in f64, leaving out what `skip` says, and the log of the sum of exponentials.
pub fn softmax(row: &[f64], skip: Option<usize>) -> (Vec<f64>, f64) {
    let kept = |j: usize| skip != Some(j);
    let top = (0..row.len()).filter(|j| kept(*j)).map(|j| row[j]).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = (0..row.len()).filter(|j| kept(*j)).map(|j| (row[j] - top).exp()).sum();
    let share = |j: usize| if kept(j) { (row[j] - top).exp() / sum } else { 0.0 };
    ((0..row.len()).map(share).collect(), top + sum.ln())
}

/// What a Sinkhorn assignment is, and how far f32 may be from it.
pub struct Balanced {
    /// Exponents a.
    pub exponents: Vec<f64>,
    /// v.
    pub potentials: Vec<f64>,
    /// The gap between the best and the second `a + v` of every row; infinite for one codeword.
    pub margins: Vec<f64>,
    pub labels: Vec<u32>,
    /// Most that a computed v may be off.
    ///
    /// A half step `x ↦ −log Σ exp(a + x)` moves no value by more than x or a moved at most, so errors add up over the
    /// 2·T half steps and never grow. One half step adds, with t = a + x − max and u the rounding of one operation: that of a
    /// (three additions and two divisions of 2.5 ulp: 8·|a|·u); those of `a + x`, of `max + log`, and of log(n/k) less that
    /// (3·R·u, R the largest maximum, |u| or |v|); of every exponential 3 + 2|t| ulp, and |t|·u twice more from t itself, which
    /// weighted by e^t is 3 + 4·ln(terms) at most; the merging of partial sums, at most 5 roundings each (an exponential, a
    /// product, a sum; its |t| is in that of the term), through terms/16 + 16 of them, as both backends keep 16 sums or more a
    /// row and add up columns by blocks; log's 3 ulp, or 2⁻²¹ near 1.
    pub bound: f64,
}

/// `exponent` maps (d, smallest d, largest d) to a.
pub fn sinkhorn(
    rows: &[f32],
    codebook: &[f32],
    e: usize,
    iterations: usize,
    exponent: impl Fn(f64, f64, f64) -> f64,
) -> Balanced {
    let (n, k) = (rows.len() / e, codebook.len() / e);
    let mut d = Vec::with_capacity(n * k);
    for row in rows.chunks_exact(e) {
        for codeword in codebook.chunks_exact(e) {
            d.push((0..e).map(|c| (f64::from(row[c]) - f64::from(codeword[c])).powi(2)).sum::<f64>());
        }
    }
    let (low, high) = d.iter().fold((f64::INFINITY, 0.0f64), |m, v| (m.0.min(*v), m.1.max(*v)));
    let a: Vec<f64> = d.iter().map(|d| exponent(*d, low, high)).collect();
    let mut reach = 0.0f64;
    let mut log_sum = |terms: &[f64]| {
        let top = terms.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        reach = reach.max(top.abs());
        top + terms.iter().map(|t| (t - top).exp()).sum::<f64>().ln()
    };
    let (mut u, mut v) = (vec![0.0; n], vec![0.0; k]);
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let mut potential = 0.0f64;
    for _ in 0..iterations {
        for i in 0..n {
            let terms: Vec<f64> = (0..k).map(|j| a[i * k + j] + v[j]).collect();
            u[i] = -log_sum(&terms);
        }
        for (j, v) in v.iter_mut().enumerate() {
            let terms: Vec<f64> = (0..n).map(|i| a[i * k + j] + u[i]).collect();
            *v = (n as f64 / k as f64).ln() - log_sum(&terms);
        }
        potential = potential.max(largest(&u)).max(largest(&v));
    }
    let (mut labels, mut margins) = (Vec::new(), Vec::new());
    for i in 0..n {
        let (mut best, mut second, mut label) = (f64::NEG_INFINITY, f64::NEG_INFINITY, 0);
        for j in 0..k {
            let score = a[i * k + j] + v[j];
            if score > best {
                (second, best, label) = (best, score, j as u32);
            } else if score > second {
                second = score;
            }
        }
        labels.push(label);
        margins.push(best - second);
    }
    let (terms, reach) = (n.max(k) as f64, reach.max(potential));
    let merged = 5.0 * (terms / 16.0 + 16.0);
    let half_step = (8.0 * largest(&a) + 3.0 * reach + 3.0 + 4.0 * terms.ln() + merged + 4.0) * ROUNDING;
    let bound = 2.0 * iterations as f64 * half_step + (8.0 * largest(&a) + reach) * ROUNDING;
    Balanced { exponents: a, potentials: v, margins, labels, bound }
}

/// LC-Rec's assignment, line by line: labels, and log of the best over the second of every row.
pub fn lc_rec(d: &[f64], n: usize, k: usize, epsilon: f64, iterations: usize) -> (Vec<u32>, Vec<f64>) {
    let high = d.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
    let low = d.iter().fold(f64::INFINITY, |m, v| m.min(*v));
    let middle = (high + low) / 2.0;
    let amplitude = high - middle + 1e-5;
    assert!(amplitude > 0.0);
    let mut q: Vec<f64> = d.iter().map(|d| (-((d - middle) / amplitude) / epsilon).exp()).collect();
    let all: f64 = q.iter().sum();
    q.iter_mut().for_each(|q| *q /= all);
    for _ in 0..iterations {
        for row in q.chunks_exact_mut(k) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|q| *q = *q / sum / n as f64);
        }
        for j in 0..k {
            let sum: f64 = (0..n).map(|i| q[i * k + j]).sum();
            (0..n).for_each(|i| q[i * k + j] = q[i * k + j] / sum / k as f64);
        }
    }
    q.iter_mut().for_each(|q| *q *= n as f64);
    assert!(q.iter().all(|q| q.is_finite()));
    let mut labels = Vec::new();
    let mut margins = Vec::new();
    for row in q.chunks_exact(k) {
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|x, y| row[*y].total_cmp(&row[*x]).then(x.cmp(y)));
        labels.push(order[0] as u32);
        margins.push(row[order[0]].ln() - row[order[1]].ln());
    }
    (labels, margins)
}
