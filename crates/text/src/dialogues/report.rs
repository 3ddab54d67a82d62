//! Report on the examples that were written.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Task;

/// Counts of items, users, templates and examples: `dialogues_summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DialoguesReport {
    /// Version of the program.
    pub sememe: &'static str,
    /// Rows of the catalogue.
    pub rows: usize,
    /// Items of the catalogue that have an ID.
    pub items: usize,
    /// Rows left out for want of a key.
    pub without_key: usize,
    /// Rows left out, as another one has their key.
    pub duplicate_keys: usize,
    /// Items left out for want of an ID.
    pub without_id: usize,
    /// The keys of the first of them, five at most.
    pub first_without_id: Vec<String>,
    /// IDs of items that the catalogue does not have, or that stand in a row without a key.
    pub ids_without_item: usize,
    /// Items whose ID is another item's too: asked about it, the model cannot know which is meant.
    pub sharing_an_id: usize,
    /// Users.
    pub users: usize,
    /// Events of items that have an ID.
    pub events: usize,
    /// Events left out, as their item has none.
    pub events_left_out: usize,
    /// Items, or positions of users, for which no template of a task fits, as fields are empty; a task without any is left out.
    pub without_template: BTreeMap<Task, usize>,
    /// Items that have fewer examples of a task than asked for, as fewer of its templates fit.
    pub fewer_examples: BTreeMap<Task, usize>,
    /// For training.
    pub train: SplitReport,
    /// For validation.
    pub validation: SplitReport,
    /// Every template that was to be used.
    pub templates: Vec<TemplateUse>,
    /// Hashes of what went in.
    pub inputs: InputHashes,
    /// The settings, without paths.
    pub settings: serde_json::Value,
    /// What was written: a file without an example is not.
    pub files: Vec<FileReport>,
}

/// One side of the split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// Items that belong to it.
    pub items: usize,
    /// Users that belong to it.
    pub users: usize,
    /// Examples.
    pub examples: usize,
    /// Examples by task.
    pub tasks: BTreeMap<Task, usize>,
}

/// How often a template was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TemplateUse {
    /// Its task.
    pub task: Task,
    /// Its query.
    pub query: String,
    /// Its answer.
    pub answer: String,
    /// Examples for training.
    pub train: usize,
    /// Examples for validation.
    pub validation: usize,
}

/// SHA-256 over what was read: keys, IDs, the fields that templates take, sequences, templates; in the order of the keys and independent
/// of the files' formats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InputHashes {
    /// Keys and IDs.
    pub ids: String,
    /// Keys and fields.
    pub catalogue: String,
    /// Users and their items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// Templates that the catalogue serves.
    pub templates: String,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name in the folder.
    pub name: &'static str,
    /// Examples, one a line.
    pub examples: usize,
    /// Its size.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

pub(super) fn hex(hash: Sha256) -> String {
    sememe::digest::hex(&hash.finalize())
}
