//! A file that grows by whole pieces.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sememe::{Error, Result};

/// Appends pieces to an existing file. A piece that fails, on a full disk say, is cut off again, so that the file stays whole
/// and the next piece may be tried.
pub(super) struct Appender {
    path: PathBuf,
    file: File,
    whole_bytes: u64,
    /// Part of a failed piece could not be cut off yet.
    torn: bool,
}

impl Appender {
    /// Goes on at the end of `path`, which must exist and end with a whole piece.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let opened = File::options().write(true).open(path).and_then(|mut file| {
            let whole_bytes = file.seek(SeekFrom::End(0))?;
            Ok(Self { path: path.into(), file, whole_bytes, torn: false })
        });
        opened.map_err(|e| Error::io("open", path, e))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands `piece` to the system, in one call where it takes it all.
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<()> {
        if self.torn {
            self.cut().map_err(|e| Error::io("repair", &self.path, e))?;
        }
        match self.file.write_all(piece) {
            Ok(()) => {
                self.whole_bytes += piece.len() as u64;
                Ok(())
            }
            Err(e) => {
                self.torn = true;
                // If this fails too, the next piece tries it first, and resuming drops what is left.
                let _ = self.cut();
                let text = format!("{e} after {} bytes", self.whole_bytes);
                Err(Error::io("write", &self.path, io::Error::new(e.kind(), text)))
            }
        }
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.whole_bytes)?;
        self.file.seek(SeekFrom::Start(self.whole_bytes))?;
        self.torn = false;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_piece_is_cut_off_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, "one\n").unwrap();
        let mut file = Appender::open(&path).unwrap();
        // As a failed write leaves it when cutting fails too.
        file.file.write_all(b"tw").unwrap();
        file.torn = true;
        file.append(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let mut file = Appender::open(Path::new("/dev/full")).unwrap();
        let error = file.append(b"piece").unwrap_err();
        assert!(
            matches!(&error, Error::Io { action: "write", source, .. } if source.kind() == io::ErrorKind::StorageFull)
        );
        assert!(error.to_string().contains("`/dev/full`"), "{error}");
    }
}
