//! Integer arrays in `.npy` files: codes and events.

use super::npy;
use super::window::Window;
use crate::error::Result;

/// Calls `begin` with the shape of an integer `.npy`, in C or Fortran order, then `each` with every row.
pub(crate) fn read_integers(
    w: &Window,
    begin: &mut dyn FnMut(usize, usize) -> Result<()>,
    each: &mut dyn FnMut(usize, &[i128]) -> Result<()>,
) -> Result<()> {
    let header = npy::read_header(w)?;
    if !matches!(header.kind, b'u' | b'i') {
        return Err(w.bad(format_args!("holds `{}`, expected integers", header.descr)));
    }
    let (rows, levels) = header.check(w)?;
    // At most 8.
    let size = header.size_bytes as usize;
    // The file was checked to hold as many bytes, which on a 32-bit machine may still be more than memory can.
    let len = usize::try_from(w.len() - header.start);
    let len = len.map_err(|_| w.bad(format_args!("holds {} bytes, more than the address space", w.len())))?;
    let bytes = w.bytes(header.start, len)?;
    let signed = header.kind == b'i';
    let value = |item: &[u8]| {
        let mut wide = [0u8; 8];
        for (i, byte) in item.iter().enumerate() {
            wide[if header.big_endian { size - 1 - i } else { i }] = *byte;
        }
        let shift = 64 - 8 * size;
        let bits = u64::from_le_bytes(wide) << shift;
        if signed { i128::from(bits as i64 >> shift) } else { i128::from(bits >> shift) }
    };
    begin(rows, levels)?;
    let mut values = vec![0i128; levels];
    for row in 0..rows {
        let at = |level: usize| if header.columns { level * rows + row } else { row * levels + level };
        values.iter_mut().enumerate().for_each(|(l, v)| *v = value(&bytes[at(l) * size..(at(l) + 1) * size]));
        each(row, &values)?;
    }
    Ok(())
}
