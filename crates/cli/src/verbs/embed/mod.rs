//! `sememe embed`.

mod flags;

pub use flags::Flags;

use crate::embedder::{EmbedModel, embed_model};
use crate::failure::usage;
use crate::output::{output, print, print_json};
use crate::progress::Progress;
use crate::text::{count, time, whole};
use anyhow::Result;
use sememe_text::embed::{EmbedOptions, EmbedReport, TextSource, VectorTable, embed, export};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub struct Plan {
    source: TextSource,
    target: VectorTable,
    model: EmbedModel,
    options: EmbedOptions,
    rows: Option<PathBuf>,
    keys: Option<PathBuf>,
}

/// Checks everything that can be checked before a text is read.
pub fn plan(flags: Flags) -> Result<Plan> {
    let (items, kept) = (flags.items, flags.kept);
    let patience = Duration::from_secs(kept.patience);
    let base = if items.animind { TextSource::animind(&flags.input) } else { TextSource::new(&flags.input) };
    let source = TextSource {
        table: items.table.or(base.table),
        key: items.key.unwrap_or(base.key),
        text: items.text.unwrap_or(base.text),
        prepared_at: items.prepared_at.unwrap_or(base.prepared_at),
        limit: items.limit,
        skip_empty: items.skip_empty,
        on_duplicate: items.on_duplicate.setting(),
        patience,
        path: base.path,
    };
    if items.limit == Some(0) {
        return Err(usage("`--limit`: expected at least 1, got 0"));
    }
    let path = match kept.output {
        Some(path) => path,
        None if source.is_database()? => flags.input.clone(),
        None => {
            let shown = flags.input.display();
            return Err(usage(format!("`{shown}` is no SQLite file; name one to keep vectors in with `--output`")));
        }
    };
    let target = if items.animind { VectorTable::animind(path) } else { VectorTable::new(path) };
    let target = VectorTable {
        table: kept.into.unwrap_or(target.table),
        key: kept.into_key.unwrap_or_else(|| source.key.clone()),
        patience,
        path: target.path,
    };
    if let Some(rows) = &kept.rows {
        output(rows, &["npy", "safetensors"], "vectors are written as", &[&flags.input, &target.path], true)?;
    }
    if let (Some(keys), Some(rows)) = (&kept.keys, &kept.rows) {
        output(keys, &["jsonl"], "keys are written as", &[&flags.input, &target.path, rows], true)?;
    }
    let options = EmbedOptions {
        batch_items: flags.batch_items,
        // A model here takes all threads for one batch; a second one keeps them busy while the first is kept.
        concurrency: flags.endpoint.concurrency.unwrap_or(if flags.local.model_folder.is_some() { 2 } else { 4 }),
        normalize: flags.normalize,
        prefix: flags.prefix,
        rebuild: flags.rebuild,
        prune: flags.prune,
        dry_run: flags.dry_run,
        skip_failed: flags.skip_failed,
    };
    options.validate()?;
    let Some(model) = embed_model(flags.model, flags.dimensions, flags.endpoint, flags.local)? else {
        return Err(usage(
            "say where vectors come from: a server with `--url` and `--model`, or a model with `--model-folder`",
        ));
    };
    Ok(Plan { source, target, model, options, rows: kept.rows, keys: kept.keys })
}

/// Embeds what is missing, writes rows and keys, and says what was done.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let texts = plan.source.read()?;
    if texts.skipped() > 0 {
        progress.note(&format!("{} without a text were left out", count(texts.skipped() as u64, "item")));
    }
    let embedder = plan.model.embedder();
    let report = embed(&texts, embedder, &plan.target, &plan.options, progress)?;
    if let Some(note) = embedder.note() {
        progress.note(&note);
    }
    if texts.duplicates() > 0 {
        progress.note(&format!("{} with the key of another were left out", count(texts.duplicates() as u64, "item")));
    }
    if let Some(first) = report.failed.first() {
        let (failed, key, problem) = (count(report.failed.len() as u64, "item"), &first.key, &first.problem);
        progress.note(&format!("{failed} could not be embedded and have no vector, the first is `{key}`: {problem}"));
    }
    if report.adopted > 0 {
        progress.note(&format!(
            "{} that another program made were taken as they are, going by model and time of preparation",
            count(report.adopted as u64, "vector")
        ));
    }
    if report.gone > report.removed {
        let gone = count(report.gone as u64, "vector");
        progress.note(&format!("{gone} in `{}` have no item any more; `--prune` takes them out", plan.target.table));
    }
    let (mut rewritten, mut zero_vectors) = (false, report.zero_vectors);
    let mut vectors = report.asked.saturating_sub(report.failed.len());
    let skipped = texts.skipped();
    if let (Some(rows), false) = (&plan.rows, plan.options.dry_run) {
        let failed: Vec<&str> = report.failed.iter().map(|failed| failed.key.as_str()).collect();
        let texts = texts.without(&failed);
        let exported = export(&texts, &plan.target, rows, plan.keys.as_deref())?;
        (rewritten, zero_vectors, vectors) = (exported.written, exported.zero_vectors, texts.keys().len());
    }
    if zero_vectors > 0 {
        let of = count(vectors.max(zero_vectors) as u64, "vector");
        progress
            .note(&format!("{} of {of} are all zero, which says nothing of their items", whole(zero_vectors as u64)));
    }
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if progress.json {
        let mut value = serde_json::to_value(&report)?;
        if let Value::Object(map) = &mut value {
            map.insert("database".into(), json!(plan.target.path.display().to_string()));
            map.insert("table".into(), json!(plan.target.table));
            map.insert("model".into(), json!(embedder.model()));
            let (place, at) = plan.model.place();
            map.insert(place.into(), json!(at));
            map.insert("rows".into(), json!(plan.rows.as_ref().map(|p| p.display().to_string())));
            map.insert("rows_written".into(), json!(rewritten));
            map.insert("skipped".into(), json!(skipped));
            map.insert("dry_run".into(), json!(plan.options.dry_run));
            map.insert("seconds".into(), json!(seconds));
            map.insert("notes".into(), json!(progress.notes()));
        }
        return print_json(&value);
    }
    if progress.quiet {
        return Ok(());
    }
    print(&summary(plan, &report, rewritten, seconds))
}

fn summary(plan: &Plan, report: &EmbedReport, rewritten: bool, seconds: f64) -> String {
    let mut line = format!("{}: {} up to date", count(report.items as u64, "item"), whole(report.kept as u64));
    if report.copied > 0 {
        line.push_str(&format!(", {} with the text of another", whole(report.copied as u64)));
    }
    let asked = count(report.asked as u64, "text");
    let calls = count(report.calls as u64, if plan.model.place().0 == "url" { "request" } else { "batch" });
    if plan.options.dry_run {
        line.push_str(&format!("; {asked} would be asked for in {calls}, nothing was written\n"));
        return line;
    }
    if report.asked > 0 {
        line.push_str(&format!(", {asked} embedded in {calls}"));
    }
    if report.removed > 0 {
        line.push_str(&format!(", {} removed", whole(report.removed as u64)));
    }
    line.push_str(&format!(
        "; {} values each, in `{}` of {}; {}\n",
        whole(report.dims as u64),
        plan.target.table,
        plan.target.path.display(),
        time(seconds)
    ));
    if let Some(rows) = &plan.rows {
        line.push_str(&format!("{} {}\n", if rewritten { "wrote" } else { "unchanged:" }, rows.display()));
    }
    line
}
