//! Phase prep: rows of a catalogue to texts.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Context, Phase, PhaseOutput};
use sememe::{Error, Result};
use sememe_text::prep::prepare;

/// Items for the phases that follow: the same bytes for the same items.
pub(super) const ITEMS: &str = "prep/items.jsonl";
/// The same for people and for other programs.
const DATABASE: &str = "prep/items.sqlite";
#[cfg(feature = "parquet")]
const PARQUET: &str = "prep/items.parquet";
const TABLE: &str = "prepared";

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    serde_json::to_value(&context.written.prep).map_err(|e| Error::Data(e.to_string()))
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    vec![("the source", context.config.prep.source.clone())]
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    let prepared = prepare(&context.config.prep, context.observer)?;
    context.phase_folder(Phase::Prep)?;
    prepared.save(context.at(ITEMS), TABLE)?;
    // A database of another schema in its place is not ours to mend.
    let saved = prepared.save(context.at(DATABASE), TABLE)?;
    #[allow(unused_mut, reason = "parquet is a feature")]
    let mut outputs = vec![PathBuf::from(ITEMS)];
    #[cfg(feature = "parquet")]
    {
        prepared.save(context.at(PARQUET), TABLE)?;
        outputs.push(PARQUET.into());
    }
    let report = &prepared.report;
    let mut summary = format!("{} items of {} rows", report.items, report.rows);
    for (count, what) in [
        (report.without_key, "without a key"),
        (report.without_text, "without a text"),
        (report.duplicate_keys, "with the key of another"),
        (report.over_limit, "over the limit"),
        (report.shortened, "shortened"),
        (report.duplicates, "with another item's text"),
    ] {
        if count > 0 {
            summary.push_str(&format!(", {count} {what}"));
        }
    }
    Ok(PhaseOutput { outputs, facts: json!({ "prepared": report, "database": saved }), summary })
}
