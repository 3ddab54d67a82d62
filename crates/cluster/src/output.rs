//! Folders of result files that are there whole or not at all.

use crate::functions::PartFile;
use crate::storage::{Place, storage};
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use sememe::io::AtomicFolder;
use sememe::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Written last into a folder of a store: while it is not there, the folder is not whole.
const LIST: &str = "_files.json";

/// A folder that a query writes into.
pub struct Output {
    /// What will be the folder.
    place: Place,
    /// Where files go until all are there.
    working: Place,
    folder: Option<AtomicFolder>,
}

fn is_part(name: &str) -> bool {
    name.starts_with("part-") && name.ends_with(".parquet")
}

fn parts_in(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_part(name)).collect()
}

impl Output {
    /// Starts a folder. On this machine an existing one is replaced, as far as it is a result like this one; in a store, which cannot exchange
    /// folders, there must be none.
    ///
    /// # Errors
    /// [`Error::Config`] for a folder of a store that holds files; [`Error::Io`].
    pub async fn begin(name: &str) -> Result<Self> {
        let place = storage().place(name)?;
        match &place.local {
            Some(path) => {
                let old = parts_in(path);
                let folder = AtomicFolder::create(path, &old.iter().map(String::as_str).collect::<Vec<_>>())?;
                let working = folder.file("any").parent().map(Path::to_path_buf).unwrap_or_default();
                let working = storage().place(&working.to_string_lossy())?;
                Ok(Self { place, working, folder: Some(folder) })
            }
            None if place.holds_files().await? => {
                Err(Error::config("output", format!("`{name}` holds files; name an empty place, or remove them")))
            }
            None => Ok(Self { working: place.clone(), place, folder: None }),
        }
    }

    /// Where executors write, and what the names of files there begin with.
    pub fn working(&self) -> String {
        format!("{}/part", self.working.url.as_str().trim_end_matches('/'))
    }

    /// Puts the folder in place with these files, and removes what lost tasks left.
    pub async fn commit(self, parts: &[PartFile]) -> Result<()> {
        let named: BTreeSet<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let there = self.working.list().await?;
        if let Some(missing) = named.iter().find(|name| !there.iter().any(|there| there == *name)) {
            return Err(Error::Data(format!(
                "`{missing}` of `{}` was written by an executor and is not here: executors and this machine must see the same files",
                self.place.name
            )));
        }
        // Of this machine's files `there` has no unfinished ones, which killed executors leave.
        match &self.working.local {
            Some(path) => remove_here(path, |name, _| !named.contains(name))?,
            None => {
                for name in there.iter().filter(|name| !named.contains(name.as_str())) {
                    self.working.join(name).remove().await?;
                }
            }
        }
        match self.folder {
            Some(folder) => folder.commit(),
            None => {
                let list = serde_json::to_vec_pretty(&serde_json::json!({ "files": parts }));
                self.place.join(LIST).write(list.map_err(|e| Error::Data(e.to_string()))?).await
            }
        }
    }

    /// Leaves nothing behind.
    pub async fn abandon(self) {
        if self.folder.is_none()
            && let Ok(names) = self.working.list().await
        {
            for name in names.iter().filter(|name| is_part(name)) {
                // The error that led here is the one to tell.
                let _ = self.working.join(name).remove().await;
            }
        }
    }
}

/// How long files are left alone that nothing names: whoever writes them may not be done.
const STRAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes files of a folder of this machine, by name and age.
fn remove_here(folder: &Path, goes: impl Fn(&str, Duration) -> bool) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("remove what lost executors left in", folder, e);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let written = entry.metadata().and_then(|meta| meta.modified()).map_err(failed)?;
        let age = written.elapsed().unwrap_or_default();
        if entry.file_name().to_str().is_some_and(|name| goes(name, age)) {
            sememe::io::remove_if_there(entry.path())?;
        }
    }
    Ok(())
}

/// Removes parts of a table that do not count: those of this run, whose names begin with `run`, and those that are a day old, which a run left
/// that was killed. As good as possible: what stays counts for nobody.
pub async fn remove_strays(folder: &Place, run: &str, counts: impl Fn(&str) -> bool) {
    let goes = |name: &str, age: Duration| {
        name.starts_with("part-") && !counts(name) && (name.starts_with(run) || age > STRAY)
    };
    if let Some(path) = &folder.local {
        let _ = remove_here(path, goes);
        return;
    }
    let found: Vec<object_store::ObjectMeta> =
        folder.store.list(Some(&folder.path)).try_collect().await.unwrap_or_default();
    let now = chrono::Utc::now();
    for meta in found {
        let age = (now - meta.last_modified).to_std().unwrap_or_default();
        if meta.location.filename().is_some_and(|name| goes(name, age)) {
            let _ = folder.store.delete(&meta.location).await;
        }
    }
}
