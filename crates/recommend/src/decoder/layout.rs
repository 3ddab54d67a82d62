//! Where the parameters of a decoder lie in one flat tensor, and what they are at the start.

use super::shape::DecoderShape;
use sememe::rng::Stream;

/// Places of one block's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockOffsets {
    /// Gain `[dims]` before the attention.
    pub attention_norm: usize,
    /// `[attention_row, dims]`: queries, keys, values.
    pub attention_in: usize,
    /// `[attention_row]`.
    pub attention_bias: Option<usize>,
    /// Gains `[head_dims]` of queries and keys.
    pub query_key_norm: Option<(usize, usize)>,
    /// `[dims, attention_width]`.
    pub attention_out: usize,
    /// Gain `[dims]` before the feed-forward layer.
    pub feed_norm: usize,
    /// `[2·feed_forward, dims]`: gate, then up.
    pub feed_in: usize,
    /// `[dims, feed_forward]`.
    pub feed_out: usize,
}

/// Places of all parameters of a decoder, from some place on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecoderLayout {
    pub blocks: Vec<BlockOffsets>,
    /// Gain `[dims]` after the last block.
    pub last_norm: usize,
    /// Past the last parameter.
    pub end: usize,
}

impl DecoderLayout {
    pub fn new(shape: &DecoderShape, start: usize) -> Self {
        let mut next = start;
        let mut take = |len: usize| {
            next += len;
            next - len
        };
        let (d, row, f) = (shape.dims, shape.attention_row(), shape.feed_forward);
        let blocks = (0..shape.layers)
            .map(|_| BlockOffsets {
                attention_norm: take(d),
                attention_in: take(row * d),
                attention_bias: shape.attention_bias.then(|| take(row)),
                query_key_norm: shape.query_key_norm.then(|| (take(shape.head_dims), take(shape.head_dims))),
                attention_out: take(d * shape.attention_width()),
                feed_norm: take(d),
                feed_in: take(2 * f * d),
                feed_out: take(d * f),
            })
            .collect();
        let last_norm = take(d);
        Self { blocks, last_norm, end: next }
    }

    /// Parameters at the start of a training, written to `params`: gains of 1, biases of 0, weights normal with a standard deviation of
    /// 1/√inputs, those that end a branch smaller by √(2·layers), so that the sum of all branches starts as large as one (Radford et
    /// al. 2019).
    pub fn initialise(&self, shape: &DecoderShape, stream: &mut Stream, params: &mut [f32]) {
        let (d, row, width, f) = (shape.dims, shape.attention_row(), shape.attention_width(), shape.feed_forward);
        let depth = (2.0 * shape.layers.max(1) as f64).sqrt();
        let mut normal = |at: usize, len: usize, deviation: f64| {
            params[at..at + len].iter_mut().for_each(|v| *v = (deviation * stream.normal()) as f32);
        };
        for block in &self.blocks {
            normal(block.attention_in, row * d, 1.0 / (d as f64).sqrt());
            normal(block.attention_out, d * width, 1.0 / ((width as f64).sqrt() * depth));
            normal(block.feed_in, 2 * f * d, 1.0 / (d as f64).sqrt());
            normal(block.feed_out, d * f, 1.0 / ((f as f64).sqrt() * depth));
        }
        for block in &self.blocks {
            params[block.attention_norm..block.attention_norm + d].fill(1.0);
            params[block.feed_norm..block.feed_norm + d].fill(1.0);
            if let Some((query, key)) = block.query_key_norm {
                params[query..query + shape.head_dims].fill(1.0);
                params[key..key + shape.head_dims].fill(1.0);
            }
        }
        params[self.last_norm..self.last_norm + d].fill(1.0);
    }

    /// The matrices, `(place, outputs, inputs)` each, ascending.
    pub fn matrices(&self, shape: &DecoderShape) -> Vec<(usize, usize, usize)> {
        let (d, row, width, f) = (shape.dims, shape.attention_row(), shape.attention_width(), shape.feed_forward);
        let of = |b: &BlockOffsets| {
            [(b.attention_in, row, d), (b.attention_out, d, width), (b.feed_in, 2 * f, d), (b.feed_out, d, f)]
        };
        self.blocks.iter().flat_map(of).collect()
    }

    /// Places and lengths of what weight decay is for: the matrices. Gains and biases are left as they are learned.
    pub fn decaying(&self, shape: &DecoderShape) -> Vec<(usize, usize)> {
        self.matrices(shape).into_iter().map(|(at, outputs, inputs)| (at, outputs * inputs)).collect()
    }
}
