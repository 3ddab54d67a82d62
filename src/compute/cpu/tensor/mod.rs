//! [`TensorBackend`](crate::compute::tensor::TensorBackend) on the CPU: tensors are ordinary vectors, each method checks its sizes and runs at once.

mod dense;
mod quantise;
mod sequence;

use super::activation::Bits;
use super::{Cpu, bf16};
use crate::compute::tensor::{Mask, Part, Precision, Tensors};
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

impl Tensors for Cpu {
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
}
