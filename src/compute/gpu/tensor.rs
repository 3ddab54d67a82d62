//! [`TensorBackend`] on this device: methods lie by theme in `dense.rs` and `quantise.rs`.

use super::Gpu;
use super::record::Span;
use super::sizes::byte_size;
use crate::compute::tensor::{Precision, Tensors};
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
    Ok(Span { buffer, offset: byte_size(1, offset), bytes: byte_size(1, count) })
}

impl Tensors for Gpu {
    type Tensor = Tensor;
    type Index = Index;

    fn offers(&self, precision: Precision) -> bool {
        match precision {
            Precision::F32 => true,
            Precision::F16 => self.core.device.features().contains(wgpu::Features::SHADER_F16),
            Precision::Bf16 => false,
        }
    }

    fn zeros(&self, what: &str, len: usize) -> Result<Tensor> {
        let buffer = self.core.allocate_bindable(what, byte_size(1, len))?;
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
