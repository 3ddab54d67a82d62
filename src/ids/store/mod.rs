//! The item→ID map: an item that has an ID keeps it.
//!
//! An ID is an item's codes and a counter that tells it from others on the same codes: `[12, 5, 33, 0]`, then `[12, 5, 33, 1]`. A store
//! holds IDs of one codec, known by its content hash. Asked again, an item has the ID that it has, whatever its codes have become;
//! new items never move an old ID; and the counter of a deleted ID is not given out again.

mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use crate::error::{Error, Result};

/// An item's ID in a [`Store`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoredId {
    /// The codes, `[levels]`.
    pub codes: Vec<u32>,
    /// Which of the items on these codes it is, from 0 on.
    pub counter: u32,
}

impl StoredId {
    /// Codes and counter in one row, `[levels + 1]`, as [`TextFormat::with_counter`](super::TextFormat::with_counter) writes it.
    #[must_use]
    pub fn to_row(&self) -> Vec<u32> {
        let mut row = self.codes.clone();
        row.push(self.counter);
        row
    }
}

/// What [`Store::assign`] gave an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The item's ID.
    pub id: StoredId,
    /// Whether it is new.
    pub new: bool,
    /// Whether it is an older ID on other codes than those asked for: the item's embedding has changed since.
    pub drifted: bool,
}

/// A map from item keys to IDs.
///
/// Implement it to keep IDs elsewhere. What holds for every implementation: a key has one ID, an ID one key; [`assign`](Self::assign)
/// takes effect for all of its items or for none; an ID stays until it is deleted, and a deleted one is not given out again.
///
/// ```
/// use sememe::ids::store::{MemoryStore, Store};
/// let mut store = MemoryStore::new("hash of a codec", 3)?;
/// let given = store.assign(&[("nano", &[7, 26, 57]), ("pico", &[7, 26, 57])])?;
/// assert_eq!((given[0].id.counter, given[1].id.counter), (0, 1));
/// assert_eq!(store.assign(&[("pico", &[7, 26, 57])])?[0].id, given[1].id);
/// assert_eq!(store.with_prefix(&[7, 26], 10)?.len(), 2);
/// # Ok::<(), sememe::Error>(())
/// ```
pub trait Store {
    /// The content hash of the codec whose IDs these are.
    fn codec_hash(&self) -> &str;

    /// Codes an ID.
    fn levels(&self) -> usize;

    /// The IDs of items `(key, codes)`, each an older one if the item has one, else its codes with the next counter. New items on the
    /// same codes are numbered in the order of their keys' bytes, not of the slice. All in one transaction.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty or repeated key, [`Error::Shape`] for codes that are not `[levels]`, [`Error::Store`] if the store
    /// cannot be read or written; nothing was given out then.
    fn assign(&mut self, items: &[(&str, &[u32])]) -> Result<Vec<Assigned>>;

    /// The ID of each key that has one.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be read.
    fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<StoredId>>>;

    /// Items whose codes start with `prefix`, by ID, at most `most`: of a whole ID's codes those that share them, of an empty one all.
    ///
    /// # Errors
    /// [`Error::Shape`] for a prefix of more than `levels` codes; [`Error::Store`] if the store cannot be read.
    fn with_prefix(&mut self, prefix: &[u32], most: usize) -> Result<Vec<(StoredId, String)>>;

    /// Forgets items; their IDs are not given out again. Says how many there were.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be written; nothing was forgotten then.
    fn delete(&mut self, keys: &[&str]) -> Result<usize>;

    /// How many items have an ID.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be read.
    fn count(&mut self) -> Result<u64>;
}

/// Checks a batch, and puts its items in the order in which new ones are numbered.
fn in_order(items: &[(&str, &[u32])], levels: usize) -> Result<Vec<usize>> {
    for (row, (key, codes)) in items.iter().enumerate() {
        if key.is_empty() {
            return Err(Error::Data(format!("the key of item {row} is empty; every item needs one")));
        }
        crate::error::check_shape("levels", levels, codes.len(), format!("codes of item `{key}`"))?;
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_unstable_by(|a, b| items[*a].0.as_bytes().cmp(items[*b].0.as_bytes()).then(a.cmp(b)));
    if let Some(pair) = order.windows(2).find(|pair| items[pair[0]].0 == items[pair[1]].0) {
        let key = items[pair[0]].0;
        return Err(Error::Data(format!(
            "items {} and {} of a batch have the same key `{key}`; every item needs its own",
            pair[0], pair[1]
        )));
    }
    Ok(order)
}
