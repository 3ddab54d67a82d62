//! Changes of low rank to a decoder's matrices.

use sememe::Result;
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};

/// A change of low rank to one matrix (Hu et al. 2021): `weight + scale·up·down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// Place of the matrix `[outputs, inputs]` among the decoder's parameters.
    pub weight: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Place of `[rank, inputs]` among the adapters' parameters.
    pub down: usize,
    /// Place of `[outputs, rank]`.
    pub up: usize,
}

/// The adapters of a decoder, with room for what their gradients need.
pub(crate) struct Adapters<B: TensorBackend> {
    pub all: Vec<Adapter>,
    pub rank: usize,
    pub scale: f32,
    /// `x·downᵀ` and `grad_y·up`, `[n, rank]` each.
    narrow: B::Tensor,
    narrow_grad: B::Tensor,
}

impl<B: TensorBackend> Adapters<B> {
    /// Adapters for the matrices `(place, outputs, inputs)`, their parameters from `start` on; for batches of up to `n` tokens.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(
        backend: &B,
        matrices: &[(usize, usize, usize)],
        start: usize,
        rank: usize,
        scale: f32,
        n: usize,
    ) -> Result<Self> {
        let (narrow, narrow_grad) =
            (backend.zeros("narrow values", n * rank)?, backend.zeros("narrow values", n * rank)?);
        Ok(Self { all: Adapter::place(matrices, start, rank).0, rank, scale, narrow, narrow_grad })
    }

    pub(super) fn of(&self, weight: usize) -> Option<&Adapter> {
        self.all.iter().find(|a| a.weight == weight)
    }

    /// `params = base + scale·up·down` for every matrix that has an adapter. O(rank·parameters).
    ///
    /// # Errors
    /// Device errors.
    pub fn merge(&self, backend: &B, base: &B::Tensor, trained: &B::Tensor, params: &mut B::Tensor) -> Result<()> {
        for adapter in &self.all {
            let Adapter { weight, inputs, outputs, down, up } = *adapter;
            backend.combine(outputs * inputs, 1.0, from(base, weight), 0.0, params, weight)?;
            let product = Product {
                layout: Layout::Nn,
                m: outputs,
                n: inputs,
                k: self.rank,
                alpha: self.scale,
                accumulate: true,
            };
            backend.matmul(&product, Precision::F32, from(trained, up), from(trained, down), params, weight)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn gradient(
        &mut self,
        backend: &B,
        precision: Precision,
        n: usize,
        adapter: &Adapter,
        (x, grad_y): (&B::Tensor, &B::Tensor),
        (trained, grads): (&B::Tensor, &mut B::Tensor),
        accumulate: bool,
    ) -> Result<()> {
        let Adapter { inputs, outputs, down, up, .. } = *adapter;
        let product = |layout, m, n, k, alpha, accumulate| Product { layout, m, n, k, alpha, accumulate };
        let narrowed = product(Layout::Nt, n, self.rank, inputs, self.scale, false);
        backend.matmul(&narrowed, precision, whole(x), from(trained, down), &mut self.narrow, 0)?;
        let of_up = product(Layout::Tn, outputs, self.rank, n, 1.0, accumulate);
        backend.matmul(&of_up, precision, whole(grad_y), whole(&self.narrow), grads, up)?;
        let narrowed = product(Layout::Nn, n, self.rank, outputs, self.scale, false);
        backend.matmul(&narrowed, precision, whole(grad_y), from(trained, up), &mut self.narrow_grad, 0)?;
        let of_down = product(Layout::Tn, self.rank, inputs, n, 1.0, accumulate);
        backend.matmul(&of_down, precision, whole(&self.narrow_grad), whole(x), grads, down)
    }
}

impl Adapter {
    /// Places for adapters of matrices `(place, outputs, inputs)` from `start` on, and where they end.
    pub fn place(matrices: &[(usize, usize, usize)], start: usize, rank: usize) -> (Vec<Self>, usize) {
        let mut next = start;
        let mut take = |len: usize| {
            next += len;
            next - len
        };
        let all = matrices
            .iter()
            .map(|&(weight, outputs, inputs)| Self {
                weight,
                inputs,
                outputs,
                down: take(rank * inputs),
                up: take(outputs * rank),
            })
            .collect();
        (all, next)
    }
}
