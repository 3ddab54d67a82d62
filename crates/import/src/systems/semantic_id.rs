//! semantic-id: folders of RQ-KMeans and RQ-VAE, and an engine with its counters.

use super::{agree, count, json_file, lc_rec, of_levels};
use crate::arrays::Arrays;
use crate::counters::Counters;
use crate::imported::ImportOptions;
use crate::note::Note;
use crate::origin::Origin;
use crate::parts::Parts;
use sememe::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// RQ-KMeans: a folder, or its `codebooks.npz`.
pub fn read(path: &Path, arrays: Option<Arrays>) -> Result<Parts> {
    let Some(arrays) = arrays else { return folder(path) };
    of_levels(&arrays, Origin::SemanticId, None)
}

fn folder(path: &Path) -> Result<Parts> {
    let arrays = Arrays::open(&path.join("codebooks.npz"))?;
    let mut parts = of_levels(&arrays, Origin::SemanticId, None)?;
    let metadata = path.join("metadata.json");
    let settings = json_file(&metadata)?;
    expect_type(&metadata, &settings, "RQKMeans")?;
    agree(&metadata, "n_levels", count(&metadata, &settings, "n_levels")?, parts.quantizer.codebooks.len())?;
    agree(&metadata, "D", count(&metadata, &settings, "D")?, parts.quantizer.dims)?;
    if settings.get("metric").is_some_and(|metric| metric != "l2") {
        return Err(Error::format(&metadata, format!("`metric` is {}, expected \"l2\"", settings["metric"])));
    }
    if settings.get("implementation").is_some_and(|name| name == "constrained") {
        parts.notes.push(Note::unknown(
            "the bounds on loads: semantic-id encodes by the nearest codeword, and so does this codec",
        ));
    }
    parts.settings.insert("semantic_id".into(), settings);
    Ok(parts)
}

fn expect_type(path: &Path, settings: &Value, wanted: &str) -> Result<()> {
    match settings.get("type").and_then(Value::as_str) {
        Some(found) if found == wanted => Ok(()),
        found => {
            Err(Error::format(path, format!("says `type` = {}, expected \"{wanted}\"", found.unwrap_or("nothing"))))
        }
    }
}

/// An engine: its encoder, and how many IDs it gave out.
pub fn engine(path: &Path) -> Result<(Parts, Option<Counters>)> {
    let meta = path.join("engine_meta.json");
    let settings = json_file(&meta)?;
    let encoder = path.join("encoder");
    let mut parts = match settings.get("encoder_type").and_then(Value::as_str) {
        Some("RQKMeans") => folder(&encoder)?,
        Some("RQVAE") => lc_rec::read(&encoder, None, &ImportOptions::default())?,
        found => {
            let found = found.unwrap_or("nothing");
            return Err(Error::format(&meta, format!("`encoder_type` is {found}, expected RQKMeans or RQVAE")));
        }
    };
    if settings.get("store_type").and_then(Value::as_str) != Some("sqlite") {
        parts.notes.push(Note::unknown(
            "which IDs the engine gave out: it kept their counters in memory; the first item on its codes gets no number again",
        ));
        return Ok((parts, None));
    }
    let counters = Counters::read(&path.join("resolver").join("collisions.db"))?;
    parts.notes.push(Note::unknown(format!(
        "which item has which of the {} IDs that the engine gave out, on {} codes: it kept counters, not items, and an item that was asked \
         for twice counts twice; the table of items and IDs is wherever you kept it",
        counters.total(),
        counters.len()
    )));
    Ok((parts, Some(counters)))
}
