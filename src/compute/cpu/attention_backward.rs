//! The gradient of `attention`: weights are computed anew from the logs of their sums, block by block.
//!
//! With weights p and `D_i = grad_out_i·out_i`: `grad_v_j = Σ_i p_ij·grad_out_i`, `t_ij = p_ij·(grad_out_i·v_j − D_i)`,
//! `grad_q_i = scale·Σ_j t_ij·k_j`, `grad_k_j = scale·Σ_i t_ij·q_i`. Short sequences share a task, each head of a long one is a task; its
//! keys' gradients are added up in the order of the query heads.

use super::attention::sequence_end;
use super::attention_blocks::{Block, LANES, Pairs, SIDE, pack, products, slopes, sums, sums_of_keys, turn};
use super::rms_norm::dot;
use crate::compute::tensor::AttentionShape;
use rayon::prelude::*;

/// Tokens of a sequence from which each head is a task.
const LONG: usize = 256;
/// Tokens of short sequences in a task, about.
const BLOCK: usize = 64;

/// The operands of the backward pass.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Queries, keys and values.
    pub qkv: &'a [f32],
    /// The result of the forward pass.
    pub out: &'a [f32],
    /// Logs of the sums.
    pub log_sums: &'a [f32],
    /// Gradient of the result.
    pub grad_out: &'a [f32],
}

/// Gradients of one head of one sequence, rows padded.
#[derive(Default)]
struct Grads {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Grads {
    fn clear(&mut self, len: usize) {
        for part in [&mut self.queries, &mut self.keys, &mut self.values] {
            part.clear();
            part.resize(len, 0.0);
        }
    }
}

/// What a head works in.
struct Room {
    /// A block's keys and values as columns, its keys as rows.
    keys_turned: Vec<f32>,
    values_turned: Vec<f32>,
    keys: Vec<f32>,
    /// The whole sequence's queries and gradients as padded rows, its logs of sums, and D.
    queries: Vec<f32>,
    grads: Vec<f32>,
    logs: Vec<f32>,
    means: Vec<f32>,
    weights: Vec<f32>,
    slopes: Vec<f32>,
}

impl Room {
    fn new(shape: &AttentionShape) -> Self {
        let padded = shape.head_dims.next_multiple_of(LANES);
        let room = |len: usize| vec![0.0f32; len];
        Self {
            keys_turned: room(SIDE * shape.head_dims),
            values_turned: room(SIDE * shape.head_dims),
            keys: room(SIDE * padded),
            queries: Vec::new(),
            grads: Vec::new(),
            logs: Vec::new(),
            means: Vec::new(),
            weights: room(SIDE * SIDE),
            slopes: room(SIDE * SIDE),
        }
    }
}

/// `grad_qkv [tokens, row]`; `starts` are those of sequences.
pub fn backward(shape: &AttentionShape, starts: &[u32], given: Given<'_>, grad_qkv: &mut [f32]) {
    let (row, mut rest, mut tasks, mut t) = (shape.row(), grad_qkv, Vec::new(), 0);
    while t < starts.len() {
        let (first, mut sequences) = (t, Vec::new());
        while t < starts.len() && t - first < BLOCK {
            sequences.push(t..sequence_end(starts, t));
            t = sequence_end(starts, t);
        }
        let (part, after) = rest.split_at_mut((t - first) * row);
        tasks.push((first, sequences, part));
        rest = after;
    }
    tasks.into_par_iter().for_each_init(
        || (Room::new(shape), Grads::default()),
        |(room, grads), (first, sequences, part)| {
            for sequence in sequences {
                let part = &mut part[(sequence.start - first) * row..(sequence.end - first) * row];
                let (start, len) = (sequence.start, sequence.len());
                if len < LONG {
                    for head in 0..shape.heads {
                        one_head(shape, start, len, head, given, room, grads);
                        store(shape, head, grads, part);
                    }
                    continue;
                }
                let heads: Vec<Grads> = (0..shape.heads)
                    .into_par_iter()
                    .map(|head| {
                        let (mut room, mut grads) = (Room::new(shape), Grads::default());
                        one_head(shape, start, len, head, given, &mut room, &mut grads);
                        grads
                    })
                    .collect();
                heads.iter().enumerate().for_each(|(head, grads)| store(shape, head, grads, part));
            }
        },
    );
}

/// Writes or adds the gradients of query head `head` where they belong in a sequence's rows.
fn store(shape: &AttentionShape, head: usize, grads: &Grads, rows: &mut [f32]) {
    let AttentionShape { heads, kv_heads, head_dims: h, scale, .. } = *shape;
    let (padded, kv, first) =
        (h.next_multiple_of(LANES), head / (heads / kv_heads), head.is_multiple_of(heads / kv_heads));
    for (i, row) in rows.chunks_exact_mut(shape.row()).enumerate() {
        let mut put = |at: usize, fresh: bool, scale: f32, from: &[f32]| {
            for (o, v) in row[at * h..(at + 1) * h].iter_mut().zip(&from[i * padded..]) {
                *o = if fresh { scale * v } else { *o + scale * v };
            }
        };
        put(head, true, scale, &grads.queries);
        put(heads + kv, first, scale, &grads.keys);
        put(heads + kv_heads + kv, first, 1.0, &grads.values);
    }
}

/// Gradients of query head `head` of the `len` tokens from `start` on, but for the factor `scale` of queries and keys.
fn one_head(
    shape: &AttentionShape,
    start: usize,
    len: usize,
    head: usize,
    given: Given<'_>,
    room: &mut Room,
    grads: &mut Grads,
) {
    let AttentionShape { heads, kv_heads, head_dims: h, scale, .. } = *shape;
    let (row, width, kv, padded) = (shape.row(), shape.width(), head / (heads / kv_heads), h.next_multiple_of(LANES));
    // Rows are written in fours, and read so.
    let rows = len.next_multiple_of(4);
    grads.clear(rows * padded);
    room.queries.resize(rows * padded, 0.0);
    room.grads.resize(rows * padded, 0.0);
    pack(len, h, 1.0, &given.qkv[start * row + head * h..], row, padded, &mut room.queries);
    pack(len, h, 1.0, &given.grad_out[start * width + head * h..], width, padded, &mut room.grads);
    room.logs.clear();
    room.means.clear();
    for (t, grad) in (start..start + len).zip(room.grads.chunks_exact(padded)) {
        let mut mean = 0.0;
        dot(&given.out[t * width + head * h..][..h], &grad[..h], &mut mean);
        room.means.push(mean);
        room.logs.push(given.log_sums[t * heads + head]);
    }
    for from in (0..len).step_by(SIDE) {
        let keys = SIDE.min(len - from);
        let (k, v) = ((start + from) * row + (heads + kv) * h, (start + from) * row + (heads + kv_heads + kv) * h);
        turn(keys, h, &given.qkv[k..], row, &mut room.keys_turned);
        turn(keys, h, &given.qkv[v..], row, &mut room.values_turned);
        pack(keys, h, 1.0, &given.qkv[k..], row, padded, &mut room.keys);
        let (grad_keys, grad_values) = (&mut grads.keys[from * padded..], &mut grads.values[from * padded..]);
        for at in (from..len).step_by(SIDE) {
            let pairs = if at == from { Pairs::Causal } else { Pairs::All };
            let block = Block { pairs, n: SIDE.min(len - at), keys };
            let (queries, grad_out) = (&room.queries[at * padded..], &room.grads[at * padded..]);
            products(block, h, queries, padded, &room.keys_turned, &mut room.weights);
            products(block, h, grad_out, padded, &room.values_turned, &mut room.slopes);
            slopes(block, scale, &room.logs[at..], &room.means[at..], &mut room.weights, &mut room.slopes);
            sums(block, &room.slopes, &room.keys, padded, &mut grads.queries[at * padded..]);
            sums_of_keys(block, &room.slopes, queries, padded, grad_keys);
            sums_of_keys(block, &room.weights, grad_out, padded, grad_values);
        }
    }
}
