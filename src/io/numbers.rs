//! Stored float formats and their conversion to `f32`.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// How a float is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatKind {
    F16,
    Bf16,
    F32,
    F64,
}

/// Converts `bytes` to `f32`, one `SIZE`-byte item a value.
fn each<const SIZE: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; SIZE]) -> f32) {
    let (items, _) = bytes.as_chunks::<SIZE>();
    for (value, item) in out.iter_mut().zip(items) {
        *value = convert(*item);
    }
}

/// Converts halves through slices, which uses the processor's own conversion where there is one.
fn halves(bytes: &[u8], out: &mut [f32], parse: impl Fn([u8; 2]) -> u16) {
    let mut block = [f16::ZERO; 256];
    let (items, _) = bytes.as_chunks::<2>();
    for (values, items) in out.chunks_mut(block.len()).zip(items.chunks(block.len())) {
        for (half, item) in block.iter_mut().zip(items) {
            *half = f16::from_bits(parse(*item));
        }
        block[..values.len()].convert_to_f32_slice(values);
    }
}

impl FloatKind {
    /// Bytes a value.
    pub(crate) fn size_bytes(self) -> usize {
        match self {
            FloatKind::F16 | FloatKind::Bf16 => 2,
            FloatKind::F32 => 4,
            FloatKind::F64 => 8,
        }
    }

    /// Converts `out.len()` values; `bytes` holds exactly as many.
    ///
    /// A 64-bit value beyond the range of `f32` becomes infinity, which the callers' check for non-finite rows finds.
    pub(crate) fn decode(self, big_endian: bool, bytes: &[u8], out: &mut [f32]) {
        debug_assert_eq!(bytes.len(), out.len() * self.size_bytes());
        match (self, big_endian) {
            (FloatKind::F16, false) => halves(bytes, out, u16::from_le_bytes),
            (FloatKind::F16, true) => halves(bytes, out, u16::from_be_bytes),
            (FloatKind::Bf16, false) => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            (FloatKind::Bf16, true) => each(bytes, out, |b| bf16::from_be_bytes(b).to_f32()),
            (FloatKind::F32, false) => each(bytes, out, f32::from_le_bytes),
            (FloatKind::F32, true) => each(bytes, out, f32::from_be_bytes),
            (FloatKind::F64, false) => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            (FloatKind::F64, true) => each(bytes, out, |b| f64::from_be_bytes(b) as f32),
        }
    }
}
