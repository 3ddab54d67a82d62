//! [`TensorBackend`] on this device: methods lie by theme in `dense.rs` and `quantise.rs`.

use super::Gpu;
use super::dispatch::Span;
use crate::compute::tensor::{Activation, Exponent, Mask, Part, Precision, Product, Step, TensorBackend};
use crate::error::{Error, Result};

/// A flat run of f32 on the device.
pub struct Tensor {
    pub(super) buffer: wgpu::Buffer,
    pub(super) len: usize,
}

/// A flat run of u32 on the device.
pub struct Index {
    pub(super) buffer: wgpu::Buffer,
    pub(super) len: usize,
}

fn span(buffer: &wgpu::Buffer, len: usize, offset: usize, count: usize) -> Result<Span<'_>> {
    if offset.checked_add(count).is_none_or(|end| end > len) {
        return Err(Error::Data(format!("values {offset}..{} of a tensor of {len}", offset.saturating_add(count))));
    }
    Ok(Span { buffer, offset: 4 * offset as u64, bytes: 4 * count as u64 })
}

impl Gpu {
    pub(super) fn offers(&self, precision: Precision) -> bool {
        match precision {
            Precision::F32 => true,
            Precision::F16 => self.core.device.features().contains(wgpu::Features::SHADER_F16),
            Precision::Bf16 => false,
        }
    }

    fn zeros(&self, what: &str, len: usize) -> Result<Tensor> {
        let buffer = self.core.allocate_bindable(what, 4 * len as u64)?;
        self.core.clear(&buffer, buffer.size());
        Ok(Tensor { buffer, len })
    }

    fn tensor_len(&self, tensor: &Tensor) -> usize {
        tensor.len
    }

    fn write_tensor(&self, tensor: &mut Tensor, offset: usize, values: &[f32]) -> Result<()> {
        let to = span(&tensor.buffer, tensor.len, offset, values.len())?;
        self.core.write(&tensor.buffer, to.offset, bytemuck::cast_slice(values))
    }

    fn read_tensor(&self, tensor: &Tensor, offset: usize, out: &mut [f32]) -> Result<()> {
        let from = span(&tensor.buffer, tensor.len, offset, out.len())?;
        if !out.is_empty() {
            out.copy_from_slice(&self.core.read::<f32>(&[from])?);
        }
        Ok(())
    }

    fn index(&self, what: &str, len: usize) -> Result<Index> {
        let Tensor { buffer, len } = self.zeros(what, len)?;
        Ok(Index { buffer, len })
    }

    fn write_index(&self, index: &mut Index, offset: usize, words: &[u32]) -> Result<()> {
        let to = span(&index.buffer, index.len, offset, words.len())?;
        self.core.write(&index.buffer, to.offset, bytemuck::cast_slice(words))
    }

    fn read_index(&self, index: &Index, offset: usize, out: &mut [u32]) -> Result<()> {
        let from = span(&index.buffer, index.len, offset, out.len())?;
        if !out.is_empty() {
            out.copy_from_slice(&self.core.read::<u32>(&[from])?);
        }
        Ok(())
    }
}

impl TensorBackend for Gpu {
    type Tensor = Tensor;
    type Index = Index;

    fn offers(&self, precision: Precision) -> bool {
        Gpu::offers(self, precision)
    }

    fn zeros(&self, what: &str, len: usize) -> Result<Self::Tensor> {
        Gpu::zeros(self, what, len)
    }

    fn tensor_len(&self, tensor: &Self::Tensor) -> usize {
        Gpu::tensor_len(self, tensor)
    }

    fn write_tensor(&self, tensor: &mut Self::Tensor, offset: usize, values: &[f32]) -> Result<()> {
        Gpu::write_tensor(self, tensor, offset, values)
    }

    fn read_tensor(&self, tensor: &Self::Tensor, offset: usize, out: &mut [f32]) -> Result<()> {
        Gpu::read_tensor(self, tensor, offset, out)
    }

    fn index(&self, what: &str, len: usize) -> Result<Self::Index> {
        Gpu::index(self, what, len)
    }

    fn write_index(&self, index: &mut Self::Index, offset: usize, words: &[u32]) -> Result<()> {
        Gpu::write_index(self, index, offset, words)
    }

    fn read_index(&self, index: &Self::Index, offset: usize, out: &mut [u32]) -> Result<()> {
        Gpu::read_index(self, index, offset, out)
    }

    fn rows_to_tensor(&self, rows: &Self::Rows, first: usize, count: usize, out: &mut Self::Tensor) -> Result<()> {
        Gpu::rows_to_tensor(self, rows, first, count, out)
    }

    fn tensor_to_rows(&self, tensor: &Self::Tensor, n: usize, d: usize) -> Result<Self::Rows> {
        Gpu::tensor_to_rows(self, tensor, n, d)
    }

    fn matmul(
        &self,
        product: &Product,
        precision: Precision,
        a: Part<'_, Self::Tensor>,
        b: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()> {
        Gpu::matmul(self, product, precision, a, b, out, at)
    }

    fn linear(
        &self,
        shape: (usize, usize, usize),
        precision: Precision,
        x: Part<'_, Self::Tensor>,
        weight: Part<'_, Self::Tensor>,
        bias: Part<'_, Self::Tensor>,
        pre: &mut Self::Tensor,
        post: Option<(Activation, &mut Self::Tensor)>,
    ) -> Result<()> {
        Gpu::linear(self, shape, precision, x, weight, bias, pre, post)
    }

    fn activate(
        &self,
        activation: Activation,
        len: usize,
        pre: &Self::Tensor,
        mask: Option<Mask<'_, Self::Index>>,
        post: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::activate(self, activation, len, pre, mask, post)
    }

    fn activate_backward(
        &self,
        activation: Activation,
        len: usize,
        pre: &Self::Tensor,
        mask: Option<Mask<'_, Self::Index>>,
        grad: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::activate_backward(self, activation, len, pre, mask, grad)
    }

    fn layer_norm(
        &self,
        shape: (usize, usize),
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        bias: Part<'_, Self::Tensor>,
        y: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::layer_norm(self, shape, x, gain, bias, y)
    }

    fn layer_norm_backward(
        &self,
        shape: (usize, usize),
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        grad: &mut Self::Tensor,
        products: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::layer_norm_backward(self, shape, x, gain, grad, products)
    }

    fn column_total(
        &self,
        shape: (usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Self::Tensor,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()> {
        Gpu::column_total(self, shape, alpha, accumulate, values, out, at)
    }

    fn total(
        &self,
        len: usize,
        squares: bool,
        alpha: f32,
        accumulate: bool,
        values: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()> {
        Gpu::total(self, len, squares, alpha, accumulate, values, out, at)
    }

    fn combine(
        &self,
        len: usize,
        alpha: f32,
        x: Part<'_, Self::Tensor>,
        beta: f32,
        y: &mut Self::Tensor,
        at: usize,
    ) -> Result<()> {
        Gpu::combine(self, len, alpha, x, beta, y, at)
    }

    fn subtract(
        &self,
        len: usize,
        scale: f32,
        a: Part<'_, Self::Tensor>,
        b: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::subtract(self, len, scale, a, b, out)
    }

    fn clear(&self, values: &mut Self::Tensor, at: usize, len: usize) -> Result<()> {
        Gpu::clear(self, values, at, len)
    }

    fn half_norms(
        &self,
        shape: (usize, usize),
        codebook: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::half_norms(self, shape, codebook, out)
    }

    fn nearest(
        &self,
        shape: (usize, usize),
        dots: &Self::Tensor,
        half_norms: &Self::Tensor,
        labels: &mut Self::Index,
    ) -> Result<()> {
        Gpu::nearest(self, shape, dots, half_norms, labels)
    }

    fn quantize(
        &self,
        shape: (usize, usize, usize),
        first: bool,
        residual: &Self::Tensor,
        codebook: Part<'_, Self::Tensor>,
        labels: &Self::Index,
        next: &mut Self::Tensor,
        sum: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::quantize(self, shape, first, residual, codebook, labels, next, sum)
    }

    fn segment_sum(
        &self,
        shape: (usize, usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Self::Tensor,
        labels: &Self::Index,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()> {
        Gpu::segment_sum(self, shape, alpha, accumulate, values, labels, out, at)
    }

    fn segment_count(
        &self,
        shape: (usize, usize),
        accumulate: bool,
        labels: &Self::Index,
        counts: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::segment_count(self, shape, accumulate, labels, counts)
    }

    fn ema(
        &self,
        shape: (usize, usize),
        decay: f32,
        epsilon: f32,
        batch_counts: &Self::Tensor,
        sums: &Self::Tensor,
        counts: &mut Self::Tensor,
        means: &mut Self::Tensor,
        codebook: &mut Self::Tensor,
        at: usize,
    ) -> Result<()> {
        Gpu::ema(self, shape, decay, epsilon, batch_counts, sums, counts, means, codebook, at)
    }

    fn rotate_backward(
        &self,
        shape: (usize, usize),
        residual: &Self::Tensor,
        next: &Self::Tensor,
        upstream: &Self::Tensor,
        out: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::rotate_backward(self, shape, residual, next, upstream, out)
    }

    fn gumbel_softmax(
        &self,
        shape: (usize, usize),
        temperature: f32,
        half_norms: &Self::Tensor,
        noise: &Self::Tensor,
        dots: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::gumbel_softmax(self, shape, temperature, half_norms, noise, dots)
    }

    fn softmax_backward(
        &self,
        shape: (usize, usize),
        scale: f32,
        probabilities: &Self::Tensor,
        grad: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::softmax_backward(self, shape, scale, probabilities, grad)
    }

    fn contrast(
        &self,
        shape: (usize, usize),
        scale: f32,
        exclude_diagonal: bool,
        targets: &Self::Index,
        weights: Option<&Self::Tensor>,
        logits: &mut Self::Tensor,
        loss: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::contrast(self, shape, scale, exclude_diagonal, targets, weights, logits, loss)
    }

    fn sinkhorn(
        &self,
        shape: (usize, usize, usize),
        exponent: Exponent,
        iterations: usize,
        residual: &Self::Tensor,
        half_norms: &Self::Tensor,
        dots: &mut Self::Tensor,
        potentials: &mut Self::Tensor,
        labels: &mut Self::Index,
    ) -> Result<()> {
        Gpu::sinkhorn(self, shape, exponent, iterations, residual, half_norms, dots, potentials, labels)
    }

    fn optimize(
        &self,
        step: &Step,
        grads: &Self::Tensor,
        norms: &Self::Tensor,
        params: &mut Self::Tensor,
        first: &mut Self::Tensor,
        second: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::optimize(self, step, grads, norms, params, first, second)
    }

    fn combine_rows(
        &self,
        shape: (usize, usize),
        alpha: f32,
        scales: &Self::Tensor,
        x: Part<'_, Self::Tensor>,
        y: &mut Self::Tensor,
        at: usize,
    ) -> Result<()> {
        Gpu::combine_rows(self, shape, alpha, scales, x, y, at)
    }

    fn nearest_other(
        &self,
        n: usize,
        dots: &Self::Tensor,
        half_norms: &Self::Tensor,
        labels: &mut Self::Index,
    ) -> Result<()> {
        Gpu::nearest_other(self, n, dots, half_norms, labels)
    }

    fn repel(
        &self,
        shape: (usize, usize),
        scale: f32,
        epsilon: f32,
        z: &Self::Tensor,
        neighbours: &Self::Index,
        pull: &mut Self::Tensor,
        logs: &mut Self::Tensor,
    ) -> Result<()> {
        Gpu::repel(self, shape, scale, epsilon, z, neighbours, pull, logs)
    }
}
