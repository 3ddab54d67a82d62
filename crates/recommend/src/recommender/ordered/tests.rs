//! Ordered prediction against exhaustive scoring and central differences.

use super::answers::{OrderedAnswers, OrderedRequest, ranked};
use super::batch::OrderedBatch;
use super::layout::{OrderedLayout, shape};
use super::model::OrderedModel;
use super::training::OrderedTraining;
use crate::decoder::{Moments, mask_bits, mask_count, mask_words, testing_devices};
use crate::decoding::{TrieFilter, TriePlaces};
use crate::recommender::items::{ItemSources, scaled_vectors};
use crate::recommender::learner::UpdatePart;
use crate::recommender::settings::{Prediction, RecommenderSettings};
use sememe::compute::cpu::Cpu;
use sememe::compute::tensor::{TensorBackend, Tensors};
use sememe::compute::{BackendTask, run_on};
use sememe::rng::stream;
use sememe::{Codes, Matrix};
use std::sync::Arc;

fn settings() -> RecommenderSettings {
    RecommenderSettings {
        prediction: Prediction::Ordered,
        dims: 8,
        layers: 2,
        heads: 2,
        positions: 4,
        batch_tokens: 40,
        item_deviation: 0.5,
        ..RecommenderSettings::default()
    }
}

/// Items with drawn codes, some shared, and vectors.
fn sources(seed: u64, items: usize, levels: usize) -> ItemSources {
    let mut random = stream(seed, "sources", 0);
    let codes = (0..items * levels).map(|_| random.below(3) as u32).collect();
    let codes = Some(Codes::from_vec(items, levels, codes).expect("codes"));
    let vectors = (0..items * 3).map(|_| random.normal() as f32).collect();
    let vectors = Some(Matrix::from_vec(items, 3, vectors).expect("vectors"));
    ItemSources { items, codes, vectors, ..ItemSources::default() }
}

/// Every item's log-probability after a history, by full passes of the training's network: nothing is cached, nothing is searched.
fn exhaustive<B: TensorBackend>(
    backend: &Arc<B>,
    settings: &RecommenderSettings,
    sources: &ItemSources,
    params: &[f32],
    history: &[u32],
) -> Vec<f64> {
    let (codes, vectors) = (sources.codes.as_ref().expect("codes"), sources.vectors.as_ref());
    let moments = Moments::zeros(params.len());
    let mut network = OrderedTraining::new(backend, settings, sources, vectors, params, &moments).expect("network");
    let history = &history[history.len().saturating_sub(settings.positions)..];
    let rows: Vec<&[u32]> = codes.iter().collect();
    let of = |item: usize| {
        let piece = [history, &[item as u32]].concat();
        let logits = network.logits(settings, &OrderedBatch::of(&network_codes(sources), &[&piece]));
        (0..codes.levels())
            .map(|level| {
                // Codes that some ID goes on with after the same prefix.
                let mut next: Vec<u32> =
                    rows.iter().filter(|c| c[..level] == rows[item][..level]).map(|c| c[level]).collect();
                next.sort_unstable();
                next.dedup();
                let row = &logits[logits.len() - codes.levels() + level];
                let log = |code: u32| f64::from(row[code as usize]);
                log(rows[item][level]) - next.iter().map(|code| log(*code).exp()).sum::<f64>().ln()
            })
            .sum::<f64>()
            - (rows.iter().filter(|c| **c == rows[item]).count() as f64).ln()
    };
    (0..sources.items).map(of).collect()
}

fn network_codes(sources: &ItemSources) -> super::codes::ItemTokens {
    super::codes::ItemTokens::new(sources.codes.as_ref().expect("codes")).expect("tokens")
}

struct Exhaustive;

impl BackendTask for Exhaustive {
    type Output = ();

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) {
        for (seed, items, levels) in [(1, 30, 3), (2, 9, 2), (3, 4, 1), (4, 1, 3), (5, 25, 5)] {
            let (settings, sources) = (settings(), sources(seed, items, levels));
            let params = OrderedLayout::new(&settings, &sources)
                .expect("a layout")
                .initialise(&settings, &shape(&settings, &sources).expect("a shape"));
            let last = items as u32 - 1;
            let histories: [&[u32]; 4] = [&[0], &[last, 0], &[0, last, 0, 0, last, last, 0], &[last; 3]];
            let model = OrderedModel::new(backend, &settings, &sources, sources.vectors.as_ref(), &params, 40)
                .expect("a model");
            let trie = model.codes.trie().expect("a trie");
            let places = TriePlaces::new(&trie).expect("a trie");
            let filter = TrieFilter::new(&trie, &places, None);
            let request = OrderedRequest { beams: items, sampling: None, hide_seen: false };
            let mut room = OrderedAnswers::new(&model, &settings, &histories, items).expect("room");
            let mut asked = 0;
            room.answer(&model, &filter, &histories, &request, &mut |first, found| {
                assert_eq!(first, asked);
                asked += found.len();
                for (found, history) in found.iter().zip(&histories[first..]) {
                    let list = ranked(found, usize::MAX);
                    assert_eq!(list.len(), items, "seed {seed}");
                    let sum: f64 = list.iter().map(|r| r.log_probability.exp()).sum();
                    assert!((sum - 1.0).abs() < 1e-6, "seed {seed}: {sum}");
                    let want = exhaustive(backend, &settings, &sources, &params, history);
                    for r in &list {
                        let want = want[r.item as usize];
                        let near = (r.log_probability - want).abs() <= 1e-5 * (1.0 + want.abs());
                        assert!(near, "seed {seed}, {history:?}: {r:?}, expected {want}");
                    }
                }
                Ok(())
            })
            .expect("answers");
            assert_eq!(asked, histories.len());
        }
    }
}

#[test]
fn a_wide_search_gives_what_scoring_every_id_gives() {
    for device in testing_devices() {
        run_on(&device, Exhaustive);
    }
}

#[test]
fn gradients_of_the_loss_at_every_code() {
    let sources = sources(9, 13, 3);
    let settings = RecommenderSettings { dropout: 0.3, smoothing: 0.1, layers: 1, batch_tokens: 48, ..settings() };
    let (scaled, ..) = scaled_vectors(sources.vectors.as_ref().expect("vectors"));
    let decoder = shape(&settings, &sources).expect("a shape");
    let layout = OrderedLayout::new(&settings, &sources).expect("a layout");
    let mut params = layout.initialise(&settings, &decoder);
    let pieces: [&[u32]; 3] = [&[0, 3, 3, 12], &[7, 1], &[2, 4, 6, 8, 10]];
    let batch = OrderedBatch::of(&network_codes(&sources), &pieces);
    let words = mask_words(0.7, 1, 0, mask_count(&decoder) * mask_bits(batch.order.len(), 8) / 32);
    let backend = Arc::new(Cpu::new());
    let run = |params: &[f32]| {
        let moments = Moments::zeros(params.len());
        let mut network =
            OrderedTraining::new(&backend, &settings, &sources, Some(&scaled), params, &moments).expect("network");
        // What the gradients hold before must not matter.
        backend.write_tensor(&mut network.learner.grads, 0, &vec![7.0; params.len()]).expect("write");
        let part = UpdatePart { tokens: batch.order.len(), first: true, last: true };
        network.gradients(&settings, &batch, Some(&words), part).expect("gradients");
        let mut grads = vec![0.0; params.len()];
        backend.read_tensor(&network.learner.grads, 0, &mut grads).expect("read");
        (network.learner.take_loss(&*backend).expect("loss"), grads)
    };
    let (loss, grads) = run(&params);
    assert!(loss > 0.5, "{loss}");
    let typical = (grads.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>() / grads.len() as f64).sqrt();
    for at in (0..params.len()).step_by(3).chain(layout.decoder.end..params.len()) {
        let before = params[at];
        let mut one = |by: f32| {
            params[at] = before + by;
            run(&params).0
        };
        let slope = (one(4e-3) - one(-4e-3)) / 8e-3;
        params[at] = before;
        let gradient = f64::from(grads[at]);
        let within = 0.02 * gradient.abs() + 0.02 * typical;
        assert!((slope - gradient).abs() <= within, "parameter {at}: slope {slope}, gradient {gradient}, {typical}");
    }
}

#[test]
fn a_vector_does_not_show_before_its_item_is_complete() {
    let (settings, sources) = (settings(), sources(9, 13, 3));
    let params = OrderedLayout::new(&settings, &sources)
        .expect("a layout")
        .initialise(&settings, &shape(&settings, &sources).expect("a shape"));
    let logits = |sources: &ItemSources| {
        let (backend, moments) = (Arc::new(Cpu::new()), Moments::zeros(params.len()));
        let vectors = sources.vectors.as_ref();
        let mut network =
            OrderedTraining::new(&backend, &settings, sources, vectors, &params, &moments).expect("network");
        network.logits(&settings, &OrderedBatch::of(&network_codes(sources), &[&[4, 5, 6]]))
    };
    let before = logits(&sources);
    let mut other = sources.clone();
    other.vectors.as_mut().expect("vectors").as_mut_slice()[15..18].copy_from_slice(&[3.0, -2.0, 1.0]);
    let after = logits(&other);
    // Item 5 has tokens 3 to 5; its vector is read with the last of them, which asks for the first code of item 6.
    for token in 0..8 {
        assert_eq!(before[token] == after[token], token < 5, "token {token}");
    }
}
