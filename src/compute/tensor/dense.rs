//! Kernels of networks: products, layers, sums, optimisers.

use super::{Activation, Mask, Part, Precision, Product, Step, Tensors};
use crate::error::Result;

/// The kernels that any network trains with.
pub trait DenseKernels: Tensors {
    /// Copies rows `first..first + count` into a tensor, without padding. Kernel `restride`.
    fn rows_to_tensor(&self, rows: &Self::Rows, first: usize, count: usize, out: &mut Self::Tensor) -> Result<()>;

    /// New `[n, d]` rows from the start of a tensor. Kernel `restride`.
    fn tensor_to_rows(&self, tensor: &Self::Tensor, n: usize, d: usize) -> Result<Self::Rows>;

    /// `out[at..] = alpha·a·b (+ out)`; see [`Product`]. `out` is another tensor than `a` and `b`. O(m·n·k).
    fn matmul(
        &self,
        product: &Product,
        precision: Precision,
        a: Part<'_, Self::Tensor>,
        b: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// A linear layer: `pre [n, o] = x [n, i] · weight [o, i]ᵀ + bias [o]`, and, with an activation, `post = f(pre)`. Kernel
    /// `matmul`. O(n·i·o).
    #[allow(clippy::too_many_arguments)]
    fn linear(
        &self,
        shape: (usize, usize, usize),
        precision: Precision,
        x: Part<'_, Self::Tensor>,
        weight: Part<'_, Self::Tensor>,
        bias: Part<'_, Self::Tensor>,
        pre: &mut Self::Tensor,
        post: Option<(Activation, &mut Self::Tensor)>,
    ) -> Result<()>;

    /// `post[i] = f(pre[i])`, masked. Kernel `activation`.
    fn activate(
        &self,
        activation: Activation,
        len: usize,
        pre: &Self::Tensor,
        mask: Option<Mask<'_, Self::Index>>,
        post: &mut Self::Tensor,
    ) -> Result<()>;

    /// `grad[i] ← grad[i]·f′(pre[i])`, masked as the forward pass was. Kernel `activation`.
    fn activate_backward(
        &self,
        activation: Activation,
        len: usize,
        pre: &Self::Tensor,
        mask: Option<Mask<'_, Self::Index>>,
        grad: &mut Self::Tensor,
    ) -> Result<()>;

    /// `y = gain·(x − mean)/√(variance + 1e-5) + bias` over each row `[d]`; the variance is that of the row (divided by d).
    /// Ba, Kiros and Hinton 2016.
    fn layer_norm(
        &self,
        shape: (usize, usize),
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        bias: Part<'_, Self::Tensor>,
        y: &mut Self::Tensor,
    ) -> Result<()>;

    /// `grad [n, d]` of y becomes that of x; `products [n, d]` receives `grad_y·x̂`, whose column totals are the gain's gradient.
    /// Kernel `layer_norm`.
    fn layer_norm_backward(
        &self,
        shape: (usize, usize),
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        grad: &mut Self::Tensor,
        products: &mut Self::Tensor,
    ) -> Result<()>;

    /// `out[at + c] = alpha·Σ_i values[i, c] (+ out)` for `values [n, d]`.
    fn column_total(
        &self,
        shape: (usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Self::Tensor,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `out[at] = alpha·Σ values[i]` or, with `squares`, `alpha·Σ values[i]²` (+ out), over `len` values.
    #[allow(clippy::too_many_arguments)]
    fn total(
        &self,
        len: usize,
        squares: bool,
        alpha: f32,
        accumulate: bool,
        values: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `y[at + i] = alpha·x[i] + beta·y[at + i]`; with `beta = 0`, y is not read. `x` is another tensor than `y`.
    fn combine(
        &self,
        len: usize,
        alpha: f32,
        x: Part<'_, Self::Tensor>,
        beta: f32,
        y: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `out[i] = scale·(a[i] − b[i])`. Kernel `combine`.
    fn subtract(
        &self,
        len: usize,
        scale: f32,
        a: Part<'_, Self::Tensor>,
        b: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
    ) -> Result<()>;

    /// `y[at + i·d + c] += alpha·scales[i]·x[i·d + c]` for `[n, d]` rows. Kernel `combine`.
    #[allow(clippy::too_many_arguments)]
    fn combine_rows(
        &self,
        shape: (usize, usize),
        alpha: f32,
        scales: &Self::Tensor,
        x: Part<'_, Self::Tensor>,
        y: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `values[at..at + len] = 0`.
    fn clear(&self, values: &mut Self::Tensor, at: usize, len: usize) -> Result<()>;

    /// One optimiser step: `params`, `first` and `second` (moments, sums) from `step.offset` on; `grads` at the same places.
    fn optimize(
        &self,
        step: &Step,
        grads: &Self::Tensor,
        norms: &Self::Tensor,
        params: &mut Self::Tensor,
        first: &mut Self::Tensor,
        second: &mut Self::Tensor,
    ) -> Result<()>;
}
