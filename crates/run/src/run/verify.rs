//! Artifacts read back, as a dry run does.

use std::path::Path;

use serde_json::Value;

use super::recommend::RECOMMENDER;
use super::state::{FileHashes, RunState};
use super::train::CODEC;
use sememe::codec::Codec;
use sememe::ids::Trie;
use sememe::io::{OpenOptions, extension, open, read_bytes_capped};
use sememe::{Error, Result};
use sememe_recommend::Recommender;

/// Artifacts of text are read whole here.
const MAX_BYTES: u64 = 4 << 30;

/// Reads every artifact of a run back: its hash, and its content as what it claims to be. Returns a line for each.
///
/// # Errors
/// [`Error::Data`] for one that is missing or not as it was written, and what reading it returns.
pub fn verify(folder: impl AsRef<Path>) -> Result<Vec<String>> {
    let folder = folder.as_ref();
    let state = RunState::load(folder)?;
    let mut hashes = FileHashes::default();
    let mut out = Vec::new();
    for record in state.phases.values() {
        for (name, artifact) in &record.outputs {
            let path = folder.join(name);
            match hashes.of(&path)? {
                None => return Err(Error::Data(format!("`{}` is missing", path.display()))),
                Some(found) if found != *artifact => {
                    return Err(Error::Data(format!("`{}` is not as it was written", path.display())));
                }
                Some(_) => {}
            }
            out.push(format!("{name}: {}", content(&path, name)?));
        }
    }
    Ok(out)
}

/// What a file holds, in a few words.
fn content(path: &Path, name: &str) -> Result<String> {
    let text = || -> Result<String> {
        String::from_utf8(read_bytes_capped(path, MAX_BYTES)?).map_err(|_| Error::format(path, "is not UTF-8"))
    };
    let bad = |e: serde_json::Error| Error::format(path, e.to_string());
    Ok(match extension(path).as_str() {
        "jsonl" => {
            let text = text()?;
            for line in text.lines() {
                serde_json::from_str::<Value>(line).map_err(bad)?;
            }
            format!("{} lines", text.lines().count())
        }
        "json" => match serde_json::from_str::<Value>(&text()?).map_err(bad)? {
            Value::Object(map) => format!("an object of {} entries", map.len()),
            other => if other.is_array() { "a list" } else { "a value" }.into(),
        },
        "tsv" | "csv" => format!("{} lines", text()?.lines().count()),
        "html" => {
            let text = text()?;
            if !text.trim_end().ends_with("</html>") {
                return Err(Error::format(path, "does not end as a page does"));
            }
            format!("a page of {} bytes", text.len())
        }
        "npy" => {
            let rows = open(path, &OpenOptions::default())?;
            format!("{} rows of {} values", rows.rows(), rows.dims())
        }
        "trie" => format!("a trie of {} items", Trie::load(path)?.item_count()),
        "safetensors" if name == CODEC => {
            let codec = Codec::load(path)?;
            format!("a codec of {} levels", codec.levels())
        }
        "safetensors" if name == RECOMMENDER => {
            let recommender = Recommender::load(path)?;
            format!("a recommender of {} items", recommender.items())
        }
        _ => "as it was written".into(),
    })
}
