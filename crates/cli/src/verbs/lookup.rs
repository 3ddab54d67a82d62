//! `sememe lookup`.

use crate::failure::usage;
use crate::output::{print, print_json};
use crate::store_place::{Place, Waiting};
use crate::text::count;
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::ids::store::StoredId;
use sememe::ids::{Style, TextFormat};
use serde_json::{Value, json};
use std::path::PathBuf;

#[cfg(any(feature = "sqlite", feature = "redis"))]
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// SQLite file or redis:// URL that `assign` filled
    #[arg(value_name = "STORE", value_hint = ValueHint::FilePath)]
    pub store: PathBuf,
    /// Keys of items, to show their IDs
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Show the items of this ID: 12-5-33 for all with these codes, 12-5-33-1 for the one with this counter
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Show the items whose IDs begin with these codes: 12-5
    #[arg(long, value_name = "CODES")]
    pub prefix: Option<String>,
    /// List at most this many items
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub most: usize,
    #[command(flatten)]
    pub waiting: Waiting,
}

pub struct Plan {
    pub store: Place,
    pub question: Question,
    pub most: usize,
}

/// What is asked of a store.
pub enum Question {
    Keys(Vec<String>),
    Id(String),
    Prefix(Vec<u32>),
}

pub fn plan(flags: Flags) -> Result<Plan> {
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
    Ok(Plan { store: Place::new(flags.store, flags.waiting), question, most: flags.most })
}

/// Answers from a store: items by key, or all items on an ID or a prefix.
pub fn run(plan: &Plan, json: bool) -> Result<()> {
    let mut store = plan.store.open_existing()?;
    // The store knows no codebook sizes; every number is a code here.
    let format = TextFormat::preset(Style::Plain, &vec![u32::MAX as usize; store.levels()])?.with_counter()?;
    let line = |key: &str, id: &StoredId| -> sememe::Result<Value> {
        Ok(json!({ "key": key, "id": format.write(&id.to_row())?, "codes": id.codes, "counter": id.counter }))
    };
    let mut found = Vec::new();
    match &plan.question {
        Question::Keys(keys) => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (key, id) in keys.iter().zip(store.get(&keys)?) {
                found.push(match id {
                    Some(id) => line(key, &id)?,
                    None => json!({ "key": key, "id": null }),
                });
            }
        }
        Question::Prefix(prefix) => {
            for (id, key) in store.with_prefix(prefix, plan.most)? {
                found.push(line(&key, &id)?);
            }
        }
        Question::Id(text) => {
            let row = format.parse(text)?;
            // Without a counter an ID names all items on its codes.
            let plain = text.matches('-').count() + 1 == store.levels();
            for (id, key) in store.with_prefix(&row[..store.levels()], plan.most)? {
                if plain || id.to_row() == row {
                    found.push(line(&key, &id)?);
                }
            }
        }
    }
    if json {
        return print_json(&json!({
            "store": plan.store.shown(),
            "codec": store.codec_hash(),
            "in_store": store.count()?,
            "found": found,
        }));
    }
    if found.is_empty() {
        return print(&format!("no item, of {} in the store\n", count(store.count()?, "item")));
    }
    let told = |value: &Value| {
        let part = |name: &str| value[name].as_str().map(str::to_owned);
        format!("{}\t{}\n", part("id").unwrap_or_else(|| "no ID".into()), part("key").unwrap_or_default())
    };
    print(&found.iter().map(told).collect::<String>())
}
