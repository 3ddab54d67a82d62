//! Twin of `shaders/attention.wgsl`: causal attention within sequences that lie one behind another.
//!
//! Tokens are cut into blocks within their sequences, by sizes alone, and each task takes one or, where sequences are short,
//! several: so the bits do not depend on the number of threads. A block of queries meets the keys before it block by block, with a
//! running softmax (Milakov and Gimelshein 2018), and its own keys up to the diagonal.

use super::attention_blocks::{Block, LANES, Pairs, SIDE, pack, products, soften, sums, turn};
use crate::compute::tensor::AttentionShape;
use rayon::prelude::*;
use std::ops::Range;

/// A block of queries: `tokens` of the sequence from `start` on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queries {
    start: usize,
    tokens: Range<usize>,
}

/// The token past the sequence that token `t` is in.
pub fn sequence_end(starts: &[u32], t: usize) -> usize {
    starts[t..].iter().position(|start| *start != starts[t]).map_or(starts.len(), |len| t + len)
}

/// The first token whose start is none, if there is one.
pub fn bad_start(starts: &[u32]) -> Option<usize> {
    (0..starts.len()).find(|t| starts[*t] as usize != *t && (*t == 0 || starts[*t] != starts[*t - 1]))
}

/// Tasks of one or more blocks, of [`SIDE`] tokens or more together.
fn tasks(starts: &[u32]) -> Vec<Vec<Queries>> {
    let (mut tasks, mut task, mut held, mut t) = (Vec::new(), Vec::new(), 0, 0);
    while t < starts.len() {
        let (start, end) = (t, sequence_end(starts, t));
        while t < end {
            let tokens = t..end.min(t + SIDE);
            (t, held) = (tokens.end, held + tokens.len());
            task.push(Queries { start, tokens });
            if held >= SIDE {
                tasks.push(std::mem::take(&mut task));
                held = 0;
            }
        }
    }
    if !task.is_empty() {
        tasks.push(task);
    }
    tasks
}

/// What a task works in.
struct Room {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    largest: Vec<f32>,
    total: Vec<f32>,
    sums: Vec<f32>,
}

impl Room {
    fn new(shape: &AttentionShape) -> Self {
        let (padded, group) = (shape.head_dims.next_multiple_of(LANES), shape.heads / shape.kv_heads);
        let room = |len: usize| vec![0.0f32; len];
        Self {
            queries: room(group * SIDE * padded),
            keys: room(SIDE * shape.head_dims),
            values: room(SIDE * padded),
            scores: room(SIDE * SIDE),
            largest: room(group * SIDE),
            total: room(group * SIDE),
            sums: room(group * SIDE * padded),
        }
    }
}

/// `out [tokens, width]` and `log_sums [tokens, heads]`; `starts` are those of sequences.
pub fn forward(shape: &AttentionShape, starts: &[u32], qkv: &[f32], out: &mut [f32], log_sums: &mut [f32]) {
    let (mut rest, mut rest_logs, mut parts) = (out, log_sums, Vec::new());
    for task in tasks(starts) {
        let held: usize = task.iter().map(|block| block.tokens.len()).sum();
        let (out, after) = rest.split_at_mut(held * shape.width());
        let (logs, after_logs) = rest_logs.split_at_mut(held * shape.heads);
        parts.push((task, out, logs));
        (rest, rest_logs) = (after, after_logs);
    }
    parts.into_par_iter().for_each_init(
        || Room::new(shape),
        |room, (task, mut out, mut logs)| {
            for block in task {
                let (n, at);
                (n, at) = (block.tokens.len(), out);
                let (here, after) = at.split_at_mut(n * shape.width());
                let (here_logs, after_logs) = logs.split_at_mut(n * shape.heads);
                (0..shape.kv_heads).for_each(|kv| attend(shape, &block, kv, qkv, room, here, here_logs));
                (out, logs) = (after, after_logs);
            }
        },
    );
}

/// The query heads of one head of keys and values, over one block of queries.
fn attend(
    shape: &AttentionShape,
    block: &Queries,
    kv: usize,
    qkv: &[f32],
    room: &mut Room,
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let AttentionShape { heads, kv_heads, head_dims: h, scale, .. } = *shape;
    let (row, group, padded) = (shape.row(), heads / kv_heads, h.next_multiple_of(LANES));
    let (n, first) = (block.tokens.len(), block.tokens.start);
    for r in 0..group {
        let queries = &qkv[first * row + (kv * group + r) * h..];
        pack(n, h, scale, queries, row, padded, &mut room.queries[r * SIDE * padded..]);
    }
    room.largest.fill(f32::MIN);
    room.total.fill(0.0);
    room.sums.fill(0.0);
    for from in (block.start..block.tokens.end).step_by(SIDE) {
        let (pairs, keys) = if from < first { (Pairs::All, SIDE) } else { (Pairs::Causal, n) };
        let met = Block { pairs, n, keys };
        turn(keys, h, &qkv[from * row + (heads + kv) * h..], row, &mut room.keys);
        pack(keys, h, 1.0, &qkv[from * row + (heads + kv_heads + kv) * h..], row, padded, &mut room.values);
        for r in 0..group {
            let (queries, sums_here) =
                (&room.queries[r * SIDE * padded..], &mut room.sums[r * SIDE * padded..(r + 1) * SIDE * padded]);
            let (largest, total) = (&mut room.largest[r * SIDE..], &mut room.total[r * SIDE..]);
            products(met, h, queries, padded, &room.keys, &mut room.scores);
            soften(met, &mut room.scores, largest, total, padded, sums_here);
            sums(met, &room.scores, &room.values, padded, sums_here);
        }
    }
    for i in 0..n {
        for r in 0..group {
            let (head, at) = (kv * group + r, r * SIDE + i);
            let inverse = 1.0 / room.total[at];
            let out = &mut out[i * shape.width() + head * h..][..h];
            out.iter_mut().zip(&room.sums[at * padded..]).for_each(|(o, s)| *o = s * inverse);
            log_sums[i * heads + head] = room.largest[at] + libm::logf(room.total[at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_hold_every_token_once_in_order() {
        let lengths = [1usize, 63, 64, 65, 5, 5, 200, 7];
        let mut starts: Vec<u32> = Vec::new();
        for len in lengths {
            starts.extend(std::iter::repeat_n(starts.len() as u32, len));
        }
        assert_eq!(bad_start(&starts), None);
        let tasks = tasks(&starts);
        assert!(tasks.iter().any(|task| task.len() > 1), "no task holds several sequences");
        let blocks: Vec<Queries> = tasks.into_iter().flatten().collect();
        assert_eq!(
            blocks.iter().flat_map(|b| b.tokens.clone()).collect::<Vec<_>>(),
            (0..starts.len()).collect::<Vec<_>>()
        );
        for block in blocks {
            assert!(block.tokens.clone().all(|t| starts[t] as usize == block.start), "{block:?}");
            assert!((block.tokens.start - block.start).is_multiple_of(SIDE) && block.tokens.len() <= SIDE, "{block:?}");
        }
    }

    #[test]
    fn starts_that_are_none_are_found() {
        for (starts, bad) in [
            (&[][..], None),
            (&[0, 0, 2], None),
            (&[1, 1], Some(0)),
            (&[0, 0, 1], Some(2)),
            (&[0, 1, 0], Some(2)),
            (&[0, 2, 2], Some(1)),
        ] {
            assert_eq!(bad_start(starts), bad, "{starts:?}");
        }
    }
}
