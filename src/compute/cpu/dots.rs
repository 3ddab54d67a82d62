//! Blocks of dot products between rows and codewords, by whichever engine suits: AMX tiles, a tuned GEMM, or plain
//! vector loops for a few rows.
//!
//! A row's dot products do not depend on which rows stand beside it in a block handed to the same engine.

use super::Codebook;
use super::amx::{self, Tiles};
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

/// A thread's room for blocks of dot products with one codebook.
pub struct Engine<'a> {
    codebook: &'a Codebook,
    tiles: Option<Tiles>,
    block: usize,
    out: Vec<f32>,
}

impl<'a> Engine<'a> {
    /// Room for `codebook`, on this thread.
    #[must_use]
    pub fn new(codebook: &'a Codebook) -> Self {
        // A block of scores stays in a core's L2.
        let block = if codebook.packed.is_some() {
            amx::SIDE
        } else {
            ((1 << 17) / codebook.k.max(1)).clamp(32, 512).next_multiple_of(8)
        };
        Self { codebook, tiles: None, block, out: Vec::new() }
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
            let width = if let Some(packed) = &self.codebook.packed {
                let tiles = self.tiles.get_or_insert_with(|| Tiles::new(d));
                let width = packed.width();
                self.out.resize(amx::SIDE * width, 0.0);
                tiles.dots(part, d, packed, &mut self.out);
                width
            } else {
                self.out.resize(self.block * k, 0.0);
                matmul_nt(part, weighted, d, &mut self.out[..count * k]);
                k
            };
            for i in 0..count {
                each(b * self.block + i, &self.out[i * width..i * width + k]);
            }
        }
    }
}

/// `out [m, k] = a [m, d] · b [k, d]ᵀ` on this thread.
pub fn matmul_nt(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
    let (m, k) = (a.len() / d, b.len() / d);
    assert!(a.len() == m * d && b.len() == k * d && out.len() == m * k);
    // SAFETY: the pointers and strides describe exactly the slices whose lengths were checked above.
    unsafe {
        gemm::gemm(
            m,
            k,
            d,
            out.as_mut_ptr(),
            1,
            k as isize,
            false,
            a.as_ptr(),
            1,
            d as isize,
            b.as_ptr(),
            d as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

multiversion! {
    /// `out[j] = row · b_j`, in 16 interleaved sums, four codewords at a time so that the additions overlap.
    pub fn row_dots(row: &[f32], b: &[f32], out: &mut [f32]) {
        let d = row.len();
        let whole = d / 16 * 16;
        for (outs, words) in out.chunks_mut(4).zip(b.chunks(4 * d)) {
            if outs.len() == 4 {
                let (w0, rest) = words.split_at(d);
                let (w1, rest) = rest.split_at(d);
                let (w2, w3) = rest.split_at(d);
                let mut sums = [[0.0f32; 16]; 4];
                for c in (0..whole).step_by(16) {
                    for l in 0..16 {
                        let x = row[c + l];
                        sums[0][l] += x * w0[c + l];
                        sums[1][l] += x * w1[c + l];
                        sums[2][l] += x * w2[c + l];
                        sums[3][l] += x * w3[c + l];
                    }
                }
                for (s, w) in [w0, w1, w2, w3].iter().enumerate() {
                    let mut total = 0.0f32;
                    for sum in sums[s] {
                        total += sum;
                    }
                    for c in whole..d {
                        total += row[c] * w[c];
                    }
                    outs[s] = total;
                }
            } else {
                for (o, w) in outs.iter_mut().zip(words.chunks_exact(d)) {
                    let mut sums = [0.0f32; 16];
                    for c in (0..whole).step_by(16) {
                        for l in 0..16 {
                            sums[l] += row[c + l] * w[c + l];
                        }
                    }
                    let mut total = 0.0f32;
                    for s in sums {
                        total += s;
                    }
                    for c in whole..d {
                        total += row[c] * w[c];
                    }
                    *o = total;
                }
            }
        }
    }
}
