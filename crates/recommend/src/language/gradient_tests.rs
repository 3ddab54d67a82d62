//! Gradients of fine-tuning against central differences, for everything that can be learned.

use super::network::{LanguageNetwork, TokenBatch};
use super::shape::{LanguageLayout, LanguageShape};
use super::tuned::{TuneKind, TuneScope, TuningStart, initial};
use crate::decoder::{AdamStep, DecoderShape, Moments, PackedPlaces};
use sememe::compute::cpu::Cpu;
use sememe::compute::tensor::Precision;
use sememe::rng::stream;

const FIRST_NEW: usize = 9;

fn shape(tied: bool) -> LanguageShape {
    let decoder =
        DecoderShape { kv_heads: 1, attention_bias: true, query_key_norm: true, ..DecoderShape::small(8, 2, 2, 16) };
    LanguageShape { decoder, vocabulary: 13, tied }
}

fn batches() -> [TokenBatch; 2] {
    let first = TokenBatch {
        places: PackedPlaces::of([4, 5]),
        tokens: vec![3, 9, 0, 12, 5, 5, 11, 9, 2],
        asked: vec![1, 2, 4, 7],
        targets: vec![0, 12, 5, 2],
    };
    let second =
        TokenBatch { places: PackedPlaces::of([3]), tokens: vec![7, 10, 9], asked: vec![0, 1], targets: vec![10, 9] };
    [first, second]
}

struct TuningCase {
    shape: LanguageShape,
    params: Vec<f32>,
    scope: TuneScope,
}

impl TuningCase {
    fn new(tied: bool, kind: TuneKind) -> Self {
        let shape = shape(tied);
        let layout = LanguageLayout::new(&shape);
        let mut random = stream(5, "language.test", 0);
        let mut params: Vec<f32> = (0..layout.end).map(|_| (0.3 * random.normal()) as f32).collect();
        layout.decoder.initialise(&shape.decoder, &mut random, &mut params);
        Self { shape, params, scope: TuneScope { kind, first_new: FIRST_NEW } }
    }

    /// Mean loss over both batches, their accumulated gradient, and the parameters after a step.
    fn run(&self, trained: &[f32], step: bool) -> (f64, Vec<f32>, Vec<f32>) {
        let backend = Cpu::new();
        let moments = Moments::zeros(trained.len());
        let start = TuningStart { scope: self.scope, trained, moments: &moments };
        let mut network = LanguageNetwork::new(&backend, &self.shape, Precision::F32, &self.params, 16, Some(&start))
            .expect("network");
        for (number, batch) in batches().iter().enumerate() {
            network.gradients(batch, 6, number > 0).expect("gradients");
        }
        let loss = network.take_loss().expect("loss") / 6.0;
        let grads = network.read_grads().expect("gradients");
        if step {
            let step = AdamStep { rate: 0.1, weight_decay: 0.0, clip_norm: None, time: 1 };
            network.update(&step).expect("step");
        }
        (loss, grads, network.read_params().expect("parameters"))
    }

    fn check(&self) {
        let mut trained = initial(&self.shape, &self.scope, &self.params, &mut stream(1, "t", 0));
        if let TuneKind::LowRank { .. } = self.scope.kind {
            // A start at which both factors move.
            let mut random = stream(2, "t", 0);
            trained.iter_mut().for_each(|v| *v += (0.2 * random.normal()) as f32);
        }
        let (loss, grads, _) = self.run(&trained, false);
        assert!(loss > 1.0, "{loss}");
        let typical = (grads.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>() / grads.len() as f64).sqrt();
        assert!(typical > 1e-3, "{typical}");
        for at in (0..trained.len()).step_by((trained.len() / 250).max(1) | 1) {
            let before = trained[at];
            let mut one = |by: f32| {
                trained[at] = before + by;
                self.run(&trained, false).0
            };
            let slope = (one(4e-3) - one(-4e-3)) / 8e-3;
            trained[at] = before;
            let (got, allowed) = (f64::from(grads[at]), 0.02 * typical + 0.01 * slope.abs());
            assert!((got - slope).abs() <= allowed, "{:?}: parameter {at}: {got} for {slope}", self.scope.kind);
        }
    }

    /// Which parameters of the model a step changes.
    fn changed(&self) -> Vec<usize> {
        let trained = initial(&self.shape, &self.scope, &self.params, &mut stream(1, "t", 0));
        let (.., after) = self.run(&trained, true);
        (0..after.len()).filter(|i| after[*i] != self.params[*i]).collect()
    }
}

#[test]
fn gradients_of_everything() {
    TuningCase::new(true, TuneKind::Full).check();
    TuningCase::new(false, TuneKind::Full).check();
}

#[test]
fn gradients_of_changes_of_low_rank() {
    TuningCase::new(true, TuneKind::LowRank { rank: 2, scale: 0.7 }).check();
    TuningCase::new(false, TuneKind::LowRank { rank: 3, scale: 2.0 }).check();
}

#[test]
fn gradients_of_new_tokens() {
    TuningCase::new(true, TuneKind::NewTokens).check();
    TuningCase::new(false, TuneKind::NewTokens).check();
}

#[test]
fn a_step_moves_what_is_learned_and_nothing_else() {
    for tied in [true, false] {
        let layout = LanguageLayout::new(&shape(tied));
        let new = |at: usize| (at + FIRST_NEW * 8..at + 13 * 8).collect::<Vec<usize>>();
        let mut rows = new(layout.embedding);
        if !tied {
            rows.extend(new(layout.output));
        }
        let changed = TuningCase::new(tied, TuneKind::NewTokens).changed();
        assert!(changed.iter().all(|at| rows.contains(at)));
        assert!(changed.len() > rows.len() / 2, "{} of {}", changed.len(), rows.len());
        // Matrices move, gains and biases stay.
        let matrices = layout.decoder.matrices(&shape(tied).decoder);
        let changed = TuningCase::new(tied, TuneKind::LowRank { rank: 2, scale: 1.0 }).changed();
        let inside = |at: &usize| matrices.iter().any(|(m, o, i)| (*m..m + o * i).contains(at)) || rows.contains(at);
        assert!(changed.iter().all(inside));
        assert!(changed.iter().any(|at| !rows.contains(at)));
    }
}
