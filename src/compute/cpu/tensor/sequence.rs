//! Kernels of decoders: sizes are checked, kernels are named.

use super::super::{
    Cpu, activation, attention, attention_backward, attention_cached, cross_entropy, gated, gather, rms_norm, rotary,
    table_scores,
};
use super::{Index, Tensor, bits, get, get_mut, labels, part, range};
use crate::compute::tensor::{AttentionShape, HeadRows, Mask, Part, Segments, SequenceKernels};
use crate::error::{Error, Result};

fn words<'a>(what: &str, at: Part<'a, Index>, len: usize) -> Result<&'a [u32]> {
    Ok(&at.tensor.0[range(what, at.tensor.0.len(), at.offset, len)?])
}

/// The values of `rows`, from the first row on to the last one's end.
fn rows_of<'a>(rows: &HeadRows, x: &'a Tensor) -> Result<&'a [f32]> {
    Ok(&get("rows", x, rows.end())?[rows.offset.min(rows.end())..])
}

fn rows_of_mut<'a>(rows: &HeadRows, x: &'a mut Tensor) -> Result<&'a mut [f32]> {
    Ok(&mut get_mut("rows", x, 0, rows.end())?[rows.offset.min(rows.end())..])
}

/// Refuses starts that are those of no sequences.
fn sequences<'a>(shape: &AttentionShape, starts: &'a Index) -> Result<&'a [u32]> {
    shape.check()?;
    let starts = labels("starts", starts, shape.tokens)?;
    match attention::bad_start(starts) {
        Some(t) => Err(Error::Data(format!("token {t} cannot start at {}: give the start of its sequence", starts[t]))),
        None => Ok(starts),
    }
}

impl SequenceKernels for Cpu {
    fn gather(
        &self,
        (n, e, k): (usize, usize, usize),
        table: Part<'_, Tensor>,
        rows: Part<'_, Index>,
        accumulate: bool,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (table, rows) = (part("table", table, k.saturating_mul(e))?, words("rows", rows, n)?);
        let out = get_mut("rows", out, at, n.saturating_mul(e))?;
        if e > 0 {
            gather::gather(e, table, rows, accumulate, out);
        }
        Ok(())
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
        let rows = labels("rows", segments.rows, segments.count)?;
        let bounds = labels("bounds", segments.bounds, segments.count.saturating_add(1))?;
        let values = get("values", values, n.saturating_mul(e))?;
        let out = get_mut("table", out, at, k.saturating_mul(e))?;
        if e > 0 {
            gather::scatter(e, alpha, (&segments.order.0, bounds, rows), values, out);
        }
        Ok(())
    }

    fn rms_norm(
        &self,
        rows: &HeadRows,
        epsilon: f32,
        x: &Tensor,
        gain: Part<'_, Tensor>,
        y: &mut Tensor,
    ) -> Result<()> {
        rows.check()?;
        let (x, gain, y) = (rows_of(rows, x)?, part("gain", gain, rows.dims)?, rows_of_mut(rows, y)?);
        if !x.is_empty() {
            rms_norm::forward(rows, epsilon, x, gain, y);
        }
        Ok(())
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
        rows.check()?;
        let (x, gain, grad) = (rows_of(rows, x)?, part("gain", gain, rows.dims)?, rows_of_mut(rows, grad)?);
        let dense = rows.tokens.saturating_mul(rows.heads).saturating_mul(rows.dims);
        let products = get_mut("products", products, 0, dense)?;
        if !products.is_empty() {
            rms_norm::backward(rows, epsilon, x, gain, grad, products);
        }
        Ok(())
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
        let positions = words("positions", positions, rows.tokens)?;
        let (angles, x) = (get("angles", angles, held.saturating_mul(rows.dims))?, rows_of_mut(rows, x)?);
        if !x.is_empty() {
            rotary::rotary(rows, inverse, positions, angles, x);
        }
        Ok(())
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        starts: &Index,
        qkv: &Tensor,
        out: &mut Tensor,
        log_sums: &mut Tensor,
    ) -> Result<()> {
        let starts = sequences(shape, starts)?;
        let qkv = get("queries, keys and values", qkv, shape.tokens.saturating_mul(shape.row()))?;
        let out = get_mut("output", out, 0, shape.tokens.saturating_mul(shape.width()))?;
        let log_sums = get_mut("logs of sums", log_sums, 0, shape.tokens.saturating_mul(shape.heads))?;
        attention::forward(shape, starts, qkv, out, log_sums);
        Ok(())
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
        let starts = sequences(shape, starts)?;
        let (rows, width) = (shape.tokens.saturating_mul(shape.row()), shape.tokens.saturating_mul(shape.width()));
        let given = attention_backward::Given {
            qkv: get("queries, keys and values", qkv, rows)?,
            out: get("output", out, width)?,
            log_sums: get("logs of sums", log_sums, shape.tokens.saturating_mul(shape.heads))?,
            grad_out: get("gradient", grad_out, width)?,
        };
        attention_backward::backward(shape, starts, given, get_mut("gradient", grad_qkv, 0, rows)?);
        Ok(())
    }

    fn store_keys(
        &self,
        shape: &AttentionShape,
        slots: Part<'_, Index>,
        qkv: &Tensor,
        cache: &mut Tensor,
    ) -> Result<()> {
        shape.check()?;
        let slots = words("slots", slots, shape.tokens)?;
        let qkv = get("queries, keys and values", qkv, shape.tokens.saturating_mul(shape.row()))?;
        attention_cached::store(shape, slots, qkv, &mut cache.0);
        Ok(())
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
        shape.check()?;
        let bounds = labels("bounds", bounds, shape.tokens.saturating_add(1))?;
        if let Some(t) = (0..shape.tokens).find(|t| bounds[*t] > bounds[*t + 1]) {
            let (from, to) = (bounds[t], bounds[t + 1]);
            return Err(Error::Data(format!("token {t} sees the slots {from}..{to}: bounds must ascend")));
        }
        let seen = labels("slots", seen, bounds[shape.tokens] as usize)?;
        let qkv = get("queries, keys and values", qkv, shape.tokens.saturating_mul(shape.row()))?;
        let out = get_mut("output", out, 0, shape.tokens.saturating_mul(shape.width()))?;
        attention_cached::attention(shape, seen, bounds, qkv, &cache.0, out);
        Ok(())
    }

    fn gated(&self, (n, f): (usize, usize), x: &Tensor, y: &mut Tensor) -> Result<()> {
        let len = n.saturating_mul(f);
        let (x, y) = (get("rows", x, len.saturating_mul(2))?, get_mut("rows", y, 0, len)?);
        if f > 0 {
            gated::forward(f, x, y);
        }
        Ok(())
    }

    fn gated_backward(&self, (n, f): (usize, usize), x: &Tensor, grad_y: &Tensor, grad_x: &mut Tensor) -> Result<()> {
        let len = n.saturating_mul(f);
        let (x, grad_y) = (get("rows", x, len.saturating_mul(2))?, get("gradient", grad_y, len)?);
        let grad_x = get_mut("gradient", grad_x, 0, len.saturating_mul(2))?;
        if f > 0 {
            gated::backward(f, x, grad_y, grad_x);
        }
        Ok(())
    }

    fn dropout(&self, len: usize, mask: Mask<'_, Index>, x: &mut Tensor) -> Result<()> {
        let x = get_mut("values", x, 0, len)?;
        if let Some(bits) = bits(Some(mask), len)? {
            activation::dropout(bits, x);
        }
        Ok(())
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
        let targets = words("targets", targets, n)?;
        let (logits, loss) = (get_mut("logits", logits, 0, n.saturating_mul(k))?, get_mut("losses", loss, at, n)?);
        if k > 0 {
            cross_entropy::cross_entropy(k, scale, smoothing, targets, logits, loss);
        } else {
            loss.fill(0.0);
        }
        Ok(())
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
        let (first, codes) = (labels("levels", first, levels)?, labels("codes", codes, items.saturating_mul(levels))?);
        let tables = get("tables", tables, n.saturating_mul(width))?;
        let out = get_mut("scores", out, 0, n.saturating_mul(items))?;
        if items > 0 {
            table_scores::table_scores((items, levels), width, first, codes, tables, out);
        }
        Ok(())
    }
}
