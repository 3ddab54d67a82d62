//! Dot products on the AMX tiles of newer Intel processors: f32 in, three bf16 products out.
//!
//! A value x is split into `hi = bf16(x)` and `lo = bf16(x − hi)`; `x·c` becomes `hi·hi' + hi·lo' + lo·hi'`,
//! summed in f32 by the tiles. bf16 rounds with 2⁻⁹, so `|x − hi − lo| ≤ 2⁻¹⁸|x|` and `|lo| ≤ 2⁻⁹|x|(1 + 2⁻⁹)`; what is
//! left out (`lo·lo'` and the two representation errors) is below `3·2⁻¹⁸·(1 + 2⁻⁸)·Σ|x||c|`. One tile operation adds 16 products in
//! two chains and adds their sum to the accumulator, so a product passes through at most 16 + 1 + T roundings, T
//! the number of tile operations (Intel, *Architecture Instruction Set Extensions*, TDPBF16PS). Three of those at
//! sixteen times the rate of an AVX-512 FMA leave a factor of about five over an f32 GEMM.
//!
//! The instructions are written out because Rust has them on its unstable channel only.

mod split;
mod tiles;

pub use split::SplitRows;
pub use tiles::Tiles;

use crate::compute::bound::gamma;

/// Rows a block and codewords a group: two tiles each way.
pub const SIDE: usize = 32;
/// Dimensions a tile operation covers.
const STEP: usize = 32;
/// Lines of the four tiles (two high, two low) of one step.
const STEP_LINES: usize = 4 * 16;

/// One row of a tile, a cache line: loading a tile whose rows straddle lines takes three times as long.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u16; 32]);

const ZERO: Line = Line([0; 32]);

/// 16 dot products, aligned for the same reason.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Sums([f32; 16]);

/// Room for a block's dot products: `[32, width]`, grown as needed.
#[derive(Debug, Default)]
pub struct Out(Vec<Sums>);

impl Out {
    /// Row `i` of width `width`.
    #[must_use]
    pub fn row(&self, i: usize, width: usize) -> &[f32] {
        flat(&self.0[i * width / 16..(i + 1) * width / 16])
    }
}

/// Sums as plain values.
fn flat(sums: &[Sums]) -> &[f32] {
    // SAFETY: `Sums` is 16 f32 with the alignment of its size, so a slice of it is a slice of f32 without gaps.
    unsafe { std::slice::from_raw_parts(sums.as_ptr().cast(), sums.len() * 16) }
}

/// Whether this process may use the tiles: the processor has them and the kernel grants them. Under Miri the same steps run without
/// them.
#[must_use]
pub fn available() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    {
        use std::sync::OnceLock;
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| {
            use super::isa::{Instructions, Isa};
            if !Instructions::in_force().amx || Isa::detect() != Isa::Avx512 || !is_x86_feature_detected!("avx512bf16")
            {
                return false;
            }
            let leaf = std::arch::x86_64::__cpuid_count(7, 0);
            // Bits 22 and 24 of EDX: AMX-BF16 and AMX-TILE.
            if leaf.edx & (1 << 22) == 0 || leaf.edx & (1 << 24) == 0 {
                return false;
            }
            const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
            const XFEATURE_XTILEDATA: libc::c_long = 18;
            // SAFETY: a system call with integer arguments that touches no memory of ours.
            unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
        })
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    {
        cfg!(miri)
    }
}

/// η of a dot product of `d` terms (see the module's text for the derivation).
#[must_use]
pub fn dot_error(d: usize) -> f64 {
    let operations = 3.0 * d.div_ceil(STEP) as f64;
    3.02 * (0.5f64).powi(18) + 1.01 * gamma(17.0 + operations, (0.5f64).powi(24))
}

fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

fn widen(b: u16) -> f32 {
    f32::from_bits(u32::from(b) << 16)
}

/// A codebook as tiles: group by group of 32 codewords, step by step of 32 dimensions.
#[derive(Clone, Debug)]
pub struct Packed {
    tiles: Vec<Line>,
    steps: usize,
    groups: usize,
}

impl Packed {
    /// Packs `[k, d]` codewords. O(k·d).
    #[must_use]
    pub fn new(codewords: &[f32], d: usize) -> Self {
        let k = codewords.len() / d;
        let (steps, groups) = (d.div_ceil(STEP), k.div_ceil(SIDE));
        let mut tiles = vec![ZERO; groups * steps * STEP_LINES];
        for j in 0..k {
            let (group, column) = (j / SIDE, j % SIDE);
            let (half, n) = (column / 16, column % 16);
            for c in 0..d {
                let value = codewords[j * d + c];
                let hi = bf16(value);
                let lo = bf16(value - widen(hi));
                // Within a tile: pairs of dimensions are rows, codewords are columns.
                let (line, inside) = (c % STEP / 2, 2 * n + c % 2);
                let step = (group * steps + c / STEP) * STEP_LINES;
                tiles[step + half * 16 + line].0[inside] = hi;
                tiles[step + (2 + half) * 16 + line].0[inside] = lo;
            }
        }
        Self { tiles, steps, groups }
    }

    /// Codewords rounded up to whole groups: the width of a row of dot products.
    #[must_use]
    pub fn width(&self) -> usize {
        self.groups * SIDE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_products_stay_within_the_bound() {
        if !available() {
            println!("skipped: no AMX tiles here");
            return;
        }
        let mut random = crate::rng::stream(5, "amx", 0);
        let shapes = [(1, 1, 1), (5, 33, 31), (32, 33, 33), (17, 64, 100), (32, 256, 384)];
        // Miri takes a thousand times as long.
        for (m, k, d) in shapes.into_iter().take(if cfg!(miri) { 2 } else { 5 }) {
            let a: Vec<f32> = (0..m * d).map(|_| random.normal() as f32).collect();
            let b: Vec<f32> = (0..k * d).map(|_| random.normal() as f32).collect();
            let packed = Packed::new(&b, d);
            let mut out = Out::default();
            Tiles::new(d).dots(&a, d, &packed, &mut out);
            let mut again = Out::default();
            Tiles::new(d).dots_split(&SplitRows::new(&a, d), 0, &packed, &mut again);
            for i in 0..m {
                for j in 0..k {
                    let pairs = a[i * d..][..d].iter().zip(&b[j * d..][..d]);
                    let exact: f64 = pairs.clone().map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    let scale: f64 = pairs.map(|(x, y)| (f64::from(*x) * f64::from(*y)).abs()).sum();
                    let found = out.row(i, packed.width())[j];
                    assert_eq!(found.to_bits(), again.row(i, packed.width())[j].to_bits());
                    let error = (f64::from(found) - exact).abs();
                    assert!(error <= dot_error(d) * scale, "{m}×{k}×{d} at {i},{j}: {error} of {scale}");
                }
            }
        }
    }
    /// The tiles stay configured for as long as anything on the thread uses them.
    #[test]
    fn tiles_outlive_others_of_their_thread() {
        if !available() {
            println!("skipped: no AMX tiles here");
            return;
        }
        let (a, packed) = ([1.0f32, 2.0], Packed::new(&[3.0, 4.0], 2));
        let mut first = Tiles::new(2);
        drop(Tiles::new(2));
        let mut out = Out::default();
        first.dots(&a, 2, &packed, &mut out);
        assert_eq!(out.row(0, packed.width())[0], 11.0);
    }
}
