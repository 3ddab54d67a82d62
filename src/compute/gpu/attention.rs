//! Attention: forward and backward over whole sequences, and over keys and values that were kept.
//!
//! How long sequences are is known to the device alone, so the cost of a pass is a guess, and what lies in an index is kept in bounds by
//! the kernels themselves.

use super::Gpu;
use super::elementwise::{elementwise, fits, fits_len};
use super::kernel::{HEADS, Id};
use super::quantise::side;
use super::record::{Launch, Span, whole};
use super::sizes::{byte_size, words};
use super::tensor::{Index, Tensor};
use crate::compute::params;
use crate::compute::tensor::{AttentionShape, Part};
use crate::error::{Error, Result};
use bytemuck::bytes_of;

/// Values of a head at most: a loop takes 8 at a time, and some drivers leave a loop after 65,535 trips.
const WIDEST: usize = 8 * 65_535;
/// Tokens that a sequence is taken to have when the cost of an attention is guessed.
const GUESS: usize = 256;
/// Workgroups of a launch at least, so that also a large device is full.
const LEAST: u64 = 4096;

/// One of the attention's passes.
struct Pass<'a> {
    id: Id,
    entry: usize,
    /// Heads that it takes apart.
    heads: usize,
    /// Products of whole heads that it takes, per pair of tokens and head of the queries.
    products: usize,
    spans: &'a [Span<'a>],
}

/// An attention's uniform; `chunks` is for workgroups of `columns` columns.
fn uniform(shape: &AttentionShape, columns: usize) -> Result<params::Attention> {
    shape.check()?;
    if shape.head_dims > WIDEST {
        return Err(Error::Data(format!("attention takes heads of up to {WIDEST} values, got {}", shape.head_dims)));
    }
    words(shape.tokens.saturating_mul(shape.row()), "queries, keys and values")?;
    Ok(params::Attention {
        tokens: side(shape.tokens, "tokens")?,
        heads: side(shape.heads, "heads")?,
        kv_heads: side(shape.kv_heads, "heads of keys")?,
        share: (shape.heads / shape.kv_heads) as u32,
        dims: side(shape.head_dims, "values of a head")?,
        row: words(shape.row(), "values of a token")?,
        chunks: shape.head_dims.div_ceil(columns) as u32,
        first: 0,
        scale: shape.scale.to_bits(),
    })
}

impl Gpu {
    /// Records a pass of the attention in launches that end soon even if all tokens are one sequence.
    fn record_attention(&self, shape: &AttentionShape, pass: &Pass<'_>) -> Result<()> {
        let variant = HEADS.iter().position(|v| shape.head_dims <= v.get("WIDTH") as usize).unwrap_or(HEADS.len() - 1);
        let (columns, own) = (HEADS[variant].get("WIDTH") as usize, HEADS[variant].get("OWN") as usize);
        let mut uniform = uniform(shape, columns)?;
        let groups = (shape.tokens.div_ceil(own) * pass.heads) as u64 * u64::from(uniform.chunks);
        words(groups as usize, "workgroups")?;
        let pair = (2 * pass.products * shape.head_dims * shape.heads / pass.heads) as f64;
        let cost = |tokens: usize| (own * shape.tokens.min(tokens)) as f64 * pair;
        let most = LEAST.max((self.core.launch_cost() / cost(usize::MAX)) as u64);
        for first in (0..groups).step_by(most as usize) {
            let groups = most.min(groups - first);
            uniform.first = first as u32;
            self.core.launch(&Launch {
                id: pass.id,
                entry: pass.entry,
                variant,
                spans: pass.spans,
                params: bytes_of(&uniform),
                groups,
                cost: groups as f64 * cost(GUESS),
            })?;
        }
        Ok(())
    }

    pub(super) fn attend(
        &self,
        shape: &AttentionShape,
        starts: &Index,
        qkv: &Tensor,
        out: &mut Tensor,
        log_sums: &mut Tensor,
    ) -> Result<()> {
        shape.check()?;
        fits_len("starts", starts.len, 0, shape.tokens)?;
        fits("qkv", qkv, 0, shape.tokens.saturating_mul(shape.row()))?;
        fits("out", out, 0, shape.tokens.saturating_mul(shape.width()))?;
        fits("log_sums", log_sums, 0, shape.tokens.saturating_mul(shape.heads))?;
        let spans = [whole(&starts.buffer), whole(&qkv.buffer), whole(&out.buffer), whole(&log_sums.buffer)];
        let pass = Pass { id: Id::Attention, entry: 0, heads: shape.heads, products: 2, spans: &spans };
        self.record_attention(shape, &pass)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn attend_backward(
        &self,
        shape: &AttentionShape,
        starts: &Index,
        qkv: &Tensor,
        out: &Tensor,
        log_sums: &Tensor,
        grad_out: &Tensor,
        grad_qkv: &mut Tensor,
    ) -> Result<()> {
        shape.check()?;
        let (row, width) = (shape.tokens.saturating_mul(shape.row()), shape.tokens.saturating_mul(shape.width()));
        fits_len("starts", starts.len, 0, shape.tokens)?;
        fits("qkv", qkv, 0, row)?;
        fits("out", out, 0, width)?;
        fits("grad_out", grad_out, 0, width)?;
        fits("grad_qkv", grad_qkv, 0, row)?;
        fits("log_sums", log_sums, 0, shape.tokens.saturating_mul(shape.heads))?;
        // Scratch is shared: nobody else may record between the kernels that use it.
        let _turn = self.core.turn()?;
        let deltas = self.core.scratch("attention deltas", byte_size(shape.tokens, shape.heads))?;
        let [given, seen, deltas] = [&grad_out.buffer, &qkv.buffer, &deltas].map(whole);
        let (starts, log_sums, grad) = (whole(&starts.buffer), whole(&log_sums.buffer), whole(&grad_qkv.buffer));
        let spans = [starts, seen, given, log_sums, whole(&out.buffer), deltas, grad];
        let pass = Pass { id: Id::AttentionQueries, entry: 0, heads: shape.heads, products: 3, spans: &spans };
        self.record_attention(shape, &pass)?;
        let spans = [starts, seen, given, log_sums, deltas, grad];
        let pass = Pass { id: Id::AttentionKeys, entry: 0, heads: shape.kv_heads, products: 3, spans: &spans };
        self.record_attention(shape, &pass)?;
        let pass = Pass { id: Id::AttentionKeys, entry: 1, heads: shape.kv_heads, products: 2, spans: &spans };
        self.record_attention(shape, &pass)
    }

    pub(super) fn keep_keys(
        &self,
        shape: &AttentionShape,
        slots: Part<'_, Index>,
        qkv: &Tensor,
        cache: &mut Tensor,
    ) -> Result<()> {
        let mut uniform = cached(shape, cache)?;
        uniform.first = fits_len("slots", slots.tensor.len, slots.offset, shape.tokens)?;
        fits("qkv", qkv, 0, shape.tokens.saturating_mul(shape.row()))?;
        let spans = [whole(&slots.tensor.buffer), whole(&qkv.buffer), whole(&cache.buffer)];
        let len = shape.tokens.saturating_mul(shape.cached());
        elementwise(self, Id::AttentionCached, 1, &spans, bytes_of(&uniform), len, 2)
    }

    pub(super) fn attend_cached(
        &self,
        shape: &AttentionShape,
        seen: &Index,
        bounds: &Index,
        qkv: &Tensor,
        cache: &Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        let mut uniform = cached(shape, cache)?;
        uniform.listed = words(seen.len, "slots")?;
        fits_len("bounds", bounds.len, 0, shape.tokens.saturating_add(1))?;
        fits("qkv", qkv, 0, shape.tokens.saturating_mul(shape.row()))?;
        fits("out", out, 0, shape.tokens.saturating_mul(shape.width()))?;
        let [seen_span, bounds] = [seen, bounds].map(|i| whole(&i.buffer));
        let spans = [seen_span, bounds, whole(&qkv.buffer), whole(&cache.buffer), whole(&out.buffer)];
        let groups = shape.tokens * shape.heads * uniform.chunks as usize;
        let touched = seen.len.saturating_mul(2 * shape.width());
        self.record((Id::AttentionCached, 0, 0), &spans, bytes_of(&uniform), groups, touched)
    }
}

/// The uniform of `attention_cached`.
fn cached(shape: &AttentionShape, cache: &Tensor) -> Result<params::AttentionCached> {
    let of = uniform(shape, 256)?;
    Ok(params::AttentionCached {
        tokens: of.tokens,
        heads: of.heads,
        kv_heads: of.kv_heads,
        share: of.share,
        dims: of.dims,
        row: of.row,
        chunks: of.chunks,
        scale: of.scale,
        slots: words(cache.len / shape.cached(), "slots")?,
        ..Default::default()
    })
}
