//! Item keys: what a catalogue calls its items.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// Refuses keys that cannot name items: an empty one, or one that two rows have. O(n).
///
/// # Errors
/// [`Error::Data`] with the rows.
pub fn check_keys<K: AsRef<str>>(keys: &[K]) -> Result<()> {
    let mut seen = HashMap::with_capacity(keys.len());
    for (row, key) in keys.iter().enumerate() {
        let key = key.as_ref();
        if key.is_empty() {
            return Err(Error::Data(format!("the key of row {row} is empty; every item needs one")));
        }
        if let Some(first) = seen.insert(key, row) {
            return Err(Error::Data(format!(
                "rows {first} and {row} have the same key `{key}`; every item needs its own"
            )));
        }
    }
    Ok(())
}
