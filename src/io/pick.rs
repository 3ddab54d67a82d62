//! Which of several arrays in one file is meant.

use std::path::Path;

use crate::error::{Error, Result};

/// The name that is taken without asking.
const USUAL: &str = "embeddings";
/// Names listed in a message.
const LISTED: usize = 20;

/// An array, tensor or column, as a message shows it.
pub(crate) struct Candidate {
    pub name: String,
    /// Shape and type, or why it cannot be read.
    pub summary: String,
    /// A 2-D float array.
    pub usable: bool,
}

/// Picks `wanted`; without it `embeddings`, or else the only 2-D float array.
///
/// # Errors
/// If none or several could be meant; lists the names and shapes.
pub(crate) fn pick(path: &Path, what: &str, wanted: Option<&str>, all: &[Candidate]) -> Result<usize> {
    let named = |name: &str| all.iter().position(|c| c.name == name);
    let list = || {
        let mut items: Vec<String> = all.iter().take(LISTED).map(|c| format!("`{}` {}", c.name, c.summary)).collect();
        if all.len() > LISTED {
            items.push(format!("and {} more", all.len() - LISTED));
        }
        if items.is_empty() { "nothing".into() } else { items.join(", ") }
    };
    if let Some(name) = wanted {
        return named(name).ok_or_else(|| Error::format(path, format!("has no {what} `{name}`; it holds {}", list())));
    }
    if let Some(index) = named(USUAL) {
        return Ok(index);
    }
    let usable: Vec<usize> = (0..all.len()).filter(|i| all[*i].usable).collect();
    match usable[..] {
        [only] => Ok(only),
        [] => Err(Error::format(path, format!("has no 2-D float {what}; it holds {}", list()))),
        _ => Err(Error::format(
            path,
            format!(
                "{} of its {what}s could be the embeddings; name one with `--array`; it holds {}",
                usable.len(),
                list()
            ),
        )),
    }
}
