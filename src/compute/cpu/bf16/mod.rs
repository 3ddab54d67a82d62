//! Products of operands rounded to bf16, summed in f32, on processors with AVX-512 BF16 (AMD from Zen 4 on, Intel Cooper Lake and
//! from Sapphire Rapids on): two products an instruction and lane, twice the rate of an f32 FMA at half the bytes.
//!
//! Both operands are packed alike: pairs of neighbouring terms, 16 columns (of the result's rows or columns) a cache line. The
//! right one is packed once and shared by all threads; of the left one, a tile of [`TILE`] rows at a time, which stays in the first
//! cache while the right one's panels stream by. An element is one chain of `⌈k/2⌉` additions of two products in the order of
//! the terms, wherever blocks are cut, so bits depend neither on threads nor on blocks.

#[cfg(any(test, miri, not(target_arch = "x86_64")))]
mod plain;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

#[cfg(any(miri, not(target_arch = "x86_64")))]
use plain as kernels;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86 as kernels;

use super::gemm::Operand;

/// Rows of a tile: with two vectors of columns, 24 of the 32 registers are sums.
pub const TILE: usize = 12;
/// Columns of a panel.
const PANEL: usize = 32;

/// A cache line: a pair of terms of 16 columns.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line([u32; 16]);

const ZERO: Line = Line([0; 16]);

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

/// Whether this processor has the instruction. Under Miri the same steps run without it.
#[must_use]
pub fn available() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use super::isa::Isa;
        Isa::detect() == Isa::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        cfg!(miri)
    }
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
        assert!(b.holds(n, k));
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
    assert!((1..=16).contains(&lanes) && (x.lane == 1 || x.term == 1) && x.holds(first + lanes, k));
    assert!((k.div_ceil(2) - 1) * step < out.len());
    // SAFETY: callers hold `available`; the assertions place every term of every lane inside the values and every line inside `out`,
    // and loads are masked to those terms and lanes.
    unsafe {
        let values = x.values.as_ptr().add(first * x.lane);
        if x.lane == 1 {
            kernels::pack_terms(values, x.term, lanes, k, out, step);
        } else {
            kernels::pack_lanes(values, x.lane, lanes, k, out, step);
        }
    }
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
    assert!(m.checked_mul(n).is_some_and(|len| len <= out.len()));
    if let Start::Row(row) = start {
        assert!(row.len() >= n);
    }
    let pairs = k.div_ceil(2);
    if room.len() < pairs {
        room.resize(pairs, ZERO);
    }
    let result = out.as_mut_ptr();
    for first in (0..m).step_by(TILE) {
        let rows = TILE.min(m - first);
        pack(a, first, rows, k, room, 1);
        for (panel, lines) in b.lines.chunks_exact(pairs * 2).take(n.div_ceil(PANEL)).enumerate() {
            let column = panel * PANEL;
            let width = PANEL.min(n - column);
            // SAFETY: row i < rows of the tile begins at `(first + i)·n + column`, and `width` values from there are inside `out`, as
            // asserted. `result` is the one pointer to `out` in use, so that what is read through it and what is written
            // agree on whose memory it is.
            let target = unsafe { result.add(first * n + column) };
            let (start, stride) = match start {
                Start::Zeros => (std::ptr::null(), 0),
                Start::Out => (target.cast_const(), n),
                Start::Row(row) => (row[column..].as_ptr(), 0),
            };
            // SAFETY: a `Packed` exists only where `available` held. Both packed operands have `pairs` steps; `start + i·stride` is
            // inside what it points into as the target's rows are.
            unsafe {
                kernels::tile(rows, room.as_ptr(), lines.as_ptr(), pairs, alpha, start, stride, target, n, width);
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
        let shapes =
            [(1, 1, 1), (13, 1, 17), (1, 33, 2), (12, 32, 2), (13, 33, 31), (11, 16, 33), (25, 70, 64), (40, 100, 129)];
        // Miri takes a thousand times as long.
        for (m, n, k) in shapes.into_iter().take(if cfg!(miri) { 5 } else { 8 }) {
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
    /// Both ways to pack give the same words, for operands of either arrangement.
    #[test]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn packing_is_that_of_plain_loops() {
        if !available() {
            println!("skipped: no AVX-512 BF16 here");
            return;
        }
        let mut random = crate::rng::stream(7, "bf16 packing", 0);
        for (lanes, k) in [(1usize, 1usize), (1, 40), (3, 2), (15, 31), (16, 32), (16, 33), (9, 77)] {
            let values: Vec<f32> = (0..lanes * k).map(|_| random.normal() as f32).collect();
            let pairs = k.div_ceil(2);
            for x in [Operand::by_lane(&values, k), Operand::by_term(&values, lanes)] {
                let (mut got, mut want) = (vec![ZERO; 2 * pairs], vec![ZERO; 2 * pairs]);
                pack(x, 0, lanes, k, &mut got, 2);
                // SAFETY: the operand holds `lanes` lanes of `k` terms, and there are two lines a pair.
                unsafe {
                    if x.lane == 1 {
                        plain::pack_terms(values.as_ptr(), x.term, lanes, k, &mut want, 2);
                    } else {
                        plain::pack_lanes(values.as_ptr(), x.lane, lanes, k, &mut want, 2);
                    }
                }
                let words = |lines: &[Line]| lines.iter().flat_map(|line| line.0).collect::<Vec<_>>();
                assert_eq!(words(&got), words(&want), "{lanes} lanes of {k} terms, {} apart", x.lane);
            }
        }
    }
}
