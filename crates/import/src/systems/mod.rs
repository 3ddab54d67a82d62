//! The readers, one a system.

pub mod animind;
mod basil;
mod faiss;
mod grid;
mod lc_rec;
pub mod numpy;
mod plain;
mod semantic_id;
mod tables;
pub mod vector_quantize_pytorch;

use crate::arrays::Arrays;
use crate::counters::Counters;
use crate::imported::{Content, ImportOptions, Imported};
use crate::levels;
use crate::origin::Origin;
use crate::parts::Parts;
use sememe::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// A file of settings; longer is none.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Reads what was recognised; `arrays` are those of the file, of a folder none.
pub fn import(path: &Path, origin: Origin, arrays: Option<Arrays>, options: &ImportOptions) -> Result<Imported> {
    check_options(origin, options)?;
    if matches!(origin, Origin::AniMindIds | Origin::Index) {
        let (table, notes) = tables::read(path, origin)?;
        return Ok(Imported { origin, content: Content::Ids(table), counters: None, notes });
    }
    let mut counters: Option<Counters> = None;
    let parts = match origin {
        Origin::Basil => basil::read(path, arrays)?,
        Origin::SemanticId => semantic_id::read(path, arrays)?,
        Origin::SemanticIdEngine => {
            let (parts, found) = semantic_id::engine(path)?;
            counters = found;
            parts
        }
        Origin::AniMind => animind::read(path, arrays)?,
        Origin::LcRec => lc_rec::read(path, arrays, options)?,
        Origin::Grid => grid::read(&opened(path, arrays)?, options)?,
        Origin::OpenOneRec => open_one_rec(&opened(path, arrays)?, options)?,
        Origin::VectorQuantizePytorch => vector_quantize_pytorch::read(&opened(path, arrays)?, options)?,
        Origin::FaissRq => faiss::residual(&opened(path, arrays)?, options)?,
        Origin::FaissPq => faiss::product(&opened(path, arrays)?, options)?,
        Origin::Numpy => numpy::read(&opened(path, arrays)?)?,
        Origin::Arrays | Origin::AniMindIds | Origin::Index => plain::read(&opened(path, arrays)?, options)?,
    };
    let (codec, mut notes) = parts.codec(origin, options)?;
    if let Some(counters) = &mut counters {
        notes.extend(counters.fit(&codec.codebook_sizes()));
    }
    Ok(Imported { origin, content: Content::Codec(codec), counters, notes })
}

/// Refuses options that mean nothing for what is read.
fn check_options(origin: Origin, options: &ImportOptions) -> Result<()> {
    use Origin::{
        AniMind, AniMindIds, Arrays, Basil, FaissPq, Grid, Index, LcRec, Numpy, SemanticId, SemanticIdEngine,
    };
    let tables = matches!(origin, AniMindIds | Index);
    let refuse = |field: &str, why: &str| Err(Error::config(field, format!("{origin}: {why}; leave it out")));
    if options.tensor.is_some()
        && (tables || matches!(origin, AniMind | Basil | FaissPq | Numpy | SemanticId | SemanticIdEngine))
    {
        return refuse("tensor", "its arrays have names of their own");
    }
    if options.normalize_residuals.is_some() && !matches!(origin, Grid | Arrays) {
        return refuse("normalize_residuals", "residuals are as this system has them");
    }
    if options.beam.is_some() && (tables || origin == FaissPq) {
        return refuse("beam", "there are no levels that depend on each other");
    }
    if options.rows.rows() > 0 && tables {
        return refuse("rows", "it holds codes, and no networks");
    }
    if options.rows.rows() > 0
        && !matches!(origin, AniMind | LcRec | Numpy | SemanticIdEngine | Origin::VectorQuantizePytorch)
    {
        return refuse("rows", "it has no networks, so there is nothing to measure on rows");
    }
    Ok(())
}

fn opened(path: &Path, arrays: Option<Arrays>) -> Result<Arrays> {
    arrays.map_or_else(|| Arrays::open(path), Ok)
}

/// The codebooks of a system that has one array a level.
fn of_levels(arrays: &Arrays, origin: Origin, options: Option<&ImportOptions>) -> Result<Parts> {
    let (before, after) = levels::naming(origin);
    let wanted = options.and_then(|options| options.tensor.as_deref());
    let found = levels::only(arrays, before, after, wanted)?;
    Ok(Parts::residual(levels::codebooks(arrays, &found.names)?))
}

/// `centroids.{l}`, nearest by squared L2, level by level.
fn open_one_rec(arrays: &Arrays, options: &ImportOptions) -> Result<Parts> {
    of_levels(arrays, Origin::OpenOneRec, Some(options))
}

/// A JSON object beside a system's arrays.
///
/// # Errors
/// If it is not there, too long, or no object.
fn json_file(path: &Path) -> Result<Value> {
    let bytes = sememe::io::read_bytes_capped(path, MAX_JSON_BYTES)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("is no JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::format(path, "holds JSON, but no object")) }
}

/// A count that a file of settings says.
fn count(path: &Path, settings: &Value, key: &str) -> Result<Option<usize>> {
    match settings.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let count = value.as_u64().and_then(|n| usize::try_from(n).ok());
            count.map(Some).ok_or_else(|| Error::format(path, format!("`{key}` is {value}, expected a count")))
        }
    }
}

/// Refuses arrays that are not as the settings beside them say.
fn agree(path: &Path, key: &str, says: Option<usize>, is: usize) -> Result<()> {
    match says {
        Some(says) if says != is => Err(Error::format(
            path,
            format!("says `{key}` = {says}, but the arrays have {is}; are they of one training?"),
        )),
        _ => Ok(()),
    }
}
