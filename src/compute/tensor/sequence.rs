//! Kernels of decoders: item and token tables, normalised rows, positions, attention, gates, cross-entropy.
//!
//! Sequences of different lengths lie one behind another, without padding: token `t` belongs to the sequence whose first token is
//! `starts[t]`, and sees the tokens `starts[t]..=t`. Queries, keys and values of a token lie side by side in one row
//! `[heads·h | kv_heads·h | kv_heads·h]` (`h` values a head), as one product makes them.

use super::{Part, Tensors};
use crate::error::{Error, Result};

/// Rows that several kernels take in heads: row `r = t·heads + i` has `dims` values from `offset + t·stride + i·dims` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRows {
    /// Tokens.
    pub tokens: usize,
    /// Heads a token; 1 for plain rows.
    pub heads: usize,
    /// Values a head.
    pub dims: usize,
    /// Values from one token to the next, `heads·dims` at least.
    pub stride: usize,
    /// First value of the first row.
    pub offset: usize,
}

impl HeadRows {
    /// Plain rows `[n, d]` without gaps.
    #[must_use]
    pub fn plain(n: usize, d: usize) -> Self {
        Self { tokens: n, heads: 1, dims: d, stride: d, offset: 0 }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens * self.heads
    }

    /// Values from the tensor's start to past the last row; 0 without rows. Saturates.
    #[must_use]
    pub fn end(&self) -> usize {
        if self.tokens == 0 || self.heads == 0 {
            return 0;
        }
        let row = self.heads.saturating_mul(self.dims);
        (self.tokens - 1).saturating_mul(self.stride).saturating_add(self.offset).saturating_add(row)
    }

    /// Refuses rows that share values.
    ///
    /// # Errors
    /// [`Error::Data`] if a token's heads reach into the next token.
    pub fn check(&self) -> Result<()> {
        let Self { tokens, heads, dims, stride, .. } = *self;
        if tokens > 1 && heads.saturating_mul(dims) > stride {
            return Err(Error::Data(format!("{heads} heads of {dims} values overlap when tokens are {stride} apart")));
        }
        Ok(())
    }
}

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Tokens of all sequences together.
    pub tokens: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; it divides `heads`, and query head `i` reads head `i / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Values a head.
    pub head_dims: usize,
    /// Factor of the products before the softmax, usually 1/√head_dims.
    pub scale: f32,
}

impl AttentionShape {
    /// Values of a token's row of queries, keys and values.
    #[must_use]
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dims
    }

    /// Values of a token's keys and values.
    #[must_use]
    pub fn cached(&self) -> usize {
        2 * self.kv_heads * self.head_dims
    }

    /// Values of a token's output.
    #[must_use]
    pub fn width(&self) -> usize {
        self.heads * self.head_dims
    }

    /// Refuses shapes without heads or values, and heads that cannot be shared out evenly.
    ///
    /// # Errors
    /// [`Error::Data`] then.
    pub fn check(&self) -> Result<()> {
        let Self { heads, kv_heads, head_dims, .. } = *self;
        if heads == 0 || kv_heads == 0 || head_dims == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(Error::Data(format!(
                "expected heads that are a multiple of the heads of keys and values, and values in each, got {heads} heads, \
                 {kv_heads} of keys and values, {head_dims} values a head"
            )));
        }
        if heads.checked_mul(3).and_then(|all| all.checked_mul(head_dims)).is_none() {
            return Err(Error::Data(format!("{heads} heads of {head_dims} values are too many to count")));
        }
        Ok(())
    }
}

/// Rows sorted by where they go: segment s holds the values `order[bounds[s]..bounds[s + 1]]` for row `rows[s]` of a table. Made by
/// [`sorted_segments`].
#[derive(Debug)]
pub struct Segments<'a, I> {
    /// How many there are.
    pub count: usize,
    /// Numbers of values, ascending within a segment.
    pub order: &'a I,
    /// `[count + 1]` places in `order`.
    pub bounds: &'a I,
    /// `[count]` rows of the table, ascending.
    pub rows: &'a I,
}

/// `(order, bounds, rows)` for [`Segments`] from the row that each value goes to; rows of `table` or more are left out. O(n log n).
#[must_use]
pub fn sorted_segments(to: &[u32], table: usize) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..to.len() as u32).filter(|i| (to[*i as usize] as usize) < table).collect();
    order.sort_by_key(|i| (to[*i as usize], *i));
    let (mut bounds, mut rows) = (Vec::new(), Vec::new());
    for (place, i) in order.iter().enumerate() {
        let row = to[*i as usize];
        if rows.last() != Some(&row) {
            rows.push(row);
            bounds.push(place as u32);
        }
    }
    bounds.push(order.len() as u32);
    (order, bounds, rows)
}

/// The kernels of decoders.
pub trait SequenceKernels: Tensors {
    /// `out[at + i·e ..] = table[rows[i]] (+ out)` for `(n, e, k)`: n rows, `table [k, e]`; a row of k or more gives zeros. O(n·e).
    #[allow(clippy::too_many_arguments)]
    fn gather(
        &self,
        shape: (usize, usize, usize),
        table: Part<'_, Self::Tensor>,
        rows: Part<'_, Self::Index>,
        accumulate: bool,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// The gradient of [`gather`](Self::gather): `out[at + rows[s]·e ..] += alpha·Σ_p values[order[p]]` over the places p of segment s,
    /// in their order, for `values [n, e]` and `out [k, e]`, `(n, e, k)`. Rows without a segment stay; what leads past the values or
    /// the table adds nothing. Kernel `gather`.
    #[allow(clippy::too_many_arguments)]
    fn scatter_rows(
        &self,
        shape: (usize, usize, usize),
        alpha: f32,
        segments: &Segments<'_, Self::Index>,
        values: &Self::Tensor,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `y = gain·x/√(mean(x²) + epsilon)` over each row of `rows`, of x and of y alike; `gain [dims]`. What lies between the rows of y
    /// stays. Zhang and Sennrich 2019.
    fn rms_norm(
        &self,
        rows: &HeadRows,
        epsilon: f32,
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        y: &mut Self::Tensor,
    ) -> Result<()>;

    /// `grad` of y, in `rows`, becomes that of x; `products [rows, dims]`, without gaps, receives `grad_y·x̂`, whose column totals are
    /// the gain's gradient. Kernel `rms_norm`.
    fn rms_norm_backward(
        &self,
        rows: &HeadRows,
        epsilon: f32,
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        grad: &mut Self::Tensor,
        products: &mut Self::Tensor,
    ) -> Result<()>;

    /// Rotary positions (Su et al. 2021) in the form of Llama: with `c = angles[p·dims + i]`, `s = angles[p·dims + dims/2 + i]` for
    /// position p of the row's token and `i < dims/2`, `(x_i, x_{i + dims/2}) ← (c·x_i − s·x_{i + dims/2}, c·x_{i + dims/2} + s·x_i)`.
    /// `angles [positions, dims]` holds cosines and sines. `inverse` turns back, which is the gradient. `dims` is even; a position past
    /// the table leaves the row.
    fn rotary(
        &self,
        rows: &HeadRows,
        inverse: bool,
        positions: Part<'_, Self::Index>,
        angles: (&Self::Tensor, usize),
        x: &mut Self::Tensor,
    ) -> Result<()>;

    /// Causal attention (Vaswani et al. 2017), never with an N×N matrix: `out [tokens, width]`, and `log_sums [tokens, heads]` for the
    /// backward pass: the log of each softmax' sum. `starts` that are no sequences are refused on the CPU and give values without
    /// meaning on a GPU. O(Σ length²·width). As in Dao 2023.
    fn attention(
        &self,
        shape: &AttentionShape,
        starts: &Self::Index,
        qkv: &Self::Tensor,
        out: &mut Self::Tensor,
        log_sums: &mut Self::Tensor,
    ) -> Result<()>;

    /// `grad_qkv [tokens, row]` from the gradient of `out`. Kernel `attention`.
    #[allow(clippy::too_many_arguments)]
    fn attention_backward(
        &self,
        shape: &AttentionShape,
        starts: &Self::Index,
        qkv: &Self::Tensor,
        out: &Self::Tensor,
        log_sums: &Self::Tensor,
        grad_out: &Self::Tensor,
        grad_qkv: &mut Self::Tensor,
    ) -> Result<()>;

    /// Keeps keys and values: `cache[slots[t]] = (k, v)` of token t, for `cache [slots, cached]`; a slot past the cache is passed over.
    /// The slots of a call are all different. Kernel `attention_cached`.
    fn store_keys(
        &self,
        shape: &AttentionShape,
        slots: Part<'_, Self::Index>,
        qkv: &Self::Tensor,
        cache: &mut Self::Tensor,
    ) -> Result<()>;

    /// Attention of `tokens` new tokens, each over the cached keys and values of the slots `seen[bounds[t]..bounds[t + 1]]`, in that
    /// order, its own among them; beams of one query share the slots of what they have in common. A slot past the cache is passed over; a
    /// token that sees none gets zeros. `out [tokens, width]`.
    fn attention_cached(
        &self,
        shape: &AttentionShape,
        seen: &Self::Index,
        bounds: &Self::Index,
        qkv: &Self::Tensor,
        cache: &Self::Tensor,
        out: &mut Self::Tensor,
    ) -> Result<()>;

    /// `y = silu(x₁)·x₂` for rows `[x₁ | x₂]` of `x [n, 2f]`, `y [n, f]`: SwiGLU's gate (Shazeer 2020).
    fn gated(&self, shape: (usize, usize), x: &Self::Tensor, y: &mut Self::Tensor) -> Result<()>;

    /// `grad_x [n, 2f]` from the gradient of y. Kernel `gated`.
    fn gated_backward(
        &self,
        shape: (usize, usize),
        x: &Self::Tensor,
        grad_y: &Self::Tensor,
        grad_x: &mut Self::Tensor,
    ) -> Result<()>;

    /// `x[i] ← scale·x[i]` where the mask keeps value i, 0 elsewhere; its own gradient. Kernel `activation`.
    fn dropout(&self, len: usize, mask: super::Mask<'_, Self::Index>, x: &mut Self::Tensor) -> Result<()>;

    /// Cross-entropy of rows of logits `[n, k]` with smoothed targets: with `q = (1 − smoothing)·[j = t] + smoothing/k`,
    /// `loss[at + i] = −Σ_j q_j·log softmax_j(x_i)`, then `x_ij ← scale·(softmax_j(x_i) − q_j)`. A target of k or more gives a loss and a
    /// gradient of 0.
    #[allow(clippy::too_many_arguments)]
    fn cross_entropy(
        &self,
        shape: (usize, usize),
        scale: f32,
        smoothing: f32,
        targets: Part<'_, Self::Index>,
        logits: &mut Self::Tensor,
        loss: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// Scores of items by tables: `out[i, j] = Σ_m tables[i, first[m] + codes[j·levels + m]]` for `(n, items, levels)`, `tables [n, width]`
    /// with `width` values a row, `first [levels]`. A code that leads past the row adds nothing. O(n·items·levels).
    #[allow(clippy::too_many_arguments)]
    fn table_scores(
        &self,
        shape: (usize, usize, usize),
        width: usize,
        first: &Self::Index,
        codes: &Self::Index,
        tables: &Self::Tensor,
        out: &mut Self::Tensor,
    ) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::sorted_segments;

    #[test]
    fn segments_hold_every_value_once_in_order() {
        let (order, bounds, rows) = sorted_segments(&[3, 0, 3, 9, 0, 3], 4);
        assert_eq!((order, bounds, rows), (vec![1, 4, 0, 2, 5], vec![0, 2, 5], vec![0, 3]));
        assert_eq!(sorted_segments(&[], 4), (vec![], vec![0], vec![]));
        assert_eq!(sorted_segments(&[7], 4), (vec![], vec![0], vec![]));
    }
}
