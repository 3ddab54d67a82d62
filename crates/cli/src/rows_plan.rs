//! Which embeddings a verb reads, and how they are encoded.

use crate::failure::usage;
use crate::flags::{OnBad, Rows};
use crate::given::Given;
use anyhow::Result;
use sememe::{BadRows, EncodeOptions};
use std::path::{Path, PathBuf};

/// Embeddings in a file, several or a folder of them.
pub struct RowsPlan {
    pub path: PathBuf,
    /// Files whose rows follow.
    pub more: Vec<PathBuf>,
    pub array: Option<String>,
    pub on_bad: BadRows,
}

pub fn rows(path: PathBuf, flags: Rows) -> RowsPlan {
    let on_bad = match flags.on_bad {
        OnBad::Refuse => BadRows::Refuse,
        OnBad::Drop => BadRows::Drop,
    };
    RowsPlan { path, more: flags.more, array: flags.array, on_bad }
}

impl RowsPlan {
    /// All files, in the order of their rows.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.path).chain(&self.more).map(PathBuf::as_path)
    }
}

pub fn encode_options(beam: Option<usize>, batch_rows: Option<usize>) -> Result<EncodeOptions> {
    if let Some(beam @ (0 | 65..)) = beam {
        return Err(usage(format!("`--beam`: expected 1 to 64 prefixes, got {beam}")));
    }
    if batch_rows == Some(0) {
        return Err(usage("`--batch-rows`: expected at least 1, got 0"));
    }
    Ok(EncodeOptions { beam, batch_rows })
}

/// Refuses flags about rows where none are read.
pub fn no_rows(given: &Given, without: &str) -> Result<()> {
    match given.of_group("Rows") {
        Some(flag) => Err(usage(format!("`--{flag}` goes with rows; leave it out {without}"))),
        None => Ok(()),
    }
}
