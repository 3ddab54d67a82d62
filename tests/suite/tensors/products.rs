//! Products and linear layers.

use super::*;

/// One product with guards and offsets, held to its bound. Returns what was found.
pub(super) fn check_product<B: TensorBackend>(
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
pub(super) const PRODUCTS: [(usize, usize, usize); 14] = [
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

pub(super) fn case_matmul<B: TensorBackend>(backend: &B) {
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
pub(super) fn case_matmul_around_tiles<B: TensorBackend>(backend: &B) {
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
pub(super) fn case_matmul_large_tiles<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_matmul_short_operands<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_matmul_non_finite<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_linear<B: TensorBackend>(backend: &B) {
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
