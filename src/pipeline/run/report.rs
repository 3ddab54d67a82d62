//! Phase report: how good the IDs are, and the page.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::train::CODEC;
use super::{Context, Done, Phase, assign, embed, items};
use crate::codec::Codec;
use crate::data::Codes;
use crate::error::{Error, Result};
use crate::eval::{EvalOptions, ReportInput, advice, evaluate, render_html};
use crate::io::{OpenOptions, open, write_bytes_atomic};
use crate::progress::check;

const EVALUATION: &str = "report/evaluation.json";
const PAGE: &str = "report/report.html";

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    Ok(json!({ "report": context.written.report, "name": context.written.name }))
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("the items", context.at(super::prep::ITEMS)),
        ("the vectors", context.at(embed::ROWS)),
        ("the codec", context.at(CODEC)),
        ("the IDs", context.at(assign::IDS)),
    ]
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
        let mut input = ReportInput::new(&context.config.name, &codes, &sizes, &evaluation);
        let names = if items.titles.is_empty() { &items.keys } else { &items.titles };
        input.names = names;
        write_bytes_atomic(context.at(PAGE), render_html(&input)?.as_bytes())?;
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
