//! SHA-256 of content, and bytes as hexadecimal: one way for all files and names.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// SHA-256 over parts, each preceded by its length, so that no two lists of parts have the same bytes.
///
/// ```
/// use sememe::digest::PartDigest;
/// let of = |parts: &[&str]| {
///     let mut digest = PartDigest::new();
///     parts.iter().for_each(|part| digest.part(part.as_bytes()));
///     digest.finish()
/// };
/// assert_eq!(of(&["a", "b"]).len(), 64);
/// assert_ne!(of(&["ab", ""]), of(&["a", "b"]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct PartDigest(Sha256);

impl PartDigest {
    /// Without parts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part.
    pub fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The digest of all parts, in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as hexadecimal, in lower case.
///
/// ```
/// assert_eq!(sememe::digest::hex(&[0, 10, 255]), "000aff");
/// ```
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_digest_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(super::sha256(b"abc"), want);
        let mut parts = super::PartDigest::new();
        parts.part(b"abc");
        assert_eq!(parts.finish(), super::sha256(b"\x03\0\0\0\0\0\0\0abc"));
    }
}
