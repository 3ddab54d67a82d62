//! Errors in a TOML file: their position, and the name that was probably meant.

use std::path::Path;

use sememe::Error;

/// A mistake that TOML's reader found.
pub(super) struct TomlFault<'a> {
    text: &'a str,
    error: &'a toml::de::Error,
}

impl<'a> TomlFault<'a> {
    pub(super) fn new(text: &'a str, error: &'a toml::de::Error) -> Self {
        Self { text, error }
    }

    /// Line and column, from 1, in characters.
    fn at(&self) -> Option<(usize, usize)> {
        let before = self.text.get(..self.error.span()?.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((line, column))
    }

    /// What is wrong, in a line, with the nearest name.
    pub(super) fn problem(&self) -> String {
        let message = self.error.message().lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
        let Some((unknown, known)) = names(&message) else { return message };
        match nearest(unknown, &known) {
            Some(name) => format!("unknown key `{unknown}`; did you mean `{name}`? Here are `{}`", known.join("`, `")),
            None => format!("unknown key `{unknown}`; here are `{}`", known.join("`, `")),
        }
    }

    pub(super) fn refused(&self, path: &Path) -> Error {
        let problem = self.problem();
        let place = self.at().map_or_else(String::new, |(line, column)| format!("line {line}, column {column}: "));
        Error::format(path, format!("{place}{problem}"))
    }
}

/// The name that is not known and those that are, from serde's message.
fn names(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let (unknown, rest) = rest.split_once('`')?;
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    (!known.is_empty()).then_some((unknown, known))
}

/// The known name that takes the fewest changes, if they are few.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (strsim::osa_distance(&plain(unknown), &plain(name)), *name))
        .min()
        .filter(|(changes, name)| *changes <= 1 + name.len().max(unknown.len()) / 3)
        .map(|(_, name)| name)
}
