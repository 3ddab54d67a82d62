//! Phase report: how good the IDs are, and the page.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::assign_ids::{AssignedId, CHURN, RunChanges};
use super::tokenize::{RECALL, SpelledIds, spell_ids};
use super::train::CODEC;
use super::{Context, Phase, PhaseOutput, assign_ids, embed, items, prep, recommend, train};
use crate::config::TrainMethod;
use crate::page::{RunPage, read_epochs, render};
use sememe::codec::Codec;
use sememe::data::{Codes, RowSource};
use sememe::eval::{EvalOptions, Evaluation, FactSection, RecallFigures, advice, evaluate};
use sememe::io::{OpenOptions, is_there, open, read_if_there, write_bytes_atomic};
use sememe::progress::check;
use sememe::{Error, Result};

const EVALUATION: &str = "report/evaluation.json";
const PAGE: &str = "report/report.html";

/// Reports of other phases take some kilobytes.
const MAX_BYTES: u64 = 64 << 20;

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    let written = context.written;
    // What the page says of the phases before, beside what their files say.
    Ok(json!({
        "report": written.report,
        "name": written.name,
        "prep": prep::settings(context)?,
        "embed": embed::settings(context)?,
        "policy": written.assign.policy,
        "spelling": written.tokenize.spelling(),
    }))
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    let mut out = vec![
        ("the items", context.at(prep::ITEMS)),
        ("the vectors", context.at(embed::ROWS)),
        ("the codec", context.at(CODEC)),
        ("the IDs", context.at(assign_ids::IDS)),
    ];
    // What not every run has.
    let recommender = context.config.recommend.as_ref().map(|_| ("the recommender", recommend::REPORT));
    let others = [("the churn", CHURN), ("the recall report", RECALL), ("the epochs", train::EPOCHS)];
    for (name, path) in others.into_iter().chain(recommender) {
        let path = context.at(path);
        // One that the system cannot look for is told of by whoever reads it.
        if !matches!(is_there(&path), Ok(false)) {
            out.push((name, path));
        }
    }
    out
}

/// A report of another phase, if that phase wrote one.
fn optional(context: &Context<'_>, path: &str) -> Result<Option<Value>> {
    let path = context.at(path);
    let Some(bytes) = read_if_there(&path, MAX_BYTES)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::format(&path, e.to_string()))
}

fn table(lines: &[AssignedId], levels: usize, of: impl Fn(&AssignedId) -> &[u32]) -> Result<Codes> {
    Codes::from_vec(lines.len(), levels, lines.iter().flat_map(|line| of(line).to_vec()).collect())
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    let codec = Codec::load(context.at(CODEC))?;
    let sizes = codec.codebook_sizes();
    let items = items::with_vectors(context)?;
    let lines = assign_ids::read(context)?;
    let rows = open(context.at(embed::ROWS), &OpenOptions::default())?;
    // What the codec gives, and what the IDs have become of it.
    let encoded = table(&lines, sizes.len(), |line| line.encoded.as_ref().unwrap_or(&line.codes))?;
    let given = table(&lines, sizes.len(), |line| &line.codes)?;
    let before = measure(context, &codec, rows.as_ref(), &encoded)?;
    let after = if given == encoded { None } else { Some(measure(context, &codec, rows.as_ref(), &given)?) };
    let published = after.as_ref().unwrap_or(&before);
    context.phase_folder(Phase::Report)?;
    let text = serde_json::to_string_pretty(published).map_err(|e| Error::Data(e.to_string()))?;
    write_bytes_atomic(context.at(EVALUATION), format!("{text}\n").as_bytes())?;
    let mut outputs = vec![PathBuf::from(EVALUATION)];
    let notes: Vec<String> = advice(&before).iter().map(context.advice_text).collect();
    if context.config.report.page {
        let SpelledIds { format, codes: ids, .. } = spell_ids(context, &sizes, &lines)?;
        let mut page = RunPage::new(&context.config.name, &items.keys, (&encoded, &sizes), (&ids, &format), &before);
        page.titles = &items.titles;
        page.advice_text = context.advice_text;
        page.sections = went_in(context, &codec, rows.dims())?;
        if context.config.recommend.is_some() {
            page.sections.extend(optional(context, recommend::REPORT)?.iter().flat_map(recommender));
        }
        page.training = Some(&codec.manifest().training);
        page.recall = optional(context, RECALL)?.as_ref().map(recall);
        let since: Option<RunChanges> = optional(context, CHURN)?
            .map(serde_json::from_value)
            .transpose()
            .map_err(|e| Error::format(context.at(CHURN), e.to_string()))?;
        page.since = since.as_ref().map(|since| sememe::eval::PreviousRun {
            name: "the run before",
            churn: &since.churn,
            added: since.added,
            gone: since.gone,
        });
        let network = context.config.train.method == TrainMethod::Rqvae && is_there(context.at(train::EPOCHS))?;
        let epochs = if network { read_epochs(context.at(train::EPOCHS))? } else { Vec::new() };
        page.epochs = &epochs;
        write_bytes_atomic(context.at(PAGE), render(&page)?.as_bytes())?;
        outputs.push(PAGE.into());
    }
    let r2 = published.reconstruction.map(|full| full.r2);
    let summary = format!(
        "R² {:.4}, collision rate {:.4}, {} distinct codes{}",
        r2.unwrap_or(f64::NAN),
        published.collision_rate,
        published.unique_ids,
        if context.config.report.page { format!("; page {}", context.at(PAGE).display()) } else { String::new() }
    );
    let facts = json!({
        "r2": r2,
        "collision_rate": published.collision_rate,
        "unique_ids": published.unique_ids,
        "notes": notes,
    });
    Ok(PhaseOutput { outputs, facts, summary })
}

fn measure(context: &Context<'_>, codec: &Codec, rows: &dyn RowSource, codes: &Codes) -> Result<Evaluation> {
    let options = EvalOptions {
        queries: context.config.report.queries,
        seed: context.config.seed,
        shared_codebook: codec.manifest().shared_codebook,
        ..EvalOptions::default()
    };
    let decode = |codes: &Codes| {
        check(context.observer)?;
        codec.decode(codes)
    };
    evaluate(rows, codes, &codec.codebook_sizes(), &decode, &options)
}

/// The figures of the recommender and of what it is measured beside.
fn recommender(report: &Value) -> Vec<FactSection> {
    let line = |of: &Value| {
        let figure = |name: &str| of[name].as_f64().map_or_else(|| "–".into(), |value| format!("{value:.4}"));
        let names = ["recall_at_5", "recall_at_10", "ndcg_at_5", "ndcg_at_10", "coverage_at_10"];
        names.map(figure).join(" / ")
    };
    let text = |name: &str| (name.to_owned(), report[name].to_string());
    let mut facts = ["items", "users", "events", "unknown_events", "parameters"].map(text).to_vec();
    if let Some(best) = report["best"].as_object() {
        facts.extend(best.get("epoch").map(|epoch| ("best epoch".to_owned(), epoch.to_string())));
        let reached = best.get("validation_ndcg_at_10").and_then(Value::as_f64);
        facts.extend(reached.map(|reached| ("validation NDCG@10".to_owned(), format!("{reached:.4}"))));
    }
    let mut out = vec![FactSection { title: "Recommender".into(), facts }];
    if report["test"].is_object() {
        let mut facts = vec![("recommender".to_owned(), line(&report["test"]))];
        let baselines = report["baselines"].as_array().into_iter().flatten();
        facts.extend(baselines.map(|b| (b["by"].as_str().unwrap_or_default().replace('_', "-"), line(b))));
        let title = "Last item of each user, among all items: R@5 / R@10 / NDCG@5 / NDCG@10 / coverage";
        out.push(FactSection { title: title.into(), facts });
    }
    out
}

/// The figures of `recall_report.json`.
fn recall(report: &Value) -> RecallFigures {
    let settings = &report["settings"];
    let k = settings["k"].as_u64().unwrap_or(0) as usize;
    let measures = &report["measures"];
    let number = |name: String| measures[name.as_str()].as_f64();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let facts = settings.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    RecallFigures {
        k,
        recall: number(format!("recall_at_{k}")).unwrap_or(0.0),
        ndcg: number(format!("ndcg_at_{k}")),
        by_chance: number("recall_by_chance".into()),
        items: measures["items"].as_u64().unwrap_or(0) as usize,
        facts: facts.map(|(name, value)| (name.clone(), text(value))).collect(),
    }
}

/// Sources, settings, versions and hashes; nothing that differs between two runs of the same data, such as times.
fn went_in(context: &mut Context<'_>, codec: &Codec, dims: usize) -> Result<Vec<FactSection>> {
    let of = |title: &str, values: &[(&str, Value)]| {
        let mut facts = Vec::new();
        values.iter().for_each(|(name, value)| flat(name, value, &mut facts));
        FactSection { title: title.into(), facts }
    };
    let manifest = codec.manifest();
    let mut out = vec![
        of("Items and texts", &[("", prep::settings(context)?)]),
        of("Vectors", &[("values", json!(dims)), ("", embed::settings(context)?)]),
        of(
            "Codec",
            &[
                ("method", json!(manifest.method)),
                ("codebook_sizes", json!(manifest.codebook_sizes)),
                ("seed", json!(manifest.seed)),
                ("", manifest.config.clone()),
            ],
        ),
    ];
    let assigned = context.state.phases.get(&Phase::Assign);
    let cost = assigned.and_then(|record| record.facts.get("cost")).cloned().unwrap_or(Value::Null);
    let spelling = serde_json::to_value(context.written.tokenize.spelling()).map_err(|e| Error::Data(e.to_string()))?;
    out.push(of("IDs", &[("policy", json!(context.written.assign.policy)), ("", cost), ("", spelling)]));
    let versions = [
        ("sememe", json!(env!("CARGO_PKG_VERSION"))),
        ("codec trained by sememe", json!(manifest.sememe_version)),
        ("codec format", json!(manifest.format_version)),
        ("codec", json!(codec.content_hash())),
    ];
    out.push(of("Versions", &versions));
    let files = context.hashed(Phase::Report)?;
    let hashes = files.into_iter().map(|(name, artifact)| (name, artifact.sha256)).collect();
    out.push(FactSection { title: "SHA-256 of".into(), facts: hashes });
    Ok(out)
}

/// Values by their path, lists of plain ones in a line; what is not set is left out, and what stands in two places is told once.
fn flat(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let under = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = match value {
        Value::Null => return,
        Value::Object(map) => return map.iter().for_each(|(key, value)| flat(&under(key), value, out)),
        Value::Array(list) if list.iter().any(|value| value.is_object() || value.is_array()) => {
            return list.iter().enumerate().for_each(|(i, value)| flat(&under(&(i + 1).to_string()), value, out));
        }
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => plain(other),
    };
    if !text.is_empty() && out.iter().all(|(known, _)| known != name) {
        out.push((name.to_owned(), text));
    }
}
