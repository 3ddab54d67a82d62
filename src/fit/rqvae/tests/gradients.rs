//! Losses and gradients of one RQ-VAE step on every device, against an f64 oracle whose own derivatives are held to central
//! differences of a loss that says what gradients pass and what they do not.
//!
//! Tolerances. f32 rounds by 6e-8. A gradient is a sum of at most some hundred products behind about ten layers of such sums, and
//! `y − x` and the residuals lose a digit or two: 1e-5 of a tensor's largest value is to be expected, up to 2.5e-5 was seen, and
//! 2e-4 is allowed, as GPUs may compute `exp` less exactly. The f64 differences are good to about 1e-8 of the largest; 1e-6 is
//! allowed, and an activation's kink is farther than their step reaches.

use super::open_step::OpenStep;
use super::oracle::Problem;
use super::problem::{Case, Prepared, base, compare, devices};
use crate::support::is_close;
use sememe::Device;
use sememe::compute::tensor::Activation;
use sememe::fit::rqvae::{
    Alignment, CodebookUpdate, Commitment, Diversity, Estimator, Reduction, Repulsion, RqVae, Sinkhorn, SinkhornForm,
};

const RTOL: f64 = 2e-4;

/// What must be noticed when it is off by a little.
type Change = (&'static str, fn(&mut Problem));

/// Losses, labels and gradients of a step against an outcome.
fn agrees(prepared: &Prepared, step: &OpenStep, want: &Problem) -> Result<f64, String> {
    let solved = want.solve(&prepared.wide());
    assert_eq!(step.losses.len(), solved.losses.len());
    for (i, (got, want)) in step.losses.iter().zip(&solved.losses).enumerate() {
        if !is_close(f64::from(*got), *want, 1e-7, 2e-5) {
            return Err(format!("loss {i}: got {got}, want {want}"));
        }
    }
    let labels: Vec<Vec<u32>> = solved.levels.iter().map(|l| l.labels.iter().map(|j| *j as u32).collect()).collect();
    if step.labels != labels {
        return Err(format!("labels {:?}, expected {labels:?}", step.labels));
    }
    let grads = crate::support::wide(&step.grads);
    compare(&prepared.problem.places, (&grads, &solved.grads), RTOL, None)
}

#[track_caller]
fn hold(devices: &[Device], case: &Case, changes: &[Change]) {
    let prepared = case.prepare();
    let (problem, params, name) = (&prepared.problem, prepared.wide(), case.name);
    // At the point itself what is held does not matter: the surrogate is the loss.
    let (surrogate, total) = (problem.surrogate(&params, &prepared.want), problem.total(&prepared.want.losses));
    assert!(is_close(surrogate, total, 0.0, 1e-12), "{name}: the surrogate is {surrogate}, the loss {total}");
    let differences = problem.differences(&params, &prepared.want);
    let off = compare(&problem.places, (&prepared.want.grads, &differences), 1e-6, None);
    let off = off.unwrap_or_else(|why| panic!("{name}: the oracle is not the derivative of its loss: {why}"));
    for device in devices {
        let step = prepared.run(device, None);
        assert_eq!(step.params, prepared.params, "{name}: parameters moved");
        let kind = device.info().kind;
        let worst = agrees(&prepared, &step, problem).unwrap_or_else(|why| panic!("{name} on {kind:?}: {why}"));
        println!("{name} on {kind:?}: gradients off by {worst:.1e} of the largest, differences by {off:.1e}");
        for (what, change) in changes {
            let mut other = problem.clone();
            change(&mut other);
            assert!(agrees(&prepared, &step, &other).is_err(), "{name} on {kind:?}: {what} goes unnoticed");
        }
    }
}

const ACTIVATION: Change = ("another activation", |p| {
    p.config.activation = if p.config.activation == Activation::Silu { Activation::Gelu } else { Activation::Silu };
});
const COMMITMENT: Change = ("commitment weight", |p| p.config.commitment_weight *= 1.02);
const QUANTIZER: Change = ("quantiser weight", |p| p.config.quantizer_weight *= 1.02);
const COMMITTED: Change = ("what is committed", |p| {
    let levels = p.config.commitment == Commitment::Levels;
    p.config.commitment = if levels { Commitment::Sum } else { Commitment::Levels };
});
const STRAIGHT: Change = ("another estimator", |p| p.config.estimator = Estimator::StraightThrough);
const ROTATED: Change = ("another estimator", |p| p.config.estimator = Estimator::Rotation);

#[test]
fn activations_and_layer_norm() {
    let devices = devices();
    for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
        let config = RqVae { activation, ..base() };
        let normed = RqVae { layer_norm: true, ..config.clone() };
        let rows: Change = ("a row", |p| p.x[3] += 0.01);
        hold(&devices, &Case::new("activation", config), &[ACTIVATION, COMMITMENT, rows]);
        hold(&devices, &Case { n: 13, d: 10, ..Case::new("layer norm", normed) }, &[ACTIVATION, QUANTIZER]);
    }
}

#[test]
fn networks_of_other_shapes() {
    let devices = devices();
    let linear = RqVae { hidden: vec![], ..base() };
    hold(&devices, &Case::new("linear", linear), &[COMMITMENT, QUANTIZER]);
    let uneven = RqVae { hidden: vec![9], decoder_hidden: Some(vec![5, 8, 6]), code_dims: 5, ..base() };
    hold(&devices, &Case { n: 20, d: 6, ..Case::new("uneven", uneven) }, &[COMMITMENT, ACTIVATION]);
}

#[test]
fn dropout_with_given_masks() {
    let devices = devices();
    let share: Change = ("share", |p| p.config.dropout = 0.32);
    let one_bit: Change = ("a bit of the first mask", |p| p.masks[0] ^= 4);
    let last: Change = ("a bit of the last mask", |p| *p.masks.last_mut().unwrap() ^= 1);
    for (layer_norm, n) in [(false, 13), (true, 14)] {
        let config = RqVae { dropout: 0.3, layer_norm, ..base() };
        hold(&devices, &Case { n, ..Case::new("dropout", config) }, &[share, one_bit, last]);
    }
}

#[test]
fn reductions_and_commitments() {
    let devices = devices();
    for reconstruction in [Reduction::Mean, Reduction::Sum] {
        for quantizer in [Reduction::Mean, Reduction::Sum] {
            let swap_rows: Change = ("reduction of rows", |p| {
                let mean = p.config.reconstruction == Reduction::Mean;
                p.config.reconstruction = if mean { Reduction::Sum } else { Reduction::Mean };
            });
            let swap_codes: Change = ("reduction of codes", |p| {
                let mean = p.config.quantizer == Reduction::Mean;
                p.config.quantizer = if mean { Reduction::Sum } else { Reduction::Mean };
            });
            for commitment in [Commitment::Levels, Commitment::Sum] {
                let config = RqVae { reconstruction, quantizer, commitment, ..base() };
                hold(&devices, &Case::new("reductions", config), &[swap_rows, swap_codes, COMMITTED, COMMITMENT]);
            }
        }
    }
}

#[test]
fn estimators() {
    let devices = devices();
    let temperature: Change = ("temperature", |p| p.temperature *= 1.01);
    let noise: Change = ("noise of the last level", |p| p.noise[2][1] += 0.1);
    for commitment in [Commitment::Levels, Commitment::Sum] {
        let straight = RqVae { commitment, ..base() };
        hold(&devices, &Case::new("straight-through", straight.clone()), &[ROTATED, COMMITTED, QUANTIZER]);
        let rotation = RqVae { estimator: Estimator::Rotation, ..straight.clone() };
        hold(&devices, &Case::new("rotation", rotation), &[STRAIGHT, COMMITTED, COMMITMENT]);
        let gumbel = RqVae { estimator: Estimator::Gumbel { from: 1.0, to: 0.5 }, ..straight };
        let changes = [temperature, noise, COMMITTED, COMMITMENT, QUANTIZER];
        hold(&devices, &Case::new("Gumbel-softmax", gumbel), &changes);
    }
}

#[test]
fn shared_codebooks() {
    let devices = devices();
    for estimator in [Estimator::StraightThrough, Estimator::Rotation, Estimator::Gumbel { from: 1.0, to: 0.5 }] {
        let config = RqVae { codebook_sizes: vec![6; 3], shared_codebook: true, estimator, ..base() };
        let fewer: Change = ("a level less", |p| p.levels -= 1);
        hold(&devices, &Case::new("shared codebook", config), &[fewer, QUANTIZER]);
    }
}

#[test]
fn fewer_levels_and_none() {
    let devices = devices();
    for estimator in [Estimator::StraightThrough, Estimator::Rotation, Estimator::Gumbel { from: 1.0, to: 0.5 }] {
        for commitment in [Commitment::Levels, Commitment::Sum] {
            for levels in [1, 2] {
                let config = RqVae { estimator, commitment, ..base() };
                let more: Change = ("a level more", |p| p.levels += 1);
                hold(&devices, &Case { levels, ..Case::new("fewer levels", config) }, &[more, COMMITMENT]);
            }
        }
    }
    let alignment = Some(Alignment::default());
    let repulsion = Some(Repulsion::default());
    let config = RqVae { diversity: Some(Diversity::default()), alignment, repulsion, ..base() };
    let none = Case { levels: 0, aligned: Some(6), ..Case::new("autoencoder", config) };
    hold(&devices, &none, &[ACTIVATION, ("a level more", |p| p.levels += 1)]);
}

#[test]
fn codebooks_that_do_not_learn_by_gradient() {
    let devices = devices();
    let learned: Change = ("codebooks that learn", |p| p.config.codebook = CodebookUpdate::Gradient);
    for estimator in [Estimator::StraightThrough, Estimator::Rotation] {
        for codebook in [
            CodebookUpdate::Ema { decay: 0.9, epsilon: 1e-3 },
            CodebookUpdate::KMeans { iterations: 1, every: 1, settle: 0, balance: None },
        ] {
            let config = RqVae { codebook, estimator, ..base() };
            hold(&devices, &Case::new("held codebooks", config), &[learned, COMMITMENT]);
        }
    }
}

#[test]
fn diversity_of_codewords() {
    let devices = devices();
    let diversity = Some(Diversity { weight: 0.7, clusters: 3, temperature: 1.5 });
    let changes: &[Change] = &[
        ("weight", |p| p.config.diversity.as_mut().unwrap().weight *= 1.02),
        ("temperature", |p| p.config.diversity.as_mut().unwrap().temperature *= 1.02),
        ("other targets", |p| {
            let next = |j: usize, t: u32| if (t + 1) % 6 == j as u32 { (t + 2) % 6 } else { (t + 1) % 6 };
            p.targets[0] = p.targets[0].iter().enumerate().map(|(j, t)| next(j, *t)).collect();
        }),
    ];
    for shared_codebook in [false, true] {
        let codebook_sizes = if shared_codebook { vec![6; 3] } else { vec![6, 5, 4] };
        let config = RqVae { diversity, shared_codebook, codebook_sizes, ..base() };
        hold(&devices, &Case::new("diversity", config.clone()), changes);
        hold(&devices, &Case { levels: 2, ..Case::new("diversity of fewer levels", config) }, changes);
    }
}

#[test]
fn alignment_with_other_embeddings() {
    let devices = devices();
    let alignment = Some(Alignment { weight: 0.6, temperature: 0.8 });
    let changes: &[Change] = &[
        ("weight", |p| p.config.alignment.as_mut().unwrap().weight *= 1.02),
        ("temperature", |p| p.config.alignment.as_mut().unwrap().temperature *= 1.02),
        ("an embedding", |p| p.aligned.as_mut().unwrap().0[5] += 0.05),
    ];
    for estimator in [Estimator::StraightThrough, Estimator::Rotation, Estimator::Gumbel { from: 1.0, to: 0.5 }] {
        for c in [4, 3, 9] {
            let config = RqVae { alignment, estimator, ..base() };
            hold(&devices, &Case { aligned: Some(c), ..Case::new("alignment", config) }, changes);
        }
    }
}

#[test]
fn repulsion_of_code_vectors() {
    let devices = devices();
    for reconstruction in [Reduction::Mean, Reduction::Sum] {
        for estimator in [Estimator::StraightThrough, Estimator::Rotation] {
            let repulsion = Some(Repulsion { weight: 0.3 });
            let config = RqVae { repulsion, reconstruction, estimator, ..base() };
            let weight: Change = ("weight", |p| p.config.repulsion.as_mut().unwrap().weight *= 1.02);
            let none: Change = ("no repulsion", |p| p.config.repulsion = None);
            hold(&devices, &Case::new("repulsion", config), &[weight, none]);
        }
    }
}

#[test]
fn balanced_labels() {
    let devices = devices();
    let nearest: Change = ("nearest labels", |p| p.config.sinkhorn = None);
    for (form, epsilon, shared_codebook) in [
        (SinkhornForm::BatchRange, 0.1, false),
        (SinkhornForm::Codebook, 0.2, false),
        (SinkhornForm::Codebook, 0.2, true),
    ] {
        for levels in [None, Some(vec![2]), Some(vec![0, 1])] {
            let sinkhorn = Some(Sinkhorn { levels: levels.clone(), epsilon, iterations: 20, form });
            let codebook_sizes = if shared_codebook { vec![6; 3] } else { vec![6, 5, 4] };
            let config = RqVae { sinkhorn, shared_codebook, codebook_sizes, ..base() };
            let case = Case { n: 20, ..Case::new("Sinkhorn", config) };
            let found = case.prepare().want;
            let moved: usize = found.levels.iter().map(|l| l.moved).sum();
            assert!(moved > 0, "balancing moves no row");
            hold(&devices, &case, &[nearest, COMMITMENT]);
        }
    }
}

#[test]
fn everything_at_once() {
    let devices = devices();
    let (diversity, alignment) = (Some(Diversity { weight: 0.4, ..Diversity::default() }), Some(Alignment::default()));
    let repulsion = Some(Repulsion { weight: 0.2 });
    for estimator in [Estimator::StraightThrough, Estimator::Rotation, Estimator::Gumbel { from: 1.0, to: 0.5 }] {
        for shared_codebook in [false, true] {
            let codebook_sizes = if shared_codebook { vec![6; 3] } else { vec![4, 5, 6] };
            let terms = RqVae { diversity, alignment, repulsion, estimator, ..base() };
            let config = RqVae { layer_norm: true, dropout: 0.25, shared_codebook, codebook_sizes, ..terms };
            let changes: &[Change] = &[
                COMMITMENT,
                ACTIVATION,
                ("diversity", |p| p.config.diversity.as_mut().unwrap().weight *= 1.05),
                ("alignment", |p| p.config.alignment.as_mut().unwrap().weight *= 1.05),
                ("repulsion", |p| p.config.repulsion.as_mut().unwrap().weight *= 1.05),
            ];
            let case = Case { n: 19, aligned: Some(3), ..Case::new("everything", config) };
            hold(&devices, &case, changes);
            hold(&devices, &Case { levels: 2, ..case }, changes);
        }
    }
}

#[test]
fn a_wrong_derivative_is_noticed() {
    let prepared = Case::new("differences", base()).prepare();
    let (params, places) = (prepared.wide(), &prepared.problem.places);
    for (what, change) in [ACTIVATION, COMMITMENT, QUANTIZER, COMMITTED] {
        let mut other = prepared.problem.clone();
        change(&mut other);
        let differences = other.differences(&params, &prepared.want);
        assert!(compare(places, (&prepared.want.grads, &differences), 1e-6, None).is_err(), "{what} goes unnoticed");
    }
}
