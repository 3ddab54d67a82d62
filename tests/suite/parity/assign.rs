//! Distances and assignment, by every kernel that computes them.

use super::*;

pub(super) fn case_distances<B: Backend>(backend: &B) {
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
pub(super) fn check_partition<B: Backend>(
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

pub(super) fn case_assign<B: Backend>(backend: &B) {
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

pub(super) fn case_assign_ties<B: Backend>(backend: &B) {
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
pub(super) fn case_loads<B: Backend>(backend: &B) {
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

pub(super) fn case_assign_perturbed<B: Backend>(backend: &B) {
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
pub(super) fn case_dot_error_is_kept<B: Backend>(backend: &B) {
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

pub(super) fn case_zero_codeword_under_cosine<B: Backend>(backend: &B) {
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

pub(super) fn case_levels<B: Backend>(backend: &B) {
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

/// Columns are copied exactly, whatever the chunks, and levels side by side find what each finds alone.
pub(super) fn case_columns<B: Backend>(backend: &B) {
    for (n, d, widths, ks) in [
        (1usize, 1usize, vec![1usize], vec![3usize]),
        (300, 23, vec![12, 11], vec![20, 33]),
        (517, 40, vec![1, 16, 17, 6], vec![5, 1, 130, 4]),
    ] {
        let data = rows("columns", n, d);
        let resident = upload(backend, &data, n, d);
        let words: Vec<Vec<f32>> =
            ks.iter().zip(&widths).enumerate().map(|(l, (k, w))| codewords(&format!("side {l}"), *k, *w)).collect();
        let books: Vec<_> = (0..ks.len())
            .map(|l| backend.codebook(ks[l], widths[l], &words[l], Metric::SquaredL2).expect("codebook"))
            .collect();
        let got = backend.assign_columns(&resident, &books).expect("levels");
        let (mut first, mut decided) = (0, 0);
        for (l, width) in widths.iter().copied().enumerate() {
            assert_eq!(backend.codebook_shape(&books[l]), (ks[l], width));
            let own = backend.columns(&resident, first, width).expect("columns");
            let want: Vec<f32> = data.chunks_exact(d).flat_map(|row| row[first..first + width].to_vec()).collect();
            assert_eq!(download(backend, &own), want, "columns {first}..{}", first + width);
            first += width;
            for (i, row) in want.chunks_exact(width).enumerate() {
                let at = i * ks.len() + l;
                let norm = dot(row, row).sqrt();
                assert_close("norm", &[f64::from(got.norm[at])], &[norm], 1e-6, 1e-5);
                let all = scores(row, &words[l], Metric::SquaredL2, 0.0, 0.0);
                let winner = argmin(all.iter().map(|s| s.0));
                let runner = all.iter().enumerate().filter(|(j, _)| *j != winner).map(|(_, s)| s.0);
                let margin = runner.fold(f64::MAX, f64::min) - all[winner].0;
                if margin > 1e-3 {
                    assert_eq!(got.codes[at] as usize, winner, "row {i}, level {l}");
                    decided += 1;
                }
            }
        }
        assert!(decided * 10 >= n * ks.len() * 9, "{decided} of {} codes are decided", n * ks.len());
        for (first, count) in [(0, 0), (0, d + 1), (d, 1), (usize::MAX, 2)] {
            assert!(backend.columns(&resident, first, count).is_err(), "{count} from {first} on");
        }
        let more: Vec<_> =
            books.into_iter().chain([backend.codebook(1, 1, &[0.5], Metric::SquaredL2).expect("codebook")]).collect();
        assert!(backend.assign_columns(&resident, &more).is_err());
    }
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

pub(super) fn case_beam<B: Backend>(backend: &B) {
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

pub(super) fn case_beam_ties<B: Backend>(backend: &B) {
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

/// Rows and codewords from 2^-90 to 2^90, and within a row values down to 2^-40 of its largest: splitting scales by line.
#[cfg(feature = "gpu")]
pub(super) fn case_mixed_magnitudes<B: Backend>(backend: &B) {
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
