//! A table of IDs that grows: parquet files of `key`, `codes` and `number`, and a list of those that count.
//!
//! Every growth writes new files and then the next list, `_ids-00000007.json`, which must not be there: of two that grow a table at once one
//! fails and nothing of it counts. Stores and file systems alike can make a file that must not be there; few can rename a folder.

use crate::functions::PartFile;
use crate::storage::{Place, storage};
use sememe::{Error, Result};
use serde::{Deserialize, Serialize};

/// Lists are read up to this size: some hundred thousand files.
const LARGEST_LIST: u64 = 64 << 20;

/// What counts of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Of this form.
    pub version: u32,
    /// Content hash of the codec; a table holds IDs of one.
    pub codec: String,
    /// Codes an item.
    pub levels: usize,
    /// The files, oldest first.
    pub files: Vec<PartFile>,
}

/// A table as it is now.
pub struct Table {
    pub place: Place,
    /// Lists so far; 0 for a table that is not there yet.
    pub generation: u64,
    pub list: List,
}

fn list_name(generation: u64) -> String {
    format!("_ids-{generation:08}.json")
}

impl Table {
    /// Reads the newest list.
    ///
    /// # Errors
    /// [`Error::Data`] for a list that cannot be read, or a folder that holds files and no list.
    pub async fn open(name: &str) -> Result<Self> {
        let place = storage().place(name)?;
        let names = place.list().await?;
        let number = |name: &String| name.strip_prefix("_ids-")?.strip_suffix(".json")?.parse::<u64>().ok();
        let Some(generation) = names.iter().filter_map(number).max() else {
            if names.iter().any(|name| !name.starts_with("part-")) {
                return Err(Error::config(
                    "ids",
                    format!("`{name}` holds files that are no table of IDs; name another folder"),
                ));
            }
            return Ok(Self { place, generation: 0, list: List::default() });
        };
        let file = place.join(&list_name(generation));
        let list: List = serde_json::from_slice(&file.read(LARGEST_LIST).await?)
            .map_err(|e| Error::Data(format!("`{}` cannot be read: {e}", file.name)))?;
        if list.version != 1 {
            return Err(Error::Data(format!(
                "`{}` has version {}, this release reads version 1",
                file.name, list.version
            )));
        }
        Ok(Self { place, generation, list })
    }

    /// Refuses another codec than the table's.
    pub fn check(&self, hash: &str) -> Result<()> {
        if self.generation == 0 || self.list.codec == hash {
            return Ok(());
        }
        let problem = format!(
            "`{}` holds IDs of the codec {}, this one is {hash}: one table has IDs of one codec",
            self.place.name, self.list.codec
        );
        Err(Error::Store(problem))
    }

    /// Items.
    pub fn rows(&self) -> u64 {
        self.list.files.iter().map(|file| file.rows).sum()
    }

    /// Places of the files that count.
    pub fn files(&self) -> Vec<String> {
        self.list.files.iter().map(|file| self.place.join(&file.name).url.to_string()).collect()
    }

    /// Adds files, which then count.
    ///
    /// # Errors
    /// [`Error::Store`] if another has grown the table since it was opened.
    pub async fn grow(&self, codec: &str, levels: usize, parts: Vec<PartFile>) -> Result<()> {
        let mut list = List { version: 1, codec: codec.to_owned(), levels, files: self.list.files.clone() };
        list.files.extend(parts);
        let bytes = serde_json::to_vec_pretty(&list).map_err(|e| Error::Data(e.to_string()))?;
        let next = self.generation + 1;
        if self.place.join(&list_name(next)).write_new(bytes).await? {
            return Ok(());
        }
        Err(Error::Store(format!("`{}` was grown by another meanwhile, to list {next}; run again", self.place.name)))
    }
}
