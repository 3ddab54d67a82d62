//! Balanced levels: loads within their bounds, assignments that are optimal, prices that keep the balance and exact codes.

use crate::codec::{clustered, devices};
use safetensors::tensor::{SafeTensors, TensorView};
use sememe::compute::reference::ResidualQuantizer;
use sememe::fit::{Fitted, LoadTarget};
use sememe::rng::stream;
use sememe::{
    Balance, Codec, Codes, Device, EncodeOptions, Error, Event, Matrix, Metric, Observer, Refine, RqKMeans, TrainedBy,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

fn capacity(minimum: Option<u32>, maximum: Option<u32>) -> Balance {
    Balance { loads: LoadTarget::Capacity { minimum, maximum }, ..Balance::default() }
}

fn settings(sizes: &[usize], balance: Balance) -> RqKMeans {
    RqKMeans { codebook_sizes: sizes.to_vec(), iterations: 9, balance: Some(balance), ..RqKMeans::default() }
}

fn loads(codes: &Codes, level: usize, k: usize) -> Vec<u32> {
    let mut out = vec![0; k];
    codes.iter().for_each(|row| out[row[level] as usize] += 1);
    out
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// The least total cost of a square matrix `[n, n]`: Kuhn and Munkres, with potentials, O(n³). Shares nothing with the library.
fn hungarian(cost: &[Vec<f64>]) -> f64 {
    let n = cost.len();
    let (mut u, mut v) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut owner = vec![0usize; n + 1];
    let mut way = vec![0usize; n + 1];
    for i in 1..=n {
        owner[0] = i;
        let mut j0 = 0;
        let mut least = vec![f64::INFINITY; n + 1];
        let mut used = vec![false; n + 1];
        loop {
            used[j0] = true;
            let (i0, mut delta, mut j1) = (owner[j0], f64::INFINITY, 0);
            for j in 1..=n {
                if !used[j] {
                    let now = cost[i0 - 1][j - 1] - u[i0] - v[j];
                    if now < least[j] {
                        (least[j], way[j]) = (now, j0);
                    }
                    if least[j] < delta {
                        (delta, j1) = (least[j], j);
                    }
                }
            }
            for j in 0..=n {
                if used[j] {
                    u[owner[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            j0 = j1;
            if owner[j0] == 0 {
                break;
            }
        }
        while j0 != 0 {
            owner[j0] = owner[way[j0]];
            j0 = way[j0];
        }
    }
    (1..=n).map(|j| cost[owner[j] - 1][j - 1]).sum()
}

/// The least sum of squared L2 under bounds: every codeword has `most` places, of which `least` must go to rows; rows that do
/// not exist fill the others at no cost.
fn optimum(rows: &Matrix, book: &Matrix, (least, most): (usize, usize)) -> f64 {
    let (n, k) = (rows.rows(), book.rows());
    let places: Vec<(usize, bool)> = (0..k).flat_map(|j| (0..most).map(move |p| (j, p < least))).collect();
    let line = |i: usize| {
        let cost = |(j, must): &(usize, bool)| match (i < n, must) {
            (true, _) => squared(rows.row(i), book.row(*j)),
            (false, true) => 1e9,
            (false, false) => 0.0,
        };
        places.iter().map(cost).collect()
    };
    hungarian(&(0..places.len()).map(line).collect::<Vec<Vec<f64>>>())
}

#[test]
fn the_oracle_solves_what_can_be_seen() {
    let rows = Matrix::from_vec(4, 1, vec![0.0, 1.0, 2.0, 10.0]).unwrap();
    let book = Matrix::from_vec(2, 1, vec![0.0, 10.0]).unwrap();
    assert_eq!(optimum(&rows, &book, (0, 4)), 5.0);
    assert_eq!(optimum(&rows, &book, (2, 2)), 1.0 + 64.0);
    assert_eq!(optimum(&rows, &book, (1, 2)), 65.0);
}

#[test]
fn bounds_hold_and_assignments_are_optimal() {
    for device in devices() {
        for (case, (n, k, minimum, maximum)) in [
            (40, 4, None, None),
            (41, 4, None, None),
            (30, 7, Some(1), Some(9)),
            (50, 5, Some(3), None),
            (50, 5, None, Some(13)),
            (24, 24, None, None),
            (33, 3, Some(0), Some(33)),
            (25, 2, Some(12), Some(13)),
        ]
        .into_iter()
        .enumerate()
        {
            let mut rows = clustered(n, 5, 3, case as u64);
            if case % 2 == 1 && k < 10 {
                // Duplicates, which no prices tell apart.
                for i in (n / 2..n).step_by(3) {
                    let twin = rows.row(i - n / 2).to_vec();
                    rows.as_mut_slice()[i * 5..(i + 1) * 5].copy_from_slice(&twin);
                }
            }
            let balance = capacity(minimum, maximum);
            let (least, most) = balance.bounds(n, k).unwrap();
            let (codec, codes) = Codec::train_assigned(&rows, &settings(&[k], balance), &device, &()).unwrap();
            let counts = loads(&codes, 0, k);
            assert!(counts.iter().all(|c| (least..=most).contains(c)), "case {case}: {counts:?}");
            assert_eq!(counts.iter().sum::<u32>() as usize, n);
            let book = codec.codebook(0);
            let found: f64 = (0..n).map(|i| squared(rows.row(i), book.row(codes.row(i)[0] as usize))).sum();
            let want = optimum(&rows, book, (least as usize, most as usize));
            assert!(found <= want * (1.0 + 1e-5) + 1e-6, "case {case} on {device:?}: {found} for an optimum of {want}");
            let elsewhere = codec.encode(&rows).unwrap().iter().zip(codes.iter()).filter(|(a, b)| a != b).count();
            let report = codec.manifest().training.levels[0].balance.unwrap();
            assert_eq!((report.least_load, report.largest_load), {
                let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                (u64::from(*low), u64::from(*high))
            });
            assert!(elsewhere.abs_diff(report.moved_rows as usize) <= 1, "case {case}: {elsewhere} rows, {report:?}");
        }
    }
}

#[test]
fn random_bounds_hold_at_every_level() {
    let mut random = stream(5, "balance.cases", 0);
    for case in 0..25 {
        let (n, d) = (20 + random.below(300) as usize, 1 + random.below(9) as usize);
        let k = 1 + random.below(12) as usize;
        let rows = clustered(n, d, 1 + random.below(20) as usize, case);
        let (down, up) = ((n / k) as u64, n.div_ceil(k) as u64);
        let (minimum, maximum) = (random.below(down + 1) as u32, (up + random.below(20)) as u32);
        let config = RqKMeans {
            seed: case,
            metric: if case % 3 == 2 { Metric::Cosine } else { Metric::SquaredL2 },
            starts: 1 + (case % 2) as usize,
            ..settings(&[k, k], capacity(Some(minimum), Some(maximum)))
        };
        let (codec, codes) = Codec::train_assigned(&rows, &config, &Device::cpu(), &()).unwrap();
        for level in 0..2 {
            let counts = loads(&codes, level, k);
            assert!(counts.iter().all(|c| (minimum..=maximum).contains(c)), "case {case}: {counts:?}");
        }
        assert_eq!(codec.levels(), 2);
    }
}

#[test]
fn prices_alone_keep_the_balance_and_a_row_its_code() {
    let rows = clustered(3000, 12, 40, 3);
    let (codec, codes) =
        Codec::train_assigned(&rows, &settings(&[16, 16], Balance::capacity()), &Device::cpu(), &()).unwrap();
    assert_eq!(codec.manifest().format_version, 3);
    let found = codec.encode(&rows).unwrap();
    let elsewhere = found.iter().zip(codes.iter()).filter(|(a, b)| a != b).count();
    assert!(elsewhere <= 5, "{elsewhere} rows are elsewhere");
    for (i, row) in found.iter().enumerate().step_by(97) {
        assert_eq!(codec.encode_row(rows.row(i)).unwrap(), row);
    }
    // Rows of the same kind that training has not seen: nearest codewords would be far less even.
    let fresh = clustered(3000, 12, 40, 3);
    let quantizer = ResidualQuantizer { prices: Vec::new(), ..codec.quantizer().clone() };
    let unpriced = wrap(quantizer).encode(&fresh).unwrap();
    let spread = |codes: &Codes| loads(codes, 0, 16).iter().max().copied().unwrap_or(0);
    assert!(spread(&codec.encode(&fresh).unwrap()) < spread(&unpriced), "prices make no difference");
}

fn wrap(quantizer: ResidualQuantizer) -> Codec {
    let fitted = Fitted {
        quantizer,
        mean_norm: 1.0,
        residual_norms: vec![],
        beam: 1,
        shared_codebook: false,
        probes: Matrix::default(),
        summary: Default::default(),
    };
    Codec::from_fitted(fitted, TrainedBy::RqKMeans(&RqKMeans::default())).unwrap()
}

#[test]
fn sinkhorn_levels_are_even_and_the_others_are_not() {
    let rows = clustered(2000, 8, 6, 4);
    let plain = RqKMeans { balance: None, ..settings(&[32, 32], Balance::sinkhorn()) };
    let one = settings(&[32, 32], Balance { levels: Some(vec![1]), epsilon: 0.03, ..Balance::sinkhorn() });
    let perplexity = |config: &RqKMeans| {
        let codec = Codec::train(&rows, config, &Device::cpu(), &()).unwrap();
        let codes = codec.encode(&rows).unwrap();
        let of = |level| sememe::fit::perplexity(&loads(&codes, level, 32));
        (of(0), of(1), codec.manifest().priced_levels.clone())
    };
    let (before, after) = (perplexity(&plain), perplexity(&one));
    assert_eq!((&before.2, &after.2), (&vec![], &vec![1]));
    assert_eq!(before.0, after.0);
    assert!(after.1 > 31.9 && after.1 > before.1 + 0.1, "{before:?} {after:?}");
}

/// Prices chosen so that rows tie, or nearly: the whole chain in f64, the price included, decides on every device.
#[test]
fn priced_codes_equal_an_oracle_on_every_device() {
    for (metric, beam) in [(Metric::SquaredL2, 1), (Metric::Cosine, 1), (Metric::SquaredL2, 5)] {
        let rows = clustered(600, 20, 8, 6);
        let config = RqKMeans { metric, balance: None, ..settings(&[12, 9], Balance::sinkhorn()) };
        let mut quantizer = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap().quantizer().clone();
        let score = |row: &[f64], c: &[f32]| {
            let dot: f64 = c.iter().zip(row).map(|(a, b)| f64::from(*a) * b).sum();
            let square: f64 = c.iter().map(|a| f64::from(*a).powi(2)).sum();
            if metric == Metric::Cosine { -dot / square.sqrt() } else { 0.5 * square - dot }
        };
        // The price of codeword j is what makes row j indifferent between it and codeword 0.
        let prices = |book: &Matrix| -> Vec<f32> {
            (0..book.rows())
                .map(|j| {
                    let row: Vec<f64> = rows.row(j).iter().map(|v| f64::from(*v)).collect();
                    (score(&row, book.row(0)) - score(&row, book.row(j))) as f32
                })
                .collect()
        };
        quantizer.prices = quantizer.codebooks.iter().map(prices).collect();
        let codec = wrap(quantizer.clone());
        let expected: Codes = if beam > 1 {
            codec.encode_reference(&rows, beam).unwrap()
        } else {
            let mut codes = Vec::new();
            for i in 0..rows.rows() {
                let mut row: Vec<f64> = rows.row(i).iter().map(|v| f64::from(*v)).collect();
                for (book, prices) in quantizer.codebooks.iter().zip(&quantizer.prices) {
                    let priced = |j: usize| score(&row, book.row(j)) + f64::from(prices[j]);
                    let best = (0..book.rows()).min_by(|a, b| priced(*a).total_cmp(&priced(*b))).unwrap();
                    codes.push(best as u32);
                    row.iter_mut().zip(book.row(best)).for_each(|(v, c)| *v -= f64::from(*c));
                }
            }
            Codes::from_vec(rows.rows(), 2, codes).unwrap()
        };
        for device in devices() {
            let options = EncodeOptions { beam: Some(beam), ..EncodeOptions::default() };
            let found = codec.encoder(&device, &options).unwrap().encode(&rows).unwrap();
            assert_eq!(found.codes, expected, "{metric:?}, beam {beam} on {device:?}");
            assert!(found.rechecked > 0, "no row was close: {metric:?}, beam {beam} on {device:?}");
        }
        // Cheap enough to win some row, wherever training put the codeword.
        quantizer.prices[1][3] -= 1e6;
        assert_ne!(wrap(quantizer).encode_reference(&rows, beam).unwrap(), expected, "a price went unnoticed");
    }
}

#[test]
fn enormous_prices_are_decided_by_the_reference() {
    let rows = clustered(50, 4, 4, 2);
    let config = RqKMeans { balance: None, ..settings(&[4], Balance::sinkhorn()) };
    let mut quantizer = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap().quantizer().clone();
    quantizer.prices = vec![vec![f32::MAX, 3e38, 3e38, f32::MAX]];
    let codec = wrap(quantizer);
    let expected = codec.encode_reference(&rows, 1).unwrap();
    assert!(expected.as_slice().iter().all(|c| *c == 1 || *c == 2));
    for device in devices() {
        let found = codec.encoder(&device, &EncodeOptions::default()).unwrap().encode(&rows).unwrap();
        assert_eq!((found.codes, found.rechecked), (expected.clone(), 50));
    }
}

#[test]
fn every_device_trains_and_threads_change_nothing() {
    let rows = clustered(1500, 9, 20, 10);
    for balance in [Balance::sinkhorn(), Balance::capacity()] {
        let config = settings(&[20, 12], balance);
        let bytes = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Codec::train(&rows, &config, &Device::cpu(), &()).unwrap().to_bytes().unwrap())
        };
        let one = bytes(1);
        assert!(one == bytes(2) && one == bytes(3));
        for device in devices() {
            let codec = Codec::train(&rows, &config, &device, &()).unwrap();
            let codes = codec.encode(&rows).unwrap();
            assert!(sememe::fit::perplexity(&loads(&codes, 0, 20)) > 19.0, "{device:?}");
            assert_eq!(codec.encoder(&device, &EncodeOptions::default()).unwrap().encode(&rows).unwrap().codes, codes);
        }
    }
}

#[test]
fn a_stop_is_heard_in_every_phase() {
    struct After(AtomicUsize, usize);
    impl Observer for After {
        fn event(&self, _: Event<'_>) {}
        fn stop(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) >= self.1
        }
    }
    let rows = clustered(200, 4, 6, 1);
    let config = settings(&[8], Balance::capacity());
    let all = After(AtomicUsize::new(0), usize::MAX);
    Codec::train(&rows, &config, &Device::cpu(), &all).unwrap();
    let asked = all.0.load(Ordering::Relaxed);
    assert!(asked > 40, "asked {asked} times only");
    for after in (0..asked).step_by(5).chain([asked - 1]) {
        let stopped = Codec::train(&rows, &config, &Device::cpu(), &After(AtomicUsize::new(0), after));
        assert!(matches!(stopped, Err(Error::Interrupted(_))), "after {after} of {asked}");
    }
}

#[test]
fn unusable_settings_are_refused_with_their_numbers() {
    let rows = clustered(100, 3, 4, 1);
    let refused = |config: RqKMeans, parts: &[&str]| {
        let text = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap_err().to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    };
    refused(settings(&[8], capacity(None, Some(12))), &["balance.maximum", "8 codewords", "12", "100 rows", "13"]);
    refused(settings(&[8], capacity(Some(13), None)), &["balance.minimum", "100 rows", "13", "12"]);
    refused(settings(&[8], capacity(Some(9), Some(3))), &["balance.maximum", "minimum of 9", "got 3"]);
    refused(settings(&[8], capacity(None, Some(0))), &["balance.maximum", "got 0"]);
    refused(settings(&[200], Balance::capacity()), &["100 training rows", "200 codewords"]);
    refused(settings(&[8], Balance { epsilon: 0.0, ..Balance::sinkhorn() }), &["balance.epsilon", "got 0"]);
    refused(settings(&[8], Balance { epsilon: f64::NAN, ..Balance::sinkhorn() }), &["balance.epsilon", "NaN"]);
    refused(settings(&[8], Balance { tolerance: 1.0, ..Balance::sinkhorn() }), &["balance.tolerance", "got 1"]);
    refused(
        settings(&[8], Balance { levels: Some(vec![1]), ..Balance::sinkhorn() }),
        &["balance.levels", "level 1 of 1"],
    );
    refused(settings(&[8], Balance { levels: Some(vec![]), ..Balance::sinkhorn() }), &["balance.levels", "at least 1"]);
    let refined = RqKMeans { refine: Some(Refine::default()), ..settings(&[8], Balance::capacity()) };
    refused(refined.clone(), &["balance", "refinement", "undo"]);
    let sampled = RqKMeans { max_training_rows: Some(50), ..settings(&[8], Balance::capacity()) };
    for config in [RqKMeans { balance: None, ..refined }, sampled] {
        assert!(matches!(Codec::train_assigned(&rows, &config, &Device::cpu(), &()), Err(Error::Config { .. })));
    }
}

#[test]
fn extremes_train() {
    // One codeword; as many codewords as rows; rows on their codewords; huge and tiny scales.
    for scale in [1.0f32, 1e12, 1e-12] {
        let data: Vec<f32> = (0..24).flat_map(|i| [scale * (i % 6) as f32, scale * (i / 6) as f32]).collect();
        let rows = Matrix::from_vec(24, 2, data).unwrap();
        for balance in [Balance::sinkhorn(), Balance::capacity()] {
            for k in [1, 6, 24] {
                let (_, codes) =
                    Codec::train_assigned(&rows, &settings(&[k], balance.clone()), &Device::cpu(), &()).unwrap();
                if balance == Balance::capacity() {
                    assert!(loads(&codes, 0, k).iter().all(|c| *c as usize == 24 / k), "k = {k}, scale {scale:e}");
                }
            }
        }
    }
}

fn small() -> (Codec, Matrix) {
    let rows = clustered(60, 6, 5, 77);
    let balance = Balance { levels: Some(vec![1]), ..Balance::capacity() };
    (Codec::train(&rows, &settings(&[8, 4], balance), &Device::cpu(), &()).unwrap(), rows)
}

#[test]
fn a_priced_file_keeps_every_bit_and_damage_is_noticed() {
    let (codec, rows) = small();
    let bytes = codec.to_bytes().unwrap();
    let again = Codec::from_bytes(&bytes).unwrap();
    assert_eq!((again.quantizer(), again.manifest()), (codec.quantizer(), codec.manifest()));
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert_eq!(again.encode(&rows).unwrap(), codec.encode(&rows).unwrap());
    assert_eq!((codec.manifest().format_version, codec.manifest().priced_levels.as_slice()), (3, &[1][..]));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x11;
        if let Ok(found) = Codec::from_bytes(&bad) {
            assert_eq!(found.to_bytes().unwrap(), bytes, "byte {at} changed the codec unnoticed");
        }
    }
}

/// Shape and values by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A codec file with its manifest or tensors changed, and the hash made right again.
pub fn forged(bytes: &[u8], change: impl Fn(&mut serde_json::Value, &mut Tensors)) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let text = header.metadata().as_ref().unwrap()["sememe"].clone();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let file = SafeTensors::deserialize(bytes).unwrap();
    let values = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut tensors: Tensors =
        file.tensors().into_iter().map(|(name, v)| (name, (v.shape().to_vec(), values(v.data())))).collect();
    change(&mut manifest, &mut tensors);
    manifest["content_hash"] = "".into();
    let raw: BTreeMap<&String, (Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, v))| (name, (shape.clone(), v.iter().flat_map(|v| v.to_le_bytes()).collect())))
        .collect();
    let blank = serde_json::to_string(&manifest).unwrap();
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(blank.as_bytes());
    for (name, (shape, data)) in &raw {
        part(name.as_bytes());
        part(format!("{shape:?}").as_bytes());
        part(data);
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let text = blank.replacen("\"content_hash\":\"\"", &format!("\"content_hash\":\"{hex}\""), 1);
    let views: Vec<(&str, TensorView<'_>)> = raw
        .iter()
        .map(|(n, (shape, data))| {
            (n.as_str(), TensorView::new(safetensors::tensor::Dtype::F32, shape.clone(), data).unwrap())
        })
        .collect();
    safetensors::serialize(views, Some(HashMap::from([("sememe".to_owned(), text)]))).unwrap()
}

#[test]
fn lies_about_prices_are_refused() {
    let (codec, _) = small();
    let bytes = codec.to_bytes().unwrap();
    assert_eq!(Codec::from_bytes(&forged(&bytes, |_, _| ())).unwrap().quantizer(), codec.quantizer());
    let refused = |change: &dyn Fn(&mut serde_json::Value, &mut Tensors), part: &str| {
        let text = Codec::from_bytes(&forged(&bytes, change)).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    refused(&|m, _| m["format_version"] = 2.into(), "format version 2 has no prices");
    refused(&|m, _| m["priced_levels"] = serde_json::json!([0]), "`prices.0` is missing");
    refused(&|m, _| m["priced_levels"] = serde_json::json!([1, 1]), "`prices.1` is missing");
    refused(&|m, _| m["priced_levels"] = serde_json::json!([7]), "`prices.7` is missing");
    refused(&|m, _| m["priced_levels"] = serde_json::json!([]), "`prices.1` is nothing that the manifest speaks of");
    refused(
        &|m, t| {
            m["priced_levels"] = serde_json::json!([9_000_000_000u64]);
            let prices = t.remove("prices.1").unwrap();
            t.insert("prices.9000000000".into(), prices);
        },
        "prices of level 9000000000 of 2",
    );
    refused(&|_, t| drop(t.remove("prices.1")), "`prices.1` is missing");
    refused(&|_, t| drop(t.insert("prices.1".into(), (vec![3], vec![0.0; 3]))), "expected codewords = 4, got 3");
    refused(&|_, t| drop(t.insert("prices.1".into(), (vec![2, 2], vec![0.0; 4]))), "expected axes = 1, got 2");
    refused(&|_, t| t.get_mut("prices.1").unwrap().1[2] = f32::NAN, "`prices.1` holds NaN at value 2");
    refused(&|_, t| t.get_mut("prices.1").unwrap().1[0] = f32::INFINITY, "`prices.1` holds inf");
}

/// As `the_golden_codec_stays_readable`, for version 3.
#[test]
fn the_golden_priced_codec_stays_readable() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    if std::env::var_os("SEMEME_WRITE_FIXTURES").is_some() {
        let (codec, rows) = small();
        codec.save(folder.join("codec-v3.safetensors")).unwrap();
        let codes: Vec<String> =
            codec.encode_reference(&rows, 1).unwrap().iter().map(|r| format!("{}-{}", r[0], r[1])).collect();
        std::fs::write(folder.join("codec-v3.codes.txt"), codes.join("\n")).unwrap();
    }
    let codec = Codec::load(folder.join("codec-v3.safetensors")).unwrap();
    assert_eq!((codec.codebook_sizes(), codec.manifest().format_version), (vec![8, 4], 3));
    let rows = clustered(60, 6, 5, 77);
    let expected = std::fs::read_to_string(folder.join("codec-v3.codes.txt")).unwrap();
    let found: Vec<String> = codec.encode(&rows).unwrap().iter().map(|r| format!("{}-{}", r[0], r[1])).collect();
    assert_eq!(found.join("\n"), expected.trim());
}
