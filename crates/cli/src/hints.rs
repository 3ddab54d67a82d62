//! How the program words what the library says: settings become flags of the verb at work, in `run` keys of its file.

use clap::{ArgMatches, Command};
use sememe::eval::Advice;
use sememe::{Change, Codec, Error, Remedy};
use sememe_run::config::{Config, Recommend, TrainMethod};
use serde_json::Value;
use std::sync::OnceLock;

/// The one verb whose settings stand in a file.
const RUN: &str = "run";

/// Parts of settings whose names go before a field, as in `refine.rounds`; their flags do without.
const SECTIONS: [&str; 7] =
    ["rotation.", "preprocess.", "refine.", "balance.", "co_interaction.", "next_item.", "source."];

/// Fields whose flags have other names: verb, or any if empty; field; flag.
const RENAMED: [(&str, &str, &str); 30] = [
    ("", "event_fields", "event-user"),
    ("", "event_fields.user", "event-user"),
    ("", "event_fields.item", "event-item"),
    ("", "event_fields.time", "event-time"),
    ("embed", "target.table", "into"),
    ("", "codebook_sizes", "codebook-size"),
    ("", "preprocess.pca.keep_variance", "pca"),
    ("", "preprocess.pca.max_dims", "pca-dims"),
    ("", "refine.rounds", "refine"),
    ("", "refine_rounds", "refine"),
    ("", "balance.minimum", "capacity"),
    ("", "balance.maximum", "capacity"),
    ("eval", "co_interaction.k", "co-neighbours"),
    ("export", "special_tokens", "special-token"),
    ("export", "first_id", "first-token-id"),
    ("export", "end", "end-token-id"),
    ("export", "dense_levels", "static-dense"),
    ("embed", "api_key", "api-key-env"),
    ("embed", "name", "model"),
    ("embed", "folder", "model-folder"),
    ("recommend", "api_key", "api-key-env"),
    ("recommend", "name", "model"),
    ("recommend", "folder", "model-folder"),
    ("train", "folder", "run"),
    ("train", "rotation.rounds", "rotations"),
    ("train", "rotation.iterations", "rotation-iterations"),
    ("dialogues", "tasks", "task"),
    ("dialogues", "examples_per_item", "examples"),
    ("dialogues", "html", "keep-html"),
    ("prep", "html", "keep-html"),
];

/// Settings that are no flag of the verb but can be had all the same, or cannot although there is one: verb, field, what is
/// shown; nothing leaves the hint out.
const ELSEWHERE: [(&str, &str, Option<&str>); 6] = [
    ("export", "policy", Some("`sememe resolve --policy extra-level`")),
    ("dialogues", "templates", Some("`--templates` (`--print-templates` prints some to start from)")),
    (RUN, "train.align", Some("`sememe train --align`")),
    (RUN, "embed.rebuild", Some("`--rebuild embed`")),
    // The same command goes on there by itself.
    (RUN, "train.resume", None),
    (RUN, "train.folder", None),
];

/// Fields whose keys in the file of `run` have other names.
const KEYS: [(&str, &str); 3] = [
    ("embed.timeout", "embed.timeout_seconds"),
    ("embed.api_key", "embed.api_key_env"),
    ("tokenize.policy", "assign.policy"),
];

/// The program with all its verbs and flags, as `main` built it.
static PROGRAM: OnceLock<Command> = OnceLock::new();

/// Keeps the program's description, from which flags are known.
pub fn keep(program: Command) {
    // Only `main` does so, once.
    let _ = PROGRAM.set(program);
}

/// The program's description.
pub fn program() -> Command {
    PROGRAM.get().cloned().unwrap_or_default()
}

/// The words of one verb.
pub struct Words<'a> {
    verb: &'a str,
    command: &'a Command,
}

impl Words<'_> {
    /// Those of the verb that was typed, down to its own verb if it has some.
    pub fn of(matches: &ArgMatches) -> Option<Self> {
        let mut words = Self::new(matches.subcommand_name()?)?;
        let (mut here, mut below_top) = (matches.subcommand(), false);
        while let Some((name, below)) = here {
            words.command = if below_top { words.command.find_subcommand(name)? } else { words.command };
            below_top = true;
            here = below.subcommand();
        }
        Some(words)
    }

    fn new(verb: &str) -> Option<Self> {
        let command = PROGRAM.get()?.find_subcommand(verb)?;
        // `config check` is about the same file as `run`.
        let verb = if verb == "config" { RUN } else { command.get_name() };
        Some(Self { verb, command })
    }

    /// An error with flags in place of fields.
    pub fn error(&self, error: &Error) -> String {
        let facts = match error.root() {
            Error::Config { field, problem } => match self.named(field) {
                Some((name, place)) => format!("`{name}`: {place}{problem}"),
                None => error.facts(),
            },
            _ => error.facts(),
        };
        let remedies: Vec<String> = error.remedies().iter().filter_map(|remedy| self.remedy(remedy)).collect();
        if remedies.is_empty() { facts } else { format!("{facts}; {}", Remedy::join(&remedies)) }
    }

    /// A way out, if this verb has it.
    pub fn remedy(&self, remedy: &Remedy) -> Option<String> {
        let field = remedy.field.as_ref();
        if remedy.change == Change::Build {
            return Some(remedy.spelled(&format!("`--features {field}`")));
        }
        if let Some((.., shown)) = ELSEWHERE.iter().find(|(verb, name, _)| *verb == self.verb && *name == field) {
            return shown.map(|shown| remedy.spelled(shown));
        }
        if self.verb == RUN
            && let Some(key) = key(field)
        {
            return Some(remedy.spelled(&in_file(key, &remedy.change)));
        }
        // A phase of a run puts its name before the field.
        let field = if self.verb == RUN { field.rsplit('.').next().unwrap_or(field) } else { field };
        let flag = self.flag(field)?;
        Some(remedy.spelled(&match &remedy.change {
            Change::Set(value) if value != "true" => format!("`--{flag} {value}`"),
            _ => format!("`--{flag}`"),
        }))
    }

    /// What the user typed for a field, and where in it the problem is.
    fn named(&self, field: &str) -> Option<(String, String)> {
        // `codebook_sizes.2`, `templates.next_item[2]`: a place within what was given.
        let (name, place) = match field.split_once('.') {
            Some(("templates", place)) => ("templates", format!("`{place}` ")),
            Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => (name, String::new()),
            _ => (field, String::new()),
        };
        let positional = || {
            let argument = self.command.get_positionals().find(|argument| argument.get_id() == name)?;
            argument.get_value_names()?.first().map(ToString::to_string)
        };
        self.flag(name).map(|flag| format!("--{flag}")).or_else(positional).map(|name| (name, place))
    }

    /// The flag that sets a field.
    fn flag(&self, field: &str) -> Option<String> {
        let there = |flag: &str| self.command.get_arguments().any(|argument| argument.get_long() == Some(flag));
        let renamed = RENAMED.iter().find(|(verb, name, _)| *name == field && (verb.is_empty() || *verb == self.verb));
        let short = SECTIONS.iter().find_map(|section| field.strip_prefix(section));
        let dashed = |name: &str| name.replace(['_', '.'], "-");
        let names = [renamed.map(|(.., flag)| (*flag).to_owned()), Some(dashed(field)), short.map(dashed)];
        names.into_iter().flatten().find(|flag| there(flag))
    }
}

/// What product quantisation lacks of the settings that advice is about.
const NOT_OF_PRODUCT: [&str; 3] = ["refine", "refine.beam", "metric"];

/// Advice in flags of `train`, which is where it is followed.
pub fn advice(advice: &Advice) -> String {
    in_flags(advice, &[])
}

/// Advice about a codec, in flags of `train` that its method takes.
pub fn advice_about(codec: Option<&Codec>) -> fn(&Advice) -> String {
    if codec.is_some_and(|codec| codec.manifest().product) {
        |advice| in_flags(advice, &NOT_OF_PRODUCT)
    } else {
        advice
    }
}

fn in_flags(advice: &Advice, without: &[&str]) -> String {
    let words = Words::new("train");
    let spell =
        |remedy: &Remedy| words.as_ref().and_then(|words| words.remedy(remedy)).unwrap_or_else(|| remedy.to_string());
    advice.text_without(without, &spell)
}

/// Advice in keys of the file of `run`.
pub fn advice_of_run(method: TrainMethod) -> fn(&Advice) -> String {
    match method {
        TrainMethod::RqKmeans | TrainMethod::Rqvae => |advice| in_keys(advice, "rq_kmeans", &[]),
        TrainMethod::Pq | TrainMethod::Opq => |advice| in_keys(advice, "product", &NOT_OF_PRODUCT),
    }
}

fn in_keys(advice: &Advice, section: &str, without: &[&str]) -> String {
    advice.text_without(without, &|remedy| {
        let key = match remedy.field.as_ref() {
            "levels" => "train.levels".to_owned(),
            "codebook_sizes" => "train.codebook_size".to_owned(),
            field => format!("train.{section}.{field}"),
        };
        remedy.spelled(&in_file(&key, &remedy.change))
    })
}

/// The key of a field, if the file has it; sections that may be left out have all.
fn key(field: &str) -> Option<&str> {
    let key = KEYS.iter().find(|(name, _)| *name == field).map_or(field, |(_, key)| key);
    let mut defaults = serde_json::to_value(Config::default()).ok()?;
    // A section that may be left out is; those of its settings that have no value are there all the same.
    defaults["recommend"] = serde_json::to_value(Recommend::default()).ok()?;
    let mut at = &defaults;
    for part in key.split('.') {
        at = match at {
            Value::Null => return Some(key),
            other => other.get(part)?,
        };
    }
    Some(key)
}

/// A key as its file has it, with its section.
fn in_file(key: &str, change: &Change) -> String {
    let (section, name) = key.rsplit_once('.').map_or((None, key), |(section, name)| (Some(section), name));
    let setting = match change {
        Change::Set(value) if value == "true" || value.parse::<f64>().is_ok() => format!("`{name} = {value}`"),
        Change::Set(value) => format!("`{name} = \"{value}\"`"),
        _ => format!("`{name}`"),
    };
    section.map_or(setting.clone(), |section| format!("{setting} in `[{section}]`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn every_renamed_field_names_a_flag_that_its_verb_has() {
        let program = Cli::command();
        for (verb, field, flag) in RENAMED {
            fn has(command: &Command, flag: &str) -> bool {
                command.get_arguments().any(|argument| argument.get_long() == Some(flag))
                    || command.get_subcommands().any(|below| has(below, flag))
            }
            let mut verbs = program.get_subcommands().filter(|command| verb.is_empty() || command.get_name() == verb);
            assert!(verbs.any(|command| has(command, flag)), "`{field}` of `{verb}` has no flag `--{flag}`");
        }
    }

    #[test]
    fn one_error_is_worded_for_each_verb() {
        keep(Cli::command());
        let bad = Error::NonFinite { first: 3, count: 1, rows: 9, place: "a.npy".into() };
        let said = |verb: &str, error: &Error| Words::new(verb).expect("a verb").error(error);
        assert!(said("train", &bad).ends_with("repair them, or drop them with `--on-bad drop`"));
        // It has no such flag.
        assert!(said("resolve", &bad).ends_with("the first is row 3 in `a.npy`"));
        let key = || Error::Data("no key".into()).mend([Remedy::set("on_bad", "drop").to("leave them out")]);
        assert_eq!(said("prep", &key()), "no key; leave them out with `--on-bad drop`");
        assert_eq!(said(RUN, &key().within("prep")), "no key; leave them out with `on_bad = \"drop\"` in `[prep]`");
        let slow = || Error::Endpoint("slow".into()).mend([Remedy::raise("timeout"), Remedy::lower("batch_items")]);
        assert_eq!(said("embed", &slow()), "endpoint: slow; raise `--timeout` or lower `--batch-items`");
        let in_run = said(RUN, &slow().within("embed"));
        assert_eq!(in_run, "endpoint: slow; raise `timeout_seconds` in `[embed]` or lower `batch_items` in `[embed]`");
        assert_eq!(said("train", &Error::config("codebook_sizes.1", "got 0")), "`--codebook-size`: got 0");
        assert_eq!(
            said("dialogues", &Error::config("templates.next_item[2]", "is empty")),
            "`--templates`: `next_item[2]` is empty"
        );
        assert_eq!(said("dialogues", &Error::config("ids", "is empty")), "`IDS`: is empty");
        let built = Error::format("a.parquet", "is not read").mend([Remedy::build("parquet")]);
        assert!(said("show", &built).ends_with("build with `--features parquet`"));
    }
}
