//! Cross-entropy with smoothed targets.

use super::*;

/// Holds rows of logits to f64: losses and gradients.
fn hold_rows<B: TensorBackend>(
    backend: &B,
    (n, k): (usize, usize),
    x: &[f32],
    targets: &[u32],
    smoothing: f32,
    at: usize,
) {
    let (scale, s) = (0.625f32, f64::from(smoothing));
    let words = index(backend, &vec![0; at].into_iter().chain(targets.iter().copied()).collect::<Vec<_>>());
    let (mut logits, mut loss) = (tensor(backend, 0, x), tensor(backend, at, &vec![f32::NAN; n]));
    backend
        .cross_entropy((n, k), scale, smoothing, from(&words, at), &mut logits, &mut loss, at)
        .expect("cross-entropy");
    let (grads, losses) = (read(backend, &logits, 0, n * k), read(backend, &loss, at, n));
    for i in 0..n {
        let (row, target) = (wide(&x[i * k..(i + 1) * k]), targets[i] as usize);
        let (want, grad) = oracle::cross_entropy(&row, target, s);
        let what = format!("row {i} of {n}×{k}, target {target}, smoothing {smoothing}");
        let (top, low) = row.iter().fold((f64::MIN, f64::MAX), |(a, b), v| (a.max(*v), b.min(*v)));
        if target >= k {
            assert!(losses[i] == 0.0 && grads[i * k..(i + 1) * k].iter().all(|v| *v == 0.0), "{what}");
            continue;
        }
        // Logits less their largest are rounded once; their mean is a sum of k terms.
        let away = (top - row[target]) + s * (top - low);
        let sums = gamma(k.div_ceil(64) + 40);
        hold(&what, &losses[i..=i], &[want], |_| sums * (1.0 + away) + 8.0 * U * want.abs());
        let want: Vec<f64> = grad.iter().map(|g| f64::from(scale) * g).collect();
        let chance = |c: usize| (row[c] - top).exp();
        hold(&format!("gradient, {what}"), &grads[i * k..(i + 1) * k], &want, |c| {
            // An exponential of x is off by up to 2·|x| units on a GPU.
            f64::from(scale)
                * (sums * chance(c) * (1.0 + 2.0 * (top - row[c])) + 4.0 * U * f64::from(u8::from(c == target)))
                + 4.0 * U * s / k as f64
                + 1e-30
        });
        if k > 60 && smoothing > 0.0 && smoothing < 1.0 {
            let other =
                oracle::cross_entropy(&row, target, 0.9 * s).1.iter().map(|g| f64::from(scale) * g).collect::<Vec<_>>();
            assert!(
                differs(&wide(&grads[i * k..(i + 1) * k]), &other, 1e-5, 1e-4),
                "{what}: less smoothing went unnoticed"
            );
        }
    }
}

pub(in super::super) fn case_cross_entropy<B: TensorBackend>(backend: &B) {
    for (i, (n, k)) in [
        (0, 5),
        (3, 0),
        (1, 1),
        (4, 2),
        (33, 15),
        (17, 16),
        (5, 63),
        (4, 64),
        (40, 65),
        (3, 255),
        (3, 256),
        (7, 257),
        (20, 1000),
        (5, 4097),
        (3, 33_001),
    ]
    .into_iter()
    .enumerate()
    {
        let x = rows("logits", n, k);
        let past = [k as u32, u32::MAX];
        let target = |r: usize| if r % 5 == 4 { past[r % 2] } else { (r * 7919 % k.max(1)) as u32 };
        let targets: Vec<u32> = (0..n).map(target).collect();
        for smoothing in [0.0, 0.1, 1.0] {
            hold_rows(backend, (n, k), &x, &targets, smoothing, i % 4);
        }
    }
    // More rows than workgroups that one dimension of a dispatch holds.
    let n = 65_536 + 7;
    let (x, targets) = (long("many logits"), (0..n as u32).map(|i| i % 3).collect::<Vec<_>>());
    hold_rows(backend, (n, 2), &x[..2 * n], &targets, 0.1, 0);
}

pub(in super::super) fn case_cross_entropy_extremes<B: TensorBackend>(backend: &B) {
    // Far from 0, far apart, all alike, masked by a large negative number: nothing overflows.
    let mut x = vec![0.0f32; 5 * 70];
    (0..70).for_each(|c| {
        x[c] = 80.0 + (c % 5) as f32;
        x[70 + c] = -1e6 + (c % 3) as f32;
        x[140 + c] = if c == 3 { 90.0 } else { -90.0 };
        x[280 + c] = if c % 2 == 0 { -1e30 } else { c as f32 * 0.125 };
    });
    for smoothing in [0.0, 0.1] {
        let rows = if smoothing > 0.0 { 4 } else { 5 };
        hold_rows(backend, (rows, 70), &x[..rows * 70], &[3, 4, 5, 6, 7][..rows], smoothing, 0);
    }
    // Bad rows stay alone, and one without a target has no loss.
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = normal("bad logits", 3 * 70);
        (x[75], x[150]) = (bad, bad);
        let targets = index(backend, &[1, 2, 70]);
        let (mut logits, mut loss) = (tensor(backend, 0, &x), empty(backend, 3));
        backend.cross_entropy((3, 70), 1.0, 0.1, whole(&targets), &mut logits, &mut loss, 0).expect("cross-entropy");
        let (grads, losses) = (read(backend, &logits, 0, 210), read(backend, &loss, 0, 3));
        assert!(losses[0].is_finite() && losses[1].is_nan() && losses[2] == 0.0, "{bad}: {losses:?}");
        assert!(grads[..70].iter().all(|v| v.is_finite()) && grads[75].is_nan(), "{bad}");
        assert!(grads[140..].iter().all(|v| *v == 0.0), "{bad}: a gradient without a target");
    }
}
