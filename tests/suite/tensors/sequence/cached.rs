//! Attention over kept keys and values.

use super::*;

/// Attention of a packed sequence, which tokens that come one by one must agree with.
fn packed_out<B: TensorBackend>(backend: &B, shape: &AttentionShape, starts: &[u32], qkv: &[f32]) -> Vec<f32> {
    let (starts, given) = (index(backend, starts), tensor(backend, 0, qkv));
    let (mut out, mut logs) =
        (empty(backend, shape.tokens * shape.width()), empty(backend, shape.tokens * shape.heads));
    backend.attention(shape, &starts, &given, &mut out, &mut logs).expect("attention");
    read(backend, &out, 0, shape.tokens * shape.width())
}

/// `tokens` rows of `qkv` that each see their slots.
fn cached_out<B: TensorBackend>(
    backend: &B,
    shape: &AttentionShape,
    seen: &[Vec<u32>],
    qkv: &[f32],
    cache: &B::Tensor,
) -> Vec<f32> {
    let mut bounds = vec![0u32];
    seen.iter().for_each(|list| bounds.push(bounds[bounds.len() - 1] + list.len() as u32));
    let slots = index(backend, &[seen.concat(), vec![9]].concat());
    let (bounds, given) = (index(backend, &bounds), tensor(backend, 0, qkv));
    let mut out = empty(backend, shape.tokens * shape.width());
    backend.attention_cached(shape, &slots, &bounds, &given, cache, &mut out).expect("cached");
    read(backend, &out, 0, shape.tokens * shape.width())
}

/// A sequence token by token, in slots that lie anywhere, agrees with the packed sequence.
pub(in super::super) fn case_attention_cached<B: TensorBackend>(backend: &B) {
    for (heads, lengths) in [
        ((1, 1, 1), vec![1, 3]),
        ((4, 1, 8), vec![5, 17]),
        ((4, 2, 32), vec![33, 20]),
        ((4, 4, 65), vec![20, 9]),
        ((9, 3, 64), vec![70, 130, 1]),
    ] {
        let (starts, slots) = (packed(lengths.iter().copied()), 400u32);
        let all = shape(starts.len(), heads);
        let (row, width) = (all.row(), all.width());
        let qkv = normal("cached", all.tokens * row);
        let want = packed_out(backend, &all, &starts, &qkv);
        let exact = oracle::attention(&all, &starts, &wide(&qkv));
        let slot = |t: usize| (t as u32 * 137 + 11) % slots;
        let mut cache = tensor(backend, 0, &vec![f32::NAN; slots as usize * all.cached()]);
        let longest = *lengths.iter().max().expect("lengths");
        for step in 0..longest {
            // The next token of every sequence that has one.
            let at = |i: usize| lengths[..i].iter().sum::<usize>() + step;
            let new: Vec<usize> = (0..lengths.len()).filter(|i| step < lengths[*i]).map(at).collect();
            let one = AttentionShape { tokens: new.len(), ..all };
            let here: Vec<f32> = new.iter().flat_map(|t| qkv[t * row..(t + 1) * row].to_vec()).collect();
            let words = index(backend, &[vec![7], new.iter().map(|t| slot(*t)).collect::<Vec<_>>()].concat());
            let given = tensor(backend, 0, &here);
            backend.store_keys(&one, from(&words, 1), &given, &mut cache).expect("store");
            // Looking at every step would take long on a software device.
            if step > 8 && step % 16 > 1 && step + 1 != longest {
                continue;
            }
            let seen: Vec<Vec<u32>> = new.iter().map(|t| (starts[*t] as usize..=*t).map(slot).collect()).collect();
            let got = cached_out(backend, &one, &seen, &here, &cache);
            for (i, t) in new.iter().enumerate() {
                let (got, here) = (&got[i * width..(i + 1) * width], *t * width..(*t + 1) * width);
                let tolerance = |c: usize| {
                    let head = t * all.heads + c / all.head_dims;
                    (2.0 * gamma(all.head_dims + 4) * exact.score_sizes[head] + gamma(*t + 40))
                        * exact.value_sizes[head]
                };
                hold(&format!("{heads:?}, token {t}"), got, &exact.out[here.clone()], tolerance);
                hold(&format!("{heads:?}, token {t}, packed"), got, &wide(&want[here]), |c| 2.0 * tolerance(c));
            }
        }
    }
}

/// Beams that share slots, slots past the cache, tokens that see nothing, and many slots.
pub(in super::super) fn case_attention_cached_slots<B: TensorBackend>(backend: &B) {
    let (heads, slots) = ((4, 2, 16), 700);
    let all = shape(slots, heads);
    let (row, width, cached) = (all.row(), all.width(), all.cached());
    let qkv = normal("slots", slots * row);
    let given = tensor(backend, 0, &qkv);
    let order: Vec<u32> = (0..slots as u32).map(|t| if t == 5 { u32::MAX } else { t }).collect();
    let words = index(backend, &order);
    let before = normal("before", slots * cached);
    let mut cache = tensor(backend, 0, &before);
    backend.store_keys(&all, whole(&words), &given, &mut cache).expect("store");
    let kept = read(backend, &cache, 0, slots * cached);
    for t in 0..slots {
        let want = if t == 5 { &before[5 * cached..6 * cached] } else { &qkv[t * row + width..(t + 1) * row] };
        assert_eq!(&kept[t * cached..(t + 1) * cached], want, "slot {t}");
    }
    // The guards behind the cache hold less than a slot, so that slot 700 is past it.
    let past = [slots as u32, slots as u32 + 1, u32::MAX];
    let common: Vec<u32> = (100..160).collect();
    let seen: Vec<Vec<u32>> = vec![
        [common.clone(), vec![3]].concat(),
        [common.clone(), vec![4]].concat(),
        vec![],
        past.to_vec(),
        [vec![past[0]], common, vec![past[2], 3]].concat(),
        (0..slots as u32).filter(|s| *s != 5).collect(),
        vec![9],
    ];
    let beams = AttentionShape { tokens: seen.len(), ..all };
    let got = cached_out(backend, &beams, &seen, &qkv[..seen.len() * row], &cache);
    for (t, slots) in seen.iter().enumerate() {
        let found = &got[t * width..(t + 1) * width];
        let inside: Vec<usize> = slots.iter().map(|s| *s as usize).filter(|s| *s < 700).collect();
        if inside.is_empty() {
            assert!(found.iter().all(|v| *v == 0.0), "token {t} sees nothing");
            continue;
        }
        // The same as the last token of a sequence that has these keys, with the query of token t.
        let mut sequence: Vec<f32> = inside.iter().flat_map(|s| qkv[s * row..(s + 1) * row].to_vec()).collect();
        let last = (inside.len() - 1) * row;
        sequence[last..last + width].copy_from_slice(&qkv[t * row..t * row + width]);
        let shape = AttentionShape { tokens: inside.len(), ..all };
        let exact = oracle::attention(&shape, &vec![0; inside.len()], &wide(&sequence));
        hold(&format!("token {t}"), found, &exact.out[(inside.len() - 1) * width..], |_| 1e-4);
    }
    assert!(differs(&wide(&got[..width]), &wide(&got[width..2 * width]), 1e-3, 0.0), "the beams do not differ");
}
