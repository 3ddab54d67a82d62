//! Plans of the verbs that keep IDs.

use crate::args::{Assign, DeviceChoice, Lookup};
use crate::failure::usage;
use crate::plan::{RowsPlan, encode_options, output, rows, writes_parquet};
use anyhow::Result;
use sememe::EncodeOptions;
use std::path::PathBuf;

pub struct AssignPlan {
    pub codec: PathBuf,
    pub input: RowsPlan,
    pub keys: PathBuf,
    pub key: String,
    pub store: PathBuf,
    pub output: Option<PathBuf>,
    pub device: DeviceChoice,
    pub options: EncodeOptions,
    pub batch_items: usize,
}

pub struct LookupPlan {
    pub store: PathBuf,
    pub question: Question,
    pub most: usize,
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
    local(&flags.store)?;
    let input = rows(flags.input, flags.rows);
    if let Some(path) = &flags.output {
        let inputs = [flags.codec.as_path(), &input.path, &flags.keys, &flags.store];
        output(path, &["npy", "parquet", "jsonl", "csv"], "IDs are written as", &inputs, true)?;
        writes_parquet(path)?;
    }
    Ok(AssignPlan {
        codec: flags.codec,
        input,
        keys: flags.keys,
        key: flags.key,
        store: flags.store,
        output: flags.output,
        device: flags.on.device,
        options,
        batch_items: flags.batch_items,
    })
}

pub fn lookup(flags: Lookup) -> Result<LookupPlan> {
    local(&flags.store)?;
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
    Ok(LookupPlan { store: flags.store, question, most: flags.most })
}

fn local(store: &std::path::Path) -> Result<()> {
    let shown = store.display().to_string();
    if shown.contains("://") {
        return Err(usage(format!("`{shown}`: a store is an SQLite file so far; give a path")));
    }
    Ok(())
}
