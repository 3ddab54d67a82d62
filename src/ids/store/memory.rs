//! A store that lasts as long as the process.

use std::collections::{BTreeMap, HashMap};

use super::{Assigned, Store, StoredId, in_order};
use crate::error::{Error, Result, check_shape};

/// IDs in memory: for tests, and for programs that keep them in their own way.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    codec_hash: String,
    levels: usize,
    ids: HashMap<String, StoredId>,
    keys: BTreeMap<StoredId, String>,
    next: HashMap<Vec<u32>, u32>,
}

impl MemoryStore {
    /// An empty store for a codec's IDs.
    ///
    /// # Errors
    /// [`Error::Config`] for 0 levels.
    pub fn new(codec_hash: &str, levels: usize) -> Result<Self> {
        if levels == 0 {
            return Err(Error::config("levels", "expected at least 1, got 0"));
        }
        let (ids, keys, next) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Ok(Self { codec_hash: codec_hash.into(), levels, ids, keys, next })
    }
}

impl Store for MemoryStore {
    fn codec_hash(&self) -> &str {
        &self.codec_hash
    }

    fn levels(&self) -> usize {
        self.levels
    }

    fn assign(&mut self, items: &[(&str, &[u32])]) -> Result<Vec<Assigned>> {
        let order = in_order(items, self.levels)?;
        // Counted first, so that a batch that does not fit changes nothing.
        let mut wanted: HashMap<&[u32], u32> = HashMap::new();
        for (key, codes) in items.iter().filter(|(key, _)| !self.ids.contains_key(*key)) {
            let want = wanted.entry(codes).or_insert_with(|| self.next.get(*codes).copied().unwrap_or(0));
            *want = want
                .checked_add(1)
                .ok_or_else(|| Error::Store(format!("no counter is left for `{key}` on {codes:?}")))?;
        }
        let mut out: Vec<Option<Assigned>> = vec![None; items.len()];
        for at in order {
            let (key, codes) = items[at];
            if let Some(id) = self.ids.get(key) {
                out[at] = Some(Assigned { id: id.clone(), new: false, drifted: id.codes != codes });
                continue;
            }
            let next = self.next.entry(codes.to_vec()).or_default();
            let id = StoredId { codes: codes.to_vec(), counter: *next };
            *next += 1;
            self.ids.insert(key.to_owned(), id.clone());
            self.keys.insert(id.clone(), key.to_owned());
            out[at] = Some(Assigned { id, new: true, drifted: false });
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<StoredId>>> {
        Ok(keys.iter().map(|key| self.ids.get(*key).cloned()).collect())
    }

    fn with_prefix(&mut self, prefix: &[u32], most: usize) -> Result<Vec<(StoredId, String)>> {
        if prefix.len() > self.levels {
            check_shape("levels", self.levels, prefix.len(), "prefix to look up")?;
        }
        let from = StoredId { codes: prefix.to_vec(), counter: 0 };
        let found = self.keys.range(from..).take_while(|(id, _)| id.codes.starts_with(prefix)).take(most);
        Ok(found.map(|(id, key)| (id.clone(), key.clone())).collect())
    }

    fn delete(&mut self, keys: &[&str]) -> Result<usize> {
        let ids: Vec<StoredId> = keys.iter().filter_map(|key| self.ids.remove(*key)).collect();
        ids.iter().for_each(|id| drop(self.keys.remove(id)));
        Ok(ids.len())
    }

    fn count(&mut self) -> Result<u64> {
        Ok(self.ids.len() as u64)
    }
}
