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

/// Rows a block and codewords a group: two tiles each way.
pub const SIDE: usize = 32;
/// Dimensions a tile operation covers.
const STEP: usize = 32;
/// `u16` values of the four tiles (two high, two low) of one step.
const STEP_VALUES: usize = 4 * 16 * 32;

/// Whether this process may use the tiles: the processor has them and the kernel grants them.
#[must_use]
pub fn available() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        use std::sync::OnceLock;
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| {
            use super::isa::Isa;
            if std::env::var("SEMEME_AMX").as_deref() == Ok("off") || Isa::detect() != Isa::Avx512 {
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
    tiles: Vec<u16>,
    steps: usize,
    groups: usize,
}

impl Packed {
    /// Packs `[k, d]` codewords, each multiplied by its weight. O(k·d).
    #[must_use]
    pub fn new(codewords: &[f32], d: usize, weights: Option<&[f32]>) -> Self {
        let k = codewords.len() / d;
        let (steps, groups) = (d.div_ceil(STEP), k.div_ceil(SIDE));
        let mut tiles = vec![0u16; groups * steps * STEP_VALUES];
        for j in 0..k {
            let (group, column) = (j / SIDE, j % SIDE);
            let (half, n) = (column / 16, column % 16);
            let weight = weights.map_or(1.0, |w| w[j]);
            for c in 0..d {
                let value = codewords[j * d + c] * weight;
                let hi = bf16(value);
                let lo = bf16(value - widen(hi));
                // Within a tile: pairs of dimensions are rows, codewords are columns.
                let inside = (c % STEP / 2) * 32 + 2 * n + c % 2;
                let step = (group * steps + c / STEP) * STEP_VALUES;
                tiles[step + half * 512 + inside] = hi;
                tiles[step + (2 + half) * 512 + inside] = lo;
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

super::isa::multiversion! {
    /// Splits up to 32 rows `[m, d]` into tiles: per step two high tiles, two low ones.
    fn split(rows: &[f32], d: usize, tiles: &mut [u16]) {
        let m = rows.len() / d;
        for r in 0..SIDE {
            let (half, inside) = (r / 16, (r % 16) * 32);
            for (t, tile) in tiles.chunks_exact_mut(STEP_VALUES).enumerate() {
                let (high, low) = tile.split_at_mut(1024);
                let high: &mut [u16; 32] = (&mut high[half * 512 + inside..][..32]).try_into().expect("32 values");
                let low: &mut [u16; 32] = (&mut low[half * 512 + inside..][..32]).try_into().expect("32 values");
                let rest = if r < m { &rows[r * d + t * STEP..(r + 1) * d] } else { &[][..] };
                let mut padded = [0.0f32; STEP];
                let values = match rest.first_chunk::<STEP>() {
                    Some(whole) => whole,
                    None => {
                        for (p, v) in padded.iter_mut().zip(rest) {
                            *p = *v;
                        }
                        &padded
                    }
                };
                for i in 0..32 {
                    let bits = values[i].to_bits();
                    let hi = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
                    high[i] = hi as u16;
                    let rest = (values[i] - f32::from_bits(hi << 16)).to_bits();
                    low[i] = (rest.wrapping_add(0x7fff + ((rest >> 16) & 1)) >> 16) as u16;
                }
            }
        }
    }
}

/// A thread's use of the tiles: configured on creation, released on drop, so that a context switch elsewhere need not
/// save 8 KiB.
pub struct Tiles {
    rows: Vec<u16>,
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
        Self { rows: vec![0; d.div_ceil(STEP) * STEP_VALUES] }
    }

    /// `out[i, j] = row_i · codeword_j` for up to 32 rows; `out` is `[32, packed.width()]`.
    pub fn dots(&mut self, rows: &[f32], d: usize, packed: &Packed, out: &mut [f32]) {
        let width = packed.width();
        assert!(rows.len() <= SIDE * d && out.len() >= SIDE * width && packed.steps * STEP_VALUES == self.rows.len());
        split(rows, d, &mut self.rows);
        for group in 0..packed.groups {
            let b = &packed.tiles[group * packed.steps * STEP_VALUES..][..packed.steps * STEP_VALUES];
            let out = &mut out[group * SIDE..];
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
                    a = inout(reg) self.rows.as_ptr() => _,
                    b = inout(reg) b.as_ptr() => _,
                    n = inout(reg) packed.steps => _,
                    s = in(reg) 64usize,
                    o = in(reg) out.as_mut_ptr(),
                    lower = in(reg) out.as_mut_ptr().add(16 * width),
                    w = in(reg) width * 4,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
            #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
            let _ = (b, out);
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
            let mut out = vec![f32::NAN; SIDE * packed.width()];
            Tiles::new(d).dots(&a, d, &packed, &mut out);
            for i in 0..m {
                for j in 0..k {
                    let pairs = a[i * d..][..d].iter().zip(&b[j * d..][..d]);
                    let exact: f64 = pairs.clone().map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    let scale: f64 = pairs.map(|(x, y)| (f64::from(*x) * f64::from(*y)).abs()).sum();
                    let error = (f64::from(out[i * packed.width() + j]) - exact).abs();
                    assert!(error <= dot_error(d) * scale, "{m}×{k}×{d} at {i},{j}: {error} of {scale}");
                }
            }
        }
    }
}
