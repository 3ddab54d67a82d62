//! Kernels of quantisers in training against plain f64 loops, written once over `TensorBackend`.
//!
//! Where small integers make the arithmetic exact, results are compared exactly; elsewhere the tolerance follows from what
//! WGSL promises: u = 2⁻²³ an operation, 2.5 ulp a division, 3 + 2|x| ulp for exp, 3 ulp or 2⁻²¹ for log.

mod codebooks;
mod sinkhorn;

use crate::support::quantiser::{
    Averages, Balanced, ROUNDING, distinct, dots, half_norms, integers, labels, lc_rec, normals, rotated,
    segment_counts, segment_sums, sinkhorn, softmax,
};
use crate::support::{assert_close, assert_informative, cases, differs, is_close, wide};
use codebooks::*;
use sememe::compute::tensor::{Exponent, TensorBackend, from, whole};
use sinkhorn::*;

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
