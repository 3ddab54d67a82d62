//! Lengths and shapes that are refused.

use super::*;

pub(in super::super) fn case_sequence_refusals<B: TensorBackend>(backend: &B) {
    let (x, long) = (tensor(backend, 0, &[1.0; 61]), tensor(backend, 0, &[1.0; 400]));
    let words = index(backend, &[0; 12]);
    let (mut out, mut other) = (tensor(backend, 0, &[0.0; 9]), tensor(backend, 0, &[0.0; 400]));

    assert!(backend.gather((3, 4, 16), whole(&x), whole(&words), false, &mut out, 0).is_ok());
    assert!(backend.gather((3, 4, 17), whole(&x), whole(&words), false, &mut out, 0).is_err());
    assert!(backend.gather((3, 4, 16), from(&x, 1), whole(&words), false, &mut out, 0).is_err());
    assert!(backend.gather((3, 4, 16), whole(&x), from(&words, 10), false, &mut out, 0).is_err());
    assert!(backend.gather((3, 4, 16), whole(&x), whole(&words), false, &mut out, 1).is_err());
    assert!(backend.gather((usize::MAX, 4, 16), whole(&x), whole(&words), false, &mut out, 0).is_err());

    let segments = |count| Segments { count, order: &words, bounds: &words, rows: &words };
    assert!(backend.scatter_rows((3, 4, 3), 1.0, &segments(11), &x, &mut out, 0).is_ok());
    assert!(backend.scatter_rows((3, 4, 3), 1.0, &segments(12), &x, &mut out, 0).is_err());
    assert!(backend.scatter_rows((17, 4, 3), 1.0, &segments(1), &x, &mut out, 0).is_err());
    assert!(backend.scatter_rows((3, 4, 3), 1.0, &segments(1), &x, &mut out, 1).is_err());

    let heads = |tokens, heads, dims, stride, offset| HeadRows { tokens, heads, dims, stride, offset };
    assert!(backend.rms_norm(&heads(3, 2, 4, 20, 8), 1e-5, &x, whole(&x), &mut other).is_ok());
    assert!(backend.rms_norm(&heads(3, 2, 4, 20, 17), 1e-5, &x, whole(&x), &mut other).is_err());
    assert!(backend.rms_norm(&heads(3, 2, 4, 7, 0), 1e-5, &x, whole(&x), &mut other).is_err());
    assert!(backend.rms_norm(&heads(3, 1, 4, 4, 0), 1e-5, &x, whole(&x), &mut out).is_ok());
    assert!(backend.rms_norm(&heads(3, 1, 5, 5, 0), 1e-5, &x, whole(&x), &mut out).is_err());
    assert!(backend.rms_norm(&heads(3, 1, 4, 4, 0), 1e-5, &x, from(&x, 61), &mut out).is_err());
    let huge = heads(usize::MAX / 2, 3, 4, usize::MAX, 1);
    assert!(backend.rms_norm(&huge, 1e-5, &x, whole(&x), &mut out).is_err());
    assert!(backend.rms_norm_backward(&heads(3, 1, 4, 4, 0), 1e-5, &x, whole(&x), &mut other, &mut out).is_ok());
    assert!(backend.rms_norm_backward(&heads(4, 1, 4, 4, 0), 1e-5, &x, whole(&x), &mut other, &mut out).is_err());
    assert!(backend.rms_norm_backward(&heads(4, 1, 4, 4, 0), 1e-5, &x, whole(&x), &mut out, &mut other).is_err());

    assert!(backend.rotary(&heads(3, 1, 4, 4, 0), false, whole(&words), (&x, 16), &mut out).is_ok());
    assert!(backend.rotary(&heads(3, 1, 4, 4, 0), false, whole(&words), (&x, 17), &mut out).is_err());
    assert!(backend.rotary(&heads(3, 1, 4, 4, 0), false, from(&words, 10), (&x, 16), &mut out).is_err());
    assert!(backend.rotary(&heads(3, 1, 4, 4, 1), false, whole(&words), (&x, 16), &mut out).is_err());
    assert!(backend.rotary(&heads(2, 1, 5, 6, 0), false, whole(&words), (&x, 2), &mut out).is_err());

    assert!(backend.gated((3, 4), &x, &mut out).is_ok());
    assert!(backend.gated((3, 5), &x, &mut out).is_err());
    assert!(backend.gated((8, 5), &x, &mut other).is_err());
    assert!(backend.gated_backward((9, 4), &x, &x, &mut other).is_err());
    assert!(backend.gated_backward((1, 7), &x, &x, &mut out).is_err());
    let mask = |first_bit| Mask { bits: &words, first_bit, scale: 1.0 };
    assert!(backend.dropout(12, mask(12 * 32 - 12), &mut out).is_ok());
    assert!(backend.dropout(12, mask(12 * 32 - 11), &mut out).is_err());
    assert!(backend.dropout(13, mask(0), &mut out).is_err());

    assert!(backend.cross_entropy((3, 4), 1.0, 0.0, whole(&words), &mut out, &mut other, 400).is_ok());
    assert!(backend.cross_entropy((3, 4), 1.0, 0.0, whole(&words), &mut out, &mut other, 401).is_err());
    assert!(backend.cross_entropy((3, 5), 1.0, 0.0, whole(&words), &mut out, &mut other, 0).is_err());
    assert!(backend.cross_entropy((3, 4), 1.0, 0.0, from(&words, 10), &mut out, &mut other, 0).is_err());

    assert!(backend.table_scores((3, 4, 3), 21, &words, &words, &x, &mut out).is_ok());
    assert!(backend.table_scores((3, 4, 3), 22, &words, &words, &x, &mut out).is_err());
    assert!(backend.table_scores((3, 4, 4), 21, &words, &words, &x, &mut out).is_err());
    assert!(backend.table_scores((3, 5, 2), 21, &words, &words, &x, &mut out).is_err());
    refused_attention(backend, &long, &words);
}

/// The same for attention: 12 words, and 400 values with three behind them.
fn refused_attention<B: TensorBackend>(backend: &B, x: &B::Tensor, words: &B::Index) {
    let (mut out, mut logs) = (tensor(backend, 0, &[0.0; 61]), tensor(backend, 0, &[0.0; 400]));
    let shape = |tokens, heads, kv_heads, head_dims| AttentionShape { tokens, heads, kv_heads, head_dims, scale: 1.0 };
    let mut forward = |shape: AttentionShape| backend.attention(&shape, words, x, &mut out, &mut logs);
    assert!(forward(shape(8, 4, 2, 2)).is_ok());
    for (bad, why) in [
        (shape(8, 4, 3, 1), "heads that cannot be shared out"),
        (shape(1, 0, 1, 4), "no heads"),
        (shape(1, 1, 0, 4), "no heads of keys"),
        (shape(1, 1, 1, 0), "no values"),
        (shape(13, 1, 1, 1), "too few starts"),
        (shape(9, 4, 2, 2), "too small an output"),
        (shape(10, 2, 11, 3), "too few rows"),
        (shape(12, 4, 4, 3), "too few values"),
        (shape(1, usize::MAX / 2, 1, 2), "a row that has no size"),
        (shape(usize::MAX, 1, 1, 1), "tokens that have no number"),
    ] {
        assert!(forward(bad).is_err(), "{why}");
    }
    let fits = shape(8, 4, 2, 2);
    let (mut grad, mut small) = (tensor(backend, 0, &[0.0; 128]), tensor(backend, 0, &[0.0; 120]));
    assert!(backend.attention_backward(&fits, words, x, x, x, x, &mut grad).is_ok());
    assert!(backend.attention_backward(&fits, words, x, x, x, x, &mut small).is_err());
    assert!(backend.attention_backward(&fits, words, &small, x, x, x, &mut grad).is_err());
    let few = tensor(backend, 0, &[1.0; 28]);
    for bad in 0..3 {
        let pick = |i| if i == bad { &few } else { x };
        assert!(backend.attention_backward(&fits, words, x, pick(0), pick(1), pick(2), &mut grad).is_err(), "{bad}");
    }

    let mut cache = tensor(backend, 0, &[0.0; 77]);
    assert!(backend.store_keys(&fits, from(words, 4), x, &mut cache).is_ok());
    assert!(backend.store_keys(&fits, from(words, 5), x, &mut cache).is_err());
    assert!(backend.store_keys(&shape(51, 2, 1, 2), whole(words), x, &mut cache).is_err());
    assert!(backend.store_keys(&shape(8, 4, 3, 2), whole(words), x, &mut cache).is_err());
    let bounds = index(backend, &[0, 0, 1, 1, 1, 1, 1, 1, 12]);
    assert!(backend.attention_cached(&fits, words, &bounds, x, &cache, &mut out).is_ok());
    assert!(backend.attention_cached(&shape(9, 4, 2, 1), words, &bounds, x, &cache, &mut out).is_err());
    assert!(backend.attention_cached(&shape(8, 4, 2, 3), words, &bounds, x, &cache, &mut out).is_err());
    assert!(backend.attention_cached(&shape(8, 4, 3, 2), words, &bounds, x, &cache, &mut out).is_err());
    assert!(backend.attention_cached(&fits, words, &bounds, &small, &cache, &mut out).is_err());
}

/// Indices that lead nowhere, which only a processor can see before it runs.
#[test]
fn the_cpu_refuses_what_is_no_sequence() {
    let backend = &sememe::compute::cpu::Cpu::new();
    let (x, mut out, mut logs) = (tensor(backend, 0, &[1.0; 61]), empty(backend, 8), empty(backend, 8));
    let shape = shape(3, (1, 1, 2));
    for starts in [[1, 1, 1], [0, 0, 1], [0, 1, 0], [0, 2, 2], [0, 3, 3], [u32::MAX, 0, 0]] {
        let refused = backend.attention(&shape, &index(backend, &starts), &x, &mut out, &mut logs);
        assert!(refused.unwrap_err().to_string().contains("cannot start at"), "{starts:?}");
    }
    let seen = index(backend, &[0; 4]);
    for bounds in [[0, 2, 1, 4], [0, 1, 2, 5]] {
        let refused = backend.attention_cached(&shape, &seen, &index(backend, &bounds), &x, &x, &mut out);
        assert!(refused.is_err(), "{bounds:?}");
    }
}
