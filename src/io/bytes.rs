//! A file's bytes, memory-mapped or in memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use super::window::Window;
use crate::error::{Error, Result};

/// Bytes that are shared when cloned: in memory, or a file mapped into it.
#[derive(Clone)]
pub(crate) enum Bytes {
    Held(Arc<Vec<u8>>),
    Mapped(Arc<memmap2::Mmap>),
}

impl Bytes {
    /// Reads a regular, non-empty file, after `check` has seen its first 64 bytes and its length.
    ///
    /// # Errors
    /// If it cannot be read, is a folder, a pipe or a device, holds no bytes or more than memory can, or `check` refuses it.
    pub(crate) fn read<T>(path: &Path, check: impl FnOnce(&[u8], u64) -> Result<T, String>) -> Result<Self> {
        let window = Window::open(path)?;
        check(&window.bytes(0, window.len().min(64) as usize)?, window.len()).map_err(|e| window.bad(e))?;
        let len = usize::try_from(window.len());
        let len = len.map_err(|_| window.bad(format_args!("has {} bytes, more than memory holds", window.len())))?;
        Ok(window.bytes(0, len)?.into())
    }

    /// Maps a regular, non-empty file, to be read only.
    ///
    /// # Safety
    /// Nobody may change the file in place as long as the bytes or a clone of them live.
    ///
    /// # Errors
    /// If it cannot be opened or mapped, is a folder, a pipe or a device, or holds no bytes.
    pub(crate) unsafe fn map(path: &Path) -> Result<Self> {
        // Asked before opening: opening a pipe without a writer blocks for ever.
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if !meta.is_file() {
            return Err(Error::format(path, "is a folder, a pipe or a device, expected a file"));
        }
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        if file.metadata().map_err(|e| Error::io("open", path, e))?.len() == 0 {
            return Err(Error::format(path, "is empty (0 bytes)"));
        }
        // SAFETY: the map is read-only and private to this value, and the caller promises that the file does not change.
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
