//! Twin of `shaders/matmul.wgsl`: products of dense matrices, and linear layers with bias and activation in the same pass.
//!
//! The result is cut into blocks of rows or columns by its size alone, and each block is one call of the tuned GEMM on one
//! thread: so the bits do not depend on the number of threads.

use super::activation;
use crate::compute::tensor::{Activation, Layout, Product};
use rayon::prelude::*;

/// Rows of a block at most. Each block packs the other operand anew: with 128 rows that took a fifth of a training step.
const ROWS: usize = 512;
/// Rows from which there are two blocks at least.
const TWO: usize = 96;

/// One operand as pointer arithmetic sees it: values, and strides between rows and columns of the product's shape.
#[derive(Clone, Copy)]
struct Operand<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Operand<'a> {
    fn skip_rows(self, rows: usize) -> Self {
        Self { values: &self.values[(rows * self.row).min(self.values.len())..], ..self }
    }
}

/// `out [m, n] = alpha·a [m, k]·b [k, n] (+ out)` on this thread.
fn gemm(shape: (usize, usize, usize), alpha: f32, accumulate: bool, a: Operand<'_>, b: Operand<'_>, out: &mut [f32]) {
    let (m, n, k) = shape;
    let last = |o: Operand<'_>, rows: usize, columns: usize| (rows - 1) * o.row + (columns - 1) * o.column;
    assert!(m > 0 && n > 0 && k > 0 && out.len() >= m * n);
    assert!(last(a, m, k) < a.values.len() && last(b, k, n) < b.values.len());
    // SAFETY: the assertions above place the last element of each operand and of the result inside its slice, and strides are
    // not negative, so every address that the call forms is inside.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Rows a task gets: equal shares of at most [`ROWS`], in eights.
fn share(m: usize) -> usize {
    let blocks = m.div_ceil(ROWS).max(if m >= TWO { 2 } else { 1 });
    m.div_ceil(blocks).next_multiple_of(8)
}

/// `out = alpha·a·b (+ out)`; slices hold exactly the operands.
pub fn matmul(product: &Product, a: &[f32], b: &[f32], out: &mut [f32]) {
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
        Layout::Nt | Layout::Nn => Operand { values: a, row: k, column: 1 },
        Layout::Tn => Operand { values: a, row: 1, column: m },
    };
    let b = match layout {
        Layout::Nt => Operand { values: b, row: 1, column: k },
        Layout::Nn | Layout::Tn => Operand { values: b, row: n, column: 1 },
    };
    let rows = share(m);
    out.par_chunks_mut(rows * n).enumerate().for_each(|(i, part)| {
        gemm((part.len() / n, n, k), alpha, accumulate, a.skip_rows(i * rows), b, part);
    });
}

/// `pre = x·weightᵀ + bias`, `post = f(pre)`, block by block while a block is in cache.
pub fn linear(
    shape: (usize, usize, usize),
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
    let rows = share(n);
    let b = Operand { values: weight, row: 1, column: i };
    let block = |at: usize, pre: &mut [f32], post: Option<(Activation, &mut [f32])>| {
        // The bias is what the product is added to.
        pre.chunks_exact_mut(o).for_each(|row| row.copy_from_slice(bias));
        if i > 0 {
            let a = Operand { values: x, row: i, column: 1 }.skip_rows(at * rows);
            gemm((pre.len() / o, o, i), 1.0, true, a, b, pre);
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
}
