//! The vectors that items were made from, where they are kept.

use crate::catalogue::Items;
use sememe::eval::closest_rows;
use sememe::{Error, Matrix, Metric, Result, RowSource};

/// No item, or no row.
const NONE: u32 = u32::MAX;

/// Rows in memory, with the items that they are of.
#[derive(Debug)]
pub struct Vectors {
    rows: Matrix,
    metric: Metric,
    item_of_row: Vec<u32>,
    /// Of the items that were there when the rows were loaded.
    row_of_item: Vec<u32>,
}

impl Vectors {
    /// Reads all rows of a source into memory; `keys` are their items, in their order. Rows whose keys are not among `items` are kept
    /// but never found.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not as many keys as rows; whatever the source returns.
    pub fn read(source: &dyn RowSource, keys: &[String], items: &Items, metric: Metric) -> Result<Self> {
        let (count, dims) = (source.rows(), source.dims());
        if keys.len() != count {
            let name = source.name();
            return Err(Error::Data(format!("`{name}` has {count} rows, but there are {} items for them", keys.len())));
        }
        let mut rows = Matrix::zeros(count, dims)?;
        source.read_rows(0, rows.as_mut_slice())?;
        let item_of_row: Vec<u32> = keys.iter().map(|key| items.find(key).unwrap_or(NONE)).collect();
        let mut row_of_item = vec![NONE; items.len()];
        for (row, item) in item_of_row.iter().enumerate() {
            if let Some(place) = row_of_item.get_mut(*item as usize) {
                *place = row as u32;
            }
        }
        Ok(Self { rows, metric, item_of_row, row_of_item })
    }

    /// The vector of an item, where it is kept: that of an item which was assigned its ID since is not.
    #[must_use]
    pub fn of(&self, item: u32) -> Option<&[f32]> {
        let row = self.row_of_item.get(item as usize).copied().filter(|row| *row != NONE)?;
        Some(self.rows.row(row as usize))
    }

    /// The items nearest to `query` `[d]`, nearest first, with their exact distances; `except` is left out. O(items · d), on all cores.
    ///
    /// # Errors
    /// [`Error::Shape`] for a query of another number of dimensions.
    pub fn nearest(&self, query: &[f32], count: usize, except: Option<u32>) -> Result<Vec<(u32, f64)>> {
        // As many more as may be left out.
        let nameless = self.item_of_row.iter().filter(|item| **item == NONE).count();
        let more = count.saturating_add(nameless).saturating_add(usize::from(except.is_some()));
        let found = closest_rows(&self.rows, query, self.metric, more.min(self.rows.rows()))?;
        let named = found.into_iter().map(|(row, distance)| (self.item_of_row[row], distance));
        Ok(named.filter(|(item, _)| *item != NONE && Some(*item) != except).take(count).collect())
    }
}
