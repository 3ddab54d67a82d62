//! Tensors of a codec's file, by name, and what is refused of them.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// A tensor as a file has it.
pub(super) struct StoredTensor {
    pub shape: Vec<usize>,
    /// Little endian.
    pub bytes: Vec<u8>,
}

/// Tensors by name, in a fixed order.
pub(super) type Tensors = BTreeMap<String, StoredTensor>;

impl StoredTensor {
    pub fn new(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { shape, bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect() }
    }

    pub fn values(&self) -> Vec<f32> {
        self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

pub(super) fn damaged(problem: impl std::fmt::Display) -> Error {
    Error::Codec(problem.to_string())
}

/// Refuses NaN and infinity.
pub(super) fn finite(name: String, values: &[f32]) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(damaged(format!("`{name}` holds {} at value {at}", values[at]))),
        None => Ok(()),
    }
}
