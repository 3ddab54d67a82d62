//! Counts, sums, new codewords, residuals, norms, projections and seeding.

use super::*;

pub(super) fn case_tally_and_sums<B: Backend>(backend: &B) {
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

pub(super) fn case_update<B: Backend>(backend: &B) {
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

pub(super) fn case_means_are_exact<B: Backend>(backend: &B) {
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

pub(super) fn case_farthest<B: Backend>(backend: &B) {
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

pub(super) fn case_residual<B: Backend>(backend: &B) {
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

pub(super) fn case_norms<B: Backend>(backend: &B) {
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

pub(super) fn case_column_sums_and_scatter<B: Backend>(backend: &B) {
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

pub(super) fn case_project<B: Backend>(backend: &B) {
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

pub(super) fn case_seeding<B: Backend>(backend: &B) {
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
