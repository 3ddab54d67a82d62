//! Every kernel against plain f64 loops. Each case is written once over `Backend`, so that every backend runs through the
//! very same shapes; codes are compared exactly wherever f64 separates them by more than the stated bound.

use crate::support::{
    argmin, assert_close, differs, dot, download, plain, rows, scale_bias, scores, small_chunks, squared_l2, upload,
    wide,
};
use sememe::compute::gpu::kernel::TILES;
use sememe::compute::gpu::{AssignKernel, Gpu, Options};
use sememe::compute::{Backend, HostPartition, Metric};
use sememe::{Codec, Device, EncodeOptions, Error, Matrix, RqKMeans, rng};
use std::collections::BTreeMap;

/// Sizes around tiles and chunks, odd dimensions, one codeword and many: (n, k, d).
const SHAPES: &[(usize, usize, usize)] = &[
    (0, 2, 4),
    (1, 1, 1),
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

fn case_distances<B: Backend>(backend: &B) {
    for (n, k, d) in SHAPES {
        let (data, words) = (rows("distance", *n, *d), codewords("distance words", *k, *d));
        let resident = upload(backend, &data, *n, *d);
        let codebook = backend.codebook(*k, *d, &words, Metric::SquaredL2).expect("codebook");
        let got = wide(&backend.distances(&resident, &codebook).expect("distances"));
        let want: Vec<f64> =
            data.chunks_exact(*d).flat_map(|x| words.chunks_exact(*d).map(move |c| squared_l2(x, c))).collect();
        let largest = want.iter().fold(1.0f64, |m, v| m.max(*v));
        // A GEMM form may cancel, so the absolute part scales with the largest norm.
        let atol = 1e-6 * largest * (*d as f64).sqrt();
        assert_close("squared L2", &got, &want, atol, 1e-4);
        assert!(got.iter().all(|v| *v >= 0.0));
        if *n > 8 && *d > 2 {
            let mut moved = words.clone();
            moved[d - 1] += 0.5;
            let other = backend.codebook(*k, *d, &moved, Metric::SquaredL2).expect("codebook");
            let got = wide(&backend.distances(&resident, &other).expect("distances"));
            assert!(differs(&got, &want, atol, 1e-4), "a moved codeword went unnoticed");
        }
    }
}

/// Holds a partition to f64: labels exactly where the gap exceeds the bounds, scores within the bounds.
fn check_partition<B: Backend>(
    backend: &B,
    found: &HostPartition,
    data: &[f32],
    words: &[f32],
    d: usize,
    metric: Metric,
) -> usize {
    let mut decided = 0;
    let (eta, u) = (backend.dot_error(d), backend.unit_roundoff());
    for (i, row) in data.chunks_exact(d).enumerate() {
        let want = scores(row, words, metric, eta, u);
        let label = found.labels[i] as usize;
        let winner = argmin(want.iter().map(|(s, _)| *s));
        let (score, bound) = want[label];
        let off = (f64::from(found.best[i]) - score).abs();
        assert!(off <= bound, "row {i}: best score off by {off:e}, bound {bound:e}");
        let runner = argmin(want.iter().enumerate().map(|(j, (s, _))| if j == winner { f64::MAX } else { *s }));
        if want.len() == 1 {
            assert_eq!((label, found.second[i]), (0, f32::MAX), "row {i}");
            continue;
        }
        let gap = want[runner].0 - want[winner].0;
        if gap > want[runner].1 + want[winner].1 {
            assert_eq!(label, winner, "row {i}: gap {gap:e}");
            decided += 1;
        }
        let off = (f64::from(found.second[i]) - want[runner].0).abs();
        let bound = want.iter().fold(0.0f64, |m, (_, b)| m.max(*b));
        assert!(off <= bound, "row {i}: second score off by {off:e}, bound {bound:e}");
        assert!(found.second[i] >= found.best[i], "row {i}");
    }
    decided
}

fn case_assign<B: Backend>(backend: &B) {
    for metric in [Metric::SquaredL2, Metric::Cosine] {
        for (n, k, d) in SHAPES {
            let (data, words) = (rows("assign", *n, *d), codewords("assign words", *k, *d));
            let resident = upload(backend, &data, *n, *d);
            let codebook = backend.codebook(*k, *d, &words, metric).expect("codebook");
            assert_eq!(backend.read_codebook(&codebook).expect("read"), words);
            let mut partition = backend.partition(*n).expect("partition");
            let assigned = backend.assign(&resident, &codebook, &mut partition).expect("assign");
            let found = backend.read_partition(&partition).expect("read");
            assert_eq!((found.labels.len(), found.best.len(), found.second.len()), (*n, *n, *n));
            let decided = check_partition(backend, &found, &data, &words, *d, metric);
            assert!(
                *k == 1 || *d == 1 || decided * 10 >= *n * 9,
                "{n}×{d}, k = {k}: f64 separates {decided} rows only"
            );
            let sum: f64 = wide(&found.best).iter().sum();
            let size: f64 = found.best.iter().map(|v| f64::from(v.abs())).sum();
            assert_close("score sum", &[assigned.score_sum], &[sum], 1e-5 * size + 1e-30, 0.0);
        }
    }
}

fn case_assign_ties<B: Backend>(backend: &B) {
    let (n, d) = (200, 12);
    let data = rows("ties", n, d);
    for k in [2usize, 40, 300] {
        // Codeword j equals codeword j % (k/2): the lower of each pair must win, with no margin.
        let half = codewords("tie words", k / 2, d);
        let words: Vec<f32> = half.iter().chain(&half).copied().collect();
        let resident = upload(backend, &data, n, d);
        let codebook = backend.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
        let mut partition = backend.partition(n).expect("partition");
        backend.assign(&resident, &codebook, &mut partition).expect("assign");
        let found = backend.read_partition(&partition).expect("read");
        for i in 0..n {
            assert!((found.labels[i] as usize) < k / 2, "row {i}: the higher index of a tie won");
            assert_eq!(found.best[i].to_bits(), found.second[i].to_bits(), "row {i}");
        }
    }
}

/// Loads under prices against f64; a pass of Sinkhorn's algorithm brings an f64 oracle's marginals the same way.
fn case_loads<B: Backend>(backend: &B) {
    for metric in [Metric::SquaredL2, Metric::Cosine] {
        for (n, k, d) in SHAPES {
            let (data, words) = (rows("loads", *n, *d), codewords("loads words", *k, *d));
            let prices: Vec<f32> = (0..*k).map(|j| (j % 7) as f32 * 0.05 - 0.1).collect();
            let resident = upload(backend, &data, *n, *d);
            let mut codebook = backend.codebook(*k, *d, &words, metric).expect("codebook");
            backend.set_prices(&mut codebook, &prices).expect("prices");
            let scores: Vec<Vec<f64>> = data
                .chunks_exact(*d)
                .map(|row| {
                    let plain = scores(row, &words, metric, 0.0, 0.0);
                    plain.iter().zip(&prices).map(|((s, _), p)| s + f64::from(*p)).collect()
                })
                .collect();
            let size = scores.iter().flatten().fold(1e-3f64, |m, s| m.max(s.abs()));
            let epsilon = (0.2 * size) as f32;
            let soft = |epsilon: f64| {
                let mut loads = vec![0.0f64; *k];
                for row in &scores {
                    let best = row.iter().copied().fold(f64::INFINITY, f64::min);
                    let weights: Vec<f64> = row.iter().map(|s| ((best - s) / epsilon).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    loads.iter_mut().zip(&weights).for_each(|(l, w)| *l += w / sum);
                }
                loads
            };
            let mut partition = backend.partition(*n).expect("partition");
            let found = backend.loads(&resident, &codebook, epsilon, &mut partition).expect("loads");
            assert_eq!(found.loads.len(), *k);
            assert_close("loads", &found.loads, &soft(f64::from(epsilon)), 1e-5, 1e-3);
            assert_close("rows", &[found.loads.iter().sum()], &[*n as f64], 1e-9, 1e-4);
            if *n > 8 && *k > 2 && *d > 2 {
                assert!(differs(&found.loads, &soft(1.5 * f64::from(epsilon)), 1e-5, 1e-3), "epsilon went unnoticed");
            }
            // The labels are those of `assign` under the same prices.
            let labels = backend.read_partition(&partition).expect("read").labels;
            backend.assign(&resident, &codebook, &mut partition).expect("assign");
            assert_eq!(labels, backend.read_partition(&partition).expect("read").labels);
            let mut clear = 0;
            for (label, row) in labels.iter().zip(&scores) {
                let best = argmin(row.iter().copied());
                let second =
                    row.iter().enumerate().filter(|(j, _)| *j != best).map(|(_, s)| *s).fold(f64::MAX, f64::min);
                if second - row[best] > 1e-4 * size {
                    assert_eq!(*label as usize, best, "{n}×{d}, k = {k}: a price went unnoticed");
                    clear += 1;
                }
            }
            assert!(*d == 1 || clear * 10 >= *n * 8, "{n}×{d}, k = {k}: {clear} rows are clear");
        }
    }
    // Far apart in units of epsilon: every row is wholly its best codeword's.
    let (data, words) = (rows("far", 300, 6), codewords("far words", 9, 6));
    let (resident, mut partition) = (upload(backend, &data, 300, 6), backend.partition(300).expect("partition"));
    let mut codebook = backend.codebook(9, 6, &words, Metric::SquaredL2).expect("codebook");
    let found = backend.loads(&resident, &codebook, 1e-9, &mut partition).expect("loads");
    let counts = backend.tally(&mut partition, 9).expect("tally");
    assert_close("hard loads", &found.loads, &counts.iter().map(|c| f64::from(*c)).collect::<Vec<_>>(), 1e-3, 1e-3);
    assert!(backend.set_prices(&mut codebook, &[0.0; 8]).is_err());
}

fn case_assign_perturbed<B: Backend>(backend: &B) {
    let (n, k, d) = (150, 20, 24);
    let (data, mut words) = (rows("perturbed", n, d), codewords("perturbed words", k, d));
    let resident = upload(backend, &data, n, d);
    let mut codebook = backend.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
    let run = |codebook: &B::Codebook| {
        let mut partition = backend.partition(n).expect("partition");
        backend.assign(&resident, codebook, &mut partition).expect("assign");
        backend.read_partition(&partition).expect("read")
    };
    let before = run(&codebook);
    // A codeword that sits on a row takes it, and its bias is derived anew.
    let target = (before.labels[7] as usize + 3) % k;
    words[target * d..(target + 1) * d].copy_from_slice(&data[7 * d..8 * d]);
    backend.set_codewords(&mut codebook, &[(target as u32, data[7 * d..8 * d].to_vec())]).expect("set");
    assert_eq!(backend.read_codebook(&codebook).expect("read"), words);
    let after = run(&codebook);
    assert_eq!(after.labels[7] as usize, target);
    assert_ne!(before.labels, after.labels, "a moved codeword went unnoticed");
    check_partition(backend, &after, &data, &words, d, Metric::SquaredL2);
    assert!(backend.set_codewords(&mut codebook, &[(k as u32, vec![0.0; d])]).is_err());
    assert!(backend.set_codewords(&mut codebook, &[(0, vec![0.0; d + 1])]).is_err());
}

/// Terms that vanish one by one beside a large one, and count only if they are first added among themselves: the error stays
/// within the stated bound only if the backend adds in the way its bound assumes.
fn case_dot_error_is_kept<B: Backend>(backend: &B) {
    let (n, k, d) = (3, 2, 8192);
    let large_then = |small: f32| (0..d).map(move |c| if c == 0 { 1.0 } else { small });
    let data: Vec<f32> = (0..n).flat_map(|_| large_then(2f32.powi(-12))).collect();
    let words: Vec<f32> = (0..k).flat_map(|j| large_then(if j == 0 { 2f32.powi(-13) } else { -1.0 })).collect();
    let fill = &mut |start: usize, part: &mut [f32]| {
        part.copy_from_slice(&data[start * d..start * d + part.len()]);
        Ok(())
    };
    let resident = backend.upload_rows(n, d, fill).expect("upload");
    let codebook = backend.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
    let mut partition = backend.partition(n).expect("partition");
    backend.assign(&resident, &codebook, &mut partition).expect("assign");
    let found = backend.read_partition(&partition).expect("read");
    assert_eq!(check_partition(backend, &found, &data, &words, d, Metric::SquaredL2), n);
}

fn case_zero_codeword_under_cosine<B: Backend>(backend: &B) {
    let (n, d) = (40, 6);
    let data = rows("zero word", n, d);
    let mut words = codewords("zero word words", 5, d);
    words[2 * d..3 * d].fill(0.0);
    let resident = upload(backend, &data, n, d);
    let codebook = backend.codebook(5, d, &words, Metric::Cosine).expect("codebook");
    let mut partition = backend.partition(n).expect("partition");
    backend.assign(&resident, &codebook, &mut partition).expect("assign");
    let found = backend.read_partition(&partition).expect("read");
    check_partition(backend, &found, &data, &words, d, Metric::Cosine);
}

fn case_tally_and_sums<B: Backend>(backend: &B) {
    for (n, k, d) in [(0, 3, 2), (1, 1, 1), (255, 4, 3), (257, 300, 20), (2049, 7, 5), (4500, 33, 70)] {
        // Labels of k and k + 1 are left out. Small integers add exactly, so sums are compared exactly.
        let labels = labels(n, k as u64 + 2);
        let data: Vec<f32> = (0..n * d).map(|i| (i * 7919 % 41) as f32 - 20.0).collect();
        let resident = upload(backend, &data, n, d);
        let mut partition = backend.partition_from(&labels).expect("partition");
        assert_eq!(backend.read_partition(&partition).expect("read").labels, labels);
        assert!(backend.centroid_sums(&resident, &mut partition, k).is_err(), "untallied partitions are refused");
        let counts = backend.tally(&mut partition, k).expect("tally");
        let mut want = vec![0u32; k];
        let mut sums = vec![0.0f64; k * d];
        for (i, label) in labels.iter().enumerate().filter(|(_, l)| (**l as usize) < k) {
            want[*label as usize] += 1;
            for c in 0..d {
                sums[*label as usize * d + c] += f64::from(data[i * d + c]);
            }
        }
        assert_eq!(counts, want, "n = {n}, k = {k}");
        assert_eq!(backend.centroid_sums(&resident, &mut partition, k).expect("sums"), sums, "n = {n}, k = {k}");
    }
}

fn case_update<B: Backend>(backend: &B) {
    for metric in [Metric::SquaredL2, Metric::Cosine] {
        for (n, k, d) in [(1, 1, 1), (300, 7, 3), (700, 130, 20), (2500, 3, 70)] {
            let (data, words) = (rows("update", n, d), codewords("update words", k, d));
            let mut assignment = labels(n, k as u64);
            // One codeword without rows stays as it is.
            if k > 2 {
                assignment.iter_mut().filter(|l| **l == 2).for_each(|l| *l = 0);
            }
            let weights: Vec<f32> = (0..k).map(|j| if j % 2 == 0 { 1.0 } else { 0.3 }).collect();
            let resident = upload(backend, &data, n, d);
            let mut codebook = backend.codebook(k, d, &words, metric).expect("codebook");
            let mut partition = backend.partition_from(&assignment).expect("partition");
            backend.tally(&mut partition, k).expect("tally");
            backend.update(&resident, &mut partition, &mut codebook, &weights).expect("update");
            let got = backend.read_codebook(&codebook).expect("read");
            let mut want = wide(&words);
            for j in 0..k {
                let members: Vec<usize> = (0..n).filter(|i| assignment[*i] as usize == j).collect();
                for c in 0..d {
                    let sum: f64 = members.iter().map(|i| f64::from(data[i * d + c])).sum();
                    if !members.is_empty() {
                        let mean = sum / members.len() as f64;
                        want[j * d + c] += f64::from(weights[j]) * (mean - want[j * d + c]);
                    }
                }
            }
            assert_close("codewords", &wide(&got), &want, 2e-5, 1e-5);
            assert!(differs(&wide(&got), &wide(&words), 2e-5, 1e-5), "nothing moved");
            if k > 2 {
                assert_eq!(got[2 * d..3 * d], words[2 * d..3 * d], "an empty codeword moved");
            }
            // The biases were derived anew: scores agree with the codewords that came back, less the norm's own rounding.
            let mut partition = backend.partition(n).expect("partition");
            backend.assign(&resident, &codebook, &mut partition).expect("assign");
            let found = backend.read_partition(&partition).expect("read");
            for (i, row) in data.chunks_exact(d).enumerate() {
                let j = found.labels[i] as usize;
                let (w, b) = scale_bias(&got[j * d..(j + 1) * d], metric);
                let score = b - w * dot(row, &got[j * d..(j + 1) * d]);
                let size = 1.0
                    + b.abs()
                    + dot(row, row).sqrt() * if metric == Metric::Cosine { 1.0 } else { (2.0 * b).sqrt() };
                assert_close("score", &[f64::from(found.best[i])], &[score], 3e-5 * size, 0.0);
            }
        }
    }
}

fn case_means_are_exact<B: Backend>(backend: &B) {
    let (n, d) = (600, 9);
    let data: Vec<f32> = (0..n * d).map(|i| (i * 31 % 17) as f32 - 8.0).collect();
    let resident = upload(backend, &data, n, d);
    let mut codebook = backend.codebook(1, d, &vec![1e30; d], Metric::SquaredL2).expect("codebook");
    let mut partition = backend.partition_from(&vec![0; n]).expect("partition");
    backend.tally(&mut partition, 1).expect("tally");
    backend.update(&resident, &mut partition, &mut codebook, &[1.0]).expect("update");
    let got = backend.read_codebook(&codebook).expect("read");
    for c in 0..d {
        let sum: f32 = (0..n).map(|i| data[i * d + c]).sum();
        let ulp = f32::EPSILON * (sum / n as f32).abs();
        // The mean itself, whatever lies in the codeword before; division may round either way.
        assert!((got[c] - sum / n as f32).abs() <= 2.5 * ulp, "{} {}", got[c], sum / n as f32);
    }
}

fn case_farthest<B: Backend>(backend: &B) {
    let (n, k, d) = (500, 6, 10);
    let (mut data, words) = (rows("far", n, d), codewords("far words", k, d));
    for i in [3usize, 77, 410] {
        data[i * d..(i + 1) * d].iter_mut().for_each(|v| *v *= 20.0 + i as f32);
    }
    let resident = upload(backend, &data, n, d);
    let codebook = backend.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
    let mut partition = backend.partition(n).expect("partition");
    backend.assign(&resident, &codebook, &mut partition).expect("assign");
    let nearest =
        |i: usize| words.chunks_exact(d).map(|c| squared_l2(&data[i * d..(i + 1) * d], c)).fold(f64::MAX, f64::min);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| nearest(*b).total_cmp(&nearest(*a)));
    let want: Vec<u32> = order.iter().take(3).map(|i| *i as u32).collect();
    assert_eq!(backend.farthest(&resident, &partition, 3).expect("farthest"), want);
    assert_eq!(backend.farthest(&resident, &partition, 0).expect("farthest"), Vec::<u32>::new());
    let mut all = backend.farthest(&resident, &partition, n).expect("farthest");
    all.sort_unstable();
    assert_eq!(all, (0..n as u32).collect::<Vec<_>>());
}

fn case_residual<B: Backend>(backend: &B) {
    for (n, k, d) in SHAPES {
        let (data, words, assignment) =
            (rows("residual", *n, *d), codewords("residual words", *k, *d), labels(*n, *k as u64));
        let mut resident = upload(backend, &data, *n, *d);
        let codebook = backend.codebook(*k, *d, &words, Metric::SquaredL2).expect("codebook");
        let partition = backend.partition_from(&assignment).expect("partition");
        backend.residual(&mut resident, &codebook, &partition).expect("residual");
        let want: Vec<f64> = (0..n * d)
            .map(|at| f64::from(data[at]) - f64::from(words[assignment[at / d] as usize * d + at % d]))
            .collect();
        assert_close("residual", &wide(&download(backend, &resident)), &want, 1e-30, 2.4e-7);
    }
}

fn case_norms<B: Backend>(backend: &B) {
    for (n, _, d) in SHAPES.iter().copied().chain([(1100, 0, 70)]) {
        let mut data = rows("norms", n, d);
        if n > 30 {
            data[5 * d..6 * d].fill(0.0);
        }
        let mut resident = upload(backend, &data, n, d);
        let squared: Vec<f64> = data.chunks_exact(d).map(|x| dot(x, x)).collect();
        assert_close("squared norms", &wide(&backend.row_norms(&resident).expect("norms")), &squared, 1e-30, 1e-5);
        let total: f64 = squared.iter().sum();
        assert_close("sum of squares", &[backend.sum_squares(&resident).expect("sum")], &[total], 1e-30, 1e-5);
        let norms = backend.normalize(&mut resident).expect("normalize");
        let want: Vec<f64> = squared.iter().map(|v| v.sqrt()).collect();
        assert_close("norms", &wide(&norms), &want, 1e-30, 1e-5);
        let want: Vec<f64> = data
            .chunks_exact(d)
            .flat_map(|x| {
                let norm = dot(x, x).sqrt();
                x.iter().map(move |v| if norm > 0.0 { f64::from(*v) / norm } else { 0.0 })
            })
            .collect();
        assert_close("unit rows", &wide(&download(backend, &resident)), &want, 1e-30, 1e-5);
    }
}

fn case_column_sums_and_scatter<B: Backend>(backend: &B) {
    for (n, d) in [(0, 3), (1, 1), (33, 5), (1025, 17), (1500, 70)] {
        let data = rows("columns", n, d);
        let resident = upload(backend, &data, n, d);
        let mut sums = vec![0.0f64; d];
        let mut sizes = vec![0.0f64; d];
        for row in data.chunks_exact(d) {
            for c in 0..d {
                sums[c] += f64::from(row[c]);
                sizes[c] += f64::from(row[c].abs());
            }
        }
        let size = sizes.iter().fold(1e-30f64, |m, v| m.max(*v));
        assert_close("column sums", &backend.column_sums(&resident).expect("sums"), &sums, 1e-5 * size, 0.0);
        let mean: Vec<f32> = sums.iter().map(|s| (s / n.max(1) as f64) as f32).collect();
        let oracle = |mean: &[f32]| {
            let mut want = vec![0.0f64; d * d];
            for row in data.chunks_exact(d) {
                for a in 0..d {
                    for b in 0..d {
                        want[a * d + b] += f64::from(row[a] - mean[a]) * f64::from(row[b] - mean[b]);
                    }
                }
            }
            want
        };
        let want = oracle(&mean);
        let size = want.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
        let got = backend.scatter(&resident, &mean).expect("scatter");
        assert_close("scatter", &got, &want, 1e-5 * size, 0.0);
        if n > 100 {
            let mut other = mean.clone();
            other[d - 1] += 0.5;
            assert!(differs(&got, &oracle(&other), 1e-5 * size, 0.0), "a moved mean went unnoticed");
        }
    }
}

fn case_project<B: Backend>(backend: &B) {
    for (n, p, d) in [(0, 2, 3), (1, 1, 1), (33, 17, 20), (300, 3, 70), (270, 100, 5), (140, 40, 40)] {
        let (data, components) = (rows("project", n, d), rows("components", p, d));
        let mean: Vec<f32> = (0..d).map(|c| 0.1 * c as f32 - 0.3).collect();
        let scales: Vec<f32> = (0..p).map(|q| 0.5 + q as f32).collect();
        let resident = upload(backend, &data, n, d);
        let got = backend.project(&resident, &mean, &components, &scales).expect("project");
        assert_eq!(backend.shape(&got), (n, p));
        let mut want = Vec::new();
        for row in data.chunks_exact(d) {
            for q in 0..p {
                let sum: f64 =
                    (0..d).map(|c| (f64::from(row[c]) - f64::from(mean[c])) * f64::from(components[q * d + c])).sum();
                want.push(sum * f64::from(scales[q]));
            }
        }
        let size = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        assert_close("projection", &wide(&download(backend, &got)), &want, 1e-5 * size, 0.0);
        // What comes out is as good as uploaded rows: its padding is zero.
        let squared: Vec<f64> = want.chunks_exact(p).map(|x| x.iter().map(|v| v * v).sum()).collect();
        let size = squared.iter().fold(1.0f64, |m, v| m.max(*v));
        assert_close("norms", &wide(&backend.row_norms(&got).expect("norms")), &squared, 1e-4 * size, 0.0);
        // No components: the identity, scaled.
        let scales: Vec<f32> = (0..d).map(|c| 2.0 - 0.1 * c as f32).collect();
        let got = backend.project(&resident, &mean, &[], &scales).expect("project");
        let want: Vec<f64> =
            (0..n * d).map(|at| (f64::from(data[at]) - f64::from(mean[at % d])) * f64::from(scales[at % d])).collect();
        assert_close("scaled", &wide(&download(backend, &got)), &want, 1e-5, 1e-6);
        assert!(backend.project(&resident, &mean, &[], &vec![1.0; d + 1]).is_err());
        // Nothing at all: a copy.
        let got = backend.project(&resident, &[], &[], &[]).expect("project");
        assert_eq!(download(backend, &got), data);
        let picks: Vec<u32> = (0..if n == 0 { 0 } else { 2 * n }).map(|i| (i * 17 % n) as u32).collect();
        let got = download(backend, &backend.gather_rows(&resident, &picks).expect("gather"));
        for (row, pick) in got.chunks_exact(d).zip(&picks) {
            assert_eq!(row, &data[*pick as usize * d..][..d]);
        }
    }
}

fn case_seeding<B: Backend>(backend: &B) {
    for (n, d, count) in [(1, 1, 1), (40, 3, 5), (1300, 9, 16), (700, 20, 17), (300, 5, 64)] {
        let data = rows("seeding", n, d);
        let resident = upload(backend, &data, n, d);
        let mut seeding = backend.seeding(&resident).expect("seeding");
        let first = backend.seeding_draw(&seeding, &[0.0, 0.5, 0.999_999]).expect("draw");
        assert_eq!(first, [0, (n / 2) as u32, (0.999_999 * n as f64) as u32], "uniform before the first");
        let mut nearest = vec![f64::MAX; n];
        for round in 0..3usize {
            let candidates: Vec<u32> = (0..count).map(|t| ((t * 13 + round * 7 + n / 3) % n) as u32).collect();
            let row = |i: usize| &data[i * d..(i + 1) * d];
            let table: Vec<Vec<f64>> =
                candidates.iter().map(|t| (0..n).map(|i| squared_l2(row(i), row(*t as usize))).collect()).collect();
            let sums = |nearest: &[f64]| -> Vec<f64> {
                table.iter().map(|line| line.iter().zip(nearest).map(|(a, b)| a.min(*b)).sum()).collect()
            };
            let got = backend.seeding_try(&resident, &mut seeding, &candidates).expect("try");
            let size = sums(&nearest).iter().fold(1e-9f64, |m, v| m.max(*v));
            assert_close("sums tried", &got, &sums(&nearest), 1e-5 * size, 1e-4);
            let slot = round % count;
            let got = backend.seeding_accept(&mut seeding, slot).expect("accept");
            nearest.iter_mut().zip(&table[slot]).for_each(|(a, b)| *a = a.min(*b));
            assert_close("sums accepted", &got, &sums(&nearest), 1e-5 * size, 1e-4);
            let total: f64 = nearest.iter().sum();
            let uniforms: Vec<f64> = (0..20).map(|i| (f64::from(i) + 0.37) / 20.0).collect();
            let drawn = backend.seeding_draw(&seeding, &uniforms).expect("draw");
            assert_eq!(drawn, backend.seeding_draw(&seeding, &uniforms).expect("draw"));
            for (u, pick) in uniforms.iter().zip(&drawn).filter(|_| total > 0.0) {
                // The row's share of the line 0..total holds u, within rounding.
                let before: f64 = nearest[..*pick as usize].iter().sum();
                let (low, high) = (before / total, (before + nearest[*pick as usize]) / total);
                assert!((low - 1e-4..=high + 1e-4).contains(u), "u = {u}: row {pick} covers {low}..{high}");
                assert!(nearest[*pick as usize] > 0.0, "a chosen codeword was drawn again");
            }
        }
        assert!(backend.seeding_try(&resident, &mut seeding, &[n as u32]).is_err());
        assert!(backend.seeding_try(&resident, &mut seeding, &vec![0; 65]).is_err());
        assert!(backend.seeding_try(&resident, &mut seeding, &[]).is_err());
    }
}

fn case_levels<B: Backend>(backend: &B) {
    let (n, d, ks) = (310, 18, [20usize, 33, 5]);
    let data = rows("levels", n, d);
    let words: Vec<Vec<f32>> = ks.iter().enumerate().map(|(l, k)| codewords(&format!("level {l}"), *k, d)).collect();
    for normalize in [false, true] {
        let mut resident = upload(backend, &data, n, d);
        let books: Vec<_> = ks
            .iter()
            .zip(&words)
            .map(|(k, w)| backend.codebook(*k, d, w, Metric::SquaredL2).expect("codebook"))
            .collect();
        let got = backend.assign_levels(&mut resident, &books, normalize).expect("levels");
        let mut decided = 0;
        for i in 0..n {
            let mut row = wide(&data[i * d..(i + 1) * d]);
            for (l, words) in words.iter().enumerate() {
                let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
                let at = i * ks.len() + l;
                assert_close("norm", &[f64::from(got.norm[at])], &[norm], 1e-6, 1e-3);
                if normalize {
                    row.iter_mut().for_each(|v| *v /= norm);
                }
                let score =
                    |c: &[f32]| 0.5 * dot(c, c) - row.iter().zip(c).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
                let all: Vec<f64> = words.chunks_exact(d).map(score).collect();
                let winner = argmin(all.iter().copied());
                let runner = argmin(all.iter().enumerate().map(|(j, s)| if j == winner { f64::MAX } else { *s }));
                let margin = all[runner] - all[winner];
                if margin < 1e-3 {
                    // Too close for f32 along a chain: later levels may rightly differ.
                    break;
                }
                assert_eq!(got.codes[at] as usize, winner, "row {i}, level {l}");
                assert_close("margin", &[f64::from(got.margin[at])], &[margin], 5e-4, 1e-4);
                decided += 1;
                let word = &words[winner * d..(winner + 1) * d];
                row.iter_mut().zip(word).for_each(|(a, b)| *a -= f64::from(*b));
            }
        }
        assert!(decided > n * 2, "{decided} of {} codes are decided", 3 * n);
    }
    let mut none = upload(backend, &[], 0, d);
    let book = backend.codebook(ks[0], d, &words[0], Metric::SquaredL2).expect("codebook");
    assert!(backend.assign_levels(&mut none, &[book], false).expect("levels").codes.is_empty());
}

/// Costs of prefixes in f64, and the smallest gaps that decided.
fn beam_oracle(row: &[f32], words: &[Vec<f32>], width: usize) -> (Vec<u32>, f64, f64) {
    let d = row.len();
    let mut beam: Vec<(f64, Vec<u32>)> = vec![(0.0, Vec::new())];
    let (mut kept_gap, mut final_gap) = (f64::MAX, f64::MAX);
    for (level, book) in words.iter().enumerate() {
        let mut next = Vec::new();
        for (cost, codes) in &beam {
            for (j, c) in book.chunks_exact(d).enumerate() {
                let cross: f64 = codes
                    .iter()
                    .enumerate()
                    .map(|(l, code)| dot(&words[l][*code as usize * d..(*code as usize + 1) * d], c))
                    .sum();
                let mut codes = codes.clone();
                codes.push(j as u32);
                next.push((cost + 0.5 * dot(c, c) - dot(row, c) + cross, codes));
            }
        }
        next.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        if level + 1 == words.len() {
            final_gap = if next.len() > 1 { next[1].0 - next[0].0 } else { f64::MAX };
        } else if next.len() > width {
            kept_gap = kept_gap.min(next[width].0 - next[width - 1].0);
        }
        next.truncate(width);
        beam = next;
    }
    (beam.swap_remove(0).1, kept_gap.min(final_gap), final_gap)
}

fn case_beam<B: Backend>(backend: &B) {
    for (n, d, ks, width) in [
        (0, 3, vec![2usize], 1usize),
        (1, 1, vec![1], 1),
        (140, 10, vec![20, 17, 9], 4),
        (70, 6, vec![5, 4], 1),
        (60, 8, vec![3, 2, 40], 64),
    ] {
        let data = rows("beam", n, d);
        let words: Vec<Vec<f32>> = ks.iter().enumerate().map(|(l, k)| codewords(&format!("beam {l}"), *k, d)).collect();
        let gram: Vec<Vec<f32>> = (0..ks.len())
            .map(|m| {
                let earlier: Vec<&[f32]> = words[..m].iter().flat_map(|w| w.chunks_exact(d)).collect();
                words[m].chunks_exact(d).flat_map(|c| earlier.iter().map(move |e| dot(c, e) as f32)).collect()
            })
            .collect();
        let books: Vec<_> = ks
            .iter()
            .zip(&words)
            .map(|(k, w)| backend.codebook(*k, d, w, Metric::SquaredL2).expect("codebook"))
            .collect();
        let resident = upload(backend, &data, n, d);
        let got = backend.beam(&resident, &books, &gram, width).expect("beam");
        assert_eq!((got.codes.len(), got.margin.len()), (n * ks.len(), n));
        let mut decided = 0;
        for (i, row) in data.chunks_exact(d).enumerate() {
            let (codes, gap, _) = beam_oracle(row, &words, width);
            if gap > 1e-3 {
                assert_eq!(got.codes[i * ks.len()..(i + 1) * ks.len()], codes, "row {i}");
                decided += 1;
                if gap < 1e30 {
                    // Never more than what decided: a backend may count in the last level's cut, which decides nothing.
                    assert!(f64::from(got.margin[i]) <= gap + 1e-3 * (1.0 + gap), "row {i}: {} > {gap}", got.margin[i]);
                }
            }
        }
        assert!(decided * 10 >= n * 8, "{decided} of {n} rows are decided");
        assert!(backend.beam(&resident, &books, &gram, 0).is_err());
    }
}

fn case_beam_ties<B: Backend>(backend: &B) {
    let (n, d) = (50, 4);
    let data = rows("beam ties", n, d);
    let half = codewords("beam tie words", 6, d);
    let words: Vec<f32> = half.iter().chain(&half).copied().collect();
    let gram = |a: &[f32], b: &[f32]| -> Vec<f32> {
        a.chunks_exact(d).flat_map(|x| b.chunks_exact(d).map(move |y| dot(x, y) as f32)).collect()
    };
    let book = || backend.codebook(12, d, &words, Metric::SquaredL2).expect("codebook");
    let resident = upload(backend, &data, n, d);
    let got = backend.beam(&resident, &[book(), book()], &[Vec::new(), gram(&words, &words)], 3).expect("beam");
    assert!(got.codes.iter().all(|c| *c < 6), "the higher code of a tie won");
    assert!(got.margin.iter().all(|m| *m == 0.0), "a tie has no margin");
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

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        /// Small chunks, checked shaders, poisoned buffers.
        mod gpu {
            $(#[test]
            fn $case() {
                if let Some(gpu) = super::small_chunks() {
                    super::$case(gpu);
                }
            })*
        }
        /// As users get it.
        mod gpu_plain {
            $(#[test]
            fn $case() {
                if let Some(gpu) = super::plain() {
                    super::$case(gpu);
                }
            })*
        }
        /// The CPU backend through the same cases.
        mod cpu {
            $(#[test]
            fn $case() {
                super::$case(&sememe::compute::cpu::Cpu::new());
            })*
        }
    };
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
    case_beam,
    case_beam_ties,
    case_shapes_are_checked,
    case_determinism,
}

/// All tiles find the same codes, and the same bits in every score.
#[test]
fn every_tile_gives_the_same_scores() {
    let Some(gpu) = small_chunks() else { return };
    let (n, k, d) = (260, 140, 40);
    let (data, words) = (rows("tiles", n, d), codewords("tile words", k, d));
    let Some(gpu) = crate::support::open(gpu.options().clone()) else { return };
    let resident = upload(&gpu, &data, n, d);
    let codebook = gpu.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
    let mut first: Option<(HostPartition, u64)> = None;
    let names = TILES.iter().flat_map(|t| [t.name.to_owned(), format!("{} subgroup", t.name)]);
    for name in names {
        gpu.set_tiles(BTreeMap::from([("assign d64 k256".to_owned(), name.clone())])).expect("tiles");
        let mut partition = gpu.partition(n).expect("partition");
        let sum = gpu.assign(&resident, &codebook, &mut partition).expect("assign").score_sum;
        let found = (gpu.read_partition(&partition).expect("read"), sum.to_bits());
        check_partition(&gpu, &found.0, &data, &words, d, Metric::SquaredL2);
        assert_eq!(&found, first.get_or_insert_with(|| found.clone()), "{name}");
    }
    assert_eq!(gpu.tiles().len(), 1);
    assert!(gpu.set_tiles(BTreeMap::from([("x".to_owned(), "7x7x7".to_owned())])).is_err());
}

/// Rows and codewords from 2^-90 to 2^90, and within a row values down to 2^-40 of its largest: splitting scales by line.
fn case_mixed_magnitudes<B: Backend>(backend: &B) {
    let (n, k, d) = (190, 70, 33);
    let size = |at: usize, step: i32| 2f32.powi((at / d % 19) as i32 * step - 9 * step - (at % d % 5) as i32 * 10);
    let scaled = |mut values: Vec<f32>, step: i32| -> Vec<f32> {
        values.iter_mut().enumerate().for_each(|(at, v)| *v *= size(at, step));
        values
    };
    let (data, words) = (scaled(rows("mixed", n, d), 10), scaled(codewords("mixed words", k, d), 3));
    for metric in [Metric::SquaredL2, Metric::Cosine] {
        let resident = upload(backend, &data, n, d);
        let codebook = backend.codebook(k, d, &words, metric).expect("codebook");
        let mut partition = backend.partition(n).expect("partition");
        backend.assign(&resident, &codebook, &mut partition).expect("assign");
        let found = backend.read_partition(&partition).expect("read");
        let decided = check_partition(backend, &found, &data, &words, d, metric);
        assert!(decided * 2 > n, "{decided} of {n} rows are decided");
    }
}

/// A kernel of `assign` that was asked for by name, through every case that computes it. Skipped where the adapter does not
/// name the feature; where it does, opening must succeed.
fn run_assign_kernel(assign: AssignKernel, feature: &str) {
    let Some(plain) = plain() else { return };
    let options = Options { chunk_bytes: 96 << 10, checked: true, poison: true, assign, ..Options::default() };
    let has = |a: &sememe::compute::gpu::AdapterSummary| a.info == plain.info() && a.features.contains(&feature);
    if !feature.is_empty() && !Gpu::adapters().iter().any(has) {
        println!("skipped {assign:?}: {} has no {feature}", plain.info().name);
        assert!(Gpu::with_options(Options { software: true, ..options }).is_err(), "{assign:?} without {feature}");
        return;
    }
    let Some(gpu) = crate::support::open(options) else { return };
    assert_eq!(gpu.options().assign, assign);
    case_assign(&gpu);
    case_assign_ties(&gpu);
    case_assign_perturbed(&gpu);
    case_dot_error_is_kept(&gpu);
    case_zero_codeword_under_cosine(&gpu);
    case_mixed_magnitudes(&gpu);
    case_levels(&gpu);
    case_determinism(&gpu);
    // Whatever computes the scores, its bound is what certifies codes: they are the reference's.
    let (n, d) = (700, 24);
    let matrix = Matrix::from_vec(n, d, rows("codes by kernel", n, d)).expect("matrix");
    let config = RqKMeans { codebook_sizes: vec![40, 20, 8], iterations: 5, ..RqKMeans::default() };
    let codec = Codec::train(&matrix, &config, &Device::cpu(), &()).expect("train");
    let device = Device::Gpu(std::sync::Arc::new(gpu));
    let encoded = codec.encoder(&device, &EncodeOptions::default()).and_then(|e| e.encode(&matrix)).expect("encode");
    assert_eq!(encoded.codes, codec.encode_reference(&matrix, 1).expect("reference"));
    assert!(encoded.rechecked * 10 < n as u64, "{} of {n} rows were rechecked", encoded.rechecked);
    println!("{assign:?}: {} of {n} rows were rechecked", encoded.rechecked);
}

#[test]
fn assign_by_tiles_alone() {
    run_assign_kernel(AssignKernel::Tiles, "");
}

#[test]
fn assign_by_subgroups() {
    run_assign_kernel(AssignKernel::Subgroup, "subgroup");
}

#[test]
fn assign_by_split_f16() {
    run_assign_kernel(AssignKernel::SplitF16, "shader-f16");
}

#[test]
fn assign_by_cooperative_matrices() {
    run_assign_kernel(AssignKernel::Matrix, "cooperative-matrix");
}

/// Lines of more than 65,535 workgroups fold into rectangles: a counting table of 65,536 groups, and one row a group.
#[test]
fn more_workgroups_than_one_dimension_holds() {
    let Some(gpu) = plain() else { return };
    let (n, k) = (1000, 1 << 24);
    let labels: Vec<u32> = (0..n).map(|i| i * 16_777).collect();
    let mut partition = gpu.partition_from(&labels).expect("partition");
    let counts = gpu.tally(&mut partition, k).expect("tally");
    assert_eq!(counts.iter().map(|c| *c as usize).sum::<usize>(), n as usize);
    assert!(labels.iter().all(|l| counts[*l as usize] == 1));
    let n = 66_000;
    let data: Vec<f32> = (0..n).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
    let resident = upload(gpu, &data, n, 1);
    let book = gpu.codebook(2, 1, &[-1.0, 1.0], Metric::SquaredL2).expect("codebook");
    let got = gpu.beam(&resident, &[book], &[Vec::new()], 1).expect("beam");
    assert!(got.codes.iter().enumerate().all(|(i, c)| (*c == 1) == (i % 3 == 0)));
}

#[test]
fn a_lost_device_is_an_error() {
    let Some(gpu) = crate::support::open(Options::default()) else { return };
    let data = rows("lost", 64, 8);
    let resident = upload(&gpu, &data, 64, 8);
    gpu.destroy();
    let lost = gpu.row_norms(&resident);
    assert!(matches!(lost, Err(Error::DeviceLost(_))), "{lost:?}");
    assert!(matches!(gpu.codebook(1, 8, &[0.0; 8], Metric::Cosine), Err(Error::DeviceLost(_))));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let Some(gpu) = plain() else { return };
    let fill = &mut |_: usize, _: &mut [f32]| Err(Error::Data("not reached".into()));
    let refused = gpu.upload_rows(1 << 42, 64, fill);
    assert!(refused.is_err());
    // The device goes on working.
    assert_eq!(gpu.column_sums(&upload(gpu, &[1.0, 2.0], 2, 1)).expect("sums"), [3.0]);
}

#[test]
fn adapters_and_refusals() {
    let Some(gpu) = plain() else { return };
    let adapters = Gpu::adapters();
    assert!(adapters.iter().any(|a| a.info == gpu.info()));
    if adapters.iter().all(|a| a.info.kind == sememe::DeviceKind::SoftwareGpu) {
        assert!(matches!(Gpu::open(false), Err(Error::Device(_))), "software adapters are used only when asked for");
    }
    assert!(gpu.tile_key().contains(&gpu.info().name));
}

/// A caller's own device serves, and answers as ours does.
#[test]
fn a_device_can_be_brought_along() {
    use sememe::compute::gpu::wgpu;
    let Some(gpu) = plain() else { return };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).expect("adapter");
    // WebGPU's default limits are all that the kernels need.
    let (device, queue) =
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("device");
    let own = Gpu::from_wgpu(&adapter.get_info(), device, queue).expect("default limits suffice");
    assert_eq!(own.options().chunk_bytes, 128 << 20);
    let data = rows("own device", 300, 20);
    let sums = |gpu: &Gpu| gpu.row_norms(&upload(gpu, &data, 300, 20)).expect("norms");
    if own.info() == gpu.info() {
        assert_eq!(sums(&own), sums(gpu));
    }
    case_assign(&own);
    case_update(&own);
    case_beam(&own);
}

/// The device's own clock, where it has one.
#[test]
fn kernels_can_be_timed() {
    let Some(gpu) = crate::support::open(Options { timings: true, ..Options::default() }) else { return };
    case_determinism(&gpu);
    let timings = gpu.take_timings().expect("timings");
    if gpu.options().timings {
        assert!(timings.iter().any(|t| t.stem == "assign" && t.nanoseconds > 0.0), "{timings:?}");
        assert!(gpu.take_timings().expect("timings").is_empty());
    }
}

/// Operations of several threads on one device do not get into each other's scratch space.
#[test]
fn threads_share_a_device() {
    let Some(gpu) = small_chunks() else { return };
    let run = |seed: usize| {
        let (n, k, d) = (200 + 70 * seed, 9 + seed, 5 + 11 * seed);
        let (data, words) = (rows("threads", n, d), codewords("thread words", k, d));
        let resident = upload(gpu, &data, n, d);
        let mut codebook = gpu.codebook(k, d, &words, Metric::SquaredL2).expect("codebook");
        let mut partition = gpu.partition(n).expect("partition");
        let sum = gpu.assign(&resident, &codebook, &mut partition).expect("assign").score_sum;
        let counts = gpu.tally(&mut partition, k).expect("tally");
        gpu.update(&resident, &mut partition, &mut codebook, &vec![1.0; k]).expect("update");
        (sum.to_bits(), counts, gpu.read_codebook(&codebook).expect("read"), gpu.row_norms(&resident).expect("norms"))
    };
    let alone: Vec<_> = (0..4).map(run).collect();
    for _ in 0..3 {
        let together: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || run(seed))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        assert_eq!(together, alone);
    }
}
