//! Arrays whose names differ in a number: one a level.

use crate::arrays::Arrays;
use crate::origin::Origin;
use sememe::{Error, Matrix, Result};
use std::collections::BTreeMap;

/// More levels have no system's IDs.
pub const MAX_LEVELS: usize = 64;

/// How each system names the codebooks of a level: before the number, and after.
pub const CENTROIDS: [(Origin, &str, &str); 6] = [
    (Origin::Basil, "codebooks/C", ""),
    (Origin::SemanticId, "codebook_", ""),
    (Origin::LcRec, "rq.vq_layers.", ".embedding.weight"),
    (Origin::Grid, "quantization_layer_list.", ".centroids"),
    (Origin::OpenOneRec, "centroids.", ""),
    (Origin::FaissRq, "rq_codebooks.", ""),
];

/// What stands before and after a system's level numbers.
pub fn naming(origin: Origin) -> (&'static str, &'static str) {
    CENTROIDS.iter().find(|(of, ..)| *of == origin).map_or(("", ""), |(_, before, after)| (before, after))
}

/// The names of a system's levels, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelNames {
    /// What stands before the system's own names, such as `state_dict.`.
    pub prefix: String,
    /// One name a level.
    pub names: Vec<String>,
}

/// All groups of arrays that are named `PREFIX before N after`, by their prefixes.
pub fn groups(arrays: &Arrays, before: &str, after: &str) -> Vec<LevelNames> {
    let mut found: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for info in &arrays.infos {
        let Some(stem) = info.name.strip_suffix(after) else { continue };
        let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (head, number) = stem.split_at(stem.len() - digits);
        let (Some(prefix), Ok(number)) = (head.strip_suffix(before), number.parse()) else { continue };
        // `x.centroids.0` is no name of a system that has `centroids.0` at the top or below a dictionary.
        if prefix.is_empty() || prefix.ends_with(['.', '/']) {
            found.entry(prefix.to_owned()).or_default().insert(number, info.name.clone());
        }
    }
    found.into_iter().map(|(prefix, names)| LevelNames { prefix, names: names.into_values().collect() }).collect()
}

/// The one group, or that whose prefix is `wanted`; checks that no level is missing.
///
/// # Errors
/// If there is none or several, or a level's number is missing.
pub fn only(arrays: &Arrays, before: &str, after: &str, wanted: Option<&str>) -> Result<LevelNames> {
    let all = groups(arrays, before, after);
    let found = pick(arrays, all, wanted, |group| &group.prefix)?;
    let numbers = (0..found.names.len()).map(|i| format!("{}{before}{i}{after}", found.prefix));
    if let Some(missing) = numbers.into_iter().find(|name| !arrays.has(name)) {
        return Err(
            arrays.bad(format_args!("`{missing}` is missing, though there are {} such tensors", found.names.len()))
        );
    }
    let names = (0..found.names.len()).map(|i| format!("{}{before}{i}{after}", found.prefix)).collect();
    check_count(arrays, found.names.len())?;
    Ok(LevelNames { names, ..found })
}

/// Refuses a number of levels that no ID has.
///
/// # Errors
/// For none, and for more than [`MAX_LEVELS`].
pub fn check_count(arrays: &Arrays, levels: usize) -> Result<()> {
    if levels == 0 || levels > MAX_LEVELS {
        return Err(arrays.bad(format_args!("has {levels} levels, expected 1 to {MAX_LEVELS}")));
    }
    Ok(())
}

/// The only one, or the one whose prefix was asked for.
///
/// # Errors
/// If there is none or several.
pub fn pick<T>(arrays: &Arrays, all: Vec<T>, wanted: Option<&str>, prefix: impl Fn(&T) -> &str) -> Result<T> {
    let shown = |all: &[T]| {
        let names: Vec<String> = all.iter().map(|one| format!("`{}`", prefix(one).trim_end_matches('.'))).collect();
        names.join(", ")
    };
    let Some(wanted) = wanted else {
        return match all.len() {
            0 => Err(arrays.bad(format_args!("holds no codebooks of this system; it holds {}", arrays.list()))),
            1 => all.into_iter().next().ok_or_else(|| arrays.bad("holds no codebooks")),
            n => Err(arrays
                .bad(format_args!("holds the codebooks of {n} models, under {}", shown(&all)))
                .mend([sememe::Remedy::give("tensor").to("name one")])),
        };
    };
    let at = all.iter().position(|one| prefix(one).trim_end_matches('.') == wanted.trim_end_matches('.'));
    match at {
        Some(at) => all.into_iter().nth(at).ok_or_else(|| arrays.bad("holds no codebooks")),
        None => {
            let problem = format!("has no codebooks under `{wanted}`; it has some under {}", shown(&all));
            Err(Error::config("tensor", format!("`{}` {problem}", arrays.path.display())))
        }
    }
}

/// The codebooks of all levels.
///
/// # Errors
/// If one cannot be read, or they have different widths.
pub fn codebooks(arrays: &Arrays, names: &[String]) -> Result<Vec<Matrix>> {
    let books = names.iter().map(|name| arrays.matrix(name)).collect::<Result<Vec<_>>>()?;
    if let Some(level) = books.iter().position(|book| book.dims() != books[0].dims()) {
        return Err(arrays.bad(format_args!(
            "`{}` has {} columns, `{}` {}; levels of residual quantisation have the same",
            names[0],
            books[0].dims(),
            names[level],
            books[level].dims()
        )));
    }
    Ok(books)
}

/// A `[levels, k, d]` array as a codebook a level.
///
/// # Errors
/// If it has another number of axes, or too many levels.
pub fn stacked(arrays: &Arrays, name: &str) -> Result<Vec<Matrix>> {
    let (shape, values) = arrays.values(name)?;
    let [levels, size, dims] = shape[..] else {
        return Err(arrays.bad(format_args!("`{name}` has the shape {shape:?}, expected [levels, codewords, columns]")));
    };
    check_count(arrays, levels)?;
    values.chunks(size * dims).map(|book| Matrix::from_vec(size, dims, book.to_vec())).collect()
}
