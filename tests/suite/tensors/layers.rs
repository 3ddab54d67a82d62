//! Activations, masks and layer norm.

use super::*;

/// Random bits with a tail, and what they keep.
pub(super) fn mask_bits(first: usize, len: usize) -> (Vec<u32>, Vec<bool>) {
    let mut stream = rng::stream(5, "mask", len as u64);
    let words: Vec<u32> = (0..(first + len).div_ceil(32)).map(|_| stream.below(1 << 32) as u32).collect();
    let kept = (first..first + len).map(|at| words[at / 32] >> (at % 32) & 1 == 1).collect();
    (words, kept)
}

pub(super) fn case_activation<B: TensorBackend>(backend: &B) {
    for kind in ACTIVATIONS {
        for (len, first_bit) in LENGTHS.into_iter().zip([0, 5, 32, 31, 1, 64, 77]) {
            let (mut x, grad) = (values("pre", len), values("upstream", len));
            if len >= 255 {
                // Where formulas meet, where they saturate, and past where exponentials overflow.
                let special = [
                    0.0,
                    -0.0,
                    1.0,
                    -1.0,
                    std::f32::consts::SQRT_2,
                    -std::f32::consts::SQRT_2,
                    2.828_427,
                    -2.828_427,
                    6.0,
                    -6.0,
                    13.0,
                    -13.0,
                    80.0,
                    -80.0,
                    104.0,
                    -104.0,
                    1e4,
                    -1e4,
                    1e30,
                    -1e30,
                    2e38,
                    -2e38,
                    1e-30,
                    -1e-30,
                ];
                x[..special.len()].copy_from_slice(&special);
                (30..200).for_each(|i| x[i] = (i as f32 - 115.0) * 0.07);
            }
            let scale = 1.25;
            let (words, kept) = mask_bits(first_bit, len);
            let bits = index(backend, &words);
            let pre = tensor(backend, 0, &x);
            for masked in [false, true] {
                let mask = masked.then_some(Mask { bits: &bits, first_bit, scale });
                let factor = |i: usize| match (masked, kept[i]) {
                    (false, _) => 1.0,
                    (true, true) => f64::from(scale),
                    (true, false) => 0.0,
                };
                let what = format!("{kind:?}, {len} values, masked: {masked}");
                let mut post = tensor(backend, 0, &vec![f32::NAN; len]);
                backend.activate(kind, len, &pre, mask, &mut post).expect("activate");
                let want: Vec<f64> = (0..len).map(|i| factor(i) * activated(kind, f64::from(x[i]))).collect();
                let got = read(backend, &post, 0, len);
                hold(&what, &got, &want, |i| factor(i) * activation_error(f64::from(x[i]), 0.0));
                if len >= 255 {
                    assert!(!masked || (want.contains(&0.0) && kept.contains(&true)), "{what}: uninformative mask");
                    let other: Vec<f64> =
                        (0..len).map(|i| factor((i + 1) % len) * activated(kind, f64::from(x[i]))).collect();
                    assert!(
                        !masked || differs(&wide(&got), &other, 1e-3, 1e-3),
                        "{what}: a shifted mask went unnoticed"
                    );
                }
                let mut back = tensor(backend, 0, &grad);
                backend.activate_backward(kind, len, &pre, mask, &mut back).expect("backward");
                let want: Vec<f64> =
                    (0..len).map(|i| factor(i) * f64::from(grad[i]) * slope(kind, f64::from(x[i]))).collect();
                // The slope is off by a few units of 1, and where x·φ or x·σ′ count, by as many units of x times an exponential.
                hold(&format!("{what}, backward"), &read(backend, &back, 0, len), &want, |i| {
                    factor(i) * f64::from(grad[i].abs()) * 24.0 * U + 1e-30
                });
            }
        }
    }
}

/// GELU near 0 keeps its relative accuracy, and Φ its absolute one over the whole line.
pub(super) fn case_gelu_accuracy<B: TensorBackend>(backend: &B) {
    let len = 60_001;
    let x: Vec<f32> = (0..len).map(|i| (i as f32 - 30_000.0) * (10.0 / 30_000.0)).collect();
    let pre = tensor(backend, 0, &x);
    let mut post = tensor(backend, 0, &vec![f32::NAN; len]);
    backend.activate(Activation::Gelu, len, &pre, None, &mut post).expect("activate");
    let mut worst = 0.0f64;
    for (x, y) in x.iter().zip(read(backend, &post, 0, len)) {
        let want = activated(Activation::Gelu, f64::from(*x));
        let off = (f64::from(y) - want).abs() / f64::from(x.abs()).max(1e-30);
        worst = worst.max(off);
        if *x > -0.5 && *x != 0.0 {
            assert!(is_close(f64::from(y), want, 0.0, 4.0 * U), "gelu({x}) = {y}, want {want}");
        }
    }
    println!("GELU is off by at most {worst:e} of its argument");
    assert!(worst < 2.5e-7, "{worst:e}");
}

pub(super) fn case_activation_non_finite<B: TensorBackend>(backend: &B) {
    let x = [f32::NAN, 1.0, f32::INFINITY, 2.0];
    for kind in ACTIVATIONS {
        let pre = tensor(backend, 0, &x);
        let mut post = tensor(backend, 0, &[0.0; 4]);
        backend.activate(kind, 4, &pre, None, &mut post).expect("activate");
        let got = read(backend, &post, 0, 4);
        assert!(
            got[0].is_nan() && got[2] == f32::INFINITY && got[1].is_finite() && got[3].is_finite(),
            "{kind:?}: {got:?}"
        );
        let finite = tensor(backend, 0, &[1.0, 2.0, 3.0, 4.0]);
        let mut grad = tensor(backend, 0, &[1.0, f32::NAN, f32::INFINITY, 1.0]);
        backend.activate_backward(kind, 4, &finite, None, &mut grad).expect("backward");
        let got = read(backend, &grad, 0, 4);
        assert!(got[0].is_finite() && got[1].is_nan() && got[2] == f32::INFINITY, "{kind:?}: {got:?}");
    }
}

pub(super) fn case_layer_norm<B: TensorBackend>(backend: &B) {
    for (n, d, at) in
        [(0, 4, 0), (1, 1, 2), (3, 5, 1), (4, 63, 4), (5, 64, 0), (7, 65, 3), (9, 300, 8), (262_145, 2, 5)]
    {
        let (x, gain, bias) = (rows("norm x", n, d), values("gain", d), values("norm bias", d));
        let up = rows("norm upstream", n, d);
        let given = tensor(backend, 0, &x);
        let parameters: Vec<f32> = gain.iter().chain(&bias).copied().collect();
        let parameters = tensor(backend, at, &parameters);
        let mut y = tensor(backend, 0, &vec![f32::NAN; n * d]);
        backend
            .layer_norm((n, d), &given, from(&parameters, at), from(&parameters, at + d), &mut y)
            .expect("layer norm");
        let got = read(backend, &y, 0, n * d);
        let mut grad = tensor(backend, 0, &up);
        let mut products = tensor(backend, 0, &vec![f32::NAN; n * d]);
        backend.layer_norm_backward((n, d), &given, from(&parameters, at), &mut grad, &mut products).expect("backward");
        let (back, terms) = (read(backend, &grad, 0, n * d), read(backend, &products, 0, n * d));
        let biggest = |list: &[f32]| list.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
        let (gains, ups) = (biggest(&gain), biggest(&up));
        for i in 0..n {
            let row = &x[i * d..(i + 1) * d];
            let (m, here) = (moments(row), i * d..(i + 1) * d);
            // The sums of a lane and of the tree; the mean's error is multiplied by the scale.
            let g = gamma(d.div_ceil(64) + 16);
            let z_error = g * (m.largest * m.scale + d as f64);
            let what = format!("row {i} of {n}×{d}");
            let want = layer_norm(row, &gain, &bias);
            hold(&what, &got[here.clone()], &want, |c| z_error * gains + 4.0 * U * f64::from(bias[c].abs()));
            let (want, want_terms) = layer_norm_backward(row, &gain, &up[here.clone()]);
            hold(&format!("products, {what}"), &terms[here.clone()], &want_terms, |_| z_error * ups);
            let reach = m.scale * gains * ups * (d as f64).sqrt();
            hold(&format!("gradient, {what}"), &back[here], &want, |_| 8.0 * z_error * reach);
        }
        if d > 4 {
            let other = layer_norm(&x[..d], &gain.iter().map(|g| g + 0.1).collect::<Vec<_>>(), &bias);
            assert!(differs(&wide(&got[..d]), &other, 1e-3, 0.0), "a moved gain went unnoticed");
        }
    }
    // A bad row stays alone.
    let mut x = rows("bad row", 3, 70);
    x[75] = f32::INFINITY;
    let (given, ones) = (tensor(backend, 0, &x), tensor(backend, 0, &[1.0; 140]));
    let mut y = tensor(backend, 0, &[0.0; 210]);
    backend.layer_norm((3, 70), &given, whole(&ones), from(&ones, 70), &mut y).expect("layer norm");
    let got = read(backend, &y, 0, 210);
    assert!(got[..70].iter().chain(&got[140..]).all(|v| v.is_finite()) && got[75].is_nan());
}
