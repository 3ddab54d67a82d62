//! Phase dialogues: training data for a language model.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::tokenize::SEMANTIC_IDS;
use super::{Context, Phase, PhaseOutput};
use sememe::{Error, Result};
use sememe_text::dialogues::{TemplateSource, compose};

pub(super) fn settings(context: &Context<'_>) -> Result<Value> {
    let dialogues = context.written.dialogues_over(SEMANTIC_IDS.into());
    serde_json::to_value(dialogues).map_err(|e| Error::Data(e.to_string()))
}

pub(super) fn inputs(context: &Context<'_>) -> Vec<(&'static str, PathBuf)> {
    let mut out = vec![("the IDs", context.at(SEMANTIC_IDS))];
    if let Some(dialogues) = context.config.dialogues_over(context.at(SEMANTIC_IDS)) {
        out.extend(dialogues.source.map(|path| ("the catalogue", path)));
        out.extend(dialogues.events.map(|path| ("the events", path)));
        if let TemplateSource::File(path) = dialogues.templates {
            out.push(("the templates", path));
        }
    }
    out
}

pub(super) fn run(context: &mut Context<'_>) -> Result<PhaseOutput> {
    let Some(dialogues) = context.config.dialogues_over(context.at(SEMANTIC_IDS)) else {
        return Err(Error::config("dialogues", "the configuration has no such section"));
    };
    let composed = compose(&dialogues, context.observer)?;
    let folder = context.phase_folder(Phase::Dialogues)?;
    let report = composed.save(&folder, context.observer)?;
    let outputs = report.files.iter().map(|file| PathBuf::from("dialogues").join(file.name));
    let outputs = outputs.chain(["dialogues/dialogues_summary.json".into()]).collect();
    let summary = format!(
        "{} examples to train with, {} to validate with, of {} items and {} users",
        report.train.examples,
        report.validation.examples,
        report.train.items + report.validation.items,
        report.train.users + report.validation.users
    );
    let facts = json!({ "train": report.train, "validation": report.validation, "without_id": report.without_id });
    Ok(PhaseOutput { outputs, facts, summary })
}
