//! Bytes of a file, mapped or held.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Bytes that are shared when cloned: in memory, or a file mapped into it.
#[derive(Clone)]
pub(crate) enum Bytes {
    Held(Arc<Vec<u8>>),
    Mapped(Arc<memmap2::Mmap>),
}

impl Bytes {
    /// Maps a regular, non-empty file, to be read only.
    ///
    /// # Errors
    /// If it cannot be opened or mapped, is a folder, a pipe or a device, or holds no bytes.
    pub(crate) fn map(path: &Path) -> Result<Self> {
        // Asked before opening: opening a pipe without a writer blocks for ever.
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if !meta.is_file() {
            return Err(Error::format(path, "is a folder, a pipe or a device, expected a file"));
        }
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        if file.metadata().map_err(|e| Error::io("open", path, e))?.len() == 0 {
            return Err(Error::format(path, "is empty (0 bytes)"));
        }
        // SAFETY: the map is read-only and private to this value. The one thing it asks is that nobody changes the file in place
        // meanwhile; files of this crate are replaced by renaming, which leaves the mapped one as it is, and `Trie::load`
        // tells its callers. Only single bytes are read from it, each valid whatever it is.
        let map = unsafe { memmap2::Mmap::map(&file) };
        Ok(Self::Mapped(Arc::new(map.map_err(|e| Error::io("map", path, e))?)))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Held(Arc::new(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}
