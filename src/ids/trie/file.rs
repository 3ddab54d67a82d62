//! The trie's file: a header that is checked, and a body that is read or mapped.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Node, Trie};
use crate::error::{Error, Result};
use crate::io::{Bytes, write_bytes_atomic};

pub(super) const HEADER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"SEMTRIE1";

/// What a header says.
pub(super) struct TrieHeader {
    pub end: u32,
    pub depth: u32,
    pub nodes: u32,
    pub items: u32,
}

impl TrieHeader {
    /// Bytes of the whole file.
    pub fn len_bytes(&self) -> u64 {
        let (nodes, items) = (u64::from(self.nodes), u64::from(self.items));
        HEADER_BYTES as u64 + 4 * nodes + 8 * (nodes + 1) + 4 * items
    }

    /// Writes the header into the front of an image whose rest is complete.
    pub fn seal(&self, image: &mut [u8]) {
        let mut header = [0u8; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        let words = [self.end, self.depth, self.nodes, self.items];
        for (slot, word) in header[8..24].chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        header[32..40].copy_from_slice(&self.len_bytes().to_le_bytes());
        let hash = hash(&header[..40], &image[HEADER_BYTES..]);
        header[40..64].copy_from_slice(&hash);
        image[..HEADER_BYTES].copy_from_slice(&header);
    }
}

/// Reads the header of a file of `len` bytes.
fn check_header(bytes: &[u8], len: u64) -> Result<TrieHeader, String> {
    if bytes.len() < HEADER_BYTES {
        return Err(format!("has {len} bytes, a trie at least {HEADER_BYTES}"));
    }
    if &bytes[..8] != MAGIC {
        return Err(match bytes.starts_with(&MAGIC[..7]) {
            true => format!("is a trie of version `{}`, this release reads version 1", bytes[7].escape_ascii()),
            false => "is no trie: it does not start with `SEMTRIE`".into(),
        });
    }
    let word = |i: usize| {
        let at = 8 + 4 * i;
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let header = TrieHeader { end: word(0), depth: word(1), nodes: word(2), items: word(3) };
    let claimed = header.len_bytes();
    if len != claimed || bytes[32..40] != claimed.to_le_bytes() {
        return Err(format!(
            "has {len} bytes, but {claimed} for the {} nodes and {} items that its header says; was it cut short?",
            header.nodes, header.items
        ));
    }
    if header.nodes == 0 || header.depth == 0 || header.depth >= header.nodes {
        return Err(format!("a depth of {} does not go with {} nodes", header.depth, header.nodes));
    }
    Ok(header)
}

/// The first 24 bytes of the SHA-256 of header and body.
fn hash(header: &[u8], body: &[u8]) -> [u8; 24] {
    let digest = Sha256::new().chain_update(header).chain_update(body).finalize();
    let mut out = [0; 24];
    out.copy_from_slice(&digest[..24]);
    out
}

impl Trie {
    /// The file's content.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the trie to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_bytes_atomic(path, &self.bytes)
    }

    /// Reads a file into memory. The header and the length are checked; whatever the rest holds, nothing panics and no list of allowed
    /// tokens is empty, and [`verify`](Self::verify) tells a damaged file. O(bytes); [`map`](Self::map) opens a trie of any size in
    /// microseconds, but needs a promise.
    ///
    /// # Errors
    /// If the file cannot be read, is no trie, of another version, or longer or shorter than its header says.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::over(Bytes::read(path, check_header)?, path)
    }

    /// As [`load`](Self::load), but by mapping the file into memory: pages are read as they are needed, so a trie of any size opens in
    /// microseconds, and processes share one copy.
    ///
    /// # Safety
    /// Nobody may change the file in place or cut it short as long as this trie or a clone of it lives: its bytes are handed out as
    /// `&[u8]`, which never change, and reading past a new end ends the process. Replacing the file by renaming another over it, as
    /// [`save`](Self::save) does, is fine: the mapped one stays as it is.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub unsafe fn map(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // SAFETY: the caller promises what `Bytes::map` asks for.
        Self::over(unsafe { Bytes::map(path) }?, path)
    }

    /// A trie from a file's content.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::over(bytes.into(), Path::new("trie"))
    }

    fn over(bytes: Bytes, path: &Path) -> Result<Self> {
        let header = check_header(&bytes[..HEADER_BYTES.min(bytes.len())], bytes.len() as u64)
            .map_err(|problem| Error::format(path, problem))?;
        let TrieHeader { end, depth, nodes, items } = header;
        let [depth, nodes, items] = [depth, nodes, items].map(|n| n as usize);
        let mut trie = Self { bytes, end, depth, nodes, items, last: nodes };
        // A node's first child is the first of the depth below, whether it is its own or a neighbour's.
        let first = |node: usize, trie: &Self| trie.children(Node(node as u32)).start;
        trie.last = (0..depth).fold(0, |node, _| first(node, &trie));
        Ok(trie)
    }

    /// Reads all of the trie and holds it to the hash in its header. About a second a gigabyte.
    ///
    /// # Errors
    /// [`Error::Data`] if a byte is not what it was.
    pub fn verify(&self) -> Result<()> {
        if hash(&self.bytes[..40], &self.bytes[HEADER_BYTES..]) == self.bytes[40..64] {
            return Ok(());
        }
        Err(Error::Data("the trie's content does not match the hash in its header; build it again".into()))
    }
}
