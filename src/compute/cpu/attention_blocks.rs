//! Small products for attention: blocks of at most 64 queries and 64 keys of one head, whole or up to the diagonal, in registers.
//!
//! Rows are padded to whole vectors, so that no loop has a tail. Every value depends on its own row and column alone: a query that
//! does not see a key is never multiplied with it, not even by 0, which a value that is not finite would survive.

use super::isa::{multiversion, multiversion_fused};
use super::math::{exp, madd};

/// Queries and keys of a block at most.
pub const SIDE: usize = 64;
/// Values of a vector.
pub const LANES: usize = 16;
/// Rows in registers.
const ROWS: usize = 4;

/// Which pairs of a block count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// All.
    All,
    /// Query i and the keys `0..=i`.
    Causal,
}

/// Queries that meet keys.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Which of them.
    pub pairs: Pairs,
    /// Queries.
    pub n: usize,
    /// Keys.
    pub keys: usize,
}

impl Block {
    /// How many keys query `i` sees.
    #[inline(always)]
    fn seen(self, i: usize) -> usize {
        if self.pairs == Pairs::All { self.keys } else { self.keys.min(i + 1) }
    }
}

/// A vector's worth of values from `at` on.
#[inline(always)]
fn vector(values: &[f32], at: usize) -> &[f32; LANES] {
    values[at..].first_chunk().expect("rows are padded")
}

/// `sums + x·line`.
#[inline(always)]
fn add<const FUSED: bool>(mut sums: [f32; LANES], x: f32, line: &[f32; LANES]) -> [f32; LANES] {
    for l in 0..LANES {
        sums[l] = madd::<FUSED>(x, line[l], sums[l]);
    }
    sums
}

/// What is added up: `Σ_t w_t·v[t·stride ..]` for t of `from..to`.
#[derive(Clone, Copy)]
struct Terms<'a> {
    from: usize,
    to: usize,
    v: &'a [f32],
    stride: usize,
}

/// Adds one vector of columns to each of four rows, for `weights(t)`. The four have names, and so have the eight below: arrays of them
/// do not stay in registers.
#[inline(always)]
fn one_vector<const FUSED: bool>(
    terms: Terms<'_>,
    weights: impl Fn(usize) -> [f32; ROWS],
    out: &mut [f32],
    step: usize,
) {
    let (mut a, mut b) = (*vector(out, 0), *vector(out, step));
    let (mut c, mut d) = (*vector(out, 2 * step), *vector(out, 3 * step));
    for t in terms.from..terms.to {
        let (line, w) = (vector(terms.v, t * terms.stride), weights(t));
        a = add::<FUSED>(a, w[0], line);
        b = add::<FUSED>(b, w[1], line);
        c = add::<FUSED>(c, w[2], line);
        d = add::<FUSED>(d, w[3], line);
    }
    for (r, sums) in [a, b, c, d].iter().enumerate() {
        out[r * step..][..LANES].copy_from_slice(sums);
    }
}

/// The same for two vectors.
#[inline(always)]
fn two_vectors<const FUSED: bool>(
    terms: Terms<'_>,
    weights: impl Fn(usize) -> [f32; ROWS],
    out: &mut [f32],
    step: usize,
) {
    let (mut a0, mut a1) = (*vector(out, 0), *vector(out, LANES));
    let (mut b0, mut b1) = (*vector(out, step), *vector(out, step + LANES));
    let (mut c0, mut c1) = (*vector(out, 2 * step), *vector(out, 2 * step + LANES));
    let (mut d0, mut d1) = (*vector(out, 3 * step), *vector(out, 3 * step + LANES));
    for t in terms.from..terms.to {
        let line: &[f32; 2 * LANES] = terms.v[t * terms.stride..].first_chunk().expect("rows are padded");
        let (left, right, w) = (vector(line, 0), vector(line, LANES), weights(t));
        (a0, a1) = (add::<FUSED>(a0, w[0], left), add::<FUSED>(a1, w[0], right));
        (b0, b1) = (add::<FUSED>(b0, w[1], left), add::<FUSED>(b1, w[1], right));
        (c0, c1) = (add::<FUSED>(c0, w[2], left), add::<FUSED>(c1, w[2], right));
        (d0, d1) = (add::<FUSED>(d0, w[3], left), add::<FUSED>(d1, w[3], right));
    }
    for (r, (left, right)) in [(a0, a1), (b0, b1), (c0, c1), (d0, d1)].iter().enumerate() {
        out[r * step..][..LANES].copy_from_slice(left);
        out[r * step + LANES..][..LANES].copy_from_slice(right);
    }
}

/// Adds `width` columns to four rows, `step` apart.
#[inline(always)]
fn four_rows<const FUSED: bool>(
    terms: Terms<'_>,
    weights: impl Fn(usize) -> [f32; ROWS],
    width: usize,
    out: &mut [f32],
    step: usize,
) {
    let mut at = 0;
    while at < width {
        let here = Terms { v: &terms.v[at..], ..terms };
        if width - at > LANES {
            two_vectors::<FUSED>(here, &weights, &mut out[at..], step);
        } else {
            one_vector::<FUSED>(here, &weights, &mut out[at..], step);
        }
        at += 2 * LANES;
    }
}

/// Term t of four rows of `len` weights, `stride` apart.
#[inline(always)]
fn of_rows(rows: &[f32], stride: usize, len: usize) -> impl Fn(usize) -> [f32; ROWS] {
    let [a, b, c, d] = [0, 1, 2, 3].map(|r| &rows[r * stride..r * stride + len]);
    move |t| [a[t], b[t], c[t], d[t]]
}

/// Adds whole rows of `stride` values to one row.
#[inline(always)]
fn one_row<const FUSED: bool>(terms: Terms<'_>, weight: impl Fn(usize) -> f32, out: &mut [f32]) {
    let Terms { from, to, v, stride } = terms;
    for t in from..to {
        let w = weight(t);
        for (o, v) in out[..stride].iter_mut().zip(&v[t * stride..(t + 1) * stride]) {
            *o = madd::<FUSED>(w, *v, *o);
        }
    }
}

multiversion_fused! {
    /// `out[i, j] = a_i·b_j` for rows `a [n, stride]` of `terms` values, and `turned [terms, SIDE]`, which holds b's columns. Where
    /// pairs do not count there may be anything; rows are written in fours.
    pub fn products<FUSED>(block: Block, terms: usize, a: &[f32], stride: usize, turned: &[f32], out: &mut [f32]) {
        let all = Terms { from: 0, to: terms, v: turned, stride: SIDE };
        for i in (0..block.n).step_by(ROWS) {
            let width = block.seen(i + ROWS - 1).next_multiple_of(LANES);
            let out = &mut out[i * SIDE..(i + ROWS) * SIDE];
            out.chunks_exact_mut(SIDE).for_each(|row| row[..width].fill(0.0));
            four_rows::<FUSED>(all, of_rows(&a[i * stride..], stride, terms), width, out, SIDE);
        }
    }
}

multiversion_fused! {
    /// `out[i] += Σ_j w[i, j]·v_j` over the keys of query i, for `w [n, SIDE]`, `v [keys, stride]`, `out [n, stride]`. Rows are written
    /// in fours.
    pub fn sums<FUSED>(block: Block, w: &[f32], v: &[f32], stride: usize, out: &mut [f32]) {
        for i in (0..block.n).step_by(ROWS) {
            let (w, out, all) = (&w[i * SIDE..], &mut out[i * stride..], block.seen(i));
            let terms = Terms { from: 0, to: all, v, stride };
            four_rows::<FUSED>(terms, of_rows(w, SIDE, all), stride, out, stride);
            for r in 1..ROWS.min(block.n - i) {
                let rest = Terms { from: all, to: block.seen(i + r), ..terms };
                one_row::<FUSED>(rest, |t| w[r * SIDE + t], &mut out[r * stride..]);
            }
        }
    }
}

multiversion_fused! {
    /// `out[j] += Σ_i w[i, j]·v_i` over the queries that see key j, for `w [n, SIDE]`, `v [n, stride]`, `out [keys, stride]`. Rows are
    /// written in fours.
    pub fn sums_of_keys<FUSED>(block: Block, w: &[f32], v: &[f32], stride: usize, out: &mut [f32]) {
        for j in (0..block.keys).step_by(ROWS) {
            let (w, out) = (&w[j..], &mut out[j * stride..]);
            let all = if block.pairs == Pairs::All { 0 } else { block.n.min(j + ROWS - 1) };
            let terms = Terms { from: all, to: block.n, v, stride };
            for r in 0..ROWS.min(block.keys - j) {
                let rest = Terms { from: all.min(j + r), to: all, ..terms };
                one_row::<FUSED>(rest, |t| w[r + t * SIDE], &mut out[r * stride..]);
            }
            let weights = |t: usize| *w[t * SIDE..].first_chunk().expect("rows of weights are padded");
            four_rows::<FUSED>(terms, weights, stride, out, stride);
        }
    }
}

/// A vector's values brought together as a binary tree: one after the other, each would wait for the last.
#[inline(always)]
pub fn folded(mut values: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            values[l] = join(values[l], values[l + width]);
        }
        width /= 2;
    }
    values[0]
}

/// Fills what a row of scores does not see, up to the next whole vector, and returns how many values it has then.
#[inline(always)]
fn masked(row: &mut [f32], seen: usize) -> usize {
    let whole = seen.next_multiple_of(LANES);
    row[seen..whole].fill(f32::NEG_INFINITY);
    whole
}

multiversion! {
    /// One more block of keys in a softmax under way: scores `s [n, SIDE]` become weights relative to the largest score so far, and
    /// `largest`, `total` and `out [n, stride]` follow.
    pub fn soften(block: Block, s: &mut [f32], largest: &mut [f32], total: &mut [f32], stride: usize, out: &mut [f32]) {
        let (mut tops, mut kept) = ([0.0f32; SIDE], [0.0f32; SIDE]);
        for i in 0..block.n {
            let row = &mut s[i * SIDE..(i + 1) * SIDE];
            let whole = masked(row, block.seen(i));
            let mut best = [largest[i]; LANES];
            for part in row[..whole].as_chunks::<LANES>().0 {
                for l in 0..LANES {
                    best[l] = if part[l] > best[l] { part[l] } else { best[l] };
                }
            }
            tops[i] = folded(best, |a, b| if a > b { a } else { b });
        }
        for ((kept, top), largest) in kept.iter_mut().zip(&tops).zip(largest[..SIDE].iter()) {
            *kept = exp(largest - top);
        }
        for i in 0..block.n {
            let row = &mut s[i * SIDE..][..block.seen(i).next_multiple_of(LANES)];
            let mut sums = [0.0f32; LANES];
            for part in row.as_chunks_mut::<LANES>().0 {
                for l in 0..LANES {
                    part[l] = exp(part[l] - tops[i]);
                    sums[l] += part[l];
                }
            }
            if total[i] > 0.0 && kept[i] < 1.0 {
                out[i * stride..(i + 1) * stride].iter_mut().for_each(|o| *o *= kept[i]);
            }
            largest[i] = tops[i];
            total[i] = total[i] * kept[i] + folded(sums, |a, b| a + b);
        }
    }
}

multiversion! {
    /// Products become weights, `e^(scale·s − log_sum)`, and the gradients of weights those of scores, `w·(g − mean)`.
    pub fn slopes(block: Block, scale: f32, log_sums: &[f32], means: &[f32], s: &mut [f32], g: &mut [f32]) {
        for i in 0..block.n {
            let whole = block.seen(i).next_multiple_of(LANES);
            let (s, g) = (&mut s[i * SIDE..][..whole], &mut g[i * SIDE..][..whole]);
            for (s, g) in s.iter_mut().zip(g) {
                *s = exp(scale * *s - log_sums[i]);
                *g = *s * (*g - means[i]);
            }
        }
    }
}

/// `[keys, terms]` rows, `stride` apart, as columns `[terms, SIDE]`; up to a whole vector the columns past them are 0.
pub fn turn(keys: usize, terms: usize, rows: &[f32], stride: usize, out: &mut [f32]) {
    let whole = keys.next_multiple_of(LANES);
    // A vector of each row at a time: whole columns would meet rows that are a multiple of 1 KiB apart in the same few lines of a cache.
    for (i, out) in out[..terms * SIDE].chunks_mut(LANES * SIDE).enumerate() {
        let width = out.len() / SIDE;
        for j in 0..keys {
            let row = &rows[j * stride + i * LANES..][..width];
            out[j..].iter_mut().step_by(SIDE).zip(row).for_each(|(o, v)| *o = *v);
        }
        out.chunks_exact_mut(SIDE).for_each(|line| line[keys..whole].fill(0.0));
    }
}

/// `[n, terms]` rows, `stride` apart, times `scale`, as rows of `padded` values.
pub fn pack(n: usize, terms: usize, scale: f32, rows: &[f32], stride: usize, padded: usize, out: &mut [f32]) {
    for i in 0..n {
        let (from, to) = (&rows[i * stride..][..terms], &mut out[i * padded..(i + 1) * padded]);
        for (o, v) in to.iter_mut().zip(from) {
            *o = scale * v;
        }
        to[terms..].fill(0.0);
    }
}
