//! Sizes that must not wrap, also where `usize` has 32 bits.

use crate::error::{Error, Result, check_shape};

/// Most codewords of a codebook, on every device: GPU kernels carry their indices as f32 through one merge, which is exact below 2²⁴.
pub const MAX_CODEWORDS: usize = (1 << 24) - 1;

/// Bytes of `lines` lines of `width` 32-bit values. Past 64 bits it is the largest number, which nobody grants.
pub(crate) fn byte_size(lines: usize, width: usize) -> u64 {
    (lines as u64).saturating_mul(width as u64).saturating_mul(4)
}

/// `lines · width`, if so many 32-bit values take at most `most_bytes`.
fn within(lines: u64, width: u64, most_bytes: u64) -> Option<u64> {
    let values = lines.checked_mul(width)?;
    values.checked_mul(4).filter(|bytes| *bytes <= most_bytes).map(|_| values)
}

/// `lines · width` 32-bit values as the length of a vector.
///
/// # Errors
/// [`Error::OutOfMemory`] if no address space holds them.
pub(crate) fn values(what: &str, lines: usize, width: usize) -> Result<usize> {
    let found = within(lines as u64, width as u64, isize::MAX as u64).and_then(|len| usize::try_from(len).ok());
    found.ok_or_else(|| Error::OutOfMemory { what: what.to_owned(), needed_bytes: byte_size(lines, width) })
}

/// Refuses rows without values, and more rows than this machine can number. Returns how many values there are.
pub(crate) fn rows(n: usize, d: usize) -> Result<usize> {
    if d == 0 {
        return Err(Error::Data(format!("expected rows of at least 1 value, got {n} rows of 0")));
    }
    values(&format!("{n} rows of {d} f32"), n, d)
}

/// Refuses `[k, d]` codewords that no device takes, or that `len` values are not.
pub(crate) fn codebook(k: usize, d: usize, len: usize) -> Result<()> {
    if k == 0 || k > MAX_CODEWORDS {
        return Err(Error::Data(format!("a codebook holds 1 to {MAX_CODEWORDS} codewords, got {k}")));
    }
    if d == 0 {
        return Err(Error::Data(format!("expected codewords of at least 1 value, got {k} codewords of 0")));
    }
    check_shape("values", values(&format!("{k} codewords of {d} f32"), k, d)?, len, "codebook")
}

/// Refuses columns that rows of `d` values do not have, and none.
pub(crate) fn columns(d: usize, first: usize, count: usize) -> Result<()> {
    if count == 0 || first.checked_add(count).is_none_or(|end| end > d) {
        return Err(Error::Data(format!("{count} columns from {first} on of {d}")));
    }
    Ok(())
}

/// Refuses codebooks of `widths` that do not lie side by side in rows of `d` values, and none.
pub(crate) fn side_by_side(d: usize, widths: impl Iterator<Item = usize>) -> Result<()> {
    let all = widths.fold(0usize, usize::saturating_add);
    if d == 0 {
        Err(Error::Data("expected rows of at least 1 value, got 0".into()))
    } else {
        check_shape("d", d, all, "codebooks side by side")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where addresses have 32 bits, a vector holds at most 2³¹ − 1 bytes.
    const SMALL: u64 = i32::MAX as u64;

    #[test]
    fn sizes_of_32_bits_do_not_wrap() {
        // 2³² bytes and more: in 32 bits their lengths and bytes are 0 or small.
        for (lines, width) in
            [(1 << 20, 1 << 10), (1 << 16, 1 << 16), (1 << 31, 2), (u64::from(u32::MAX), 1), (1 << 29, 1)]
        {
            assert_eq!(within(lines, width, SMALL), None, "{lines} × {width}");
            assert_eq!(within(lines, width, isize::MAX as u64), (isize::MAX as u64 > SMALL).then_some(lines * width));
        }
        assert_eq!(within(1 << 20, 511, SMALL), Some((1 << 20) * 511));
        assert_eq!(within((1 << 29) - 1, 1, SMALL), Some((1 << 29) - 1));
        assert_eq!(within(0, u64::MAX, SMALL), Some(0));
    }

    #[test]
    fn sizes_of_64_bits_do_not_wrap() {
        let most = isize::MAX as u64;
        for (lines, width) in [(1 << 62, 4), (1 << 32, 1 << 32), (u64::MAX, u64::MAX), (1 << 61, 1)] {
            assert_eq!(within(lines, width, most), None, "{lines} × {width}");
        }
        assert_eq!(byte_size(usize::MAX, usize::MAX), u64::MAX);
        assert!(matches!(values("x", usize::MAX, 2), Err(Error::OutOfMemory { .. })));
        assert!(matches!(rows(usize::MAX / 2, 3), Err(Error::OutOfMemory { .. })));
        assert!(matches!(rows(3, 0), Err(Error::Data(_))));
        assert_eq!(rows(3, 2).ok(), Some(6));
    }

    #[test]
    fn codebooks_have_one_limit() {
        assert!(codebook(2, 3, 6).is_ok() && codebook(MAX_CODEWORDS, 1, MAX_CODEWORDS).is_ok());
        let refusal = codebook(MAX_CODEWORDS + 1, 1, MAX_CODEWORDS + 1).unwrap_err().to_string();
        assert!(refusal.contains("16777215") && refusal.contains("16777216"), "{refusal}");
        for (k, d, len) in [(0, 3, 0), (2, 0, 0), (2, 3, 5), (MAX_CODEWORDS, usize::MAX, 8)] {
            assert!(codebook(k, d, len).is_err(), "{k} × {d}");
        }
    }
}
