//! `sememe format`.

use crate::id_format::{Sizes, SizesPlan, Spelling, SpellingPlan, inputs, sizes, spelling};
use crate::output::{output, print, print_json};
use crate::progress::{Progress, stopped};
use crate::text::{count, time};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::io::{IdsWriter, read_codes_file};
use sememe::{Error, Event, Observer as _};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Flags {
    /// Codes: .npy, .parquet, .jsonl or .csv
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// IDs to write, one a line: .txt, or with row numbers .jsonl or .csv
    #[arg(long, short, value_name = "IDS", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub sizes: Sizes,
    #[command(flatten)]
    pub spelling: Spelling,
}

pub struct Plan {
    pub codes: PathBuf,
    pub output: PathBuf,
    pub sizes: SizesPlan,
    pub spelling: SpellingPlan,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let (sizes, spelling) = (sizes(flags.sizes)?, spelling(flags.spelling)?);
    output(&flags.output, &["txt", "jsonl", "csv"], "IDs are written as", &inputs(&sizes, &flags.codes), true)?;
    Ok(Plan { codes: flags.codes, output: flags.output, sizes, spelling })
}

/// Streams text to a file; the codes are held in memory.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let file = read_codes_file(&plan.codes)?;
    let (rows, width) = (file.codes.rows(), file.codes.levels());
    let sizes = plan.sizes.resolve(Some(width.saturating_sub(plan.spelling.counters())))?;
    let format = plan.spelling.bind(&sizes)?;
    if format.width() != width {
        let place = plan.codes.display().to_string();
        return Err(Error::Shape { what: "levels", expected: format.width(), got: width, place }.into());
    }
    let mut writer = IdsWriter::create(&plan.output)?;
    progress.phase("format", rows as u64, "IDs");
    let (mut id, mut first) = (String::new(), None);
    for (i, codes) in file.codes.iter().enumerate() {
        if i % (1 << 14) == 0 {
            if stopped() {
                return Err(Error::Interrupted(String::new()).into());
            }
            progress.event(Event::Advance { done: i as u64 });
        }
        id.clear();
        let number = file.rows.as_ref().map_or(i as u64, |numbers| numbers[i]);
        format.write_into(codes, &mut id).map_err(|e| Error::format(&plan.codes, format!("row {i}: {e}")))?;
        writer.write(number, &id)?;
        if first.is_none() {
            first = Some(id.clone());
        }
    }
    writer.finish()?;
    progress.finish();
    let (seconds, example) = (begun.elapsed().as_secs_f64(), first.unwrap_or_default());
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "rows": rows,
            "levels": format.levels(),
            "counter": format.has_counter(),
            "codebook_sizes": sizes,
            "template": format.template(),
            "special_tokens": format.special_tokens(),
            "example": example,
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let shown = plan.output.display();
    print(&format!("wrote {shown}: {} as {example} in {}\n", count(rows as u64, "ID"), time(seconds)))
}
