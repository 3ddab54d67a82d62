//! Nearest codewords, and what codebooks learn from the rows that chose them.

use super::*;

pub(super) fn case_half_norms<B: TensorBackend>(backend: &B) {
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

pub(super) fn best(scores: impl Iterator<Item = f64>) -> u32 {
    let mut found = (f64::INFINITY, 0);
    for (j, score) in scores.enumerate() {
        if score < found.0 {
            found = (score, j as u32);
        }
    }
    found.1
}

pub(super) fn case_nearest<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_nearest_other<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_repel<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_quantize<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_segment<B: TensorBackend>(backend: &B) {
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
        (500, 1, 100, 0),
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
pub(super) fn case_segment_of_many_rows<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_ema<B: TensorBackend>(backend: &B) {
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
