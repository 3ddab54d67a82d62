//! The item→ID map: an item that has an ID keeps it.
//!
//! An ID is an item's codes and a counter that tells it from others on the same codes: `[12, 5, 33, 0]`, then `[12, 5, 33, 1]`. A store
//! holds IDs of one codec, known by its content hash. Asked again, an item has the ID that it has, whatever its codes have become;
//! new items never move an old ID; and a deleted ID is not given out again unless that is asked for.
//!
//! | store | where IDs are | who else may use it |
//! |---|---|---|
//! | [`MemoryStore`] | in the process | nobody |
//! | `SqliteStore` (feature `sqlite`) | one file on a local disk | any number of processes of one machine |
//! | `RedisStore` (feature `redis`) | a Redis or Valkey server | any number of processes of any machines |
//! | one of your own | wherever you implement [`Store`]; `examples/json_store.rs` does for a JSON file | as you make it |
//!
//! [`open`] takes a path or a URL and gives the store that it names.

mod memory;
mod password;
mod place;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryStore;
pub use password::without_password;
pub use place::{open, open_existing};
#[cfg(feature = "redis")]
pub use redis::RedisStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use std::time::Duration;

use crate::error::{Error, Result, check_shape};

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

/// The ID that [`Store::assign`] gave an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedId {
    /// The item's ID.
    pub id: StoredId,
    /// Whether it is new.
    pub new: bool,
    /// Whether it is an older ID on other codes than those asked for: the item's embedding has changed since.
    pub drifted: bool,
}

/// Whether [`Store::assign_with`] may give new items the IDs of deleted ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// No: an ID that was published once names one item for ever, even after its deletion.
    #[default]
    Never,
    /// Yes: new items take the deleted IDs on their codes first, the lowest counter first.
    Deleted,
}

/// A map from item keys to IDs.
///
/// Implement it to keep IDs elsewhere; `examples/json_store.rs` does so for a JSON file, with a [`MemoryStore`] for the rules. What holds
/// for every implementation: a key has one ID, an ID one key; [`assign`](Self::assign) takes effect for all of its items or for none; an
/// ID stays until it is deleted, and a deleted one is given out again only on request.
///
/// ```
/// use sememe::ids::store::{MemoryStore, Reuse, Store};
/// let mut store = MemoryStore::new("hash of a codec", 3)?;
/// let given = store.assign(&[("nano", &[7, 26, 57]), ("pico", &[7, 26, 57])])?;
/// assert_eq!((given[0].id.counter, given[1].id.counter), (0, 1));
/// assert_eq!(store.assign(&[("pico", &[7, 26, 57])])?[0].id, given[1].id);
/// assert_eq!(store.with_prefix(&[7, 26], 10)?.len(), 2);
///
/// store.delete(&["nano"])?;
/// assert_eq!(store.assign(&[("vim", &[7, 26, 57])])?[0].id.counter, 2);
/// assert_eq!(store.assign_with(&[("ed", &[7, 26, 57])], Reuse::Deleted)?[0].id.counter, 0);
/// # Ok::<(), sememe::Error>(())
/// ```
pub trait Store {
    /// The content hash of the codec whose IDs these are.
    fn codec_hash(&self) -> &str;

    /// Codes an ID.
    fn levels(&self) -> usize;

    /// The IDs of items `(key, codes)`, in the order of the slice: each an older one if the item has one, else its codes with a counter.
    /// That is the lowest counter of a deleted ID on these codes if `reuse` allows it and there is one, else one more than was ever given
    /// out on them. New items on the same codes are numbered in the order of their keys' bytes, not of the slice. All in one
    /// transaction.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty or repeated key, [`Error::Shape`] for codes that are not `[levels]`, [`Error::Store`] if the store
    /// cannot be read or written; nothing was given out then.
    fn assign_with(&mut self, items: &[(&str, &[u32])], reuse: Reuse) -> Result<Vec<AssignedId>>;

    /// [`assign_with`](Self::assign_with) that gives no deleted ID out again.
    ///
    /// # Errors
    /// As for [`assign_with`](Self::assign_with).
    fn assign(&mut self, items: &[(&str, &[u32])]) -> Result<Vec<AssignedId>> {
        self.assign_with(items, Reuse::Never)
    }

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

    /// Forgets items, all in one transaction, and says how many there were. Their IDs are kept from being given out again, unless
    /// [`assign_with`](Self::assign_with) is asked to; a deleted item that comes back gets a new one.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be written; nothing was forgotten then.
    fn delete(&mut self, keys: &[&str]) -> Result<usize>;

    /// How many items have an ID.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be read.
    fn count(&mut self) -> Result<u64>;

    /// How long a call may wait for other processes, or for a server that went away, before it fails. A store that never waits has no
    /// use for it.
    ///
    /// # Errors
    /// [`Error::Store`] if the store cannot be told.
    fn set_patience(&mut self, _patience: Duration) -> Result<()> {
        Ok(())
    }

    /// What in the store's surroundings may lose IDs that were given out, a sentence each; nothing if nothing is known to.
    fn risks(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Checks a batch as [`Store::assign_with`] demands, and puts its items in the order in which new ones are numbered: that of their keys'
/// bytes. O(n log n), O(n) for a batch that is in order.
///
/// # Errors
/// [`Error::Data`] for an empty or repeated key, [`Error::Shape`] for codes that are not `[levels]`.
pub fn check_batch(items: &[(&str, &[u32])], levels: usize) -> Result<Vec<usize>> {
    for (row, (key, codes)) in items.iter().enumerate() {
        if key.is_empty() {
            return Err(Error::Data(format!("the key of item {row} is empty; every item needs one")));
        }
        if codes.len() != levels {
            check_shape("levels", levels, codes.len(), format!("codes of item `{key}`"))?;
        }
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    // Stable, so that of two equal keys the earlier row is named first, and quick where the order is right already.
    order.sort_by_key(|i| items[*i].0.as_bytes());
    if let Some(pair) = order.windows(2).find(|pair| items[pair[0]].0 == items[pair[1]].0) {
        let key = items[pair[0]].0;
        return Err(Error::Data(format!(
            "items {} and {} of a batch have the same key `{key}`; every item needs its own",
            pair[0], pair[1]
        )));
    }
    Ok(order)
}

/// Refuses another codec than the one whose IDs a store holds.
#[cfg(any(feature = "sqlite", feature = "redis"))]
fn check_codec(place: &str, held: (&str, usize), asked: (&str, usize)) -> Result<()> {
    if held == asked {
        return Ok(());
    }
    Err(Error::Store(format!(
        "`{place}` holds IDs of codec {} with {} levels, not of codec {} with {}; use that codec, or another store",
        held.0, held.1, asked.0, asked.1
    )))
}

/// Refuses what has no levels to be stored.
fn check_levels(levels: usize) -> Result<()> {
    if levels == 0 {
        return Err(Error::config("levels", "expected at least 1, got 0"));
    }
    Ok(())
}

/// No counter is left on some codes: an ID has 32 bits for it.
fn exhausted(codes: &[u32]) -> Error {
    Error::Store(format!("the codes {codes:?} have given out all of their {} counters", 1u64 << 32))
}

/// Codes, and perhaps a counter, as big-endian bytes: they sort as numbers do, and a prefix of codes is a prefix of bytes.
#[cfg(any(feature = "sqlite", feature = "redis"))]
fn to_bytes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// What [`to_bytes`] made of codes and counter.
#[cfg(any(feature = "sqlite", feature = "redis"))]
fn from_bytes(bytes: &[u8]) -> StoredId {
    let mut codes: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b)).collect();
    let counter = codes.pop().unwrap_or(0);
    StoredId { codes, counter }
}
