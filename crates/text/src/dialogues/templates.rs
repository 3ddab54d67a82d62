//! Templates of queries and answers.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::turn::{ParsedTurn, Task, Turn};
use sememe::io::{extension, read_bytes_capped};
use sememe::{Error, Result};

/// Templates are written by hand.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The templates of every task; a task without any is left out.
///
/// In [`Task::NextItem`] fields are those of the next item, `{history}` are the IDs that came before it and `{history.title}` the
/// titles, or whatever field is named there.
///
/// ```
/// use sememe_text::dialogues::Templates;
/// let templates: Templates = serde_json::from_str(
///     r#"{"id_from_query": [{"query": "Which package is {package}?"}],
///         "attribute_from_id": [{"query": "What is {semantic_id}?", "answer": "{package}[: {short}]"}]}"#,
/// )?;
/// templates.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Templates {
    /// Of [`Task::IdFromQuery`]: the answer holds `{semantic_id}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub id_from_query: Vec<Turn>,
    /// Of [`Task::AttributeFromId`]: the query holds `{semantic_id}`, the answer does not only repeat it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attribute_from_id: Vec<Turn>,
    /// Of [`Task::NextItem`]: the query holds `{history}` or `{history.FIELD}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next_item: Vec<Turn>,
}

/// Queries and answers.
type Pairs = &'static [(&'static str, Option<&'static str>)];

const STARTER: [(Task, Pairs); 3] = [
    (
        Task::IdFromQuery,
        &[
            ("{title}", None),
            ("Which item is {title}?", None),
            ("Find {title} in the catalogue.", None),
            ("I am looking for this: {text:300}", None),
            ("Which item fits this description? {text:300}", None),
        ],
    ),
    (
        Task::AttributeFromId,
        &[
            ("What is {semantic_id}?", Some("{title}")),
            ("Give me the title of the item {semantic_id}.", Some("{title}")),
            ("Describe {semantic_id}.", Some("{text:300}")),
            ("What do you know about the item {semantic_id}?", Some("{text:300}")),
        ],
    ),
    (
        Task::NextItem,
        &[
            ("Somebody had these items, oldest first: {history}. Which comes next?", None),
            ("What goes well after {history}?", None),
            ("Somebody liked {history.title}. What do they like next?", None),
            ("After {history}, what is the next item called?", Some("{title}")),
        ],
    ),
];

/// What TOML says above the templates of a task.
const NOTES: [&str; 3] = [
    "Words in, an ID out. Without `answer` the answer is {semantic_id}.",
    "An ID in, what is known of the item out.",
    "What a user had in, what came next out: {history} are the IDs of the items before, {history.title} their titles. Any other\n\
     # field is the next item's.",
];

const HEAD: &str = "\
# Templates of training dialogues. {field} is a field of the catalogue, {field:300} its first 300 characters, {semantic_id} the item's ID.
# [What stands in brackets] is left out where one of its fields is empty; a template is passed over for items that lack another of its
# fields. Braces and brackets that are meant are written twice.
";

impl Templates {
    /// Plain English templates over the fields `title` and `text`, to begin with.
    #[must_use]
    pub fn starter() -> Self {
        let mut out = Self::default();
        for (task, turns) in STARTER {
            let turn = |&(query, answer): &(&str, Option<&str>)| Turn {
                query: query.to_owned(),
                answer: answer.map(str::to_owned),
            };
            *out.of_mut(task) = turns.iter().map(turn).collect();
        }
        out
    }

    /// Reads a `.json` or (features `cli`, `pipeline`) `.toml` file.
    ///
    /// # Errors
    /// If it cannot be read, is no such file (with line and column), or as [`validate`](Self::validate) says, with the file's name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_bytes_capped(path, MAX_FILE_BYTES)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| Error::format(path, format!("is not UTF-8 from byte {} on", e.valid_up_to() + 1)))?;
        let templates: Self = match extension(path).as_str() {
            "json" => serde_json::from_str(text).map_err(|e| json_problem(path, &e))?,
            "toml" => from_toml(path, text)?,
            other => {
                return Err(Error::format(path, format!("templates are read from .toml or .json, got `.{other}`")));
            }
        };
        templates.validate().map_err(|e| Error::format(path, e.to_string()))?;
        Ok(templates)
    }

    /// The templates of a task.
    #[must_use]
    pub fn of(&self, task: Task) -> &[Turn] {
        match task {
            Task::IdFromQuery => &self.id_from_query,
            Task::AttributeFromId => &self.attribute_from_id,
            Task::NextItem => &self.next_item,
        }
    }

    fn of_mut(&mut self, task: Task) -> &mut Vec<Turn> {
        match task {
            Task::IdFromQuery => &mut self.id_from_query,
            Task::AttributeFromId => &mut self.attribute_from_id,
            Task::NextItem => &mut self.next_item,
        }
    }

    /// Checks what can be known without a catalogue.
    ///
    /// # Errors
    /// [`Error::Config`] with the template's place, as `next_item[2].query`: a template that is none; an ID in a query that asks for
    /// it; a query about an ID, or a history, without one; an answer that the query gives away; and if there is no template at all.
    pub fn validate(&self) -> Result<()> {
        let mut count = 0;
        for task in Task::ALL {
            for (at, turn) in self.of(task).iter().enumerate() {
                ParsedTurn::new(task, at, turn)?;
                count += 1;
            }
        }
        if count == 0 {
            let lists = Task::ALL.map(Task::name).join("`, `");
            return Err(Error::config("templates", format!("there are none; put them into the lists `{lists}`")));
        }
        Ok(())
    }

    /// The templates as a commented TOML file, to be edited and given back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::from(HEAD);
        // JSON's escapes are escapes of TOML's basic strings too; one character that JSON leaves as it is, TOML does not.
        let quoted = |text: &str| serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F");
        for (task, note) in Task::ALL.into_iter().zip(NOTES) {
            let _ = write!(out, "\n# {note}\n");
            for turn in self.of(task) {
                let _ = write!(out, "\n[[{}]]\nquery = {}\n", task.name(), quoted(&turn.query));
                if let Some(answer) = &turn.answer {
                    let _ = writeln!(out, "answer = {}", quoted(answer));
                }
            }
        }
        out
    }
}

fn json_problem(path: &Path, e: &serde_json::Error) -> Error {
    let text = e.to_string();
    let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
    Error::format(path, format!("line {}, column {}: {cause}", e.line(), e.column()))
}

fn from_toml(path: &Path, text: &str) -> Result<Templates> {
    toml::from_str(text).map_err(|e| {
        let before = &text[..e.span().map_or(0, |span| span.start.min(text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error::format(path, format!("line {line}, column {column}: {}", e.message().trim().replace('\n', " ")))
    })
}

/// Where templates come from. In files of settings: nothing for the starter set, a path, or the templates themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TemplateSource {
    /// [`Templates::starter`], as far as the catalogue has its fields.
    #[default]
    Starter,
    /// A file for [`Templates::load`].
    File(PathBuf),
    /// These.
    Given(Templates),
}

impl TemplateSource {
    /// The templates, and whether those that the catalogue cannot serve may be passed over.
    pub(super) fn read(&self) -> Result<(Templates, bool)> {
        Ok(match self {
            Self::Starter => (Templates::starter(), true),
            Self::File(path) => (Templates::load(path)?, false),
            Self::Given(templates) => {
                templates.validate()?;
                (templates.clone(), false)
            }
        })
    }
}

impl Serialize for TemplateSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Starter => serializer.serialize_none(),
            Self::File(path) => path.serialize(serializer),
            Self::Given(templates) => templates.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TemplateSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;
        impl<'de> Visitor<'de> for Source {
            type Value = TemplateSource;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file of templates, or lists of templates")
            }
            fn visit_str<E>(self, path: &str) -> Result<TemplateSource, E> {
                Ok(TemplateSource::File(path.into()))
            }
            fn visit_unit<E>(self) -> Result<TemplateSource, E> {
                Ok(TemplateSource::Starter)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TemplateSource, A::Error> {
                Templates::deserialize(MapAccessDeserializer::new(map)).map(TemplateSource::Given)
            }
        }
        deserializer.deserialize_any(Source)
    }
}
