//! Results and errors, as text or as one JSON object.

use crate::fit_flags::FitFlags;
use crate::flags::{AssignFlags, Common, EncodeFlags};
use sememe::{Error, Result};
use sememe_cluster::jobs::{AssignReport, ClusterEvaluation, EncodeReport, FitReport};
use serde::Serialize;
use serde_json::json;
use std::io::Write as _;

/// Writes to stdout; a reader that went away is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn json_with(report: &impl Serialize, more: serde_json::Value) -> Result<String> {
    let mut value = serde_json::to_value(report).map_err(|e| Error::Data(e.to_string()))?;
    if let (Some(into), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        into.extend(more);
    }
    Ok(format!("{value:#}\n"))
}

fn told(common: &Common, text: String) -> String {
    if common.quiet { String::new() } else { text }
}

fn rate(rows: u64, seconds: f64) -> f64 {
    rows as f64 / seconds.max(1e-9)
}

pub fn encoded(common: &Common, flags: &EncodeFlags, report: &EncodeReport, seconds: f64) -> Result<String> {
    let rate = rate(report.rows, seconds);
    if common.json {
        return json_with(report, json!({ "output": flags.output, "seconds": seconds, "rows_per_second": rate }));
    }
    Ok(told(
        common,
        format!(
            "wrote {}: {} rows of {} codes in {} files, {seconds:.1} s, {rate:.0} rows/s\n",
            flags.output, report.rows, report.levels, report.files
        ),
    ))
}

pub fn fitted(common: &Common, flags: &FitFlags, report: &FitReport, seconds: f64) -> Result<String> {
    if common.json {
        return json_with(report, json!({ "output": flags.output, "seconds": seconds }));
    }
    Ok(told(
        common,
        format!(
            "wrote {}: trained on {} rows in {} passes, {seconds:.1} s\n",
            flags.output, report.rows, report.rounds
        ),
    ))
}

pub fn assigned(common: &Common, flags: &AssignFlags, report: &AssignReport, seconds: f64) -> Result<String> {
    if common.json {
        return json_with(report, json!({ "ids": flags.ids, "seconds": seconds }));
    }
    Ok(told(
        common,
        format!("{}: {} new items beside {} from before, {seconds:.1} s\n", flags.ids, report.new, report.before),
    ))
}

pub fn evaluated(common: &Common, report: &ClusterEvaluation, seconds: f64) -> Result<String> {
    if common.json {
        return json_with(report, json!({ "seconds": seconds }));
    }
    let mut text = format!(
        "{} rows, {} different IDs, {:.4} collide, at most {} rows on one\n",
        report.measures.rows, report.unique_ids, report.collision_rate, report.max_bucket
    );
    for (at, level) in report.measures.levels.iter().enumerate() {
        text.push_str(&format!(
            "level {}  R² {:.4}  perplexity {:.1}  used {:.1} %\n",
            at + 1,
            level.r2,
            level.perplexity,
            100.0 * level.utilisation
        ));
    }
    Ok(text)
}

/// Says what is wrong, with the flag where a setting is; the exit codes are those of `sememe`.
pub fn fail(error: &Error, verb: &str, program: &clap::Command) -> u8 {
    let (code, text) = match error.root() {
        Error::Config { field, problem } => (2, format!("`{}`: {problem}", flag(field, verb, program))),
        Error::Device(_) | Error::DeviceLost(_) | Error::OutOfMemory { .. } => (4, error.to_string()),
        Error::Store(_) => (5, error.to_string()),
        Error::Endpoint(_) => (6, error.to_string()),
        Error::Interrupted(_) => (130, "interrupted; nothing was written".to_owned()),
        _ => (3, error.to_string()),
    };
    let begin = if code == 130 { "" } else { "error: " };
    // A closed stderr is no reason to panic.
    let _ = writeln!(std::io::stderr().lock(), "{begin}{}", text.replace(['\n', '\r'], " "));
    code
}

/// A field as the flag of the verb that sets it, if one does.
fn flag(field: &str, verb: &str, program: &clap::Command) -> String {
    let name = field.rsplit('.').next().unwrap_or(field).replace('_', "-");
    let known = |name: &str| {
        let verb = program.find_subcommand(verb);
        let all = program.get_arguments().chain(verb.into_iter().flat_map(clap::Command::get_arguments));
        all.filter_map(|arg| arg.get_long()).any(|long| long == name)
    };
    for name in [name.as_str(), name.trim_end_matches('s')] {
        if known(name) {
            return format!("--{name}");
        }
    }
    field.to_owned()
}
