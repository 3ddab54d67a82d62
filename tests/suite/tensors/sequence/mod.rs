//! The kernels of decoders: tables, norms, positions, gates, cross-entropy, attention.

mod attention;
mod cached;
mod losses;
mod refusals;
mod rows;
mod tables;

use super::*;
use crate::support::sequence as oracle;
use attention::*;
use cached::*;
use losses::*;
use refusals::*;
use rows::*;
use sememe::compute::tensor::{AttentionShape, HeadRows, Segments, SequenceKernels, sorted_segments};
use tables::*;

/// Starts of sequences of these lengths, one behind another.
fn packed(lengths: impl IntoIterator<Item = usize>) -> Vec<u32> {
    let mut starts = Vec::new();
    for len in lengths {
        starts.extend(std::iter::repeat_n(starts.len() as u32, len));
    }
    starts
}

fn shape(tokens: usize, (heads, kv_heads, head_dims): (usize, usize, usize)) -> AttentionShape {
    AttentionShape { tokens, heads, kv_heads, head_dims, scale: 1.0 / (head_dims as f32).sqrt() }
}

/// Values about 0 with a spread of 1, so that softmaxes are neither flat nor a single key's.
fn normal(name: &str, len: usize) -> Vec<f32> {
    let mut stream = rng::stream(17, name, len as u64);
    (0..len).map(|_| stream.normal() as f32).collect()
}

fn empty<B: TensorBackend>(backend: &B, len: usize) -> B::Tensor {
    tensor(backend, 0, &vec![f32::NAN; len])
}

cases! {
    case_gather,
    case_scatter_rows,
    case_table_scores,
    case_tables_past_one_dimension,
    case_rms_norm,
    case_rms_norm_non_finite,
    case_rotary,
    case_gated,
    case_dropout,
    case_rows_past_one_dimension,
    case_cross_entropy,
    case_cross_entropy_extremes,
    case_attention,
    case_attention_of_every_length,
    case_attention_of_a_long_sequence,
    case_attention_of_large_scores,
    case_attention_non_finite,
    case_attention_same_bits,
    case_attention_cached,
    case_attention_cached_slots,
    case_sequence_refusals,
}
