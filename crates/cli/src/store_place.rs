//! Where a store of IDs is, for the verbs that open one.

use anyhow::Result;
use clap::Args;
use sememe::ids::store::{Store, without_password};
use std::path::PathBuf;
use std::time::Duration;

/// What is done about a store that others use, or that went away.
#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Seconds to wait for other processes, and for a server that went away, before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub patience: u64,
}

/// Where a store is, and how long it is waited for.
pub struct Place {
    path: PathBuf,
    patience: Duration,
}

impl Place {
    pub fn new(path: PathBuf, waiting: Waiting) -> Self {
        Self { path, patience: Duration::from_secs(waiting.patience) }
    }

    /// For people, without a password.
    pub fn shown(&self) -> String {
        without_password(&self.path)
    }

    pub fn open(&self, codec_hash: &str, levels: usize) -> Result<Box<dyn Store>> {
        let mut store = sememe::ids::store::open(&self.path, codec_hash, levels)?;
        store.set_patience(self.patience)?;
        Ok(store)
    }

    pub fn open_existing(&self) -> Result<Box<dyn Store>> {
        let mut store = sememe::ids::store::open_existing(&self.path)?;
        store.set_patience(self.patience)?;
        Ok(store)
    }
}
