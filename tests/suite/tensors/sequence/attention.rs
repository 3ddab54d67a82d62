//! Attention over packed sequences and its gradient, held to f64.

use super::*;

/// Results of the forward and the backward pass.
struct Passes {
    out: Vec<f32>,
    log_sums: Vec<f32>,
    grad: Vec<f32>,
}

fn passes<B: TensorBackend>(backend: &B, shape: &AttentionShape, starts: &[u32], qkv: &[f32], up: &[f32]) -> Passes {
    let (heads, rows, width) = (shape.tokens * shape.heads, shape.tokens * shape.row(), shape.tokens * shape.width());
    let starts = index(backend, &[starts, &[77; 3]].concat());
    let (given, grads) = (tensor(backend, 0, qkv), tensor(backend, 0, up));
    let (mut out, mut log_sums, mut back) = (empty(backend, width), empty(backend, heads), empty(backend, rows));
    backend.attention(shape, &starts, &given, &mut out, &mut log_sums).expect("attention");
    backend.attention_backward(shape, &starts, &given, &out, &log_sums, &grads, &mut back).expect("backward");
    Passes {
        out: read(backend, &out, 0, width),
        log_sums: read(backend, &log_sums, 0, heads),
        grad: read(backend, &back, 0, rows),
    }
}

/// Holds both passes to f64. The error of a score is that of its sum; a weight is off by twice that of its scores, relative to it.
#[track_caller]
fn hold_attention<B: TensorBackend>(backend: &B, shape: &AttentionShape, starts: &[u32], qkv: &[f32], up: &[f32]) {
    let what = format!("{shape:?}");
    let (h, longest) = (shape.head_dims, (0..starts.len()).map(|t| t + 1 - starts[t] as usize).max().unwrap_or(0));
    let got = passes(backend, shape, starts, qkv, up);
    let (wide_qkv, wide_up) = (wide(qkv), wide(up));
    let want = oracle::attention(shape, starts, &wide_qkv);
    let (terms, sums) = (gamma(h + 4), gamma(longest.div_ceil(4) + h.div_ceil(4) + 40));
    let off = |head: usize| 2.0 * terms * want.score_sizes[head] + sums;
    hold(&what, &got.out, &want.out, |i| off(i / h) * want.value_sizes[i / h] + 1e-30);
    hold(&format!("log sums, {what}"), &got.log_sums, &want.log_sums, |i| off(i) + 4.0 * U * want.log_sums[i].abs());
    let (want_grad, sizes) = oracle::attention_backward(shape, starts, &wide_qkv, &wide_up);
    hold(&format!("gradient, {what}"), &got.grad, &want_grad, |i| 4.0 * (terms + sums) * sizes[i] + 1e-30);
    if longest > 3 {
        let other = AttentionShape { scale: 0.9 * shape.scale, ..*shape };
        let other = oracle::attention(&other, starts, &wide_qkv);
        let moved = want.out.iter().zip(&other.out).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let most = (0..want.out.len()).map(|i| off(i / h) * want.value_sizes[i / h]).fold(0.0, f64::max);
        assert!(
            moved > 4.0 * most,
            "{what}: a scale that is off by a tenth would go unnoticed, {moved:e} and {most:e}"
        );
    }
}

fn hold_normal<B: TensorBackend>(backend: &B, heads: (usize, usize, usize), lengths: impl IntoIterator<Item = usize>) {
    let starts = packed(lengths);
    let shape = shape(starts.len(), heads);
    let qkv = normal("qkv", shape.tokens * shape.row());
    hold_attention(backend, &shape, &starts, &qkv, &normal("attention up", shape.tokens * shape.width()));
}

pub(in super::super) fn case_attention<B: TensorBackend>(backend: &B) {
    hold_normal(backend, (2, 1, 8), []);
    hold_normal(backend, (1, 1, 1), [1]);
    for head_dims in [1, 8, 31, 32, 64, 65] {
        for kv_heads in [1, 2, 4] {
            hold_normal(backend, (4, kv_heads, head_dims), [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 20]);
        }
        hold_normal(backend, (2, 1, head_dims), [63, 1, 64, 65, 2, 127, 128, 129]);
    }
    hold_normal(backend, (3, 3, 128), [50, 20, 70]);
    hold_normal(backend, (1, 1, 200), [3, 70]);
}

pub(in super::super) fn case_attention_of_every_length<B: TensorBackend>(backend: &B) {
    hold_normal(backend, (1, 1, 2), 1..=300);
    hold_normal(backend, (4, 2, 8), (1..=300).step_by(23));
    // Sequences past what one dimension of a dispatch holds.
    hold_normal(backend, (1, 1, 1), (0..33_000).map(|i| 1 + i % 3));
}

pub(in super::super) fn case_attention_of_a_long_sequence<B: TensorBackend>(backend: &B) {
    hold_normal(backend, (3, 1, 16), [255, 256, 257, 1, 1100]);
}

/// Scores about 80 and far apart: their exponentials overflow where the largest is not taken away.
pub(in super::super) fn case_attention_of_large_scores<B: TensorBackend>(backend: &B) {
    let starts = packed([3, 200, 1]);
    for (shift, spread) in [(80.0f32, 1.0f32), (-80.0, 1.0), (300.0, 40.0), (0.0, 100.0)] {
        let shape = AttentionShape { scale: 1.0, ..shape(starts.len(), (2, 1, 8)) };
        let mut qkv = normal("large", shape.tokens * shape.row());
        for token in qkv.chunks_exact_mut(shape.row()) {
            // Queries of (1, small, ..) and keys of (score, small, ..).
            token[..24].iter_mut().for_each(|v| *v *= 0.01);
            (token[0], token[8]) = (1.0, 1.0);
            token[16] = shift + spread * token[16] * 100.0;
        }
        let up = normal("large up", shape.tokens * shape.width());
        let highest =
            oracle::attention(&shape, &starts, &wide(&qkv)).log_sums.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        assert!(highest > 75.0, "uninformative scores: {highest}");
        hold_attention(backend, &shape, &starts, &qkv, &up);
    }
}

/// What is not finite reaches those that see it, and nobody else.
pub(in super::super) fn case_attention_non_finite<B: TensorBackend>(backend: &B) {
    let starts = packed([5, 150, 30]);
    let shape = shape(starts.len(), (2, 2, 20));
    let (h, row, width) = (20, shape.row(), shape.width());
    for bad in [f32::NAN, f32::INFINITY] {
        // In a query, a key and a value of head 1 of token 70, which is token 65 of its sequence.
        for (block, name) in [(1, "query"), (3, "key"), (5, "value")] {
            let mut qkv = normal("bad attention", shape.tokens * row);
            qkv[70 * row + block * h + 2] = bad;
            let got = passes(backend, &shape, &starts, &qkv, &vec![0.5; shape.tokens * width]);
            for t in 0..shape.tokens {
                let reached = if block == 1 { t == 70 } else { (70..155).contains(&t) };
                let (left, right) = (&got.out[t * width..t * width + h], &got.out[t * width + h..(t + 1) * width]);
                assert!(left.iter().all(|v| v.is_finite()), "{name} {bad}: the other head of token {t}");
                let fine = right.iter().all(|v| v.is_finite());
                // A key that is infinite takes no part where its score is -∞.
                assert!(!reached || !fine || (block == 3 && bad.is_infinite()), "{name} {bad}: unnoticed by token {t}");
                assert!(reached || fine, "{name} {bad}: reached token {t}");
                let grads = &got.grad[t * row..(t + 1) * row];
                let other = !(5..155).contains(&t);
                assert!(
                    !other || grads.iter().all(|v| v.is_finite()),
                    "{name} {bad}: reached the gradient of token {t}"
                );
            }
            assert!(got.grad.iter().any(|v| v.is_nan()), "{name} {bad}: unnoticed by the gradient");
        }
    }
}

/// The bits do not depend on the number of threads, nor on what else is in the batch.
pub(in super::super) fn case_attention_same_bits<B: TensorBackend>(backend: &B) {
    let starts = packed([3, 300, 17, 64, 20, 20, 1, 700]);
    let shape = shape(starts.len(), (4, 2, 24));
    let (rows, width) = (shape.tokens * shape.row(), shape.tokens * shape.width());
    let (qkv, up) = (normal("bits", rows), normal("bits up", width));
    let run = || {
        let got = passes(backend, &shape, &starts, &qkv, &up);
        let mut logits = tensor(backend, 0, &qkv);
        let (targets, mut loss) = (index(backend, &vec![5; shape.tokens]), empty(backend, shape.tokens));
        let k = shape.row();
        backend.cross_entropy((shape.tokens, k), 1.0, 0.1, whole(&targets), &mut logits, &mut loss, 0).expect("losses");
        let to: Vec<u32> = (0..shape.tokens as u32).map(|t| t * t % 40).collect();
        let (order, bounds, places) = sorted_segments(&to, 40);
        let (order, bounds, at) = (index(backend, &order), index(backend, &bounds), index(backend, &places));
        let segments = Segments { count: places.len(), order: &order, bounds: &bounds, rows: &at };
        let (given, mut table) = (tensor(backend, 0, &qkv), tensor(backend, 0, &vec![0.0; 40 * k]));
        backend.scatter_rows((shape.tokens, k, 40), 1.0, &segments, &given, &mut table, 0).expect("scatter");
        let rest =
            [read(backend, &logits, 0, rows), read(backend, &loss, 0, shape.tokens), read(backend, &table, 0, 40 * k)];
        let all = [got.out, got.log_sums, got.grad].into_iter().chain(rest);
        all.flatten().map(f32::to_bits).collect::<Vec<_>>()
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    let one = pool(1).install(run);
    assert!(one == pool(2).install(run) && one == pool(5).install(run), "the bits depend on the number of threads");
    // Each sequence by itself has the same result; the layout of the tasks differs.
    let alone = AttentionShape { tokens: 17, ..shape };
    let (first, row) = (303, shape.row());
    let got = passes(
        backend,
        &alone,
        &packed([17]),
        &qkv[first * row..320 * row],
        &up[first * shape.width()..320 * shape.width()],
    );
    let bits = got.out.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits, one[first * shape.width()..320 * shape.width()], "a sequence alone has other bits");
}
