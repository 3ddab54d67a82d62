//! The kernels of networks against plain f64 loops. Each case is written once over `TensorBackend`, so that every backend runs
//! through the very same shapes.

mod layers;
mod optimisers;
mod products;
mod sequence;
mod sums;

use crate::support::network::{activated, layer_norm, layer_norm_backward, moments, product, slope, stepped};
use crate::support::{assert_close, cases, differs, download, is_close, rows, upload, wide};
use layers::*;
use optimisers::*;
use products::*;
use sememe::compute::tensor::{Activation, Layout, Mask, Precision, Product, Rule, Step, TensorBackend, from, whole};
use sememe::rng;
use sums::*;

/// Around every result lies this value, and must still lie there afterwards.
const GUARD: f32 = 7.25;
/// u of a single operation: WGSL leaves the direction of rounding open.
const U: f64 = 1.0 / (1u32 << 23) as f64;
/// One value past 65,535 workgroups of 256 lanes, with a remainder.
const LONG: usize = 65_536 * 256 + 5;
const LAYOUTS: [Layout; 3] = [Layout::Nt, Layout::Nn, Layout::Tn];
const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Gelu, Activation::Silu];
/// Lengths around a workgroup of 256 lanes.
const LENGTHS: [usize; 7] = [0, 1, 3, 255, 256, 257, 1000];

fn gamma(m: usize) -> f64 {
    m as f64 * U / (1.0 - m as f64 * U)
}

fn values(name: &str, len: usize) -> Vec<f32> {
    rows(name, len, 1)
}

/// Long runs of varied values, without drawing each.
fn long(name: &str) -> Vec<f32> {
    let block = values(name, 4099);
    (0..LONG).map(|i| block[i % 4099] * (1.0 + (i / 4099 % 7) as f32 * 0.125)).collect()
}

/// A tensor with `values` from `offset` on and guards around them.
fn tensor<B: TensorBackend>(backend: &B, offset: usize, values: &[f32]) -> B::Tensor {
    let mut all = vec![GUARD; offset];
    all.extend_from_slice(values);
    all.extend([GUARD; 3]);
    let mut made = backend.zeros("test", all.len()).expect("zeros");
    assert_eq!(backend.tensor_len(&made), all.len());
    backend.write_tensor(&mut made, 0, &all).expect("write");
    made
}

/// The `len` values from `offset` on, after a look at the guards.
#[track_caller]
fn read<B: TensorBackend>(backend: &B, tensor: &B::Tensor, offset: usize, len: usize) -> Vec<f32> {
    let mut all = vec![f32::NAN; offset + len + 3];
    assert_eq!(backend.tensor_len(tensor), all.len());
    backend.read_tensor(tensor, 0, &mut all).expect("read");
    assert!(all[..offset].iter().chain(&all[offset + len..]).all(|v| *v == GUARD), "written outside of the result");
    all[offset..offset + len].to_vec()
}

/// Holds every value to its own tolerance.
#[track_caller]
fn hold(what: &str, got: &[f32], want: &[f64], within: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths differ");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        let tolerance = within(i);
        assert!(is_close(f64::from(*a), *b, tolerance, 0.0), "{what}[{i}]: got {a}, want {b} (within {tolerance:e})");
    }
}

/// How far f of a value that is off by `off` may be: slopes are at most 1.13, and f itself is good to a few units.
fn activation_error(x: f64, off: f64) -> f64 {
    1.13 * off + 4.0 * U * x.abs() + 1e-30
}

fn index<B: TensorBackend>(backend: &B, words: &[u32]) -> B::Index {
    let mut made = backend.index("test", words.len()).expect("index");
    backend.write_index(&mut made, 0, words).expect("write");
    made
}

fn case_same_bits<B: TensorBackend>(backend: &B) {
    let (m, n, k) = (30, 50, 3000);
    let (a, b) = (values("bits a", m * k), values("bits b", n * k));
    let run = || {
        let (left, right) = (tensor(backend, 0, &a), tensor(backend, 0, &b));
        let mut out = tensor(backend, 0, &vec![0.0; m * n + n + 1]);
        let p = Product { layout: Layout::Tn, m, n, k, alpha: 1.0, accumulate: false };
        backend.matmul(&p, Precision::F32, whole(&left), whole(&right), &mut out, 0).expect("matmul");
        backend.column_total((k, n), 1.0, false, &right, &mut out, m * n).expect("column total");
        backend.total(m * k, true, 1.0, false, whole(&left), &mut out, m * n + n).expect("total");
        read(backend, &out, 0, m * n + n + 1).iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// A whole step's worth of calls is recorded before anything is read: several uniform buffers full.
fn case_many_calls_in_order<B: TensorBackend>(backend: &B) {
    let one = tensor(backend, 0, &[1.0; 4]);
    let mut sum = tensor(backend, 0, &[0.0; 4]);
    for i in 0..2500 {
        // Halving and adding do not commute, so order shows.
        backend.combine(4, 1.0 + (i % 7) as f32, whole(&one), 0.5, &mut sum, 0).expect("combine");
    }
    let want = (0..2500).fold(0.0f64, |s, i| 0.5 * s + 1.0 + f64::from(i % 7));
    assert_close("in order", &wide(&read(backend, &sum, 0, 4)), &[want; 4], 1e-5, 0.0);
}

fn case_lengths_are_checked<B: TensorBackend>(backend: &B) {
    let (small, large) = (tensor(backend, 0, &[1.0; 9]), tensor(backend, 0, &[1.0; 61]));
    let (mut out, mut other) = (tensor(backend, 0, &[0.0; 9]), tensor(backend, 0, &[0.0; 9]));
    let p = Product { layout: Layout::Nt, m: 4, n: 3, k: 4, alpha: 1.0, accumulate: false };
    let f32s = Precision::F32;
    assert!(backend.matmul(&p, f32s, whole(&large), whole(&large), &mut out, 0).is_ok());
    assert!(backend.matmul(&p, f32s, whole(&small), whole(&large), &mut out, 0).is_err());
    assert!(backend.matmul(&p, f32s, whole(&large), from(&large, 53), &mut out, 0).is_err());
    assert!(backend.matmul(&p, f32s, whole(&large), whole(&large), &mut out, 1).is_err());
    let huge = Product { m: usize::MAX / 2, ..p };
    assert!(backend.matmul(&huge, f32s, whole(&large), whole(&large), &mut out, 0).is_err());
    let shape = (3, 4, 4);
    assert!(backend.linear(shape, f32s, whole(&large), whole(&large), from(&large, 61), &mut out, None).is_err());
    let follows = Some((Activation::Relu, &mut other));
    assert!(backend.linear((5, 1, 3), f32s, whole(&large), whole(&large), whole(&large), &mut out, follows).is_err());
    let bits = index(backend, &[u32::MAX]);
    let mask = |first_bit| Some(Mask { bits: &bits, first_bit, scale: 1.0 });
    assert!(backend.activate(Activation::Relu, 13, &large, None, &mut out).is_err());
    assert!(backend.activate(Activation::Relu, 12, &large, mask(20), &mut out).is_ok());
    assert!(backend.activate(Activation::Relu, 12, &large, mask(21), &mut out).is_err());
    assert!(backend.layer_norm((3, 4), &large, from(&large, 61), whole(&large), &mut out).is_err());
    assert!(backend.layer_norm((4, 4), &large, whole(&large), whole(&large), &mut out).is_err());
    assert!(backend.layer_norm_backward((4, 4), &large, whole(&large), &mut out, &mut other).is_err());
    assert!(backend.column_total((20, 4), 1.0, false, &large, &mut out, 0).is_err());
    assert!(backend.column_total((2, 4), 1.0, false, &large, &mut out, 9).is_err());
    assert!(backend.total(62, false, 1.0, false, from(&large, 3), &mut out, 0).is_err());
    assert!(backend.total(4, false, 1.0, false, whole(&large), &mut out, 12).is_err());
    assert!(backend.combine(10, 1.0, whole(&large), 0.0, &mut out, 3).is_err());
    assert!(backend.subtract(10, 1.0, from(&large, 60), whole(&large), &mut out).is_err());
    assert!(backend.clear(&mut out, 4, 9).is_err());
    assert!(backend.tensor_to_rows(&large, 13, 5).is_err());
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.9, epsilon: 1e-8, decoupled: false };
    let step = Step { rule, offset: 8, len: 5, rate: 0.1, decay: 0.0, time: 1, clip: 1.0, norm_slot: 0 };
    let mut params = tensor(backend, 0, &[0.0; 61]);
    assert!(backend.optimize(&step, &large, &small, &mut params, &mut out, &mut other).is_err());
    let step = Step { offset: 0, norm_slot: 12, ..step };
    assert!(backend.optimize(&step, &large, &small, &mut params, &mut out, &mut other).is_err());
}

cases! {
    case_matmul,
    case_matmul_around_tiles,
    case_matmul_large_tiles,
    case_matmul_short_operands,
    case_matmul_non_finite,
    case_linear,
    case_activation,
    case_gelu_accuracy,
    case_activation_non_finite,
    case_layer_norm,
    case_column_total,
    case_total,
    case_combine,
    case_combine_rows,
    case_optimizer,
    case_restride,
    case_past_one_dimension,
    case_same_bits,
    case_many_calls_in_order,
    case_lengths_are_checked,
}
