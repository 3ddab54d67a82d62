//! A store that lasts as long as the process.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{AssignedId, Reuse, Store, StoredId, check_batch, check_levels, exhausted};
use crate::error::{Error, Result, check_shape};

/// The form below; a newer one is refused.
const LAYOUT: u32 = 1;

/// IDs in memory: for tests, and for programs that keep them in their own way.
///
/// It can be written and read with serde, which is all that a store in a small file takes: `examples/json_store.rs`. Reading refuses what
/// is no store: two items on an ID, an item with two, an empty key, codes of another length.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Snapshot", into = "Snapshot")]
pub struct MemoryStore {
    codec_hash: String,
    levels: usize,
    ids: HashMap<String, StoredId>,
    /// Every ID that was ever given out; without a key if it was deleted.
    keys: BTreeMap<StoredId, Option<String>>,
    deleted: BTreeSet<StoredId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    layout: u32,
    codec: String,
    levels: usize,
    ids: Vec<SnapshotId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotId {
    codes: Vec<u32>,
    counter: u32,
    /// `null` for a deleted ID.
    key: Option<String>,
}

impl From<MemoryStore> for Snapshot {
    fn from(store: MemoryStore) -> Self {
        let ids = store.keys.into_iter().map(|(id, key)| SnapshotId { codes: id.codes, counter: id.counter, key });
        Self { layout: LAYOUT, codec: store.codec_hash, levels: store.levels, ids: ids.collect() }
    }
}

impl TryFrom<Snapshot> for MemoryStore {
    type Error = Error;

    fn try_from(saved: Snapshot) -> Result<Self> {
        if saved.layout != LAYOUT {
            return Err(Error::Store(format!("has layout {}, this release reads {LAYOUT}", saved.layout)));
        }
        let mut store = Self::new(&saved.codec, saved.levels)?;
        for SnapshotId { codes, counter, key } in saved.ids {
            check_shape("levels", store.levels, codes.len(), format!("stored ID {codes:?}"))?;
            let id = StoredId { codes, counter };
            match &key {
                Some(key) if key.is_empty() => return Err(Error::Store(format!("{id:?} has an empty key"))),
                Some(key) => {
                    if let Some(other) = store.ids.insert(key.clone(), id.clone()) {
                        return Err(Error::Store(format!("`{key}` has two IDs, {other:?} and {id:?}")));
                    }
                }
                None => drop(store.deleted.insert(id.clone())),
            }
            if store.keys.insert(id.clone(), key).is_some() {
                return Err(Error::Store(format!("{id:?} is there twice")));
            }
        }
        Ok(store)
    }
}

impl MemoryStore {
    /// An empty store for a codec's IDs.
    ///
    /// # Errors
    /// [`Error::Config`] for 0 levels.
    pub fn new(codec_hash: &str, levels: usize) -> Result<Self> {
        check_levels(levels)?;
        let (ids, keys, deleted) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Ok(Self { codec_hash: codec_hash.into(), levels, ids, keys, deleted })
    }

    /// The IDs that `count` new items on `codes` get.
    fn take(&self, codes: &[u32], count: usize, reuse: Reuse) -> Result<Vec<StoredId>> {
        let id = |counter| StoredId { codes: codes.to_vec(), counter };
        let all = id(0)..=id(u32::MAX);
        let again = if reuse == Reuse::Deleted { count } else { 0 };
        let mut taken: Vec<StoredId> = self.deleted.range(all.clone()).take(again).cloned().collect();
        let next = self.keys.range(all).next_back().map_or(0, |(last, _)| u64::from(last.counter) + 1);
        for counter in (next..).take(count - taken.len()) {
            taken.push(id(u32::try_from(counter).map_err(|_| exhausted(codes))?));
        }
        Ok(taken)
    }
}

impl Store for MemoryStore {
    fn codec_hash(&self) -> &str {
        &self.codec_hash
    }

    fn levels(&self) -> usize {
        self.levels
    }

    fn assign_with(&mut self, items: &[(&str, &[u32])], reuse: Reuse) -> Result<Vec<AssignedId>> {
        let order = check_batch(items, self.levels)?;
        let mut new: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
        for at in order.into_iter().filter(|at| !self.ids.contains_key(items[*at].0)) {
            new.entry(items[at].1).or_default().push(at);
        }
        // All taken before any is kept, so that a batch that does not fit changes nothing.
        let taken: Vec<_> =
            new.iter().map(|(codes, rows)| self.take(codes, rows.len(), reuse)).collect::<Result<_>>()?;
        let mut is_new = vec![false; items.len()];
        for (at, id) in new.into_values().flatten().zip(taken.into_iter().flatten()) {
            is_new[at] = true;
            self.deleted.remove(&id);
            self.ids.insert(items[at].0.to_owned(), id.clone());
            self.keys.insert(id, Some(items[at].0.to_owned()));
        }
        let given = |((key, codes), new): (&(&str, &[u32]), bool)| {
            let id = self.ids[*key].clone();
            let drifted = id.codes != *codes;
            AssignedId { id, new, drifted }
        };
        Ok(items.iter().zip(is_new).map(given).collect())
    }

    fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<StoredId>>> {
        Ok(keys.iter().map(|key| self.ids.get(*key).cloned()).collect())
    }

    fn with_prefix(&mut self, prefix: &[u32], most: usize) -> Result<Vec<(StoredId, String)>> {
        if prefix.len() > self.levels {
            check_shape("levels", self.levels, prefix.len(), "prefix to look up")?;
        }
        let from = StoredId { codes: prefix.to_vec(), counter: 0 };
        let all = self.keys.range(from..).take_while(|(id, _)| id.codes.starts_with(prefix));
        Ok(all.filter_map(|(id, key)| Some((id.clone(), key.clone()?))).take(most).collect())
    }

    fn delete(&mut self, keys: &[&str]) -> Result<usize> {
        let ids: Vec<StoredId> = keys.iter().filter_map(|key| self.ids.remove(*key)).collect();
        for id in &ids {
            self.keys.insert(id.clone(), None);
            self.deleted.insert(id.clone());
        }
        Ok(ids.len())
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.ids.len() as u64)
    }
}
