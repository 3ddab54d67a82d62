//! The tiles of a thread, and products on them.

use super::split::split;
use super::{Line, Out, Packed, SIDE, STEP, STEP_LINES, SplitRows, Sums, ZERO, available};
use std::cell::Cell;
use std::marker::PhantomData;

/// A thread's use of the tiles: configured on creation, released on drop, so that a context switch elsewhere need not
/// save 8 KiB.
/// The configuration belongs to the thread, so a value stays on the thread that made it.
pub struct Tiles {
    rows: Vec<Line>,
    /// Neither `Send` nor `Sync`.
    thread: PhantomData<*mut ()>,
}

thread_local! {
    /// Values alive on this thread: the first configures the tiles, and the last one's drop releases them.
    static ALIVE: Cell<usize> = const { Cell::new(0) };
}

/// Palette 1, eight tiles of 16 rows of 64 bytes.
fn configure() {
    #[repr(C, align(64))]
    struct Config([u8; 64]);
    let mut config = Config([0; 64]);
    config.0[0] = 1;
    for tile in 0..8 {
        config.0[16 + 2 * tile] = 64;
        config.0[48 + tile] = 16;
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    // SAFETY: called by `Tiles::new` only, after `available` held; the configuration is 64 bytes as the processor wants them.
    unsafe {
        std::arch::asm!("ldtilecfg [{}]", in(reg) &config, options(nostack));
    }
    let _ = config;
}

impl Tiles {
    /// Configures this thread's tiles.
    ///
    /// # Panics
    /// If [`available`] is false.
    #[must_use]
    pub fn new(d: usize) -> Self {
        assert!(available(), "AMX tiles were asked for on a processor without them");
        let alive = ALIVE.get();
        if alive == 0 {
            configure();
        }
        ALIVE.set(alive + 1);
        Self { rows: vec![ZERO; d.div_ceil(STEP) * STEP_LINES], thread: PhantomData }
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
        let (width, size) = (packed.width(), packed.steps * STEP_LINES);
        assert!(rows.len() == size && size > 0);
        out.0.resize(SIDE * width / 16, Sums([0.0; 16]));
        for (group, b) in packed.tiles.chunks_exact(size).enumerate().take(packed.groups) {
            let out = &mut out.0[group * SIDE / 16..];
            // SAFETY: the tiles are configured on this thread, since a `Tiles` exists and never leaves it; both operands hold `steps`
            // × 4 tiles of 1 KiB, as asserted; `out` holds 32 rows of `width` values less the group's offset, and the
            // last store ends `31·width + 32` values in, inside it.
            unsafe { multiply(rows.as_ptr(), b.as_ptr(), packed.steps, out.as_mut_ptr(), width) }
        }
    }
}

/// `out` = 32 rows times 32 codewords; both have `steps` × 4 tiles, and a row of `out` is `width` values long.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
unsafe fn multiply(a: *const Line, b: *const Line, steps: usize, out: *mut Sums, width: usize) {
    // SAFETY: as the caller promises.
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
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            n = inout(reg) steps => _,
            s = in(reg) 64usize,
            o = in(reg) out,
            lower = in(reg) out.add(width),
            w = in(reg) width * 4,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// The same addresses without tiles: what Miri runs. Elsewhere no [`Tiles`] exists.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
unsafe fn multiply(a: *const Line, b: *const Line, steps: usize, out: *mut Sums, width: usize) {
    use super::widen;
    for i in 0..SIDE {
        for j in 0..SIDE {
            let mut sum = 0.0f32;
            for (t, pair) in (0..steps).flat_map(|t| (0..STEP / 2).map(move |pair| (t, pair))) {
                // SAFETY: as the caller promises: per step 32 lines of high parts and 32 of low ones.
                let (x, y) = unsafe {
                    let (rows, words) = (a.add(t * STEP_LINES + i), b.add(t * STEP_LINES + j / 16 * 16 + pair));
                    ([&*rows, &*rows.add(SIDE)], [&*words, &*words.add(SIDE)])
                };
                for q in 0..2 {
                    let x = x.map(|line| widen(line.0[2 * pair + q]));
                    let y = y.map(|line| widen(line.0[2 * (j % 16) + q]));
                    sum += x[0] * y[0] + x[0] * y[1] + x[1] * y[0];
                }
            }
            // SAFETY: as the caller promises.
            unsafe { *out.cast::<f32>().add(i * width + j) = sum };
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        let left = ALIVE.get() - 1;
        ALIVE.set(left);
        #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
        if left == 0 {
            // SAFETY: `new` configured the tiles of this thread, and nothing on it uses them any more.
            unsafe {
                std::arch::asm!("tilerelease", options(nostack));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tiles;

    /// Two candidates for a type that is `Send`, one for others: only those compile below.
    trait StaysHere<A> {
        fn checked() {}
    }
    impl<T: ?Sized> StaysHere<()> for T {}
    impl<T: ?Sized + Send> StaysHere<u8> for T {}

    const _: fn() = <Tiles as StaysHere<_>>::checked;
}
