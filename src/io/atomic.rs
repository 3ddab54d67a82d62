//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Makes the names of this process's temporary files differ.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A number that no other temporary file or folder of this process has.
pub(super) fn serial() -> u64 {
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// Whether a text is what stands between the name and the ending of a temporary file: `PID-N`.
pub(super) fn is_serial(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(process, serial)| number(process) && number(serial))
}

/// The folder that a path lies in.
pub(super) fn in_folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// The temporary file, which counts what reached it so that "disk full" can say where it stopped.
struct CountedFile {
    file: File,
    written: u64,
}

impl CountedFile {
    fn explain(&self, e: io::Error) -> io::Error {
        io::Error::new(e.kind(), format!("{e} after {} bytes", self.written))
    }
}

impl Write for CountedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => self.explain(e),
        })?;
        self.written += count as u64;
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for CountedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A file that appears under its name only when [`commit`](AtomicFile::commit) has succeeded.
///
/// Until then everything goes to a temporary file in the same folder, named `.NAME.PID-N.tmp`, which is removed if
/// this is dropped; only a killed process leaves it behind. An existing file stays as it was, keeps its permissions
/// when it is replaced, and a symbolic link is followed.
///
/// ```
/// use std::io::Write;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("notes.txt");
/// let mut file = sememe::io::AtomicFile::create(&path)?;
/// file.write_all(b"all of it")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"all of it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AtomicFile {
    target: PathBuf,
    temp: PathBuf,
    /// `None` once committed, or while being dropped.
    out: Option<BufWriter<CountedFile>>,
}

impl AtomicFile {
    /// Starts a file that will be `path`.
    ///
    /// # Errors
    /// If the folder does not exist or cannot be written to, or `path` is a folder, a pipe or a device.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // A rename would replace the link, not the file it points to.
        let target = if path.is_symlink() { fs::canonicalize(path) } else { Ok(path.to_path_buf()) };
        let target = target.map_err(|e| Error::io("create", path, e))?;
        let existing = match fs::metadata(&target) {
            Ok(meta) => Some(meta),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io("create", path, e)),
        };
        if existing.as_ref().is_some_and(|m| !m.is_file()) {
            return Err(Error::format(path, "is a folder, a pipe or a device, which a file cannot replace"));
        }
        let Some(name) = target.file_name() else {
            return Err(Error::format(path, "has no file name to write to"));
        };
        // Names have 255 bytes at most on common file systems, a character up to 4.
        let name: String = name.to_string_lossy().chars().take(40).collect();
        loop {
            let temp = target.with_file_name(format!(".{name}.{}-{}.tmp", std::process::id(), serial()));
            match File::options().write(true).create_new(true).open(&temp) {
                Ok(file) => {
                    if let Some(meta) = existing {
                        // As good as possible: some file systems have no permissions to set.
                        let _ = fs::set_permissions(&temp, meta.permissions());
                    }
                    let out = Some(BufWriter::with_capacity(1 << 20, CountedFile { file, written: 0 }));
                    return Ok(Self { target, temp, out });
                }
                // Left behind by a killed process that had the same number.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create", path, e)),
            }
        }
    }

    /// The path that the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// If the system refuses: names the path, the cause and how many bytes were written before.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|e| self.failed(e))
    }

    /// An error of a write to this file.
    pub fn failed(&self, e: io::Error) -> Error {
        Error::io("write", &self.target, e)
    }

    /// Flushes, syncs and renames the file into place, and syncs its folder.
    ///
    /// # Errors
    /// If the system refuses any of it; the temporary file is removed, and an existing file stays as it was.
    /// (Should only the folder's sync fail, the new file is in place but may not survive a loss of power.)
    pub fn commit(mut self) -> Result<()> {
        let out = self.inner();
        let done = out.flush().and_then(|()| {
            let counted = out.get_ref();
            counted.file.sync_all().map_err(|e| counted.explain(e))
        });
        done.map_err(|e| self.failed(e))?;
        // Closed before the rename, which Windows demands.
        self.out = None;
        if let Err(e) = fs::rename(&self.temp, &self.target) {
            let _ = fs::remove_file(&self.temp);
            return Err(Error::io("replace", &self.target, e));
        }
        sync_folder(&self.target)
    }

    fn inner(&mut self) -> &mut BufWriter<CountedFile> {
        self.out.as_mut().expect("the writer is there until commit or drop consume the file")
    }
}

/// Makes the rename itself durable.
#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    File::open(in_folder(path)).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync the folder of", path, e))
}

#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner().flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner().seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // Taken apart rather than dropped: a BufWriter would write its rest to a file about to go.
            drop(out.into_parts());
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// Removes what killed processes left of files and folders that were never whole. Only for a folder that nobody else writes to now.
///
/// # Errors
/// If the folder cannot be listed or a file not be removed.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| Error::io("read", folder, e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", folder, e))?;
        let name = entry.file_name();
        let ours = name
            .to_str()
            .and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.'))
            .is_some_and(|(_, numbers)| is_serial(numbers));
        if ours {
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let gone = if folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            gone.map_err(|e| Error::io("remove", entry.path(), e))?;
        }
    }
    Ok(())
}

/// Writes `bytes` to `path`, whole or not at all.
///
/// # Errors
/// As for [`AtomicFile`].
pub fn write_bytes_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.put(bytes)?;
    file.commit()
}

/// Whether there is a file or a folder of this name. [`Path::exists`] takes every fault for absence, such as a folder that may not be
/// looked into, and what is absent is made anew, in the place of what is there.
///
/// # Errors
/// If the system cannot say.
pub fn is_there(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    path.try_exists().map_err(|e| Error::io("look for", path, e))
}

/// As [`read_bytes_capped`]; nothing if there is no such file.
///
/// # Errors
/// As [`read_bytes_capped`] for a file that is there.
pub fn read_if_there(path: impl AsRef<Path>, cap_bytes: u64) -> Result<Option<Vec<u8>>> {
    match read_bytes_capped(path, cap_bytes) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Reads a whole file of at most `cap_bytes` bytes.
///
/// # Errors
/// If it cannot be read, is a folder, or is larger; the error names both sizes.
pub fn read_bytes_capped(path: impl AsRef<Path>, cap_bytes: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let mut bytes = Vec::new();
    // One byte more tells a file of exactly the cap from a larger one, whatever its metadata says.
    file.take(cap_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > cap_bytes {
        let size = fs::metadata(path).map_or(0, |m| m.len()).max(bytes.len() as u64);
        return Err(Error::format(path, format!("has {size} bytes, at most {cap_bytes} are read")));
    }
    Ok(bytes)
}
