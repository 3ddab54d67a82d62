//! The fields that are wanted, among those that a source has.

use std::path::Path;

use sememe::{Error, Result};

/// Takes a row's number and its values, which it may change.
pub type Row<'a> = &'a mut dyn FnMut(u64, &mut [String]) -> Result<()>;

/// The error for a field that no row has.
pub(super) fn no_field(path: &Path, what: &str, field: &str, there: &[impl AsRef<str>]) -> Error {
    let names: Vec<&str> = there.iter().take(40).map(AsRef::as_ref).collect();
    let more = if there.len() > 40 { format!(" and {} more", there.len() - 40) } else { String::new() };
    Error::format(path, format!("has no {what} `{field}`; it holds `{}`{more}", names.join("`, `")))
}

/// Whether a field is one of these, or within one of them.
pub(crate) fn has(there: &[String], field: &str) -> bool {
    let dots = field.match_indices('.').map(|(dot, _)| &field[..dot]);
    dots.chain([field]).any(|name| there.iter().any(|there| there == name))
}

#[cfg(feature = "sqlite")]
/// Where the wanted fields are among the columns.
pub(super) fn columns(path: &Path, there: &[String], wanted: &[&str]) -> Result<Vec<usize>> {
    let find = |field: &&str| {
        let at = there.iter().position(|name| name == field).ok_or_else(|| no_field(path, "column", field, there))?;
        if there[at + 1..].iter().any(|name| name == field) {
            return Err(Error::format(path, format!("has more than one column `{field}`; rename one of them")));
        }
        Ok(at)
    };
    wanted.iter().map(find).collect()
}
