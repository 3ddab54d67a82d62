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

use crate::compute::bound::gamma;
use rayon::prelude::*;

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

/// Whether this process may use the tiles: the processor has them and the kernel grants them.
#[must_use]
pub fn available() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        use std::sync::OnceLock;
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| {
            use super::isa::Isa;
            if std::env::var("SEMEME_AMX").as_deref() == Ok("off")
                || Isa::detect() != Isa::Avx512
                || !is_x86_feature_detected!("avx512bf16")
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
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
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
    /// Packs `[k, d]` codewords, each multiplied by its weight. O(k·d).
    #[must_use]
    pub fn new(codewords: &[f32], d: usize, weights: Option<&[f32]>) -> Self {
        let k = codewords.len() / d;
        let (steps, groups) = (d.div_ceil(STEP), k.div_ceil(SIDE));
        let mut tiles = vec![ZERO; groups * steps * STEP_LINES];
        for j in 0..k {
            let (group, column) = (j / SIDE, j % SIDE);
            let (half, n) = (column / 16, column % 16);
            let weight = weights.map_or(1.0, |w| w[j]);
            for c in 0..d {
                let value = codewords[j * d + c] * weight;
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

/// Splits 32 values into high and low parts.
#[cfg(target_arch = "x86_64")]
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

/// Splits up to 32 rows `[m, d]` into tiles: per step two high tiles, two low ones.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn split(rows: &[f32], d: usize, tiles: &mut [Line]) {
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

#[cfg(not(target_arch = "x86_64"))]
unsafe fn split(_rows: &[f32], _d: usize, _tiles: &mut [Line]) {}

/// Rows split once, for several passes over them.
#[derive(Debug)]
pub struct SplitRows {
    tiles: Vec<Line>,
    steps: usize,
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

/// A thread's use of the tiles: configured on creation, released on drop, so that a context switch elsewhere need not
/// save 8 KiB.
pub struct Tiles {
    rows: Vec<Line>,
}

#[repr(C, align(64))]
struct Config([u8; 64]);

impl Tiles {
    /// Configures this thread's tiles.
    ///
    /// # Panics
    /// If [`available`] is false.
    #[must_use]
    pub fn new(d: usize) -> Self {
        assert!(available(), "AMX tiles were asked for on a processor without them");
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = 16;
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        // SAFETY: `available` holds; the configuration is 64 bytes, palette 1, eight tiles of 16 rows × 64 bytes.
        unsafe {
            std::arch::asm!("ldtilecfg [{}]", in(reg) &config, options(nostack));
        }
        let _ = config;
        Self { rows: vec![ZERO; d.div_ceil(STEP) * STEP_LINES] }
    }

    /// `out[i, j] = row_i · codeword_j` for up to 32 rows; `out` becomes `[32, packed.width()]`.
    pub fn dots(&mut self, rows: &[f32], d: usize, packed: &Packed, out: &mut Out) {
        assert!(rows.len() <= SIDE * d && d.div_ceil(STEP) * STEP_LINES == self.rows.len());
        let mut tiles = std::mem::take(&mut self.rows);
        // SAFETY: a value of this type exists only where `available` saw the features.
        unsafe { split(rows, d, &mut tiles) };
        self.multiply(&tiles, packed, out);
        self.rows = tiles;
    }

    /// The same for block `block` of 32 rows that were split before.
    pub fn dots_split(&mut self, rows: &SplitRows, block: usize, packed: &Packed, out: &mut Out) {
        let size = rows.steps * STEP_LINES;
        self.multiply(&rows.tiles[block * size..(block + 1) * size], packed, out);
    }

    fn multiply(&mut self, rows: &[Line], packed: &Packed, out: &mut Out) {
        let width = packed.width();
        assert!(rows.len() == packed.steps * STEP_LINES && packed.steps > 0);
        out.0.resize(SIDE * width / 16, Sums([0.0; 16]));
        for group in 0..packed.groups {
            let b = &packed.tiles[group * packed.steps * STEP_LINES..][..packed.steps * STEP_LINES];
            let out = &mut out.0[group * SIDE / 16..];
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            // SAFETY: the tiles are configured on this thread (self exists and is not Send across the loop); `a` and `b`
            // hold `steps` × 4 tiles of 1 KiB; `out` holds 32 rows of `width` values less the group's offset, and the
            // last store ends at (31·width + 32)·4 bytes, inside it by the assertion above.
            unsafe {
                std::arch::asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{b} + {s}*1]",
                    "tileloadd tmm6, [{a} + {s}*1 + 2048]",
                    "tileloadd tmm5, [{b} + {s}*1 + 1024]",
                    "tileloadd tmm7, [{a} + {s}*1 + 3072]",
                    "tdpbf16ps tmm0, tmm6, tmm4",
                    "tdpbf16ps tmm1, tmm6, tmm5",
                    "tdpbf16ps tmm2, tmm7, tmm4",
                    "tdpbf16ps tmm3, tmm7, tmm5",
                    "tileloadd tmm6, [{a} + {s}*1]",
                    "tileloadd tmm7, [{a} + {s}*1 + 1024]",
                    "tdpbf16ps tmm0, tmm6, tmm4",
                    "tdpbf16ps tmm1, tmm6, tmm5",
                    "tdpbf16ps tmm2, tmm7, tmm4",
                    "tdpbf16ps tmm3, tmm7, tmm5",
                    "tileloadd tmm4, [{b} + {s}*1 + 2048]",
                    "tileloadd tmm5, [{b} + {s}*1 + 3072]",
                    "tdpbf16ps tmm0, tmm6, tmm4",
                    "tdpbf16ps tmm1, tmm6, tmm5",
                    "tdpbf16ps tmm2, tmm7, tmm4",
                    "tdpbf16ps tmm3, tmm7, tmm5",
                    "add {a}, 4096",
                    "add {b}, 4096",
                    "dec {n}",
                    "jnz 2b",
                    "tilestored [{o} + {w}*1], tmm0",
                    "tilestored [{o} + {w}*1 + 64], tmm1",
                    "tilestored [{lower} + {w}*1], tmm2",
                    "tilestored [{lower} + {w}*1 + 64], tmm3",
                    a = inout(reg) rows.as_ptr() => _,
                    b = inout(reg) b.as_ptr() => _,
                    n = inout(reg) packed.steps => _,
                    s = in(reg) 64usize,
                    o = in(reg) out.as_mut_ptr(),
                    lower = in(reg) out.as_mut_ptr().add(width),
                    w = in(reg) width * 4,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
            #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
            let _ = (rows, b, out);
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        // SAFETY: `new` configured the tiles of this thread.
        unsafe {
            std::arch::asm!("tilerelease", options(nostack));
        }
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
        for (m, k, d) in [(1, 1, 1), (32, 33, 31), (17, 64, 100), (32, 256, 384)] {
            let a: Vec<f32> = (0..m * d).map(|_| random.normal() as f32).collect();
            let b: Vec<f32> = (0..k * d).map(|_| random.normal() as f32).collect();
            let packed = Packed::new(&b, d, None);
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
}
