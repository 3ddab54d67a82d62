//! Rows as tiles: every value as two bf16.

use super::{Line, SIDE, STEP, STEP_LINES, ZERO, available};
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use super::{bf16, widen};
use rayon::prelude::*;

/// Splits 32 values into high and low parts.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn split_line(values: &[f32; STEP], high: &mut Line, low: &mut Line) {
    use std::arch::x86_64::{
        __m512, __m512i, _mm512_castsi512_ps, _mm512_castsi512_si256, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
        _mm512_extracti64x4_epi64, _mm512_loadu_ps, _mm512_slli_epi32, _mm512_store_si512, _mm512_sub_ps,
    };
    // SAFETY: loads of 16 values each from an array of 32; stores of 64 bytes to lines of 64 aligned bytes; a vector of bf16 is
    // 64 bytes like one of integers.
    unsafe {
        let (a, b): (__m512, __m512) = (_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16)));
        let hi: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(b, a));
        let first = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(hi)), 16);
        let second = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(hi, 1)), 16);
        let rest = (_mm512_sub_ps(a, _mm512_castsi512_ps(first)), _mm512_sub_ps(b, _mm512_castsi512_ps(second)));
        let lo: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(rest.1, rest.0));
        _mm512_store_si512(high.0.as_mut_ptr().cast(), hi);
        _mm512_store_si512(low.0.as_mut_ptr().cast(), lo);
    }
}

/// The same without vector instructions.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn split_line(values: &[f32; STEP], high: &mut Line, low: &mut Line) {
    for (i, value) in values.iter().enumerate() {
        high.0[i] = bf16(*value);
        low.0[i] = bf16(value - widen(high.0[i]));
    }
}

/// Splits up to 32 rows `[m, d]` into tiles: per step two high tiles, two low ones.
///
/// # Safety
/// [`available`] holds.
#[cfg_attr(all(target_arch = "x86_64", not(miri)), target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16"))]
pub(super) unsafe fn split(rows: &[f32], d: usize, tiles: &mut [Line]) {
    for (t, step) in tiles.chunks_exact_mut(STEP_LINES).enumerate() {
        let (high, low) = step.split_at_mut(SIDE);
        let mut each = rows.chunks_exact(d);
        for (high, low) in high.iter_mut().zip(low) {
            // Past the last row and the last dimension there are zeros.
            let rest = each.next().map_or(&[][..], |row| &row[t * STEP..]);
            match rest.first_chunk::<STEP>() {
                Some(values) => split_line(values, high, low),
                None => {
                    let mut padded = [0.0f32; STEP];
                    padded[..rest.len()].copy_from_slice(rest);
                    split_line(&padded, high, low);
                }
            }
        }
    }
}

/// Rows split once, for several passes over them.
#[derive(Debug)]
pub struct SplitRows {
    pub(super) tiles: Vec<Line>,
    pub(super) steps: usize,
}

impl SplitRows {
    /// Splits `[n, d]` rows in parallel; takes as much memory as they do.
    ///
    /// # Panics
    /// If [`available`] is false.
    #[must_use]
    pub fn new(rows: &[f32], d: usize) -> Self {
        assert!(available(), "AMX tiles were asked for on a processor without them");
        let steps = d.div_ceil(STEP);
        let mut tiles = vec![ZERO; (rows.len() / d).div_ceil(SIDE) * steps * STEP_LINES];
        tiles.par_chunks_mut(steps * STEP_LINES).zip(rows.par_chunks(SIDE * d)).for_each(|(tiles, part)| {
            // SAFETY: `available` saw the features.
            unsafe { split(part, d, tiles) }
        });
        Self { tiles, steps }
    }
}
