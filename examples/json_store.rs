//! A store of one's own: item IDs in one JSON file, which people can read and put under version control.
//!
//! `Store` is the trait to implement. The rules (who gets which counter, what is refused) are `MemoryStore`'s; this adds where the IDs are
//! kept and how several processes take turns. The whole file is read and written by every batch, so it serves some ten thousand items.
//!
//! Run it with `cargo run --example json_store`.

use sememe::ids::store::{AssignedId, MemoryStore, Reuse, Store, StoredId};
use sememe::io::{read_bytes_capped, write_bytes_atomic};
use sememe::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Larger files are refused: this is the wrong store for them.
const MAX_BYTES: u64 = 1 << 30;

/// IDs in a JSON file, for several processes that take turns.
pub struct JsonStore {
    path: PathBuf,
    ids: MemoryStore,
}

impl JsonStore {
    /// Opens a file of IDs of a codec; it is made when the first item is assigned.
    pub fn open(path: impl Into<PathBuf>, codec_hash: &str, levels: usize) -> Result<Self> {
        let path = path.into();
        let ids = if path.exists() { read(&path)? } else { MemoryStore::new(codec_hash, levels)? };
        if (ids.codec_hash(), ids.levels()) != (codec_hash, levels) {
            let (path, held) = (path.display(), ids.codec_hash());
            return Err(Error::Store(format!("`{path}` holds IDs of codec {held}, not of codec {codec_hash}")));
        }
        Ok(Self { path, ids })
    }

    /// Reads what other processes wrote since.
    fn refresh(&mut self) -> Result<()> {
        if self.path.exists() {
            let ids = read(&self.path)?;
            if (ids.codec_hash(), ids.levels()) != (self.ids.codec_hash(), self.ids.levels()) {
                let (path, now, mine) = (self.path.display(), ids.codec_hash(), self.ids.codec_hash());
                return Err(Error::Store(format!("`{path}` now holds IDs of codec {now}, not of codec {mine}")));
            }
            self.ids = ids;
        }
        Ok(())
    }

    /// Changes the IDs and writes them, while no other process does.
    fn change<T>(&mut self, work: impl FnOnce(&mut MemoryStore) -> Result<T>) -> Result<T> {
        // A file beside it, since the file itself is replaced as a whole. The lock goes with the process, however that ends.
        let beside = self.path.with_extension("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&beside);
        let lock = lock.map_err(|e| Error::io("create", &beside, e))?;
        lock.lock().map_err(|e| Error::io("lock", &beside, e))?;
        self.refresh()?;
        let mut changed = self.ids.clone();
        let out = work(&mut changed)?;
        let text = serde_json::to_vec(&changed).map_err(|e| Error::Store(e.to_string()))?;
        // A temporary file that is synced and renamed: readers see the old IDs or the new ones.
        write_bytes_atomic(&self.path, &text)?;
        // Only what is on the disk is told.
        self.ids = changed;
        Ok(out)
    }
}

fn read(path: &Path) -> Result<MemoryStore> {
    let bytes = read_bytes_capped(path, MAX_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("is no store of IDs: {e}")))
}

impl Store for JsonStore {
    fn codec_hash(&self) -> &str {
        self.ids.codec_hash()
    }

    fn levels(&self) -> usize {
        self.ids.levels()
    }

    fn assign_with(&mut self, items: &[(&str, &[u32])], reuse: Reuse) -> Result<Vec<AssignedId>> {
        self.change(|ids| ids.assign_with(items, reuse))
    }

    fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<StoredId>>> {
        self.refresh()?;
        self.ids.get(keys)
    }

    fn with_prefix(&mut self, prefix: &[u32], most: usize) -> Result<Vec<(StoredId, String)>> {
        self.refresh()?;
        self.ids.with_prefix(prefix, most)
    }

    fn delete(&mut self, keys: &[&str]) -> Result<usize> {
        self.change(|ids| ids.delete(keys))
    }

    fn count(&mut self) -> Result<u64> {
        self.refresh()?;
        self.ids.count()
    }
}

#[cfg_attr(test, allow(dead_code))]
fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ids.json");
    let mut store = JsonStore::open(&path, "hash of a codec", 3)?;
    store.assign(&[("nano", &[7, 26, 57]), ("pico", &[7, 26, 57])])?;
    drop(store);

    let mut again = JsonStore::open(&path, "hash of a codec", 3)?;
    let given = again.assign(&[("pico", &[7, 26, 57]), ("vim", &[7, 26, 57])])?;
    println!("pico keeps {:?}, vim gets {:?}", given[0].id.to_row(), given[1].id.to_row());
    for (id, key) in again.with_prefix(&[7, 26], 10)? {
        println!("{:?} is {key}", id.to_row());
    }
    again.delete(&["nano"])?;
    println!("{} items are left; the file:", again.count()?);
    println!("{}", std::fs::read_to_string(&path)?);
    Ok(())
}
