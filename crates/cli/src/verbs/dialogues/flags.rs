//! Flags of `sememe dialogues`.

use crate::flags::{EventFlags, OnDuplicateChoice, UnicodeChoice};
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  sememe dialogues semantic_ids.jsonl -o dialogues
  sememe dialogues bundle/items.jsonl --source shop.db --table products --key sku --templates shop.toml -o dialogues
  sememe dialogues semantic_ids.jsonl --source items.jsonl --events events.jsonl --query-end '[REC]' --strict -o dialogues
  sememe dialogues --print-templates > shop.toml

In a template, {field} stands for a field of the catalogue and {semantic_id} for the item's ID; in templates for the next item,
{history} stands for the IDs before it and {history.field} for their fields.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// IDs, .jsonl or .csv: `id` (the item's key) and `semantic_id`; or what `format` or `export` (items.jsonl) writes
    #[arg(value_name = "IDS", value_hint = ValueHint::FilePath, required_unless_present = "print_templates")]
    pub ids: Option<PathBuf>,
    /// Folder to write to, made if it does not exist: train.jsonl, validation.jsonl, dialogues_summary.json
    #[arg(long, short, value_name = "FOLDER", value_hint = ValueHint::DirPath, required_unless_present = "print_templates")]
    pub output: Option<PathBuf>,
    /// The catalogue: an SQLite database, .jsonl, .jsonl.gz, .csv, .tsv or .parquet [default: IDS]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Items")]
    pub source: Option<PathBuf>,
    /// Field or column of the catalogue with each item's key
    #[arg(long, value_name = "NAME", default_value = "id", requires = "source", help_heading = "Items")]
    pub key: String,
    /// Table or view of an SQLite database [default: its only one]
    #[arg(long, value_name = "NAME", requires = "source", conflicts_with = "query", help_heading = "Items")]
    pub table: Option<String>,
    /// SELECT statement to read instead of a table
    #[arg(long, value_name = "SQL", requires = "source", help_heading = "Items")]
    pub query: Option<String>,
    #[arg(long, value_enum, default_value = "refuse", value_name = "WHAT", hide_possible_values = true)]
    #[arg(
        help = "What to do with several rows of one key: refuse the catalogue, or keep the first or the last",
        help_heading = "Items"
    )]
    pub on_duplicate: OnDuplicateChoice,
    /// Leave HTML in fields as it is; otherwise tags are removed and entities resolved
    #[arg(long, help_heading = "Items")]
    pub keep_html: bool,
    #[arg(long, value_enum, default_value = "nfc", value_name = "FORM", hide_possible_values = true)]
    #[arg(help = "Unicode normal form of fields: nfc, nfkc or none", help_heading = "Items")]
    pub unicode: UnicodeChoice,
    /// Text between the values of a field that is a list
    #[arg(long, value_name = "TEXT", default_value = ", ", help_heading = "Items")]
    pub list_separator: String,
    /// Fail if items have no ID, with the first and their number; otherwise they are left out and counted
    #[arg(long, help_heading = "Items")]
    pub strict: bool,
    /// Events of users: .jsonl, .csv, .tsv or .parquet with user, item (its key) and optionally time; or a list `items` for each user
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Histories")]
    pub events: Option<PathBuf>,
    /// Use at most this many last items of a history
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Histories")]
    pub max_history: usize,
    /// Text between the items of a history
    #[arg(long, value_name = "TEXT", default_value = ", ", allow_hyphen_values = true, help_heading = "Histories")]
    pub history_separator: String,
    /// Examples per user, at random positions [default: one for every event but the first]
    #[arg(long, value_name = "N", requires = "events", help_heading = "Histories")]
    pub examples_per_user: Option<usize>,
    /// Leave out the last N events of every user, for testing after training
    #[arg(long, value_name = "N", default_value_t = 0, requires = "events", help_heading = "Histories")]
    pub hold_out: usize,
    /// Templates, .toml or .json [default: the starter set, over the fields `title` and `text`]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Examples")]
    pub templates: Option<PathBuf>,
    /// Print the starter set as TOML (with --json as JSON), for you to edit, and stop
    #[arg(long, help_heading = "Examples", conflicts_with_all = ["ids", "output"])]
    pub print_templates: bool,
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TASK", hide_possible_values = true)]
    #[arg(
        help = "Tasks, separated by commas: id-from-query, attribute-from-id, next-item [default: all that have templates and \
                  inputs]",
        help_heading = "Examples"
    )]
    pub task: Option<Vec<TaskChoice>>,
    /// Examples per item for each task about single items, each from a different template
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Examples")]
    pub examples: usize,
    #[arg(long, value_enum, default_value = "messages", value_name = "FORM", hide_possible_values = true)]
    #[arg(
        help = "Form of a line: messages (chats), prompt-completion (plain text), chat-prompt-completion (both parts are chats)",
        help_heading = "Examples"
    )]
    pub form: FormChoice,
    /// System message at the start of every example
    #[arg(long, value_name = "TEXT", help_heading = "Examples")]
    pub system: Option<String>,
    /// Text at the end of queries that ask for an ID, such as [REC]
    #[arg(long, value_name = "TEXT", help_heading = "Examples")]
    pub query_end: Option<String>,
    /// Text at the end of other prompts of `--form prompt-completion` [default: a line break]
    #[arg(long, value_name = "TEXT", help_heading = "Examples")]
    pub prompt_end: Option<String>,
    /// Add the task and the key of the item or user to every line
    #[arg(long, help_heading = "Examples")]
    pub metadata: bool,
    /// Share of items and users for validation, drawn by a hash of their keys, so that new items move nobody
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, help_heading = "Examples")]
    pub validation: f64,
    /// Seed for templates, positions and order; the split does not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Examples")]
    pub seed: u64,
    #[command(flatten)]
    pub event_fields: EventFlags,
    /// Read everything, show the first examples, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskChoice {
    IdFromQuery,
    AttributeFromId,
    NextItem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormChoice {
    Messages,
    PromptCompletion,
    ChatPromptCompletion,
}
