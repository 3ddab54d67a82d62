//! `sememe delete`.

use crate::failure::usage;
use crate::flags::Common;
use crate::output::{print, print_json};
use crate::store_place::{Place, Waiting};
use crate::text::{count, whole};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::ids::{Style, TextFormat};
use sememe::io::read_keys;
use serde_json::json;
use std::collections::HashSet;
use std::path::PathBuf;

#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// SQLite file or redis:// URL that `assign` filled
    #[arg(value_name = "STORE", value_hint = ValueHint::FilePath)]
    pub store: PathBuf,
    /// Keys of items to delete
    #[arg(value_name = "KEY", required_unless_present = "items")]
    pub keys: Vec<String>,
    /// More items to delete: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub items: Option<PathBuf>,
    /// Field or column with each item's key
    #[arg(long, value_name = "NAME", default_value = "id", requires = "items")]
    pub key: String,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

pub struct Plan {
    pub store: Place,
    pub keys: Vec<String>,
    pub items: Option<(PathBuf, String)>,
    pub dry_run: bool,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    if flags.keys.iter().any(String::is_empty) {
        return Err(usage("a key is empty; no item has such a one"));
    }
    Ok(Plan {
        store: Place::new(flags.store, flags.waiting),
        keys: flags.keys,
        items: flags.items.map(|path| (path, flags.key)),
        dry_run: flags.dry_run,
    })
}

/// Items that are deleted in one transaction.
const BATCH: usize = 100_000;

/// Takes items out of a store. One that is not there is no error, so that a command can be run again.
pub fn run(plan: &Plan, common: &Common) -> Result<()> {
    let mut keys = plan.keys.clone();
    if let Some((path, field)) = &plan.items {
        keys.extend(read_keys(path, field)?);
    }
    let mut seen = HashSet::new();
    let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| seen.insert(*key)).collect();
    let mut store = plan.store.open_existing()?;
    let format = TextFormat::preset(Style::Plain, &vec![u32::MAX as usize; store.levels()])?.with_counter()?;
    let (mut ids, mut unknown, mut deleted) = (Vec::new(), Vec::new(), 0);
    for batch in keys.chunks(BATCH) {
        for (key, id) in batch.iter().zip(store.get(batch)?) {
            match id {
                Some(id) => ids.push((*key, id)),
                None => unknown.push(*key),
            }
        }
        deleted += if plan.dry_run { 0 } else { store.delete(batch)? };
    }
    let left = store.count()?;
    if common.json {
        let mut found = Vec::with_capacity(ids.len());
        for (key, id) in &ids {
            found.push(
                json!({ "key": key, "id": format.write(&id.to_row())?, "codes": id.codes, "counter": id.counter }),
            );
        }
        return print_json(&json!({
            "store": plan.store.shown(),
            "codec": store.codec_hash(),
            "dry_run": plan.dry_run,
            "found": found,
            "unknown": unknown,
            "deleted": deleted,
            "in_store": left,
        }));
    }
    if common.quiet {
        return Ok(());
    }
    let missing = match &unknown[..] {
        [] => String::new(),
        [one] => format!(", `{one}` is not there"),
        [first, ..] => format!(", {} are not there, the first is `{first}`", count(unknown.len(), "item")),
    };
    let done = if plan.dry_run {
        format!("{} would be deleted", count(ids.len(), "item"))
    } else {
        format!("{} deleted", count(deleted, "item"))
    };
    print(&format!("{}: {done}{missing}; {} in all\n", plan.store.shown(), whole(left)))
}
