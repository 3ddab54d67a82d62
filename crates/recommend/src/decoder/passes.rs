//! The passes through a decoder's blocks, forward and backward, as ordered calls of kernels: nothing here waits for a device.

use super::layout::{BlockOffsets, DecoderLayout};
use super::masks::DropoutMasks;
use super::shape::DecoderShape;
use super::tokens::PackedTokens;
use sememe::Result;
use sememe::compute::tensor::{AttentionShape, HeadRows, Layout, Precision, Product, TensorBackend, from, whole};

/// What the forward pass of a block leaves for the backward pass.
struct BlockValues<B: TensorBackend> {
    /// What went in, normalised.
    normed: B::Tensor,
    /// Queries, keys and values before they are normalised head by head, if they are.
    raw: Option<B::Tensor>,
    qkv: B::Tensor,
    attended: B::Tensor,
    log_sums: B::Tensor,
    /// After the attention's branch.
    middle: B::Tensor,
    /// The same, normalised.
    middle_normed: B::Tensor,
    gate_up: B::Tensor,
    gated: B::Tensor,
    /// After the feed-forward branch.
    output: B::Tensor,
}

/// Buffers of the passes, for up to some number of tokens.
pub(crate) struct DecoderBuffers<B: TensorBackend> {
    /// What goes in, `[n, dims]`: the caller's.
    pub input: B::Tensor,
    blocks: Vec<BlockValues<B>>,
    /// What comes out, `[n, dims]`.
    pub hidden: B::Tensor,
    /// The gradient of what comes out, and, after the backward pass, of what goes in.
    pub grad: B::Tensor,
    branch: B::Tensor,
    /// Values of the widest layer, twice.
    wide: B::Tensor,
    wide_grad: B::Tensor,
    /// What a norm's backward pass gives for its gain.
    products: B::Tensor,
}

impl<B: TensorBackend> DecoderBuffers<B> {
    /// Buffers for `n` tokens. O(n·layers·(dims + attention_row + feed_forward)) values.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B, shape: &DecoderShape, n: usize) -> Result<Self> {
        let (d, row, width, f) = (shape.dims, shape.attention_row(), shape.attention_width(), shape.feed_forward);
        let values = |len: usize| backend.zeros("values of a decoder", n * len);
        let widest = row.max(2 * f).max(width);
        let blocks = (0..shape.layers)
            .map(|_| {
                Ok(BlockValues {
                    normed: values(d)?,
                    raw: shape.query_key_norm.then(|| values(row)).transpose()?,
                    qkv: values(row)?,
                    attended: values(width)?,
                    log_sums: values(shape.heads)?,
                    middle: values(d)?,
                    middle_normed: values(d)?,
                    gate_up: values(2 * f)?,
                    gated: values(f)?,
                    output: values(d)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            input: values(d)?,
            blocks,
            hidden: values(d)?,
            grad: values(d)?,
            branch: values(d)?,
            wide: values(widest)?,
            wide_grad: values(widest)?,
            products: values(d.max(row))?,
        })
    }
}

/// What both passes share.
pub(crate) struct DecoderPass<'a, B: TensorBackend> {
    pub backend: &'a B,
    pub shape: &'a DecoderShape,
    pub layout: &'a DecoderLayout,
    pub precision: Precision,
    /// Cosines and sines of so many positions, on the device.
    pub angles: (&'a B::Tensor, usize),
}

fn product(layout: Layout, m: usize, n: usize, k: usize) -> Product {
    Product { layout, m, n, k, alpha: 1.0, accumulate: false }
}

impl<B: TensorBackend> DecoderPass<'_, B> {
    fn attention_shape(&self, n: usize) -> AttentionShape {
        let DecoderShape { heads, kv_heads, head_dims, .. } = *self.shape;
        AttentionShape { tokens: n, heads, kv_heads, head_dims, scale: 1.0 / (head_dims as f32).sqrt() }
    }

    /// `heads` heads of the rows of queries, keys and values, from head `first` on.
    fn heads(&self, n: usize, first: usize, heads: usize) -> HeadRows {
        let dims = self.shape.head_dims;
        HeadRows { tokens: n, heads, dims, stride: self.shape.attention_row(), offset: first * dims }
    }

    /// `y = x·weightᵀ` for `n` tokens.
    fn map(
        &self,
        (n, inputs, outputs): (usize, usize, usize),
        params: &B::Tensor,
        weight: usize,
        x: &B::Tensor,
        y: &mut B::Tensor,
    ) -> Result<()> {
        let product = product(Layout::Nt, n, outputs, inputs);
        self.backend.matmul(&product, self.precision, whole(x), from(params, weight), y, 0)
    }

    /// The gradients of [`map`](Self::map): of the weight into `grads`, and of x into `grad_x`.
    #[allow(clippy::too_many_arguments)]
    fn map_backward(
        &self,
        (n, inputs, outputs): (usize, usize, usize),
        params: &B::Tensor,
        weight: usize,
        x: &B::Tensor,
        grad_y: &B::Tensor,
        grads: &mut B::Tensor,
        grad_x: &mut B::Tensor,
    ) -> Result<()> {
        let of_weight = product(Layout::Tn, outputs, inputs, n);
        self.backend.matmul(&of_weight, self.precision, whole(grad_y), whole(x), grads, weight)?;
        let of_x = product(Layout::Nn, n, inputs, outputs);
        self.backend.matmul(&of_x, self.precision, whole(grad_y), from(params, weight), grad_x, 0)
    }

    /// Runs the tokens whose values are in `buffers.input` through all blocks; the result is in `buffers.hidden`.
    pub fn forward(
        &self,
        params: &B::Tensor,
        tokens: &PackedTokens<B>,
        dropout: Option<&DropoutMasks<'_, B>>,
        buffers: &mut DecoderBuffers<B>,
    ) -> Result<()> {
        let (backend, d, n) = (self.backend, self.shape.dims, tokens.count);
        let plain = HeadRows::plain(n, d);
        let DecoderBuffers { input, blocks, hidden, branch, .. } = buffers;
        if let Some(masks) = dropout {
            backend.dropout(n * d, masks.mask(0, n, d), input)?;
        }
        for (l, offsets) in self.layout.blocks.iter().enumerate() {
            let (before, rest) = blocks.split_at_mut(l);
            let x = before.last().map_or(&*input, |b| &b.output);
            let block = &mut rest[0];
            self.attend(params, offsets, tokens, x, block)?;
            self.map((n, self.shape.attention_width(), d), params, offsets.attention_out, &block.attended, branch)?;
            self.add_branch(dropout, 1 + 2 * l, n, x, branch, &mut block.middle)?;

            let gain = from(params, offsets.feed_norm);
            let (f, epsilon) = (self.shape.feed_forward, self.shape.norm_epsilon);
            backend.rms_norm(&plain, epsilon, &block.middle, gain, &mut block.middle_normed)?;
            self.map((n, d, 2 * f), params, offsets.feed_in, &block.middle_normed, &mut block.gate_up)?;
            backend.gated((n, f), &block.gate_up, &mut block.gated)?;
            self.map((n, f, d), params, offsets.feed_out, &block.gated, branch)?;
            self.add_branch(dropout, 2 + 2 * l, n, &block.middle, branch, &mut block.output)?;
        }
        let x = blocks.last().map_or(&*input, |b| &b.output);
        backend.rms_norm(&plain, self.shape.norm_epsilon, x, from(params, self.layout.last_norm), hidden)
    }

    /// `sum = x + branch`, the branch thinned out.
    fn add_branch(
        &self,
        dropout: Option<&DropoutMasks<'_, B>>,
        mask: usize,
        n: usize,
        x: &B::Tensor,
        branch: &mut B::Tensor,
        sum: &mut B::Tensor,
    ) -> Result<()> {
        let len = n * self.shape.dims;
        if let Some(masks) = dropout {
            self.backend.dropout(len, masks.mask(mask, n, self.shape.dims), branch)?;
        }
        self.backend.combine(len, 1.0, whole(x), 0.0, sum, 0)?;
        self.backend.combine(len, 1.0, whole(branch), 1.0, sum, 0)
    }

    /// A block's attention up to its output layer.
    fn attend(
        &self,
        params: &B::Tensor,
        offsets: &BlockOffsets,
        tokens: &PackedTokens<B>,
        x: &B::Tensor,
        block: &mut BlockValues<B>,
    ) -> Result<()> {
        let (backend, shape, n) = (self.backend, self.shape, tokens.count);
        let (d, row, epsilon) = (shape.dims, shape.attention_row(), shape.norm_epsilon);
        let gain = from(params, offsets.attention_norm);
        backend.rms_norm(&HeadRows::plain(n, d), epsilon, x, gain, &mut block.normed)?;
        let BlockValues { normed, raw, qkv, attended, log_sums, .. } = block;
        let first = raw.as_mut().unwrap_or(qkv);
        match offsets.attention_bias {
            Some(bias) => {
                let (weight, bias) = (from(params, offsets.attention_in), from(params, bias));
                backend.linear((n, d, row), self.precision, whole(normed), weight, bias, first, None)?;
            }
            None => self.map((n, d, row), params, offsets.attention_in, normed, first)?,
        }
        if let (Some(raw), Some((query, key))) = (raw, offsets.query_key_norm) {
            // The values pass unchanged.
            backend.combine(n * row, 1.0, whole(raw), 0.0, qkv, 0)?;
            backend.rms_norm(&self.heads(n, 0, shape.heads), epsilon, raw, from(params, query), qkv)?;
            backend.rms_norm(&self.heads(n, shape.heads, shape.kv_heads), epsilon, raw, from(params, key), qkv)?;
        }
        let turned = self.heads(n, 0, shape.heads + shape.kv_heads);
        backend.rotary(&turned, false, whole(&tokens.positions), self.angles, qkv)?;
        backend.attention(&self.attention_shape(n), &tokens.starts, qkv, attended, log_sums)
    }

    /// Takes the gradient of `buffers.hidden`, in `buffers.grad`, back: parameter gradients are written to `grads`, and `buffers.grad`
    /// becomes the gradient of `buffers.input`.
    pub fn backward(
        &self,
        params: &B::Tensor,
        tokens: &PackedTokens<B>,
        dropout: Option<&DropoutMasks<'_, B>>,
        buffers: &mut DecoderBuffers<B>,
        grads: &mut B::Tensor,
    ) -> Result<()> {
        let (backend, shape, n) = (self.backend, self.shape, tokens.count);
        let (d, f, width) = (shape.dims, shape.feed_forward, shape.attention_width());
        let DecoderBuffers { input, blocks, grad, branch, wide, wide_grad, products, .. } = buffers;
        let x = blocks.last().map_or(&*input, |b| &b.output);
        self.norm_backward(params, self.layout.last_norm, n, x, grad, products, grads)?;
        for (l, offsets) in self.layout.blocks.iter().enumerate().rev() {
            let (before, rest) = blocks.split_at(l);
            let (x, block) = (before.last().map_or(&*input, |b| &b.output), &rest[0]);

            self.branch_gradient(dropout, 2 + 2 * l, n, grad, branch)?;
            self.map_backward((n, f, d), params, offsets.feed_out, &block.gated, branch, grads, wide)?;
            backend.gated_backward((n, f), &block.gate_up, wide, wide_grad)?;
            let into = &block.middle_normed;
            self.map_backward((n, d, 2 * f), params, offsets.feed_in, into, wide_grad, grads, branch)?;
            self.norm_backward(params, offsets.feed_norm, n, &block.middle, branch, products, grads)?;
            backend.combine(n * d, 1.0, whole(branch), 1.0, grad, 0)?;

            self.branch_gradient(dropout, 1 + 2 * l, n, grad, branch)?;
            self.map_backward((n, width, d), params, offsets.attention_out, &block.attended, branch, grads, wide)?;
            let (qkv, attended, log_sums) = (&block.qkv, &block.attended, &block.log_sums);
            let attention = self.attention_shape(n);
            backend.attention_backward(&attention, &tokens.starts, qkv, attended, log_sums, wide, wide_grad)?;
            self.heads_backward(params, offsets, tokens, block, wide_grad, products, grads)?;
            let row = shape.attention_row();
            self.map_backward((n, d, row), params, offsets.attention_in, &block.normed, wide_grad, grads, branch)?;
            self.norm_backward(params, offsets.attention_norm, n, x, branch, products, grads)?;
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

    /// `grad` of a norm's result becomes that of x; the gain's goes to `grads`.
    #[allow(clippy::too_many_arguments)]
    fn norm_backward(
        &self,
        params: &B::Tensor,
        gain: usize,
        n: usize,
        x: &B::Tensor,
        grad: &mut B::Tensor,
        products: &mut B::Tensor,
        grads: &mut B::Tensor,
    ) -> Result<()> {
        let (rows, d) = (HeadRows::plain(n, self.shape.dims), self.shape.dims);
        self.backend.rms_norm_backward(&rows, self.shape.norm_epsilon, x, from(params, gain), grad, products)?;
        self.backend.column_total((n, d), 1.0, false, products, grads, gain)
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
        grads: &mut B::Tensor,
    ) -> Result<()> {
        let (backend, shape, n) = (self.backend, self.shape, tokens.count);
        let turned = self.heads(n, 0, shape.heads + shape.kv_heads);
        backend.rotary(&turned, true, whole(&tokens.positions), self.angles, grad)?;
        if let (Some(raw), Some((query, key))) = (&block.raw, offsets.query_key_norm) {
            for (first, heads, gain) in [(0, shape.heads, query), (shape.heads, shape.kv_heads, key)] {
                let rows = self.heads(n, first, heads);
                backend.rms_norm_backward(&rows, shape.norm_epsilon, raw, from(params, gain), grad, products)?;
                backend.column_total((rows.rows(), shape.head_dims), 1.0, false, products, grads, gain)?;
            }
        }
        match offsets.attention_bias {
            Some(bias) => backend.column_total((n, shape.attention_row()), 1.0, false, grad, grads, bias),
            None => Ok(()),
        }
    }
}
