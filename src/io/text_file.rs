//! Text files, inflated where their name says so.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::options::extension;
use super::window::Window;
use crate::error::{Error, Result};

/// The most bytes that a `.gz` may inflate to.
const MAX_INFLATED_BYTES: u64 = 8 << 30;
const BUFFER_BYTES: usize = 1 << 16;

/// The extension that says what a text file holds, in lower case: that before `.gz`, if it ends so.
#[must_use]
pub fn text_extension(path: &Path) -> String {
    let inner = |stem: &std::ffi::OsStr| extension(Path::new(stem));
    match extension(path).as_str() {
        "gz" => path.file_stem().map(inner).filter(|inner| !inner.is_empty()).unwrap_or_else(|| "gz".into()),
        other => other.to_owned(),
    }
}

/// Opens a text file behind its byte order mark; what ends in `.gz` is inflated.
///
/// # Errors
/// As [`Window::open`], and for UTF-16, which its byte order mark gives away.
pub(crate) fn open_text(path: &Path) -> Result<Box<dyn BufRead>> {
    let plain = BufReader::with_capacity(BUFFER_BYTES, Window::open(path)?.reader());
    let mut reader: Box<dyn BufRead> = if extension(path) == "gz" {
        let inflated = flate2::bufread::MultiGzDecoder::new(plain).take(MAX_INFLATED_BYTES + 1);
        Box::new(BufReader::with_capacity(BUFFER_BYTES, CountedReader { inner: inflated, left: MAX_INFLATED_BYTES }))
    } else {
        Box::new(plain)
    };
    let lead = reader.fill_buf().map_err(|e| Error::io("read", path, e))?;
    if lead.starts_with(b"\xFF\xFE") || lead.starts_with(b"\xFE\xFF") {
        return Err(Error::format(path, "is UTF-16 by its byte order mark, expected UTF-8; save it as UTF-8"));
    }
    if lead.starts_with(b"\xEF\xBB\xBF") {
        reader.consume(3);
    }
    Ok(reader)
}

/// Fails, rather than ends, where more than `left` bytes come out.
struct CountedReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(out)?;
        let left = self.left.checked_sub(count as u64);
        self.left =
            left.ok_or_else(|| std::io::Error::other(format!("it inflates to more than {MAX_INFLATED_BYTES} bytes")))?;
        Ok(count)
    }
}
