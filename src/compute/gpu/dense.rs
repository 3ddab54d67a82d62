//! Dense kernels of networks: layers, activations, layer norm, sums, optimisers. Products are in `matmul.rs`.
//!
//! Every method checks lengths, records its dispatches and returns: a training step runs without a wait.

use super::Gpu;
use super::elementwise::{elementwise, fits, fits_len, kind};
use super::kernel::Id;
use super::matmul::Multiply;
use super::record::{Launch, Span, whole};
use super::resident::Rows;
use super::sizes::{byte_size, words};
use super::tensor::{Index, Tensor};
use crate::compute::params;
use crate::compute::tensor::{Activation, DenseKernels, Layout, Mask, Part, Precision, Product, Rule, Step};
use crate::error::{Error, Result};
use bytemuck::bytes_of;

/// Blocks of the first level of a sum at most, so that the second is short.
const BLOCKS: usize = 1024;
/// Columns of a row that one loop of `layer_norm` reaches: 64 lanes, 65,535 trips.
const WIDEST: usize = 64 * 65_535;

impl Gpu {
    /// `entry` is that without a mask; the one with a mask follows it.
    fn record_activation(
        &self,
        entry: usize,
        activation: Activation,
        len: usize,
        pre: &Tensor,
        mask: Option<Mask<'_, Index>>,
        (what, out): (&str, &mut Tensor),
    ) -> Result<()> {
        fits("pre", pre, 0, len)?;
        fits(what, out, 0, len)?;
        let mut uniform =
            params::Activation { len: words(len, "values")?, kind: kind(activation), ..Default::default() };
        if let Some(mask) = mask {
            uniform.first_bit = fits_len("mask", mask.bits.len.saturating_mul(32), mask.first_bit, len)?;
            words(mask.first_bit.saturating_add(len), "bits")?;
            uniform.scale = mask.scale.to_bits();
        }
        let _turn = self.core.turn()?;
        let (pre, out) = (whole(&pre.buffer), whole(&out.buffer));
        match mask {
            None => elementwise(self, Id::Activation, entry, &[pre, out], bytes_of(&uniform), len, 3),
            Some(mask) => {
                let spans = [pre, out, whole(&mask.bits.buffer)];
                elementwise(self, Id::Activation, entry + 1, &spans, bytes_of(&uniform), len, 3)
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn record_layer_norm(
        &self,
        entry: usize,
        (n, d): (usize, usize),
        x: &Tensor,
        gain: Part<'_, Tensor>,
        (bias, biases): (u32, Span<'_>),
        (what, y): (&str, &Tensor),
        products: Option<Span<'_>>,
    ) -> Result<()> {
        fits("x", x, 0, n.saturating_mul(d))?;
        fits(what, y, 0, n.saturating_mul(d))?;
        let first = fits("gain", gain.tensor, gain.offset, d)?;
        if d > WIDEST {
            return Err(Error::Data(format!("layer norm takes rows of up to {WIDEST} values, got {d}")));
        }
        if d == 0 {
            return Ok(());
        }
        let _turn = self.core.turn()?;
        let (x, gains, y) = (whole(&x.buffer), whole(&gain.tensor.buffer), whole(&y.buffer));
        self.core.launch(&Launch {
            id: Id::LayerNorm,
            entry,
            variant: 0,
            spans: &products.map_or([x, gains, biases, y], |products| [x, gains, y, products]),
            params: bytes_of(&params::LayerNorm { n: words(n, "rows")?, d: words(d, "d")?, gain: first, bias }),
            groups: n.div_ceil(4) as u64,
            cost: (n * d) as f64 * 160.0,
        })
    }
}

impl DenseKernels for Gpu {
    fn rows_to_tensor(&self, rows: &Rows, first: usize, count: usize, out: &mut Tensor) -> Result<()> {
        let end = first.saturating_add(count);
        if end > rows.n {
            return Err(Error::Data(format!("rows {first}..{end} of {}", rows.n)));
        }
        fits("out", out, 0, count.saturating_mul(rows.d))?;
        let _turn = self.core.turn()?;
        let mut at = first;
        while at < end && rows.d > 0 {
            let (chunk, row) = (at / rows.chunk_rows, at % rows.chunk_rows);
            let here = (rows.chunk_rows - row).min(end - at);
            let uniform = params::Restride {
                rows: words(here, "rows")?,
                d: words(rows.d, "d")?,
                stride: words(rows.stride, "stride")?,
                first: words(row, "row")?,
                at: words((at - first) * rows.d, "values")?,
                ..Default::default()
            };
            let spans = [whole(&rows.chunks[chunk]), whole(&out.buffer)];
            elementwise(self, Id::Restride, 0, &spans, bytes_of(&uniform), here * rows.d, 2)?;
            at += here;
        }
        Ok(())
    }

    fn tensor_to_rows(&self, tensor: &Tensor, n: usize, d: usize) -> Result<Rows> {
        fits("tensor", tensor, 0, n.saturating_mul(d))?;
        let _turn = self.core.turn()?;
        let rows = Rows::new(&self.core, n, d)?;
        for part in rows.parts() {
            let uniform = params::Restride {
                rows: words(part.n, "rows")?,
                d: words(d, "d")?,
                stride: words(rows.stride, "stride")?,
                at: words(part.start * d, "values")?,
                columns: words(d, "d")?,
                ..Default::default()
            };
            let spans = [whole(&tensor.buffer), whole(part.buffer)];
            elementwise(self, Id::Restride, 1, &spans, bytes_of(&uniform), part.n * rows.stride, 2)?;
        }
        Ok(rows)
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
        let _turn = self.core.turn()?;
        self.record_product(&Multiply { product: *product, precision, a, b, out, at, bias: None, post: None })
    }

    #[allow(clippy::too_many_arguments)]
    fn linear(
        &self,
        (n, inputs, outputs): (usize, usize, usize),
        precision: Precision,
        x: Part<'_, Tensor>,
        weight: Part<'_, Tensor>,
        bias: Part<'_, Tensor>,
        pre: &mut Tensor,
        post: Option<(Activation, &mut Tensor)>,
    ) -> Result<()> {
        let _turn = self.core.turn()?;
        self.record_product(&Multiply {
            product: Product { layout: Layout::Nt, m: n, n: outputs, k: inputs, alpha: 1.0, accumulate: false },
            precision,
            a: x,
            b: weight,
            out: pre,
            at: 0,
            bias: Some(bias),
            post: post.map(|(activation, post)| (activation, &*post)),
        })
    }

    fn activate(
        &self,
        activation: Activation,
        len: usize,
        pre: &Tensor,
        mask: Option<Mask<'_, Index>>,
        post: &mut Tensor,
    ) -> Result<()> {
        self.record_activation(0, activation, len, pre, mask, ("post", post))
    }

    fn activate_backward(
        &self,
        activation: Activation,
        len: usize,
        pre: &Tensor,
        mask: Option<Mask<'_, Index>>,
        grad: &mut Tensor,
    ) -> Result<()> {
        self.record_activation(2, activation, len, pre, mask, ("grad", grad))
    }

    fn layer_norm(
        &self,
        shape: (usize, usize),
        x: &Tensor,
        gain: Part<'_, Tensor>,
        bias: Part<'_, Tensor>,
        y: &mut Tensor,
    ) -> Result<()> {
        let first = fits("bias", bias.tensor, bias.offset, shape.1)?;
        let y = ("y", &*y);
        self.record_layer_norm(0, shape, x, gain, (first, whole(&bias.tensor.buffer)), y, None)
    }

    fn layer_norm_backward(
        &self,
        shape: (usize, usize),
        x: &Tensor,
        gain: Part<'_, Tensor>,
        grad: &mut Tensor,
        products: &mut Tensor,
    ) -> Result<()> {
        fits("products", products, 0, shape.0.saturating_mul(shape.1))?;
        let (grad, products) = (("grad", &*grad), whole(&products.buffer));
        self.record_layer_norm(1, shape, x, gain, (0, whole(&gain.tensor.buffer)), grad, Some(products))
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
        fits("values", values, 0, n.saturating_mul(d))?;
        let at = fits("out", out, at, d)?;
        if d == 0 {
            return Ok(());
        }
        // Rows of a block depend on n alone, so the order of the sums does too.
        let block_rows = n.div_ceil(BLOCKS).next_multiple_of(4).max(128);
        let (blocks, column_groups) = (n.div_ceil(block_rows), d.div_ceil(64));
        let uniform = params::ColumnTotal {
            n: words(n, "rows")?,
            d: words(d, "d")?,
            block_rows: words(block_rows, "rows")?,
            blocks: words(blocks, "blocks")?,
            column_groups: words(column_groups, "columns")?,
            alpha: alpha.to_bits(),
            accumulate: u32::from(accumulate),
            at,
        };
        let _turn = self.core.turn()?;
        let sums = self.core.scratch("column totals", byte_size(blocks, d))?;
        let launch = |entry: usize, spans: &[Span<'_>], groups: usize, cost: f64| {
            let params = bytes_of(&uniform);
            self.core.launch(&Launch {
                id: Id::ColumnTotal,
                entry,
                variant: 0,
                spans,
                params,
                groups: groups as u64,
                cost,
            })
        };
        launch(0, &[whole(&values.buffer), whole(&sums)], blocks * column_groups, (n * d) as f64 * 32.0)?;
        launch(1, &[whole(&sums), whole(&out.buffer)], d.div_ceil(16), (blocks * d) as f64 * 32.0)
    }

    #[allow(clippy::too_many_arguments)]
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
        let offset = fits("values", values.tensor, values.offset, len)?;
        let at = fits("out", out, at, 1)?;
        let block_len = len.div_ceil(BLOCKS).next_multiple_of(256).max(4096);
        let blocks = len.div_ceil(block_len);
        let uniform = params::Total {
            len: words(len, "values")?,
            offset,
            block_len: words(block_len, "values")?,
            blocks: words(blocks, "blocks")?,
            squares: u32::from(squares),
            alpha: alpha.to_bits(),
            accumulate: u32::from(accumulate),
            at,
        };
        let _turn = self.core.turn()?;
        let sums = self.core.scratch("totals", 4 * BLOCKS as u64)?;
        let launch = |entry: usize, spans: &[Span<'_>], groups: usize, cost: f64| {
            let params = bytes_of(&uniform);
            self.core.launch(&Launch { id: Id::Total, entry, variant: 0, spans, params, groups: groups as u64, cost })
        };
        launch(0, &[whole(&values.tensor.buffer), whole(&sums)], blocks, len as f64 * 32.0)?;
        launch(1, &[whole(&sums), whole(&out.buffer)], 1, BLOCKS as f64 * 32.0)
    }

    fn combine(&self, len: usize, alpha: f32, x: Part<'_, Tensor>, beta: f32, y: &mut Tensor, at: usize) -> Result<()> {
        let uniform = params::Combine {
            len: words(len, "values")?,
            a: fits("x", x.tensor, x.offset, len)?,
            at: fits("y", y, at, len)?,
            alpha: alpha.to_bits(),
            beta: beta.to_bits(),
            keep: u32::from(beta != 0.0),
            ..Default::default()
        };
        let _turn = self.core.turn()?;
        elementwise(self, Id::Combine, 0, &[whole(&x.tensor.buffer), whole(&y.buffer)], bytes_of(&uniform), len, 3)
    }

    fn subtract(
        &self,
        len: usize,
        scale: f32,
        a: Part<'_, Tensor>,
        b: Part<'_, Tensor>,
        out: &mut Tensor,
    ) -> Result<()> {
        let uniform = params::Combine {
            len: words(len, "values")?,
            a: fits("a", a.tensor, a.offset, len)?,
            b: fits("b", b.tensor, b.offset, len)?,
            at: fits("out", out, 0, len)?,
            alpha: scale.to_bits(),
            ..Default::default()
        };
        let _turn = self.core.turn()?;
        let spans = [whole(&a.tensor.buffer), whole(&b.tensor.buffer), whole(&out.buffer)];
        elementwise(self, Id::Combine, 1, &spans, bytes_of(&uniform), len, 3)
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
        let len = n.saturating_mul(d);
        let uniform = params::Combine {
            len: words(len, "values")?,
            a: fits("x", x.tensor, x.offset, len)?,
            b: fits("scales", scales, 0, n)?,
            at: fits("y", y, at, len)?,
            alpha: alpha.to_bits(),
            beta: 1.0f32.to_bits(),
            keep: 1,
            pieces: words(d.max(1), "values of a row")?,
        };
        let _turn = self.core.turn()?;
        let spans = [whole(&x.tensor.buffer), whole(&scales.buffer), whole(&y.buffer)];
        elementwise(self, Id::Combine, 3, &spans, bytes_of(&uniform), len, 4)
    }

    fn clear(&self, values: &mut Tensor, at: usize, len: usize) -> Result<()> {
        fits("values", values, at, len)?;
        let _turn = self.core.turn()?;
        self.core.clear_span(Span { buffer: &values.buffer, offset: byte_size(1, at), bytes: byte_size(1, len) });
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
        let (offset, len) = (step.offset, step.len);
        let mut uniform = params::Optimizer {
            offset: fits("params", params, offset, len)?,
            len: words(len, "parameters")?,
            rate: step.rate.to_bits(),
            decay: step.decay.to_bits(),
            shrink: 1.0f32.to_bits(),
            ..Default::default()
        };
        fits("grads", grads, offset, len)?;
        if step.clip.is_finite() {
            uniform.norm_slot = fits("norms", norms, step.norm_slot, 1)?;
            uniform.clip = step.clip.to_bits();
            uniform.flags = 1;
        }
        let (grads, norms, weights) = (whole(&grads.buffer), whole(&norms.buffer), whole(&params.buffer));
        let spans = [grads, norms, weights, whole(&first.buffer), whole(&second.buffer)];
        let (entry, bindings) = match step.rule {
            Rule::Sgd { momentum } => {
                if momentum != 0.0 {
                    fits("first", first, offset, len)?;
                    uniform.keep = momentum.to_bits();
                    uniform.flags |= 2 | u32::from(step.time > 1) << 2;
                }
                (0, 4)
            }
            Rule::Adam { beta1, beta2, epsilon, decoupled } => {
                fits("first", first, offset, len)?;
                fits("second", second, offset, len)?;
                if decoupled {
                    uniform.decay = 0;
                    uniform.shrink = (1.0 - step.rate * step.decay).to_bits();
                }
                // In f64: β₂ᵗ is near 1 for long.
                let left = |beta: f32| 1.0 - f64::from(beta).powf(step.time.max(1) as f64);
                uniform.beta1 = beta1.to_bits();
                uniform.beta2 = beta2.to_bits();
                uniform.rest1 = (1.0 - beta1).to_bits();
                uniform.rest2 = (1.0 - beta2).to_bits();
                uniform.correct1 = ((1.0 / left(beta1)) as f32).to_bits();
                uniform.correct2 = ((1.0 / left(beta2).sqrt()) as f32).to_bits();
                uniform.epsilon = epsilon.to_bits();
                (1, 5)
            }
            Rule::Adagrad { epsilon } => {
                fits("first", first, offset, len)?;
                uniform.epsilon = epsilon.to_bits();
                (2, 4)
            }
        };
        let _turn = self.core.turn()?;
        elementwise(self, Id::Optimizer, entry, &spans[..bindings], bytes_of(&uniform), len, 7)
    }
}
