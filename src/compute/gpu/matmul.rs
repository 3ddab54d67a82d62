//! `matmul`: which tile, loads and pieces a product takes.

use super::Gpu;
use super::elementwise::{elementwise, fits, kind};
use super::kernel::{Id, PRODUCTS};
use super::record::{Launch, whole};
use super::sizes::{byte_size, words};
use super::tensor::Tensor;
use crate::compute::params;
use crate::compute::tensor::{Activation, Layout, Part, Precision, Product, Tensors as _};
use crate::error::{Error, Result};
use bytemuck::bytes_of;

/// Workgroups that keep a large device busy. With fewer, tiles become smaller and long sums are cut into pieces.
const BUSY: usize = 128;
/// Terms that a piece of a cut sum has at least.
const PIECE: usize = 128;
/// Terms of one sum at most: its loop stays below 65,535 steps of 16.
const LONGEST: usize = 1 << 19;

/// What to multiply and what follows.
pub(super) struct Multiply<'a> {
    pub product: Product,
    pub precision: Precision,
    pub a: Part<'a, Tensor>,
    pub b: Part<'a, Tensor>,
    pub out: &'a Tensor,
    pub at: usize,
    pub bias: Option<Part<'a, Tensor>>,
    pub post: Option<(Activation, &'a Tensor)>,
}

/// How a product is cut. It depends on sizes alone, so the same product has the same bits everywhere on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    tile: usize,
    row_tiles: usize,
    column_tiles: usize,
    piece: usize,
    pieces: usize,
}

impl Cut {
    fn new(m: usize, n: usize, k: usize, whole_sums: bool) -> Self {
        let tiles = |side: usize| (m.div_ceil(side), n.div_ceil(side));
        let count = |side: usize| tiles(side).0.saturating_mul(tiles(side).1);
        let tile = if count(128) >= 2 * BUSY { 2 } else { usize::from(count(64) >= BUSY) };
        let side = PRODUCTS[tile].get("BM") as usize;
        let wanted = if whole_sums { 1 } else { BUSY.div_ceil(count(side).max(1)).min(k / PIECE) };
        let wanted = wanted.max(k.div_ceil(LONGEST)).max(1);
        let piece = k.div_ceil(wanted).max(1).next_multiple_of(32);
        let (row_tiles, column_tiles) = tiles(side);
        Self { tile, row_tiles, column_tiles, piece, pieces: k.div_ceil(piece).max(1) }
    }
}

impl Gpu {
    /// Records a product.
    pub(super) fn record_product(&self, op: &Multiply<'_>) -> Result<()> {
        let Product { layout, m, n, k, alpha, accumulate } = op.product;
        if !self.offers(op.precision) {
            let problem = format!("`{}` has no {} products; use f32", self.core.info.name, op.precision);
            return Err(Error::Device(problem));
        }
        let size = |rows: usize, columns: usize| rows.saturating_mul(columns);
        let a = fits("a", op.a.tensor, op.a.offset, size(m, k))?;
        let b = fits("b", op.b.tensor, op.b.offset, size(n, k))?;
        let at = fits("out", op.out, op.at, size(m, n))?;
        let bias = op.bias.map_or(Ok(0), |part| fits("bias", part.tensor, part.offset, n))?;
        if let Some((_, post)) = op.post {
            fits("post", post, op.at, size(m, n))?;
        }
        if m == 0 || n == 0 {
            return Ok(());
        }
        let linear = op.bias.is_some() || op.post.is_some();
        let cut = Cut::new(m, n, k, linear);
        if linear && cut.pieces > 1 {
            return Err(Error::Data(format!("a linear layer takes up to {LONGEST} inputs, got {k}")));
        }
        // Bits: values of `a`, of `b` lie along the lines of the result.
        let along = match layout {
            Layout::Nt => 0,
            Layout::Nn => 2,
            Layout::Tn => 3,
        };
        let rows = [if along & 1 == 0 { k } else { m }, if along & 2 == 0 { k } else { n }, n];
        let starts = [op.a.offset, op.b.offset, op.at, bias as usize];
        let aligned = rows.iter().chain(&starts).all(|v| v % 4 == 0);
        let id = match (op.precision, aligned) {
            (Precision::F32, false) => Id::Matmul,
            (Precision::F32, true) => Id::MatmulVector,
            // `offers` above lets nothing but f16 through.
            (_, false) => Id::MatmulF16,
            (_, true) => Id::MatmulVectorF16,
        };
        let unused = self.core.scratch("unused", 16)?;
        let pieces = (cut.pieces > 1)
            .then(|| self.core.scratch("product pieces", byte_size(cut.pieces, size(m, n))))
            .transpose()?;
        let flags = u32::from(accumulate) | u32::from(op.bias.is_some()) << 1 | u32::from(op.post.is_some()) << 2;
        let uniform = params::Matmul {
            m: words(m, "m")?,
            n: words(n, "n")?,
            k: words(k, "k")?,
            along,
            a,
            b,
            bias,
            at: if pieces.is_some() { 0 } else { at },
            alpha: if pieces.is_some() { 1.0f32 } else { alpha }.to_bits(),
            flags: if pieces.is_some() { 0 } else { flags },
            activation: op.post.map_or(0, |(activation, _)| kind(activation)),
            row_tiles: cut.row_tiles as u32,
            column_tiles: cut.column_tiles as u32,
            piece: cut.piece as u32,
            pieces: cut.pieces as u32,
            zero: 0,
        };
        let side = PRODUCTS[cut.tile].get("BM") as usize;
        let groups = cut.row_tiles * cut.column_tiles;
        self.core.launch(&Launch {
            id,
            entry: 0,
            variant: cut.tile,
            spans: &[
                whole(&op.a.tensor.buffer),
                whole(&op.b.tensor.buffer),
                whole(pieces.as_ref().unwrap_or(&op.out.buffer)),
                whole(op.bias.map_or(&op.b.tensor.buffer, |bias| &bias.tensor.buffer)),
                whole(op.post.map_or(&unused, |(_, post)| &post.buffer)),
            ],
            params: bytes_of(&uniform),
            groups: (groups * cut.pieces) as u64,
            cost: (groups * side * side) as f64 * (2 * k + 64) as f64,
        })?;
        let Some(pieces) = pieces else { return Ok(()) };
        let uniform = params::Combine {
            len: words(m * n, "values")?,
            at,
            alpha: alpha.to_bits(),
            beta: 1.0f32.to_bits(),
            keep: u32::from(accumulate),
            pieces: cut.pieces as u32,
            ..Default::default()
        };
        let spans = [whole(&pieces), whole(&op.out.buffer)];
        elementwise(self, Id::Combine, 2, &spans, bytes_of(&uniform), m * n, cut.pieces + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_is_in_one_piece_and_loops_stay_short() {
        for (m, n) in [(1, 1), (33, 64), (512, 768), (4096, 4096), (1, 1 << 20)] {
            for k in [0, 1, 31, 127, 128, 255, 256, 1000, 4096, 100_000, LONGEST, LONGEST + 1, 1 << 22] {
                let cut = Cut::new(m, n, k, false);
                assert!(cut.piece * cut.pieces >= k && cut.piece * (cut.pieces - 1) < k.max(1), "{m}×{n}×{k}: {cut:?}");
                assert!(cut.piece.is_multiple_of(32) && cut.piece <= LONGEST, "{m}×{n}×{k}: {cut:?}");
                assert!(cut.pieces <= BUSY.max(k.div_ceil(LONGEST)), "{m}×{n}×{k}: {cut:?}");
                assert!(k > LONGEST || Cut::new(m, n, k, true).pieces == 1);
            }
        }
        // Small layers fill a device, large ones take large tiles.
        assert_eq!(Cut::new(64, 32, 4096, false).pieces, 32);
        assert_eq!(Cut::new(1024, 512, 384, false).tile, 1);
        assert_eq!(Cut::new(4096, 2048, 384, false).tile, 2);
    }
}
