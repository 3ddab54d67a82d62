//! Parameters after one whole RQ-VAE step, on every device, against the f64 oracle and its optimisers.
//!
//! What is held is the change of each parameter, with the rounding of the parameter itself (one ulp) on top. A first Adam step is
//! `g/(|g| + ε)`, which magnifies an error of g by up to largest/ε; with the ε of 0.05 here and gradients clipped to about 0.1,
//! 2e-4 of the largest gradient stays below 1e-3 of the largest change.

use super::open_step::OpenStep;
use super::problem::{Case, Prepared, base, compare, devices};
use crate::support::{is_close, wide};
use sememe::Device;
use sememe::fit::rqvae::{CodebookUpdate, Estimator, Optimizer, OptimizerKind, RqVae};

const RTOL: f64 = 1e-3;
const RATE: f64 = 0.05;

type Change = (&'static str, fn(&mut RqVae));

const DECAY: Change = ("decay", |c| c.optimizer.decay *= 1.1);
const FACTOR: Change = ("factor of the decoder", |c| c.optimizer.decoder_factor *= 1.02);
const EPSILON: Change = ("epsilon", |c| c.optimizer.epsilon *= 1.05);
const CLIP: Change = ("largest norm", |c| *c.clip_norm.as_mut().unwrap() *= 1.02);

fn changes(prepared: &Prepared, params: &[f64]) -> Vec<f64> {
    params.iter().zip(&prepared.params).map(|(after, before)| after - f64::from(*before)).collect()
}

fn agrees(prepared: &Prepared, step: &OpenStep, config: &RqVae) -> Result<f64, String> {
    let (mut problem, before) = (prepared.problem.clone(), prepared.wide());
    problem.config = config.clone();
    let want = changes(prepared, &problem.updated(&before, &prepared.want, RATE));
    let got = changes(prepared, &wide(&step.params));
    compare(&problem.places, (&got, &want), RTOL, Some(&before))
}

/// Holds the step to the oracle on every device, and the devices to each other.
#[track_caller]
fn hold(devices: &[Device], case: &Case, noticed: &[Change]) {
    let prepared = case.prepare();
    let (config, name) = (&case.config, case.name);
    let squared: f64 = prepared.want.grads.iter().map(|g| g * g).sum();
    assert!(config.clip_norm.is_none_or(|clip| squared.sqrt() > 1.5 * clip), "{name}: nothing to clip");
    let steps: Vec<OpenStep> = devices.iter().map(|device| prepared.run(device, Some(RATE))).collect();
    for (step, device) in steps.iter().zip(devices) {
        let kind = device.info().kind;
        let worst = agrees(&prepared, step, config).unwrap_or_else(|why| panic!("{name} on {kind:?}: {why}"));
        println!("{name} on {kind:?}: changes off by {worst:.1e} of the largest");
        let norm = f64::from(step.losses[3 + config.codebook_sizes.len()]);
        assert!(is_close(norm, squared, 0.0, 1e-4), "{name} on {kind:?}: squared norm {norm}, want {squared}");
        for (what, change) in noticed {
            let mut other = config.clone();
            change(&mut other);
            assert!(agrees(&prepared, step, &other).is_err(), "{name} on {kind:?}: {what} goes unnoticed");
        }
        let moves = |step: &OpenStep| changes(&prepared, &wide(&step.params));
        let (here, first) = (moves(step), moves(&steps[0]));
        compare(&prepared.problem.places, (&here, &first), RTOL, Some(&prepared.wide()))
            .unwrap_or_else(|why| panic!("{name}: {kind:?} against the CPU: {why}"));
    }
}

fn optimizer(kind: OptimizerKind) -> Optimizer {
    Optimizer { kind, decay: 0.1, decoder_factor: 1.7, epsilon: 0.05, ..Optimizer::default() }
}

#[test]
fn optimisers_with_clipping() {
    let devices = devices();
    for kind in [OptimizerKind::AdamW, OptimizerKind::Adam, OptimizerKind::Sgd, OptimizerKind::Adagrad] {
        let config = RqVae { optimizer: optimizer(kind), clip_norm: Some(0.5), ..base() };
        let noticed: &[Change] = match kind {
            OptimizerKind::Sgd => &[DECAY, FACTOR, CLIP],
            _ => &[DECAY, FACTOR, CLIP, EPSILON],
        };
        hold(&devices, &Case::new("clipped", config.clone()), noticed);
        let wide = RqVae { clip_norm: Some(1e4), ..config };
        let prepared = Case::new("a norm below the largest", wide.clone()).prepare();
        for device in &devices {
            let step = prepared.run(device, Some(RATE));
            agrees(&prepared, &step, &RqVae { clip_norm: None, ..wide.clone() }).unwrap();
        }
    }
}

#[test]
fn codebooks_as_moving_averages() {
    let devices = devices();
    let codebook = CodebookUpdate::Ema { decay: 0.9, epsilon: 0.05 };
    let smoothing: Change = ("smoothing", |c| c.codebook = CodebookUpdate::Ema { decay: 0.9, epsilon: 0.06 });
    let decay: Change = ("decay of averages", |c| c.codebook = CodebookUpdate::Ema { decay: 0.88, epsilon: 0.05 });
    let optimizer = optimizer(OptimizerKind::AdamW);
    for estimator in [Estimator::StraightThrough, Estimator::Rotation] {
        let config = RqVae { codebook, estimator, optimizer, clip_norm: Some(0.5), ..base() };
        hold(&devices, &Case::new("averages", config.clone()), &[smoothing, decay, FACTOR]);
        let shared = RqVae { codebook_sizes: vec![6; 3], shared_codebook: true, ..config.clone() };
        hold(&devices, &Case::new("averages of a shared codebook", shared), &[smoothing, decay, DECAY]);
        hold(&devices, &Case { levels: 2, ..Case::new("averages of fewer levels", config) }, &[smoothing, decay]);
    }
}

#[test]
fn codebooks_that_stay_while_networks_move() {
    let devices = devices();
    let optimizer = optimizer(OptimizerKind::Adam);
    let codebook = CodebookUpdate::KMeans { iterations: 1, every: 1, settle: 0, balance: None };
    let held = RqVae { optimizer, codebook, ..base() };
    hold(&devices, &Case::new("k-means", held), &[DECAY, FACTOR]);
    let config = RqVae { optimizer, ..base() };
    hold(&devices, &Case { levels: 0, ..Case::new("autoencoder", config.clone()) }, &[DECAY, FACTOR]);
    hold(&devices, &Case { levels: 1, ..Case::new("fewer levels", config.clone()) }, &[DECAY, FACTOR]);
    let shared = RqVae { codebook_sizes: vec![6; 3], shared_codebook: true, clip_norm: Some(0.5), ..config };
    hold(&devices, &Case::new("shared codebook", shared), &[DECAY, FACTOR, CLIP]);
}
