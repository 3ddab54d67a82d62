//! The hash of everything that a vector depends on.

use sha2::{Digest as _, Sha256};

use super::embedder::Embedder;
use super::options::EmbedOptions;

/// SHA-256 of a text and of everything that makes its vector.
pub(super) type ContentHash = [u8; 32];

/// Hashes contents that share their settings.
pub(super) struct ContentHasher(Sha256);

/// Length first, so that no two sequences of parts are the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

impl ContentHasher {
    pub(super) fn new(embedder: &dyn Embedder, options: &EmbedOptions) -> Self {
        let mut hash = Sha256::new();
        part(&mut hash, b"sememe embed 1");
        part(&mut hash, embedder.model().as_bytes());
        part(&mut hash, embedder.settings().as_bytes());
        part(&mut hash, options.prefix.as_bytes());
        part(&mut hash, &[u8::from(options.normalize)]);
        Self(hash)
    }

    pub(super) fn of(&self, text: &str) -> ContentHash {
        let mut hash = self.0.clone();
        part(&mut hash, text.as_bytes());
        hash.finalize().into()
    }
}
