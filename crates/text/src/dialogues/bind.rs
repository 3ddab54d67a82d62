//! Templates as they meet a catalogue.

use std::path::Path;

use super::{Task, Templates, Turn};
use crate::prep::{TextTemplate, has};
use sememe::{Error, Remedy, Result};

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
    at: usize,
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

    fn slots(&self, template: &TextTemplate, there: &[String], read: &mut Vec<String>) -> Result<Vec<Slot>, String> {
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

/// A template bound to a catalogue.
#[derive(Clone, Debug)]
pub(super) struct BoundTurn {
    pub(super) parsed: ParsedTurn,
    pub(super) query: Vec<Slot>,
    pub(super) answer: Vec<Slot>,
}

/// Binds templates of these tasks to the fields of a catalogue; also says which fields are needed. With `lenient`, templates over
/// fields that are not there are passed over.
pub(super) fn bind(
    templates: &Templates,
    tasks: &[Task],
    there: &[String],
    source: &Path,
    lenient: bool,
) -> Result<(Vec<BoundTurn>, Vec<String>)> {
    let (mut bound, mut read) = (Vec::new(), Vec::new());
    for task in tasks {
        let before = bound.len();
        for (at, turn) in templates.of(*task).iter().enumerate() {
            let parsed = ParsedTurn::new(*task, at, turn)?;
            let needed = read.len();
            let slots = parsed
                .slots(&parsed.query, there, &mut read)
                .and_then(|query| Ok((query, parsed.slots(&parsed.answer, there, &mut read)?)));
            match slots {
                Ok((query, answer)) => bound.push(BoundTurn { parsed, query, answer }),
                Err(_) if lenient => read.truncate(needed),
                Err(field) => {
                    let place = format!("{}[{}]", task.name(), parsed.at);
                    let problem = format!(
                        "wants the field `{field}`, which `{}` does not have; {}",
                        source.display(),
                        list(there)
                    );
                    return Err(Error::config(format!("templates.{place}"), problem));
                }
            }
        }
        if bound.len() == before {
            let problem = if lenient {
                let want = "the starter templates want a field `title` or `text`";
                format!("{want}, and `{}` has neither; {}", source.display(), list(there))
            } else {
                format!("there is none for the task `{}`", task.name())
            };
            let own = lenient.then(|| Remedy::give("templates").to("write templates of your own"));
            return Err(Error::config("templates", problem).mend(own));
        }
    }
    Ok((bound, read))
}

fn list(there: &[String]) -> String {
    let shown: Vec<&str> = there.iter().take(40).map(String::as_str).collect();
    let more =
        if there.len() > shown.len() { format!(" and {} more", there.len() - shown.len()) } else { String::new() };
    format!("it has `{}`{more}", shown.join("`, `"))
}
