//! How texts are embedded.

use sememe::{Error, Result};

/// How texts are embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedOptions {
    /// Texts a batch: one call of the model, and what is lost if it fails.
    pub batch_items: usize,
    /// Calls at once.
    pub concurrency: usize,
    /// Divide every vector by its L2 norm.
    pub normalize: bool,
    /// Put before every text, as in E5's `passage: `.
    pub prefix: String,
    /// Take nothing in the table for up to date.
    pub rebuild: bool,
    /// Take vectors out of the table whose items are not there any more; not with a part of the items.
    pub prune: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Pass over texts that cannot be embedded, and say which they were; else the run fails once all others are kept. Either way they
    /// are tried again in the next run.
    pub skip_failed: bool,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            batch_items: 32,
            concurrency: 4,
            normalize: false,
            prefix: String::new(),
            rebuild: false,
            prune: false,
            dry_run: false,
            skip_failed: false,
        }
    }
}

impl EmbedOptions {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Config`] for batches of none, or less than 1 or more than 256 calls at once.
    pub fn validate(&self) -> Result<()> {
        if self.batch_items == 0 {
            return Err(Error::config("batch_items", "expected at least 1, got 0"));
        }
        if !(1..=256).contains(&self.concurrency) {
            return Err(Error::config("concurrency", format!("expected 1 to 256, got {}", self.concurrency)));
        }
        Ok(())
    }
}
