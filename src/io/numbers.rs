//! Stored number formats and their conversion to `f32`.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberKind {
    F16,
    Bf16,
    F32,
    F64,
    /// What quantised models give; read as the numbers that they are.
    I8,
    U8,
}

/// Rows of `U8` that are narrower are taken for packed bits: no embedding model gives so few values, and one that gives bits packs 8 in
/// each.
const PACKED_BELOW: u64 = 256;

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

impl NumberKind {
    /// Whether it is one of the formats that embeddings usually have.
    pub(crate) fn is_float(self) -> bool {
        !matches!(self, NumberKind::I8 | NumberKind::U8)
    }

    /// Why rows of `dims` values of this kind are not what they seem, if they are not.
    pub(crate) fn doubt(self, dims: u64) -> Option<String> {
        (self == NumberKind::U8 && dims < PACKED_BELOW).then(|| {
            format!(
                "holds uint8, {dims} a row, which looks like packed bits, 8 in a byte; unpack them with `np.unpackbits(a, axis=1)`, or, if \
                 these are quantised values, say so with `a.astype(\"float32\")`"
            )
        })
    }

    /// Bytes a value.
    pub(crate) fn size_bytes(self) -> usize {
        match self {
            NumberKind::I8 | NumberKind::U8 => 1,
            NumberKind::F16 | NumberKind::Bf16 => 2,
            NumberKind::F32 => 4,
            NumberKind::F64 => 8,
        }
    }

    /// Converts `out.len()` values; `bytes` holds exactly as many.
    ///
    /// A 64-bit value beyond the range of `f32` becomes infinity, which the callers' check for non-finite rows finds.
    pub(crate) fn decode(self, big_endian: bool, bytes: &[u8], out: &mut [f32]) {
        debug_assert_eq!(bytes.len(), out.len() * self.size_bytes());
        match (self, big_endian) {
            (NumberKind::F16, false) => halves(bytes, out, u16::from_le_bytes),
            (NumberKind::F16, true) => halves(bytes, out, u16::from_be_bytes),
            (NumberKind::Bf16, false) => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            (NumberKind::Bf16, true) => each(bytes, out, |b| bf16::from_be_bytes(b).to_f32()),
            (NumberKind::F32, false) => each(bytes, out, f32::from_le_bytes),
            (NumberKind::F32, true) => each(bytes, out, f32::from_be_bytes),
            (NumberKind::F64, false) => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            (NumberKind::F64, true) => each(bytes, out, |b| f64::from_be_bytes(b) as f32),
            (NumberKind::I8, _) => each(bytes, out, |[b]| f32::from(b as i8)),
            (NumberKind::U8, _) => each(bytes, out, |[b]| f32::from(b)),
        }
    }
}
