//! Some columns of rows, by the kernel `restride`.

use super::Gpu;
use super::elementwise::elementwise;
use super::kernel::Id;
use super::record::Span;
use super::resident::{PAD, Rows};
use super::sizes::{byte_size, words};
use crate::compute::params;
use crate::error::Result;
use bytemuck::bytes_of;

impl Gpu {
    /// Records `out ← rows[:, first..first + out.d]`; shapes are checked.
    pub(super) fn record_columns(&self, rows: &Rows, first: usize, out: &Rows) -> Result<()> {
        // Chunks of the two sides differ in height; segments lie in one chunk of each and start at multiples of 128 rows.
        let mut at = 0;
        while at < rows.n {
            let (i, o) = (at / rows.chunk_rows, at / out.chunk_rows);
            let end = rows.n.min((i + 1) * rows.chunk_rows).min((o + 1) * out.chunk_rows);
            let n = end - at;
            let span = |side: &'_ Rows, chunk: usize| -> (u64, u64) {
                let line = byte_size(1, side.stride);
                ((at - chunk * side.chunk_rows) as u64 * line, n.next_multiple_of(PAD) as u64 * line)
            };
            let (from, to) = (span(rows, i), span(out, o));
            let uniform = params::Restride {
                rows: words(n, "rows")?,
                d: words(rows.stride, "d")?,
                stride: words(out.stride, "stride")?,
                at: words(first, "column")?,
                columns: words(out.d, "columns")?,
                ..Default::default()
            };
            let spans = [
                Span { buffer: &rows.chunks[i], offset: from.0, bytes: from.1 },
                Span { buffer: &out.chunks[o], offset: to.0, bytes: to.1 },
            ];
            elementwise(self, Id::Restride, 1, &spans, bytes_of(&uniform), n * out.stride, 2)?;
            at = end;
        }
        Ok(())
    }
}
