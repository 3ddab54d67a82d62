//! `sememe dialogues`.

mod flags;

pub use flags::Flags;

use crate::failure::usage;
use crate::flags::UnicodeChoice;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, size, time, whole};
use crate::verbs::dialogues::flags::{FormChoice, TaskChoice};
use anyhow::Result;
use sememe_text::dialogues::{Dialogues, DialoguesReport, ExampleFormat, Task, TemplateSource, Templates, compose};
use sememe_text::prep::Unicode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

pub enum Plan {
    PrintTemplates,
    Write { dialogues: Box<Dialogues>, folder: PathBuf, dry_run: bool },
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let (Some(ids), Some(folder)) = (flags.ids, flags.output) else { return Ok(Plan::PrintTemplates) };
    if folder.exists() && !folder.is_dir() {
        return Err(usage(format!("`{}` is not a folder; give one, to hold several files", folder.display())));
    }
    let task = |task: &TaskChoice| match task {
        TaskChoice::IdFromQuery => Task::IdFromQuery,
        TaskChoice::AttributeFromId => Task::AttributeFromId,
        TaskChoice::NextItem => Task::NextItem,
    };
    let defaults = Dialogues::default();
    let dialogues = Dialogues {
        ids,
        source: flags.source,
        table: flags.table,
        query: flags.query,
        key: flags.key,
        on_duplicate: flags.on_duplicate.setting(),
        html: !flags.keep_html,
        unicode: match flags.unicode {
            UnicodeChoice::Nfc => Unicode::Nfc,
            UnicodeChoice::Nfkc => Unicode::Nfkc,
            UnicodeChoice::None => Unicode::None,
        },
        list_separator: flags.list_separator,
        events: flags.events,
        event_fields: flags.event_fields.fields(),
        templates: flags.templates.map_or(TemplateSource::Starter, TemplateSource::File),
        tasks: flags.task.map(|tasks| tasks.iter().map(task).collect()),
        form: match flags.form {
            FormChoice::Messages => ExampleFormat::Messages,
            FormChoice::PromptCompletion => ExampleFormat::PromptCompletion,
            FormChoice::ChatPromptCompletion => ExampleFormat::ChatPromptCompletion,
        },
        system: flags.system,
        query_end: flags.query_end,
        prompt_end: flags.prompt_end.unwrap_or(defaults.prompt_end),
        examples_per_item: flags.examples,
        examples_per_user: flags.examples_per_user,
        max_history: flags.max_history,
        history_separator: flags.history_separator,
        hold_out: flags.hold_out,
        validation: flags.validation,
        seed: flags.seed,
        strict: flags.strict,
        metadata: flags.metadata,
    };
    dialogues.validate()?;
    let inputs = [Some(&dialogues.ids), dialogues.source.as_ref(), dialogues.events.as_ref()];
    for name in ["train.jsonl", "validation.jsonl", "dialogues_summary.json"] {
        let target = folder.join(name).canonicalize().ok();
        if let Some(input) = inputs.iter().flatten().find(|i| target.is_some() && i.canonicalize().ok() == target) {
            return Err(usage(format!("`{}` would be replaced; give another folder", input.display())));
        }
    }
    Ok(Plan::Write { dialogues: Box::new(dialogues), folder, dry_run: flags.dry_run })
}

/// Prints templates, or composes the examples and writes them.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let (dialogues, folder, dry_run) = match plan {
        Plan::Write { dialogues, folder, dry_run } => (dialogues, folder, *dry_run),
        Plan::PrintTemplates => {
            let templates = Templates::starter();
            return if progress.json {
                print_json(&serde_json::to_value(&templates)?)
            } else {
                print(&templates.to_toml())
            };
        }
    };
    let begun = Instant::now();
    let composed = compose(dialogues, progress)?;
    let report = if dry_run { composed.report().clone() } else { composed.save(folder, progress)? };
    notes(&report, dialogues, progress);
    progress.finish();
    let (seconds, samples) = (begun.elapsed().as_secs_f64(), composed.first_lines(3)?);
    if progress.json {
        let samples: Vec<Value> = samples.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
        return print_json(&json!({
            "output": folder.display().to_string(),
            "dry_run": dry_run,
            "report": report,
            "samples": samples,
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let mut out = summary(&report, seconds);
    out.push_str("for example\n");
    samples.iter().for_each(|line| {
        let _ = writeln!(out, "  {line}");
    });
    for file in &report.files {
        let path = folder.join(file.name);
        let _ =
            writeln!(out, "wrote {}: {}, {}", path.display(), count(file.examples, "example"), size(file.size_bytes));
    }
    if dry_run {
        out.push_str("nothing was written: a dry run\n");
    } else {
        let _ = writeln!(out, "wrote {}", folder.join("dialogues_summary.json").display());
    }
    print(&out)
}

fn summary(report: &DialoguesReport, seconds: f64) -> String {
    let examples = report.train.examples + report.validation.examples;
    let users = if report.users > 0 { format!(" and {}", count(report.users, "user")) } else { String::new() };
    let mut out =
        format!("{} of {}{users} in {}\n", count(examples, "example"), count(report.items, "item"), time(seconds));
    for (name, split) in [("training", &report.train), ("validation", &report.validation)] {
        let tasks: Vec<String> =
            split.tasks.iter().map(|(task, n)| format!("{} {}", task.name(), whole(*n as u64))).collect();
        let tasks = if tasks.is_empty() { String::new() } else { format!(" ({})", tasks.join(", ")) };
        let _ = writeln!(out, "{name}: {}{tasks}", count(split.examples, "example"));
    }
    out
}

fn notes(report: &DialoguesReport, dialogues: &Dialogues, progress: &Progress) {
    if let Some(first) = report.first_without_id.first() {
        let many = count(report.without_id, "item");
        progress
            .note(&format!("left out {many} of {} without an ID, the first is `{first}`", whole(report.rows as u64)));
    }
    if report.without_key > 0 {
        progress.note(&format!("left out {} without a key", count(report.without_key, "row")));
    }
    if report.duplicate_keys > 0 {
        progress.note(&format!("left out {} with the key of another", count(report.duplicate_keys, "row")));
    }
    if report.ids_without_item > 0 {
        progress.note(&format!("{} of items that the catalogue does not have", count(report.ids_without_item, "ID")));
    }
    if report.events_left_out > 0 {
        progress.note(&format!("left out {} of items without an ID", count(report.events_left_out, "event")));
    }
    if report.sharing_an_id > 0 {
        let many = count(report.sharing_an_id, "item");
        progress.note(&format!(
            "{many} share an ID with another, so an answer about it may be either's; `assign` or `resolve` gives each its own"
        ));
    }
    let by_task = |counts: &BTreeMap<Task, usize>, what: &str| {
        for (task, n) in counts {
            progress.note(&format!("{} {what} of `{}`, as fields are empty", count(*n, "subject"), task.name()));
        }
    };
    by_task(&report.without_template, "without any template");
    if !report.fewer_examples.is_empty() {
        let most = report.fewer_examples.values().max().copied().unwrap_or_default();
        progress.note(&format!(
            "{} have fewer than {} examples of a task: no template is used twice for an item, give more",
            count(most, "item"),
            dialogues.examples_per_item
        ));
    }
    if dialogues.validation > 0.0 && report.validation.examples == 0 {
        progress.note("no item or user fell to validation, so there is no validation.jsonl");
    }
    if report.train.examples == 0 {
        progress.note("every item and user fell to validation, so there is no train.jsonl");
    }
}
