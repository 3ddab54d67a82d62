//! BASIL: `basil.npz` with `codebooks/C1…` and `preprocess/{mean,components,scales}`, and `metadata.json`.

use super::{agree, count, json_file};
use crate::arrays::Arrays;
use crate::levels;
use crate::note::Note;
use crate::origin::Origin;
use crate::parts::Parts;
use sememe::{Error, Result};
use std::path::Path;

/// A folder, or its `basil.npz`.
pub fn read(path: &Path, arrays: Option<Arrays>) -> Result<Parts> {
    let (arrays, folder) = match arrays {
        Some(arrays) => (arrays, path.parent().unwrap_or(Path::new(""))),
        None => (Arrays::open(&path.join("basil.npz"))?, path),
    };
    let (before, after) = levels::naming(Origin::Basil);
    // Counted from 1 on.
    let count_of = levels::groups(&arrays, before, after).first().map_or(0, |group| group.names.len());
    levels::check_count(&arrays, count_of)?;
    let names: Vec<String> = (1..=count_of).map(|i| format!("{before}{i}{after}")).collect();
    let mut parts = Parts::residual(levels::codebooks(&arrays, &names)?);
    let inner = parts.quantizer.dims;
    let components = arrays.matrix("preprocess/components")?;
    if components.rows() != inner {
        return Err(arrays.bad(format_args!(
            "`preprocess/components` gives {} values, but codewords have {inner}",
            components.rows()
        )));
    }
    parts.quantizer.dims = components.dims();
    parts.quantizer.mean = arrays.vector("preprocess/mean", components.dims())?;
    parts.quantizer.scales = arrays.vector("preprocess/scales", inner)?;
    parts.quantizer.components = components.into_vec();
    let metadata = folder.join("metadata.json");
    match json_file(&metadata) {
        Ok(settings) => {
            let sizes = [
                ("levels", count_of),
                ("k_per_level", parts.quantizer.codebooks[0].rows()),
                ("dim_in", parts.quantizer.dims),
                ("dim_pca", inner),
            ];
            for (key, is) in sizes {
                agree(&metadata, key, count(&metadata, &settings, key)?, is)?;
            }
            parts.settings.insert("basil".into(), settings);
        }
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            parts.notes.push(Note::unknown("how it was trained: there is no `metadata.json`"));
        }
        Err(e) => return Err(e),
    }
    Ok(parts)
}
