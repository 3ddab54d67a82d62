//! Rows sorted by where they go in a table, on a device: what a table's gradient is made from.

use sememe::Result;
use sememe::compute::tensor::{Segments, TensorBackend, sorted_segments};

/// [`Segments`] with their index buffers.
pub(crate) struct DeviceSegments<B: TensorBackend> {
    count: usize,
    order: B::Index,
    bounds: B::Index,
    rows: B::Index,
}

impl<B: TensorBackend> DeviceSegments<B> {
    /// Room for up to `most` values.
    pub fn new(backend: &B, most: usize) -> Result<Self> {
        let index = |len: usize| backend.index("sorted rows", len);
        Ok(Self { count: 0, order: index(most)?, bounds: index(most + 1)?, rows: index(most)? })
    }

    /// Sorts values by the row of a table that each goes to.
    pub fn sort(&mut self, backend: &B, to: &[u32], table: usize) -> Result<()> {
        let (order, bounds, rows) = sorted_segments(to, table);
        backend.write_index(&mut self.order, 0, &order)?;
        backend.write_index(&mut self.bounds, 0, &bounds)?;
        backend.write_index(&mut self.rows, 0, &rows)?;
        self.count = rows.len();
        Ok(())
    }

    pub fn get(&self) -> Segments<'_, B::Index> {
        Segments { count: self.count, order: &self.order, bounds: &self.bounds, rows: &self.rows }
    }
}
