//! Positioned reads over a file, a part of one, or bytes in memory.
//!
//! Nothing here is memory-mapped: resident memory stays bounded by the buffers that are asked for, and a file
//! that is truncated while it is being read gives an error instead of a signal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

#[derive(Clone)]
enum Inner {
    File(Arc<File>),
    Memory(Arc<Vec<u8>>),
}

/// `len` bytes that can be read at any position, from several threads at once.
#[derive(Clone)]
pub struct Window {
    inner: Inner,
    base: u64,
    len: u64,
    path: Arc<PathBuf>,
    /// The array, tensor or column inside the file, for messages.
    part: Option<Arc<str>>,
}

impl Window {
    /// Opens a regular, non-empty file.
    ///
    /// # Errors
    /// If it cannot be opened, is a folder, a pipe or a device, or holds no bytes.
    pub fn open(path: &Path) -> Result<Self> {
        // Asked before opening: opening a pipe without a writer blocks for ever.
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
        if meta.is_dir() {
            return Err(Error::format(path, "is a folder, expected a file"));
        }
        if !meta.is_file() {
            return Err(Error::format(path, "is a pipe or a device, expected a regular file; write it to disk first"));
        }
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let len = file.metadata().map_err(|e| Error::io("open", path, e))?.len();
        if len == 0 {
            return Err(Error::format(path, "is empty (0 bytes)"));
        }
        Ok(Self { inner: Inner::File(Arc::new(file)), base: 0, len, path: Arc::new(path.into()), part: None })
    }

    /// Bytes in memory that stand for a part of `path`.
    pub(crate) fn memory(path: &Path, bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u64;
        Self { inner: Inner::Memory(Arc::new(bytes)), base: 0, len, path: Arc::new(path.into()), part: None }
    }

    /// The bytes `start..start + len` of this window.
    pub(crate) fn sub(&self, start: u64, len: u64) -> Result<Self> {
        self.check(start, len)?;
        Ok(Self { base: self.base + start, len, ..self.clone() })
    }

    /// The same bytes, named as `part` of the file.
    pub(crate) fn named(self, part: &str) -> Self {
        Self { part: Some(part.into()), ..self }
    }

    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an empty file is refused")]
    pub fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path, with the part in brackets.
    pub(crate) fn name(&self) -> String {
        match &self.part {
            Some(part) => format!("{}[{part}]", self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    /// A format error for this file and part.
    pub(crate) fn bad(&self, problem: impl std::fmt::Display) -> Error {
        match &self.part {
            Some(part) => Error::format(&*self.path, format!("`{part}`: {problem}")),
            None => Error::format(&*self.path, problem.to_string()),
        }
    }

    fn check(&self, start: u64, len: u64) -> Result<()> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.bad(format_args!("needs {len} bytes from byte {start} on, but holds {} bytes", self.len))),
        }
    }

    /// Fills `out` from byte `at` on.
    ///
    /// # Errors
    /// If the range reaches past the end, or the file shrank since it was opened, or cannot be read.
    pub fn read_at(&self, at: u64, out: &mut [u8]) -> Result<()> {
        self.check(at, out.len() as u64)?;
        match &self.inner {
            Inner::Memory(bytes) => {
                // In range of a Vec by the check above, so the casts are exact.
                let from = (self.base + at) as usize;
                out.copy_from_slice(&bytes[from..from + out.len()]);
                Ok(())
            }
            Inner::File(file) => read_exact_at(file, out, self.base + at).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => self.bad(format_args!(
                    "ended before byte {}, where it reached when it was opened; was it cut short or replaced meanwhile?",
                    self.base + at + out.len() as u64
                )),
                _ => Error::io("read", &*self.path, e),
            }),
        }
    }

    /// `len` bytes from byte `at` on; allocates only after checking that the window holds them.
    pub(crate) fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        self.check(at, len as u64)?;
        let mut out = vec![0; len];
        self.read_at(at, &mut out)?;
        Ok(out)
    }

    /// A reader with its own position, for parsers that want `Read + Seek`.
    #[must_use]
    pub fn reader(&self) -> WindowReader {
        self.reader_at(0)
    }

    /// The same, from byte `at` on.
    pub(crate) fn reader_at(&self, at: u64) -> WindowReader {
        WindowReader { window: self.clone(), at }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// `Read + Seek` over a [`Window`].
pub struct WindowReader {
    window: Window,
    at: u64,
}

impl Read for WindowReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.window.len.saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        self.window.read_at(self.at, &mut out[..count]).map_err(io::Error::other)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for WindowReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.window.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the first byte"))?;
        Ok(self.at)
    }
}

#[cfg(feature = "parquet")]
impl parquet::file::reader::Length for Window {
    fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(feature = "parquet")]
impl parquet::file::reader::ChunkReader for Window {
    type T = io::BufReader<WindowReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(io::BufReader::new(WindowReader { window: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<bytes::Bytes> {
        let read = self.bytes(start, length);
        Ok(read.map_err(|e| parquet::errors::ParquetError::External(Box::new(e)))?.into())
    }
}
