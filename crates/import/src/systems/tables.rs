//! Tables of IDs: `index.json`, and AniMind's `semantic_ids.jsonl`.

use super::json_file;
use crate::imported::IdTable;
use crate::note::Note;
use crate::origin::Origin;
use sememe::io::{each_json_line, read_codes_file};
use sememe::{Codes, Error, Result};
use serde_json::Value;
use std::path::Path;

/// A table's codes and keys.
pub fn read(path: &Path, origin: Origin) -> Result<(IdTable, Vec<Note>)> {
    if origin == Origin::AniMindIds { animind(path) } else { index(path) }
}

fn one_more(codes: &Codes) -> Vec<usize> {
    (0..codes.levels()).map(|l| codes.iter().map(|row| row[l] as usize + 1).max().unwrap_or(1)).collect()
}

fn index(path: &Path) -> Result<(IdTable, Vec<Note>)> {
    let file = read_codes_file(path)?;
    let keys = file.keys.ok_or_else(|| Error::format(path, "has no keys"))?;
    let sizes = one_more(&file.codes);
    let note = Note::unknown(format!(
        "the sizes of codebooks: {sizes:?}, one more than the largest codes, are the least that they can be"
    ));
    Ok((IdTable { codes: file.codes, keys, codebook_sizes: sizes }, vec![note]))
}

fn animind(path: &Path) -> Result<(IdTable, Vec<Note>)> {
    let (file, folder) = if path.is_dir() {
        (path.join("semantic_ids.jsonl"), path)
    } else {
        (path.to_owned(), path.parent().unwrap_or(Path::new("")))
    };
    let (mut keys, mut all, mut width) = (Vec::new(), Vec::new(), 0);
    each_json_line(&file, "AniMind's IDs are in a .jsonl", &mut |line, row| {
        let bad = |problem: String| Error::format(&file, format!("line {line}: {problem}"));
        let row: Value = serde_json::from_str(row).map_err(|e| bad(e.to_string()))?;
        let key = row.get("anime_id").and_then(Value::as_i64).ok_or_else(|| bad("has no number `anime_id`".into()))?;
        let codes = row.get("codes").and_then(Value::as_array).ok_or_else(|| bad("has no list `codes`".into()))?;
        if codes.is_empty() || (width > 0 && codes.len() != width) {
            return Err(bad(format!("has {} codes, expected {}", codes.len(), width.max(1))));
        }
        width = codes.len();
        for code in codes {
            let number = code.as_u64().and_then(|n| u32::try_from(n).ok());
            all.push(number.ok_or_else(|| bad(format!("{code} is no code")))?);
        }
        keys.push(key.to_string());
        Ok(())
    })?;
    if keys.is_empty() {
        return Err(Error::format(&file, "holds no items"));
    }
    let codes = Codes::from_vec(keys.len(), width, all)?;
    let (mut sizes, mut notes) = (one_more(&codes), Vec::new());
    let vocabulary = folder.join("semantic_vocab.json");
    let size =
        if vocabulary.is_file() { json_file(&vocabulary)?.get("codebook_size").and_then(Value::as_u64) } else { None };
    match size.and_then(|size| usize::try_from(size).ok()) {
        Some(size) if sizes.iter().all(|used| *used <= size) => sizes = vec![size; width],
        Some(size) => {
            let largest = sizes.iter().max().unwrap_or(&0) - 1;
            return Err(Error::format(&vocabulary, format!("says {size} codewords, but the IDs go up to {largest}")));
        }
        None => notes.push(Note::unknown(format!("the sizes of codebooks: {sizes:?} are the least that they can be"))),
    }
    Ok((IdTable { codes, keys, codebook_sizes: sizes }, notes))
}
