//! Sums, combinations and copies.

use super::*;

pub(super) fn case_column_total<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_total<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_combine_rows<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_combine<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_restride<B: TensorBackend>(backend: &B) {
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
pub(super) fn case_past_one_dimension<B: TensorBackend>(backend: &B) {
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
