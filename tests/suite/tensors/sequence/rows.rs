//! Rows in heads: norms and positions; gates and dropout.

use super::*;

const EPSILON: f32 = 1e-5;

fn shapes() -> Vec<HeadRows> {
    let heads = |tokens, heads, dims, stride, offset| HeadRows { tokens, heads, dims, stride, offset };
    let mut shapes: Vec<HeadRows> = [(0, 4), (1, 2), (3, 6), (4, 62), (5, 64), (7, 66), (9, 256), (2, 1000), (129, 8)]
        .map(|(n, d)| HeadRows::plain(n, d))
        .to_vec();
    shapes.extend([
        heads(0, 3, 8, 64, 9),
        heads(4, 0, 8, 64, 0),
        heads(1, 3, 8, 0, 5),
        heads(5, 3, 8, 24, 0),
        heads(5, 3, 8, 25, 1),
        heads(40, 2, 32, 200, 64),
        heads(130, 9, 64, 960, 0),
    ]);
    shapes
}

/// First value of row `r`.
fn place(rows: &HeadRows, r: usize) -> usize {
    rows.offset + r / rows.heads * rows.stride + r % rows.heads * rows.dims
}

/// Splits values into those of the rows, one row behind another, and all others, which must be as before.
#[track_caller]
fn rows_within(rows: &HeadRows, all: &[f32], before: &[f32]) -> Vec<f32> {
    let mut others: Vec<bool> = vec![true; all.len()];
    let mut found = Vec::new();
    for r in 0..rows.rows() {
        let at = place(rows, r);
        found.extend_from_slice(&all[at..at + rows.dims]);
        others[at..at + rows.dims].fill(false);
    }
    let same = |(i, other): (usize, &bool)| !other || all[i].to_bits() == before[i].to_bits();
    assert!(others.iter().enumerate().all(same), "{rows:?}: written between the rows");
    found
}

pub(in super::super) fn case_rms_norm<B: TensorBackend>(backend: &B) {
    for (i, rows) in shapes().into_iter().chain([HeadRows::plain(5, 1), HeadRows::plain(3, 63)]).enumerate() {
        let (d, at) = (rows.dims, i % 4);
        let (x, old, gain) = (values("rms x", rows.end()), values("rms old", rows.end()), values("rms gain", d));
        let (given, gains) = (tensor(backend, 0, &x), tensor(backend, at, &gain));
        let mut y = tensor(backend, 0, &old);
        backend.rms_norm(&rows, EPSILON, &given, from(&gains, at), &mut y).expect("rms norm");
        let got = rows_within(&rows, &read(backend, &y, 0, rows.end()), &old);
        let mut grad = tensor(backend, 0, &old);
        let mut products = empty(backend, rows.rows() * d);
        backend
            .rms_norm_backward(&rows, EPSILON, &given, from(&gains, at), &mut grad, &mut products)
            .expect("backward");
        let back = rows_within(&rows, &read(backend, &grad, 0, rows.end()), &old);
        let terms = read(backend, &products, 0, rows.rows() * d);
        let g = gamma(d.div_ceil(16) + 40);
        for r in 0..rows.rows() {
            let (at, here) = (place(&rows, r), r * d..(r + 1) * d);
            let (x, up, gain) = (wide(&x[at..at + d]), wide(&old[at..at + d]), wide(&gain));
            let want = oracle::rms_norm(&x, &gain, f64::from(EPSILON));
            let what = format!("row {r} of {rows:?}");
            hold(&what, &got[here.clone()], &want, |c| g * want[c].abs() + 1e-30);
            let (want, want_terms) = oracle::rms_norm_backward(&x, &gain, f64::from(EPSILON), &up);
            hold(&format!("products, {what}"), &terms[here.clone()], &want_terms, |c| g * want_terms[c].abs() + 1e-30);
            let scale = oracle::rms_scale(&x, f64::from(EPSILON));
            let size: f64 = (0..d).map(|b| (up[b] * gain[b] * x[b]).abs()).sum();
            hold(&format!("gradient, {what}"), &back[here], &want, |c| {
                4.0 * g * ((up[c] * gain[c] * scale).abs() + size * scale.powi(3) * x[c].abs() / d as f64)
            });
            if r == 0 && d > 60 {
                let other = oracle::rms_norm(&x, &gain, 0.1 + f64::from(EPSILON));
                assert!(differs(&wide(&got[..d]), &other, 1e-4, 1e-4), "{what}: another epsilon went unnoticed");
            }
        }
    }
}

pub(in super::super) fn case_rms_norm_non_finite<B: TensorBackend>(backend: &B) {
    let mut x = values("bad row", 4 * 70);
    (x[75], x[150]) = (f32::INFINITY, f32::NAN);
    x[210..].fill(0.0);
    let (given, ones, rows) = (tensor(backend, 0, &x), tensor(backend, 0, &[1.0; 70]), HeadRows::plain(4, 70));
    let mut y = tensor(backend, 0, &[0.0; 280]);
    backend.rms_norm(&rows, EPSILON, &given, whole(&ones), &mut y).expect("rms norm");
    let got = read(backend, &y, 0, 280);
    assert!(got[..70].iter().all(|v| v.is_finite()) && got[210..].iter().all(|v| *v == 0.0), "a bad row is not alone");
    assert!(got[75].is_nan() && got[140..210].iter().all(|v| v.is_nan()), "a bad row went unnoticed");
}

pub(in super::super) fn case_rotary<B: TensorBackend>(backend: &B) {
    for (i, rows) in shapes().into_iter().enumerate() {
        let (d, positions, skip) = (rows.dims, 50, i % 3);
        let angle = |p: usize, i: usize| p as f64 * 100f64.powf(-2.0 * i as f64 / d as f64);
        let line = |p: usize| {
            let (cosines, sines) =
                (0..d / 2).map(move |i| (angle(p, i).cos() as f32, angle(p, i).sin() as f32)).unzip();
            [cosines, sines] as [Vec<f32>; 2]
        };
        let angles: Vec<f32> = (0..positions).flat_map(line).flatten().collect();
        let x = values("rotary", rows.end());
        let places: Vec<u32> =
            (0..rows.tokens).map(|t| [t * 7 % 50, 50, u32::MAX as usize][(t % 9) / 7] as u32).collect();
        let words = index(backend, &vec![3; skip].into_iter().chain(places.iter().copied()).collect::<Vec<_>>());
        let table = tensor(backend, 0, &angles);
        for inverse in [false, true] {
            let mut turned = tensor(backend, 0, &x);
            backend.rotary(&rows, inverse, from(&words, skip), (&table, positions), &mut turned).expect("rotary");
            let got = rows_within(&rows, &read(backend, &turned, 0, rows.end()), &x);
            for r in 0..rows.rows() {
                let (at, p) = (place(&rows, r), places[r / rows.heads] as usize);
                let row = wide(&x[at..at + d]);
                let want = match angles.get(p.saturating_mul(d)..p.saturating_mul(d).saturating_add(d)) {
                    Some(line) => oracle::rotary(&row, &wide(line), inverse),
                    None => row.clone(),
                };
                let size = |c: usize| row[c].abs() + row[(c + d / 2) % d].abs();
                hold(&format!("row {r} of {rows:?}"), &got[r * d..(r + 1) * d], &want, |c| 4.0 * U * size(c));
                if r / rows.heads == 1 {
                    assert!(differs(&wide(&got[r * d..(r + 1) * d]), &row, 1e-3, 0.0), "{rows:?}: nothing turned");
                }
            }
            backend.rotary(&rows, !inverse, from(&words, skip), (&table, positions), &mut turned).expect("rotary");
            let back = read(backend, &turned, 0, rows.end());
            hold("there and back", &back, &wide(&x), |_| 2e-5);
        }
    }
}

pub(in super::super) fn case_gated<B: TensorBackend>(backend: &B) {
    for (n, f) in [(0, 5), (3, 0), (1, 1), (7, 63), (8, 64), (9, 65), (3, 1000), (300, 17)] {
        let (mut x, up) = (values("gated", n * 2 * f), values("gated up", n * f));
        if n == 300 {
            // Past where exponentials overflow, on either side.
            [0.0, -0.0, 80.0, -80.0, 104.0, -104.0, 1e4, -1e4, 1e30, -1e30]
                .iter()
                .enumerate()
                .for_each(|(i, v)| x[i] = *v);
        }
        let (given, grads) = (tensor(backend, 0, &x), tensor(backend, 0, &up));
        let (mut y, mut back) = (empty(backend, n * f), empty(backend, n * 2 * f));
        backend.gated((n, f), &given, &mut y).expect("gated");
        backend.gated_backward((n, f), &given, &grads, &mut back).expect("backward");
        let (got, back) = (read(backend, &y, 0, n * f), read(backend, &back, 0, n * 2 * f));
        for i in 0..n {
            let (x, up) = (wide(&x[i * 2 * f..(i + 1) * 2 * f]), wide(&up[i * f..(i + 1) * f]));
            let (want, what) = (oracle::gated(&x), format!("row {i} of {n}×{f}"));
            hold(&what, &got[i * f..(i + 1) * f], &want, |c| 8.0 * U * (x[c] * x[f + c]).abs() + 1e-30);
            let want = oracle::gated_backward(&x, &up);
            // Slopes are off by a few units of 1.
            hold(&format!("gradient, {what}"), &back[i * 2 * f..(i + 1) * 2 * f], &want, |c| {
                24.0 * U * (up[c % f] * if c < f { x[f + c] } else { x[c - f] }).abs() + 1e-30
            });
        }
    }
    let given = tensor(backend, 0, &[f32::NAN, 1.0, 1.0, f32::INFINITY, 1.0, 2.0]);
    let mut y = empty(backend, 3);
    backend.gated((1, 3), &given, &mut y).expect("gated");
    let got = read(backend, &y, 0, 3);
    assert!(got[0].is_nan() && got[1].is_finite() && got[2].is_finite(), "{got:?}");
}

pub(in super::super) fn case_dropout<B: TensorBackend>(backend: &B) {
    for (len, first_bit) in LENGTHS.into_iter().chain([20_000]).zip([0, 5, 32, 31, 1, 64, 77, 3]) {
        let (x, (words, kept)) = (values("dropout", len), mask_bits(first_bit, len));
        let bits = index(backend, &words);
        let mut out = tensor(backend, 0, &x);
        backend.dropout(len, Mask { bits: &bits, first_bit, scale: 1.25 }, &mut out).expect("dropout");
        let want: Vec<f32> = x.iter().zip(&kept).map(|(x, kept)| if *kept { 1.25 * x } else { 0.0 }).collect();
        assert_eq!(read(backend, &out, 0, len), want, "{len} values from bit {first_bit}");
        assert!(len < 255 || (kept.contains(&true) && kept.contains(&false)), "an uninformative mask");
    }
    // What is not kept is 0, whatever it was.
    let (bits, mut out) = (index(backend, &[0b01]), tensor(backend, 0, &[f32::NAN, f32::NAN]));
    backend.dropout(2, Mask { bits: &bits, first_bit: 0, scale: 1.0 }, &mut out).expect("dropout");
    let got = read(backend, &out, 0, 2);
    assert!(got[0].is_nan() && got[1] == 0.0, "{got:?}");
}

/// More rows and values than workgroups that one dimension of a dispatch holds.
pub(in super::super) fn case_rows_past_one_dimension<B: TensorBackend>(backend: &B) {
    let n = 262_144 + 3;
    let x = long("long rows");
    let (x, rows) = (&x[..2 * n], HeadRows::plain(n, 2));
    let (given, ones) = (tensor(backend, 0, x), tensor(backend, 0, &[1.0; 2]));
    let (mut y, mut gate) = (tensor(backend, 0, x), empty(backend, n));
    backend.rms_norm(&rows, EPSILON, &given, whole(&ones), &mut y).expect("rms norm");
    backend.gated((n, 1), &given, &mut gate).expect("gated");
    let (normed, gates) = (read(backend, &y, 0, 2 * n), read(backend, &gate, 0, n));
    for i in (0..n).rev().step_by(997) {
        let row = wide(&x[2 * i..2 * i + 2]);
        let want = oracle::rms_norm(&row, &[1.0; 2], f64::from(EPSILON));
        hold(&format!("row {i}"), &normed[2 * i..2 * i + 2], &want, |_| 1e-5);
        hold(&format!("gate {i}"), &gates[i..=i], &oracle::gated(&row), |_| 1e-5 * (row[0] * row[1]).abs() + 1e-30);
    }
    let (quarter, words) = (tensor(backend, 0, &[0.0, 1.0]), index(backend, &vec![0; n]));
    let mut turned = tensor(backend, 0, x);
    backend.rotary(&rows, false, whole(&words), (&quarter, 1), &mut turned).expect("rotary");
    let got = read(backend, &turned, 0, 2 * n);
    assert!((0..n).all(|i| got[2 * i] == -x[2 * i + 1] && got[2 * i + 1] == x[2 * i]), "a quarter of a turn");
    let all = long("long rows");
    let (bits, mut out) = (index(backend, &vec![0x5555_5555; LONG.div_ceil(32)]), tensor(backend, 0, &all));
    backend.dropout(LONG, Mask { bits: &bits, first_bit: 0, scale: 2.0 }, &mut out).expect("dropout");
    let got = read(backend, &out, 0, LONG);
    let want = |i: usize| if i.is_multiple_of(2) { 2.0 * all[i] } else { 0.0 };
    assert!((0..LONG).all(|i| got[i] == want(i)), "dropout past 65,535 workgroups");
}
