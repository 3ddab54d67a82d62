//! Kernels of quantisers in training against plain f64 loops, written once over `TensorBackend`.
//!
//! Where small integers make the arithmetic exact, results are compared exactly; elsewhere the tolerance follows from what
//! WGSL promises: u = 2⁻²³ an operation, 2.5 ulp a division, 3 + 2|x| ulp for exp, 3 ulp or 2⁻²¹ for log.

use crate::support::quantiser::{
    Averages, Balanced, ROUNDING, distinct, dots, half_norms, integers, labels, lc_rec, normals, rotated,
    segment_counts, segment_sums, sinkhorn, softmax,
};
use crate::support::{assert_close, assert_informative, cases, differs, is_close, wide};
use sememe::compute::tensor::{Exponent, TensorBackend, from, whole};

/// What outputs hold before a kernel runs, and behind its last value afterwards.
const POISON: u32 = 0x7fc0_dead;
/// Values behind an output.
const GUARD: usize = 5;

fn tensor<B: TensorBackend>(backend: &B, values: &[f32]) -> B::Tensor {
    let mut tensor = backend.zeros("test", values.len()).expect("zeros");
    backend.write_tensor(&mut tensor, 0, values).expect("write");
    tensor
}

fn index<B: TensorBackend>(backend: &B, words: &[u32]) -> B::Index {
    let mut index = backend.index("test", words.len()).expect("index");
    backend.write_index(&mut index, 0, words).expect("write");
    index
}

/// Room for `values` at `at`, with NaN all around; NaN too instead of values where there are none to start from.
fn output<B: TensorBackend>(backend: &B, at: usize, len: usize, values: Option<&[f32]>) -> B::Tensor {
    let mut all = vec![f32::from_bits(POISON); at + len + GUARD];
    if let Some(values) = values {
        all[at..at + len].copy_from_slice(values);
    }
    tensor(backend, &all)
}

/// The values of an output, once it is known that those around it are untouched.
fn taken<B: TensorBackend>(backend: &B, out: &B::Tensor, at: usize, len: usize) -> Vec<f32> {
    let mut all = vec![0.0; backend.tensor_len(out)];
    backend.read_tensor(out, 0, &mut all).expect("read");
    for (i, v) in all.iter().enumerate().filter(|(i, _)| *i < at || *i >= at + len) {
        assert_eq!(v.to_bits(), POISON, "value {i} beside {at}..{} was written", at + len);
    }
    all[at..at + len].to_vec()
}

fn label_output<B: TensorBackend>(backend: &B, n: usize) -> B::Index {
    index(backend, &vec![POISON; n + GUARD])
}

fn taken_labels<B: TensorBackend>(backend: &B, out: &B::Index, n: usize) -> Vec<u32> {
    let mut all = vec![0; n + GUARD];
    backend.read_index(out, 0, &mut all).expect("read");
    assert_eq!(all[n..], [POISON; GUARD], "labels past the last row were written");
    all[..n].to_vec()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

fn case_half_norms<B: TensorBackend>(backend: &B) {
    for (k, e, at) in [(0, 3, 0), (1, 1, 3), (7, 31, 1), (8, 32, 64), (9, 33, 67), (70, 100, 5), (300, 3, 0)] {
        let mut values = integers("half norms", at + k * e, -9, 9);
        let run = |values: &[f32]| {
            let mut out = output(backend, 0, k, None);
            backend.half_norms((k, e), from(&tensor(backend, values), at), &mut out).expect("half norms");
            wide(&taken(backend, &out, 0, k))
        };
        assert_informative(&values);
        assert_eq!(run(&values), half_norms(&values[at..], e), "k = {k}, e = {e}");
        if k > 1 {
            let want = half_norms(&values[at..], e);
            values[at + k * e - 1] += 1.0;
            assert_ne!(run(&values), want, "a changed codeword went unnoticed");
            values[at] = f32::NAN;
            let got = run(&values);
            assert!(got[0].is_nan() && got[1..].iter().all(|v| v.is_finite()));
            // A term passes through its own product, at most e additions and the halving.
            let real = normals("half norms", at + k * e, 3.0);
            let want = half_norms(&real[at..], e);
            assert_close("half norms", &run(&real), &want, 0.0, (e as f64 + 2.0) * ROUNDING);
        }
    }
}

fn best(scores: impl Iterator<Item = f64>) -> u32 {
    let mut found = (f64::INFINITY, 0);
    for (j, score) in scores.enumerate() {
        if score < found.0 {
            found = (score, j as u32);
        }
    }
    found.1
}

fn case_nearest<B: TensorBackend>(backend: &B) {
    let shapes = [(0, 3), (1, 1), (7, 31), (8, 32), (9, 33), (33, 255), (5, 257), (3, 1023), (4, 1024), (6, 1300)];
    for (n, k) in shapes {
        // Few distinct values, so that nearly every row has ties.
        let mut dots = integers("nearest", n * k, -2, 2);
        let mut bias = integers("nearest bias", k, 0, 1);
        let want = |dots: &[f32], bias: &[f32]| -> Vec<u32> {
            dots.chunks_exact(k).map(|row| best((0..k).map(|j| f64::from(bias[j]) - f64::from(row[j])))).collect()
        };
        let run = |dots: &[f32], bias: &[f32]| {
            let mut out = label_output(backend, n);
            backend.nearest((n, k), &tensor(backend, dots), &tensor(backend, bias), &mut out).expect("nearest");
            taken_labels(backend, &out, n)
        };
        let found = want(&dots, &bias);
        assert_eq!(run(&dots, &bias), found, "n = {n}, k = {k}");
        if k > 30 && n > 2 {
            let tied = dots.chunks_exact(k).zip(&found).filter(|(row, label)| {
                let least = bias[**label as usize] - row[**label as usize];
                (0..k).filter(|j| bias[*j] - row[*j] == least).count() > 1
            });
            assert!(2 * tied.count() > n, "too few ties");
            bias[found[0] as usize] += 9.0;
            let moved = run(&dots, &bias);
            assert_ne!(moved, found, "a changed half norm went unnoticed");
            assert_eq!(moved, want(&dots, &bias));
            // The last codeword of all, and nothing but NaN.
            dots[k - 1] = 99.0;
            dots[k..2 * k].fill(f32::NAN);
            dots[2 * k..3 * k].fill(-f32::MAX);
            bias.fill(0.0);
            let got = run(&dots, &bias);
            assert_eq!(got[..3], [k as u32 - 1, 0, 0]);
            assert_eq!(got[3..], want(&dots, &bias)[3..]);
        }
    }
}

fn case_nearest_other<B: TensorBackend>(backend: &B) {
    for n in [1, 2, 3, 31, 32, 33, 70, 1025] {
        let (mut dots, bias) = (integers("others", n * n, -3, 3), integers("others bias", n, 0, 2));
        // Every other row would be its own nearest.
        (0..n).step_by(2).for_each(|i| dots[i * n + i] = 9.0);
        let mut out = label_output(backend, n);
        backend.nearest_other(n, &tensor(backend, &dots), &tensor(backend, &bias), &mut out).expect("nearest other");
        let score = |i: usize, j: usize| f64::from(bias[j]) - f64::from(dots[i * n + j]);
        let want: Vec<u32> =
            (0..n).map(|i| best((0..n).map(|j| if j == i { f64::INFINITY } else { score(i, j) }))).collect();
        assert_eq!(taken_labels(backend, &out, n), want, "n = {n}");
    }
}

fn case_repel<B: TensorBackend>(backend: &B) {
    for (n, e) in [(0, 3), (1, 4), (7, 31), (8, 32), (9, 33), (40, 100)] {
        let z = normals("repel", n * e, 1.0);
        let mut neighbours = labels("repel", n, n.max(1));
        if n > 8 {
            neighbours[3] = 3;
            neighbours[5] = n as u32 + 7;
        }
        let run = |scale: f32| {
            let (mut pull, mut logs) = (output(backend, 0, n * e, None), output(backend, 0, n, None));
            let (z, neighbours) = (tensor(backend, &z), index(backend, &neighbours));
            backend.repel((n, e), scale, 1e-4, &z, &neighbours, &mut pull, &mut logs).expect("repel");
            (wide(&taken(backend, &pull, 0, n * e)), wide(&taken(backend, &logs, 0, n)))
        };
        let (pull, logs) = run(0.75);
        let row = |i: usize| &z[i * e..(i + 1) * e];
        let (mut want, mut want_logs) = (Vec::new(), Vec::new());
        for (i, j) in neighbours.iter().map(|j| *j as usize).enumerate() {
            if j == i || j >= n {
                want.extend(vec![0.0; e]);
                want_logs.push(0.0);
                continue;
            }
            let difference: Vec<f64> = row(i).iter().zip(row(j)).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
            let d = difference.iter().map(|v| v * v).sum::<f64>() + 1e-4;
            want.extend(difference.iter().map(|v| 0.75 * v / d));
            want_logs.push(d.ln());
        }
        // Roundings of e additions and squares, a division of 2.5 ulp, and the logarithm's 2⁻²¹.
        let bound = (e as f64 + 8.0) * ROUNDING;
        assert_close("pull", &pull, &want, 2.0 * ROUNDING, 4.0 * bound);
        assert_close("logs", &logs, &want_logs, 4.0 * bound + 2f64.powi(-20), 4.0 * ROUNDING);
        assert!(n < 8 || differs(&run(0.5).0, &want, 1e-3, bound), "another scale went unnoticed");
    }
}

fn case_quantize<B: TensorBackend>(backend: &B) {
    for (n, e, k, at) in [(0, 4, 3, 0), (1, 1, 1, 1), (5, 51, 7, 3), (64, 4, 9, 66), (86, 3, 2, 0), (300, 33, 40, 7)] {
        // Labels of k and k + 1 take nothing.
        let labels = labels("quantize", n, k + 2);
        let (rows, sums) = (integers("quantize rows", n * e, -50, 50), integers("quantize sums", n * e, -50, 50));
        let codebook = integers("quantize words", at + k * e, -50, 50);
        assert_informative(&rows);
        let run = |first: bool, at: usize| {
            let mut next = output(backend, 0, n * e, None);
            let mut sum = output(backend, 0, n * e, (!first).then_some(&sums));
            let (residual, words) = (tensor(backend, &rows), tensor(backend, &codebook));
            let taken_from = (&residual, from(&words, at), &index(backend, &labels));
            backend
                .quantize((n, e, k), first, taken_from.0, taken_from.1, taken_from.2, &mut next, &mut sum)
                .expect("quantize");
            (taken(backend, &next, 0, n * e), taken(backend, &sum, 0, n * e))
        };
        for first in [true, false] {
            let (next, sum) = run(first, at);
            for i in 0..n * e {
                let label = labels[i / e] as usize;
                let word = if label < k { codebook[at + label * e + i % e] } else { 0.0 };
                assert_eq!(next[i], rows[i] - word, "n = {n}, e = {e}, value {i}");
                assert_eq!(sum[i], if first { word } else { sums[i] + word }, "n = {n}, e = {e}, value {i}");
            }
            assert!(n < 5 || at < 1 || run(first, at - 1) != (next, sum), "another offset went unnoticed");
        }
    }
}

fn case_segment<B: TensorBackend>(backend: &B) {
    let shapes = [
        (0, 3, 2, 1),
        (1, 1, 1, 0),
        (255, 15, 255, 3),
        (256, 16, 256, 0),
        (257, 17, 257, 5),
        (1023, 32, 7, 64),
        (1024, 33, 4, 0),
        (1025, 64, 5, 66),
        (2100, 65, 17, 1),
        (600, 130, 3, 2),
    ];
    for (n, e, k, at) in shapes {
        let (values, old) = (integers("segment", n * e, -20, 20), integers("segment old", k * e, -20, 20));
        let labels = labels("segment", n, k + 2);
        assert_informative(&values);
        let sums = segment_sums(&values, &labels, e, k);
        let run = |values: &[f32], labels: &[u32], alpha: f32, old: Option<&[f32]>| {
            let mut out = output(backend, at, k * e, old);
            let (values, labels) = (tensor(backend, values), index(backend, labels));
            let accumulate = old.is_some();
            backend.segment_sum((n, e, k), alpha, accumulate, &values, &labels, &mut out, at).expect("sums");
            taken(backend, &out, at, k * e)
        };
        assert_eq!(wide(&run(&values, &labels, 1.0, None)), sums, "n = {n}, e = {e}, k = {k}");
        let scaled: Vec<f64> = sums.iter().zip(&old).map(|(s, o)| -0.5 * s + f64::from(*o)).collect();
        assert_eq!(wide(&run(&values, &labels, -0.5, Some(&old))), scaled, "n = {n}, e = {e}, k = {k}");
        let counts = segment_counts(&labels, k);
        for first in [0.0, 7.0] {
            let start = vec![first as f32; k];
            let mut out = output(backend, 0, k, (first > 0.0).then_some(&start));
            backend.segment_count((n, k), first > 0.0, &index(backend, &labels), &mut out).expect("counts");
            let want: Vec<f64> = counts.iter().map(|c| c + first).collect();
            assert_eq!(wide(&taken(backend, &out, 0, k)), want, "n = {n}, k = {k}");
        }
        if n > 200 {
            let mut moved = labels.clone();
            moved[n - 1] = (moved[n - 1] + 1) % k as u32;
            assert_ne!(wide(&run(&values, &moved, 1.0, None)), sums, "a changed label went unnoticed");
            // In row order every sum is off by at most its count of roundings, each of a partial sum.
            let real = normals("segment", n * e, 2.0);
            let (got, want) = (wide(&run(&real, &labels, 1.0, None)), segment_sums(&real, &labels, e, k));
            let sizes: Vec<f32> = real.iter().map(|v| v.abs()).collect();
            let reach = segment_sums(&sizes, &labels, e, k);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let atol = (counts[i / e] + 1.0) * ROUNDING * reach[i];
                assert!(is_close(*got, *want, atol, 0.0), "sum {i}: got {got}, want {want}");
            }
            let mut spoiled = values.clone();
            let row = labels.iter().position(|l| (*l as usize) < k).expect("a row counts");
            spoiled[row * e] = f32::NAN;
            let got = run(&spoiled, &labels, 1.0, None);
            let place = labels[row] as usize * e;
            assert!(got.iter().enumerate().all(|(i, v)| v.is_nan() == (i == place)));
        }
    }
}

/// One label of so many rows that a loop over them row by row would be left by some drivers.
fn case_segment_of_many_rows<B: TensorBackend>(backend: &B) {
    let n = 66_000;
    let (values, labels) = (vec![1.0; n], vec![1; n]);
    let (values, labels) = (tensor(backend, &values), index(backend, &labels));
    let mut out = output(backend, 0, 3, None);
    backend.segment_sum((n, 1, 3), 1.0, false, &values, &labels, &mut out, 0).expect("sums");
    assert_eq!(taken(backend, &out, 0, 3), [0.0, n as f32, 0.0]);
    let mut out = output(backend, 0, 3, None);
    backend.segment_count((n, 3), false, &labels, &mut out).expect("counts");
    assert_eq!(taken(backend, &out, 0, 3), [0.0, n as f32, 0.0]);
}

fn case_ema<B: TensorBackend>(backend: &B) {
    for (k, e, at) in [(1, 1, 0), (3, 5, 1), (255, 2, 3), (256, 1, 64), (257, 33, 70), (1100, 3, 2)] {
        let codebook = normals("ema words", k * e, 1.0);
        let run = |decay: f32, epsilon: f32, spoil: bool| {
            let mut counts = output(backend, 0, k + 1, Some(&vec![0.0; k + 1]));
            let mut means = output(backend, 0, k * e, Some(&vec![0.0; k * e]));
            let mut words = output(backend, at, k * e, Some(&codebook));
            let mut want = Averages { counts: vec![0.0; k + 1], means: vec![0.0; k * e], codebook: wide(&codebook) };
            for step in 0..3 {
                // Some codewords get rows only later, some never.
                let mut batch = integers(&format!("ema {step}"), k, 0, 9);
                batch.iter_mut().enumerate().filter(|(j, _)| j % 4 > step).for_each(|(_, v)| *v = 0.0);
                let mut sums = normals(&format!("ema {step}"), k * e, 4.0);
                for (j, count) in batch.iter().enumerate() {
                    sums[j * e..(j + 1) * e].iter_mut().for_each(|s| *s *= count);
                }
                if spoil {
                    batch[0] = f32::NAN;
                }
                let (b, s) = (tensor(backend, &batch), tensor(backend, &sums));
                backend.ema((k, e), decay, epsilon, &b, &s, &mut counts, &mut means, &mut words, at).expect("ema");
                want.step(f64::from(decay), f64::from(epsilon), &batch, &sums, e);
            }
            let counts = wide(&taken(backend, &counts, 0, k + 1));
            (counts, wide(&taken(backend, &means, 0, k * e)), wide(&taken(backend, &words, at, k * e)), want)
        };
        let (counts, means, words, want) = run(0.9, 1e-2, false);
        // Three steps of three roundings; the sum of all at worst k more. Means may cancel: their terms are below 9·20.
        let rtol = (12.0 + k as f64) * ROUNDING;
        assert_close("N", &counts, &want.counts, 0.0, rtol);
        let atol = 12.0 * 180.0 * ROUNDING;
        assert_close("M", &means, &want.means, atol, 0.0);
        for j in 0..k {
            let size = want.counts[j];
            for c in j * e..(j + 1) * e {
                if size == 0.0 {
                    assert_eq!(words[c], f64::from(codebook[c]), "codeword {j} had no rows");
                } else {
                    let atol = 2.0 * atol / size;
                    assert!(is_close(words[c], want.codebook[c], atol, 3.0 * rtol), "codeword {j} value {c}");
                }
            }
        }
        if k > 4 {
            assert!(want.counts[..k].contains(&0.0) && want.counts[..k].iter().any(|n| *n > 1.0), "uninformative");
            assert!(differs(&run(0.91, 1e-2, false).2, &want.codebook, 1e-4, 1e-4), "another decay went unnoticed");
            let (counts, _, words, _) = run(0.9, 1e-2, true);
            assert!(counts[0].is_nan() && counts[k].is_nan(), "NaN was lost");
            assert!(words[..e].iter().all(|v| v.is_nan()), "NaN was lost");
        }
    }
}

fn case_rotation<B: TensorBackend>(backend: &B) {
    for (n, e) in [(0, 4), (1, 1), (7, 31), (8, 32), (9, 33), (40, 3), (21, 130)] {
        let mut residual = normals("rotation residual", n * e, 1.0);
        // What is left over is a good part of the residual, so that q points elsewhere, but not the other way.
        let mut next: Vec<f32> = normals("rotation next", n * e, 0.6);
        // A gradient across the plane of a rotation is not turned, so this one has a part along the residual.
        let mut upstream = normals("rotation upstream", n * e, 1.0);
        upstream.iter_mut().zip(&residual).for_each(|(g, r)| *g += r);
        if n > 6 {
            residual[e..2 * e].fill(0.0);
            next[2 * e..3 * e].copy_from_slice(&residual[2 * e..3 * e]);
            for c in 3 * e..4 * e {
                next[c] = 2.0 * residual[c];
            }
        }
        let run = |residual: &[f32], next: &[f32]| {
            let mut out = output(backend, 0, n * e, None);
            let inputs = [residual, next, &upstream].map(|v| tensor(backend, v));
            backend.rotate_backward((n, e), &inputs[0], &inputs[1], &inputs[2], &mut out).expect("rotate");
            taken(backend, &out, 0, n * e)
        };
        let got = run(&residual, &next);
        let (mut turned, mut rotated_rows) = (0, 0);
        for i in 0..n {
            let at = i * e..(i + 1) * e;
            let g = &upstream[at.clone()];
            if (1..4).contains(&i) && n > 6 {
                assert_eq!(got[at], *g, "row {i} passes unchanged");
                continue;
            }
            let (want, bisector) = rotated(&residual[at.clone()], &next[at.clone()], g);
            let length = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
            let (size, scale) = (length(&wide(g)), length(&want) / length(&wide(g)));
            // Norms and products of e terms; what is said of the bisector is off by its own shortness more.
            let atol = (2.0 * e as f64 + 40.0) * ROUNDING * scale * size / bisector.powi(2).min(1.0);
            assert_close("rotated", &wide(&got[at]), &want, atol, 0.0);
            let change: Vec<f64> = want.iter().zip(g).map(|(w, g)| w - f64::from(*g)).collect();
            turned += usize::from(length(&change) > 0.2 * size);
            rotated_rows += 1;
        }
        assert!(n < 2 || 2 * turned > rotated_rows, "{turned} of {rotated_rows} rows were turned at all");
        if n > 6 {
            let mut moved = next.clone();
            moved[5 * e] += 0.1;
            assert!(differs(&wide(&run(&residual, &moved)), &wide(&got), 1e-4, 0.0), "another rest went unnoticed");
            residual[4 * e] = f32::NAN;
            let spoiled = run(&residual, &next);
            for i in 0..n {
                let row = &spoiled[i * e..(i + 1) * e];
                assert!(row.iter().all(|v| v.is_nan() == (i == 4)), "row {i} of a batch whose row 4 is not finite");
            }
        }
    }
}

/// How far a share of a softmax may be off, as a part of it: its exponents, off by `off` each; exp of a difference of at most
/// 87, as smaller shares are 0; a sum of `terms`, merged as
/// [`Balanced::bound`] says; the division.
fn share_error(off: f64, t: f64, terms: usize) -> f64 {
    let merged = 5.0 * (terms as f64 / 16.0 + 16.0);
    2.0 * off + (3.0 + 3.0 * t.abs() + 3.0 + 4.0 * (terms as f64).ln() + merged + 4.0) * ROUNDING
}

fn case_gumbel<B: TensorBackend>(backend: &B) {
    for (n, k, temperature) in
        [(0, 3, 1.0), (1, 1, 1.0), (3, 255, 0.7), (2, 256, 2.0), (5, 257, 0.01), (4, 1000, 0.5), (6, 2, 1e-4)]
    {
        let (dots, noise) = (normals("gumbel", n * k, 1.5), normals("gumbel noise", n * k, 1.0));
        let half_norms: Vec<f32> = normals("gumbel words", k, 1.0).iter().map(|v| v.abs()).collect();
        assert_informative(&dots);
        let run = |dots: &[f32], temperature: f32| {
            let mut out = output(backend, 0, n * k, Some(dots));
            let (bias, noise) = (tensor(backend, &half_norms), tensor(backend, &noise));
            backend.gumbel_softmax((n, k), temperature, &bias, &noise, &mut out).expect("gumbel");
            taken(backend, &out, 0, n * k)
        };
        let got = run(&dots, temperature);
        for i in 0..n {
            let logits: Vec<f64> = (0..k)
                .map(|j| {
                    let score = 2.0 * (f64::from(dots[i * k + j]) - f64::from(half_norms[j]));
                    (score + f64::from(noise[i * k + j])) / f64::from(temperature)
                })
                .collect();
            let (want, _) = softmax(&logits, None);
            let top = logits.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
            // Three roundings of terms below 12, and a division.
            let off = (3.0 * 12.0 / f64::from(temperature)) * 2.5 * ROUNDING;
            for j in 0..k {
                let rtol = share_error(off, (top - logits[j]).min(87.0), k);
                assert!(is_close(f64::from(got[i * k + j]), want[j], 3e-38, rtol), "n = {n}, k = {k}: {i}, {j}");
            }
            let sum: f64 = got[i * k..(i + 1) * k].iter().map(|v| f64::from(*v)).sum();
            assert!(is_close(sum, 1.0, share_error(0.0, 0.0, k), 0.0), "shares sum up to {sum}");
        }
        if n > 2 && temperature > 0.1 {
            assert!(differs(&wide(&run(&dots, temperature * 1.1)), &wide(&got), 1e-6, 1e-3), "another temperature");
            let mut spoiled = dots.clone();
            spoiled[k + 1] = f32::NAN;
            let spoiled = run(&spoiled, temperature);
            assert!(spoiled[k..2 * k].iter().all(|v| v.is_nan()), "NaN was lost");
            assert_eq!(spoiled[2 * k..], got[2 * k..], "NaN spread");
        }
    }
}

fn case_softmax_backward<B: TensorBackend>(backend: &B) {
    for (n, k) in [(0, 3), (1, 1), (3, 255), (4, 256), (2, 257), (5, 700)] {
        // Shares in 64ths and small integers: exact.
        let (shares, grads) = (integers("backward", n * k, 0, 9), integers("backward up", n * k, -9, 9));
        let shares: Vec<f32> = shares.iter().map(|p| p / 64.0).collect();
        assert_informative(&grads);
        let run = |scale: f32| {
            let mut out = output(backend, 0, n * k, Some(&grads));
            backend.softmax_backward((n, k), scale, &tensor(backend, &shares), &mut out).expect("backward");
            taken(backend, &out, 0, n * k)
        };
        let got = run(0.5);
        for i in 0..n {
            let row = i * k..(i + 1) * k;
            let mean: f64 = row.clone().map(|x| f64::from(shares[x]) * f64::from(grads[x])).sum();
            for x in row {
                let want = 0.5 * f64::from(shares[x]) * (f64::from(grads[x]) - mean);
                // Exact up to here; the last product has more than 24 bits for long rows.
                assert!(is_close(f64::from(got[x]), want, 0.0, 2.0 * ROUNDING), "n = {n}, k = {k}, value {x}");
            }
        }
        assert!(n < 2 || run(0.25) != got, "another scale went unnoticed");
    }
}

fn case_contrast<B: TensorBackend>(backend: &B) {
    for (n, k, diagonal, weighted) in [
        (0, 3, false, false),
        (1, 1, false, false),
        (1, 2, true, true),
        (5, 255, true, false),
        (7, 256, false, true),
        (260, 257, true, true),
        (6, 600, true, true),
    ] {
        let mut logits = normals("contrast", n * k, 3.0);
        // Far from what exp could take, on either side.
        logits.iter_mut().skip(2 * k).take(k).for_each(|v| *v += 1000.0);
        logits.iter_mut().skip(3 * k).take(k).for_each(|v| *v -= 1000.0);
        let mut targets = labels("contrast", n, k);
        if n > 4 {
            targets[4] = k as u32;
            targets[1] = 1;
        }
        let weights = normals("contrast weights", n, 1.0);
        let run = |logits: &[f32], scale: f32| {
            let (mut x, mut loss) = (output(backend, 0, n * k, Some(logits)), output(backend, 0, n, None));
            let w = weighted.then(|| tensor(backend, &weights));
            let t = index(backend, &targets);
            backend.contrast((n, k), scale, diagonal, &t, w.as_ref(), &mut x, &mut loss).expect("contrast");
            (taken(backend, &x, 0, n * k), taken(backend, &loss, 0, n))
        };
        let (got, loss) = run(&logits, 0.25);
        for i in 0..n {
            let row = wide(&logits[i * k..(i + 1) * k]);
            let (shares, log_sum) = softmax(&row, (diagonal && i < k).then_some(i));
            let weight = if weighted { f64::from(weights[i]) } else { 1.0 };
            let target = targets[i] as usize;
            let wanted = row.get(target).copied().unwrap_or(0.0);
            let top = row.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            // The sum of exponentials, log's 2⁻²¹, and roundings of the size of the logits.
            let atol =
                weight.abs() * (share_error(0.0, 0.0, k) + 4.0 * ROUNDING + 4.0 * ROUNDING * (top + wanted.abs()));
            let want = weight * (log_sum - wanted);
            assert!(is_close(f64::from(loss[i]), want, atol, 2.0 * ROUNDING), "row {i}: {} for {want}", loss[i]);
            let largest = row.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
            for j in 0..k {
                let want = 0.25 * weight * (shares[j] - f64::from(u8::from(j == target)));
                let error = share_error(top * ROUNDING, (largest - row[j]).min(87.0), k) * shares[j] + 4.0 * ROUNDING;
                let value = f64::from(got[i * k + j]);
                assert!(is_close(value, want, 0.25 * weight.abs() * error, 0.0), "row {i}, {j}: {value} for {want}");
            }
        }
        if n > 4 {
            assert!(differs(&wide(&run(&logits, 0.3).0), &wide(&got), 1e-7, 1e-3), "another scale went unnoticed");
            let mut spoiled = logits.clone();
            spoiled[k + 2] = f32::NAN;
            let (x, losses) = run(&spoiled, 0.25);
            assert!(losses[1].is_nan() && x[k + 3..2 * k].iter().all(|v| v.is_nan()), "NaN was lost");
            assert_eq!((losses[2], &x[2 * k..]), (loss[2], &got[2 * k..]), "NaN spread");
        }
    }
}

struct Assigned {
    labels: Vec<u32>,
    potentials: Vec<f64>,
}

fn assign<B: TensorBackend>(
    backend: &B,
    rows: &[f32],
    words: &[f32],
    e: usize,
    exponent: Exponent,
    iterations: usize,
) -> Assigned {
    let (n, k) = (rows.len() / e, words.len() / e);
    let mut products = tensor(backend, &narrow(&dots(rows, words, e)));
    let bias = tensor(backend, &narrow(&half_norms(words, e)));
    let (mut v, mut labels) = (output(backend, 0, k, None), label_output(backend, n));
    backend
        .sinkhorn((n, e, k), exponent, iterations, &tensor(backend, rows), &bias, &mut products, &mut v, &mut labels)
        .expect("sinkhorn");
    Assigned { labels: taken_labels(backend, &labels, n), potentials: wide(&taken(backend, &v, 0, k)) }
}

fn batch_range(epsilon: f32) -> impl Fn(f64, f64, f64) -> f64 {
    move |d, low, high| {
        let middle = 0.5 * (low + high);
        -((d - middle) / (high - middle + 1e-5)) / f64::from(epsilon)
    }
}

/// Holds an assignment to the f64 form: potentials within the bound, labels exactly wherever margins exceed what the bound
/// allows, which they do for at least `share` of the rows.
fn check_balanced(what: &str, got: &Assigned, want: &Balanced, share: f64) {
    assert_close(what, &got.potentials, &want.potentials, want.bound, 0.0);
    let mut sure = 0;
    for (i, label) in got.labels.iter().enumerate() {
        assert!((*label as usize) < want.potentials.len(), "{what}: row {i} has label {label}");
        if want.margins[i] > 2.0 * want.bound {
            assert_eq!(*label, want.labels[i], "{what}: row {i}, margin {}", want.margins[i]);
            sure += 1;
        }
    }
    let n = got.labels.len() as f64;
    assert!(f64::from(sure) >= share * n, "{what}: {sure} of {n} rows are decided at a bound of {}", want.bound);
}

fn case_sinkhorn<B: TensorBackend>(backend: &B) {
    for (n, e, k, iterations) in [
        (31, 4, 2, 7),
        (32, 3, 31, 3),
        (33, 5, 64, 5),
        (65, 6, 65, 4),
        (100, 300, 32, 3),
        (40, 4, 1023, 2),
        (20, 4, 1024, 2),
        (2100, 5, 3, 5),
        (64, 8, 9, 0),
    ] {
        // Small integers: every squared L2 is exact.
        let (rows, words) = (distinct("sinkhorn rows", n, e), distinct("sinkhorn words", k, e));
        assert_informative(&rows);
        // Where codewords are as many as rows, a sharp plan gives a row several whole, and they all but tie.
        let epsilons = match n / k {
            0 if n < k / 4 => [0.3f32, 0.25],
            0 | 1 => [0.3, 0.1],
            _ => [0.1, 0.01],
        };
        for epsilon in epsilons {
            let want = sinkhorn(&rows, &words, e, iterations, batch_range(epsilon));
            let got = assign(backend, &rows, &words, e, Exponent::BatchRange { epsilon }, iterations);
            let share = if iterations == 0 { 0.7 } else { 0.95 };
            check_balanced(&format!("n = {n}, k = {k}, ε = {epsilon}"), &got, &want, share);
            let scale = epsilon * 100.0;
            let want = sinkhorn(&rows, &words, e, iterations, |d, _, _| -d / f64::from(scale));
            let got = assign(backend, &rows, &words, e, Exponent::Fixed { scale }, iterations);
            check_balanced(&format!("n = {n}, k = {k}, scale {scale}"), &got, &want, share);
            let other = sinkhorn(&rows, &words, e, iterations, |d, _, _| -d / f64::from(scale * 1.5));
            assert!(
                iterations == 0 || differs(&got.potentials, &other.potentials, want.bound, 0.0),
                "another scale went unnoticed"
            );
        }
    }
}

/// LC-Rec's own form on a batch, with its ε and its iterations.
fn case_sinkhorn_of_lc_rec<B: TensorBackend>(backend: &B) {
    let (n, e, k) = (200, 8, 32);
    let (rows, words) = (distinct("lc-rec rows", n, e), distinct("lc-rec words", k, e));
    let want = sinkhorn(&rows, &words, e, 50, batch_range(0.003));
    let largest = want.exponents.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert!(largest > 330.0 && largest < 334.0, "exponents reach {largest}");
    let d: Vec<f64> = rows
        .chunks_exact(e)
        .flat_map(|r| words.chunks_exact(e).map(move |c| crate::support::squared_l2(r, c)))
        .collect();
    let (labels, margins) = lc_rec(&d, n, k, f64::from(0.003f32), 50);
    let got = assign(backend, &rows, &words, e, Exponent::BatchRange { epsilon: 0.003 }, 50);
    check_balanced("LC-Rec", &got, &want, 0.95);
    let sure = (0..n).filter(|i| margins[*i] > 2.0 * want.bound).collect::<Vec<_>>();
    assert!(sure.len() * 100 >= n * 95, "{} of {n} rows are decided", sure.len());
    for i in sure {
        assert_eq!(got.labels[i], labels[i], "row {i}");
    }
    // Balance is what it is for: plain nearest codewords are used less evenly.
    let nearest: Vec<u32> = d.chunks_exact(k).map(|row| best(row.iter().copied())).collect();
    let fullest = |labels: &[u32]| segment_counts(labels, k).iter().fold(0.0f64, |m, c| m.max(*c));
    assert!(fullest(&got.labels) < fullest(&nearest), "{} {}", fullest(&got.labels), fullest(&nearest));
}

/// The plan that the potentials imply: rows of 1, columns of n/k.
fn case_sinkhorn_marginals<B: TensorBackend>(backend: &B) {
    let (n, e, k) = (96, 4, 12);
    let (rows, words) = (distinct("marginal rows", n, e), distinct("marginal words", k, e));
    let scale = 40.0;
    let want = sinkhorn(&rows, &words, e, 100, |d, _, _| -d / f64::from(scale));
    let got = assign(backend, &rows, &words, e, Exponent::Fixed { scale }, 100);
    check_balanced("marginals", &got, &want, 0.95);
    let mut columns = vec![0.0; k];
    for row in want.exponents.chunks_exact(k) {
        let terms: Vec<f64> = row.iter().zip(&got.potentials).map(|(a, v)| a + v).collect();
        let (shares, _) = softmax(&terms, None);
        assert!(is_close(shares.iter().sum(), 1.0, 1e-12, 0.0));
        columns.iter_mut().zip(shares).for_each(|(c, p)| *c += p);
    }
    assert_close("columns", &columns, &vec![n as f64 / k as f64; k], 1e-3, 0.0);
    let few = assign(backend, &rows, &words, e, Exponent::Fixed { scale }, 0);
    assert!(few.potentials.iter().all(|v| *v == 0.0), "no iteration leaves v at 0");
}

fn case_sinkhorn_extremes<B: TensorBackend>(backend: &B) {
    let lc_rec = Exponent::BatchRange { epsilon: 0.003 };
    // Nothing at all.
    assert!(assign(backend, &[], &[1.0, 2.0], 1, lc_rec, 0).labels.is_empty());
    // All as far: the first codeword for all, and nothing to balance.
    let got = assign(backend, &[2.0; 40], &[-1.0; 14], 2, lc_rec, 50);
    assert_eq!(got.labels, [0; 20]);
    let want = sinkhorn(&[2.0; 40], &[-1.0; 14], 2, 50, batch_range(0.003));
    check_balanced("all as far", &got, &want, 0.0);
    // One row: all codewords have equal shares of it, whatever is drawn.
    let (row, words) = (distinct("one row", 1, 3), distinct("one row words", 5, 3));
    let got = assign(backend, &row, &words, 3, lc_rec, 50);
    check_balanced("one row", &got, &sinkhorn(&row, &words, 3, 50, batch_range(0.003)), 0.0);
    // One codeword.
    let rows = distinct("one word rows", 33, 3);
    let got = assign(backend, &rows, &words[..3], 3, lc_rec, 50);
    assert_eq!(got.labels, [0; 33]);
    check_balanced("one codeword", &got, &sinkhorn(&rows, &words[..3], 3, 50, batch_range(0.003)), 0.0);
    // Equal codewords share equally; the first of them is the label.
    let twice = [words.clone(), words.clone()].concat();
    let got = assign(backend, &rows, &twice, 3, Exponent::BatchRange { epsilon: 0.1 }, 20);
    assert!(got.labels.iter().all(|l| *l < 5) && got.potentials[..5] == got.potentials[5..]);
    // One row far off: all others are as near as makes no difference, and nothing overflows.
    let mut rows = distinct("outlier", 60, 4);
    rows[4..8].fill(1000.0);
    let words = distinct("outlier words", 6, 4);
    for (exponent, want) in [
        (lc_rec, sinkhorn(&rows, &words, 4, 50, batch_range(0.003))),
        (Exponent::Fixed { scale: 10.0 }, sinkhorn(&rows, &words, 4, 50, |d, _, _| -d / 10.0)),
    ] {
        let got = assign(backend, &rows, &words, 4, exponent, 50);
        check_balanced("outlier", &got, &want, 0.0);
    }
    // A row that is not finite shows in the potentials; labels stay indices.
    rows[0] = f32::NAN;
    let got = assign(backend, &rows, &words, 4, lc_rec, 3);
    assert!(got.potentials.iter().all(|v| v.is_nan()) && got.labels.iter().all(|l| *l < 6), "{:?}", got.potentials);
}

fn case_lengths_are_checked<B: TensorBackend>(backend: &B) {
    let (n, e, k) = (3, 4, 5);
    let t = |len: usize| tensor(backend, &vec![0.0; len]);
    let i = |len: usize| index(backend, &vec![0; len]);
    let sizes = [n * e, k * e, n * k, k, n];
    let [ne, ke, nk, kk, nn] = sizes.map(t);
    for short in 0..2 {
        let at = short;
        let ok = short == 0;
        assert_eq!(backend.half_norms((k, e), from(&ke, at), &mut t(k)).is_ok(), ok);
        assert_eq!(backend.half_norms((k, e), whole(&ke), &mut t(k - short)).is_ok(), ok);
        assert_eq!(backend.nearest((n, k), &nk, &kk, &mut i(n - short)).is_ok(), ok);
        assert_eq!(backend.nearest((n, k), &nk, &t(k - short), &mut i(n)).is_ok(), ok);
        assert_eq!(backend.nearest((n, k), &t(n * k - short), &kk, &mut i(n)).is_ok(), ok);
        let quantize = |part, labels, next, sum| {
            backend.quantize((n, e, k), true, &ne, from(&ke, part), &i(labels), &mut t(next), &mut t(sum))
        };
        assert_eq!(quantize(at, n, n * e, n * e).is_ok(), ok);
        assert_eq!(quantize(0, n - short, n * e, n * e).is_ok(), ok);
        assert_eq!(quantize(0, n, n * e - short, n * e).is_ok(), ok);
        assert_eq!(quantize(0, n, n * e, n * e - short).is_ok(), ok);
        assert_eq!(backend.segment_sum((n, e, k), 1.0, true, &ne, &i(n), &mut t(k * e), at).is_ok(), ok);
        assert_eq!(backend.segment_sum((n, e, k), 1.0, true, &ne, &i(n - short), &mut t(k * e), 0).is_ok(), ok);
        assert_eq!(backend.segment_count((n, k), true, &i(n), &mut t(k - short)).is_ok(), ok);
        let ema = |counts, means, at| {
            backend.ema((k, e), 0.9, 0.1, &kk, &ke, &mut t(counts), &mut t(means), &mut t(k * e), at)
        };
        assert_eq!(ema(k + 1 - short, k * e, 0).is_ok(), ok);
        assert_eq!(ema(k + 1, k * e - short, 0).is_ok(), ok);
        assert_eq!(ema(k + 1, k * e, at).is_ok(), ok);
        assert_eq!(backend.rotate_backward((n, e), &ne, &ne, &ne, &mut t(n * e - short)).is_ok(), ok);
        assert_eq!(backend.rotate_backward((n, e), &ne, &ne, &t(n * e - short), &mut t(n * e)).is_ok(), ok);
        assert_eq!(backend.gumbel_softmax((n, k), 1.0, &kk, &t(n * k - short), &mut t(n * k)).is_ok(), ok);
        assert_eq!(backend.softmax_backward((n, k), 1.0, &nk, &mut t(n * k - short)).is_ok(), ok);
        let contrast = |targets, weights, loss| {
            let weights = Some(t(weights));
            backend.contrast((n, k), 1.0, false, &i(targets), weights.as_ref(), &mut t(n * k), &mut t(loss))
        };
        assert_eq!(contrast(n - short, n, n).is_ok(), ok);
        assert_eq!(contrast(n, n - short, n).is_ok(), ok);
        assert_eq!(contrast(n, n, n - short).is_ok(), ok);
        let sinkhorn = |rows, v, labels| {
            let exponent = Exponent::Fixed { scale: 1.0 };
            let (mut dots, mut v, mut labels) = (t(n * k), t(v), i(labels));
            backend.sinkhorn((n, e, k), exponent, 1, &t(rows), &kk, &mut dots, &mut v, &mut labels)
        };
        assert_eq!(sinkhorn(n * e - short, k, n).is_ok(), ok);
        assert_eq!(sinkhorn(n * e, k - short, n).is_ok(), ok);
        assert_eq!(sinkhorn(n * e, k, n - short).is_ok(), ok);
    }
    let refusal = backend.segment_count((n, k), false, &i(n), &mut t(k - 1)).expect_err("short").to_string();
    assert!(refusal.contains('4') && refusal.contains('5'), "{refusal}");
    assert!(backend.contrast((usize::MAX, 2), 1.0, false, &i(n), None, &mut t(1), &mut t(1)).is_err());
    drop(nn);
}

/// The same calls give the same bits.
fn case_determinism<B: TensorBackend>(backend: &B) {
    let (n, e, k) = (700, 33, 40);
    let (rows, words) = (normals("bits", n * e, 1.0), normals("bit words", k * e, 1.0));
    let drawn = labels("bits", n, k);
    let run = || {
        let mut sums = output(backend, 0, k * e, None);
        let (values, labels) = (tensor(backend, &rows), index(backend, &drawn));
        backend.segment_sum((n, e, k), 1.0, false, &values, &labels, &mut sums, 0).expect("sums");
        let balanced = assign(backend, &rows, &words, e, Exponent::BatchRange { epsilon: 0.01 }, 10);
        let bits = balanced.potentials.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let sums = taken(backend, &sums, 0, k * e);
        (sums.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits, balanced.labels)
    };
    assert_eq!(run(), run());
}

cases! {
    case_half_norms,
    case_nearest,
    case_nearest_other,
    case_repel,
    case_quantize,
    case_segment,
    case_segment_of_many_rows,
    case_ema,
    case_rotation,
    case_gumbel,
    case_softmax_backward,
    case_contrast,
    case_sinkhorn,
    case_sinkhorn_of_lc_rec,
    case_sinkhorn_marginals,
    case_sinkhorn_extremes,
    case_lengths_are_checked,
    case_determinism,
}
