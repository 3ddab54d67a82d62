//! The codec end to end: exact codes, round trips of files, decoding, and the refusals.
//!
//! One file past the usual length: every case builds on the small codecs and the oracle at the top.

use sememe::compute::reference::ResidualQuantizer;
use sememe::fit::{Fitted, MiniBatchRqKMeans, MiniBatchTrainer};
use sememe::rng::stream;
use sememe::{
    Codec, Device, EncodeOptions, Error, Matrix, Metric, Pca, Preprocess, Refine, RqKMeans, TrainedBy, TrainingSummary,
};

/// Rows around `centres` points, so that codes mean something.
pub fn clustered(n: usize, d: usize, centres: usize, seed: u64) -> Matrix {
    let mut random = stream(seed, "test.rows", 0);
    let points: Vec<f32> = (0..centres * d).map(|_| random.normal() as f32).collect();
    let mut data = Vec::with_capacity(n * d);
    for _ in 0..n {
        let c = random.below(centres as u64) as usize;
        data.extend(points[c * d..(c + 1) * d].iter().map(|p| p + 0.3 * random.normal() as f32));
    }
    Matrix::from_vec(n, d, data).unwrap()
}

/// Devices this run can use: the CPU always, a GPU where `SEMEME_GPU` allows and one exists.
pub fn devices() -> Vec<Device> {
    #[cfg(not(feature = "gpu"))]
    return vec![Device::cpu()];
    #[cfg(feature = "gpu")]
    {
        use std::sync::{Arc, OnceLock};
        static GPU: OnceLock<Option<Device>> = OnceLock::new();
        let open = || crate::support::open(Default::default()).map(|gpu| Device::Gpu(Arc::new(gpu)));
        [Some(Device::cpu()), GPU.get_or_init(open).clone()].into_iter().flatten().collect()
    }
}

fn small(sizes: &[usize]) -> RqKMeans {
    RqKMeans { codebook_sizes: sizes.to_vec(), iterations: 8, ..RqKMeans::default() }
}

/// A slow, separate evaluation of the chain: plain loops in f64, no shared code with the library.
fn oracle(quantizer: &ResidualQuantizer, x: &[f32]) -> Vec<u32> {
    let d = quantizer.dims;
    let mut row: Vec<f64> =
        (0..d).map(|c| f64::from(x[c]) - quantizer.mean.get(c).map_or(0.0, |m| f64::from(*m))).collect();
    if !quantizer.components.is_empty() {
        row = quantizer
            .components
            .chunks_exact(d)
            .map(|p| p.iter().zip(&row).map(|(a, b)| f64::from(*a) * b).sum())
            .collect();
    }
    for (v, s) in row.iter_mut().zip(&quantizer.scales) {
        *v *= f64::from(*s);
    }
    let unit = |row: &mut Vec<f64>| {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|v| *v /= norm);
        }
    };
    if quantizer.normalize_rows {
        unit(&mut row);
    }
    let mut codes = Vec::new();
    for book in &quantizer.codebooks {
        if quantizer.normalize_residuals {
            unit(&mut row);
        }
        let score = |j: usize| {
            let c = book.row(j);
            let dot: f64 = c.iter().zip(&row).map(|(a, b)| f64::from(*a) * b).sum();
            let square: f64 = c.iter().map(|a| f64::from(*a).powi(2)).sum();
            match quantizer.metric {
                Metric::SquaredL2 => 0.5 * square - dot,
                Metric::Cosine if square > 0.0 => -dot / square.sqrt(),
                Metric::Cosine => 0.0,
            }
        };
        let best = (0..book.rows()).min_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap();
        codes.push(best as u32);
        row.iter_mut().zip(book.row(best)).for_each(|(v, c)| *v -= f64::from(*c));
    }
    codes
}

fn chain_of(codec: &Codec) -> ResidualQuantizer {
    codec.quantizer().clone()
}

#[test]
fn codes_equal_the_oracle_on_every_device_and_setting() {
    let rows = clustered(700, 24, 12, 1);
    let settings = [
        small(&[16, 8, 8]),
        RqKMeans { metric: Metric::Cosine, ..small(&[16, 8]) },
        RqKMeans { preprocess: Preprocess::basil(), ..small(&[16, 8]) },
        RqKMeans {
            preprocess: Preprocess {
                scale: false,
                center: true,
                pca: Some(Pca { keep_variance: 0.8, max_dims: 9 }),
                whiten: false,
                normalize: true,
            },
            ..small(&[16, 8])
        },
        RqKMeans { normalize_residuals: true, ..small(&[16, 8, 4]) },
        RqKMeans { normalize_residuals: true, metric: Metric::Cosine, ..small(&[7, 5]) },
        small(&[1, 3]),
    ];
    for config in settings {
        let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
        let expected: Vec<u32> = (0..rows.rows()).flat_map(|i| oracle(&chain_of(&codec), rows.row(i))).collect();
        for device in devices() {
            let encoder = codec.encoder(&device, &EncodeOptions::default()).unwrap();
            let found = encoder.encode(&rows).unwrap();
            assert_eq!(found.codes.as_slice(), expected, "{config:?} on {device:?}");
        }
        for i in 0..40 {
            assert_eq!(codec.encode_row(rows.row(i)).unwrap(), expected[i * codec.levels()..][..codec.levels()]);
        }
    }
}

/// Codewords and rows made to tie, or nearly: exact duplicates, neighbours by one bit, rows half-way between two codewords.
fn adversarial(d: usize) -> (Codec, Matrix) {
    let mut random = stream(9, "adversarial", d as u64);
    let base: Vec<f32> = (0..d).map(|_| random.normal() as f32).collect();
    let mut book = Vec::new();
    for j in 0..48 {
        let mut word = base.clone();
        match j % 4 {
            0 => {}
            1 => {
                let c = random.below(d as u64) as usize;
                word[c] = f32::from_bits(word[c].to_bits() ^ 1);
            }
            2 => word.iter_mut().for_each(|v| *v += 1e-4 * random.normal() as f32),
            _ => word.iter_mut().for_each(|v| *v += random.normal() as f32),
        }
        book.extend(word);
    }
    let second: Vec<f32> =
        (0..32 * d).map(|i| if i % (2 * d) < d { 0.25 } else { 0.25 + 1e-7 * (i % 7) as f32 }).collect();
    let quantizer = ResidualQuantizer {
        dims: d,
        codebooks: vec![Matrix::from_vec(48, d, book.clone()).unwrap(), Matrix::from_vec(32, d, second).unwrap()],
        ..ResidualQuantizer::default()
    };
    let mut rows = Vec::new();
    for _ in 0..400 {
        let (a, b) = (random.below(48) as usize, random.below(48) as usize);
        let noise = if random.below(2) == 0 { 0.0 } else { 1e-6 };
        rows.extend((0..d).map(|c| 0.5 * (book[a * d + c] + book[b * d + c]) + noise * random.normal() as f32));
    }
    let fitted = Fitted {
        quantizer,
        mean_norm: 1.0,
        residual_norms: vec![],
        beam: 1,
        shared_codebook: false,
        probes: Matrix::default(),
        summary: TrainingSummary::default(),
    };
    (Codec::from_fitted(fitted, TrainedBy::RqKMeans(&small(&[]))).unwrap(), Matrix::from_vec(400, d, rows).unwrap())
}

#[test]
fn near_ties_are_decided_alike_everywhere() {
    for d in [3, 16, 64, 100] {
        let (codec, rows) = adversarial(d);
        // The library's own reference: plain f64 loops in another order may differ by an ulp on true near-ties.
        let expected = codec.encode_reference(&rows, 1).unwrap();
        for device in devices() {
            for beam in [1, 4] {
                let options = EncodeOptions { beam: Some(beam), ..EncodeOptions::default() };
                let found = codec.encoder(&device, &options).unwrap().encode(&rows).unwrap();
                let expected = if beam == 1 { expected.clone() } else { codec.encode_reference(&rows, beam).unwrap() };
                assert_eq!(found.codes, expected, "d = {d}, beam {beam} on {device:?}");
                assert!(found.rechecked > 0, "the input was meant to be hard");
            }
        }
    }
}

#[test]
fn codes_do_not_depend_on_the_batch() {
    let rows = clustered(600, 20, 9, 3);
    let codec = Codec::train(&rows, &small(&[32, 16]), &Device::cpu(), &()).unwrap();
    let whole = codec.encode(&rows).unwrap();
    for batch in [1, 7, 64, 599] {
        let options = EncodeOptions { batch_rows: Some(batch), ..EncodeOptions::default() };
        assert_eq!(codec.encoder(&Device::cpu(), &options).unwrap().encode(&rows).unwrap().codes, whole);
    }
    let mut streamed = Vec::new();
    let encoder =
        codec.encoder(&Device::cpu(), &EncodeOptions { batch_rows: Some(50), ..EncodeOptions::default() }).unwrap();
    encoder
        .encode_source(&rows, &(), &mut |start, codes| {
            assert_eq!(start * 2, streamed.len());
            streamed.extend_from_slice(codes);
            Ok(())
        })
        .unwrap();
    assert_eq!(streamed, whole.as_slice());
}

#[test]
fn beam_equals_the_reference_and_lowers_the_error() {
    let rows = clustered(500, 16, 40, 4);
    let config = RqKMeans { refine: Some(Refine { rounds: 3, beam: 6 }), ..small(&[16, 16, 16]) };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
    let trace = &codec.manifest().training.refined_r2;
    assert_eq!(trace.len(), 4);
    assert!(trace[3] > trace[0], "{trace:?}");
    let error = |beam| {
        for device in devices() {
            let options = EncodeOptions { beam: Some(beam), ..EncodeOptions::default() };
            let found = codec.encoder(&device, &options).unwrap().encode(&rows).unwrap().codes;
            assert_eq!(found, codec.encode_reference(&rows, beam).unwrap(), "beam {beam} on {device:?}");
        }
        let back = codec.decode(&codec.encode_reference(&rows, beam).unwrap()).unwrap();
        back.as_slice().iter().zip(rows.as_slice()).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (greedy, two, six) = (error(1), error(2), error(6));
    assert!(six <= two * 1.0001 && six < greedy, "{greedy} {two} {six}");
    assert_eq!(codec.manifest().beam, 6);
}

#[test]
fn decoding_inverts_preprocessing_at_every_depth() {
    let rows = clustered(400, 12, 8, 5);
    for preprocess in [
        Preprocess::default(),
        Preprocess { center: true, ..Preprocess::default() },
        Preprocess { pca: Some(Pca { keep_variance: 1.0, max_dims: 12 }), whiten: true, ..Preprocess::default() },
    ] {
        let config = RqKMeans { preprocess, iterations: 20, ..small(&[64, 64, 64]) };
        let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
        let codes = codec.encode(&rows).unwrap();
        let mut last = f64::INFINITY;
        for depth in 1..=3 {
            let cut: Vec<u32> = codes.iter().flat_map(|r| r[..depth].to_vec()).collect();
            let back = codec.decode(&sememe::Codes::from_vec(400, depth, cut).unwrap()).unwrap();
            let error: f64 =
                back.as_slice().iter().zip(rows.as_slice()).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 400.0;
            assert!(error < last, "{preprocess:?}: depth {depth} has {error}, the one before {last}");
            last = error;
        }
        let variance = 12.0 * 1.1;
        assert!(last < 0.05 * variance, "{preprocess:?}: {last}");
    }
}

/// PCA against another solver: the same axes up to sign, the same share of variance, and whitened rows of unit variance.
#[test]
fn principal_components_are_those_of_another_solver() {
    let (n, d, kept) = (600, 9, 5);
    let mut rows = clustered(n, d, 7, 22);
    for i in 0..n {
        // Axes of clearly different variance, so that eigenvectors are well determined.
        rows.row_mut(i).iter_mut().enumerate().for_each(|(c, v)| *v *= 1.0 + 0.7 * c as f32);
    }
    let matrix = nalgebra::DMatrix::from_fn(n, d, |i, c| f64::from(rows.row(i)[c]));
    let mean = matrix.row_mean();
    let centred = nalgebra::DMatrix::from_fn(n, d, |i, c| matrix[(i, c)] - mean[c]);
    let eigen = nalgebra::SymmetricEigen::new(centred.transpose() * &centred / (n - 1) as f64);
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    for device in devices() {
        let preprocess = Preprocess {
            scale: false,
            center: true,
            pca: Some(Pca { keep_variance: 1.0, max_dims: kept }),
            whiten: true,
            normalize: false,
        };
        let codec = Codec::train(&rows, &RqKMeans { preprocess, ..small(&[8]) }, &device, &()).unwrap();
        let quantizer = codec.quantizer();
        assert_eq!(quantizer.inner_dims(), kept);
        for (p, axis) in order[..kept].iter().enumerate() {
            let component = &quantizer.components[p * d..(p + 1) * d];
            let along: f64 = (0..d).map(|c| f64::from(component[c]) * eigen.eigenvectors[(c, *axis)]).sum();
            assert!((along.abs() - 1.0).abs() < 1e-4, "component {p} on {device:?}: {along}");
            let scale = 1.0 / eigen.eigenvalues[*axis].sqrt();
            assert!((f64::from(quantizer.scales[p]) / scale - 1.0).abs() < 1e-3, "scale {p}");
        }
        let share = order[..kept].iter().map(|a| eigen.eigenvalues[*a]).sum::<f64>() / eigen.eigenvalues.sum();
        assert!((codec.manifest().training.kept_variance - share).abs() < 1e-5);
    }
}

#[test]
fn residual_normalisation_decodes_to_the_rows_not_to_their_directions() {
    // Rows of norm about 10: a decoder that forgot the norms would be off by an order of magnitude.
    let mut rows = clustered(400, 8, 6, 6);
    rows.as_mut_slice().iter_mut().for_each(|v| *v *= 4.0);
    let config = RqKMeans { normalize_residuals: true, ..small(&[32, 32]) };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
    let back = codec.decode(&codec.encode(&rows).unwrap()).unwrap();
    let norm = |m: &Matrix| m.as_slice().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let ratio = norm(&back) / norm(&rows);
    assert!((0.8..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn a_file_round_trip_keeps_every_bit() {
    let rows = clustered(300, 10, 6, 7);
    let config = RqKMeans { preprocess: Preprocess::basil(), ..small(&[16, 8]) };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
    let bytes = codec.to_bytes().unwrap();
    let again = Codec::from_bytes(&bytes).unwrap();
    assert_eq!(again.manifest(), codec.manifest());
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert_eq!(again.encode(&rows).unwrap(), codec.encode(&rows).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("codec.safetensors");
    codec.save(&path).unwrap();
    assert_eq!(Codec::load(&path).unwrap().content_hash(), codec.content_hash());
}

#[test]
fn every_damaged_byte_is_noticed() {
    let rows = clustered(60, 4, 4, 8);
    let codec = Codec::train(&rows, &small(&[4, 2]), &Device::cpu(), &()).unwrap();
    let bytes = codec.to_bytes().unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x11;
        if let Ok(found) = Codec::from_bytes(&bad) {
            // White space between header and tensors is the one thing that may change without a meaning.
            assert_eq!(found.to_bytes().unwrap(), bytes, "byte {at} changed the codec unnoticed");
        }
    }
    for length in 0..bytes.len() {
        assert!(Codec::from_bytes(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let rows = clustered(60, 4, 4, 8);
    let codec = Codec::train(&rows, &small(&[4]), &Device::cpu(), &()).unwrap();
    let mut bytes = codec.to_bytes().unwrap();
    let needle = br#"\"format_version\":1"#;
    let at = bytes.windows(needle.len()).position(|w| w == needle).expect("the manifest holds its version");
    bytes[at + needle.len() - 1] = b'7';
    let error = Codec::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("format version 7") && error.contains("newer"), "{error}");
}

/// The one that a released version wrote: whatever comes later must read it and give these codes.
#[test]
fn the_golden_codec_stays_readable() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let codec = Codec::load(folder.join("codec-v1.safetensors")).unwrap();
    assert_eq!(codec.codebook_sizes(), [8, 4]);
    let rows = clustered(20, 6, 5, 77);
    let expected = std::fs::read_to_string(folder.join("codec-v1.codes.txt")).unwrap();
    let found: Vec<String> = codec.encode(&rows).unwrap().iter().map(|r| format!("{}-{}", r[0], r[1])).collect();
    assert_eq!(found.join("\n"), expected.trim());
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_thread_count() {
    let rows = clustered(3000, 33, 20, 10);
    let config = RqKMeans { refine: Some(Refine { rounds: 2, beam: 3 }), starts: 2, ..small(&[40, 24]) };
    let bytes = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Codec::train(&rows, &config, &Device::cpu(), &()).unwrap().to_bytes().unwrap())
    };
    let one = bytes(1);
    assert!(one == bytes(2) && one == bytes(3));
    let other = RqKMeans { seed: 1, ..config.clone() };
    assert_ne!(one, Codec::train(&rows, &other, &Device::cpu(), &()).unwrap().to_bytes().unwrap());
}

#[test]
fn unusable_input_is_refused_with_its_numbers() {
    let train = |rows: &Matrix, config: &RqKMeans| Codec::train(rows, config, &Device::cpu(), &()).unwrap_err();
    let rows = clustered(50, 4, 4, 11);
    let text = |e: Error| e.to_string();
    assert!(text(train(&Matrix::zeros(0, 4).unwrap(), &small(&[4]))).contains("empty"));
    let few = text(train(&rows, &small(&[64])));
    assert!(few.contains("50") && few.contains("64"), "{few}");
    let same = Matrix::from_vec(50, 2, [1.0, 2.0].repeat(50)).unwrap();
    let distinct = text(train(&same, &small(&[4])));
    assert!(distinct.contains("1 distinct") && distinct.contains('4'), "{distinct}");
    let mut bad = rows.clone();
    bad.row_mut(7)[2] = f32::NAN;
    bad.row_mut(9)[0] = f32::INFINITY;
    let Error::NonFinite { first: 7, count: 2, rows: 50, .. } = train(&bad, &small(&[4])) else { panic!() };
    let mut zero = rows.clone();
    zero.row_mut(3).fill(0.0);
    let cosine = text(train(&zero, &RqKMeans { metric: Metric::Cosine, ..small(&[4]) }));
    assert!(cosine.contains("row 3") && cosine.contains("cosine"), "{cosine}");
    let codec = Codec::train(&rows, &small(&[4, 4]), &Device::cpu(), &()).unwrap();
    let Error::Shape { what: "d", expected: 4, got: 3, .. } = codec.encode(&Matrix::zeros(2, 3).unwrap()).unwrap_err()
    else {
        panic!()
    };
    assert!(matches!(codec.encode(&bad), Err(Error::NonFinite { first: 7, count: 2, .. })));
    let past = codec.decode(&sememe::Codes::from_vec(1, 2, vec![0, 4]).unwrap()).unwrap_err().to_string();
    assert!(past.contains("code 4 of row 0, level 1"), "{past}");
    for config in [
        small(&[]),
        small(&[0]),
        RqKMeans { tolerance: f64::NAN, ..small(&[4]) },
        RqKMeans { starts: 0, ..small(&[4]) },
        RqKMeans { preprocess: Preprocess { whiten: true, ..Preprocess::default() }, ..small(&[4]) },
        RqKMeans { refine: Some(Refine::default()), metric: Metric::Cosine, ..small(&[4]) },
    ] {
        assert!(matches!(train(&rows, &config).root(), Error::Config { .. }), "{config:?}");
    }
}

#[test]
fn one_row_one_codeword_and_extreme_scales_work() {
    let one = Matrix::from_vec(1, 3, vec![1.0, 2.0, 3.0]).unwrap();
    let codec = Codec::train(&one, &small(&[1, 1]), &Device::cpu(), &()).unwrap();
    assert_eq!(codec.encode(&one).unwrap().row(0), [0, 0]);
    for scale in [1e-30f32, 1e-15, 1e15] {
        let mut rows = clustered(200, 5, 4, 12);
        rows.as_mut_slice().iter_mut().for_each(|v| *v *= scale);
        let codec = Codec::train(&rows, &small(&[8, 4]), &Device::cpu(), &()).unwrap();
        let expected = codec.encode_reference(&rows, 1).unwrap();
        for device in devices() {
            let found = codec.encoder(&device, &EncodeOptions::default()).unwrap().encode(&rows).unwrap();
            assert_eq!(found.codes, expected, "scale {scale} on {device:?}");
        }
    }
    // A common offset that swallows the differences in f32 products: the bound sends the rows to the reference.
    let mut offset = clustered(200, 5, 4, 13);
    offset.as_mut_slice().iter_mut().for_each(|v| *v += 1e5);
    let codec = Codec::train(&offset, &small(&[8]), &Device::cpu(), &()).unwrap();
    for device in devices() {
        let found = codec.encoder(&device, &EncodeOptions::default()).unwrap().encode(&offset).unwrap();
        assert_eq!(found.codes, codec.encode_reference(&offset, 1).unwrap());
    }
}

#[test]
fn training_on_every_device_reaches_the_same_quality() {
    let rows = clustered(1500, 32, 60, 14);
    for device in devices() {
        let config = RqKMeans { refine: Some(Refine { rounds: 2, beam: 4 }), ..small(&[32, 16]) };
        let codec = Codec::train(&rows, &config, &device, &()).unwrap();
        let summary = &codec.manifest().training;
        assert!(summary.levels[1].r2 > summary.levels[0].r2 && summary.levels[1].r2 > 0.7, "{summary:?} on {device:?}");
        assert!(summary.levels.iter().all(|l| l.utilisation == 1.0), "{summary:?}");
        assert_eq!(codec.to_bytes().unwrap(), Codec::train(&rows, &config, &device, &()).unwrap().to_bytes().unwrap());
    }
}

#[test]
fn exchange_and_seeding_beat_a_random_start() {
    let rows = clustered(2000, 16, 64, 15);
    let plain = RqKMeans { init: sememe::Init::Random, exchange: false, ..small(&[64]) };
    let worst = Codec::train(&rows, &plain, &Device::cpu(), &()).unwrap();
    let seeded = RqKMeans { init: sememe::Init::KMeansPlusPlus, ..plain.clone() };
    let seeded = Codec::train(&rows, &seeded, &Device::cpu(), &()).unwrap();
    let moved = Codec::train(&rows, &RqKMeans { exchange: true, ..plain }, &Device::cpu(), &()).unwrap();
    let r2 = |c: &Codec| c.manifest().training.levels[0].r2;
    assert!(r2(&seeded) > r2(&worst) && r2(&moved) > r2(&worst), "{} {} {}", r2(&worst), r2(&seeded), r2(&moved));
}

#[test]
fn a_sample_is_announced() {
    struct Notes(std::sync::Mutex<Vec<String>>);
    impl sememe::Observer for Notes {
        fn event(&self, event: sememe::Event<'_>) {
            if let sememe::Event::Note(text) = event {
                self.0.lock().unwrap().push(text.to_owned());
            }
        }
    }
    let notes = Notes(std::sync::Mutex::default());
    let rows = clustered(500, 4, 4, 16);
    let config = RqKMeans { max_training_rows: Some(100), ..small(&[8]) };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &notes).unwrap();
    assert_eq!((codec.manifest().training.rows, codec.manifest().training.source_rows), (100, 500));
    let said = notes.0.into_inner().unwrap();
    assert!(said.iter().any(|n| n.contains("100 of 500")), "{said:?}");
}

#[test]
fn mini_batches_come_close_to_lloyd_and_resume_to_the_same_bits() {
    let rows = clustered(4000, 16, 24, 17);
    for (layer_wise, normalize_residuals) in [(true, false), (false, false), (true, true)] {
        let config = MiniBatchRqKMeans {
            codebook_sizes: vec![24, 16],
            batch_rows: 256,
            init_rows: 512,
            epochs: 6,
            layer_wise,
            normalize_residuals,
            ..MiniBatchRqKMeans::default()
        };
        let finish =
            |t: &MiniBatchTrainer| Codec::from_fitted(t.finish().unwrap(), TrainedBy::MiniBatch(t.config())).unwrap();
        let mut straight = MiniBatchTrainer::new(config.clone(), 16).unwrap();
        straight.fit_source(&rows, &Device::cpu(), &()).unwrap();
        // Stopped after every few batches, written, read, gone on.
        struct After(std::sync::atomic::AtomicI64);
        impl sememe::Observer for After {
            fn stop(&self) -> bool {
                self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0
            }
        }
        let mut broken = MiniBatchTrainer::new(config.clone(), 16).unwrap();
        let mut stops = 0;
        while let Err(error) = broken.fit_source(&rows, &Device::cpu(), &After(7.into())) {
            assert!(matches!(error, Error::Interrupted(_)), "{error}");
            broken = MiniBatchTrainer::from_bytes(&broken.to_bytes().unwrap()).unwrap();
            stops += 1;
        }
        assert!(stops > 5, "{stops}");
        let codec = finish(&straight);
        assert_eq!(codec.to_bytes().unwrap(), finish(&broken).to_bytes().unwrap());
        let levels = &codec.manifest().training.levels;
        let full =
            Codec::train(&rows, &RqKMeans { normalize_residuals, ..small(&[24, 16]) }, &Device::cpu(), &()).unwrap();
        let (mini, lloyd) = (levels[1].r2, full.manifest().training.levels[1].r2);
        assert!(mini > lloyd - 0.05, "layer_wise {layer_wise}: mini-batch {mini}, Lloyd {lloyd}");
        assert_eq!(straight.residuals().len(), 2);
        for device in devices() {
            let found = codec.encoder(&device, &EncodeOptions::default()).unwrap().encode(&rows).unwrap();
            assert_eq!(found.codes, codec.encode_reference(&rows, 1).unwrap());
        }
    }
}

#[test]
fn partial_fit_takes_batches_as_they_come() {
    let rows = clustered(2000, 8, 10, 18);
    let config = MiniBatchRqKMeans {
        codebook_sizes: vec![10],
        init_rows: 200,
        layer_wise: false,
        ..MiniBatchRqKMeans::default()
    };
    let mut trainer = MiniBatchTrainer::new(config, 8).unwrap();
    assert!(trainer.finish().unwrap_err().to_string().contains("0 of the 200 rows"));
    for _ in 0..4 {
        for start in (0..2000).step_by(100) {
            trainer.partial_fit(rows.view().slice(start, start + 100), &Device::cpu()).unwrap();
        }
    }
    assert_eq!(trainer.steps(), 80);
    let before = trainer.clone();
    let mut bad = rows.clone();
    bad.row_mut(1)[1] = f32::NAN;
    assert!(trainer.partial_fit(&bad, &Device::cpu()).is_err());
    assert_eq!(trainer, before, "a refused batch leaves no trace");
    assert!(trainer.finish().unwrap().summary.levels[0].r2 > 0.8);
}

/// A device that goes away in mid-run: the CPU takes over, and nobody can tell from the codes.
#[cfg(feature = "gpu")]
#[test]
fn a_lost_device_falls_back_to_the_same_codes() {
    let Some(gpu) = crate::support::open(Default::default()) else { return };
    let gpu = std::sync::Arc::new(gpu);
    let rows = clustered(500, 16, 9, 21);
    let codec = Codec::train(&rows, &small(&[16, 8]), &Device::cpu(), &()).unwrap();
    let options = EncodeOptions { batch_rows: Some(100), ..EncodeOptions::default() };
    let encoder = codec.encoder(&Device::Gpu(gpu.clone()), &options).unwrap();
    let mut found = Vec::new();
    encoder
        .encode_source(&rows, &(), &mut |start, codes| {
            if start == 100 {
                gpu.destroy();
            }
            found.extend_from_slice(codes);
            Ok(())
        })
        .unwrap();
    assert!(encoder.fell_back());
    assert_eq!(found, codec.encode_reference(&rows, 1).unwrap().as_slice());
    // Training does not fall back: it stops and says so.
    let error = Codec::train(&rows, &small(&[8]), &Device::Gpu(gpu), &()).unwrap_err();
    assert!(matches!(error, Error::DeviceLost(_)), "{error}");
}
