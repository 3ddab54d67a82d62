//! [`TensorBackend`] on the CPU: tensors are ordinary vectors, each method checks its sizes and runs at once.
//!
//! Long because a trait is implemented in one block; each method only checks sizes and names its kernel.

use super::activation::Bits;
use super::{
    Cpu, Rows, activation, bf16, column_total, combine, ema, half_norms, layer_norm, matmul, nearest, optimizer,
    quantize, repel, restride, rotation, segment, sinkhorn, softmax, total,
};
use crate::compute::tensor::{Activation, Exponent, Mask, Part, Precision, Product, Rule, Step, TensorBackend};
use crate::error::{Error, Result};

/// A flat run of f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor(Vec<f32>);

/// A flat run of u32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index(Vec<u32>);

fn range(what: &str, have: usize, offset: usize, len: usize) -> Result<std::ops::Range<usize>> {
    match offset.checked_add(len) {
        Some(end) if end <= have => Ok(offset..end),
        _ => Err(Error::Data(format!("{what}: {len} values from {offset} of a tensor of {have}"))),
    }
}

fn part<'a>(what: &str, at: Part<'a, Tensor>, len: usize) -> Result<&'a [f32]> {
    Ok(&at.tensor.0[range(what, at.tensor.0.len(), at.offset, len)?])
}

fn get<'a>(what: &str, tensor: &'a Tensor, len: usize) -> Result<&'a [f32]> {
    Ok(&tensor.0[range(what, tensor.0.len(), 0, len)?])
}

fn get_mut<'a>(what: &str, tensor: &'a mut Tensor, at: usize, len: usize) -> Result<&'a mut [f32]> {
    let range = range(what, tensor.0.len(), at, len)?;
    Ok(&mut tensor.0[range])
}

fn labels<'a>(what: &str, index: &'a Index, len: usize) -> Result<&'a [u32]> {
    Ok(&index.0[range(what, index.0.len(), 0, len)?])
}

fn bits<'a>(mask: Option<Mask<'a, Index>>, len: usize) -> Result<Bits<'a>> {
    let Some(mask) = mask else { return Ok(None) };
    range("mask", mask.bits.0.len() * 32, mask.first_bit, len)?;
    Ok(Some((&mask.bits.0, mask.first_bit, mask.scale)))
}

/// Refuses products that this processor does not have.
fn offered(precision: Precision) -> Result<()> {
    match precision {
        Precision::F32 => Ok(()),
        Precision::Bf16 if bf16::available() => Ok(()),
        _ => Err(Error::Device(format!("this CPU has no {precision} products; use f32"))),
    }
}

fn zeros<T: Clone + Default>(what: &str, len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let needed_bytes = len as u64 * 4;
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { what: what.to_owned(), needed_bytes })?;
    values.resize(len, T::default());
    Ok(values)
}

impl TensorBackend for Cpu {
    type Tensor = Tensor;
    type Index = Index;

    fn offers(&self, precision: Precision) -> bool {
        offered(precision).is_ok()
    }

    fn together<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        rayon::scope(|_| work())
    }

    fn zeros(&self, what: &str, len: usize) -> Result<Tensor> {
        Ok(Tensor(zeros(what, len)?))
    }

    fn tensor_len(&self, tensor: &Tensor) -> usize {
        tensor.0.len()
    }

    fn write_tensor(&self, tensor: &mut Tensor, offset: usize, values: &[f32]) -> Result<()> {
        get_mut("write", tensor, offset, values.len())?.copy_from_slice(values);
        Ok(())
    }

    fn read_tensor(&self, tensor: &Tensor, offset: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(part("read", Part { tensor, offset }, out.len())?);
        Ok(())
    }

    fn index(&self, what: &str, len: usize) -> Result<Index> {
        Ok(Index(zeros(what, len)?))
    }

    fn write_index(&self, index: &mut Index, offset: usize, words: &[u32]) -> Result<()> {
        let range = range("write", index.0.len(), offset, words.len())?;
        index.0[range].copy_from_slice(words);
        Ok(())
    }

    fn read_index(&self, index: &Index, offset: usize, out: &mut [u32]) -> Result<()> {
        let range = range("read", index.0.len(), offset, out.len())?;
        out.copy_from_slice(&index.0[range]);
        Ok(())
    }

    fn rows_to_tensor(&self, rows: &Rows, first: usize, count: usize, out: &mut Tensor) -> Result<()> {
        range("rows", rows.n, first, count)?;
        restride::rows_to_tensor(rows, first, count, get_mut("rows", out, 0, count.saturating_mul(rows.d))?);
        Ok(())
    }

    fn tensor_to_rows(&self, tensor: &Tensor, n: usize, d: usize) -> Result<Rows> {
        Ok(restride::tensor_to_rows(get("rows", tensor, n.saturating_mul(d))?, n, d))
    }

    fn matmul(
        &self,
        product: &Product,
        precision: Precision,
        a: Part<'_, Tensor>,
        b: Part<'_, Tensor>,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        offered(precision)?;
        let Product { m, n, k, .. } = *product;
        matmul::matmul(
            product,
            precision,
            part("left operand", a, m.saturating_mul(k))?,
            part("right operand", b, k.saturating_mul(n))?,
            get_mut("product", out, at, m.saturating_mul(n))?,
        );
        Ok(())
    }

    fn linear(
        &self,
        shape: (usize, usize, usize),
        precision: Precision,
        x: Part<'_, Tensor>,
        weight: Part<'_, Tensor>,
        bias: Part<'_, Tensor>,
        pre: &mut Tensor,
        post: Option<(Activation, &mut Tensor)>,
    ) -> Result<()> {
        offered(precision)?;
        let (n, i, o) = shape;
        let post = match post {
            Some((activation, post)) => Some((activation, get_mut("activations", post, 0, n.saturating_mul(o))?)),
            None => None,
        };
        matmul::linear(
            shape,
            precision,
            part("input of a layer", x, n.saturating_mul(i))?,
            part("weight", weight, o.saturating_mul(i))?,
            part("bias", bias, o)?,
            get_mut("output of a layer", pre, 0, n.saturating_mul(o))?,
            post,
        );
        Ok(())
    }

    fn activate(
        &self,
        activation: Activation,
        len: usize,
        pre: &Tensor,
        mask: Option<Mask<'_, Index>>,
        post: &mut Tensor,
    ) -> Result<()> {
        let post = get_mut("activations", post, 0, len)?;
        activation::activate(activation, get("input of an activation", pre, len)?, bits(mask, len)?, post);
        Ok(())
    }

    fn activate_backward(
        &self,
        activation: Activation,
        len: usize,
        pre: &Tensor,
        mask: Option<Mask<'_, Index>>,
        grad: &mut Tensor,
    ) -> Result<()> {
        let grad = get_mut("gradient", grad, 0, len)?;
        activation::backward(activation, get("input of an activation", pre, len)?, bits(mask, len)?, grad);
        Ok(())
    }

    fn layer_norm(
        &self,
        (n, d): (usize, usize),
        x: &Tensor,
        gain: Part<'_, Tensor>,
        bias: Part<'_, Tensor>,
        y: &mut Tensor,
    ) -> Result<()> {
        let (x, gain, bias) = (get("rows", x, n.saturating_mul(d))?, part("gain", gain, d)?, part("bias", bias, d)?);
        if d > 0 {
            layer_norm::forward(d, x, gain, bias, get_mut("rows", y, 0, n.saturating_mul(d))?);
        }
        Ok(())
    }

    fn layer_norm_backward(
        &self,
        (n, d): (usize, usize),
        x: &Tensor,
        gain: Part<'_, Tensor>,
        grad: &mut Tensor,
        products: &mut Tensor,
    ) -> Result<()> {
        let (x, gain) = (get("rows", x, n.saturating_mul(d))?, part("gain", gain, d)?);
        let (grad, products) = (
            get_mut("gradient", grad, 0, n.saturating_mul(d))?,
            get_mut("products", products, 0, n.saturating_mul(d))?,
        );
        if d > 0 {
            layer_norm::backward(d, x, gain, grad, products);
        }
        Ok(())
    }

    fn column_total(
        &self,
        (n, d): (usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Tensor,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (values, out) = (get("rows", values, n.saturating_mul(d))?, get_mut("totals", out, at, d)?);
        if d > 0 {
            column_total::column_total(d, alpha, accumulate, values, out);
        }
        Ok(())
    }

    fn total(
        &self,
        len: usize,
        squares: bool,
        alpha: f32,
        accumulate: bool,
        values: Part<'_, Tensor>,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let sum = f64::from(alpha) * total::total(part("values", values, len)?, squares);
        let slot = get_mut("total", out, at, 1)?;
        slot[0] = if accumulate { (f64::from(slot[0]) + sum) as f32 } else { sum as f32 };
        Ok(())
    }

    fn combine(&self, len: usize, alpha: f32, x: Part<'_, Tensor>, beta: f32, y: &mut Tensor, at: usize) -> Result<()> {
        combine::combine(alpha, part("values", x, len)?, beta, get_mut("values", y, at, len)?);
        Ok(())
    }

    fn subtract(
        &self,
        len: usize,
        scale: f32,
        a: Part<'_, Tensor>,
        b: Part<'_, Tensor>,
        out: &mut Tensor,
    ) -> Result<()> {
        combine::subtract(scale, part("values", a, len)?, part("values", b, len)?, get_mut("values", out, 0, len)?);
        Ok(())
    }

    fn combine_rows(
        &self,
        (n, d): (usize, usize),
        alpha: f32,
        scales: &Tensor,
        x: Part<'_, Tensor>,
        y: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (scales, x) = (get("scales", scales, n)?, part("rows", x, n.saturating_mul(d))?);
        let y = get_mut("rows", y, at, n.saturating_mul(d))?;
        if d > 0 {
            combine::combine_rows(d, alpha, scales, x, y);
        }
        Ok(())
    }

    fn clear(&self, values: &mut Tensor, at: usize, len: usize) -> Result<()> {
        get_mut("values", values, at, len)?.fill(0.0);
        Ok(())
    }

    fn half_norms(&self, (k, e): (usize, usize), codebook: Part<'_, Tensor>, out: &mut Tensor) -> Result<()> {
        let (codebook, out) = (part("codebook", codebook, k.saturating_mul(e))?, get_mut("half norms", out, 0, k)?);
        if e > 0 {
            half_norms::half_norms(e, codebook, out);
        }
        Ok(())
    }

    fn nearest(&self, (n, k): (usize, usize), dots: &Tensor, half_norms: &Tensor, labels: &mut Index) -> Result<()> {
        let range = range("labels", labels.0.len(), 0, n)?;
        let (dots, half_norms) = (get("dot products", dots, n.saturating_mul(k))?, get("half norms", half_norms, k)?);
        if k > 0 {
            nearest::nearest(k, dots, half_norms, &mut labels.0[range]);
        }
        Ok(())
    }

    fn nearest_other(&self, n: usize, dots: &Tensor, half_norms: &Tensor, labels: &mut Index) -> Result<()> {
        let range = range("labels", labels.0.len(), 0, n)?;
        let (dots, half_norms) = (get("dot products", dots, n.saturating_mul(n))?, get("half norms", half_norms, n)?);
        if n > 0 {
            nearest::nearest_other(n, dots, half_norms, &mut labels.0[range]);
        }
        Ok(())
    }

    fn repel(
        &self,
        (n, e): (usize, usize),
        scale: f32,
        epsilon: f32,
        z: &Tensor,
        neighbours: &Index,
        pull: &mut Tensor,
        logs: &mut Tensor,
    ) -> Result<()> {
        let (z, neighbours) = (get("rows", z, n.saturating_mul(e))?, labels("neighbours", neighbours, n)?);
        let (pull, logs) = (get_mut("pull", pull, 0, n.saturating_mul(e))?, get_mut("logs", logs, 0, n)?);
        if e > 0 {
            repel::repel(e, scale, epsilon, z, neighbours, pull, logs);
        }
        Ok(())
    }

    fn quantize(
        &self,
        (n, e, k): (usize, usize, usize),
        first: bool,
        residual: &Tensor,
        codebook: Part<'_, Tensor>,
        labels: &Index,
        next: &mut Tensor,
        sum: &mut Tensor,
    ) -> Result<()> {
        let (residual, codebook) =
            (get("residuals", residual, n.saturating_mul(e))?, part("codebook", codebook, k.saturating_mul(e))?);
        let labels = self::labels("labels", labels, n)?;
        let (next, sum) =
            (get_mut("residuals", next, 0, n.saturating_mul(e))?, get_mut("sums", sum, 0, n.saturating_mul(e))?);
        if e > 0 {
            quantize::quantize(e, first, residual, codebook, labels, next, sum);
        }
        Ok(())
    }

    fn segment_sum(
        &self,
        (n, e, k): (usize, usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Tensor,
        labels: &Index,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (values, labels) = (get("rows", values, n.saturating_mul(e))?, self::labels("labels", labels, n)?);
        let out = get_mut("sums", out, at, k.saturating_mul(e))?;
        if e > 0 && k > 0 {
            segment::sums(e, alpha, accumulate, values, labels, out);
        }
        Ok(())
    }

    fn segment_count(
        &self,
        (n, k): (usize, usize),
        accumulate: bool,
        labels: &Index,
        counts: &mut Tensor,
    ) -> Result<()> {
        segment::counts(accumulate, self::labels("labels", labels, n)?, get_mut("counts", counts, 0, k)?);
        Ok(())
    }

    fn ema(
        &self,
        (k, e): (usize, usize),
        decay: f32,
        epsilon: f32,
        batch_counts: &Tensor,
        sums: &Tensor,
        counts: &mut Tensor,
        means: &mut Tensor,
        codebook: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (batch, sums) = (get("batch counts", batch_counts, k)?, get("sums", sums, k.saturating_mul(e))?);
        let (counts, means) = (get_mut("counts", counts, 0, k + 1)?, get_mut("means", means, 0, k.saturating_mul(e))?);
        let codebook = get_mut("codebook", codebook, at, k.saturating_mul(e))?;
        if k > 0 && e > 0 {
            ema::ema(e, decay, epsilon, batch, sums, counts, means, codebook);
        }
        Ok(())
    }

    fn rotate_backward(
        &self,
        (n, e): (usize, usize),
        residual: &Tensor,
        next: &Tensor,
        upstream: &Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        let (residual, next) =
            (get("residuals", residual, n.saturating_mul(e))?, get("residuals", next, n.saturating_mul(e))?);
        let (upstream, out) =
            (get("gradient", upstream, n.saturating_mul(e))?, get_mut("gradient", out, 0, n.saturating_mul(e))?);
        if e > 0 {
            rotation::backward(e, residual, next, upstream, out);
        }
        Ok(())
    }

    fn gumbel_softmax(
        &self,
        (n, k): (usize, usize),
        temperature: f32,
        half_norms: &Tensor,
        noise: &Tensor,
        dots: &mut Tensor,
    ) -> Result<()> {
        let (half_norms, noise) = (get("half norms", half_norms, k)?, get("noise", noise, n.saturating_mul(k))?);
        let dots = get_mut("dot products", dots, 0, n.saturating_mul(k))?;
        if k > 0 {
            softmax::gumbel(k, temperature, half_norms, noise, dots);
        }
        Ok(())
    }

    fn softmax_backward(
        &self,
        (n, k): (usize, usize),
        scale: f32,
        probabilities: &Tensor,
        grad: &mut Tensor,
    ) -> Result<()> {
        let (p, grad) = (
            get("probabilities", probabilities, n.saturating_mul(k))?,
            get_mut("gradient", grad, 0, n.saturating_mul(k))?,
        );
        if k > 0 {
            softmax::backward(k, scale, p, grad);
        }
        Ok(())
    }

    fn contrast(
        &self,
        (n, m): (usize, usize),
        scale: f32,
        exclude_diagonal: bool,
        targets: &Index,
        weights: Option<&Tensor>,
        logits: &mut Tensor,
        loss: &mut Tensor,
    ) -> Result<()> {
        let targets = labels("targets", targets, n)?;
        let weights = weights.map(|w| get("weights", w, n)).transpose()?;
        let (logits, loss) = (get_mut("logits", logits, 0, n.saturating_mul(m))?, get_mut("losses", loss, 0, n)?);
        if m > 0 {
            softmax::contrast(m, scale, exclude_diagonal, targets, weights, logits, loss);
        }
        Ok(())
    }

    fn sinkhorn(
        &self,
        (n, e, k): (usize, usize, usize),
        exponent: Exponent,
        iterations: usize,
        residual: &Tensor,
        half_norms: &Tensor,
        dots: &mut Tensor,
        potentials: &mut Tensor,
        labels: &mut Index,
    ) -> Result<()> {
        let range = range("labels", labels.0.len(), 0, n)?;
        let (residual, half_norms) =
            (get("residuals", residual, n.saturating_mul(e))?, get("half norms", half_norms, k)?);
        let (dots, v) =
            (get_mut("dot products", dots, 0, n.saturating_mul(k))?, get_mut("potentials", potentials, 0, k)?);
        if n > 0 && k > 0 && e > 0 {
            sinkhorn::sinkhorn(k, e, exponent, iterations, residual, half_norms, dots, v, &mut labels.0[range]);
        }
        Ok(())
    }

    fn optimize(
        &self,
        step: &Step,
        grads: &Tensor,
        norms: &Tensor,
        params: &mut Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
    ) -> Result<()> {
        let norm = if step.clip.is_finite() {
            part("norms", Part { tensor: norms, offset: step.norm_slot }, 1)?[0]
        } else {
            0.0
        };
        let grads = part("gradients", Part { tensor: grads, offset: step.offset }, step.len)?;
        let params = get_mut("parameters", params, step.offset, step.len)?;
        let (uses_first, uses_second) = match step.rule {
            Rule::Sgd { momentum } => (momentum != 0.0, false),
            Rule::Adam { .. } => (true, true),
            Rule::Adagrad { .. } => (true, false),
        };
        let (at, len) = (step.offset, step.len);
        let first = if uses_first { get_mut("first moments", first, at, len)? } else { &mut [] };
        let second = if uses_second { get_mut("second moments", second, at, len)? } else { &mut [] };
        optimizer::optimize(step, norm, grads, params, first, second);
        Ok(())
    }
}
