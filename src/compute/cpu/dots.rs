//! Blocks of dot products between rows and codewords, by whichever engine suits: AMX tiles, a tuned GEMM, or plain
//! vector loops for a few rows.
//!
//! A row's dot products do not depend on which rows stand beside it in a block handed to the same engine.

use super::Codebook;
use super::amx::{self, SplitRows, Tiles};
use super::gemm::{Operand, gemm};
use super::isa::multiversion;
use crate::compute::bound::gamma;

/// Rows below which a GEMM's packing costs more than it saves.
const FEW_ROWS: usize = 8;

/// η of any engine here for `d` terms: any order of summation passes a term through at most d roundings.
#[must_use]
pub fn dot_error(d: usize) -> f64 {
    let plain = gamma(d as f64, (0.5f64).powi(24));
    if amx::available() { plain.max(amx::dot_error(d)) } else { plain }
}

/// One thread's buffers for blocks of dot products with one codebook.
pub struct Engine<'a> {
    codebook: &'a Codebook,
    tiles: Option<Tiles>,
    block: usize,
    out: Vec<f32>,
    tile_out: amx::Out,
}

impl<'a> Engine<'a> {
    /// Allocates buffers for `codebook` on this thread.
    #[must_use]
    pub fn new(codebook: &'a Codebook) -> Self {
        // A block of scores stays in a core's L2.
        let block = if codebook.packed.is_some() {
            amx::SIDE
        } else {
            ((1 << 17) / codebook.k.max(1)).clamp(32, 512).next_multiple_of(8)
        };
        Self { codebook, tiles: None, block, out: Vec::new(), tile_out: amx::Out::default() }
    }

    /// Calls `each(i, dots)` for every row of `rows` `[m, d]`, in order; `dots` holds `w_j·(r·c_j)` for every codeword.
    pub fn for_each(&mut self, rows: &[f32], mut each: impl FnMut(usize, &[f32])) {
        let (d, k) = (self.codebook.d, self.codebook.k);
        let m = rows.len() / d;
        let weighted = self.codebook.weighted();
        if m < FEW_ROWS {
            self.out.resize(k, 0.0);
            for (i, row) in rows.chunks_exact(d).enumerate() {
                row_dots(row, weighted, &mut self.out[..k]);
                each(i, &self.out[..k]);
            }
            return;
        }
        for (b, part) in rows.chunks(self.block * d).enumerate() {
            let count = part.len() / d;
            if let Some(packed) = &self.codebook.packed {
                let tiles = self.tiles.get_or_insert_with(|| Tiles::new(d));
                tiles.dots(part, d, packed, &mut self.tile_out);
                for i in 0..count {
                    each(b * self.block + i, &self.tile_out.row(i, packed.width())[..k]);
                }
            } else {
                self.out.resize(self.block * k, 0.0);
                matmul_nt(part, weighted, d, &mut self.out[..count * k]);
                for (i, dots) in self.out[..count * k].chunks_exact(k).enumerate() {
                    each(b * self.block + i, dots);
                }
            }
        }
    }

    /// The same for rows `first..first + m` that were split before; `first` is a multiple of 32. For codebooks with tiles.
    pub fn for_each_split(&mut self, rows: &SplitRows, first: usize, m: usize, mut each: impl FnMut(usize, &[f32])) {
        let Some(packed) = &self.codebook.packed else { return };
        let tiles = self.tiles.get_or_insert_with(|| Tiles::new(self.codebook.d));
        for start in (0..m).step_by(amx::SIDE) {
            tiles.dots_split(rows, (first + start) / amx::SIDE, packed, &mut self.tile_out);
            for i in 0..amx::SIDE.min(m - start) {
                each(start + i, &self.tile_out.row(i, packed.width())[..self.codebook.k]);
            }
        }
    }
}

/// Terms that are summed before they join the total in [`matmul_nt_blocked`].
const SUM_BLOCK: usize = 64;

/// η of [`matmul_nt_blocked`]: a term passes through the roundings of its block and one for every block.
#[must_use]
pub fn blocked_error(d: usize) -> f64 {
    gamma((d.min(SUM_BLOCK) + d.div_ceil(SUM_BLOCK) + 1) as f64, (0.5f64).powi(24))
}

/// `out [m, k] = a [m, d] · b [k, d]ᵀ` on this thread.
pub fn matmul_nt(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
    matmul(a, b, d, d, out);
}

/// The same, summed in blocks of 64 terms: a little slower, with a bound several times tighter.
pub fn matmul_nt_blocked(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
    matmul(a, b, d, SUM_BLOCK, out);
}

fn matmul(a: &[f32], b: &[f32], d: usize, block: usize, out: &mut [f32]) {
    let (m, k) = (a.len() / d, b.len() / d);
    assert!(a.len() == m * d && b.len() == k * d && out.len() == m * k);
    if out.is_empty() {
        return;
    }
    for start in (0..d).step_by(block) {
        let terms = block.min(d - start);
        // The first block writes `out`, the others add to it.
        let (a, b) = (Operand::by_lane(&a[start..], d), Operand::by_lane(&b[start..], d));
        gemm((m, k, terms), 1.0, start > 0, a, b, out);
    }
}

/// Interleaved sums of a single row's dot products: enough that additions overlap, in one loop that compilers vectorise.
const ROW_LANES: usize = 64;

multiversion! {
    /// `out[j] = row · b_j`, each in 64 interleaved sums that are added as a binary tree.
    pub fn row_dots(row: &[f32], b: &[f32], out: &mut [f32]) {
        let d = row.len();
        let (xs, x_tail) = row.as_chunks::<ROW_LANES>();
        for (o, word) in out.iter_mut().zip(b.chunks_exact(d)) {
            let (ws, w_tail) = word.as_chunks::<ROW_LANES>();
            let mut sums = [0.0f32; ROW_LANES];
            for (x, w) in xs.iter().zip(ws) {
                for l in 0..ROW_LANES {
                    sums[l] += x[l] * w[l];
                }
            }
            for (l, (x, w)) in x_tail.iter().zip(w_tail).enumerate() {
                sums[l] += x * w;
            }
            let mut width = ROW_LANES / 2;
            while width > 0 {
                for l in 0..width {
                    sums[l] += sums[l + width];
                }
                width /= 2;
            }
            *o = sums[0];
        }
    }
}
