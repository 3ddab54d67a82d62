//! Output heads: gradients by central differences, and losses by the scores that answers are made of.

use super::items::{ItemSources, scaled_vectors};
use super::learner::UpdatePart;
use super::network::{Network, NetworkLayout, TrainingBatch};
use super::scorer::{ItemScorer as _, ScoreQuery};
use super::settings::{Prediction, RecommenderSettings};
use crate::decoder::{Moments, mask_bits, mask_count, mask_words};
use sememe::compute::cpu::Cpu;
use sememe::rng::stream;
use sememe::{Codes, Matrix};
use std::sync::Arc;

fn settings() -> RecommenderSettings {
    RecommenderSettings {
        prediction: Prediction::Levels,
        dims: 8,
        layers: 1,
        heads: 2,
        positions: 8,
        batch_tokens: 16,
        dropout: 0.0,
        item_deviation: 0.5,
        ..RecommenderSettings::default()
    }
}

/// Every ID of 3 × 4 × 2 codes is an item's.
fn grid() -> ItemSources {
    let codes = (0..24u32).flat_map(|i| [i / 8, i / 2 % 4, i % 2]).collect();
    let mut random = stream(11, "vectors", 0);
    let vectors = Matrix::from_vec(24, 3, (0..72).map(|_| random.normal() as f32).collect()).expect("vectors");
    let codes = Some(Codes::from_vec(24, 3, codes).expect("codes"));
    ItemSources { items: 24, codes, vectors: Some(vectors), ..ItemSources::default() }
}

/// Parameters with heads that do something.
fn params(settings: &RecommenderSettings, sources: &ItemSources) -> Vec<f32> {
    let layout = NetworkLayout::new(settings, sources).expect("layout");
    let mut params = layout.initialise(settings);
    let heads = layout.heads.as_ref().expect("heads");
    assert_eq!((heads.len(), heads.end), (3 * 8 * 8, params.len()));
    assert!(params[heads.maps..].iter().all(|v| *v == 0.0));
    let mut random = stream(12, "heads", 0);
    params[heads.maps..].iter_mut().for_each(|v| *v = 0.3 * random.normal() as f32);
    params
}

const PIECES: [&[u32]; 3] = [&[0, 3, 3, 12], &[7, 21], &[2, 4, 6, 8, 10, 23]];

fn whole_update(batch: &TrainingBatch) -> UpdatePart {
    UpdatePart { tokens: batch.places.tokens(), first: true, last: true }
}

fn network(backend: &Arc<Cpu>, settings: &RecommenderSettings, sources: &ItemSources, params: &[f32]) -> Network<Cpu> {
    let (scaled, ..) = scaled_vectors(sources.vectors.as_ref().expect("vectors"));
    let moments = Moments::zeros(params.len());
    Network::new(backend, settings, sources, Some(&scaled), params, 16, Some(&moments)).expect("network")
}

#[test]
fn gradients_of_the_loss_over_all_levels() {
    let settings = RecommenderSettings { dropout: 0.3, smoothing: 0.1, ..settings() };
    for sources in [grid(), ItemSources { identities: true, prefixes: true, ..grid() }] {
        let mut params = params(&settings, &sources);
        let (backend, batch) = (Arc::new(Cpu::new()), TrainingBatch::of(&PIECES));
        let words = mask_words(0.7, 1, 0, mask_count(&settings.shape()) * mask_bits(batch.places.tokens(), 8) / 32);
        let run = |params: &[f32]| {
            let mut network = network(&backend, &settings, &sources, params);
            network.gradients(&settings, &batch, Some(&words), whole_update(&batch)).expect("gradients");
            (network.take_loss().expect("loss"), network.read_grads().expect("grads"))
        };
        let (loss, grads) = run(&params);
        assert!(loss > 0.5, "{loss}");
        let typical = (grads.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>() / grads.len() as f64).sqrt();
        for at in (0..params.len()).step_by(3) {
            let before = params[at];
            let mut one = |by: f32| {
                params[at] = before + by;
                run(&params).0
            };
            let slope = (one(4e-3) - one(-4e-3)) / 8e-3;
            params[at] = before;
            let (gradient, within) = (f64::from(grads[at]), 0.02 * f64::from(grads[at]).abs() + 0.02 * typical);
            assert!((slope - gradient).abs() <= within, "parameter {at}: slope {slope}, gradient {gradient}");
        }
    }
}

/// Where every ID is some item's, an item's share of all is the product of its codes' probabilities: so the loss, which comes from the
/// levels' softmaxes, is what the items' scores say.
#[test]
fn losses_are_what_scores_say() {
    let (settings, sources, backend) = (settings(), grid(), Arc::new(Cpu::new()));
    let params = params(&settings, &sources);
    let mut network = network(&backend, &settings, &sources, &params);
    let batch = TrainingBatch::of(&PIECES);
    network.gradients(&settings, &batch, None, whole_update(&batch)).expect("gradients");
    let loss = network.take_loss().expect("loss");
    let query = |history| ScoreQuery { history, wish: None };
    let histories: Vec<_> = PIECES.iter().flat_map(|p| (1..p.len()).map(|end| query(&p[..end]))).collect();
    let targets: Vec<u32> = PIECES.iter().flat_map(|p| p[1..].to_vec()).collect();
    let mut sum = 0.0;
    let mut spread = 0.0f64;
    network
        .score(&histories, &mut |first, scores| {
            for (row, target) in scores.chunks_exact(24).zip(&targets[first..]) {
                let all = row.iter().map(|s| f64::from(*s).exp()).sum::<f64>().ln();
                sum += all - f64::from(row[*target as usize]);
                spread = spread.max(f64::from(row[0] - row[23]).abs());
                // Scores add up over levels.
                let change = |a: usize, b: usize| f64::from(row[a] - row[b]);
                assert!((change(0, 8) - change(7, 15)).abs() < 1e-4 && (change(0, 1) - change(22, 23)).abs() < 1e-4);
            }
            Ok(())
        })
        .expect("scores");
    let told = sum / targets.len() as f64 / 3.0;
    assert!(spread > 0.1 && (loss - told).abs() < 1e-4 * told, "loss {loss}, scores {told}, spread {spread}");
}

#[test]
fn several_batches_are_as_one() {
    let settings = RecommenderSettings { accumulate: 2, ..settings() };
    let (sources, backend) = (grid(), Arc::new(Cpu::new()));
    let params = params(&settings, &sources);
    let mut whole = network(&backend, &settings, &sources, &params);
    let batch = TrainingBatch::of(&PIECES);
    whole.gradients(&settings, &batch, None, whole_update(&batch)).expect("gradients");
    let mut parts = network(&backend, &settings, &sources, &params);
    for (number, pieces) in [&PIECES[..1], &PIECES[1..]].into_iter().enumerate() {
        let part = UpdatePart { tokens: batch.places.tokens(), first: number == 0, last: number == 1 };
        parts.gradients(&settings, &TrainingBatch::of(pieces), None, part).expect("gradients");
    }
    let (one, two) = (whole.read_grads().expect("grads"), parts.read_grads().expect("grads"));
    let typical = (one.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>() / one.len() as f64).sqrt();
    assert!(typical > 1e-4, "{typical}");
    for (at, (one, two)) in one.iter().zip(&two).enumerate() {
        assert!(f64::from(one - two).abs() < 1e-4 * typical + 1e-5 * f64::from(one.abs()), "{at}: {one} {two}");
    }
    assert!((whole.take_loss().expect("loss") - parts.take_loss().expect("loss")).abs() < 1e-5);
}
