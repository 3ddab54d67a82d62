//! Sizes: blocks, slices, aligned regions of a buffer, and counts as kernels take them.

pub(super) use crate::compute::sizes::byte_size;
use crate::error::{Error, Result};

/// Rows of one block of `row_norm`'s, `column_sum`'s and `seeding`'s partial sums.
pub(super) const BLOCK_ROWS: usize = 1024;
/// Bytes of intermediate results at most, where the size is free.
pub(super) const SLICE_BYTES: usize = 64 << 20;

/// Offset of a binding must be a multiple of this many bytes, everywhere.
const ALIGN: u64 = 256;

/// Regions of one buffer, each of so many bytes, at aligned offsets. Returns them and the bytes of all.
pub(super) fn regions(sizes: impl Iterator<Item = usize>) -> (Vec<(u64, u64)>, u64) {
    let mut end = 0u64;
    let list = sizes
        .map(|bytes| {
            let offset = end.next_multiple_of(ALIGN);
            end = offset + bytes as u64;
            (offset, bytes as u64)
        })
        .collect();
    (list, end)
}

/// A count as the 32 bits that kernels take.
pub(super) fn words(value: usize, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Data(format!("{what} = {value} is above {}", u32::MAX)))
}
