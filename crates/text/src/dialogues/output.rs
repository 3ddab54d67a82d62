//! Examples as lines.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::bind::BoundTurn;
use super::catalogue::CatalogueItem;
use super::example::{Example, history};
use super::report::{DialoguesReport, FileReport, hex};
use super::turn::{Slot, Task};
use super::{Dialogues, ExampleFormat};
use sememe::data::Sequences;
use sememe::io::{AtomicFile, AtomicFolder, write_bytes_atomic};
use sememe::progress::{Event, Observer, check};
use sememe::{Error, Result};

/// Training, validation.
const NAMES: [&str; 2] = ["train.jsonl", "validation.jsonl"];
const SUMMARY: &str = "dialogues_summary.json";

/// Examples that were drawn, not yet written.
pub struct Composed {
    pub(super) dialogues: Dialogues,
    pub(super) items: Vec<CatalogueItem>,
    pub(super) templates: Vec<BoundTurn>,
    pub(super) users: Option<(Sequences, Vec<String>)>,
    /// For training and for validation, shuffled.
    pub(super) examples: [Vec<Example>; 2],
    pub(super) report: DialoguesReport,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ExampleText<'a> {
    Messages { messages: Vec<Message<'a>> },
    Text { prompt: String, completion: &'a str },
    Chat { prompt: Vec<Message<'a>>, completion: [Message<'a>; 1] },
}

#[derive(Serialize)]
struct ExampleLine<'a> {
    #[serde(flatten)]
    text: ExampleText<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl Composed {
    /// Counts; [`files`](DialoguesReport::files) is empty, as nothing is written yet.
    #[must_use]
    pub fn report(&self) -> &DialoguesReport {
        &self.report
    }

    /// The lines of the first examples for training, at most `count`.
    ///
    /// # Errors
    /// If JSON cannot be made of them, which does not happen.
    pub fn first_lines(&self, count: usize) -> Result<Vec<String>> {
        self.examples[0].iter().take(count).map(|example| self.line(*example)).collect()
    }

    /// Writes `train.jsonl`, `validation.jsonl` and `dialogues_summary.json` into a folder that is made if it is not there, all of them or
    /// none ([`AtomicFolder`]). A file that would hold no line is not written, as readers of JSON lines refuse it, and one of that name
    /// from before is removed.
    ///
    /// Streams: a line in memory at a time. The same bytes for the same input and settings.
    ///
    /// # Errors
    /// If the folder or a file cannot be written; files from before are as they were then. [`Error::Interrupted`] if the observer asks.
    pub fn save(&self, folder: impl AsRef<Path>, observer: &dyn Observer) -> Result<DialoguesReport> {
        let folder = folder.as_ref();
        let bundle = AtomicFolder::create(folder, &[NAMES[0], NAMES[1], SUMMARY])?;
        let total: usize = self.examples.iter().map(Vec::len).sum();
        observer.event(Event::Phase { name: "write", total: Some(total as u64), unit: "examples" });
        let (mut report, mut done) = (self.report.clone(), 0u64);
        for (name, examples) in NAMES.into_iter().zip(&self.examples) {
            if examples.is_empty() {
                continue;
            }
            let (mut file, mut hash, mut size_bytes) = (AtomicFile::create(bundle.file(name))?, Sha256::new(), 0u64);
            for example in examples {
                if done.is_multiple_of(4096) {
                    check(observer)?;
                    observer.event(Event::Advance { done });
                }
                done += 1;
                let mut line = self.line(*example)?;
                line.push('\n');
                hash.update(&line);
                size_bytes += line.len() as u64;
                file.put(line.as_bytes())?;
            }
            report.files.push(FileReport { name, examples: examples.len(), size_bytes, sha256: hex(hash) });
            file.commit()?;
        }
        let summary = serde_json::to_string_pretty(&report).map_err(|e| Error::Data(format!("{SUMMARY}: {e}")))?;
        write_bytes_atomic(bundle.file(SUMMARY), format!("{summary}\n").as_bytes())?;
        bundle.commit()?;
        Ok(report)
    }

    fn line(&self, example: Example) -> Result<String> {
        let template = &self.templates[example.template as usize];
        let task = template.parsed.task;
        let (next, before, key) = match (&self.users, task) {
            (Some((sequences, names)), Task::NextItem) => {
                let sequence = sequences.user(example.subject as usize);
                let position = example.position as usize;
                let before = history(sequence, position, self.dialogues.max_history);
                (sequence[position], before, &names[example.subject as usize])
            }
            _ => (example.subject, &[][..], &self.items[example.subject as usize].key),
        };
        let next = &self.items[next as usize];
        let fill = |template: &crate::prep::TextTemplate, slots: &[Slot]| -> Result<String> {
            let values: Vec<String> = slots.iter().map(|slot| self.value(slot, next, before)).collect();
            Ok(template.fill(&values)?.trim().to_owned())
        };
        let mut query = fill(&template.parsed.query, &template.query)?;
        let answer = fill(&template.parsed.answer, &template.answer)?;
        let ended = match &self.dialogues.query_end {
            Some(end) if template.answer.contains(&Slot::Id) && task != Task::AttributeFromId => {
                query.push(' ');
                query.push_str(end);
                true
            }
            _ => false,
        };
        let system = self.dialogues.system.as_deref();
        let user = Message { role: "user", content: &query };
        let asked = system.map(|content| Message { role: "system", content }).into_iter().chain([user]);
        let assistant = Message { role: "assistant", content: &answer };
        let text = match self.dialogues.form {
            ExampleFormat::Messages => ExampleText::Messages { messages: asked.chain([assistant]).collect() },
            ExampleFormat::ChatPromptCompletion => {
                ExampleText::Chat { prompt: asked.collect(), completion: [assistant] }
            }
            ExampleFormat::PromptCompletion => {
                let system = system.map_or(String::new(), |text| format!("{text}\n\n"));
                let end = if ended { "" } else { self.dialogues.prompt_end.as_str() };
                ExampleText::Text { prompt: format!("{system}{query}{end}"), completion: &answer }
            }
        };
        let metadata = self.dialogues.metadata;
        let line = ExampleLine { text, task: metadata.then_some(task.name()), key: metadata.then_some(key.as_str()) };
        serde_json::to_string(&line).map_err(|e| Error::Data(format!("an example of `{key}`: {e}")))
    }

    fn value(&self, slot: &Slot, next: &CatalogueItem, before: &[u32]) -> String {
        let join = |of: &dyn Fn(&CatalogueItem) -> String| {
            let texts: Vec<String> = before.iter().map(|item| of(&self.items[*item as usize])).collect();
            let full: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
            full.join(&self.dialogues.history_separator)
        };
        match slot {
            Slot::Id => next.id.clone(),
            Slot::Field(at) => next.values[*at].clone(),
            Slot::History => join(&|item| item.id.clone()),
            Slot::HistoryField(at) => join(&|item| item.values[*at].clone()),
        }
    }
}
