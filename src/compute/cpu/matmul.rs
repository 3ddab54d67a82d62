//! Twin of `shaders/matmul.wgsl`: products of dense matrices, and linear layers with bias and activation in the same pass.
//!
//! The result is cut into blocks of rows or columns by its size alone, and each block is one call of the tuned GEMM on one
//! thread: so the bits do not depend on the number of threads. With [`Precision::Bf16`] the call is one of `bf16`, and what a block
//! needs of the other operand is packed once for all.

use super::activation;
use super::bf16::{self, Start};
use super::gemm::{Operand, gemm};
use crate::compute::tensor::{Activation, Layout, Precision, Product};
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows of a block at most. Each block packs the other operand anew: with 128 rows that took a fifth of a training step.
const ROWS: usize = 512;
/// Rows from which there are two blocks at least.
const TWO: usize = 96;

thread_local! {
    /// Where a thread packs rows, and where it packs right operands; kept from call to call, as fresh pages cost more than packing.
    static ROOM: RefCell<Vec<bf16::Line>> = const { RefCell::new(Vec::new()) };
    static PACKED: RefCell<Vec<bf16::Line>> = const { RefCell::new(Vec::new()) };
    /// Where a right operand is turned.
    static TURNED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The right operand, as blocks of rows meet it.
enum Right<'a> {
    Plain(Operand<'a>, usize),
    /// Columns side by side, so that a block's call finds them as it reads them.
    Turned(Vec<f32>, usize),
    Packed(bf16::Packed),
}

impl<'a> Right<'a> {
    /// For `m` rows of the left one.
    fn new(precision: Precision, b: Operand<'a>, (m, n, k): (usize, usize, usize)) -> Self {
        match precision {
            Precision::Bf16 => Self::Packed(bf16::Packed::new(b, n, k, PACKED.take())),
            // A single lane lies as it is read already.
            _ if b.term == 1 && b.lane > 1 && m >= TWO => Self::Turned(turn(b, n, k, TURNED.take()), k),
            _ => Self::Plain(b, k),
        }
    }

    /// Gives the room back.
    fn finish(self) {
        match self {
            Self::Packed(packed) => PACKED.set(packed.into_lines()),
            Self::Turned(values, _) => TURNED.set(values),
            Self::Plain(..) => {}
        }
    }

    /// `out [m, n] = start + alpha·a·b` on this thread.
    fn multiply(&self, (m, n): (usize, usize), alpha: f32, a: Operand<'_>, start: Start<'_>, out: &mut [f32]) {
        match self {
            Self::Packed(b) => ROOM.with_borrow_mut(|room| bf16::multiply(m, alpha, a, b, start, out, room)),
            Self::Plain(b, k) => plain((m, n, *k), alpha, a, *b, start, out),
            Self::Turned(values, k) => {
                plain((m, n, *k), alpha, a, Operand::by_term(values, n), start, out);
            }
        }
    }
}

/// `out [m, n] = start + alpha·a·b` by the tuned GEMM.
fn plain(shape: (usize, usize, usize), alpha: f32, a: Operand<'_>, b: Operand<'_>, start: Start<'_>, out: &mut [f32]) {
    if let Start::Row(row) = start {
        out.chunks_exact_mut(shape.1).for_each(|out| out.copy_from_slice(row));
    }
    gemm(shape, alpha, !matches!(start, Start::Zeros), a, b, out);
}

/// Terms of a right operand that are turned together: a cache line.
const TURN: usize = 16;

/// The right operand `[n, k]` with its terms side by side as `[k, n]`, in `out`, which grows as needed.
fn turn(b: Operand<'_>, n: usize, k: usize, mut out: Vec<f32>) -> Vec<f32> {
    if out.len() < n * k {
        out.resize(n * k, 0.0);
    }
    out[..n * k].par_chunks_mut(TURN * n).enumerate().with_min_len((1 << 12) / (TURN * n) + 1).for_each(|(i, rows)| {
        for j in 0..n {
            let line = b.values[j * b.lane + i * TURN * b.term..].iter().step_by(b.term);
            rows[j..].iter_mut().step_by(n).zip(line).for_each(|(to, from)| *to = *from);
        }
    });
    out
}

/// Rows a task gets: equal shares of at most [`ROWS`], in eights; in whole tiles, and less, where packing costs a task nothing.
fn share(precision: Precision, m: usize) -> usize {
    let (most, unit) = if precision == Precision::Bf16 { (16 * bf16::TILE, bf16::TILE) } else { (ROWS, 8) };
    let blocks = m.div_ceil(most).max(if m >= TWO { 2 } else { 1 });
    m.div_ceil(blocks).next_multiple_of(unit)
}

/// `out = alpha·a·b (+ out)`; slices hold exactly the operands.
pub fn matmul(product: &Product, precision: Precision, a: &[f32], b: &[f32], out: &mut [f32]) {
    let Product { layout, m, n, k, alpha, accumulate } = *product;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            out.fill(0.0);
        }
        return;
    }
    let a = match layout {
        Layout::Nt | Layout::Nn => Operand::by_lane(a, k),
        Layout::Tn => Operand::by_term(a, m),
    };
    let b = match layout {
        Layout::Nt => Operand::by_lane(b, k),
        Layout::Nn | Layout::Tn => Operand::by_term(b, n),
    };
    let (rows, right) = (share(precision, m), Right::new(precision, b, (m, n, k)));
    let start = if accumulate { Start::Out } else { Start::Zeros };
    out.par_chunks_mut(rows * n).enumerate().for_each(|(i, part)| {
        right.multiply((part.len() / n, n), alpha, a.skip(i * rows), start, part);
    });
    right.finish();
}

/// `pre = x·weightᵀ + bias`, `post = f(pre)`, block by block while a block is in cache.
pub fn linear(
    shape: (usize, usize, usize),
    precision: Precision,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    pre: &mut [f32],
    post: Option<(Activation, &mut [f32])>,
) {
    let (n, i, o) = shape;
    if n == 0 || o == 0 {
        return;
    }
    let rows = share(precision, n);
    let weight = Operand::by_lane(weight, i);
    let right = (i > 0).then(|| Right::new(precision, weight, (n, o, i)));
    let block = |at: usize, pre: &mut [f32], post: Option<(Activation, &mut [f32])>| {
        match &right {
            // The bias is what the product is added to.
            Some(right) => {
                let a = Operand::by_lane(x, i).skip(at * rows);
                right.multiply((pre.len() / o, o), 1.0, a, Start::Row(&bias[..o]), pre);
            }
            None => pre.chunks_exact_mut(o).for_each(|row| row.copy_from_slice(bias)),
        }
        if let Some((activation, post)) = post {
            activation::forward(activation, pre, post);
        }
    };
    match post {
        None => pre.par_chunks_mut(rows * o).enumerate().for_each(|(at, pre)| block(at, pre, None)),
        Some((activation, post)) => pre
            .par_chunks_mut(rows * o)
            .zip(post.par_chunks_mut(rows * o))
            .enumerate()
            .for_each(|(at, (pre, post))| block(at, pre, Some((activation, post)))),
    }
    if let Some(right) = right {
        right.finish();
    }
}
