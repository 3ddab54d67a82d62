//! Phase report: how good the IDs are, and the page.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::train::{CODEC, METRICS};
use super::{Context, Done, Phase, assign, embed, items, prep, tokenize};
use crate::codec::Codec;
use crate::data::Codes;
use crate::error::{Error, Result};
use crate::eval::{Churn, EvalOptions, FactSection, Since, advice, evaluate};
use crate::io::{OpenOptions, open, read_bytes_capped, write_bytes_atomic};
use crate::pipeline::config::TrainMethod;
use crate::pipeline::page::{RunPage, read_epochs, render};
use crate::progress::check;

const EVALUATION: &str = "report/evaluation.json";
const PAGE: &str = "report/report.html";

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
        ("the IDs", context.at(assign::IDS)),
    ];
    let churn = context.at(assign::CHURN);
    if churn.exists() {
        out.push(("what changed", churn));
    }
    out
}

pub(super) fn run(context: &mut Context<'_>) -> Result<Done> {
    let codec = Codec::load(context.at(CODEC))?;
    let sizes = codec.codebook_sizes();
    let items = items::read(context)?;
    let lines = assign::read(context)?;
    let rows = open(context.at(embed::ROWS), &OpenOptions::default())?;
    let codes =
        Codes::from_vec(lines.len(), sizes.len(), lines.iter().flat_map(|l| l.codes.iter().copied()).collect())?;
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
    let evaluation = evaluate(rows.as_ref(), &codes, &sizes, &decode, &options)?;
    context.room(Phase::Report)?;
    let text = serde_json::to_string_pretty(&evaluation).map_err(|e| Error::Data(e.to_string()))?;
    write_bytes_atomic(context.at(EVALUATION), format!("{text}\n").as_bytes())?;
    let mut outputs = vec![PathBuf::from(EVALUATION)];
    let notes = advice(&evaluation);
    if context.config.report.page {
        let spelt = tokenize::spell(context, &sizes, &lines)?;
        let (before, after) = ((&codes, sizes.as_slice()), (&spelt.codes, &spelt.format));
        let mut page = RunPage::new(&context.config.name, &items.keys, before, after, &evaluation);
        page.titles = &items.titles;
        page.sections = went_in(context, &codec, rows.dims())?;
        page.training = Some(&codec.manifest().training);
        let epochs = match context.config.train.method {
            TrainMethod::Rqvae => read_epochs(context.at(METRICS))?,
            TrainMethod::RqKmeans => Vec::new(),
        };
        page.epochs = &epochs;
        let churn = churn(context)?;
        page.since = churn.as_ref().map(|(churn, gone)| Since {
            name: "the run before",
            churn,
            added: lines.len() - churn.rows,
            gone: *gone,
        });
        write_bytes_atomic(context.at(PAGE), render(&page)?.as_bytes())?;
        outputs.push(PAGE.into());
    }
    let r2 = evaluation.reconstruction.map(|full| full.r2);
    let told = format!(
        "R² {:.4}, collision rate {:.4}, {} distinct codes{}",
        r2.unwrap_or(f64::NAN),
        evaluation.collision_rate,
        evaluation.unique_ids,
        if context.config.report.page { format!("; page {}", context.at(PAGE).display()) } else { String::new() }
    );
    let facts = json!({
        "r2": r2,
        "collision_rate": evaluation.collision_rate,
        "unique_ids": evaluation.unique_ids,
        "notes": notes,
    });
    Ok(Done { outputs, facts, told })
}

/// What changed against the run before, and how many items only that one had.
fn churn(context: &Context<'_>) -> Result<Option<(Churn, usize)>> {
    let path = context.at(assign::CHURN);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_bytes_capped(&path, 1 << 20)?;
    let churn: Churn = serde_json::from_slice(&bytes).map_err(|e| Error::format(&path, e.to_string()))?;
    let before = assign::read_lines(&context.at(assign::PREVIOUS))?.len();
    Ok(Some((churn.clone(), before.saturating_sub(churn.rows))))
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
    let told = files.into_iter().map(|(name, artifact)| (name, artifact.sha256)).collect();
    out.push(FactSection { title: "SHA-256 of".into(), facts: told });
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
