//! AniMind: one codebook for all levels between two networks of two layers with GELU; how many levels is in its settings.

use super::json_file;
use crate::arrays::Arrays;
use crate::levels;
use crate::networks;
use crate::note::Note;
use crate::parts::Parts;
use sememe::Result;
use sememe::codec::Activation;
use serde_json::Value;
use std::path::Path;

const CODEBOOK: &str = "quantizer.codebook";

/// What stands before the names of an AniMind model, if it is one.
pub fn prefix(arrays: &Arrays) -> Option<&str> {
    let found = arrays.infos.iter().find_map(|info| info.name.strip_suffix(CODEBOOK))?;
    arrays.has(&format!("{found}encoder.net.0.weight")).then_some(found)
}

/// A folder, or its checkpoint.
pub fn read(path: &Path, arrays: Option<Arrays>) -> Result<Parts> {
    let (arrays, folder) = match arrays {
        Some(arrays) => (arrays, path.parent().unwrap_or(Path::new(""))),
        None => {
            let best = path.join("rqvae_best.pt");
            let file = if best.is_file() { best } else { path.join("rqvae_last.pt") };
            (Arrays::open(&file)?, path)
        }
    };
    let prefix = prefix(&arrays).ok_or_else(|| {
        arrays.bad(format_args!("holds no `{CODEBOOK}` with an encoder beside it; it holds {}", arrays.list()))
    })?;
    let under = |rest: &str| format!("{prefix}{rest}");
    let settings = match arrays.settings("config") {
        Some(settings) => settings,
        None => json_file(&folder.join("rqvae_config.json"))?,
    };
    let count = settings.get("rq_levels").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let count = count.ok_or_else(|| arrays.bad("its settings do not say `rq_levels`, the number of levels"))?;
    levels::check_count(&arrays, count)?;
    let book = arrays.matrix(&under(CODEBOOK))?;
    let mut parts = Parts::residual(vec![book; count]);
    parts.shared = count > 1;
    let encoder = networks::mlp(&arrays, &under("encoder.net."), Activation::Gelu)?;
    let decoder = networks::mlp(&arrays, &under("decoder.net."), Activation::Gelu)?;
    if decoder.is_none() {
        return Err(arrays.bad("has an encoder, but no decoder under `decoder.net.`"));
    }
    parts.notes.push(Note::assumed("GELU between the layers, as AniMind's code has it"));
    parts.settings.insert("animind".into(), settings);
    Ok(parts.with_networks(encoder, decoder))
}
