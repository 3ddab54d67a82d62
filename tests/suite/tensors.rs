//! The kernels of networks against plain f64 loops. Each case is written once over `TensorBackend`, so that every backend runs
//! through the very same shapes.

use crate::support::network::{activated, layer_norm, layer_norm_backward, moments, product, slope, stepped};
use crate::support::{assert_close, cases, differs, download, is_close, rows, upload, wide};
use sememe::compute::tensor::{Activation, Layout, Mask, Precision, Product, Rule, Step, TensorBackend, from, whole};
use sememe::rng;

/// Around every result lies this value, and must still lie there afterwards.
const GUARD: f32 = 7.25;
/// u of a single operation: WGSL leaves the direction of rounding open.
const U: f64 = 1.0 / (1u32 << 23) as f64;
/// One value past 65,535 workgroups of 256 lanes, with a remainder.
const LONG: usize = 65_536 * 256 + 5;
const LAYOUTS: [Layout; 3] = [Layout::Nt, Layout::Nn, Layout::Tn];
const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Gelu, Activation::Silu];
/// Lengths around a workgroup of 256 lanes.
const LENGTHS: [usize; 7] = [0, 1, 3, 255, 256, 257, 1000];

fn gamma(m: usize) -> f64 {
    m as f64 * U / (1.0 - m as f64 * U)
}

fn values(name: &str, len: usize) -> Vec<f32> {
    rows(name, len, 1)
}

/// Long runs of varied values, without drawing each.
fn long(name: &str) -> Vec<f32> {
    let block = values(name, 4099);
    (0..LONG).map(|i| block[i % 4099] * (1.0 + (i / 4099 % 7) as f32 * 0.125)).collect()
}

/// A tensor with `values` from `offset` on and guards around them.
fn tensor<B: TensorBackend>(backend: &B, offset: usize, values: &[f32]) -> B::Tensor {
    let mut all = vec![GUARD; offset];
    all.extend_from_slice(values);
    all.extend([GUARD; 3]);
    let mut made = backend.zeros("test", all.len()).expect("zeros");
    assert_eq!(backend.tensor_len(&made), all.len());
    backend.write_tensor(&mut made, 0, &all).expect("write");
    made
}

/// The `len` values from `offset` on, after a look at the guards.
#[track_caller]
fn read<B: TensorBackend>(backend: &B, tensor: &B::Tensor, offset: usize, len: usize) -> Vec<f32> {
    let mut all = vec![f32::NAN; offset + len + 3];
    assert_eq!(backend.tensor_len(tensor), all.len());
    backend.read_tensor(tensor, 0, &mut all).expect("read");
    assert!(all[..offset].iter().chain(&all[offset + len..]).all(|v| *v == GUARD), "written outside of the result");
    all[offset..offset + len].to_vec()
}

/// Holds every value to its own tolerance.
#[track_caller]
fn hold(what: &str, got: &[f32], want: &[f64], within: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths differ");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        let tolerance = within(i);
        assert!(is_close(f64::from(*a), *b, tolerance, 0.0), "{what}[{i}]: got {a}, want {b} (within {tolerance:e})");
    }
}

/// One product with guards and offsets, held to its bound. Returns what was found.
fn check_product<B: TensorBackend>(
    backend: &B,
    p: &Product,
    precision: Precision,
    (at_a, at_b, at): (usize, usize, usize),
) -> Vec<f32> {
    let (a, b) = (values("product a", p.m * p.k), values("product b", p.n * p.k));
    let old = values("product out", p.m * p.n);
    let (left, right) = (tensor(backend, at_a, &a), tensor(backend, at_b, &b));
    // What is not accumulated is not read either.
    let before = if p.accumulate { old.clone() } else { vec![f32::NAN; p.m * p.n] };
    let mut out = tensor(backend, at, &before);
    backend.matmul(p, precision, from(&left, at_a), from(&right, at_b), &mut out, at).expect("matmul");
    let got = read(backend, &out, at, p.m * p.n);
    let (mut want, sizes) = product(p, &a, &b);
    let (alpha, keep) = (f64::from(p.alpha), f64::from(u8::from(p.accumulate)));
    want.iter_mut().zip(&old).for_each(|(w, o)| *w = alpha * *w + keep * f64::from(*o));
    // Folds of 32 terms, up to 128 pieces, the factor and what was there.
    let sums = gamma(32 + p.k / 32 + 2 + 128 + 3);
    let operands = match precision {
        Precision::F32 => 0.0,
        // Either operand is right within 2^-10, in whatever direction it was rounded.
        Precision::F16 => 2.0 * 2f64.powi(-10) + 2f64.powi(-20),
        Precision::Bf16 => 2.0 * 2f64.powi(-8) + 2f64.powi(-16),
    };
    // Values below 2^-14 may be flushed in f16; those of the test are below 16.
    let flushed = if precision == Precision::F16 { p.k as f64 * 2f64.powi(-9) } else { 0.0 };
    let what = format!("{p:?} {precision:?} from {at_a}, {at_b} to {at}");
    hold(&what, &got, &want, |i| {
        alpha.abs() * ((sums + operands) * sizes[i] + flushed)
            + 4.0 * U * (want[i].abs() + keep * f64::from(old[i].abs()))
    });
    if p.k > 2 && p.m * p.n > 0 && precision == Precision::F32 {
        // A value of the last row counts.
        let mut moved = b;
        let last = moved.len() - 1;
        moved[last] += 0.5;
        let (moved, _) = product(p, &a, &moved);
        let moved: Vec<f64> = moved.iter().zip(&old).map(|(w, o)| alpha * w + keep * f64::from(*o)).collect();
        assert!(differs(&wide(&got), &moved, 1e-4 * p.k as f64, 0.0), "{what}: a moved value went unnoticed");
    }
    got
}

/// (m, n, k): nothing, one, around the small tile, sums that are cut into pieces, both with rows of four and without.
const PRODUCTS: [(usize, usize, usize); 14] = [
    (0, 3, 2),
    (3, 0, 2),
    (2, 3, 0),
    (1, 1, 1),
    (3, 2, 5),
    (31, 33, 17),
    (32, 32, 16),
    (33, 31, 40),
    (36, 68, 20),
    (64, 64, 32),
    (129, 70, 100),
    (5, 3, 700),
    (32, 64, 1024),
    (68, 36, 516),
];

fn case_matmul<B: TensorBackend>(backend: &B) {
    for layout in LAYOUTS {
        for (i, (m, n, k)) in PRODUCTS.into_iter().enumerate() {
            let accumulate = i % 2 == 1;
            let p = Product { layout, m, n, k, alpha: 1.0, accumulate };
            check_product(backend, &p, Precision::F32, (0, 0, 0));
            let p = Product { alpha: -0.375, accumulate: !accumulate, ..p };
            check_product(backend, &p, Precision::F32, (5, 2, 3));
            check_product(backend, &p, Precision::F32, (4, 8, 12));
        }
    }
}

/// Sizes of one (vectors, on either side) and around the tiles of every path: 12 rows and 32 columns of bf16 products, turned right
/// operands from 96 rows on and 16 terms at a time, 32 × 32 × 16 on a GPU.
fn case_matmul_around_tiles<B: TensorBackend>(backend: &B) {
    for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
        if !backend.offers(precision) {
            continue;
        }
        for layout in LAYOUTS {
            for m in [1, 11, 12, 13, 33, 95, 96, 97] {
                for n in [1, 31, 32, 33] {
                    for k in [1, 2, 15, 16, 17, 33] {
                        let p = Product { layout, m, n, k, alpha: 1.0, accumulate: (m + n + k) % 2 == 1 };
                        check_product(backend, &p, precision, (0, 0, 0));
                    }
                }
            }
        }
    }
}

/// The larger tiles: their choice depends on how many of them a result has.
fn case_matmul_large_tiles<B: TensorBackend>(backend: &B) {
    for (layout, m, n, k) in [
        (Layout::Nt, 8130, 61, 35),
        (Layout::Tn, 8132, 64, 33),
        (Layout::Nn, 127 * 64, 68, 36),
        (Layout::Nt, 32_641, 127, 5),
        (Layout::Nn, 32_644, 128, 4),
        (Layout::Tn, 128, 32_644, 20),
    ] {
        let p = Product { layout, m, n, k, alpha: 0.5, accumulate: false };
        check_product(backend, &p, Precision::F32, (0, 0, 0));
    }
}

fn case_matmul_short_operands<B: TensorBackend>(backend: &B) {
    assert!(backend.offers(Precision::F32));
    for precision in [Precision::F16, Precision::Bf16] {
        if !backend.offers(precision) {
            println!("no {precision} products on {}", backend.info().name);
            let p = Product { layout: Layout::Nt, m: 1, n: 1, k: 1, alpha: 1.0, accumulate: false };
            let (a, b, mut out) = (tensor(backend, 0, &[1.0]), tensor(backend, 0, &[1.0]), tensor(backend, 0, &[0.0]));
            let refusal = backend.matmul(&p, precision, whole(&a), whole(&b), &mut out, 0).unwrap_err().to_string();
            assert!(refusal.contains(&precision.to_string()), "{refusal}");
            continue;
        }
        for layout in LAYOUTS {
            for (m, n, k) in
                [(1, 1, 1), (13, 5, 3), (33, 31, 40), (36, 68, 20), (96, 32, 33), (32, 64, 1024), (8132, 64, 33)]
            {
                let p = Product { layout, m, n, k, alpha: 1.5, accumulate: m % 2 == 1 };
                let got = check_product(backend, &p, precision, (0, 0, 0));
                check_product(backend, &p, precision, (5, 2, 3));
                let exact = check_product(backend, &p, Precision::F32, (0, 0, 0));
                assert!(m == 1 || got != exact, "{precision} operands leave a trace");
            }
        }
    }
}

fn case_matmul_non_finite<B: TensorBackend>(backend: &B) {
    for layout in LAYOUTS {
        for (m, n, k) in [(37, 41, 19), (36, 40, 20), (8, 8, 600)] {
            let p = Product { layout, m, n, k, alpha: 1.0, accumulate: false };
            let (mut a, b) = (values("bad a", m * k), values("bad b", n * k));
            let (row, term) = (m - 2, k / 2);
            a[if layout == Layout::Tn { term * m + row } else { row * k + term }] = f32::NAN;
            let (left, right) = (tensor(backend, 0, &a), tensor(backend, 0, &b));
            let mut out = tensor(backend, 0, &vec![0.0; m * n]);
            backend.matmul(&p, Precision::F32, whole(&left), whole(&right), &mut out, 0).expect("matmul");
            for (i, v) in read(backend, &out, 0, m * n).iter().enumerate() {
                assert_eq!(v.is_nan(), i / n == row, "{layout:?} {m}×{n}×{k} at {i}: {v}");
            }
        }
    }
}

/// How far f of a value that is off by `off` may be: slopes are at most 1.13, and f itself is good to a few units.
fn activation_error(x: f64, off: f64) -> f64 {
    1.13 * off + 4.0 * U * x.abs() + 1e-30
}

fn case_linear<B: TensorBackend>(backend: &B) {
    let kinds = [None, Some(Activation::Relu), Some(Activation::Gelu), Some(Activation::Silu)];
    for (n, i, o) in [
        (0, 3, 2),
        (1, 1, 1),
        (3, 0, 5),
        (97, 17, 1),
        (97, 1, 17),
        (1, 33, 31),
        (96, 40, 1),
        (33, 31, 35),
        (32, 64, 36),
        (70, 513, 64),
        (8130, 7, 61),
    ] {
        for (kind, offset) in kinds.into_iter().zip([0, 4, 3, 8]) {
            let (x, weight, bias) = (values("x", n * i), values("weight", o * i), values("bias", o));
            let small: Vec<f32> = weight.iter().map(|w| w * 0.1).collect();
            let given = tensor(backend, offset, &x);
            let parameters: Vec<f32> = small.iter().chain(&bias).copied().collect();
            let parameters = tensor(backend, offset, &parameters);
            let mut pre = tensor(backend, 0, &vec![f32::NAN; n * o]);
            let mut post = tensor(backend, 0, &vec![f32::NAN; n * o]);
            let behind = from(&parameters, offset + o * i);
            let follows = kind.map(|k| (k, &mut post));
            backend
                .linear(
                    (n, i, o),
                    Precision::F32,
                    from(&given, offset),
                    from(&parameters, offset),
                    behind,
                    &mut pre,
                    follows,
                )
                .expect("linear");
            let p = Product { layout: Layout::Nt, m: n, n: o, k: i, alpha: 1.0, accumulate: false };
            let (mut want, sizes) = product(&p, &x, &small);
            want.iter_mut().enumerate().for_each(|(at, w)| *w += f64::from(bias[at % o]));
            let off = |at: usize| gamma(32 + i / 32 + 4) * (sizes[at] + f64::from(bias[at % o].abs()));
            let what = format!("linear {n}×{i}×{o} {kind:?}");
            hold(&what, &read(backend, &pre, 0, n * o), &want, off);
            let got = read(backend, &post, 0, n * o);
            match kind {
                None => assert!(got.iter().all(|v| v.is_nan()), "{what}: post was written"),
                Some(kind) => {
                    let after: Vec<f64> = want.iter().map(|v| activated(kind, *v)).collect();
                    hold(&what, &got, &after, |at| activation_error(want[at], off(at)));
                }
            }
            if n > 1 && i > 1 {
                let mut other = want.clone();
                other[n * o - 1] += 0.01;
                assert!(differs(&wide(&read(backend, &pre, 0, n * o)), &other, 1e-3, 0.0), "{what}");
            }
        }
    }
}

/// Random bits with a tail, and what they keep.
fn mask_bits(first: usize, len: usize) -> (Vec<u32>, Vec<bool>) {
    let mut stream = rng::stream(5, "mask", len as u64);
    let words: Vec<u32> = (0..(first + len).div_ceil(32)).map(|_| stream.below(1 << 32) as u32).collect();
    let kept = (first..first + len).map(|at| words[at / 32] >> (at % 32) & 1 == 1).collect();
    (words, kept)
}

fn index<B: TensorBackend>(backend: &B, words: &[u32]) -> B::Index {
    let mut made = backend.index("test", words.len()).expect("index");
    backend.write_index(&mut made, 0, words).expect("write");
    made
}

fn case_activation<B: TensorBackend>(backend: &B) {
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
fn case_gelu_accuracy<B: TensorBackend>(backend: &B) {
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

fn case_activation_non_finite<B: TensorBackend>(backend: &B) {
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

fn case_layer_norm<B: TensorBackend>(backend: &B) {
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

fn case_column_total<B: TensorBackend>(backend: &B) {
    let shapes = [
        (0, 3),
        (3, 0),
        (1, 1),
        (5, 64),
        (127, 65),
        (128, 63),
        (129, 16),
        (1000, 17),
        (140_001, 3),
        (1, 64 * 65_536 + 5),
    ];
    for (i, (n, d)) in shapes.into_iter().enumerate() {
        let (data, old) = (values("column total", n * d), values("column old", d));
        let accumulate = i % 2 == 0;
        let at = i % 4;
        let given = tensor(backend, 0, &data);
        let before = if accumulate { old.clone() } else { vec![f32::NAN; d] };
        let mut out = tensor(backend, at, &before);
        backend.column_total((n, d), 0.75, accumulate, &given, &mut out, at).expect("column total");
        let got = read(backend, &out, at, d);
        let keep = f64::from(u8::from(accumulate));
        let (mut want, mut sizes): (Vec<f64>, Vec<f64>) =
            old.iter().map(|v| (keep * f64::from(*v), keep * f64::from(v.abs()))).unzip();
        for line in data.chunks_exact(d.max(1)) {
            for (c, v) in line.iter().enumerate() {
                want[c] += 0.75 * f64::from(*v);
                sizes[c] += 0.75 * f64::from(v.abs());
            }
        }
        // 35 rows a lane, 4 lanes, 64 blocks a lane, 16 lanes.
        hold(&format!("column total {n}×{d}"), &got, &want, |c| gamma(35 + 2 + 64 + 4 + 3) * sizes[c]);
        if n > 1 && n < 2000 && d > 0 {
            want[d - 1] += 0.01;
            assert!(differs(&wide(&got), &want, 1e-3, 0.0), "{n}×{d}");
        }
    }
    let given = tensor(backend, 0, &[1.0, f32::NAN, 2.0, 3.0]);
    let mut out = tensor(backend, 0, &[0.0; 2]);
    backend.column_total((2, 2), 1.0, false, &given, &mut out, 0).expect("column total");
    let got = read(backend, &out, 0, 2);
    assert!(got[0] == 3.0 && got[1].is_nan());
}

fn case_total<B: TensorBackend>(backend: &B) {
    let lengths = [0, 1, 255, 256, 257, 4095, 4096, 4097, 50_001, 4_500_001];
    for (i, len) in lengths.into_iter().enumerate() {
        let data = values("total", len);
        let (offset, at, accumulate) = (i % 5, i % 3, i % 2 == 1);
        let given = tensor(backend, offset, &data);
        for squares in [false, true] {
            let mut out = tensor(backend, at, &[if accumulate { 3.5 } else { f32::NAN }]);
            backend.total(len, squares, -0.5, accumulate, from(&given, offset), &mut out, at).expect("total");
            let got = read(backend, &out, at, 1);
            let (mut want, mut size) = if accumulate { (3.5, 3.5) } else { (0.0, 0.0) };
            for v in &data {
                let term = if squares { f64::from(*v).powi(2) } else { f64::from(*v) };
                want -= 0.5 * term;
                size += 0.5 * term.abs();
            }
            // 18 values a lane (of 4,608 or fewer), the tree, 4 blocks a lane, the tree, the square.
            hold(&format!("total of {len}, squares: {squares}"), &got, &[want], |_| gamma(18 + 8 + 4 + 8 + 4) * size);
            let lost = data.last().map_or(0.0, |v| f64::from(*v));
            assert!(
                len == 0
                    || len > 1000
                    || lost.abs() < 1e-3
                    || !is_close(f64::from(got[0]), want + 0.5 * lost, 1e-5 * size, 0.0)
            );
        }
    }
}

fn case_combine_rows<B: TensorBackend>(backend: &B) {
    for (n, d) in [(0, 4), (1, 1), (3, 5), (8, 32), (9, 33), (300, 7)] {
        let (x, y) = (values("rows x", n * d), values("rows y", n * d));
        let scales = values("rows scales", n);
        let (given, factors, mut out) = (tensor(backend, 3, &x), tensor(backend, 0, &scales), tensor(backend, 2, &y));
        backend.combine_rows((n, d), -1.5, &factors, from(&given, 3), &mut out, 2).expect("combine rows");
        let got = read(backend, &out, 2, n * d);
        let at = |i: usize, scale: f64| f64::from(y[i]) + scale * f64::from(scales[i / d]) * f64::from(x[i]);
        let want: Vec<f64> = (0..n * d).map(|i| at(i, -1.5)).collect();
        let size = |i: usize| f64::from(y[i]).abs() + 1.5 * (f64::from(scales[i / d]) * f64::from(x[i])).abs();
        hold(&format!("combine rows {n} x {d}"), &got, &want, |i| 4.0 * U * size(i));
        if n > 0 {
            let other: Vec<f64> = (0..n * d).map(|i| at(i, 1.5)).collect();
            assert!(differs(&wide(&got), &other, 1e-4, 0.0), "the factor went unnoticed");
        }
    }
}

fn case_combine<B: TensorBackend>(backend: &B) {
    for (i, len) in LENGTHS.into_iter().enumerate() {
        let (x, y, b) = (values("combine x", len), values("combine y", len), values("combine b", len));
        let (at_x, at) = ([0, 3, 4][i % 3], [2, 0, 8, 5][i % 4]);
        let given = tensor(backend, at_x, &x);
        for beta in [0.0, -0.0, 1.0, -0.25] {
            // With beta = 0 what is there is not read.
            let before = if beta == 0.0 { vec![f32::NAN; len] } else { y.clone() };
            let mut out = tensor(backend, at, &before);
            backend.combine(len, 1.5, from(&given, at_x), beta, &mut out, at).expect("combine");
            let want: Vec<f64> =
                x.iter().zip(&y).map(|(x, y)| 1.5 * f64::from(*x) + f64::from(beta) * f64::from(*y)).collect();
            let got = read(backend, &out, at, len);
            hold(&format!("combine {len}, beta = {beta}"), &got, &want, |i| {
                4.0 * U * f64::from(x[i].abs() + y[i].abs())
            });
            if len > 16 {
                let other: Vec<f64> = want.iter().map(|w| w * 1.001).collect();
                assert!(differs(&wide(&got), &other, 1e-5, 0.0));
            }
        }
        let right = tensor(backend, at, &b);
        let mut out = tensor(backend, 0, &vec![f32::NAN; len]);
        backend.subtract(len, -2.0, from(&given, at_x), from(&right, at), &mut out).expect("subtract");
        let want: Vec<f64> = x.iter().zip(&b).map(|(x, b)| -2.0 * (f64::from(*x) - f64::from(*b))).collect();
        hold("subtract", &read(backend, &out, 0, len), &want, |i| 4.0 * U * f64::from(x[i].abs() + b[i].abs()));
        // Both operands may be the same tensor.
        let mut out = tensor(backend, 0, &vec![f32::NAN; len]);
        backend.subtract(len, 1.0, from(&given, at_x), from(&given, at_x), &mut out).expect("subtract");
        assert_eq!(read(backend, &out, 0, len), vec![0.0; len]);
        let mut cleared = tensor(backend, at, &x);
        backend.clear(&mut cleared, at, len).expect("clear");
        assert_eq!(read(backend, &cleared, at, len), vec![0.0; len]);
    }
}

/// One parameter run's three steps under a rule.
fn check_optimizer<B: TensorBackend>(backend: &B, rule: Rule, clip: f32, decay: f32, len: usize) {
    let offset = 5;
    let mut truth: Vec<(f64, f64, f64)> = values("weights", len).iter().map(|w| (f64::from(*w), 0.0, 0.0)).collect();
    let start: Vec<f32> = truth.iter().map(|t| t.0 as f32).collect();
    let mut params = tensor(backend, offset, &start);
    let (mut first, mut second) = (tensor(backend, offset, &vec![0.0; len]), tensor(backend, offset, &vec![0.0; len]));
    if matches!(rule, Rule::Sgd { .. }) {
        // The first step does not read what is there.
        first = tensor(backend, offset, &vec![f32::NAN; len]);
    }
    for time in 1..=3 {
        let grads = values(&format!("gradient {time}"), len);
        let norm: f64 = grads.iter().map(|g| f64::from(*g).powi(2)).sum();
        let (given, norms) = (tensor(backend, offset, &grads), tensor(backend, 2, &[norm as f32]));
        let step = Step { rule, offset, len, rate: 0.05, decay, time, clip, norm_slot: 2 };
        backend.optimize(&step, &given, &norms, &mut params, &mut first, &mut second).expect("optimize");
        let other = Step { rate: 0.0501, ..step };
        let norm = f64::from(norm as f32);
        let moved: Vec<f64> =
            truth.iter().zip(&grads).map(|(t, g)| stepped(&other, norm, f64::from(*g), *t).0).collect();
        truth.iter_mut().zip(&grads).for_each(|(t, g)| *t = stepped(&step, norm, f64::from(*g), *t));
        let got = read(backend, &params, offset, len);
        let want: Vec<f64> = truth.iter().map(|t| t.0).collect();
        let what = format!("{rule:?}, clip {clip}, decay {decay}, {len} parameters, step {time}");
        assert_close(&what, &wide(&got), &want, 3e-6, 3e-6);
        assert!(len < 200 || differs(&wide(&got), &moved, 3e-6, 3e-6), "{what}: another rate went unnoticed");
    }
    // Without momentum `first` is nobody's.
    let firsts = read(backend, &first, offset, len);
    let seconds = read(backend, &second, offset, len);
    if rule != (Rule::Sgd { momentum: 0.0 }) {
        assert_close("first", &wide(&firsts), &truth.iter().map(|t| t.1).collect::<Vec<_>>(), 1e-5, 1e-5);
    }
    if matches!(rule, Rule::Adam { .. }) {
        assert_close("second", &wide(&seconds), &truth.iter().map(|t| t.2).collect::<Vec<_>>(), 1e-5, 1e-5);
    }
}

fn case_optimizer<B: TensorBackend>(backend: &B) {
    let adam = |decoupled| Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled };
    let rules = [
        Rule::Sgd { momentum: 0.0 },
        Rule::Sgd { momentum: 0.9 },
        adam(false),
        adam(true),
        Rule::Adagrad { epsilon: 1e-10 },
    ];
    for rule in rules {
        for (len, clip, decay) in
            [(0, 1.0, 0.0), (1, f32::INFINITY, 0.1), (255, 1.0, 0.1), (257, 1e6, 0.0), (700, 2.5, 0.01)]
        {
            check_optimizer(backend, rule, clip, decay, len);
        }
        // A norm that is not a number does not pass for a small one.
        let (grads, norms) = (tensor(backend, 0, &[1.0; 8]), tensor(backend, 0, &[f32::NAN]));
        let [mut params, mut first, mut second] = [1.0f32, 0.0, 0.0].map(|v| tensor(backend, 0, &[v; 8]));
        let step = Step { rule, offset: 2, len: 4, rate: 0.1, decay: 0.0, time: 1, clip: 1.0, norm_slot: 0 };
        backend.optimize(&step, &grads, &norms, &mut params, &mut first, &mut second).expect("optimize");
        let got = read(backend, &params, 0, 8);
        assert!(got[2..6].iter().all(|v| v.is_nan()), "{rule:?}: {got:?}");
        assert!(got[..2].iter().chain(&got[6..]).all(|v| *v == 1.0), "{rule:?}: {got:?}");
    }
}

fn case_restride<B: TensorBackend>(backend: &B) {
    for (n, d) in [(0, 3), (1, 1), (130, 16), (300, 33), (515, 3), (1600, 20)] {
        let data = rows("restride", n, d);
        let resident = upload(backend, &data, n, d);
        for (first, count) in [(0, n), (n / 3, n - n / 3), (n / 2, 0), (n.saturating_sub(1), n.min(1))] {
            let mut out = tensor(backend, 0, &vec![f32::NAN; count * d]);
            backend.rows_to_tensor(&resident, first, count, &mut out).expect("rows to tensor");
            assert_eq!(read(backend, &out, 0, count * d), data[first * d..(first + count) * d], "{n}×{d} from {first}");
        }
        let mut out = tensor(backend, 0, &vec![0.0; (n + 1) * d]);
        assert!(backend.rows_to_tensor(&resident, 1, n, &mut out).is_err());
        let given = tensor(backend, 0, &data);
        let made = backend.tensor_to_rows(&given, n, d).expect("tensor to rows");
        assert_eq!(backend.shape(&made), (n, d));
        assert_eq!(download(backend, &made), data);
        // Columns behind the last are zero: norms see them.
        let want: Vec<f64> =
            data.chunks_exact(d).map(|r| r.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()).collect();
        let size: f64 = want.iter().sum();
        assert_close("sum of squares", &[backend.sum_squares(&made).expect("sum")], &[size], 0.0, 1e-4);
    }
}

/// Elementwise kernels past 65,535 workgroups.
fn case_past_one_dimension<B: TensorBackend>(backend: &B) {
    let (x, y) = (long("long x"), long("long y"));
    let given = tensor(backend, 1, &x);
    let mut out = tensor(backend, 2, &y);
    backend.combine(LONG, 1.0, from(&given, 1), 1.0, &mut out, 2).expect("combine");
    let got = read(backend, &out, 2, LONG);
    assert!((0..LONG).all(|i| got[i] == x[i] + y[i]));
    drop(out);
    let mut out = tensor(backend, 0, &y);
    backend.subtract(LONG, 1.0, from(&given, 1), from(&given, 0), &mut out).expect("subtract");
    let got = read(backend, &out, 0, LONG);
    assert!((1..LONG).all(|i| got[i] == x[i] - x[i - 1]));
    backend.activate(Activation::Relu, LONG, &given, None, &mut out).expect("activate");
    let got = read(backend, &out, 0, LONG);
    assert!((1..LONG).all(|i| got[i] == x[i - 1].max(0.0)));
    backend.activate_backward(Activation::Relu, LONG, &given, None, &mut out).expect("backward");
    assert_eq!(read(backend, &out, 0, LONG), got);
    drop(out);
    let (mut params, norms) = (tensor(backend, 1, &y), tensor(backend, 0, &[]));
    let (mut first, mut second) = (tensor(backend, 0, &[]), tensor(backend, 0, &[]));
    let step = Step {
        rule: Rule::Sgd { momentum: 0.0 },
        offset: 1,
        len: LONG,
        rate: 0.5,
        decay: 0.0,
        time: 1,
        clip: f32::INFINITY,
        norm_slot: 0,
    };
    backend.optimize(&step, &given, &norms, &mut params, &mut first, &mut second).expect("optimize");
    let got = read(backend, &params, 1, LONG);
    assert!((0..LONG).all(|i| got[i] == y[i] - 0.5 * x[i]));
}

fn case_same_bits<B: TensorBackend>(backend: &B) {
    let (m, n, k) = (30, 50, 3000);
    let (a, b) = (values("bits a", m * k), values("bits b", n * k));
    let run = || {
        let (left, right) = (tensor(backend, 0, &a), tensor(backend, 0, &b));
        let mut out = tensor(backend, 0, &vec![0.0; m * n + n + 1]);
        let p = Product { layout: Layout::Tn, m, n, k, alpha: 1.0, accumulate: false };
        backend.matmul(&p, Precision::F32, whole(&left), whole(&right), &mut out, 0).expect("matmul");
        backend.column_total((k, n), 1.0, false, &right, &mut out, m * n).expect("column total");
        backend.total(m * k, true, 1.0, false, whole(&left), &mut out, m * n + n).expect("total");
        read(backend, &out, 0, m * n + n + 1).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// A whole step's worth of calls is recorded before anything is read: several uniform buffers full.
fn case_many_calls_in_order<B: TensorBackend>(backend: &B) {
    let one = tensor(backend, 0, &[1.0; 4]);
    let mut sum = tensor(backend, 0, &[0.0; 4]);
    for i in 0..2500 {
        // Halving and adding do not commute, so order shows.
        backend.combine(4, 1.0 + (i % 7) as f32, whole(&one), 0.5, &mut sum, 0).expect("combine");
    }
    let want = (0..2500).fold(0.0f64, |s, i| 0.5 * s + 1.0 + f64::from(i % 7));
    assert_close("in order", &wide(&read(backend, &sum, 0, 4)), &[want; 4], 1e-5, 0.0);
}

fn case_lengths_are_checked<B: TensorBackend>(backend: &B) {
    let (small, large) = (tensor(backend, 0, &[1.0; 9]), tensor(backend, 0, &[1.0; 61]));
    let (mut out, mut other) = (tensor(backend, 0, &[0.0; 9]), tensor(backend, 0, &[0.0; 9]));
    let p = Product { layout: Layout::Nt, m: 4, n: 3, k: 4, alpha: 1.0, accumulate: false };
    let f32s = Precision::F32;
    assert!(backend.matmul(&p, f32s, whole(&large), whole(&large), &mut out, 0).is_ok());
    assert!(backend.matmul(&p, f32s, whole(&small), whole(&large), &mut out, 0).is_err());
    assert!(backend.matmul(&p, f32s, whole(&large), from(&large, 53), &mut out, 0).is_err());
    assert!(backend.matmul(&p, f32s, whole(&large), whole(&large), &mut out, 1).is_err());
    let huge = Product { m: usize::MAX / 2, ..p };
    assert!(backend.matmul(&huge, f32s, whole(&large), whole(&large), &mut out, 0).is_err());
    let shape = (3, 4, 4);
    assert!(backend.linear(shape, f32s, whole(&large), whole(&large), from(&large, 61), &mut out, None).is_err());
    let follows = Some((Activation::Relu, &mut other));
    assert!(backend.linear((5, 1, 3), f32s, whole(&large), whole(&large), whole(&large), &mut out, follows).is_err());
    let bits = index(backend, &[u32::MAX]);
    let mask = |first_bit| Some(Mask { bits: &bits, first_bit, scale: 1.0 });
    assert!(backend.activate(Activation::Relu, 13, &large, None, &mut out).is_err());
    assert!(backend.activate(Activation::Relu, 12, &large, mask(20), &mut out).is_ok());
    assert!(backend.activate(Activation::Relu, 12, &large, mask(21), &mut out).is_err());
    assert!(backend.layer_norm((3, 4), &large, from(&large, 61), whole(&large), &mut out).is_err());
    assert!(backend.layer_norm((4, 4), &large, whole(&large), whole(&large), &mut out).is_err());
    assert!(backend.layer_norm_backward((4, 4), &large, whole(&large), &mut out, &mut other).is_err());
    assert!(backend.column_total((20, 4), 1.0, false, &large, &mut out, 0).is_err());
    assert!(backend.column_total((2, 4), 1.0, false, &large, &mut out, 9).is_err());
    assert!(backend.total(62, false, 1.0, false, from(&large, 3), &mut out, 0).is_err());
    assert!(backend.total(4, false, 1.0, false, whole(&large), &mut out, 12).is_err());
    assert!(backend.combine(10, 1.0, whole(&large), 0.0, &mut out, 3).is_err());
    assert!(backend.subtract(10, 1.0, from(&large, 60), whole(&large), &mut out).is_err());
    assert!(backend.clear(&mut out, 4, 9).is_err());
    assert!(backend.tensor_to_rows(&large, 13, 5).is_err());
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.9, epsilon: 1e-8, decoupled: false };
    let step = Step { rule, offset: 8, len: 5, rate: 0.1, decay: 0.0, time: 1, clip: 1.0, norm_slot: 0 };
    let mut params = tensor(backend, 0, &[0.0; 61]);
    assert!(backend.optimize(&step, &large, &small, &mut params, &mut out, &mut other).is_err());
    let step = Step { offset: 0, norm_slot: 12, ..step };
    assert!(backend.optimize(&step, &large, &small, &mut params, &mut out, &mut other).is_err());
}

cases! {
    case_matmul,
    case_matmul_around_tiles,
    case_matmul_large_tiles,
    case_matmul_short_operands,
    case_matmul_non_finite,
    case_linear,
    case_activation,
    case_gelu_accuracy,
    case_activation_non_finite,
    case_layer_norm,
    case_column_total,
    case_total,
    case_combine,
    case_combine_rows,
    case_optimizer,
    case_restride,
    case_past_one_dimension,
    case_same_bits,
    case_many_calls_in_order,
    case_lengths_are_checked,
}
