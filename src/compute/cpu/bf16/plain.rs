//! The same steps without vector instructions: what Miri runs, and what the packing is compared with.

use super::Line;

/// Rounded to nearest, ties to even; NaN stays NaN.
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() { (bits >> 16) | 0x40 } else { (bits + 0x7fff + ((bits >> 16) & 1)) >> 16 }
}

#[cfg(any(miri, not(target_arch = "x86_64")))]
fn widen(half: u32) -> f32 {
    f32::from_bits(half << 16)
}

/// Lanes lie side by side, terms `term` apart.
///
/// # Safety
/// `x` reaches `lanes` ≤ 16 values of each of `k` terms.
pub unsafe fn pack_terms(x: *const f32, term: usize, lanes: usize, k: usize, out: &mut [Line], step: usize) {
    // SAFETY: the caller's promise, passed on.
    unsafe { pack(x, 1, term, lanes, k, out, step) }
}

/// Terms lie side by side, lanes `lane` apart.
///
/// # Safety
/// `x` reaches `k` terms of each of `lanes` ≤ 16 lanes.
pub unsafe fn pack_lanes(x: *const f32, lane: usize, lanes: usize, k: usize, out: &mut [Line], step: usize) {
    // SAFETY: the caller's promise, passed on.
    unsafe { pack(x, lane, 1, lanes, k, out, step) }
}

unsafe fn pack(x: *const f32, lane: usize, term: usize, lanes: usize, k: usize, out: &mut [Line], step: usize) {
    // SAFETY: lanes and terms below those that the caller promises.
    let get = |i: usize, t: usize| if t < k { round(unsafe { *x.add(i * lane + t * term) }) } else { 0 };
    for t in 0..k.div_ceil(2) {
        let line = &mut out[t * step].0;
        line.fill(0);
        for (i, pair) in line.iter_mut().enumerate().take(lanes) {
            *pair = get(i, 2 * t) | get(i, 2 * t + 1) << 16;
        }
    }
}

/// One tile of the result, of `rows` ≤ 12 rows and `width` ≤ 32 columns.
///
/// # Safety
/// `a` has `pairs` lines, `b` twice as many; `width` values from `i·n` on are inside `out`, and from `i·stride` on inside
/// `start`, unless it is null, for every row i.
#[cfg(any(miri, not(target_arch = "x86_64")))]
#[allow(clippy::too_many_arguments)]
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
    for i in 0..rows {
        for j in 0..width {
            let mut sum = 0.0f32;
            for t in 0..pairs {
                // SAFETY: as the caller promises.
                let (left, right) = unsafe { ((*a.add(t)).0[i], (*b.add(2 * t + j / 16)).0[j % 16]) };
                sum += widen(left & 0xffff) * widen(right & 0xffff) + widen(left >> 16) * widen(right >> 16);
            }
            // SAFETY: as the caller promises.
            unsafe {
                let before = if start.is_null() { 0.0 } else { *start.add(i * stride + j) };
                *out.add(i * n + j) = alpha * sum + before;
            }
        }
    }
}
