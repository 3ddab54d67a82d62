//! Products of operands rounded to bf16, summed in f32, on processors with AVX-512 BF16 (AMD from Zen 4 on, Intel Cooper Lake and
//! from Sapphire Rapids on): two products an instruction and lane, twice the rate of an f32 FMA at half the bytes.
//!
//! Both operands are packed alike: pairs of neighbouring terms, 16 columns (of the result's rows or columns) a cache line. The
//! right one is packed once and shared by all threads; of the left one, a tile of [`TILE`] rows at a time, which stays in the first
//! cache while the right one's panels stream by. An element is one chain of `⌈k/2⌉` additions of two products in the order of
//! the terms, wherever blocks are cut, so bits depend neither on threads nor on blocks.

use super::isa::Isa;

/// Rows of a tile: with two vectors of columns, 24 of the 32 registers are sums.
pub const TILE: usize = 12;
/// Columns of a panel.
const PANEL: usize = 32;

/// A cache line: a pair of terms of 16 columns.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line([u32; 16]);

const ZERO: Line = Line([0; 16]);

/// One operand as pointer arithmetic sees it: values, and strides between the result's rows (or columns) and between terms. One of
/// the strides is 1.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The matrix.
    pub values: &'a [f32],
    /// From one row (column) of the result to the next.
    pub lane: usize,
    /// From one term to the next.
    pub term: usize,
}

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Nothing.
    Zeros,
    /// What is there.
    Out,
    /// The same row everywhere.
    Row(&'a [f32]),
}

/// Whether this processor has the instruction.
#[must_use]
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        Isa::detect() == Isa::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A right operand `[k, n]`, packed.
#[derive(Debug)]
pub struct Packed {
    lines: Vec<Line>,
    n: usize,
    k: usize,
}

impl Packed {
    /// Packs n columns of k terms into `lines`, which grow as needed. O(n·k).
    ///
    /// # Panics
    /// If [`available`] is false, or the operand reaches past its values.
    #[must_use]
    pub fn new(b: Operand<'_>, n: usize, k: usize, mut lines: Vec<Line>) -> Self {
        use rayon::prelude::*;
        assert!(available(), "bf16 products were asked for on a processor without them");
        assert!(n > 0 && k > 0 && (n - 1) * b.lane + (k - 1) * b.term < b.values.len());
        let pairs = k.div_ceil(2);
        // What lies past the last column is never stored, so that it need not be cleared; lines of larger operands stay for those.
        let needed = n.div_ceil(PANEL) * pairs * 2;
        if lines.len() < needed {
            lines.resize(needed, ZERO);
        }
        lines[..needed].par_chunks_mut(pairs * 2).enumerate().with_min_len((1 << 14) / (pairs * PANEL) + 1).for_each(
            |(panel, lines)| {
                for half in 0..2 {
                    let first = panel * PANEL + half * 16;
                    if first < n {
                        pack(b, first, (n - first).min(16), k, &mut lines[half..], 2);
                    }
                }
            },
        );
        Self { lines, n, k }
    }

    /// The lines, for the next operand.
    #[must_use]
    pub fn into_lines(self) -> Vec<Line> {
        self.lines
    }
}

/// Packs `lanes` ≤ 16 rows or columns from `first` on: pair t goes to line `t·step`.
fn pack(x: Operand<'_>, first: usize, lanes: usize, k: usize, out: &mut [Line], step: usize) {
    assert!((1..=16).contains(&lanes) && k > 0 && (k.div_ceil(2) - 1) * step < out.len());
    assert!((first + lanes - 1) * x.lane + (k - 1) * x.term < x.values.len());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: callers hold `available`; the assertions place every term of every lane inside the values and every line inside `out`,
    // and loads are masked to those terms and lanes.
    unsafe {
        let values = x.values.as_ptr().add(first * x.lane);
        if x.lane == 1 {
            x86::pack_terms(values, x.term, lanes, k, out, step);
        } else {
            x86::pack_lanes(values, x.lane, lanes, k, out, step);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = out;
}

/// `out [m, n] = start + alpha·a·b` on this thread; `room` is scratch.
///
/// # Panics
/// If the left operand or `out` does not fit `m` rows.
pub fn multiply(
    m: usize,
    alpha: f32,
    a: Operand<'_>,
    b: &Packed,
    start: Start<'_>,
    out: &mut [f32],
    room: &mut Vec<Line>,
) {
    let (n, k) = (b.n, b.k);
    assert!(out.len() >= m * n);
    if let Start::Row(row) = start {
        assert!(row.len() >= n);
    }
    let pairs = k.div_ceil(2);
    if room.len() < pairs {
        room.resize(pairs, ZERO);
    }
    for first in (0..m).step_by(TILE) {
        let rows = TILE.min(m - first);
        pack(a, first, rows, k, room, 1);
        for (panel, lines) in b.lines.chunks_exact(pairs * 2).take(n.div_ceil(PANEL)).enumerate() {
            let column = panel * PANEL;
            let width = PANEL.min(n - column);
            let at = first * n + column;
            let (start, stride) = match start {
                Start::Zeros => (std::ptr::null(), 0),
                Start::Out => (out[at..].as_ptr(), n),
                Start::Row(row) => (row[column..].as_ptr(), 0),
            };
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Packed` exists only where `available` held. Both packed operands have `pairs` steps; row i < rows of the
            // result begins at `at + i·n`, and `width` values from there are inside `out`, as `start + i·stride` is inside what it
            // points into.
            unsafe {
                let target = out[at..].as_mut_ptr();
                x86::tile(rows, room.as_ptr(), lines.as_ptr(), pairs, alpha, start, stride, target, n, width);
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = (start, stride, width, lines, alpha);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Line;
    use std::arch::x86_64::*;

    /// A pair of terms a lane from two vectors of terms: (lo, hi) of lane i side by side.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn interleave(lo: __m512, hi: __m512) -> __m512i {
        // SAFETY: a vector of 32 bf16 is 64 bytes, as one of integers is.
        let both: __m512i = unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(hi, lo)) };
        let places: [u16; 32] = std::array::from_fn(|i| (i / 2 + 16 * (i % 2)) as u16);
        // SAFETY: 64 bytes are read from an array of 64.
        let places = unsafe { _mm512_loadu_si512(places.as_ptr().cast()) };
        _mm512_permutexvar_epi16(places, both)
    }

    /// Lanes lie side by side, terms `term` apart.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn pack_terms(x: *const f32, term: usize, lanes: usize, k: usize, out: &mut [Line], step: usize) {
        let mask = (0xffffu32 >> (16 - lanes)) as __mmask16;
        for t in 0..k.div_ceil(2) {
            // SAFETY: the mask keeps loads to `lanes` values of terms below k.
            let (lo, hi) = unsafe {
                let lo = _mm512_maskz_loadu_ps(mask, x.add(2 * t * term));
                let odd = if 2 * t + 1 < k { mask } else { 0 };
                (lo, _mm512_maskz_loadu_ps(odd, x.wrapping_add((2 * t + 1) * term)))
            };
            // SAFETY: a line is 64 aligned bytes.
            unsafe { _mm512_store_si512(out[t * step].0.as_mut_ptr().cast(), interleave(lo, hi)) };
        }
    }

    /// Terms lie side by side, lanes `lane` apart.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn pack_lanes(x: *const f32, lane: usize, lanes: usize, k: usize, out: &mut [Line], step: usize) {
        for term in (0..k).step_by(32) {
            let left = (k - term).min(32);
            let mask = if left == 32 { u32::MAX } else { (1 << left) - 1 };
            let mut rows = [_mm512_setzero_si512(); 16];
            for (i, row) in rows.iter_mut().enumerate().take(lanes) {
                let from = x.wrapping_add(i * lane + term);
                // SAFETY: masks keep loads to the lane's terms; a vector of 32 bf16 is 64 bytes, as one of integers is.
                *row = unsafe {
                    let lo = _mm512_maskz_loadu_ps(mask as __mmask16, from);
                    let hi = _mm512_maskz_loadu_ps((mask >> 16) as __mmask16, from.wrapping_add(16));
                    std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(hi, lo))
                };
            }
            let columns = transpose(&rows);
            let pairs = left.div_ceil(2);
            for (line, column) in out[term / 2 * step..].iter_mut().step_by(step).zip(&columns[..pairs]) {
                // SAFETY: a line is 64 aligned bytes.
                unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), *column) };
            }
        }
    }

    /// 16 × 16 words, columns for rows.
    #[target_feature(enable = "avx512f")]
    fn transpose(r: &[__m512i; 16]) -> [__m512i; 16] {
        let zero = _mm512_setzero_si512();
        let (mut a, mut b) = ([zero; 16], [zero; 16]);
        for i in 0..8 {
            a[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            a[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        // b[4q + c]: column 4·(128-bit lane) + c of rows 4q to 4q + 3.
        for q in 0..4 {
            b[4 * q] = _mm512_unpacklo_epi64(a[4 * q], a[4 * q + 2]);
            b[4 * q + 1] = _mm512_unpackhi_epi64(a[4 * q], a[4 * q + 2]);
            b[4 * q + 2] = _mm512_unpacklo_epi64(a[4 * q + 1], a[4 * q + 3]);
            b[4 * q + 3] = _mm512_unpackhi_epi64(a[4 * q + 1], a[4 * q + 3]);
        }
        let mut out = [zero; 16];
        for c in 0..4 {
            let (low, high) = (
                (_mm512_shuffle_i32x4::<0x88>(b[c], b[4 + c]), _mm512_shuffle_i32x4::<0xdd>(b[c], b[4 + c])),
                (_mm512_shuffle_i32x4::<0x88>(b[8 + c], b[12 + c]), _mm512_shuffle_i32x4::<0xdd>(b[8 + c], b[12 + c])),
            );
            // Of each pair: 128-bit lanes 0, 2 of both (then 1, 3).
            out[c] = _mm512_shuffle_i32x4::<0x88>(low.0, high.0);
            out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(low.0, high.0);
            out[4 + c] = _mm512_shuffle_i32x4::<0x88>(low.1, high.1);
            out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(low.1, high.1);
        }
        out
    }

    /// One tile of the result, of `rows` ≤ 12 rows and `width` ≤ 32 columns.
    #[allow(clippy::too_many_arguments)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn tile(
        rows: usize,
        a: *const Line,
        b: *const Line,
        pairs: usize,
        alpha: f32,
        start: *const f32,
        stride: usize,
        out: *mut f32,
        n: usize,
        width: usize,
    ) {
        macro_rules! of {
            ($($m:literal)*) => {
                match rows {
                    // SAFETY: the caller's promises, passed on.
                    $($m => unsafe { sums::<$m>(a, b, pairs, alpha, start, stride, out, n, width) },)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        of!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    #[allow(clippy::too_many_arguments)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn sums<const M: usize>(
        a: *const Line,
        b: *const Line,
        pairs: usize,
        alpha: f32,
        start: *const f32,
        stride: usize,
        out: *mut f32,
        n: usize,
        width: usize,
    ) {
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        for t in 0..pairs {
            // SAFETY: `a` has `pairs` lines, `b` twice as many; a vector of 32 bf16 is 64 bytes, as one of integers is.
            unsafe {
                let left = a.add(t).cast::<i32>();
                let b0: __m512bh = std::mem::transmute(_mm512_load_si512(b.add(2 * t).cast()));
                let b1: __m512bh = std::mem::transmute(_mm512_load_si512(b.add(2 * t + 1).cast()));
                for (i, [s0, s1]) in sums.iter_mut().enumerate() {
                    let pair: __m512bh = std::mem::transmute(_mm512_set1_epi32(*left.add(i)));
                    *s0 = _mm512_dpbf16_ps(*s0, pair, b0);
                    *s1 = _mm512_dpbf16_ps(*s1, pair, b1);
                }
            }
        }
        let mask = ((1u64 << width) - 1) as u32;
        let alpha = _mm512_set1_ps(alpha);
        for (i, halves) in sums.iter().enumerate() {
            for (half, sum) in halves.iter().enumerate() {
                let mask = (mask >> (16 * half)) as __mmask16;
                // SAFETY: masked to the tile's columns, which the caller places inside `start` and `out`.
                unsafe {
                    let target = out.wrapping_add(i * n + 16 * half);
                    let before = if start.is_null() {
                        _mm512_setzero_ps()
                    } else {
                        _mm512_maskz_loadu_ps(mask, start.wrapping_add(i * stride + 16 * half))
                    };
                    _mm512_mask_storeu_ps(target, mask, _mm512_fmadd_ps(alpha, *sum, before));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounded to nearest, ties to even, as the instruction does.
    fn round(x: f32) -> f64 {
        let bits = x.to_bits();
        f64::from(f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000))
    }

    #[test]
    fn products_are_those_of_rounded_operands() {
        if !available() {
            println!("skipped: no AVX-512 BF16 here");
            return;
        }
        let mut random = crate::rng::stream(6, "bf16", 0);
        for (m, n, k) in [(1, 1, 1), (12, 32, 2), (13, 33, 31), (11, 16, 33), (25, 70, 64), (40, 100, 129)] {
            let a: Vec<f32> = (0..m * k).map(|_| random.normal() as f32).collect();
            let b: Vec<f32> = (0..n * k).map(|_| random.normal() as f32).collect();
            let row: Vec<f32> = (0..n).map(|_| random.normal() as f32).collect();
            for (a_lane, b_lane) in [(k, k), (k, 1), (1, 1), (1, k)] {
                let left = Operand { values: &a, lane: a_lane, term: if a_lane == 1 { m } else { 1 } };
                let right = Operand { values: &b, lane: b_lane, term: if b_lane == 1 { n } else { 1 } };
                let packed = Packed::new(right, n, k, vec![Line([0x7fc0_7fc0; 16]); 3]);
                for (start, alpha) in [(Start::Zeros, 1.0f32), (Start::Out, 0.5), (Start::Row(&row), -2.0)] {
                    let mut out = vec![0.25f32; m * n];
                    multiply(m, alpha, left, &packed, start, &mut out, &mut Vec::new());
                    for i in 0..m {
                        for j in 0..n {
                            let terms = (0..k).map(|t| {
                                let x = a[i * left.lane + t * left.term];
                                round(x) * round(b[j * right.lane + t * right.term])
                            });
                            let (sum, scale) = terms.fold((0.0, 0.0), |(s, a), x| (s + x, a + f64::abs(x)));
                            let before = match start {
                                Start::Zeros => 0.0,
                                Start::Out => 0.25,
                                Start::Row(row) => f64::from(row[j]),
                            };
                            let want = before + f64::from(alpha) * sum;
                            let bound = 1e-6 + (k as f64 + 2.0) * 2f64.powi(-24) * 2.0 * scale;
                            let error = (f64::from(out[i * n + j]) - want).abs();
                            assert!(error <= bound, "{m}×{n}×{k} at {i},{j}: off by {error}, bound {bound}");
                        }
                    }
                }
            }
        }
    }
}
