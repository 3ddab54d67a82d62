//! Packing and tiles by AVX-512 BF16.

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
