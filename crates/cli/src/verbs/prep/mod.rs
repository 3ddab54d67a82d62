//! `sememe prep`.

mod flags;

pub use flags::Flags;

use crate::failure::usage;
use crate::flags::{OnBad as OnBadFlag, UnicodeChoice};
use crate::output::{extension, output, print, print_json};
use crate::progress::Progress;
use crate::text::{count, time, whole};
use anyhow::Result;
use sememe_text::prep::{OnBad, Prep, PrepReport, Prepared, SaveReport, Unicode, prepare};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub struct Plan {
    prep: Prep,
    outputs: Vec<PathBuf>,
    table: String,
    dry_run: bool,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let prep = Prep {
        source: flags.source,
        table: flags.table,
        query: flags.query,
        key: flags.key,
        title: flags.title,
        template: flags.template,
        html: !flags.keep_html,
        unicode: match flags.unicode {
            UnicodeChoice::Nfc => Unicode::Nfc,
            UnicodeChoice::Nfkc => Unicode::Nfkc,
            UnicodeChoice::None => Unicode::None,
        },
        list_separator: flags.list_separator,
        max_chars: flags.max_chars,
        limit: flags.limit,
        on_bad: match flags.on_bad {
            OnBadFlag::Refuse => OnBad::Refuse,
            OnBadFlag::Drop => OnBad::Drop,
        },
        on_duplicate: flags.on_duplicate.setting(),
    };
    prep.validate()?;
    if flags.output_table.trim().is_empty() {
        return Err(usage("`--output-table` is empty; leave it out for `prepared`"));
    }
    for (at, path) in flags.output.iter().enumerate() {
        if flags.output[..at].contains(path) {
            return Err(usage(format!("`{}` is there twice; write each output once", path.display())));
        }
        Prepared::check_output(path)?;
        let extension = extension(path);
        // A database may hold both, in two tables, and is written inside.
        let database = !matches!(extension.as_str(), "parquet" | "jsonl");
        let inputs: &[&Path] = if database { &[] } else { &[&prep.source] };
        output(path, &[&extension], "items are written as", inputs, !database && !flags.dry_run)?;
        let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let table = prep.table.as_deref();
        let one_table = table.is_none_or(|table| table.eq_ignore_ascii_case(&flags.output_table));
        if database && prep.query.is_none() && one_table && same(path, &prep.source) {
            let problem =
                "is the source too; name the table that is read with `--table`, and another one with `--output-table`";
            return Err(usage(format!("`{}` {problem}", path.display())));
        }
    }
    Ok(Plan { prep, outputs: flags.output, table: flags.output_table, dry_run: flags.dry_run })
}

/// Reads, cleans, writes each output whole or not at all, and says what became of the rows.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let prepared = prepare(&plan.prep, progress)?;
    let mut written: Vec<(&Path, SaveReport)> = Vec::new();
    if !plan.dry_run {
        for path in &plan.outputs {
            written.push((path, prepared.save(path, &plan.table)?));
        }
    }
    progress.finish();
    let (report, seconds) = (&prepared.report, begun.elapsed().as_secs_f64());
    if progress.json {
        let outputs: Vec<_> =
            written.iter().map(|(path, saved)| json!({ "path": path.display().to_string(), "saved": saved })).collect();
        let samples: Vec<_> = prepared.items.iter().take(3).map(|i| json!({ "id": i.id, "text": i.text })).collect();
        return print_json(&json!({
            "source": plan.prep.source.display().to_string(),
            "outputs": outputs,
            "dry_run": plan.dry_run,
            "report": report,
            "samples": samples,
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let mut out = summary(report, seconds);
    out.push_str("for example\n");
    for item in prepared.items.iter().take(3) {
        let _ = writeln!(out, "  {}  {}", item.id, shown(&item.text, 100));
    }
    for (path, saved) in &written {
        let what = match saved {
            SaveReport { changed: 0, removed: 0, unchanged: 0, .. } => count(saved.added as u64, "item"),
            SaveReport { added: 0, changed: 0, removed: 0, .. } => "nothing to change".to_owned(),
            s => format!("{} new, {} changed, {} removed, {} as before", s.added, s.changed, s.removed, s.unchanged),
        };
        let _ = writeln!(out, "wrote {}: {what}", path.display());
    }
    if plan.dry_run {
        out.push_str("nothing was written: a dry run\n");
    }
    print(&out)
}

fn summary(report: &PrepReport, seconds: f64) -> String {
    let rows = count(report.rows as u64, "row");
    let mean = report.chars as f64 / report.items.max(1) as f64;
    let mut out = format!(
        "{} from {rows} in {}: {mean:.0} characters on average, {} at most\n",
        count(report.items as u64, "item"),
        time(seconds),
        whole(report.longest_chars as u64)
    );
    let left_out = [
        (report.without_key, "without a key"),
        (report.without_text, "without a text"),
        (report.duplicate_keys, "with the key of another"),
        (report.over_limit, "over the limit"),
    ];
    for (n, why) in left_out.into_iter().filter(|(n, _)| *n > 0) {
        let _ = writeln!(out, "left out: {} {why}", count(n as u64, "row"));
    }
    if report.shortened > 0 {
        let _ = writeln!(out, "{} shortened", count(report.shortened as u64, "text"));
    }
    if report.duplicates > 0 {
        let _ = writeln!(out, "{} share their text with another, most of all", count(report.duplicates as u64, "item"));
        for duplicate in report.duplicate_texts.iter().take(3) {
            let more = if duplicate.items > duplicate.ids.len() { ", …" } else { "" };
            let ids = duplicate.ids.join(", ");
            let _ = writeln!(out, "  {} × {}  ({ids}{more})", duplicate.items, shown(&duplicate.text, 60));
        }
    }
    out
}

/// The beginning of a text.
fn shown(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
