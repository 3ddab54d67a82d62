//! Codebooks in arrays, whoever wrote them.

use crate::arrays::Arrays;
use crate::imported::ImportOptions;
use crate::levels;
use crate::note::Note;
use crate::parts::Parts;
use sememe::{Matrix, Result};
use std::collections::BTreeMap;

/// One array of `[levels, k, d]`, or one a level.
pub fn read(arrays: &Arrays, options: &ImportOptions) -> Result<Parts> {
    let books = match options.tensor.as_deref() {
        Some(pattern) if pattern.contains('*') => numbered(arrays, pattern)?,
        Some(name) => named(arrays, name)?,
        None => guessed(arrays)?,
    };
    let mut parts = Parts::residual(books);
    parts.quantizer.normalize_residuals = options.normalize_residuals.unwrap_or(false);
    parts.notes.push(Note::assumed(format!(
        "levels that work one after the other on what is left{}, nearest by squared L2, on rows as they are",
        if parts.quantizer.normalize_residuals { ", divided by its norm" } else { "" }
    )));
    Ok(parts)
}

/// An array of all levels, or of the only one.
fn named(arrays: &Arrays, name: &str) -> Result<Vec<Matrix>> {
    match arrays.info(name).map(|info| info.shape.len()) {
        Some(3) => levels::stacked(arrays, name),
        _ => Ok(vec![arrays.matrix(name)?]),
    }
}

/// `quantizer.*.weight`: the star is the level's number, from wherever they begin.
fn numbered(arrays: &Arrays, pattern: &str) -> Result<Vec<Matrix>> {
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    let mut found: BTreeMap<u64, &str> = BTreeMap::new();
    for info in &arrays.infos {
        let middle = info.name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        if let Some(number) = middle.and_then(|middle| middle.parse().ok()) {
            found.insert(number, &info.name);
        }
    }
    let (Some(first), Some(last)) = (found.keys().next(), found.keys().last()) else {
        return Err(arrays.bad(format_args!("has no `{pattern}`; it holds {}", arrays.list())));
    };
    if last - first + 1 != found.len() as u64 {
        return Err(arrays.bad(format_args!("`{pattern}` goes from {first} to {last}, but there are {}", found.len())));
    }
    levels::check_count(arrays, found.len())?;
    let names: Vec<String> = found.into_values().map(str::to_owned).collect();
    levels::codebooks(arrays, &names)
}

/// The only array of three axes; else the only family of two axes whose names differ in a number; else the only array of two axes.
fn guessed(arrays: &Arrays) -> Result<Vec<Matrix>> {
    let of_axes = |axes: usize| arrays.infos.iter().filter(move |info| info.floats && info.shape.len() == axes);
    let ask = |what: String| {
        Err(arrays
            .bad(format_args!("{what}; it holds {}", arrays.list()))
            .mend([sememe::Remedy::give("tensor").to("name the codebooks, with `*` for the level's number")]))
    };
    let stacked: Vec<_> = of_axes(3).collect();
    match stacked[..] {
        [only] => return levels::stacked(arrays, &only.name),
        [_, _, ..] => return ask(format!("{} arrays could be the codebooks of all levels", stacked.len())),
        [] => {}
    }
    let mut families: BTreeMap<String, usize> = BTreeMap::new();
    for info in of_axes(2) {
        if let Some(pattern) = starred(&info.name) {
            *families.entry(pattern).or_default() += 1;
        }
    }
    let many: Vec<_> = families.keys().collect();
    match many[..] {
        [only] => return numbered(arrays, only),
        [_, _, ..] => return ask(format!("{} families of arrays could be the codebooks", many.len())),
        [] => {}
    }
    let flat: Vec<_> = of_axes(2).collect();
    match flat[..] {
        [only] => Ok(vec![arrays.matrix(&only.name)?]),
        _ => ask(format!("{} arrays of floats could be the codebook of the only level", flat.len())),
    }
}

/// A name with a star for its last number.
fn starred(name: &str) -> Option<String> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end].trim_end_matches(|c: char| c.is_ascii_digit()).len();
    Some(format!("{}*{}", &name[..start], &name[end..]))
}
