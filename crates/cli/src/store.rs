//! Plans of the verbs that keep IDs.

use crate::args::{Assign, Delete, DeviceChoice, Lookup, Waiting};
use crate::failure::usage;
use crate::plan::{RowsPlan, encode_options, output, rows, writes_parquet};
use anyhow::Result;
use sememe::EncodeOptions;
use sememe::ids::store::{Reuse, Store, without_password};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub struct AssignPlan {
    pub codec: PathBuf,
    pub input: RowsPlan,
    pub keys: PathBuf,
    pub key: String,
    pub store: Place,
    pub reuse: Reuse,
    pub output: Option<PathBuf>,
    pub device: DeviceChoice,
    pub options: EncodeOptions,
    pub batch_items: usize,
}

pub struct LookupPlan {
    pub store: Place,
    pub question: Question,
    pub most: usize,
}

pub struct DeletePlan {
    pub store: Place,
    pub keys: Vec<String>,
    pub items: Option<(PathBuf, String)>,
    pub dry_run: bool,
}

/// Where a store is, and how long it is waited for.
pub struct Place {
    path: PathBuf,
    patience: Duration,
}

impl Place {
    fn new(path: PathBuf, waiting: Waiting) -> Self {
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

/// What is asked of a store.
pub enum Question {
    Keys(Vec<String>),
    Id(String),
    Prefix(Vec<u32>),
}

pub fn assign(flags: Assign) -> Result<AssignPlan> {
    let options = encode_options(flags.beam, None)?;
    if flags.batch_items == 0 {
        return Err(usage("`--batch-items`: expected at least 1, got 0"));
    }
    let input = rows(flags.input, flags.rows);
    if let Some(path) = &flags.output {
        let own = [flags.codec.as_path(), &flags.keys, &flags.store];
        let inputs: Vec<&Path> = input.paths().chain(own).collect();
        output(path, &["npy", "parquet", "jsonl", "csv"], "IDs are written as", &inputs, true)?;
        writes_parquet(path)?;
    }
    Ok(AssignPlan {
        codec: flags.codec,
        input,
        keys: flags.keys,
        key: flags.key,
        store: Place::new(flags.store, flags.waiting),
        reuse: if flags.reuse_deleted { Reuse::Deleted } else { Reuse::Never },
        output: flags.output,
        device: flags.on.device,
        options,
        batch_items: flags.batch_items,
    })
}

pub fn lookup(flags: Lookup) -> Result<LookupPlan> {
    let question = match (flags.keys.is_empty(), flags.id, flags.prefix) {
        (false, None, None) => Question::Keys(flags.keys),
        (true, Some(id), None) => Question::Id(id),
        (true, None, Some(prefix)) => {
            let code =
                |code: &str| code.parse().map_err(|_| usage(format!("`--prefix`: `{code}` of `{prefix}` is no code")));
            Question::Prefix(prefix.split('-').map(code).collect::<Result<_>>()?)
        }
        _ => return Err(usage("one of keys, `--id` and `--prefix` says what to look up")),
    };
    Ok(LookupPlan { store: Place::new(flags.store, flags.waiting), question, most: flags.most })
}

pub fn delete(flags: Delete) -> Result<DeletePlan> {
    if flags.keys.iter().any(String::is_empty) {
        return Err(usage("a key is empty; no item has such a one"));
    }
    Ok(DeletePlan {
        store: Place::new(flags.store, flags.waiting),
        keys: flags.keys,
        items: flags.items.map(|path| (path, flags.key)),
        dry_run: flags.dry_run,
    })
}
