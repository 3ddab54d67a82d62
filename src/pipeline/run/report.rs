//! Phase report: how good the IDs are, and the page.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::assign::{CHURN, Line, Since};
use super::tokenize::{RECALL, Spelt, spell};
use super::train::CODEC;
use super::{Context, Done, Phase, assign, embed, items, train};
use crate::codec::Codec;
use crate::data::{Codes, RowSource};
use crate::error::{Error, Result};
use crate::eval::{EvalOptions, Evaluation, FactSection, Recall, advice, evaluate};
use crate::io::{OpenOptions, open, read_bytes_capped, write_bytes_atomic};
use crate::pipeline::config::TrainMethod;
use crate::pipeline::page::{RunPage, read_epochs, render};
use crate::progress::check;

const EVALUATION: &str = "report/evaluation.json";
const PAGE: &str = "report/report.html";

/// Reports of other phases take some kilobytes.
const MAX_BYTES: u64 = 64 << 20;

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    Ok(json!({
        "report": context.written.report,
        "name": context.written.name,
        "spelling": context.written.tokenize.spelling(),
        "policy": context.written.assign.policy,
    }))
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    let mut out = vec![
        ("the items", context.at(super::prep::ITEMS)),
        ("the vectors", context.at(embed::ROWS)),
        ("the codec", context.at(CODEC)),
        ("the IDs", context.at(assign::IDS)),
    ];
    // What not every run has.
    for (name, path) in [("the churn", CHURN), ("the recall report", RECALL), ("the epochs", train::EPOCHS)] {
        let path = context.at(path);
        if path.exists() {
            out.push((name, path));
        }
    }
    out
}

/// A report of another phase, if that phase wrote one.
fn optional(context: &Context<'_>, path: &str) -> Result<Option<Value>> {
    let path = context.at(path);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_bytes_capped(&path, MAX_BYTES)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::format(&path, e.to_string()))
}

fn table(lines: &[Line], levels: usize, of: impl Fn(&Line) -> &[u32]) -> Result<Codes> {
    Codes::from_vec(lines.len(), levels, lines.iter().flat_map(|line| of(line).to_vec()).collect())
}

pub(super) fn run(context: &mut Context<'_>) -> Result<Done> {
    let codec = Codec::load(context.at(CODEC))?;
    let sizes = codec.codebook_sizes();
    let items = items::read(context)?;
    let lines = assign::read(context)?;
    let rows = open(context.at(embed::ROWS), &OpenOptions::default())?;
    // What the codec gives, and what the IDs have become of it.
    let encoded = table(&lines, sizes.len(), |line| line.encoded.as_ref().unwrap_or(&line.codes))?;
    let given = table(&lines, sizes.len(), |line| &line.codes)?;
    let before = measure(context, &codec, rows.as_ref(), &encoded)?;
    let after = if given == encoded { None } else { Some(measure(context, &codec, rows.as_ref(), &given)?) };
    let published = after.as_ref().unwrap_or(&before);
    context.room(Phase::Report)?;
    let text = serde_json::to_string_pretty(published).map_err(|e| Error::Data(e.to_string()))?;
    write_bytes_atomic(context.at(EVALUATION), format!("{text}\n").as_bytes())?;
    let mut outputs = vec![PathBuf::from(EVALUATION)];
    let notes = advice(&before);
    if context.config.report.page {
        let Spelt { format, codes: ids, .. } = spell(context, &sizes, &lines)?;
        let mut page = RunPage::new(&context.config.name, &items.keys, (&encoded, &sizes), (&ids, &format), &before);
        page.titles = &items.titles;
        page.notes = notes.clone();
        page.sections = sections(context, &codec);
        page.training = Some(&codec.manifest().training);
        page.recall = optional(context, RECALL)?.as_ref().map(recall);
        let since: Option<Since> = optional(context, CHURN)?
            .map(serde_json::from_value)
            .transpose()
            .map_err(|e| Error::format(context.at(CHURN), e.to_string()))?;
        page.since = since.as_ref().map(|since| crate::eval::Since {
            name: "the run before",
            churn: &since.churn,
            added: since.added,
            gone: since.gone,
        });
        let network = context.config.train.method == TrainMethod::Rqvae && context.at(train::EPOCHS).exists();
        let epochs = if network { read_epochs(context.at(train::EPOCHS))? } else { Vec::new() };
        page.epochs = &epochs;
        write_bytes_atomic(context.at(PAGE), render(&page)?.as_bytes())?;
        outputs.push(PAGE.into());
    }
    let r2 = published.reconstruction.map(|full| full.r2);
    let told = format!(
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
    Ok(Done { outputs, facts, told })
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

/// The figures of `recall_report.json`.
fn recall(report: &Value) -> Recall {
    let settings = &report["settings"];
    let k = settings["k"].as_u64().unwrap_or(0) as usize;
    let measures = &report["measures"];
    let number = |name: String| measures[name.as_str()].as_f64();
    let told = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let facts = settings.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    Recall {
        k,
        recall: number(format!("recall_at_{k}")).unwrap_or(0.0),
        ndcg: number(format!("ndcg_at_{k}")),
        by_chance: number("recall_by_chance".into()),
        items: measures["items"].as_u64().unwrap_or(0) as usize,
        facts: facts.map(|(name, value)| (name.clone(), told(value))).collect(),
    }
}

/// What went in: sources, counts, settings, versions, hashes.
fn sections(context: &Context<'_>, codec: &Codec) -> Vec<FactSection> {
    let facts = |phase| context.state.phases.get(&phase).map_or(&Value::Null, |record| &record.facts);
    let input = |phase, name: &str| {
        let record = context.state.phases.get(&phase);
        record.and_then(|record| record.inputs.get(name)).map_or_else(String::new, |artifact| artifact.sha256.clone())
    };
    let row = |name: &str, value: String| (name.to_owned(), value);
    let (prepared, embedded, assigned) = (&facts(Phase::Prep)["prepared"], facts(Phase::Embed), facts(Phase::Assign));
    let written = context.written;
    let count = |value: &Value| value.as_u64().unwrap_or(0).to_string();
    let mut embed = vec![row("Values a vector", codec.dims().to_string())];
    match (&written.embed.vectors, &written.embed.model, &written.embed.model_folder) {
        (Some(path), ..) => embed.push(row("Vectors", path.display().to_string())),
        (_, Some(model), _) => embed.push(row("Model", model.clone())),
        (_, _, Some(folder)) => embed.push(row("Model", folder.display().to_string())),
        _ => {}
    }
    embed.push(row("Asked for", count(&embedded["asked"])));
    // The folder of a run is no part of what it found.
    let store = assigned["store"].as_str().unwrap_or_default();
    let file = std::path::Path::new(store).file_name().filter(|_| !store.contains("://"));
    let store = file.map_or_else(|| store.to_owned(), |name| name.to_string_lossy().into_owned());
    let sizes: Vec<String> = codec.codebook_sizes().iter().map(ToString::to_string).collect();
    let manifest = codec.manifest();
    vec![
        FactSection {
            title: "Items".into(),
            facts: vec![
                row("Source", written.prep.source.display().to_string()),
                row("Rows", count(&prepared["rows"])),
                row("Items", count(&prepared["items"])),
                row("With another item's text", count(&prepared["duplicates"])),
                row("Text", written.prep.template.clone()),
                row("SHA-256", input(Phase::Prep, "the source")),
            ],
        },
        FactSection { title: "Vectors".into(), facts: embed },
        FactSection {
            title: "Codec".into(),
            facts: vec![
                row("Method", manifest.method.clone()),
                row("Codewords a level", sizes.join(", ")),
                row("Trained on rows", manifest.training.rows.to_string()),
                row("Seed", manifest.seed.to_string()),
                row("Hash", codec.content_hash().to_owned()),
            ],
        },
        FactSection {
            title: "IDs".into(),
            facts: vec![
                row("Policy", assigned["policy"].as_str().unwrap_or_default().to_owned()),
                row("Items on the most crowded codes", count(&assigned["cost"]["largest_before"])),
                row("Store", store),
            ],
        },
        FactSection {
            title: "Program".into(),
            facts: vec![row("Sememe", env!("CARGO_PKG_VERSION").into()), row("Name", context.config.name.clone())],
        },
    ]
}
