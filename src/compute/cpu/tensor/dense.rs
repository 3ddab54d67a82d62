//! Kernels of networks: sizes are checked, kernels are named.

use super::super::{Cpu, Rows, activation, column_total, combine, layer_norm, matmul, optimizer, restride, total};
use super::{Index, Tensor, bits, get, get_mut, offered, part, range};
use crate::compute::tensor::{Activation, DenseKernels, Mask, Part, Precision, Product, Rule, Step};
use crate::error::Result;

impl DenseKernels for Cpu {
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
