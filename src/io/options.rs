//! How a file of embeddings is opened.

use std::path::Path;

use crate::error::Error;

/// How to open a file of embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// The array (`.npz`), tensor (`.safetensors`), column (`.parquet`) or field (`.jsonl`) to read. Without it `embeddings` is
    /// taken (or `embedding`, `vector`, `vectors`, where a row is a list), or else the only one that can hold embeddings. A `.npy` holds
    /// one array and ignores it.
    pub array: Option<String>,
    /// The most bytes that a compressed array of an `.npz` may inflate to; it is then held in memory. 8 GiB.
    pub max_inflated_bytes: u64,
    /// How many times as many bytes a compressed array of more than 64 MiB may inflate to. 200.
    pub max_inflation_ratio: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { array: None, max_inflated_bytes: 8 << 30, max_inflation_ratio: 200 }
    }
}

/// The error for data that can only be read by executing a pickle.
pub(crate) fn pickled(path: &Path, what: &str) -> Error {
    Error::format(
        path,
        format!(
            "is {what}; reading it would run code from the file, so it is not read; \
             in Python, save it with `numpy.save` or `safetensors.torch.save_file`"
        ),
    )
}

/// The extension in lower case.
#[must_use]
pub fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}
