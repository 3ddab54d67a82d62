//! `sememe export`.

use crate::output::{print, print_json};
use crate::progress::{Progress, stopped};
use crate::spelling::{ExportPlan, in_flags, pick};
use crate::text::{count, size, time, whole};
use anyhow::Result;
use sememe::Error;
use sememe::ids::{Export, Vocabulary};
use sememe::io::{CodesFile, read_codes_file, read_keys, read_titles};
use serde_json::json;
use std::time::Instant;

/// Writes one file after the other, each whole or not at all; codes, keys and the trie are held in memory.
pub fn run(plan: &ExportPlan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let file = read_codes_file(&plan.codes)?;
    let width = file.codes.levels();
    let sizes = plan.sizes.resolve(Some(width.saturating_sub(plan.spelling.counters())))?;
    let format = plan.spelling.bind(&sizes)?;
    if format.width() != width {
        let place = plan.codes.display().to_string();
        return Err(Error::Shape { what: "levels", expected: format.width(), got: width, place }.into());
    }
    let counters = if format.has_counter() { file.codes.iter().filter_map(|id| id.last()).max() } else { None };
    let own: Vec<&str> = plan.special_tokens.iter().map(String::as_str).collect();
    let vocabulary =
        Vocabulary::new(&format, counters.copied().unwrap_or(0), plan.first_token_id, &own).map_err(in_flags)?;
    let (keys, titles) = items(plan, &file)?;
    let export = Export::new(&format, &file.codes, &keys)?;
    // What can fail on the data comes before the first file.
    let trie = if plan.trie { Some(export.trie(&vocabulary, plan.end_token_id).map_err(in_flags)?) } else { None };
    if stopped() {
        return Err(Error::Interrupted(String::new()).into());
    }
    std::fs::create_dir_all(&plan.folder).map_err(|e| Error::io("create", &plan.folder, e))?;
    let mut written = Vec::new();
    let mut at = |name: &str| {
        written.push(name.to_owned());
        plan.folder.join(name)
    };
    vocabulary.save(at("vocabulary.json"))?;
    vocabulary.save_special_tokens(at("special_tokens.json"))?;
    export.index(at("index.json"))?;
    export.items(at("items.jsonl"))?;
    if let Some(titles) = &titles {
        export.info(at("info.tsv"), titles)?;
    }
    if let Some(trie) = &trie {
        trie.save(at("ids.trie"))?;
    }
    progress.finish();
    let (rows, seconds) = (file.codes.rows(), begun.elapsed().as_secs_f64());
    if progress.json {
        return print_json(&json!({
            "output": plan.folder.display().to_string(),
            "files": written,
            "rows": rows,
            "template": format.template(),
            "tokens": vocabulary.tokens().len(),
            "special_tokens": vocabulary.special_tokens(),
            "first_token_id": vocabulary.first_id(),
            "embedding_rows": vocabulary.embedding_rows(),
            "end_token_id": trie.as_ref().map(sememe::ids::Trie::end),
            "trie_bytes": trie.as_ref().map(sememe::ids::Trie::len_bytes),
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let trie = trie.map_or_else(String::new, |trie| format!(", a trie of {}", size(trie.len_bytes() as u64)));
    print(&format!(
        "wrote {}: {}\n{}, {}{trie} in {}; the model's embedding needs {} rows\n",
        plan.folder.display(),
        written.join(", "),
        count(rows as u64, "item"),
        count(vocabulary.tokens().len() as u64, "token"),
        time(seconds),
        whole(vocabulary.embedding_rows() as u64)
    ))
}

/// Each row's key, and its title if one is wanted.
fn items(plan: &ExportPlan, file: &CodesFile) -> Result<(Vec<String>, Option<Vec<String>>)> {
    let rows = file.codes.rows();
    let number = |i: usize| file.rows.as_ref().map_or(i as u64, |numbers| numbers[i]);
    let Some(items) = &plan.items else {
        return Ok(((0..rows).map(|i| number(i).to_string()).collect(), None));
    };
    let pick = |all: Vec<String>| pick(all, file, &plan.codes, &items.path);
    let keys = pick(read_keys(&items.path, &items.key)?)?;
    let titles = items.title.as_ref().map(|title| pick(read_titles(&items.path, title)?)).transpose()?;
    Ok((keys, titles))
}
