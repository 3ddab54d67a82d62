//! Report on the preparation of a catalogue.

use std::collections::HashMap;

use serde::Serialize;

#[cfg(doc)]
use super::Prep;
use super::PreparedItem;

/// How many rows became items, and why the others did not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PrepReport {
    /// Rows of the source.
    pub rows: usize,
    /// Items kept.
    pub items: usize,
    /// Rows left out for want of a key.
    pub without_key: usize,
    /// Rows left out, as their text is empty.
    pub without_text: usize,
    /// Rows left out, as another one has their key.
    pub duplicate_keys: usize,
    /// Items left out by [`Prep::limit`].
    pub over_limit: usize,
    /// Texts shortened to [`Prep::max_chars`].
    pub shortened: usize,
    /// Characters of all texts.
    pub chars: usize,
    /// Characters of the longest text.
    pub longest_chars: usize,
    /// Items whose text another item has too.
    pub duplicates: usize,
    /// The texts that most items share, ten at most.
    pub duplicate_texts: Vec<Duplicate>,
}

/// A text that several items have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The text.
    pub text: String,
    /// How many items have it.
    pub items: usize,
    /// The first of them, five at most.
    pub ids: Vec<String>,
}

impl PrepReport {
    /// Counts what is in the items.
    pub(super) fn describe(&mut self, items: &[PreparedItem]) {
        self.items = items.len();
        let mut by_text: HashMap<&str, Vec<&str>> = HashMap::with_capacity(items.len());
        for item in items {
            let chars = item.text.chars().count();
            self.chars += chars;
            self.longest_chars = self.longest_chars.max(chars);
            by_text.entry(&item.text).or_default().push(&item.id);
        }
        let mut shared: Vec<(&str, Vec<&str>)> = by_text.into_iter().filter(|(_, ids)| ids.len() > 1).collect();
        self.duplicates = shared.iter().map(|(_, ids)| ids.len()).sum();
        shared.sort_unstable_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(b.0)));
        self.duplicate_texts = shared
            .into_iter()
            .take(10)
            .map(|(text, ids)| Duplicate {
                text: text.to_owned(),
                items: ids.len(),
                ids: ids.into_iter().take(5).map(str::to_owned).collect(),
            })
            .collect();
    }
}
