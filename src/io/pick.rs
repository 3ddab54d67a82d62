//! Picks the array to read where a file holds several.

use std::path::Path;

use super::numbers::NumberKind;
use crate::error::{Error, Result};

/// The name that is taken without asking.
const USUAL: &str = "embeddings";
/// Names listed in a message.
const LISTED: usize = 20;

/// Whether an array, tensor or column may hold embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usable {
    /// It has another shape, or other values.
    No,
    /// 2-D, of 8-bit integers: taken if nothing holds floats.
    Bytes,
    /// 2-D, of floats.
    Floats,
}

impl Usable {
    pub(crate) fn of(two_dimensional: bool, number: Option<NumberKind>) -> Self {
        match number.filter(|_| two_dimensional) {
            Some(number) if number.is_float() => Usable::Floats,
            Some(_) => Usable::Bytes,
            None => Usable::No,
        }
    }
}

/// An array, tensor or column, as a message shows it.
pub(crate) struct Candidate {
    pub name: String,
    /// Shape and type, or why it cannot be read.
    pub summary: String,
    pub usable: Usable,
}

/// Picks `wanted`; without it `embeddings`, or else the only 2-D array of floats, or of 8-bit integers where there are no floats.
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
    let of = |wanted: Usable| (0..all.len()).filter(|i| all[*i].usable == wanted).collect::<Vec<usize>>();
    let mut usable = of(Usable::Floats);
    if usable.is_empty() {
        usable = of(Usable::Bytes);
    }
    match usable[..] {
        [only] => Ok(only),
        [] => Err(Error::format(path, format!("has no 2-D {what} of floats or 8-bit integers; it holds {}", list()))),
        _ => {
            let problem = format!("{} of its {what}s could be the embeddings; it holds {}", usable.len(), list());
            Err(Error::format(path, problem).mend([crate::Remedy::give("array").to("name one")]))
        }
    }
}
