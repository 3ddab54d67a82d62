//! The passes through a decoder's blocks, forward and backward, as ordered calls of kernels: nothing here waits for a device.

use super::layout::DecoderLayout;
use super::masks::DropoutMasks;
use super::shape::DecoderShape;
use super::tokens::PackedTokens;
use sememe::Result;
use sememe::compute::tensor::{AttentionShape, HeadRows, Layout, Precision, Product, TensorBackend, from, whole};

/// What the forward pass of a block writes, and the backward pass reads.
pub(super) struct BlockValues<B: TensorBackend> {
    /// What went in, normalised.
    pub(super) normed: B::Tensor,
    /// Queries, keys and values before they are normalised head by head, if they are.
    pub(super) raw: Option<B::Tensor>,
    pub(super) qkv: B::Tensor,
    pub(super) attended: B::Tensor,
    pub(super) log_sums: B::Tensor,
    /// After the attention's branch.
    pub(super) middle: B::Tensor,
    /// The same, normalised.
    pub(super) middle_normed: B::Tensor,
    pub(super) gate_up: B::Tensor,
    pub(super) gated: B::Tensor,
    /// After the feed-forward branch.
    pub(super) output: B::Tensor,
}

impl<B: TensorBackend> BlockValues<B> {
    /// Of `n` tokens.
    pub(super) fn new(backend: &B, shape: &DecoderShape, n: usize) -> Result<Self> {
        let (d, row, width, f) = (shape.dims, shape.attention_row(), shape.attention_width(), shape.feed_forward);
        let values = |len: usize| backend.zeros("values of a decoder", n * len);
        Ok(Self {
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
    }
}

/// Where a block's attention reads and writes: `qkv [n, attention_row]`, `out [n, attention_width]`, and room for what the backward pass
/// of packed attention wants, `log_sums [n, heads]`.
pub(super) struct AttentionValues<'a, B: TensorBackend> {
    pub qkv: &'a B::Tensor,
    pub out: &'a mut B::Tensor,
    pub log_sums: &'a mut B::Tensor,
}

/// Which tokens a token sees: those before it in a packed sequence, or those whose keys are kept.
pub(super) trait Attention<B: TensorBackend> {
    /// The attention of block `layer` over the tokens of a pass.
    ///
    /// # Errors
    /// Device errors.
    fn attend(
        &mut self,
        backend: &B,
        layer: usize,
        shape: &AttentionShape,
        values: AttentionValues<'_, B>,
    ) -> Result<()>;
}

/// Sequences of which each token sees those before it.
pub(super) struct PackedAttention<'a, B: TensorBackend> {
    pub starts: &'a B::Index,
}

impl<B: TensorBackend> Attention<B> for PackedAttention<'_, B> {
    fn attend(&mut self, backend: &B, _: usize, shape: &AttentionShape, values: AttentionValues<'_, B>) -> Result<()> {
        backend.attention(shape, self.starts, values.qkv, values.out, values.log_sums)
    }
}

/// What a block's forward pass is given besides its parameters.
pub(super) struct BlockInput<'a, B: TensorBackend> {
    /// Tokens.
    pub n: usize,
    /// Place of each token in its sequence.
    pub positions: &'a B::Index,
    pub dropout: Option<&'a DropoutMasks<'a, B>>,
    /// What goes in, `[n, dims]`.
    pub x: &'a B::Tensor,
}

/// Buffers of the passes, for up to some number of tokens.
pub(crate) struct DecoderBuffers<B: TensorBackend> {
    /// What goes in, `[n, dims]`: the caller's.
    pub input: B::Tensor,
    pub(super) blocks: Vec<BlockValues<B>>,
    /// What comes out, `[n, dims]`.
    pub hidden: B::Tensor,
    /// The gradient of what comes out, and, after the backward pass, of what goes in.
    pub grad: B::Tensor,
    pub(super) branch: B::Tensor,
    /// Values of the widest layer, twice.
    pub(super) wide: B::Tensor,
    pub(super) wide_grad: B::Tensor,
    /// What a norm's backward pass gives for its gain.
    pub(super) products: B::Tensor,
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
        let blocks = (0..shape.layers).map(|_| BlockValues::new(backend, shape, n)).collect::<Result<_>>()?;
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

pub(super) fn product(layout: Layout, m: usize, n: usize, k: usize) -> Product {
    Product { layout, m, n, k, alpha: 1.0, accumulate: false }
}

impl<B: TensorBackend> DecoderPass<'_, B> {
    pub(super) fn attention_shape(&self, n: usize) -> AttentionShape {
        let DecoderShape { heads, kv_heads, head_dims, .. } = *self.shape;
        AttentionShape { tokens: n, heads, kv_heads, head_dims, scale: 1.0 / (head_dims as f32).sqrt() }
    }

    /// `heads` heads of the rows of queries, keys and values, from head `first` on.
    pub(super) fn heads(&self, n: usize, first: usize, heads: usize) -> HeadRows {
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

    /// Runs the tokens whose values are in `buffers.input` through all blocks; the result is in `buffers.hidden`.
    pub fn forward(
        &self,
        params: &B::Tensor,
        tokens: &PackedTokens<B>,
        dropout: Option<&DropoutMasks<'_, B>>,
        buffers: &mut DecoderBuffers<B>,
    ) -> Result<()> {
        let (backend, d, n) = (self.backend, self.shape.dims, tokens.count);
        let DecoderBuffers { input, blocks, hidden, branch, .. } = buffers;
        if let Some(masks) = dropout {
            backend.dropout(n * d, masks.mask(0, n, d), input)?;
        }
        let mut attention = PackedAttention { starts: &tokens.starts };
        for layer in 0..blocks.len() {
            let (before, rest) = blocks.split_at_mut(layer);
            let x = before.last().map_or(&*input, |b| &b.output);
            let given = BlockInput { n, positions: &tokens.positions, dropout, x };
            self.block_forward(params, layer, &given, &mut attention, &mut rest[0], branch)?;
        }
        self.last_norm(params, n, blocks.last().map_or(&*input, |b| &b.output), hidden)
    }

    /// Runs `n` tokens through block `layer`; the result is in `block.output`, and `branch [n, dims]` is overwritten.
    pub(super) fn block_forward(
        &self,
        params: &B::Tensor,
        layer: usize,
        given: &BlockInput<'_, B>,
        attention: &mut impl Attention<B>,
        block: &mut BlockValues<B>,
        branch: &mut B::Tensor,
    ) -> Result<()> {
        let (backend, d, offsets) = (self.backend, self.shape.dims, &self.layout.blocks[layer]);
        let &BlockInput { n, dropout, x, .. } = given;
        self.attend(params, layer, given, attention, block)?;
        self.map((n, self.shape.attention_width(), d), params, offsets.attention_out, &block.attended, branch)?;
        self.add_branch(dropout, 1 + 2 * layer, n, x, branch, &mut block.middle)?;

        let gain = from(params, offsets.feed_norm);
        let (f, epsilon) = (self.shape.feed_forward, self.shape.norm_epsilon);
        backend.rms_norm(&HeadRows::plain(n, d), epsilon, &block.middle, gain, &mut block.middle_normed)?;
        self.map((n, d, 2 * f), params, offsets.feed_in, &block.middle_normed, &mut block.gate_up)?;
        backend.gated((n, f), &block.gate_up, &mut block.gated)?;
        self.map((n, f, d), params, offsets.feed_out, &block.gated, branch)?;
        self.add_branch(dropout, 2 + 2 * layer, n, &block.middle, branch, &mut block.output)
    }

    /// The norm after the last block.
    pub(super) fn last_norm(&self, params: &B::Tensor, n: usize, x: &B::Tensor, hidden: &mut B::Tensor) -> Result<()> {
        let (rows, gain) = (HeadRows::plain(n, self.shape.dims), from(params, self.layout.last_norm));
        self.backend.rms_norm(&rows, self.shape.norm_epsilon, x, gain, hidden)
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
        layer: usize,
        given: &BlockInput<'_, B>,
        attention: &mut impl Attention<B>,
        block: &mut BlockValues<B>,
    ) -> Result<()> {
        let &BlockInput { n, x, .. } = given;
        let (backend, shape, offsets) = (self.backend, self.shape, &self.layout.blocks[layer]);
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
        backend.rotary(&turned, false, whole(given.positions), self.angles, qkv)?;
        attention.attend(backend, layer, &self.attention_shape(n), AttentionValues { qkv, out: attended, log_sums })
    }
}
