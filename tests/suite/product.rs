//! Product quantisation: codes as plain f64 loops find them on every device, rotations, files, and the refusals.

use crate::balance::forged;
use crate::codec::{clustered, devices};
use crate::real::shared;
use sememe::compute::reference::ResidualQuantizer;
use sememe::fit::rqvae::{RqVae, RqVaeTrainer};
use sememe::fit::{Fitted, ProductQuantization, Rotation};
use sememe::rng::stream;
use sememe::{
    Balance, Codec, Codes, Device, EncodeOptions, Matrix, Pca, Preprocess, RqKMeans, TrainedBy, TrainingSummary,
};
use serde_json::json;

fn small(sizes: &[usize]) -> ProductQuantization {
    ProductQuantization { codebook_sizes: sizes.to_vec(), iterations: 8, ..ProductQuantization::default() }
}

fn turned(sizes: &[usize]) -> ProductQuantization {
    ProductQuantization { rotation: Some(Rotation { rounds: 5, iterations: 2 }), ..small(sizes) }
}

fn train(rows: &Matrix, config: &ProductQuantization) -> Codec {
    Codec::train_product(rows, config, &Device::cpu(), &()).unwrap()
}

/// Rows whose columns go together in ways that lie across all blocks.
fn correlated(n: usize, d: usize, seed: u64) -> Matrix {
    let mut random = stream(seed, "test.correlated", 0);
    let mix: Vec<f64> = (0..d * d).map(|at| random.normal() * 0.6f64.powi((at / d) as i32)).collect();
    let mut data = Vec::with_capacity(n * d);
    for _ in 0..n {
        let hidden: Vec<f64> = (0..d).map(|_| random.normal()).collect();
        data.extend((0..d).map(|c| (0..d).map(|h| hidden[h] * mix[h * d + c]).sum::<f64>() as f32));
    }
    Matrix::from_vec(n, d, data).unwrap()
}

/// A row as it enters the levels, in f64, by loops that share no code with the library.
fn entered(quantizer: &ResidualQuantizer, x: &[f32]) -> Vec<f64> {
    let mean = |c: usize| quantizer.mean.get(c).map_or(0.0, |m| f64::from(*m));
    let mut row: Vec<f64> = x.iter().enumerate().map(|(c, v)| f64::from(*v) - mean(c)).collect();
    if !quantizer.components.is_empty() {
        let each = quantizer.components.chunks_exact(quantizer.dims);
        row = each.map(|p| p.iter().zip(&row).map(|(a, b)| f64::from(*a) * b).sum()).collect();
    }
    row.iter_mut().zip(&quantizer.scales).for_each(|(v, s)| *v *= f64::from(*s));
    if quantizer.normalize_rows {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|v| *v /= norm);
        }
    }
    row
}

/// The nearest codeword of each block, prices counted, the lowest index on a tie.
fn oracle(quantizer: &ResidualQuantizer, x: &[f32]) -> Vec<u32> {
    let row = entered(quantizer, x);
    let (mut first, mut codes) = (0, Vec::new());
    for (level, book) in quantizer.codebooks.iter().enumerate() {
        let own = &row[first..first + book.dims()];
        first += book.dims();
        let score = |j: usize| {
            let square: f64 = book.row(j).iter().map(|c| f64::from(*c).powi(2)).sum();
            let dot: f64 = book.row(j).iter().zip(own).map(|(c, v)| f64::from(*c) * v).sum();
            0.5 * square - dot + quantizer.prices(level).get(j).map_or(0.0, |p| f64::from(*p))
        };
        codes.push((0..book.rows()).min_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap() as u32);
    }
    assert_eq!(first, row.len());
    codes
}

/// Mean squared L2 between rows and what comes back.
fn error(codec: &Codec, rows: &Matrix, codes: &Codes) -> f64 {
    let back = codec.decode(codes).unwrap();
    let squares = back.as_slice().iter().zip(rows.as_slice()).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>() / rows.rows() as f64
}

fn r2(codec: &Codec, rows: &Matrix) -> f64 {
    let (n, d) = (rows.rows(), rows.dims());
    let mean: Vec<f64> = (0..d).map(|c| (0..n).map(|i| f64::from(rows.row(i)[c])).sum::<f64>() / n as f64).collect();
    let total = (0..n).map(|i| rows.row(i).iter().zip(&mean).map(|(v, m)| (f64::from(*v) - m).powi(2)).sum::<f64>());
    1.0 - error(codec, rows, &codec.encode(rows).unwrap()) * n as f64 / total.sum::<f64>()
}

#[test]
fn codes_equal_the_oracle_on_every_device_and_setting() {
    let rows = clustered(700, 23, 12, 31);
    let pca = Some(Pca { keep_variance: 0.9, max_dims: 9 });
    let settings = [
        // Of 23 columns: 12 and 11; 5 blocks of 5 and 4; all of them, with 1 left over nowhere.
        small(&[16, 8]),
        small(&[16, 8, 4, 1, 16]),
        small(&[4; 23]),
        small(&[32]),
        turned(&[16, 8, 4]),
        ProductQuantization { preprocess: Preprocess { normalize: true, ..Preprocess::default() }, ..turned(&[8; 7]) },
        ProductQuantization { preprocess: Preprocess { pca, whiten: true, ..Preprocess::default() }, ..small(&[8; 4]) },
        ProductQuantization { preprocess: Preprocess { pca, ..Preprocess::default() }, ..turned(&[8; 4]) },
        ProductQuantization { preprocess: Preprocess { scale: true, ..Preprocess::default() }, ..turned(&[8; 4]) },
        ProductQuantization { balance: Some(Balance::sinkhorn()), ..small(&[8; 3]) },
        ProductQuantization { balance: Some(Balance::capacity()), ..turned(&[8; 3]) },
    ];
    for config in settings {
        let codec = train(&rows, &config);
        let expected: Vec<u32> = (0..rows.rows()).flat_map(|i| oracle(codec.quantizer(), rows.row(i))).collect();
        assert_eq!(codec.encode_reference(&rows, 1).unwrap().as_slice(), expected, "{config:?}");
        for device in devices() {
            for batch_rows in [None, Some(97)] {
                let options = EncodeOptions { batch_rows, ..EncodeOptions::default() };
                let found = codec.encoder(&device, &options).unwrap().encode(&rows).unwrap();
                assert_eq!(found.codes.as_slice(), expected, "{config:?} on {device:?}");
                assert!(found.rechecked < 70, "{config:?} on {device:?}: {} decided again", found.rechecked);
            }
        }
        for i in 0..20 {
            let levels = codec.levels();
            assert_eq!(codec.encode_row(rows.row(i)).unwrap(), expected[i * levels..(i + 1) * levels]);
        }
        let widths: Vec<usize> = codec.quantizer().codebooks.iter().map(Matrix::dims).collect();
        let (p, levels) = (codec.manifest().inner_dims, codec.levels());
        assert_eq!(widths.iter().sum::<usize>(), p);
        assert!(widths.iter().all(|w| (p / levels..=p.div_ceil(levels)).contains(w)), "{widths:?}");
        let again = Codec::from_bytes(&codec.to_bytes().unwrap()).unwrap();
        assert_eq!((again.quantizer(), again.content_hash()), (codec.quantizer(), codec.content_hash()));
    }
}

fn by_hand(quantizer: ResidualQuantizer) -> sememe::Result<Codec> {
    let fitted = Fitted {
        quantizer,
        mean_norm: 1.0,
        residual_norms: vec![],
        beam: 1,
        shared_codebook: false,
        probes: Matrix::default(),
        summary: TrainingSummary::default(),
    };
    Codec::from_fitted(fitted, TrainedBy::Product(&small(&[])))
}

/// Rows halfway between codewords, equal codewords, and values at both ends of f32.
#[test]
fn ties_and_extremes_are_decided_alike_everywhere() {
    let mut random = stream(5, "test.product.ties", 0);
    for (d, widths) in [(3, vec![1, 2]), (16, vec![4; 4]), (37, vec![36, 1]), (64, vec![1; 64])] {
        let mut book = |w: usize| {
            let mut words: Vec<f32> = (0..6 * w).map(|_| random.normal() as f32).collect();
            words.extend_from_within(..w);
            Matrix::from_vec(7, w, words).unwrap()
        };
        let codebooks: Vec<Matrix> = widths.iter().map(|w| book(*w)).collect();
        let mut rows = Vec::new();
        for i in 0..300 {
            for book in &codebooks {
                let (a, b) = (random.below(7) as usize, random.below(7) as usize);
                rows.extend(book.row(a).iter().zip(book.row(b)).map(|(a, b)| match i {
                    0 => 0.0,
                    1 => 1e20,
                    2 => -3e30,
                    3 => 1e-40,
                    _ => 0.5 * (a + b),
                }));
            }
        }
        let rows = Matrix::from_vec(300, d, rows).unwrap();
        let codec = by_hand(ResidualQuantizer { dims: d, codebooks, product: true, ..Default::default() }).unwrap();
        let expected = codec.encode_reference(&rows, 1).unwrap();
        // The seventh codeword is the first one again, and never wins.
        assert!(expected.as_slice().iter().all(|code| *code != 6) && expected.as_slice().contains(&0));
        for device in devices() {
            let found = codec.encoder(&device, &EncodeOptions::default()).unwrap().encode(&rows).unwrap();
            assert_eq!(found.codes, expected, "d = {d} on {device:?}");
            assert!(found.rechecked > 0, "the input was meant to be hard");
        }
    }
}

#[test]
fn decoding_sets_codewords_side_by_side() {
    let rows = clustered(300, 10, 8, 33);
    for config in [small(&[16, 16, 16]), turned(&[16, 16, 16])] {
        let codec = train(&rows, &config);
        let codes = codec.encode(&rows).unwrap();
        let back = codec.decode(&codes).unwrap();
        for i in 0..rows.rows() {
            let quantizer = codec.quantizer();
            let inner: Vec<f64> = codes
                .row(i)
                .iter()
                .zip(&quantizer.codebooks)
                .flat_map(|(code, book)| book.row(*code as usize).iter().map(|v| f64::from(*v)))
                .collect();
            for c in 0..10 {
                let turned = |p: usize| {
                    if quantizer.components.is_empty() {
                        f64::from(u8::from(p == c))
                    } else {
                        f64::from(quantizer.components[p * 10 + c])
                    }
                };
                let want = f64::from(quantizer.mean[c]) + (0..10).map(|p| inner[p] * turned(p)).sum::<f64>();
                assert!((f64::from(back.row(i)[c]) - want).abs() < 1e-5, "row {i}, column {c}");
            }
        }
        // Training's own figures are those of encoding, at every depth.
        let mut last = f64::INFINITY;
        for (depth, told) in (1..=3).zip(&codec.manifest().training.levels) {
            let cut = codes.iter().flat_map(|r| r[..depth].to_vec()).collect();
            let found = error(&codec, &rows, &Codes::from_vec(300, depth, cut).unwrap());
            assert!((found * 300.0 - told.inertia).abs() < 1e-3 * told.inertia, "{found} {told:?}");
            assert!(found < last);
            last = found;
        }
    }
}

#[test]
fn a_rotation_is_orthogonal_and_helps_where_columns_go_together() {
    let rows = correlated(900, 24, 8);
    let (plain, config) = (train(&rows, &small(&[32; 6])), turned(&[32; 6]));
    for device in devices() {
        let codec = Codec::train_product(&rows, &config, &device, &()).unwrap();
        let turn = &codec.quantizer().components;
        for i in 0..24 {
            for j in 0..24 {
                let dot: f64 = (0..24).map(|c| f64::from(turn[i * 24 + c]) * f64::from(turn[j * 24 + c])).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-6, "{i} {j}: {dot}");
            }
        }
        let (before, after) = (r2(&plain, &rows), r2(&codec, &rows));
        assert!(after > before + 0.05, "{before} {after}");
        let rounds = &codec.manifest().training.rotated_r2;
        assert!(rounds.len() == 5 && rounds[4] > rounds[0], "{rounds:?}");
        assert_eq!(codec.manifest().method, "opq");
        let again = Codec::train_product(&rows, &config, &device, &()).unwrap();
        assert_eq!(again.content_hash(), codec.content_hash());
    }
    assert_eq!((plain.manifest().method.as_str(), plain.manifest().format_version), ("pq", 4));
    // Principal components alone, which is the start.
    let start = Some(Rotation { rounds: 0, iterations: 1 });
    let dealt = train(&rows, &ProductQuantization { rotation: start, ..small(&[32; 6]) });
    assert!(r2(&dealt, &rows) > r2(&plain, &rows), "{} {}", r2(&dealt, &rows), r2(&plain, &rows));
}

/// One block is k-means, and nothing is turned for it.
#[test]
fn one_level_is_k_means() {
    let rows = clustered(300, 6, 9, 34);
    let config = turned(&[12]);
    let centred = Preprocess { center: true, ..Preprocess::default() };
    let kmeans =
        Codec::train(&rows, &RqKMeans { preprocess: centred, ..config.levels() }, &Device::cpu(), &()).unwrap();
    let codec = train(&rows, &config);
    assert_eq!(codec.codebook(0), kmeans.codebook(0));
    assert!(codec.quantizer().components.is_empty());
    assert_eq!(codec.encode(&rows).unwrap(), kmeans.encode(&rows).unwrap());
}

#[test]
fn optimised_is_better_on_embeddings_of_products() {
    let Some(file) = shared("beauty/embeddings.npy") else { return };
    let rows = crate::real::load(&file);
    let cap = Some(2000);
    let base = ProductQuantization { max_training_rows: cap, iterations: 4, ..small(&[32; 8]) };
    let rotation = Some(Rotation { rounds: 4, iterations: 1 });
    let (plain, turned) = (train(&rows, &base), train(&rows, &ProductQuantization { rotation, ..base.clone() }));
    let (before, after) = (r2(&plain, &rows), r2(&turned, &rows));
    println!("beauty, 8 × 32: R² {before:.4} without a rotation, {after:.4} with one");
    assert!(after >= before, "{before} {after}");
}

#[test]
fn a_balanced_training_keeps_its_bounds_and_assigns() {
    let rows = clustered(240, 9, 7, 35);
    let config = ProductQuantization { balance: Some(Balance::capacity()), ..small(&[8; 3]) };
    let (codec, codes) = Codec::train_product_assigned(&rows, &config, &Device::cpu(), &()).unwrap();
    for level in 0..3 {
        for code in 0..8 {
            assert_eq!(codes.iter().filter(|row| row[level] == code).count(), 30, "level {level}, code {code}");
        }
    }
    let found = codec.encode(&rows).unwrap();
    let moved: u64 = codec.manifest().training.levels.iter().map(|l| l.balance.unwrap().moved_rows).sum();
    let differing = found.as_slice().iter().zip(codes.as_slice()).filter(|(a, b)| a != b).count();
    assert!(differing as u64 <= moved, "{differing} {moved}");
    let sample = ProductQuantization { max_training_rows: Some(100), ..small(&[8; 3]) };
    let text = Codec::train_product_assigned(&rows, &sample, &Device::cpu(), &()).unwrap_err().to_string();
    assert!(text.contains("100 of 240 rows train"), "{text}");
    let codec = train(&rows, &sample);
    assert_eq!((codec.manifest().training.rows, codec.manifest().training.source_rows), (100, 240));
}

#[test]
fn training_on_keeps_most_codes() {
    let rows = clustered(600, 12, 20, 36);
    let old = Matrix::from_vec(500, 12, rows.as_slice()[..500 * 12].to_vec()).unwrap();
    let start = train(&old, &turned(&[16; 4]));
    let config = ProductQuantization { exchange: false, ..small(&[16; 4]) };
    let on = Codec::train_product_from(&start, &rows, &config, &Device::cpu(), &()).unwrap();
    assert_eq!(on.quantizer().components, start.quantizer().components);
    assert_eq!((on.manifest().method.as_str(), &on.manifest().config["rotation"]["rounds"]), ("opq", &json!(5)));
    let (before, after) = (start.encode(&old).unwrap(), on.encode(&old).unwrap());
    let kept = before.as_slice().iter().zip(after.as_slice()).filter(|(a, b)| a == b).count();
    assert!(kept > 1700, "{kept} of 2000");
    // Starts of another kind.
    let kmeans = RqKMeans { codebook_sizes: vec![16; 4], ..RqKMeans::default() };
    let other = Codec::train(&old, &kmeans, &Device::cpu(), &()).unwrap();
    let text = Codec::train_product_from(&other, &rows, &config, &Device::cpu(), &()).unwrap_err().to_string();
    assert!(text.contains("codec of product quantisation"), "{text}");
    let text = Codec::train_from(&start, &rows, &kmeans, &Device::cpu(), &()).unwrap_err().to_string();
    assert!(text.contains("product quantisation"), "{text}");
    assert!(RqVaeTrainer::from_quantizer(RqVae::default(), start.quantizer(), 1.0).is_err());
}

#[test]
fn what_cannot_be_is_refused_with_the_numbers() {
    let rows = clustered(60, 6, 5, 37);
    let refused = |config: ProductQuantization, parts: &[&str]| {
        let text = Codec::train_product(&rows, &config, &Device::cpu(), &()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    refused(small(&[4; 7]), &["7 levels need a dimension each, and there are 6", "use 6 levels or fewer"]);
    let pca = Some(Pca { keep_variance: 1.0, max_dims: 3 });
    let few = Preprocess { pca, ..Preprocess::default() };
    refused(ProductQuantization { preprocess: few, ..small(&[4; 4]) }, &["4 levels", "there are 3"]);
    let whiten = Preprocess { whiten: true, ..few };
    refused(ProductQuantization { preprocess: whiten, ..turned(&[4; 2]) }, &["whiten", "rotation"]);
    refused(small(&[]), &["expected 1 to 64 levels, got 0"]);
    refused(small(&[61, 2]), &["60 training rows are fewer than the 61 codewords"]);
    let rotation = Some(Rotation { rounds: 3, iterations: 0 });
    refused(ProductQuantization { rotation, ..small(&[4; 2]) }, &["rotation.iterations"]);
    let mut bad = rows.clone();
    bad.as_mut_slice()[7] = f32::NAN;
    assert!(Codec::train_product(&bad, &small(&[4; 2]), &Device::cpu(), &()).is_err());
    let codec = train(&rows, &small(&[4; 3]));
    assert!(codec.encode(&bad).is_err());
    let options = EncodeOptions { beam: Some(2), ..EncodeOptions::default() };
    let text = codec.encoder(&Device::cpu(), &options).err().unwrap().to_string();
    assert!(text.contains("do not depend on each other"), "{text}");
    // Columns that hold fewer values than a level has codewords train all the same, as do columns of zeros.
    let few: Vec<f32> = (0..60 * 3).map(|at| [(at / 3 % 2) as f32, 0.0, (at / 3) as f32][at % 3]).collect();
    for config in [small(&[8; 3]), turned(&[8; 3])] {
        let flat = Matrix::from_vec(60, 3, few.clone()).unwrap();
        let codec = train(&flat, &config);
        assert!(r2(&codec, &flat) > 0.9, "{config:?}");
    }
    // Rows of unusual size, and far from the origin.
    for (scale, offset) in [(1e20f32, 0.0f32), (1e-20, 0.0), (1.0, 1e4)] {
        let far = rows.as_slice().iter().map(|v| v * scale + offset).collect();
        let far = Matrix::from_vec(60, 6, far).unwrap();
        let codec = train(&far, &turned(&[8; 3]));
        assert!(r2(&codec, &far) > 0.5, "{scale} {offset}: {}", r2(&codec, &far));
        for device in devices() {
            let found = codec.encoder(&device, &EncodeOptions::default()).unwrap().encode(&far).unwrap();
            assert_eq!(found.codes, codec.encode_reference(&far, 1).unwrap());
        }
    }
}

#[test]
fn lies_in_files_are_refused() {
    let rows = clustered(60, 6, 5, 77);
    let codec = train(&rows, &turned(&[8, 4, 2]));
    let bytes = codec.to_bytes().unwrap();
    assert_eq!(Codec::from_bytes(&forged(&bytes, |_, _| ())).unwrap().quantizer(), codec.quantizer());
    let refused = |change: &dyn Fn(&mut serde_json::Value, &mut crate::balance::Tensors), part: &str| {
        let text = Codec::from_bytes(&forged(&bytes, change)).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    refused(&|m, _| m["format_version"] = json!(3), "format version 3 has no product quantisers");
    refused(&|m, _| drop(m.as_object_mut().unwrap().remove("product")), "expected d = 6, got 2 in `codebook.0`");
    refused(&|m, _| m["normalize_residuals"] = json!(true), "no normalised residuals");
    refused(&|m, _| m["beam"] = json!(4), "no beam");
    refused(&|m, _| m["metric"] = json!("cosine"), "no cosine");
    refused(&|_, t| drop(t.insert("codebook.1".into(), (vec![4, 3], vec![0.5; 12]))), "expected d = 6, got 7");
    refused(&|_, t| drop(t.insert("codebook.1".into(), (vec![4, 1], vec![0.5; 4]))), "expected d = 6, got 5");
    refused(&|_, t| drop(t.insert("codebook.1".into(), (vec![4, 0], vec![]))), "no columns");
    refused(&|_, t| drop(t.insert("codebook.1".into(), (vec![8], vec![0.5; 8]))), "expected axes = 2, got 1");
    refused(&|_, t| drop(t.remove("codebook.2")), "`codebook.2` is missing");
    for end in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(Codec::from_bytes(&bytes[..end]).is_err(), "{end}");
    }
    let empty = ResidualQuantizer { dims: 2, product: true, ..Default::default() };
    assert!(by_hand(empty).is_err());
    let book = |k, w| Matrix::from_vec(k, w, vec![0.0; k * w]).unwrap();
    let many = ResidualQuantizer { dims: 65, codebooks: vec![book(1, 1); 65], product: true, ..Default::default() };
    assert!(by_hand(many).unwrap_err().to_string().contains("got 65"));
}

/// As `the_golden_codec_stays_readable`, for version 4.
#[test]
fn the_golden_product_codec_stays_readable() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let rows = clustered(60, 6, 5, 77);
    let text =
        |codes: Codes| codes.iter().map(|r| format!("{}-{}-{}", r[0], r[1], r[2])).collect::<Vec<_>>().join("\n");
    if std::env::var_os("SEMEME_WRITE_FIXTURES").is_some() {
        let codec = train(&rows, &turned(&[8, 4, 2]));
        codec.save(folder.join("codec-v4.safetensors")).unwrap();
        std::fs::write(folder.join("codec-v4.codes.txt"), text(codec.encode_reference(&rows, 1).unwrap())).unwrap();
    }
    let codec = Codec::load(folder.join("codec-v4.safetensors")).unwrap();
    assert_eq!((codec.codebook_sizes(), codec.manifest().format_version), (vec![8, 4, 2], 4));
    let expected = std::fs::read_to_string(folder.join("codec-v4.codes.txt")).unwrap();
    assert_eq!(text(codec.encode(&rows).unwrap()), expected.trim());
}
