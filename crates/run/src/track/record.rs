//! TFRecord framing: length (u64), its masked CRC, the payload, its masked CRC; all little-endian.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::crc::masked;
use sememe::{Error, Result};

/// Bytes of a record around its payload.
const FRAME_BYTES: u64 = 16;

/// Appends a record with `payload` to `out`.
pub(super) fn frame(payload: &[u8], out: &mut Vec<u8>) {
    let length = (payload.len() as u64).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked(&length).to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&masked(payload).to_le_bytes());
}

/// The whole records of a file, up to its end or the first damage.
pub(super) struct Records {
    path: PathBuf,
    reader: BufReader<File>,
    payload: Vec<u8>,
    /// Where the next record starts.
    at_bytes: u64,
    len_bytes: u64,
    /// Nothing after damage can be trusted to start a record.
    ended: bool,
}

impl Records {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len_bytes, file) = opened.map_err(|e| Error::io("open", path, e))?;
        Ok(Self {
            path: path.into(),
            reader: BufReader::new(file),
            payload: Vec::new(),
            at_bytes: 0,
            len_bytes,
            ended: false,
        })
    }

    /// The next payload; `None` at the end, and from the first damaged record on.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        let left = self.len_bytes - self.at_bytes;
        if self.ended || left < FRAME_BYTES {
            return Ok(None);
        }
        let head: [u8; 12] = self.array()?;
        let (length, check) = head.split_at(8);
        let bytes = u64::from_le_bytes(head[..8].try_into().unwrap_or_default());
        // Checked against the file before anything is allocated for it.
        if check != masked(length).to_le_bytes() || bytes > left - FRAME_BYTES {
            self.ended = true;
            return Ok(None);
        }
        self.payload.resize(usize::try_from(bytes).map_err(|_| self.too_large(bytes))?, 0);
        self.reader.read_exact(&mut self.payload).map_err(|e| Error::io("read", &self.path, e))?;
        if self.array()? != masked(&self.payload).to_le_bytes() {
            self.ended = true;
            return Ok(None);
        }
        self.at_bytes += bytes + FRAME_BYTES;
        Ok(Some(&self.payload))
    }

    /// Where the last whole record ended.
    pub(super) fn whole_bytes(&self) -> u64 {
        self.at_bytes
    }

    /// How many bytes follow the last whole record; once [`next`](Self::next) gave `None`, these are damaged.
    pub(super) fn left_bytes(&self) -> u64 {
        self.len_bytes - self.at_bytes
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(bytes)
    }

    fn too_large(&self, bytes: u64) -> Error {
        Error::format(&self.path, format!("has a record of {bytes} bytes, which this machine cannot hold"))
    }
}
