//! Every kernel against plain f64 loops. Each case is written once over `Backend`, so that every backend runs through the
//! very same shapes; codes are compared exactly wherever f64 separates them by more than the stated bound.

mod assign;
#[cfg(feature = "gpu")]
mod device;
mod update;
#[cfg(feature = "gpu")]
mod variants;

use crate::support::{
    argmin, assert_close, cases, differs, dot, download, rows, scale_bias, scores, squared_l2, upload, wide,
};
#[cfg(feature = "gpu")]
use crate::support::{plain, small_chunks};
use assign::*;
use sememe::compute::{Backend, HostPartition, Metric};
use sememe::{Error, rng};
use update::*;

/// Sizes around tiles and chunks, odd dimensions, one codeword and many: (n, k, d).
const SHAPES: &[(usize, usize, usize)] = &[
    (0, 2, 4),
    (1, 1, 1),
    (200, 3, 1),
    (130, 1, 5),
    (97, 40, 1),
    (2, 2, 3),
    (31, 33, 33),
    (32, 32, 64),
    (33, 31, 100),
    (127, 5, 16),
    (129, 255, 17),
    (300, 256, 8),
    (515, 257, 3),
];

fn codewords(name: &str, k: usize, d: usize) -> Vec<f32> {
    rows(name, k, d)
}

fn labels(n: usize, bound: u64) -> Vec<u32> {
    let mut stream = rng::stream(5, "labels", n as u64);
    (0..n).map(|_| stream.below(bound) as u32).collect()
}

fn case_round_trip<B: Backend>(backend: &B) {
    for (n, _, d) in SHAPES {
        let data = rows("round trip", *n, *d);
        let resident = upload(backend, &data, *n, *d);
        assert_eq!(download(backend, &resident), data);
        for start in [0, n / 3, n.saturating_sub(1)] {
            let count = (n - start).min(200);
            let mut out = vec![f32::NAN; count * d];
            backend.read_rows(&resident, start, &mut out).expect("read");
            assert_eq!(out, data[start * d..(start + count) * d]);
        }
        let mut past = vec![0.0; d * (n + 1)];
        assert!(backend.read_rows(&resident, 0, &mut past).is_err());
    }
}

fn case_shapes_are_checked<B: Backend>(backend: &B) {
    let data = rows("shapes", 10, 4);
    let mut resident = upload(backend, &data, 10, 4);
    let codebook = backend.codebook(2, 3, &[0.5; 6], Metric::SquaredL2).expect("codebook");
    let mut partition = backend.partition(10).expect("partition");
    assert!(matches!(
        backend.assign(&resident, &codebook, &mut partition),
        Err(Error::Shape { expected: 4, got: 3, .. })
    ));
    assert!(backend.distances(&resident, &codebook).is_err());
    assert!(backend.residual(&mut resident, &codebook, &partition).is_err());
    assert!(backend.codebook(2, 3, &[0.5; 5], Metric::SquaredL2).is_err());
    assert!(backend.scatter(&resident, &[0.0; 3]).is_err());
    let codebook = backend.codebook(2, 4, &[0.5; 8], Metric::SquaredL2).expect("codebook");
    let mut short = backend.partition(9).expect("partition");
    assert!(backend.assign(&resident, &codebook, &mut short).is_err());
}

/// Labels are indices into codewords: what is no codeword's is refused before a kernel reads there.
fn case_labels_are_checked<B: Backend>(backend: &B) {
    let (n, k, d) = (150, 3, 5);
    let (data, words) = (rows("labels", n, d), codewords("label words", k, d));
    let codebook = backend.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
    let mut resident = upload(backend, &data, n, d);
    let mut given = labels(n, 3);
    given[n - 1] = 3;
    let refusal = backend.residual(&mut resident, &codebook, &backend.partition_from(&given).expect("partition"));
    assert!(matches!(&refusal, Err(Error::Data(problem)) if problem == "label 3 of 3"), "{refusal:?}");
    given[n - 1] = u32::MAX;
    assert!(backend.residual(&mut resident, &codebook, &backend.partition_from(&given).expect("partition")).is_err());
    assert_eq!(download(backend, &resident), data, "a refused call changes nothing");
    // A fresh partition is that of the first codeword.
    let fresh = backend.partition(n).expect("partition");
    backend.residual(&mut resident, &codebook, &fresh).expect("residual");
    let want: Vec<f32> = data.iter().enumerate().map(|(at, v)| v - words[at % d]).collect();
    assert_eq!(download(backend, &resident), want);
    // Labels of a larger codebook are none of a smaller one.
    let mut partition = backend.partition(n).expect("partition");
    backend.assign(&resident, &codebook, &mut partition).expect("assign");
    let small = backend.codebook(1, d, &words[..d], Metric::SquaredL2).expect("codebook");
    assert!(backend.read_partition(&partition).expect("read").labels.iter().any(|label| *label > 0));
    assert!(backend.residual(&mut resident, &small, &partition).is_err());
}

/// Sizes that no device takes are refused alike.
fn case_sizes_are_checked<B: Backend>(backend: &B) {
    let most = sememe::compute::MAX_CODEWORDS;
    for (k, d) in [(0, 4), (most + 1, 1), (usize::MAX, 2), (4, 0)] {
        let len = k.checked_mul(d).filter(|len| *len < 1 << 25).unwrap_or(0);
        let refused = backend.codebook(k, d, &vec![0.5; len], Metric::SquaredL2);
        assert!(refused.is_err(), "{k} codewords of {d}");
        if k == 0 || k > most {
            let problem = refused.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(problem, format!("a codebook holds 1 to {most} codewords, got {k}"));
        }
    }
    let fill = &mut |_: usize, _: &mut [f32]| Err(Error::Data("not reached".into()));
    for (n, d) in [(usize::MAX, 2), (usize::MAX / 2, 3), (1 << 61, 1), (3, 0)] {
        assert!(!matches!(backend.upload_rows(n, d, fill), Err(Error::Data(problem)) if problem == "not reached"));
    }
    let resident = upload(backend, &[1.0, -2.0, 3.0], 3, 1);
    assert!(backend.read_rows(&resident, usize::MAX, &mut [0.0; 2]).is_err());
}

fn case_determinism<B: Backend>(backend: &B) {
    let (n, k, d) = (900, 50, 30);
    let (data, words) = (rows("determinism", n, d), codewords("determinism words", k, d));
    let run = || {
        let mut resident = upload(backend, &data, n, d);
        let mut codebook = backend.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
        let mut partition = backend.partition(n).expect("partition");
        let mut bits = vec![backend.assign(&resident, &codebook, &mut partition).expect("assign").score_sum.to_bits()];
        backend.tally(&mut partition, k).expect("tally");
        backend.update(&resident, &mut partition, &mut codebook, &vec![1.0; k]).expect("update");
        bits.extend(backend.read_codebook(&codebook).expect("read").iter().map(|v| u64::from(v.to_bits())));
        bits.extend(backend.column_sums(&resident).expect("sums").iter().map(|v| v.to_bits()));
        bits.extend(backend.scatter(&resident, &vec![0.0; d]).expect("scatter").iter().map(|v| v.to_bits()));
        bits.push(backend.sum_squares(&resident).expect("sum").to_bits());
        bits.extend(backend.normalize(&mut resident).expect("normalize").iter().map(|v| u64::from(v.to_bits())));
        bits
    };
    assert_eq!(run(), run());
}

cases! {
    case_round_trip,
    case_distances,
    case_assign,
    case_assign_ties,
    case_loads,
    case_assign_perturbed,
    case_dot_error_is_kept,
    case_zero_codeword_under_cosine,
    case_tally_and_sums,
    case_update,
    case_means_are_exact,
    case_farthest,
    case_residual,
    case_norms,
    case_column_sums_and_scatter,
    case_project,
    case_seeding,
    case_levels,
    case_columns,
    case_beam,
    case_beam_ties,
    case_shapes_are_checked,
    case_labels_are_checked,
    case_sizes_are_checked,
    case_determinism,
}
