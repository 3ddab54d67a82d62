//! Decoding with a cache against a full pass over the same tokens, on every backend.

use crate::decoder::cached::CachedDecoder;
use crate::decoder::layout::DecoderLayout;
use crate::decoder::passes::{DecoderBuffers, DecoderPass};
use crate::decoder::shape::DecoderShape;
use crate::decoder::tokens::{PackedPlaces, PackedTokens};
use sememe::Device;
use sememe::compute::tensor::{Precision, TensorBackend};
use sememe::compute::{BackendTask, run_on};
use sememe::rng::stream;
use std::sync::Arc;

fn drawn(name: &str, len: usize) -> Vec<f32> {
    let mut random = stream(17, name, 0);
    (0..len).map(|_| random.normal() as f32).collect()
}

/// The CPU, and a GPU if there is one.
pub(crate) fn devices() -> Vec<Device> {
    let mut found = vec![Device::cpu()];
    match sememe::device::DeviceChoice::Gpu.open(1) {
        Ok(gpu) => found.push(gpu),
        Err(e) if std::env::var("SEMEME_GPU").as_deref() == Ok("require") => panic!("no GPU: {e}"),
        Err(e) => eprintln!("skipped on a GPU: {e}"),
    }
    found
}

/// Beams as they fork: of each step, the beam of the last one that each goes on from. Beams 0 to 3 are the prompts.
const FORKS: [&[usize]; 5] = [&[0, 0, 1, 2, 2, 2, 3], &[1, 0, 5, 2, 2], &[4, 4, 0, 2], &[0, 1, 2, 3], &[2]];

struct CacheCase {
    shape: DecoderShape,
}

impl CacheCase {
    fn params(&self, layout: &DecoderLayout) -> Vec<f32> {
        let mut params = vec![0.0; layout.end];
        layout.initialise(&self.shape, &mut stream(3, "params", 0), &mut params);
        params.iter_mut().zip(drawn("shift", layout.end)).for_each(|(p, v)| *p += 0.1 * v);
        params
    }
}

impl BackendTask for CacheCase {
    type Output = ();

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) {
        let backend = &**backend;
        let (shape, d, layout) = (&self.shape, self.shape.dims, DecoderLayout::new(&self.shape, 0));
        let tensor = |values: &[f32]| {
            let mut made = backend.zeros("test", values.len()).expect("zeros");
            backend.write_tensor(&mut made, 0, values).expect("write");
            made
        };
        let (params, angles) = (tensor(&self.params(&layout)), tensor(&shape.angles(16)));
        let (precision, angles) = (Precision::F32, (&angles, 16));
        let pass = DecoderPass { backend, shape, layout: &layout, precision, angles };
        // The last hidden values of each sequence, by a full pass.
        let full = |sequences: &[Vec<f32>]| -> Vec<f32> {
            let places = PackedPlaces::of(sequences.iter().map(|s| s.len() / d));
            let n = places.tokens();
            let mut buffers = DecoderBuffers::new(backend, shape, n).expect("buffers");
            backend.write_tensor(&mut buffers.input, 0, &sequences.concat()).expect("write");
            let mut tokens = PackedTokens::new(backend, n).expect("tokens");
            tokens.place(backend, &places).expect("places");
            pass.forward(&params, &tokens, None, &mut buffers).expect("forward");
            let mut hidden = vec![0.0; n * d];
            backend.read_tensor(&buffers.hidden, 0, &mut hidden).expect("read");
            let mut end = 0;
            let last = |s: &Vec<f32>| {
                end += s.len();
                hidden[end - d..end].to_vec()
            };
            sequences.iter().flat_map(last).collect()
        };
        // The cache grows in the middle of it: 17 tokens of prompts, and 13 of beams at most.
        let mut decoder = CachedDecoder::new(backend, shape, 24, 19).expect("a decoder");
        // Twice: what the first round left must not matter.
        for round in 0..2 {
            let lengths = [5, 1, 9, 2];
            let mut sequences: Vec<Vec<f32>> =
                lengths.iter().enumerate().map(|(i, n)| drawn(&format!("prompt {round} {i}"), n * d)).collect();
            backend.write_tensor(&mut decoder.input, 0, &sequences.concat()).expect("write");
            decoder.start(&pass, &params, &lengths).expect("start");
            for (step, forks) in [&[][..]].iter().chain(&FORKS).enumerate() {
                if step > 0 {
                    let tokens: Vec<Vec<f32>> =
                        (0..forks.len()).map(|i| drawn(&format!("token {round} {step} {i}"), d)).collect();
                    sequences = forks
                        .iter()
                        .zip(&tokens)
                        .map(|(beam, token)| [&sequences[*beam][..], token].concat())
                        .collect();
                    backend.write_tensor(&mut decoder.input, 0, &tokens.concat()).expect("write");
                    decoder.step(&pass, &params, forks).expect("step");
                }
                let want = full(&sequences);
                let mut got = vec![0.0; want.len()];
                backend.read_tensor(&decoder.hidden, 0, &mut got).expect("read");
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    let near = (got - want).abs() <= 1e-5 * want.abs().max(1.0);
                    assert!(near, "{shape:?}, round {round}, step {step}, value {at}: {got}, expected {want}");
                }
            }
            // One beam is left, of the last prompt but one, and what it does not stand on is free.
            assert_eq!(decoder.cache.free(), 38 - sequences[0].len() / d);
        }
    }
}

#[test]
fn a_cache_gives_what_a_full_pass_gives() {
    let llama = DecoderShape::small(12, 2, 2, 16);
    let grouped = DecoderShape {
        heads: 4,
        kv_heads: 2,
        head_dims: 6,
        feed_forward: 10,
        attention_bias: true,
        ..DecoderShape::small(8, 1, 4, 16)
    };
    let normalised =
        DecoderShape { kv_heads: 1, heads: 2, head_dims: 4, query_key_norm: true, ..DecoderShape::small(10, 3, 2, 16) };
    for device in devices() {
        for shape in [&llama, &grouped, &normalised] {
            run_on(&device, CacheCase { shape: shape.clone() });
        }
    }
}

struct Refusals;

impl BackendTask for Refusals {
    type Output = ();

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) {
        let backend = &**backend;
        let shape = DecoderShape::small(4, 1, 1, 4);
        let layout = DecoderLayout::new(&shape, 0);
        let params = backend.zeros("test", layout.end).expect("zeros");
        let angles = backend.zeros("test", 4 * shape.head_dims).expect("zeros");
        let (precision, angles) = (Precision::F32, (&angles, 4));
        let pass = DecoderPass { backend, shape: &shape, layout: &layout, precision, angles };
        let mut decoder = CachedDecoder::new(backend, &shape, 8, 9).expect("a decoder");
        let refused = |done: sememe::Result<()>, part: &str| {
            let error = done.expect_err(part).to_string();
            assert!(error.contains(part), "{part} in {error}");
        };
        refused(decoder.start(&pass, &params, &[2, 0]), "query 1 has no tokens");
        refused(decoder.start(&pass, &params, &[5]), "position 4 is past the 4");
        refused(decoder.start(&pass, &params, &[3, 3, 3]), "9 tokens are more than the 8");
        decoder.start(&pass, &params, &[3, 3]).expect("two prompts");
        refused(decoder.step(&pass, &params, &[2]), "beam 2 is past the 2");
        refused(decoder.step(&pass, &params, &[0; 9]), "9 tokens are more than the 8");
        // What was refused took nothing.
        decoder.step(&pass, &params, &[0, 1, 1]).expect("a step");
        refused(decoder.step(&pass, &params, &[0]), "position 4 is past the 4");
        decoder.start(&pass, &params, &[4, 4]).expect("all slots are free again");
        decoder.step(&pass, &params, &[]).expect("no beams");
        assert_eq!(decoder.cache.free(), 9);
    }
}

#[test]
fn tokens_without_room_are_refused() {
    for device in devices() {
        run_on(&device, Refusals);
    }
}
