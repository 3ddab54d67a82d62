//! Twin of `shaders/attention_cached.wgsl`: attention of new tokens over keys and values that are kept in slots.

use super::attention_blocks::{LANES, folded};
use super::isa::multiversion_fused;
use super::math::{exp, madd};
use crate::compute::tensor::AttentionShape;
use rayon::prelude::*;

/// Products a task, about.
const WORK: usize = 1 << 15;

/// `cache[slots[t]] = (k, v)` of token t; slots past the cache are passed over.
pub fn store(shape: &AttentionShape, slots: &[u32], qkv: &[f32], cache: &mut [f32]) {
    let (row, cached) = (shape.row(), shape.cached());
    for (token, slot) in qkv.chunks_exact(row).zip(slots) {
        let at = (*slot as usize).saturating_mul(cached);
        if let Some(kept) = cache.get_mut(at..at.saturating_add(cached)) {
            kept.copy_from_slice(&token[row - cached..]);
        }
    }
}

/// Up to a vector of values, and zeros.
#[inline(always)]
fn padded(values: &[f32]) -> [f32; LANES] {
    let mut line = [0.0; LANES];
    line[..values.len()].copy_from_slice(values);
    line
}

multiversion_fused! {
    /// The query heads `q [group, h]` of one head of keys and values over `slots`. `places`: values of a slot, and where its key
    /// and its value are among them. `weights [group, slots]` is room.
    fn attend<FUSED>(h: usize, scale: f32, q: &[f32], slots: &[u32], places: (usize, usize, usize), cache: &[f32], weights: &mut [f32], out: &mut [f32]) {
        let (n, (cached, key, value)) = (slots.len(), places);
        for (j, slot) in slots.iter().enumerate() {
            let k = &cache[*slot as usize * cached + key..][..h];
            for (r, q) in q.chunks_exact(h).enumerate() {
                let ((qs, q_tail), (ks, k_tail)) = (q.as_chunks::<LANES>(), k.as_chunks::<LANES>());
                let mut sums = [0.0f32; LANES];
                for (x, y) in qs.iter().zip(ks) {
                    for l in 0..LANES {
                        sums[l] = madd::<FUSED>(x[l], y[l], sums[l]);
                    }
                }
                for (l, (x, y)) in q_tail.iter().zip(k_tail).enumerate() {
                    sums[l] = madd::<FUSED>(*x, *y, sums[l]);
                }
                weights[r * n + j] = scale * folded(sums, |a, b| a + b);
            }
        }
        for (weights, out) in weights.chunks_exact_mut(n).zip(out.chunks_exact_mut(h)) {
            let mut best = [f32::MIN; LANES];
            for part in weights.chunks(LANES) {
                for (b, w) in best.iter_mut().zip(part) {
                    *b = if *w > *b { *w } else { *b };
                }
            }
            let top = folded(best, |a, b| if a > b { a } else { b });
            let mut sums = [0.0f32; LANES];
            let (parts, tail) = weights.as_chunks_mut::<LANES>();
            for part in parts {
                for l in 0..LANES {
                    part[l] = exp(part[l] - top);
                    sums[l] += part[l];
                }
            }
            for (l, w) in tail.iter_mut().enumerate() {
                *w = exp(*w - top);
                sums[l] += *w;
            }
            let inverse = 1.0 / folded(sums, |a, b| a + b);
            for (c, out) in out.chunks_mut(LANES).enumerate() {
                // Two sums, so that one slot's addition need not wait for the last one's.
                let (mut even, mut odd) = ([0.0f32; LANES], [0.0f32; LANES]);
                let line = |slot: u32| &cache[slot as usize * cached + value + c * LANES..][..out.len()];
                for (w, slots) in weights.chunks(2).zip(slots.chunks(2)) {
                    let v = line(slots[0]);
                    let v = v.first_chunk().copied().unwrap_or_else(|| padded(v));
                    for l in 0..LANES {
                        even[l] = madd::<FUSED>(w[0], v[l], even[l]);
                    }
                    if let (Some(w), Some(slot)) = (w.get(1), slots.get(1)) {
                        let v = line(*slot);
                        let v = v.first_chunk().copied().unwrap_or_else(|| padded(v));
                        for l in 0..LANES {
                            odd[l] = madd::<FUSED>(*w, v[l], odd[l]);
                        }
                    }
                }
                for ((o, a), b) in out.iter_mut().zip(even).zip(odd) {
                    *o = (a + b) * inverse;
                }
            }
        }
    }
}

/// `out [tokens, width]`: token t over the slots `seen[bounds[t]..bounds[t + 1]]`, which are inside of `seen`.
pub fn attention(shape: &AttentionShape, seen: &[u32], bounds: &[u32], qkv: &[f32], cache: &[f32], out: &mut [f32]) {
    let AttentionShape { tokens, kv_heads, head_dims: h, scale, .. } = *shape;
    let (row, cached, group) = (shape.row(), shape.cached(), shape.width() / kv_heads);
    let held = cache.len() / cached;
    let mean = seen.len() / tokens.max(1) * group;
    out.par_chunks_mut(group).enumerate().with_min_len(WORK / mean.max(1) + 1).for_each_init(
        || (Vec::new(), Vec::new()),
        |(slots, weights), (at, out)| {
            let (t, kv) = (at / kv_heads, at % kv_heads);
            slots.clear();
            let all = &seen[bounds[t] as usize..bounds[t + 1] as usize];
            slots.extend(all.iter().copied().filter(|slot| (*slot as usize) < held));
            if slots.is_empty() {
                out.fill(0.0);
                return;
            }
            weights.resize(slots.len() * (group / h), 0.0f32);
            let weights = &mut weights[..slots.len() * (group / h)];
            let q = &qkv[t * row + kv * group..][..group];
            attend(h, scale, q, slots, (cached, kv * h, (kv_heads + kv) * h), cache, weights, out);
        },
    );
}
