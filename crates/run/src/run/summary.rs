//! The run in one file: versions, times, and where every artifact comes from.

use serde_json::{Value, json};

use super::{Context, Phase, RunReport, now};
use sememe::Result;
use sememe::digest::sha256;
use sememe::io::write_bytes_atomic;

const NAME: &str = "run_summary.json";

/// Writes `run_summary.json`.
pub(super) fn write(context: &Context<'_>, report: &RunReport) -> Result<()> {
    let codec = context.state.phases.get(&Phase::Train).and_then(|record| record.facts.get("codec")).cloned();
    let mut phases = serde_json::Map::new();
    let mut artifacts = Vec::new();
    for phase in Phase::ALL {
        let Some(record) = context.state.phases.get(&phase) else { continue };
        // Object keys come sorted, so equal settings have equal hashes.
        let settings = sha256(record.settings.to_string().as_bytes());
        let now = report.phases.iter().find(|done| done.phase == phase);
        phases.insert(
            phase.name().into(),
            json!({
                "ran": now.is_some_and(|done| done.ran),
                "why": now.and_then(|done| done.why.clone()),
                "seconds": record.seconds,
                "finished_at_unix_s": record.finished_at,
                "version": record.version,
                "settings": record.settings,
                "facts": record.facts,
            }),
        );
        for (path, artifact) in &record.outputs {
            artifacts.push(json!({
                "path": path,
                "bytes": artifact.bytes,
                "sha256": artifact.sha256,
                "phase": phase,
                "settings_sha256": settings,
                "inputs": record.inputs,
                "codec": if phase < Phase::Train { None } else { codec.as_ref() },
            }));
        }
    }
    let value: Value = json!({
        "name": context.config.name,
        "sememe": env!("CARGO_PKG_VERSION"),
        "finished_at_unix_s": now(),
        "seconds": report.seconds,
        "phases": phases,
        "artifacts": artifacts,
    });
    write_bytes_atomic(context.folder.join(NAME), format!("{value:#}\n").as_bytes())
}
