//! Whole trainings on rows that are finite and awkward: huge, tiny, far from the origin, without structure.

use super::rqvae::{RqVae, RqVaeTrainer, Sinkhorn};
use super::*;
use crate::codec::Codec;
use crate::data::Matrix;
use crate::error::Error;
use crate::progress::{Event, Observer};
use crate::rng::stream;
use crate::{Device, Metric, TrainedBy};
use std::sync::Mutex;

const DIMS: usize = 6;

/// Rows around `centres` points, `scale` times as large and moved by `offset` in the first column.
fn rows(n: usize, centres: usize, scale: f64, offset: f64) -> Matrix {
    let mut random = stream(11, "test.rows", 0);
    let points: Vec<f64> = (0..centres * DIMS).map(|_| 3.0 * random.normal()).collect();
    let mut values = Vec::with_capacity(n * DIMS);
    for i in 0..n {
        for c in 0..DIMS {
            let offset = if c == 0 { offset } else { 0.0 };
            values.push((scale * (offset + points[i % centres * DIMS + c] + 0.3 * random.normal())) as f32);
        }
    }
    Matrix::from_vec(n, DIMS, values).unwrap()
}

type Train = fn(&Matrix, &Device) -> crate::Result<Codec>;

fn plain(change: impl FnOnce(&mut RqKMeans)) -> RqKMeans {
    let mut config = RqKMeans { codebook_sizes: vec![8, 6], iterations: 12, ..RqKMeans::default() };
    change(&mut config);
    config
}

fn train(rows: &Matrix, on: &Device, change: impl FnOnce(&mut RqKMeans)) -> crate::Result<Codec> {
    Codec::train(rows, &plain(change), on, &())
}

fn minibatch(rows: &Matrix, on: &Device, change: impl FnOnce(&mut MiniBatchRqKMeans)) -> crate::Result<Codec> {
    let mut config = MiniBatchRqKMeans {
        codebook_sizes: vec![8, 6],
        batch_rows: 50,
        init_rows: 100,
        epochs: 4,
        ..MiniBatchRqKMeans::default()
    };
    change(&mut config);
    let mut trainer = MiniBatchTrainer::new(config, DIMS)?;
    trainer.fit_source(rows, on, &())?;
    let again = MiniBatchTrainer::from_bytes(&trainer.to_bytes()?)?;
    assert_eq!(again, trainer);
    Codec::from_fitted(again.finish()?, TrainedBy::MiniBatch(again.config()))
}

fn sides(change: impl FnOnce(&mut ProductQuantization)) -> ProductQuantization {
    let base = ProductQuantization::default();
    let mut config = ProductQuantization { codebook_sizes: vec![8, 6], iterations: 12, ..base };
    change(&mut config);
    config
}

fn product(rows: &Matrix, on: &Device, change: impl FnOnce(&mut ProductQuantization)) -> crate::Result<Codec> {
    Codec::train_product(rows, &sides(change), on, &())
}

fn networks() -> RqVae {
    RqVae { hidden: vec![16], code_dims: 4, codebook_sizes: vec![8, 6], batch_rows: 64, epochs: 12, ..RqVae::default() }
}

/// Every kind of codec; whether it may be centred unasked.
const KINDS: &[(&str, bool, Train)] = &[
    ("k-means", true, |rows, on| train(rows, on, |_| {})),
    ("random start, two starts", true, |rows, on| train(rows, on, |c| (c.init, c.starts) = (Init::Random, 2))),
    ("even", true, |rows, on| train(rows, on, |c| c.balance = Some(Balance::sinkhorn()))),
    ("capacity", true, |rows, on| train(rows, on, |c| c.balance = Some(Balance::capacity()))),
    ("refined", true, |rows, on| train(rows, on, |c| c.refine = Some(Refine { rounds: 2, beam: 2 }))),
    ("cosine", false, |rows, on| train(rows, on, |c| c.metric = Metric::Cosine)),
    ("normalised residuals", false, |rows, on| train(rows, on, |c| c.normalize_residuals = true)),
    ("centred", true, |rows, on| train(rows, on, |c| c.preprocess.center = true)),
    ("scaled", true, |rows, on| train(rows, on, |c| c.preprocess.scale = true)),
    ("pca", true, |rows, on| {
        train(rows, on, |c| c.preprocess = Preprocess { pca: Some(Pca::default()), ..Preprocess::default() })
    }),
    ("whitened", true, |rows, on| train(rows, on, |c| c.preprocess = Preprocess::basil())),
    ("normalised rows", false, |rows, on| train(rows, on, |c| c.preprocess.normalize = true)),
    ("mini-batch", true, |rows, on| minibatch(rows, on, |_| {})),
    ("mini-batch, cosine", false, |rows, on| minibatch(rows, on, |c| c.metric = Metric::Cosine)),
    ("mini-batch, normalised residuals", false, |rows, on| minibatch(rows, on, |c| c.normalize_residuals = true)),
    ("rq-vae", true, |rows, on| Codec::train_rqvae(rows, &networks(), on, &())),
    ("rq-kmeans+", true, |rows, on| {
        let start = train(rows, on, |c| c.preprocess.scale = true)?;
        let mut trainer = RqVaeTrainer::from_quantizer(networks(), start.quantizer(), start.manifest().mean_norm)?;
        trainer.run(rows, None, on, &(), &mut ())?;
        Codec::from_trainer(&trainer)
    }),
    ("pq", true, |rows, on| product(rows, on, |_| {})),
    ("opq", true, |rows, on| product(rows, on, |c| c.rotation = Some(Rotation { rounds: 4, iterations: 2 }))),
    ("pq of normalised rows", false, |rows, on| product(rows, on, |c| c.preprocess.normalize = true)),
    ("opq from another codec", true, |rows, on| {
        let start = product(rows, on, |c| c.rotation = Some(Rotation::default()))?;
        Codec::train_product_from(&start, rows, &sides(|_| {}), on, &())
    }),
    ("from another codec", true, |rows, on| {
        let start = train(rows, on, |_| {})?;
        Codec::train_from(&start, rows, &plain(|_| {}), on, &())
    }),
];

/// Share of the variance that comes back, in f64.
fn share(codec: &Codec, rows: &Matrix) -> f64 {
    let back = codec.decode(&codec.encode(rows).unwrap()).unwrap();
    let n = rows.rows() as f64;
    let (mut error, mut total) = (0.0, 0.0);
    for c in 0..DIMS {
        let column =
            |m: &Matrix| -> Vec<f64> { m.as_slice().iter().skip(c).step_by(DIMS).map(|v| f64::from(*v)).collect() };
        let (x, y) = (column(rows), column(&back));
        let mean = x.iter().sum::<f64>() / n;
        error += x.iter().zip(&y).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        total += x.iter().map(|a| (a - mean).powi(2)).sum::<f64>();
    }
    1.0 - error / total
}

/// The codec is whole: it comes back from its bytes, and its codes are those of the reference.
fn is_whole(kind: &str, codec: &Codec, rows: &Matrix) {
    let again = Codec::from_bytes(&codec.to_bytes().unwrap()).unwrap_or_else(|e| panic!("{kind}: {e}"));
    let codes = again.encode(rows).unwrap();
    assert_eq!(codes, again.encode_reference(rows, again.manifest().beam).unwrap(), "{kind}");
    let summary = &codec.manifest().training;
    assert!(
        summary.total_variance.is_finite() && summary.levels.iter().all(|l| l.r2.is_finite()),
        "{kind}: {summary:?}"
    );
}

#[test]
fn rows_of_any_size_train_as_those_of_usual_size() {
    let usual = rows(360, 30, 1.0, 0.0);
    for (kind, _, train) in KINDS {
        let want = share(&train(&usual, &Device::cpu()).unwrap(), &usual);
        for scale in [1e-30, 1e-12, 1e14, 1e20, 1e34] {
            let rows = rows(360, 30, scale, 0.0);
            let codec = train(&rows, &Device::cpu()).unwrap_or_else(|e| panic!("{kind} at {scale:e}: {e}"));
            is_whole(kind, &codec, &rows);
            let found = share(&codec, &rows);
            assert!((found - want).abs() < 0.08, "{kind} at {scale:e}: {found} instead of {want}");
        }
    }
}

#[test]
fn the_origin_does_not_matter_to_squared_l2() {
    let usual = rows(360, 30, 1.0, 0.0);
    for (kind, _, train) in KINDS.iter().filter(|(_, free, _)| *free) {
        let want = share(&train(&usual, &Device::cpu()).unwrap(), &usual);
        for (scale, offset) in [(1.0, 5e3), (1.0, 2e5), (1e20, 5e3)] {
            let rows = rows(360, 30, scale, offset);
            let codec = train(&rows, &Device::cpu()).unwrap_or_else(|e| panic!("{kind} at {offset}: {e}"));
            is_whole(kind, &codec, &rows);
            let found = share(&codec, &rows);
            assert!((found - want).abs() < 0.08, "{kind} at {offset} of {scale:e}: {found} instead of {want}");
            let r2 = codec.manifest().training.levels[1].r2;
            // Others measure in another space, before refinement, or while codewords move.
            let same = !["whitened", "pca", "refined", "mini-batch"].contains(kind);
            assert!(!same || (r2 - found).abs() < 0.02, "{kind}: {r2} in training, {found} after");
        }
    }
}

/// A GPU trains them too, and encodes them as the reference does.
#[cfg(feature = "gpu")]
#[test]
fn a_gpu_trains_rows_of_any_size_and_origin() {
    let Some(gpu) = crate::support::open(Default::default()) else { return };
    let on = Device::Gpu(std::sync::Arc::new(gpu));
    for (kind, free, train) in KINDS {
        let usual = rows(360, 30, 1.0, 0.0);
        let want = share(&train(&usual, &on).unwrap(), &usual);
        for (scale, offset) in [(1e-30, 0.0), (1e20, 0.0), (1e20, 5e3)] {
            if offset > 0.0 && !free {
                continue;
            }
            let rows = rows(360, 30, scale, offset);
            let codec = train(&rows, &on).unwrap_or_else(|e| panic!("{kind} at {scale:e}: {e}"));
            is_whole(kind, &codec, &rows);
            let encoded = codec.encoder(&on, &Default::default()).unwrap().encode(&rows).unwrap();
            assert_eq!(encoded.codes, codec.encode_reference(&rows, codec.manifest().beam).unwrap(), "{kind}");
            let found = share(&codec, &rows);
            assert!((found - want).abs() < 0.08, "{kind} at {scale:e}, {offset}: {found} instead of {want}");
        }
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn event(&self, event: Event<'_>) {
        if let Event::Note(note) = event {
            self.0.lock().unwrap().push(note.to_owned());
        }
    }
}

#[test]
fn only_what_needs_it_is_centred_and_that_is_said() {
    for (offset, cosine, centred) in [(0.0, false, false), (3.0, false, false), (5e3, false, true), (5e3, true, false)]
    {
        let (rows, notes) = (rows(200, 10, 1.0, offset), Notes::default());
        let config = plain(|c| c.metric = if cosine { Metric::Cosine } else { Metric::SquaredL2 });
        let codec = Codec::train(&rows, &config, &Device::cpu(), &notes).unwrap();
        assert_eq!(codec.quantizer().mean.is_empty(), !centred, "{offset}");
        let notes = notes.0.into_inner().unwrap();
        assert_eq!(notes.iter().filter(|n| n.contains("centred")).count(), usize::from(centred), "{notes:?}");
    }
}

#[test]
fn what_float32_cannot_square_is_refused_with_its_size() {
    for (kind, _, train) in KINDS {
        for (scale, size) in [(1e37, "e3"), (1e-41, "e-4")] {
            let text = train(&rows(360, 30, scale, 0.0), &Device::cpu()).unwrap_err().to_string();
            assert!(text.contains("float32") && text.contains(size), "{kind} at {scale:e}: {text}");
        }
    }
    let usual = rows(360, 30, 1.0, 0.0);
    let start = train(&usual, &Device::cpu(), |_| {}).unwrap();
    let other = rows(360, 30, 1e25, 0.0);
    let text = Codec::train_from(&start, &other, &plain(|_| {}), &Device::cpu(), &()).unwrap_err().to_string();
    assert!(text.contains("another scale") && text.contains("e2"), "{text}");
    // Networks without scaling.
    let config = RqVae { preprocess: Preprocess::default(), ..networks() };
    let text = Codec::train_rqvae(&rows(360, 30, 1e9, 0.0), &config, &Device::cpu(), &()).unwrap_err().to_string();
    assert!(text.starts_with("`preprocess.scale`") && text.contains("e9"), "{text}");
}

#[test]
fn rows_without_structure_are_spread_over_all_levels() {
    let (n, d, k) = (1500, 256, 96);
    let mut random = stream(1, "test.noise", 0);
    let rows = Matrix::from_vec(n, d, (0..n * d).map(|_| random.normal() as f32).collect()).unwrap();
    for metric in [Metric::SquaredL2, Metric::Cosine] {
        let config = RqKMeans { codebook_sizes: vec![k; 3], metric, ..RqKMeans::default() };
        let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
        let codes = codec.encode(&rows).unwrap();
        let ids: std::collections::HashSet<&[u32]> = codes.iter().collect();
        let mut largest = Vec::new();
        for level in 0..3 {
            let mut loads = vec![0usize; k];
            codes.iter().for_each(|row| loads[row[level] as usize] += 1);
            largest.push(loads.into_iter().max().unwrap());
        }
        let levels = &codec.manifest().training.levels;
        let told: Vec<String> = levels.iter().map(|l| format!("{:.3} {:.0}", l.r2, l.perplexity)).collect();
        assert!(ids.len() > n * 6 / 10, "{metric:?}: {} IDs, largest loads {largest:?}, {told:?}", ids.len());
        assert!(largest.iter().all(|l| *l < n / 4), "{metric:?}: {largest:?}, {told:?}");
    }
}

#[test]
fn a_failing_batch_leaves_the_trainer_as_before() {
    let config = MiniBatchRqKMeans {
        codebook_sizes: vec![4, 4],
        batch_rows: 50,
        init_rows: 40,
        epochs: 2,
        metric: Metric::Cosine,
        ..MiniBatchRqKMeans::default()
    };
    let good = rows(100, 10, 1.0, 0.0);
    let mut trainer = MiniBatchTrainer::new(config, DIMS).unwrap();
    trainer.partial_fit(&good, &Device::cpu()).unwrap();
    for bad in [f32::NAN, f32::INFINITY, 0.0, 1e30] {
        let mut batch = good.clone();
        batch.row_mut(70).fill(bad);
        let before = trainer.clone();
        assert!(trainer.partial_fit(&batch, &Device::cpu()).is_err(), "{bad}");
        assert_eq!(trainer, before, "{bad}");
        if bad == 1e30 {
            // As the first rows of all, these would decide the unit.
            continue;
        }
        // In a source, the first batch stays, and going on with repaired rows ends where a training without the failure ends.
        let mut other = MiniBatchTrainer::new(trainer.config().clone(), DIMS).unwrap();
        assert!(other.fit_source(&batch, &Device::cpu(), &()).is_err());
        assert_eq!(other.steps(), 1);
        other.fit_source(&good, &Device::cpu(), &()).unwrap();
        let mut straight = MiniBatchTrainer::new(trainer.config().clone(), DIMS).unwrap();
        straight.fit_source(&good, &Device::cpu(), &()).unwrap();
        assert_eq!(other, straight);
    }
    let narrow = Matrix::zeros(2, DIMS + 1).unwrap();
    assert!(matches!(trainer.partial_fit(&narrow, &Device::cpu()), Err(Error::Shape { .. })));
}

#[test]
fn what_would_not_fit_memory_is_refused_with_its_size() {
    let text = |config: RqKMeans| config.validate().unwrap_err().to_string();
    let refined = text(plain(|c| (c.codebook_sizes, c.refine) = (vec![65_536; 3], Some(Refine::default()))));
    assert!(refined.starts_with("`refine`") && refined.contains("864 GiB for 196608"), "{refined}");
    let exact = text(plain(|c| (c.codebook_sizes, c.balance) = (vec![65_536], Some(Balance::capacity()))));
    assert!(exact.starts_with("`balance.loads`") && exact.contains("64 GiB for 65536"), "{exact}");
    plain(|c| (c.codebook_sizes, c.balance) = (vec![65_536], Some(Balance::sinkhorn()))).validate().unwrap();
    let config = RqVae {
        sinkhorn: Some(Sinkhorn::default()),
        batch_rows: 1 << 16,
        codebook_sizes: vec![1 << 16],
        ..RqVae::default()
    };
    let text = config.validate().unwrap_err().to_string();
    assert!(text.starts_with("`batch_rows`") && text.contains("16 GiB"), "{text}");
}

#[test]
fn few_epochs_leave_fewer_to_the_networks_alone() {
    let config = RqVae { epochs: 1, ..networks() };
    let codec = Codec::train_rqvae(&rows(200, 10, 1.0, 0.0), &config, &Device::cpu(), &()).unwrap();
    assert_eq!(codec.levels(), 2);
}
