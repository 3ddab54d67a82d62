//! Report on saving prepared items.

use serde::Serialize;

#[cfg(doc)]
use super::Prepared;

/// Counts of what [`Prepared::save`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SaveReport {
    /// Items that were not there.
    pub added: usize,
    /// Items whose text or title is another.
    pub changed: usize,
    /// Items that are no more.
    pub removed: usize,
    /// Items that were there already.
    pub unchanged: usize,
}
