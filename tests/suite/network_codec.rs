//! Codecs with networks: the codes of every fast path are the reference's, decoding is what an f64 loop says.

use crate::codec::clustered;
use sememe::compute::mlp::{Layer, Mlp};
use sememe::compute::reference::{Reference, ResidualQuantizer, Scratch};
use sememe::compute::tensor::Activation;
use sememe::fit::Fitted;
use sememe::fit::rqvae::RqVae;
use sememe::rng::stream;
use sememe::{Codec, Device, EncodeOptions, Error, Matrix, Metric, TrainedBy, TrainingSummary};

/// A random network; the last layer is linear.
pub fn network(sizes: &[usize], activation: Activation, norm: bool, skip: bool, seed: u64) -> Mlp {
    let mut random = stream(seed, "test.network", 0);
    let mut draw = |n: usize, mean: f64, scale: f64| -> Vec<f32> {
        (0..n).map(|_| (mean + scale * random.normal()) as f32).collect()
    };
    let count = sizes.len() - 1;
    let layers = (0..count).map(|i| {
        let (inputs, outputs, hidden) = (sizes[i], sizes[i + 1], i + 1 < count);
        let values = draw(outputs * inputs, 0.0, (2.0 / inputs as f64).sqrt());
        Layer {
            weight: Matrix::from_vec(outputs, inputs, values).unwrap(),
            bias: draw(outputs, 0.0, 0.1),
            norm: (norm && hidden).then(|| (draw(outputs, 1.0, 0.2), draw(outputs, 0.0, 0.1))),
            activation: hidden.then_some(activation),
        }
    });
    Mlp { layers: layers.collect(), skip }
}

/// What a test codec is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    pub sizes: Vec<usize>,
    pub activation: Activation,
    pub norm: bool,
    pub skip: bool,
    pub codebooks: Vec<usize>,
    pub shared: bool,
    pub preprocess: bool,
    pub metric: Metric,
    pub normalize_residuals: bool,
}

impl Spec {
    pub fn new(sizes: &[usize], codebooks: &[usize]) -> Self {
        Self {
            sizes: sizes.to_vec(),
            activation: Activation::Relu,
            norm: false,
            skip: false,
            codebooks: codebooks.to_vec(),
            shared: false,
            preprocess: false,
            metric: Metric::SquaredL2,
            normalize_residuals: false,
        }
    }

    fn all() -> Vec<Self> {
        vec![
            Self::new(&[24, 40, 17, 9], &[64, 16, 8]),
            Self { activation: Activation::Gelu, norm: true, ..Self::new(&[24, 33, 8], &[64, 12]) },
            Self { activation: Activation::Silu, skip: true, ..Self::new(&[24, 31, 24], &[64, 7]) },
            Self::new(&[24, 5], &[64]),
            Self { shared: true, norm: true, ..Self::new(&[24, 70, 16], &[64; 4]) },
            Self { preprocess: true, activation: Activation::Silu, ..Self::new(&[24, 48, 12], &[64, 8]) },
            Self { metric: Metric::Cosine, activation: Activation::Gelu, ..Self::new(&[24, 48, 12], &[64, 8]) },
            Self { normalize_residuals: true, skip: true, norm: true, ..Self::new(&[24, 48, 24], &[64, 8]) },
            // Wider than any tile or vector of lanes.
            Self::new(&[24, 300, 129, 65], &[64, 300, 3]),
        ]
    }
}

/// Rows whose first codewords are made to tie on 30 of them and on 7 near copies of each: 240 of `n`.
fn tied_rows(n: usize, d: usize) -> Matrix {
    let mut rows = clustered(n, d, 12, 31);
    let mut random = stream(32, "test.ties", 0);
    for i in 30..240 {
        let near: Vec<f32> = rows.row(i % 30).iter().map(|v| v * (1.0 + 1e-7 * random.normal() as f32)).collect();
        rows.row_mut(i).copy_from_slice(&near);
    }
    rows
}

/// A codec over `rows` whose codewords lie where rows are, in pairs with a row half-way between.
pub fn fitted(spec: &Spec, rows: &Matrix) -> Fitted {
    let d = rows.dims();
    let mut random = stream(33, "test.codewords", 0);
    let mut quantizer = ResidualQuantizer {
        dims: d,
        metric: spec.metric,
        normalize_residuals: spec.normalize_residuals,
        encoder: Some(network(&spec.sizes, spec.activation, spec.norm, spec.skip, 34)),
        decoder: Some({
            let back: Vec<usize> = spec.sizes.iter().rev().copied().collect();
            network(&back, spec.activation, spec.norm, spec.skip, 35)
        }),
        ..ResidualQuantizer::default()
    };
    if spec.preprocess {
        quantizer.mean = (0..d).map(|_| random.normal() as f32 * 0.2).collect();
        quantizer.scales = (0..d).map(|_| 1.0 + random.uniform() as f32).collect();
        quantizer.normalize_rows = true;
    }
    let e = quantizer.code_dims();
    let (reference, mut scratch) = (Reference::new(&quantizer), Scratch::default());
    let length = |z: &[f64]| z.iter().map(|v| v * v).sum::<f64>().sqrt();
    let z: Vec<Vec<f64>> = (0..rows.rows())
        .map(|i| {
            let z = reference.enter(&quantizer, rows.row(i), &mut scratch).to_vec();
            let scale = if spec.normalize_residuals { 1.0 / length(&z) } else { 1.0 };
            z.iter().map(|v| v * scale).collect()
        })
        .collect();
    for (level, k) in spec.codebooks.iter().enumerate() {
        let mut book = Vec::new();
        for j in 0..*k {
            // Pairs at the first level; elsewhere and after 30 pairs, differences between rows.
            let (at, other) = (j / 2 % rows.rows(), 240 + (911 * level + 37 * j) % (rows.rows() - 240));
            // A step at a right angle to the row, so that both ways are as far under either metric.
            let mut turn = stream(36, "test.pair", (j / 2) as u64);
            let mut step: Vec<f64> = (0..e).map(|_| 0.05 * turn.normal()).collect();
            let along = step.iter().zip(&z[at]).map(|(s, v)| s * v).sum::<f64>() / length(&z[at]).powi(2);
            step.iter_mut().zip(&z[at]).for_each(|(s, v)| *s -= along * v);
            for c in 0..e {
                book.push(match (level, j < 60) {
                    (0, true) => z[at][c] + if j % 2 == 0 { step[c] } else { -step[c] },
                    (0, false) => z[other][c],
                    _ => 0.3 * (z[other][c] - z[other - 1][c]),
                } as f32);
            }
        }
        quantizer.codebooks.push(Matrix::from_vec(*k, e, book).unwrap());
    }
    if spec.shared {
        let first = quantizer.codebooks[0].clone();
        quantizer.codebooks.iter_mut().for_each(|b| *b = first.clone());
    }
    let norms = if spec.normalize_residuals { vec![1.5; spec.codebooks.len()] } else { vec![] };
    let probes: Vec<f32> = (0..40).flat_map(|i| rows.row(240 + 3 * i % (rows.rows() - 240)).to_vec()).collect();
    Fitted {
        quantizer,
        mean_norm: 2.5,
        residual_norms: norms,
        beam: 1,
        shared_codebook: spec.shared,
        probes: Matrix::from_vec(40, d, probes).unwrap(),
        summary: TrainingSummary::default(),
    }
}

pub fn codec(fitted: &Fitted) -> Codec {
    Codec::from_fitted(fitted.clone(), TrainedBy::RqVae(&RqVae::default())).unwrap()
}

/// A plain f64 evaluation of a network: no code shared with the library.
fn evaluate(mlp: &Mlp, x: &[f64]) -> Vec<f64> {
    let mut row = x.to_vec();
    for layer in &mlp.layers {
        let mut out: Vec<f64> = (0..layer.weight.rows())
            .map(|o| {
                let dot: f64 = layer.weight.row(o).iter().zip(&row).map(|(w, v)| f64::from(*w) * v).sum();
                dot + f64::from(layer.bias[o])
            })
            .collect();
        if let Some((gain, bias)) = &layer.norm {
            let n = out.len() as f64;
            let mean = out.iter().sum::<f64>() / n;
            let variance = out.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            for (c, v) in out.iter_mut().enumerate() {
                *v = f64::from(gain[c]) * (*v - mean) / (variance + 1e-5).sqrt() + f64::from(bias[c]);
            }
        }
        if let Some(activation) = layer.activation {
            for v in &mut out {
                *v = match activation {
                    Activation::Relu => v.max(0.0),
                    Activation::Gelu => 0.5 * *v * (1.0 + libm::erf(*v / 2f64.sqrt())),
                    Activation::Silu => *v / (1.0 + (-*v).exp()),
                };
            }
        }
        row = out;
    }
    if mlp.skip {
        row.iter_mut().zip(x).for_each(|(v, x)| *v += x);
    }
    row
}

fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    let scale = want.iter().map(|v| v * v).sum::<f64>().sqrt();
    let off = got.iter().zip(want).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    // Written so that NaN fails.
    assert!(got.len() == want.len() && off <= tolerance * (1.0 + scale), "{what}: off by {off} of {scale}");
}

#[test]
fn the_reference_of_a_network_is_what_plain_loops_say() {
    let rows = tied_rows(300, 24);
    for spec in Spec::all() {
        let quantizer = fitted(&spec, &rows).quantizer;
        let (reference, mut scratch) = (Reference::new(&quantizer), Scratch::default());
        for i in 0..40 {
            let y = reference.preprocess(&quantizer, rows.row(i), &mut scratch).to_vec();
            let z = reference.enter(&quantizer, rows.row(i), &mut scratch).to_vec();
            close(&format!("{spec:?}"), &z, &evaluate(quantizer.encoder.as_ref().unwrap(), &y), 1e-12);
            assert_eq!(z.len(), quantizer.code_dims());
        }
    }
}

/// Holds a device's codes against the reference's; returns how many rows were decided twice.
fn hold(codec: &Codec, rows: &Matrix, device: &Device, beam: usize) -> u64 {
    let options = EncodeOptions { beam: Some(beam), ..EncodeOptions::default() };
    let encoder = codec.encoder(device, &options).unwrap();
    let error = encoder.network_error().expect("there is an encoder");
    assert!(error > 0.0 && error < 1e-5, "{error} on {device:?}");
    let found = encoder.encode(rows).unwrap();
    assert_eq!(found.codes, codec.encode_reference(rows, beam).unwrap(), "beam {beam} on {device:?}");
    found.rechecked
}

fn near_ties_on(device: &Device) {
    let rows = tied_rows(3000, 24);
    for spec in Spec::all() {
        let codec = codec(&fitted(&spec, &rows));
        let rechecked = hold(&codec, &rows, device, 1);
        assert!((200..400).contains(&rechecked), "{rechecked} of 3000 rows decided twice: {spec:?}");
        let used = codec.encode(&rows).unwrap().iter().map(|r| r[0]).collect::<std::collections::HashSet<_>>().len();
        assert!(used > 10, "{used} codewords used: {spec:?}");
        if spec.metric == Metric::SquaredL2 && !spec.normalize_residuals {
            let small = Matrix::from_vec(500, 24, rows.as_slice()[..500 * 24].to_vec()).unwrap();
            assert!(hold(&codec, &small, device, 3) > 0);
        }
    }
}

#[test]
fn near_ties_behind_a_network_are_decided_as_the_reference_does() {
    near_ties_on(&Device::cpu());
}

fn batches_on(device: &Device) {
    let rows = tied_rows(1000, 24);
    for spec in Spec::all() {
        let codec = codec(&fitted(&spec, &rows));
        let expected = codec.encode_reference(&rows, 1).unwrap();
        for size in [1, 2, 23, 24, 63, 64, 65, 1000] {
            let options = EncodeOptions { batch_rows: Some(size), ..EncodeOptions::default() };
            let encoder = codec.encoder(device, &options).unwrap();
            let rows = rows.view().slice(0, size.clamp(300, 1000));
            let found = encoder.encode(rows).unwrap().codes;
            assert_eq!(found.as_slice(), &expected.as_slice()[..found.as_slice().len()], "batches of {size}, {spec:?}");
        }
    }
}

#[test]
fn codes_behind_a_network_do_not_depend_on_the_batch() {
    batches_on(&Device::cpu());
    let rows = tied_rows(400, 24);
    for spec in Spec::all() {
        let codec = codec(&fitted(&spec, &rows));
        let expected = codec.encode_reference(&rows, 1).unwrap();
        for i in 0..400 {
            assert_eq!(codec.encode_row(rows.row(i)).unwrap(), expected.row(i), "row {i}, {spec:?}");
        }
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_gpu_gives_the_codes_of_the_reference_behind_a_network() {
    for device in crate::codec::devices().iter().filter(|d| !matches!(d, Device::Cpu(_))) {
        near_ties_on(device);
        batches_on(device);
    }
}

/// More rows than one piece of scratch holds.
#[test]
fn pieces_of_a_forward_pass_join_without_a_seam() {
    let rows = tied_rows(5000, 24);
    let codec = codec(&fitted(&Spec::new(&[24, 600, 30], &[64, 8]), &rows));
    hold(&codec, &rows, &Device::cpu(), 1);
}

#[test]
fn a_changed_parameter_changes_codes() {
    let rows = tied_rows(600, 24);
    for spec in Spec::all() {
        let mut fitted = fitted(&spec, &rows);
        let before = codec(&fitted).encode(&rows).unwrap();
        let changes: [fn(&mut Layer); 2] = [
            |l| l.weight.row_mut(1)[2] += 1.0,
            |l| match &mut l.norm {
                Some((gain, _)) => gain[0] *= -3.0,
                None => l.bias[1] += 1.0,
            },
        ];
        for change in changes {
            change(&mut fitted.quantizer.encoder.as_mut().unwrap().layers[0]);
            let changed = codec(&fitted);
            assert_ne!(changed.encode(&rows).unwrap(), before, "{spec:?}");
            assert_ne!(changed.content_hash(), codec(&self::fitted(&spec, &rows)).content_hash());
        }
    }
}

#[test]
fn decoding_through_a_network_is_what_plain_loops_say() {
    let rows = tied_rows(600, 24);
    for spec in Spec::all() {
        let fitted = fitted(&spec, &rows);
        let (codec, quantizer) = (codec(&fitted), &fitted.quantizer);
        let codes = codec.encode(&rows).unwrap();
        for depth in 1..=codec.levels() {
            let cut: Vec<u32> = codes.iter().flat_map(|r| r[..depth].to_vec()).collect();
            let cut = sememe::Codes::from_vec(600, depth, cut).unwrap();
            let back = codec.decode(&cut).unwrap();
            for i in (0..600).step_by(7) {
                let mut sum = vec![0.0f64; quantizer.code_dims()];
                for level in (0..depth).rev() {
                    let word = quantizer.codebooks[level].row(cut.row(i)[level] as usize);
                    sum.iter_mut().zip(word).for_each(|(s, c)| *s += f64::from(*c));
                    if spec.normalize_residuals {
                        sum.iter_mut().for_each(|s| *s *= 1.5);
                    }
                }
                let mut want = evaluate(quantizer.decoder.as_ref().unwrap(), &sum);
                for (c, v) in want.iter_mut().enumerate() {
                    if spec.preprocess {
                        *v = *v * 2.5 / f64::from(quantizer.scales[c]) + f64::from(quantizer.mean[c]);
                    }
                }
                let got: Vec<f64> = back.row(i).iter().map(|v| f64::from(*v)).collect();
                close(&format!("row {i} at depth {depth}, {spec:?}"), &got, &want, 1e-5);
            }
            assert_eq!(codec.decode(&cut).unwrap(), back);
        }
    }
}

/// Where nothing can be measured, nothing is certified, and the codes are right all the same.
#[test]
fn without_a_measure_the_reference_decides_everything() {
    let rows = tied_rows(300, 24);
    let mut fitted = fitted(&Spec::new(&[24, 20, 6], &[64, 8]), &rows);
    let last = fitted.quantizer.encoder.as_mut().unwrap().layers.last_mut().unwrap();
    last.weight.as_mut_slice().fill(0.0);
    last.bias.fill(0.0);
    // A network that overflows in f32 and not in f64.
    let mut vast = fitted.clone();
    let layers = &mut vast.quantizer.encoder.as_mut().unwrap().layers;
    layers[0].weight.as_mut_slice().iter_mut().for_each(|w| *w *= 1e38);
    layers[1].weight.as_mut_slice().iter_mut().enumerate().for_each(|(i, w)| *w = (i % 5) as f32 * 1e3);
    for fitted in [fitted, vast] {
        let codec = codec(&fitted);
        let encoder = codec.encoder(&Device::cpu(), &EncodeOptions::default()).unwrap();
        assert_eq!(encoder.network_error(), Some(f64::INFINITY));
        let found = encoder.encode(&rows).unwrap();
        assert_eq!((found.rechecked, found.codes), (300, codec.encode_reference(&rows, 1).unwrap()));
    }
}

#[test]
fn rows_far_from_the_probes_keep_their_codes() {
    let rows = tied_rows(500, 24);
    for spec in Spec::all() {
        let codec = codec(&fitted(&spec, &rows));
        for scale in [1e-6f32, 1e-2, 30.0, 1e4] {
            let mut far = rows.clone();
            far.as_mut_slice().iter_mut().for_each(|v| *v *= scale);
            assert_eq!(codec.encode(&far).unwrap(), codec.encode_reference(&far, 1).unwrap(), "{scale}, {spec:?}");
        }
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let rows = tied_rows(300, 24);
    let good = fitted(&Spec::new(&[24, 20, 6], &[64, 8]), &rows);
    let refused = |change: &dyn Fn(&mut Fitted), part: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let error = Codec::from_fitted(bad, TrainedBy::RqVae(&RqVae::default())).unwrap_err();
        assert!(
            matches!(error, Error::Codec(_) | Error::Shape { .. } | Error::Data(_)) && error.to_string().contains(part),
            "{error}"
        );
    };
    refused(&|f| f.probes = Matrix::default(), "an encoder needs 1 to 64 rows");
    refused(&|f| f.probes = Matrix::zeros(65, 24).unwrap(), "got 65");
    refused(&|f| f.probes = Matrix::zeros(3, 23).unwrap(), "expected d = 24, got 23 in `probe.rows`");
    refused(&|f| f.probes.row_mut(1)[1] = f32::NAN, "`probe.rows` holds NaN at value 25");
    refused(&|f| f.quantizer.decoder = None, "from 24 to 6 values needs a decoder");
    refused(&|f| f.quantizer.encoder = None, "expected inputs = 24, got 6 in `decoder`");
    refused(&|f| f.quantizer.encoder.as_mut().unwrap().skip = true, "expected outputs = 24, got 6");
    refused(&|f| f.quantizer.encoder.as_mut().unwrap().layers.clear(), "at least 1 layer");
    refused(&|f| f.quantizer.encoder.as_mut().unwrap().layers[1].bias[2] = f32::INFINITY, "`encoder.1.bias` holds inf");
    refused(&|f| f.quantizer.decoder.as_mut().unwrap().layers[0].bias = vec![0.0; 3], "got 3 in `decoder.0.bias`");
    refused(
        &|f| f.quantizer.decoder.as_mut().unwrap().layers[1].weight = Matrix::zeros(24, 19).unwrap(),
        "expected inputs = 20, got 19 in `decoder.1.weight`",
    );
    refused(&|f| f.quantizer.codebooks[1] = Matrix::zeros(8, 24).unwrap(), "expected d = 6, got 24 in `codebook.1`");
    refused(&|f| f.shared_codebook = true, "shared codebook differ");
}
