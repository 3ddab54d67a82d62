//! What a training learns of a decoder, and where its gradients go.

#[cfg(feature = "language")]
use super::adapters::Adapters;
use sememe::Result;
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, whole};

/// What is learned of a decoder's parameters, on a device.
pub(crate) enum LearnedParts<'a, B: TensorBackend> {
    /// Everything: gradients lie in `grads` as the parameters do.
    All {
        grads: &'a mut B::Tensor,
        /// Whether they are added to what is there.
        accumulate: bool,
    },
    /// Changes of low rank to the matrices, and nothing else.
    #[cfg(feature = "language")]
    LowRank {
        adapters: &'a mut Adapters<B>,
        /// The adapters' own parameters.
        trained: &'a B::Tensor,
        grads: &'a mut B::Tensor,
        accumulate: bool,
    },
    /// Nothing: gradients only pass through.
    #[cfg(feature = "language")]
    Nothing,
}

impl<B: TensorBackend> LearnedParts<'_, B> {
    /// The gradient of a matrix `[outputs, inputs]` at `weight` that made `y = x·weightᵀ` of n tokens.
    pub(super) fn weight_gradient(
        &mut self,
        backend: &B,
        precision: Precision,
        (n, inputs, outputs): (usize, usize, usize),
        weight: usize,
        x: &B::Tensor,
        grad_y: &B::Tensor,
    ) -> Result<()> {
        match self {
            Self::All { grads, accumulate } => {
                let product =
                    Product { layout: Layout::Tn, m: outputs, n: inputs, k: n, alpha: 1.0, accumulate: *accumulate };
                backend.matmul(&product, precision, whole(grad_y), whole(x), grads, weight)
            }
            #[cfg(feature = "language")]
            Self::LowRank { adapters, trained, grads, accumulate } => {
                let Some(adapter) = adapters.of(weight).copied() else { return Ok(()) };
                adapters.gradient(backend, precision, n, &adapter, (x, grad_y), (trained, grads), *accumulate)
            }
            #[cfg(feature = "language")]
            Self::Nothing => Ok(()),
        }
    }

    /// The gradient of a vector at `at`: the column totals of `products [rows, dims]`.
    pub(super) fn vector_gradient(
        &mut self,
        backend: &B,
        rows: (usize, usize),
        products: &B::Tensor,
        at: usize,
    ) -> Result<()> {
        match self {
            Self::All { grads, accumulate } => backend.column_total(rows, 1.0, *accumulate, products, grads, at),
            #[cfg(feature = "language")]
            Self::LowRank { .. } | Self::Nothing => Ok(()),
        }
    }
}
