//! What the methods of dense tensors share: lengths, and kernels with one lane a value.

use super::Gpu;
use super::kernel::Id;
use super::record::{Launch, Span};
use super::sizes::words;
use super::tensor::Tensor;
use crate::compute::tensor::Activation;
use crate::error::{Error, Result};

/// Holds `count` values from `offset` on to a tensor's length; gives the offset as kernels take it.
pub(super) fn fits(what: &str, tensor: &Tensor, offset: usize, count: usize) -> Result<u32> {
    fits_len(what, tensor.len, offset, count)
}

pub(super) fn fits_len(what: &str, len: usize, offset: usize, count: usize) -> Result<u32> {
    let end = offset.saturating_add(count);
    if end > len {
        return Err(Error::Data(format!("`{what}`: values {offset}..{end} of a tensor of {len}")));
    }
    words(offset, what)
}

/// Records a kernel with one lane a value; `streams` is how many values it moves for each.
pub(super) fn elementwise(
    gpu: &Gpu,
    id: Id,
    entry: usize,
    spans: &[Span<'_>],
    params: &[u8],
    len: usize,
    streams: usize,
) -> Result<()> {
    gpu.core.launch(&Launch {
        id,
        entry,
        variant: 0,
        spans,
        params,
        groups: len.div_ceil(256) as u64,
        cost: (len * streams) as f64 * 32.0,
    })
}

/// An activation as kernels take it.
pub(super) fn kind(activation: Activation) -> u32 {
    match activation {
        Activation::Relu => 0,
        Activation::Gelu => 1,
        Activation::Silu => 2,
    }
}
