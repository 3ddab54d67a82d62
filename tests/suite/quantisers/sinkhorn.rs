//! Labels that Sinkhorn balances.

use super::*;

pub(super) struct Assigned {
    pub(super) labels: Vec<u32>,
    pub(super) potentials: Vec<f64>,
}

pub(super) fn assign<B: TensorBackend>(
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

pub(super) fn case_sinkhorn<B: TensorBackend>(backend: &B) {
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
pub(super) fn case_sinkhorn_of_lc_rec<B: TensorBackend>(backend: &B) {
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
pub(super) fn case_sinkhorn_marginals<B: TensorBackend>(backend: &B) {
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

pub(super) fn case_sinkhorn_extremes<B: TensorBackend>(backend: &B) {
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
