//! One template: a question and its answer, as they are written and as they are read.

use serde::{Deserialize, Serialize};

use crate::prep::{TextTemplate, has};
use sememe::{Error, Result};

/// What a model learns from an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Words in, an ID out.
    IdFromQuery,
    /// An ID in, what is known of the item out.
    AttributeFromId,
    /// What a user had in, what came next out.
    NextItem,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 3] = [Task::IdFromQuery, Task::AttributeFromId, Task::NextItem];

    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Task::IdFromQuery => "id_from_query",
            Task::AttributeFromId => "attribute_from_id",
            Task::NextItem => "next_item",
        }
    }
}

/// A question and its answer, each a [`TextTemplate`](crate::prep::TextTemplate) over the item's fields and `{semantic_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// What the user says.
    pub query: String,
    /// What the model says: without it `{semantic_id}`, and [`Task::AttributeFromId`] needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// What a field of a template stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The item's ID.
    Id,
    /// A field of the item, by its place among the fields that are read.
    Field(usize),
    /// IDs of the items before.
    History,
    /// A field of the items before.
    HistoryField(usize),
}

/// A template that was read, its fields not yet bound to a catalogue.
#[derive(Clone, Debug)]
pub(super) struct ParsedTurn {
    pub(super) task: Task,
    pub(super) query: TextTemplate,
    pub(super) answer: TextTemplate,
    /// As they were written.
    pub(super) texts: [String; 2],
    /// Its place, for messages.
    pub(super) at: usize,
}

impl ParsedTurn {
    pub(super) fn new(task: Task, at: usize, turn: &Turn) -> Result<Self> {
        let place = |part: &str| format!("{}[{at}].{part}", task.name());
        let parse = |part: &str, text: &str| {
            TextTemplate::parse(text).map_err(|e| match e {
                Error::Config { problem, .. } => Error::config(place(part), format!("{text:?}: {problem}")),
                e => e,
            })
        };
        let answer = match (&turn.answer, task) {
            (Some(answer), _) => answer.as_str(),
            (None, Task::AttributeFromId) => {
                let problem = "is missing; say what is known of the item, as in `answer = \"{title}\"`";
                return Err(Error::config(place("answer"), problem));
            }
            (None, _) => "{semantic_id}",
        };
        let parsed = Self {
            task,
            query: parse("query", &turn.query)?,
            answer: parse("answer", answer)?,
            texts: [turn.query.clone(), answer.to_owned()],
            at,
        };
        let bad = |part: &str, problem: &str| {
            let text = &parsed.texts[usize::from(part == "answer")];
            Err(Error::config(place(part), format!("{text:?} {problem}")))
        };
        let asked = parsed.query.fields();
        let told = parsed.answer.fields();
        let has = |fields: &[String], name: &str| fields.iter().any(|field| field == name);
        let history = |field: &String| field == "history" || field.starts_with("history.");
        match task {
            Task::AttributeFromId if !has(asked, "semantic_id") => {
                return bad("query", "does not hold `{semantic_id}`, the ID that it is about");
            }
            Task::IdFromQuery | Task::NextItem if has(asked, "semantic_id") => {
                return bad("query", "holds `{semantic_id}`, which is what it asks for");
            }
            Task::IdFromQuery if !has(told, "semantic_id") => {
                return bad("answer", "does not hold `{semantic_id}`, which is what is asked for");
            }
            Task::NextItem if !asked.iter().any(history) => {
                return bad("query", "holds neither `{history}` nor, for example, `{history.title}`");
            }
            _ => {}
        }
        if let Some(field) = told.iter().find(|field| task == Task::NextItem && history(field)) {
            return bad("answer", &format!("holds `{{{field}}}`; a history stands in queries only"));
        }
        let new = |field: &&String| !has(asked, field) && (task != Task::AttributeFromId || *field != "semantic_id");
        if !told.iter().any(|field| new(&field)) {
            return bad("answer", "only repeats what the query holds");
        }
        Ok(parsed)
    }

    pub(super) fn slots(
        &self,
        template: &TextTemplate,
        there: &[String],
        read: &mut Vec<String>,
    ) -> Result<Vec<Slot>, String> {
        let mut bind = |name: &str| {
            if !has(there, name) {
                return Err(name.to_owned());
            }
            let at = read.iter().position(|field| field == name).unwrap_or(read.len());
            if at == read.len() {
                read.push(name.to_owned());
            }
            Ok(at)
        };
        let slot = |name: &String| match name.strip_prefix("history") {
            _ if name == "semantic_id" => Ok(Slot::Id),
            Some("") if self.task == Task::NextItem => Ok(Slot::History),
            Some(rest) if self.task == Task::NextItem && rest.starts_with('.') => {
                bind(&rest[1..]).map(Slot::HistoryField)
            }
            _ => bind(name).map(Slot::Field),
        };
        template.fields().iter().map(slot).collect()
    }
}
