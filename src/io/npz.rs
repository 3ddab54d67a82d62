//! `.npz`: a zip of `.npy` files. Stored entries are read in place, deflated ones are inflated within limits.

use std::io::{BufReader, Read};

use zip::{CompressionMethod, ZipArchive};

use super::options::OpenOptions;
use super::pick::{Candidate, Usable, pick};
use super::window::{Window, WindowReader};
use super::{dense::DenseRows, npy};
use crate::error::{Error, Result};

/// Archives with more entries are refused.
const MAX_ENTRIES: usize = 4096;
/// Enough of an entry to read its `.npy` header.
const PEEK_BYTES: u64 = (64 << 10) + 12;
/// Below this size no inflation ratio is suspicious: an array of zeros deflates a thousandfold.
const RATIO_FROM_BYTES: u64 = 64 << 20;

pub(crate) type Archive = ZipArchive<BufReader<WindowReader>>;

/// What the central directory says about one entry.
pub(crate) struct ZipEntry {
    index: usize,
    /// Without `.npy`.
    pub name: String,
    method: CompressionMethod,
    packed_bytes: u64,
    bytes: u64,
    encrypted: bool,
}

fn refused(w: &Window, e: zip::result::ZipError) -> Error {
    use zip::result::ZipError;
    match e {
        ZipError::Io(e) => w.bad(format_args!("not a readable zip: {e}")),
        e => w.bad(format_args!("not a readable zip: {}", e.to_string().to_lowercase())),
    }
}

fn entries(w: &Window, archive: &Archive) -> Result<Vec<ZipEntry>> {
    if archive.len() > MAX_ENTRIES {
        return Err(w.bad(format_args!("holds {} entries, at most {MAX_ENTRIES} are read", archive.len())));
    }
    if archive.has_duplicate_names() {
        return Err(w.bad("two of its entries have the same name"));
    }
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let data = archive.by_index_data(index).map_err(|e| refused(w, e))?;
        let name = data.name().map_err(|e| refused(w, e))?.into_owned();
        if name == "data.pkl" || name.ends_with("/data.pkl") {
            return Err(super::options::pickled(w.path(), "a torch checkpoint"));
        }
        let Some(name) = name.strip_suffix(".npy") else { continue };
        found.push(ZipEntry {
            index,
            name: name.to_owned(),
            method: data.compression(),
            packed_bytes: data.compressed_size(),
            bytes: data.size(),
            encrypted: data.encrypted(),
        });
    }
    Ok(found)
}

impl ZipEntry {
    /// The entry's own bytes: in place if stored, else up to `limit` inflated ones.
    fn window(&self, w: &Window, archive: &mut Archive, limit: u64) -> Result<Window> {
        let bad = |problem: String| w.bad(format_args!("`{}`: {problem}", self.name));
        if self.encrypted {
            return Err(bad("is encrypted; save it without a password".into()));
        }
        match self.method {
            CompressionMethod::Stored => {
                if self.packed_bytes != self.bytes {
                    let (a, b) = (self.packed_bytes, self.bytes);
                    return Err(bad(format!("is stored as is, but its sizes {a} and {b} differ")));
                }
                let start = archive.by_index_raw(self.index).map_err(|e| refused(w, e))?.data_start();
                let start = start.ok_or_else(|| bad("has no data".into()))?;
                Ok(w.sub(start, self.bytes)?.named(&self.name))
            }
            CompressionMethod::Deflated => {
                let entry = archive.by_index(self.index).map_err(|e| refused(w, e))?;
                let mut bytes = Vec::new();
                // Grows with what really comes out, never by what the directory claims.
                let read = entry.take(limit).read_to_end(&mut bytes);
                read.map_err(|e| bad(format!("does not inflate: {e}")))?;
                Ok(Window::memory(w.path(), bytes).named(&self.name))
            }
            other => Err(bad(format!("is compressed with {other:?}; stored and deflated entries are read"))),
        }
    }

    /// Refuses an entry that would inflate beyond the limits.
    fn check_size(&self, w: &Window, options: &OpenOptions) -> Result<()> {
        let bad = |problem: String| Err(w.bad(format_args!("`{}`: {problem}", self.name)));
        if self.method == CompressionMethod::Stored {
            return Ok(());
        }
        let limit = options.max_inflated_bytes;
        if self.bytes > limit {
            return bad(format!(
                "inflates to {} bytes, more than `max_inflated_bytes` = {limit}; save it with np.savez",
                self.bytes
            ));
        }
        let ratio = self.bytes / self.packed_bytes.max(1);
        if self.bytes > RATIO_FROM_BYTES && ratio > options.max_inflation_ratio {
            return bad(format!(
                "inflates {} bytes to {}, {ratio} times as many, more than `max_inflation_ratio` = {}",
                self.packed_bytes, self.bytes, options.max_inflation_ratio
            ));
        }
        Ok(())
    }

    /// The header of its array.
    pub fn header(&self, w: &Window, archive: &mut Archive) -> Result<npy::NpyHeader> {
        self.window(w, archive, PEEK_BYTES).and_then(|part| npy::read_header(&part))
    }

    /// All of its bytes, within the limits.
    pub fn open(&self, w: &Window, archive: &mut Archive, options: &OpenOptions) -> Result<Window> {
        self.check_size(w, options)?;
        // One byte more than declared is asked for, so that an entry which lies about its size is found out.
        let part = self.window(w, archive, self.bytes.saturating_add(1))?;
        if part.len() != self.bytes {
            return Err(part.bad(format_args!(
                "inflates to {} bytes or more, declared are {}",
                part.len(),
                self.bytes
            )));
        }
        Ok(part)
    }

    fn candidate(&self, w: &Window, archive: &mut Archive) -> Candidate {
        let header = self.header(w, archive);
        let name = self.name.clone();
        match header {
            Ok(h) => Candidate { name, summary: h.summary(), usable: Usable::of(h.shape.len() == 2, h.number()) },
            Err(_) => Candidate { name, summary: "(not readable)".into(), usable: Usable::No },
        }
    }
}

/// Opens an archive and lists its arrays.
pub(crate) fn read_directory(w: &Window) -> Result<(Archive, Vec<ZipEntry>)> {
    let archive = ZipArchive::new(BufReader::new(w.reader())).map_err(|e| refused(w, e))?;
    let entries = entries(w, &archive)?;
    Ok((archive, entries))
}

/// Opens one array of an archive.
pub(crate) fn open(w: &Window, options: &OpenOptions) -> Result<DenseRows> {
    let (mut archive, entries) = read_directory(w)?;
    let candidates: Vec<Candidate> = entries.iter().map(|e| e.candidate(w, &mut archive)).collect();
    let entry = &entries[pick(w.path(), "array", options.array.as_deref(), &candidates)?];
    npy::open(entry.open(w, &mut archive, options)?)
}
