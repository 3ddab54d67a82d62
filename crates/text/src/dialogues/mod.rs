//! Training data for a language model: examples about items and their IDs, as JSON lines.
//!
//! [`Dialogues`] says which items, which IDs and which [`Templates`]; [`compose`] draws the examples; [`Composed::save`] writes
//! `train.jsonl`, `validation.jsonl` and `dialogues_summary.json`. Everything is drawn from the seed and the items' keys: the same input
//! gives the same bytes. An item that is added changes neither the examples of the others nor the side of the split on which they are,
//! only the order of the lines.

mod bind;
mod catalogue;
mod chats;
mod draw;
mod example;
mod ids;
mod output;
mod report;
mod templates;
mod turn;

pub use chats::{Chat, ChatMessage, read_chats};
pub use output::Composed;
pub use report::{DialoguesReport, FileReport, InputHashes, SplitReport, TemplateUse};
pub use templates::{TemplateSource, Templates};
pub use turn::{Task, Turn};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::prep::{OnDuplicate, Unicode};
use sememe::io::EventFields;
use sememe::progress::Observer;
use sememe::{Error, Result};

/// How an example is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExampleFormat {
    /// `{"messages":[{"role":"user","content":"…"},{"role":"assistant","content":"…"}]}`: chats, as most trainers and services read them.
    #[default]
    Messages,
    /// `{"prompt":"…","completion":"…"}`: plain text, for models without a chat template (TRL: "standard").
    PromptCompletion,
    /// `{"prompt":[{"role":"user",…}],"completion":[{"role":"assistant",…}]}`: chats whose loss is on the answer alone (TRL:
    /// "conversational").
    ChatPromptCompletion,
}

/// Which examples are written.
///
/// ```
/// use sememe_text::dialogues::{Dialogues, compose};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("semantic_ids.jsonl");
/// std::fs::write(&path, "{\"id\":\"nano\",\"semantic_id\":\"<a_12><b_5>\",\"title\":\"Nano, an editor\"}\n")?;
/// let dialogues = Dialogues { ids: path, query_end: Some("[REC]".into()), validation: 0.0, ..Dialogues::default() };
/// let composed = compose(&dialogues, &())?;
/// composed.save(folder.path(), &())?;
/// let text = std::fs::read_to_string(folder.path().join("train.jsonl"))?;
/// assert!(text.contains(r#"{"role":"assistant","content":"<a_12><b_5>"}"#) && text.contains("[REC]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialogues {
    /// Which item has which ID: `.jsonl`, `.jsonl.gz` or `.csv` with `id`, the item's key, and `semantic_id`; or what `sememe format`
    /// (`row` and `id`, by the rows of the catalogue) or `sememe export` (`items.jsonl`) writes.
    pub ids: PathBuf,
    /// The catalogue: an SQLite database (feature `sqlite`), `.jsonl`, `.jsonl.gz`, `.csv`, `.tsv` or (feature `parquet`) `.parquet`.
    /// Without it the file of IDs, which may hold a title beside each.
    pub source: Option<PathBuf>,
    /// The table or view of an SQLite catalogue; without it and `query` its only one.
    pub table: Option<String>,
    /// A `SELECT` in place of a table.
    pub query: Option<String>,
    /// The catalogue's field with each item's key.
    pub key: String,
    /// What becomes of rows of the catalogue that have one key.
    pub on_duplicate: OnDuplicate,
    /// Whether HTML in fields becomes text.
    pub html: bool,
    /// Unicode's normal form of fields.
    pub unicode: Unicode,
    /// Between the values of a field that is a list.
    pub list_separator: String,
    /// What users did, for [`Task::NextItem`], as [`read_events`](sememe::io::read_events) reads it; items by their keys.
    pub events: Option<PathBuf>,
    /// What the fields of events are called, where that is not usual.
    pub event_fields: EventFields,
    /// The templates of queries and answers.
    pub templates: TemplateSource,
    /// Which tasks; without it all that there are templates and inputs for.
    pub tasks: Option<Vec<Task>>,
    /// How an example is written.
    pub form: ExampleFormat,
    /// What the system says first, in every example.
    pub system: Option<String>,
    /// What ends queries that ask for an ID, such as `[REC]`, behind a blank.
    pub query_end: Option<String>,
    /// What ends a prompt that [`query_end`](Self::query_end) does not end, in [`ExampleFormat::PromptCompletion`] only, where nothing else parts
    /// it from the completion: a model that may write IDs only begins with the ID, not with a blank before it.
    pub prompt_end: String,
    /// Examples of each item for each of the tasks about single items, each from another template; fewer where an item has fewer
    /// templates that fit.
    pub examples_per_item: usize,
    /// Examples of each user, at positions drawn from the sequence; without it one for every event but the first.
    pub examples_per_user: Option<usize>,
    /// The last so many items of a history at most.
    pub max_history: usize,
    /// Between the items of a history.
    pub history_separator: String,
    /// The last so many events of every user are left out, to be asked for after training.
    pub hold_out: usize,
    /// Share of items, and of users, whose examples are for validation: those whose key's hash says so. 0 for none.
    pub validation: f64,
    /// Seed of every draw. The split does not depend on it.
    pub seed: u64,
    /// Whether an item without a key or an ID, or an event of one, is an error; else they are left out and counted.
    pub strict: bool,
    /// Whether each line also says its `task` and the `key` of its item or user. Services that fine-tune may refuse such fields.
    pub metadata: bool,
}

impl Default for Dialogues {
    fn default() -> Self {
        Self {
            ids: PathBuf::new(),
            source: None,
            table: None,
            query: None,
            key: "id".into(),
            on_duplicate: OnDuplicate::Refuse,
            html: true,
            unicode: Unicode::Nfc,
            list_separator: ", ".into(),
            events: None,
            event_fields: EventFields::default(),
            templates: TemplateSource::Starter,
            tasks: None,
            form: ExampleFormat::Messages,
            system: None,
            query_end: None,
            prompt_end: "\n".into(),
            examples_per_item: 2,
            examples_per_user: None,
            max_history: 20,
            history_separator: ", ".into(),
            hold_out: 0,
            validation: 0.05,
            seed: 0,
            strict: false,
            metadata: false,
        }
    }
}

impl Dialogues {
    /// Checks what can be known before a file is read.
    ///
    /// # Errors
    /// [`Error::Config`] for no file of IDs; an empty name or text where there must be one; a count of 0; a share outside of 0 to 1,
    /// 1 excluded; templates as [`Templates::validate`] says; settings that contradict each other.
    pub fn validate(&self) -> Result<()> {
        if self.ids.as_os_str().is_empty() {
            return Err(Error::config("ids", "expected a file with the items' IDs, got nothing"));
        }
        if self.key.is_empty() {
            return Err(Error::config("key", "expected the name of the field that names an item, got nothing"));
        }
        let texts =
            [("table", &self.table), ("query", &self.query), ("system", &self.system), ("query_end", &self.query_end)];
        for (name, value) in texts {
            if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
                return Err(Error::config(name, "is empty; leave it out instead"));
            }
        }
        if self.table.is_some() && self.query.is_some() {
            return Err(Error::config("query", "takes the place of `table`; give one of them"));
        }
        if self.source.is_none() {
            for (name, given) in
                [("table", self.table.is_some()), ("query", self.query.is_some()), ("key", self.key != "id")]
            {
                if given {
                    return Err(Error::config(name, "is of the catalogue; give it as `source`"));
                }
            }
        }
        let counts = [
            ("examples_per_item", Some(self.examples_per_item)),
            ("examples_per_user", self.examples_per_user),
            ("max_history", Some(self.max_history)),
        ];
        for (name, value) in counts {
            if value == Some(0) {
                return Err(Error::config(name, "expected at least 1, got 0"));
            }
        }
        if !(0.0..1.0).contains(&self.validation) {
            return Err(Error::config(
                "validation",
                format!("expected a share from 0 to below 1, got {}", self.validation),
            ));
        }
        if let TemplateSource::Given(templates) = &self.templates {
            templates.validate()?;
        }
        if let Some(tasks) = &self.tasks {
            if tasks.is_empty() {
                return Err(Error::config("tasks", "names none; leave it out for all"));
            }
            let next = tasks.contains(&Task::NextItem);
            if next && self.events.is_none() {
                return Err(Error::config(
                    "events",
                    "expected what users did, which the task `next_item` is made from",
                ));
            }
            if !next && self.events.is_some() {
                return Err(Error::config("events", "are for the task `next_item`, which `tasks` does not name"));
            }
        }
        self.event_fields.validate()?;
        for (name, given) in [
            ("hold_out", self.hold_out > 0),
            ("examples_per_user", self.examples_per_user.is_some()),
            ("event_fields", self.event_fields != EventFields::default()),
        ] {
            if given && self.events.is_none() {
                return Err(Error::config(name, "is of users' events; give them as `events`"));
            }
        }
        Ok(())
    }
}

/// Reads items, IDs and events, and draws the examples. The fields that templates take are held in memory, the examples as numbers;
/// texts are made as they are written.
///
/// O(bytes + n·templates + n log n). Deterministic: the outcome depends on the files' contents and the settings alone.
///
/// # Errors
/// [`Error::Config`] as [`Dialogues::validate`] says, and for a template over a field that the catalogue does not have (named with
/// those that it has); [`Error::Format`] for files that are not what they should be; [`Error::Data`] if two rows have one key, if no
/// item has an ID or no example comes of it, and under [`Dialogues::strict`] for items without an ID (how many, and the first);
/// [`Error::Interrupted`] if the observer asks.
pub fn compose(dialogues: &Dialogues, observer: &dyn Observer) -> Result<Composed> {
    dialogues.validate()?;
    let (templates, lenient) = dialogues.templates.read()?;
    let tasks = tasks(dialogues, &templates)?;
    let catalogue = catalogue::read(dialogues, &templates, &tasks, lenient, observer)?;
    draw::draw(dialogues, catalogue, observer)
}

/// The tasks that are done, in their order.
fn tasks(dialogues: &Dialogues, templates: &Templates) -> Result<Vec<Task>> {
    if let Some(wanted) = &dialogues.tasks {
        return Ok(Task::ALL.into_iter().filter(|task| wanted.contains(task)).collect());
    }
    let served = |task: &Task| {
        let histories = *task == Task::NextItem;
        !templates.of(*task).is_empty() && (!histories || dialogues.events.is_some())
    };
    let tasks: Vec<Task> = Task::ALL.into_iter().filter(served).collect();
    if dialogues.events.is_some() && !tasks.contains(&Task::NextItem) {
        return Err(Error::config("events", "are given, but there is no template for the task `next_item`"));
    }
    if tasks.is_empty() {
        return Err(Error::config(
            "events",
            "expected what users did, as there are templates for the task `next_item` only",
        ));
    }
    Ok(tasks)
}
