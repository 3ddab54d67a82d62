//! The backward pass of a decoder.

use super::layout::BlockOffsets;
use super::learned::LearnedParts;
use super::masks::DropoutMasks;
use super::passes::{BlockValues, DecoderBuffers, DecoderPass, product};
use super::tokens::PackedTokens;
use sememe::Result;
use sememe::compute::tensor::{HeadRows, Layout, TensorBackend, from, whole};

impl<B: TensorBackend> DecoderPass<'_, B> {
    /// The gradients of [`map`](Self::map): of the weight, where it is learned, and of x into `grad_x`.
    #[allow(clippy::too_many_arguments)]
    fn map_backward(
        &self,
        (n, inputs, outputs): (usize, usize, usize),
        params: &B::Tensor,
        weight: usize,
        x: &B::Tensor,
        grad_y: &B::Tensor,
        learned: &mut LearnedParts<'_, B>,
        grad_x: &mut B::Tensor,
    ) -> Result<()> {
        learned.weight_gradient(self.backend, self.precision, (n, inputs, outputs), weight, x, grad_y)?;
        let of_x = product(Layout::Nn, n, inputs, outputs);
        self.backend.matmul(&of_x, self.precision, whole(grad_y), from(params, weight), grad_x, 0)
    }

    /// Takes the gradient of `buffers.hidden`, in `buffers.grad`, back: gradients of what is learned go where `learned` says, and
    /// `buffers.grad` becomes the gradient of `buffers.input`.
    pub fn backward(
        &self,
        params: &B::Tensor,
        tokens: &PackedTokens<B>,
        dropout: Option<&DropoutMasks<'_, B>>,
        buffers: &mut DecoderBuffers<B>,
        learned: &mut LearnedParts<'_, B>,
    ) -> Result<()> {
        let (backend, shape, n) = (self.backend, self.shape, tokens.count);
        let (d, f, width) = (shape.dims, shape.feed_forward, shape.attention_width());
        let DecoderBuffers { input, blocks, grad, branch, wide, wide_grad, products, .. } = buffers;
        let x = blocks.last().map_or(&*input, |b| &b.output);
        self.norm_backward(params, self.layout.last_norm, n, x, grad, products, learned)?;
        for (l, offsets) in self.layout.blocks.iter().enumerate().rev() {
            let (before, rest) = blocks.split_at(l);
            let (x, block) = (before.last().map_or(&*input, |b| &b.output), &rest[0]);

            self.branch_gradient(dropout, 2 + 2 * l, n, grad, branch)?;
            self.map_backward((n, f, d), params, offsets.feed_out, &block.gated, branch, learned, wide)?;
            backend.gated_backward((n, f), &block.gate_up, wide, wide_grad)?;
            let into = &block.middle_normed;
            self.map_backward((n, d, 2 * f), params, offsets.feed_in, into, wide_grad, learned, branch)?;
            self.norm_backward(params, offsets.feed_norm, n, &block.middle, branch, products, learned)?;
            backend.combine(n * d, 1.0, whole(branch), 1.0, grad, 0)?;

            self.branch_gradient(dropout, 1 + 2 * l, n, grad, branch)?;
            self.map_backward((n, width, d), params, offsets.attention_out, &block.attended, branch, learned, wide)?;
            let (qkv, attended, log_sums) = (&block.qkv, &block.attended, &block.log_sums);
            let attention = self.attention_shape(n);
            backend.attention_backward(&attention, &tokens.starts, qkv, attended, log_sums, wide, wide_grad)?;
            self.heads_backward(params, offsets, tokens, block, wide_grad, products, learned)?;
            let row = shape.attention_row();
            self.map_backward((n, d, row), params, offsets.attention_in, &block.normed, wide_grad, learned, branch)?;
            self.norm_backward(params, offsets.attention_norm, n, x, branch, products, learned)?;
            backend.combine(n * d, 1.0, whole(branch), 1.0, grad, 0)?;
        }
        if let Some(masks) = dropout {
            backend.dropout(n * d, masks.mask(0, n, d), grad)?;
        }
        Ok(())
    }

    /// The gradient of a branch before it was thinned out, from that of the sum.
    fn branch_gradient(
        &self,
        dropout: Option<&DropoutMasks<'_, B>>,
        mask: usize,
        n: usize,
        grad: &B::Tensor,
        branch: &mut B::Tensor,
    ) -> Result<()> {
        let len = n * self.shape.dims;
        self.backend.combine(len, 1.0, whole(grad), 0.0, branch, 0)?;
        match dropout {
            Some(masks) => self.backend.dropout(len, masks.mask(mask, n, self.shape.dims), branch),
            None => Ok(()),
        }
    }

    /// `grad` of a norm's result becomes that of x; the gain's goes where it is learned.
    #[allow(clippy::too_many_arguments)]
    fn norm_backward(
        &self,
        params: &B::Tensor,
        gain: usize,
        n: usize,
        x: &B::Tensor,
        grad: &mut B::Tensor,
        products: &mut B::Tensor,
        learned: &mut LearnedParts<'_, B>,
    ) -> Result<()> {
        let (rows, d) = (HeadRows::plain(n, self.shape.dims), self.shape.dims);
        self.backend.rms_norm_backward(&rows, self.shape.norm_epsilon, x, from(params, gain), grad, products)?;
        learned.vector_gradient(self.backend, (n, d), products, gain)
    }

    /// From the gradient of what attention read, in `grad`, to that of what the input layer gave.
    #[allow(clippy::too_many_arguments)]
    fn heads_backward(
        &self,
        params: &B::Tensor,
        offsets: &BlockOffsets,
        tokens: &PackedTokens<B>,
        block: &BlockValues<B>,
        grad: &mut B::Tensor,
        products: &mut B::Tensor,
        learned: &mut LearnedParts<'_, B>,
    ) -> Result<()> {
        let (backend, shape, n) = (self.backend, self.shape, tokens.count);
        let turned = self.heads(n, 0, shape.heads + shape.kv_heads);
        backend.rotary(&turned, true, whole(&tokens.positions), self.angles, grad)?;
        if let (Some(raw), Some((query, key))) = (&block.raw, offsets.query_key_norm) {
            for (first, heads, gain) in [(0, shape.heads, query), (shape.heads, shape.kv_heads, key)] {
                let rows = self.heads(n, first, heads);
                backend.rms_norm_backward(&rows, shape.norm_epsilon, raw, from(params, gain), grad, products)?;
                learned.vector_gradient(backend, (rows.rows(), shape.head_dims), products, gain)?;
            }
        }
        match offsets.attention_bias {
            Some(bias) => learned.vector_gradient(backend, (n, shape.attention_row()), grad, bias),
            None => Ok(()),
        }
    }
}
