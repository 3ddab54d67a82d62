//! A build without language models.

use crate::catalogue::Catalogue;
use crate::models::LanguageInfo;
use crate::sources::Resolved;
use sememe::{Error, Result};
use std::path::Path;

/// A language model, of which this build has none.
#[derive(Debug)]
pub enum LanguageWorker {}

impl LanguageWorker {
    /// Refuses.
    ///
    /// # Errors
    /// [`Error::Config`] always.
    pub fn load(_: &Path, _: LanguageInfo, _: &Resolved, _: &Catalogue) -> Result<Self> {
        Err(Error::Config {
            field: "language".into(),
            problem: "this program was built without language models; build it with the feature `language`".into(),
        })
    }

    /// What it is called.
    #[must_use]
    pub fn info(&self) -> LanguageInfo {
        match *self {}
    }
}
