//! Kernels of decoders: gathered rows, RMS norm, rotary positions, attention, gates, cross-entropy, scores by tables.
//!
//! All of them only record. What lies in an index is kept in bounds by the kernels themselves. Attention is in `attention.rs`.

use super::Gpu;
use super::elementwise::{elementwise, fits, fits_len};
use super::kernel::Id;
use super::quantise::side;
use super::record::{Span, whole};
use super::sizes::words;
use super::tensor::{Index, Tensor};
use crate::compute::params;
use crate::compute::tensor::{AttentionShape, HeadRows, Mask, Part, Segments, SequenceKernels};
use crate::error::{Error, Result};
use bytemuck::bytes_of;

/// Places of one segment at most: its loop takes 16 at a time, and some drivers leave a loop after 65,535 trips.
const LONGEST: usize = 16 * 65_535;

impl Gpu {
    fn record_rms_norm(
        &self,
        rows: &HeadRows,
        epsilon: f32,
        gain: Part<'_, Tensor>,
        x: &Tensor,
        (what, y): (&str, &Tensor),
        products: Option<Span<'_>>,
    ) -> Result<()> {
        rows.check()?;
        fits("x", x, 0, rows.end())?;
        fits(what, y, 0, rows.end())?;
        let uniform = params::RmsNorm {
            rows: words(rows.tokens.saturating_mul(rows.heads), "rows")?,
            d: side(rows.dims, "values of a row")?,
            heads: words(rows.heads, "heads")?,
            stride: words(rows.stride, "stride")?,
            offset: words(rows.offset, "offset")?,
            gain: fits("gain", gain.tensor, gain.offset, rows.dims)?,
            epsilon: epsilon.to_bits(),
        };
        let (x, gains, y) = (whole(&x.buffer), whole(&gain.tensor.buffer), whole(&y.buffer));
        let spans = [x, gains, y, products.unwrap_or(y)];
        let (entry, bindings) = if products.is_some() { (1, 4) } else { (0, 3) };
        let groups = if rows.dims > 0 { rows.rows().div_ceil(4) } else { 0 };
        let touched = rows.rows().saturating_mul(rows.dims).saturating_mul(bindings);
        self.record((Id::RmsNorm, entry, 0), &spans[..bindings], bytes_of(&uniform), groups, touched)
    }
}

impl SequenceKernels for Gpu {
    fn gather(
        &self,
        (n, e, k): (usize, usize, usize),
        table: Part<'_, Tensor>,
        rows: Part<'_, Index>,
        accumulate: bool,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let len = n.saturating_mul(e);
        let uniform = params::Gather {
            n: words(n, "rows")?,
            e: words(e, "values of a row")?,
            k: words(k, "rows of the table")?,
            first: fits("table", table.tensor, table.offset, k.saturating_mul(e))?,
            first_row: fits_len("rows", rows.tensor.len, rows.offset, n)?,
            at: fits("out", out, at, len)?,
            accumulate: u32::from(accumulate),
            ..Default::default()
        };
        let spans = [whole(&table.tensor.buffer), whole(&rows.tensor.buffer), whole(&out.buffer)];
        elementwise(self, Id::Gather, 0, &spans, bytes_of(&uniform), len, 3)
    }

    fn scatter_rows(
        &self,
        (n, e, k): (usize, usize, usize),
        alpha: f32,
        segments: &Segments<'_, Index>,
        values: &Tensor,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        if n > LONGEST {
            return Err(Error::Data(format!(
                "rows are added up {LONGEST} at a time, got {n}: pass fewer, several times"
            )));
        }
        fits("values", values, 0, n.saturating_mul(e))?;
        fits_len("rows", segments.rows.len, 0, segments.count)?;
        fits_len("bounds", segments.bounds.len, 0, segments.count.saturating_add(1))?;
        let column_groups = e.div_ceil(64);
        let uniform = params::Gather {
            n: words(n, "rows")?,
            e: words(e, "values of a row")?,
            k: words(k, "rows of the table")?,
            segments: words(segments.count, "segments")?,
            at: fits("out", out, at, k.saturating_mul(e))?,
            alpha: alpha.to_bits(),
            column_groups: words(column_groups, "columns")?,
            listed: segments.order.len.min(LONGEST) as u32,
            ..Default::default()
        };
        let [order, bounds, rows] = [segments.order, segments.bounds, segments.rows].map(|i| whole(&i.buffer));
        let spans = [whole(&values.buffer), rows, whole(&out.buffer), order, bounds];
        let groups = segments.count.saturating_mul(column_groups);
        self.record((Id::Gather, 1, 0), &spans, bytes_of(&uniform), groups, (n + 2 * segments.count) * e)
    }

    fn rms_norm(
        &self,
        rows: &HeadRows,
        epsilon: f32,
        x: &Tensor,
        gain: Part<'_, Tensor>,
        y: &mut Tensor,
    ) -> Result<()> {
        self.record_rms_norm(rows, epsilon, gain, x, ("y", y), None)
    }

    fn rms_norm_backward(
        &self,
        rows: &HeadRows,
        epsilon: f32,
        x: &Tensor,
        gain: Part<'_, Tensor>,
        grad: &mut Tensor,
        products: &mut Tensor,
    ) -> Result<()> {
        fits("products", products, 0, rows.tokens.saturating_mul(rows.heads).saturating_mul(rows.dims))?;
        self.record_rms_norm(rows, epsilon, gain, x, ("grad", grad), Some(whole(&products.buffer)))
    }

    fn rotary(
        &self,
        rows: &HeadRows,
        inverse: bool,
        positions: Part<'_, Index>,
        (angles, held): (&Tensor, usize),
        x: &mut Tensor,
    ) -> Result<()> {
        rows.check()?;
        if !rows.dims.is_multiple_of(2) {
            return Err(Error::Data(format!("values are turned in pairs, got heads of {}", rows.dims)));
        }
        fits("angles", angles, 0, held.saturating_mul(rows.dims))?;
        fits("rows", x, 0, rows.end())?;
        let uniform = params::Rotary {
            tokens: words(rows.tokens, "tokens")?,
            heads: words(rows.heads, "heads")?,
            d: words(rows.dims, "values of a head")?,
            stride: words(rows.stride, "stride")?,
            offset: words(rows.offset, "offset")?,
            first_position: fits_len("positions", positions.tensor.len, positions.offset, rows.tokens)?,
            positions: words(held, "positions")?,
            inverse: u32::from(inverse),
        };
        let spans = [whole(&positions.tensor.buffer), whole(&angles.buffer), whole(&x.buffer)];
        let pairs = rows.rows().saturating_mul(rows.dims / 2);
        elementwise(self, Id::Rotary, 0, &spans, bytes_of(&uniform), pairs, 6)
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        starts: &Index,
        qkv: &Tensor,
        out: &mut Tensor,
        log_sums: &mut Tensor,
    ) -> Result<()> {
        self.attend(shape, starts, qkv, out, log_sums)
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        starts: &Index,
        qkv: &Tensor,
        out: &Tensor,
        log_sums: &Tensor,
        grad_out: &Tensor,
        grad_qkv: &mut Tensor,
    ) -> Result<()> {
        self.attend_backward(shape, starts, qkv, out, log_sums, grad_out, grad_qkv)
    }

    fn store_keys(
        &self,
        shape: &AttentionShape,
        slots: Part<'_, Index>,
        qkv: &Tensor,
        cache: &mut Tensor,
    ) -> Result<()> {
        self.keep_keys(shape, slots, qkv, cache)
    }

    fn attention_cached(
        &self,
        shape: &AttentionShape,
        seen: &Index,
        bounds: &Index,
        qkv: &Tensor,
        cache: &Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        self.attend_cached(shape, seen, bounds, qkv, cache, out)
    }

    fn gated(&self, (n, f): (usize, usize), x: &Tensor, y: &mut Tensor) -> Result<()> {
        let len = n.saturating_mul(f);
        fits("x", x, 0, len.saturating_mul(2))?;
        fits("y", y, 0, len)?;
        let uniform = params::Gated { n: words(n, "rows")?, f: words(f, "values of a row")? };
        elementwise(self, Id::Gated, 0, &[whole(&x.buffer), whole(&y.buffer)], bytes_of(&uniform), len, 3)
    }

    fn gated_backward(&self, (n, f): (usize, usize), x: &Tensor, grad_y: &Tensor, grad_x: &mut Tensor) -> Result<()> {
        let len = n.saturating_mul(f);
        fits("x", x, 0, len.saturating_mul(2))?;
        fits("grad_y", grad_y, 0, len)?;
        fits("grad_x", grad_x, 0, len.saturating_mul(2))?;
        let uniform = params::Gated { n: words(n, "rows")?, f: words(f, "values of a row")? };
        let spans = [whole(&x.buffer), whole(&grad_y.buffer), whole(&grad_x.buffer)];
        elementwise(self, Id::Gated, 1, &spans, bytes_of(&uniform), len, 5)
    }

    fn dropout(&self, len: usize, mask: Mask<'_, Index>, x: &mut Tensor) -> Result<()> {
        fits("x", x, 0, len)?;
        words(mask.first_bit.saturating_add(len), "bits")?;
        let uniform = params::Activation {
            len: words(len, "values")?,
            first_bit: fits_len("mask", mask.bits.len.saturating_mul(32), mask.first_bit, len)?,
            scale: mask.scale.to_bits(),
            ..Default::default()
        };
        let spans = [whole(&x.buffer), whole(&mask.bits.buffer)];
        elementwise(self, Id::Activation, 4, &spans, bytes_of(&uniform), len, 2)
    }

    fn cross_entropy(
        &self,
        (n, k): (usize, usize),
        scale: f32,
        smoothing: f32,
        targets: Part<'_, Index>,
        logits: &mut Tensor,
        loss: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        fits("logits", logits, 0, n.saturating_mul(k))?;
        let uniform = params::CrossEntropy {
            n: words(n, "rows")?,
            k: side(k, "columns")?,
            factor: scale.to_bits(),
            smoothing: smoothing.to_bits(),
            first: fits_len("targets", targets.tensor.len, targets.offset, n)?,
            at: fits("loss", loss, at, n)?,
        };
        let spans = [whole(&logits.buffer), whole(&targets.tensor.buffer), whole(&loss.buffer)];
        self.record((Id::CrossEntropy, 0, 0), &spans, bytes_of(&uniform), n, n.saturating_mul(3 * k + 1))
    }

    fn table_scores(
        &self,
        (n, items, levels): (usize, usize, usize),
        width: usize,
        first: &Index,
        codes: &Index,
        tables: &Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        let (all, groups) = (n.saturating_mul(items), items.div_ceil(256));
        fits_len("first", first.len, 0, levels)?;
        fits_len("codes", codes.len, 0, items.saturating_mul(levels))?;
        fits("tables", tables, 0, n.saturating_mul(width))?;
        fits("out", out, 0, all)?;
        let uniform = params::TableScores {
            n: words(n, "rows")?,
            items: words(items, "items")?,
            levels: side(levels, "levels")?,
            width: words(width, "values of a row")?,
            item_groups: words(groups, "items")?,
        };
        let spans = [whole(&first.buffer), whole(&codes.buffer), whole(&tables.buffer), whole(&out.buffer)];
        self.record((Id::TableScores, 0, 0), &spans, bytes_of(&uniform), n.div_ceil(8) * groups, all * (levels + 1))
    }
}
