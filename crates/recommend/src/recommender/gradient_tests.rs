//! Gradients of whole networks against central differences.

use super::items::{ItemSources, scaled_vectors};
use super::learner::UpdatePart;
use super::network::{Network, NetworkLayout, TrainingBatch};
use super::settings::RecommenderSettings;
use crate::decoder::{
    DecoderBuffers, DecoderLayout, DecoderPass, DecoderShape, DropoutMasks, LearnedParts, Moments, PackedPlaces,
    PackedTokens, mask_bits, mask_count, mask_words,
};
use sememe::compute::cpu::Cpu;
use sememe::compute::tensor::{Precision, Tensors};
use sememe::rng::stream;
use sememe::{Codes, Matrix};
use std::sync::Arc;

fn drawn(name: &str, len: usize) -> Vec<f32> {
    let mut random = stream(11, name, 0);
    (0..len).map(|_| random.normal() as f32).collect()
}

/// How far a slope by central differences of an f32 loss may be from the gradient.
#[track_caller]
fn hold(what: &str, slope: f64, gradient: f64, typical: f64) {
    let within = 0.02 * gradient.abs() + 0.02 * typical;
    assert!((slope - gradient).abs() <= within, "{what}: slope {slope}, gradient {gradient}, typical {typical}");
}

struct DecoderCase {
    shape: DecoderShape,
    layout: DecoderLayout,
    params: Vec<f32>,
    input: Vec<f32>,
    weights: Vec<f32>,
    places: PackedPlaces,
    keep: f64,
}

impl DecoderCase {
    fn new(shape: DecoderShape, keep: f64) -> Self {
        shape.validate().expect("a shape");
        let layout = DecoderLayout::new(&shape, 0);
        let mut params = vec![0.0; layout.end];
        layout.initialise(&shape, &mut stream(3, "params", 0), &mut params);
        // Gains and biases away from 1 and 0, so that their part shows.
        params.iter_mut().zip(drawn("shift", layout.end)).for_each(|(p, v)| *p += 0.1 * v);
        let places = PackedPlaces::of([5, 1, 9, 2]);
        let len = places.tokens() * shape.dims;
        Self { shape, layout, params, input: drawn("input", len), weights: drawn("weights", len), places, keep }
    }

    /// `Σ weights·hidden`, and the gradients of parameters and input.
    fn run(&self, backward: bool) -> (f64, Vec<f32>, Vec<f32>) {
        let (backend, n) = (Cpu::new(), self.places.tokens());
        let tensor = |values: &[f32]| {
            let mut made = backend.zeros("test", values.len()).expect("zeros");
            backend.write_tensor(&mut made, 0, values).expect("write");
            made
        };
        let (params, angles) = (tensor(&self.params), tensor(&self.shape.angles(16)));
        let mut buffers = DecoderBuffers::<Cpu>::new(&backend, &self.shape, n).expect("buffers");
        backend.write_tensor(&mut buffers.input, 0, &self.input).expect("write");
        let mut tokens = PackedTokens::<Cpu>::new(&backend, n).expect("tokens");
        tokens.place(&backend, &self.places).expect("places");
        let words = mask_words(self.keep, 5, 0, mask_count(&self.shape) * mask_bits(n, self.shape.dims) / 32);
        let mut bits = backend.index("masks", words.len()).expect("index");
        backend.write_index(&mut bits, 0, &words).expect("write");
        let masks = DropoutMasks::<Cpu> { bits: &bits, first_bit: 0, scale: (1.0 / self.keep) as f32 };
        let masks = (self.keep < 1.0).then_some(&masks);
        let pass = DecoderPass {
            backend: &backend,
            shape: &self.shape,
            layout: &self.layout,
            precision: Precision::F32,
            angles: (&angles, 16),
        };
        pass.forward(&params, &tokens, masks, &mut buffers).expect("forward");
        let mut hidden = vec![0.0; self.input.len()];
        backend.read_tensor(&buffers.hidden, 0, &mut hidden).expect("read");
        let loss = hidden.iter().zip(&self.weights).map(|(h, w)| f64::from(*h) * f64::from(*w)).sum();
        let (mut grads, mut grad_input) = (vec![0.0; self.params.len()], vec![0.0; self.input.len()]);
        if backward {
            // What is in the buffer before must not matter.
            let mut held = tensor(&vec![7.0; self.params.len()]);
            backend.write_tensor(&mut buffers.grad, 0, &self.weights).expect("write");
            let mut learned = LearnedParts::All { grads: &mut held, accumulate: false };
            pass.backward(&params, &tokens, masks, &mut buffers, &mut learned).expect("backward");
            backend.read_tensor(&held, 0, &mut grads).expect("read");
            backend.read_tensor(&buffers.grad, 0, &mut grad_input).expect("read");
        }
        (loss, grads, grad_input)
    }

    fn check(mut self) {
        let (_, grads, grad_input) = self.run(true);
        let typical = |g: &[f32]| (g.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / g.len() as f64).sqrt();
        let (of_params, of_input) = (typical(&grads), typical(&grad_input));
        assert!(of_params > 0.1 && of_input > 0.01, "{of_params} {of_input}");
        let step = 2e-3f32;
        let mut slope = |at: usize, input: bool| {
            let mut one = |by: f32| {
                let values = if input { &mut self.input } else { &mut self.params };
                let before = values[at];
                values[at] = before + by;
                let loss = self.run(false).0;
                if input {
                    self.input[at] = before;
                } else {
                    self.params[at] = before;
                }
                loss
            };
            (one(step) - one(-step)) / f64::from(2.0 * step)
        };
        // Every kind of parameter is among some three hundred places.
        for at in (0..grads.len()).step_by((grads.len() / 300).max(1) | 1) {
            hold(&format!("parameter {at}"), slope(at, false), f64::from(grads[at]), of_params);
        }
        for at in (0..grad_input.len()).step_by(7) {
            hold(&format!("input {at}"), slope(at, true), f64::from(grad_input[at]), of_input);
        }
    }
}

#[test]
fn gradients_of_a_llama_block() {
    DecoderCase::new(DecoderShape::small(12, 2, 2, 16), 1.0).check();
}

#[test]
fn gradients_with_dropout() {
    DecoderCase::new(DecoderShape::small(12, 2, 2, 16), 0.7).check();
}

#[test]
fn gradients_of_grouped_heads_with_biases() {
    let shape = DecoderShape {
        kv_heads: 2,
        heads: 4,
        head_dims: 6,
        feed_forward: 10,
        attention_bias: true,
        ..DecoderShape::small(8, 1, 4, 16)
    };
    DecoderCase::new(shape, 1.0).check();
}

#[test]
fn gradients_of_normalised_heads() {
    let shape =
        DecoderShape { kv_heads: 1, heads: 2, head_dims: 4, query_key_norm: true, ..DecoderShape::small(10, 2, 2, 16) };
    DecoderCase::new(shape, 1.0).check();
}

/// An update that learns from one batch.
fn whole_update(batch: &TrainingBatch) -> UpdatePart {
    UpdatePart { tokens: batch.places.tokens(), first: true, last: true }
}

/// Thirteen items, made of everything, and settings for few tokens.
fn thirteen_items() -> (ItemSources, RecommenderSettings) {
    let items = 13;
    let codes = (0..items as u32).flat_map(|i| [i / 5, i % 5]).collect();
    let vectors = Matrix::from_vec(items, 3, drawn("vectors", items * 3)).expect("vectors");
    let sources = ItemSources {
        items,
        identities: true,
        codes: Some(Codes::from_vec(items, 2, codes).expect("codes")),
        prefixes: true,
        vectors: Some(vectors),
    };
    let settings = RecommenderSettings {
        dims: 8,
        layers: 1,
        heads: 2,
        positions: 8,
        batch_tokens: 16,
        dropout: 0.3,
        smoothing: 0.1,
        item_deviation: 0.5,
        ..RecommenderSettings::default()
    };
    (sources, settings)
}

#[test]
fn gradients_of_the_loss_over_all_items() {
    let (sources, settings) = thirteen_items();
    let layout = NetworkLayout::new(&settings, &sources).expect("layout");
    let mut params = layout.initialise(&settings);
    let (scaled, ..) = scaled_vectors(sources.vectors.as_ref().expect("vectors"));
    let pieces: [&[u32]; 3] = [&[0, 3, 3, 12], &[7, 1], &[2, 4, 6, 8, 10, 12]];
    let batch = TrainingBatch::of(&pieces);
    let words = mask_words(0.7, 1, 0, mask_count(&settings.shape()) * mask_bits(batch.places.tokens(), 8) / 32);
    let backend = Arc::new(Cpu::new());
    let run = |params: &[f32]| {
        let moments = Moments { first: vec![0.0; params.len()], second: vec![0.0; params.len()] };
        let mut network =
            Network::new(&backend, &settings, &sources, Some(&scaled), params, 16, Some(&moments)).expect("network");
        network.gradients(&settings, &batch, Some(&words), whole_update(&batch)).expect("gradients");
        (network.take_loss().expect("loss"), network.read_grads().expect("grads"))
    };
    let (loss, grads) = run(&params);
    assert!(loss > 1.0, "{loss}");
    let typical = (grads.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>() / grads.len() as f64).sqrt();
    for at in (0..params.len()).step_by(3) {
        let before = params[at];
        let mut one = |by: f32| {
            params[at] = before + by;
            run(&params).0
        };
        let slope = (one(4e-3) - one(-4e-3)) / 8e-3;
        params[at] = before;
        hold(&format!("parameter {at}"), slope, f64::from(grads[at]), typical);
    }
}

#[test]
fn gradients_of_several_batches_add_up_to_those_of_their_join() {
    let (sources, settings) = thirteen_items();
    let layout = NetworkLayout::new(&settings, &sources).expect("layout");
    let (params, backend) = (layout.initialise(&settings), Arc::new(Cpu::new()));
    let (scaled, ..) = scaled_vectors(sources.vectors.as_ref().expect("vectors"));
    let run = |parts: &[TrainingBatch]| {
        let settings = RecommenderSettings { accumulate: parts.len(), ..settings.clone() };
        let moments = Moments::zeros(params.len());
        let mut network =
            Network::new(&backend, &settings, &sources, Some(&scaled), &params, 16, Some(&moments)).expect("network");
        let tokens = parts.iter().map(|b| b.places.tokens()).sum();
        // Twice: nothing of the update before may be left.
        for _ in 0..2 {
            network.take_loss().expect("loss");
            for (number, batch) in parts.iter().enumerate() {
                let part = UpdatePart { tokens, first: number == 0, last: number + 1 == parts.len() };
                network.gradients(&settings, batch, None, part).expect("gradients");
            }
        }
        (network.take_loss().expect("loss"), network.read_grads().expect("grads"))
    };
    // Batches of different lengths, so that a mean of means is another one.
    let pieces: [&[u32]; 4] = [&[0, 3, 3, 12], &[7, 1], &[2, 4, 6, 8, 10, 12], &[5, 9, 11]];
    let (loss, grads) = run(&[TrainingBatch::of(&pieces)]);
    let (parts_loss, parts_grads) =
        run(&[TrainingBatch::of(&pieces[..1]), TrainingBatch::of(&pieces[1..3]), TrainingBatch::of(&pieces[3..])]);
    assert!((loss - parts_loss).abs() <= 1e-5 * loss, "{loss} {parts_loss}");
    let most = grads.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    assert!(most > 0.01, "{most}");
    for (at, (one, several)) in grads.iter().zip(&parts_grads).enumerate() {
        assert!((one - several).abs() <= 1e-6 + 1e-5 * most, "parameter {at}: {one} {several}");
    }
}
