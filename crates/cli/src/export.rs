//! `sememe export`.

use crate::failure::usage;
use crate::output::{print, print_json};
use crate::progress::{Progress, stopped};
use crate::spelling::{ExportPlan, pick};
use crate::text::{count, size, time, whole};
use anyhow::Result;
use sememe::Error;
use sememe::ids::{Export, TextFormat, Tokenizer, Vocabulary};
use sememe::io::{AtomicFolder, CodesFile, read_codes_file, read_keys, read_titles, write_bytes_atomic};
use serde_json::json;
use std::time::Instant;

/// The trie for transformers, as it is in the repository.
const PYTHON_HELPER: &str = include_str!("../../../python/sememe_trie.py");

/// What a bundle consists of: what an earlier export wrote of it and this one does not is removed. A `tokenizer.json` stays, which may be
/// the model's own.
const BUNDLE: [&str; 9] = [
    "vocabulary.json",
    "special_tokens.json",
    "index.json",
    "items.jsonl",
    "info.tsv",
    "ids.trie",
    "static.npz",
    "static.safetensors",
    "sememe_trie.py",
];

/// Writes all files or none; codes, keys and the trie are held in memory.
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
    let tokenizer = plan.tokenizer.as_ref().map(Tokenizer::load).transpose()?;
    let vocabulary = vocabulary(plan, &format, counters.copied().unwrap_or(0), tokenizer.as_ref())?;
    let end = end(plan, tokenizer.as_ref())?;
    let (keys, titles) = items(plan, &file)?;
    let export = Export::new(&format, &file.codes, &keys)?;
    // What can fail on the data comes before the first file.
    let patched = tokenizer.as_ref().map(|tokenizer| tokenizer.with_tokens(&vocabulary)).transpose()?;
    let trie = if plan.trie { Some(export.trie(&vocabulary, end)?) } else { None };
    let layout = match (&trie, plan.layout) {
        (Some(trie), Some((name, dense))) => {
            // A vocabulary ends before 2^32 - 1.
            let tokens = vocabulary.first_id()..vocabulary.embedding_rows() as u32;
            Some((name, trie.static_layout(tokens, dense)?))
        }
        _ => None,
    };
    if stopped() {
        return Err(Error::Interrupted(String::new()).into());
    }
    let bundle = AtomicFolder::create(&plan.folder, &BUNDLE)?;
    let mut written = Vec::new();
    let mut at = |name: &str| {
        written.push(name.to_owned());
        bundle.file(name)
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
    if let Some((name, layout)) = &layout {
        layout.save(at(name))?;
    }
    if let Some(text) = &patched {
        write_bytes_atomic(at("tokenizer.json"), text.as_bytes())?;
    }
    if plan.python_helper {
        write_bytes_atomic(at("sememe_trie.py"), PYTHON_HELPER.as_bytes())?;
    }
    bundle.commit()?;
    progress.finish();
    if tokenizer.is_some() && !format.template().separator.is_empty() {
        progress.note(&format!(
            "the tokenizer makes tokens of its own of the separator {:?}, which are not in the trie: train on IDs without it, as with \
             `--separator ''`",
            format.template().separator
        ));
    }
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
            "tokenizer": plan.tokenizer.as_ref().map(|path| path.display().to_string()),
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

/// The vocabulary, numbered on from the tokenizer's own tokens if there is one.
fn vocabulary(
    plan: &ExportPlan,
    format: &TextFormat,
    counters: u32,
    tokenizer: Option<&Tokenizer>,
) -> Result<Vocabulary> {
    let first = match (plan.first_token_id, tokenizer.map(Tokenizer::next_id)) {
        (Some(given), Some(next)) if given != next => {
            return Err(usage(format!(
                "`--first-token-id` is {given}, but the tokens of the tokenizer end before {next}, where added tokens go on; leave it out"
            )));
        }
        (given, next) => given.or(next).unwrap_or(0),
    };
    let own: Vec<&str> = plan.special_tokens.iter().map(String::as_str).collect();
    Ok(Vocabulary::new(format, counters, first, &own)?)
}

/// The number of the token that ends an ID, if one is named.
fn end(plan: &ExportPlan, tokenizer: Option<&Tokenizer>) -> Result<Option<u32>> {
    let Some(tokenizer) = tokenizer else { return Ok(plan.end_token_id) };
    if let Some(text) = &plan.end_token {
        let unknown = || usage(format!("`--end-token`: the tokenizer has no token `{text}`"));
        return tokenizer.id(text).map(Some).ok_or_else(unknown);
    }
    match plan.end_token_id.filter(|id| *id >= tokenizer.next_id()) {
        Some(id) => Err(usage(format!(
            "`--end-token-id`: the tokenizer has no token {id}, they end before {}",
            tokenizer.next_id()
        ))),
        None => Ok(plan.end_token_id),
    }
}

/// Each row's key, and its title if one is wanted.
fn items(plan: &ExportPlan, file: &CodesFile) -> Result<(Vec<String>, Option<Vec<String>>)> {
    let rows = file.codes.rows();
    let number = |i: usize| file.rows.as_ref().map_or(i as u64, |numbers| numbers[i]);
    let Some(items) = &plan.items else {
        if let Some(keys) = &file.keys {
            return Ok((keys.clone(), None));
        }
        return Ok(((0..rows).map(|i| number(i).to_string()).collect(), None));
    };
    let pick = |all: Vec<String>| pick(all, file, &plan.codes, &items.path);
    let keys = pick(read_keys(&items.path, &items.key)?)?;
    let titles = items.title.as_ref().map(|title| pick(read_titles(&items.path, title)?)).transpose()?;
    Ok((keys, titles))
}
