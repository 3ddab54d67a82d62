//! `sememe parse`.

use crate::failure::usage;
use crate::id_format::{Sizes, SizesPlan, Spelling, SpellingPlan, inputs, sizes, spelling};
use crate::output::{output, print, print_json, writes_parquet};
use crate::progress::{Progress, stopped};
use crate::text::{count, time};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::Error;
use sememe::io::{CodesWriter, read_ids, read_index};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Flags {
    /// IDs, one a line: .txt, .jsonl or .csv; or the index.json that export writes, whose keys are kept
    #[arg(value_name = "IDS", value_hint = ValueHint::FilePath)]
    pub ids: PathBuf,
    /// Codes to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub sizes: Sizes,
    /// Codes in an ID, if --codebook-size gives one number for all levels
    #[arg(long, value_name = "N")]
    pub levels: Option<usize>,
    #[command(flatten)]
    pub spelling: Spelling,
}

pub struct Plan {
    pub ids: PathBuf,
    pub output: PathBuf,
    pub sizes: SizesPlan,
    pub levels: Option<usize>,
    pub spelling: SpellingPlan,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let (sizes, spelling) = (sizes(flags.sizes)?, spelling(flags.spelling)?);
    let levels = flags.levels;
    match (&sizes, levels) {
        (SizesPlan::Given(given), None) if given.len() == 1 => {
            return Err(usage(
                "`--levels` is needed beside one `--codebook-size`; or give a size a level, as in `--codebook-size 256,256,256`",
            ));
        }
        (SizesPlan::Given(given), Some(levels)) if given.len() > 1 && given.len() != levels => {
            let lists = given.len();
            return Err(usage(format!(
                "`--codebook-size` lists {lists} levels and `--levels` says {levels}; leave one out"
            )));
        }
        (_, Some(0)) => return Err(usage("`--levels`: expected 1 to 64, got 0")),
        _ => {}
    }
    let extensions = ["npy", "parquet", "jsonl", "csv"];
    output(&flags.output, &extensions, "codes are written as", &inputs(&sizes, &flags.ids), true)?;
    writes_parquet(&flags.output)?;
    Ok(Plan { ids: flags.ids, output: flags.output, sizes, levels, spelling })
}

/// Reads a line at a time; the codes are held in memory.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let mut sizes = plan.sizes.resolve(plan.levels)?;
    let format = plan.spelling.bind(&sizes)?;
    if let Some(levels) = plan.levels.filter(|l| *l != format.levels()) {
        let place = "--levels".to_owned();
        return Err(Error::Shape { what: "levels", expected: format.levels(), got: levels, place }.into());
    }
    let (mut codes, mut numbers, mut rows) = (Vec::new(), Vec::new(), 0usize);
    let pause = |rows: usize| {
        if rows.is_multiple_of(1 << 14) && stopped() { Err(Error::Interrupted(String::new())) } else { Ok(()) }
    };
    let mut keys = Vec::new();
    if plan.ids.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        read_index(&plan.ids, &mut |key, tokens| {
            pause(rows)?;
            codes.extend(format.parse_tokens(tokens)?);
            keys.push(key.to_owned());
            numbers.push(rows as u64);
            rows += 1;
            Ok(())
        })?;
    } else {
        read_ids(&plan.ids, &mut |item| {
            pause(rows)?;
            codes.extend(format.parse(item.text)?);
            numbers.push(item.row.unwrap_or(rows as u64));
            rows += 1;
            Ok(())
        })?;
    }
    if rows == 0 {
        return Err(Error::format(&plan.ids, "holds no IDs").into());
    }
    if format.has_counter() {
        let most = codes.chunks_exact(format.width()).filter_map(|id| id.last()).max();
        sizes.push(most.map_or(1, |m| *m as usize + 1));
    }
    let mut writer = if keys.is_empty() {
        CodesWriter::create(&plan.output, rows, format.width(), &sizes)?
    } else {
        CodesWriter::create_keyed(&plan.output, rows, format.width(), &sizes)?
    };
    writer.write_with_keys(&numbers, &keys, &codes)?;
    writer.finish()?;
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "rows": rows,
            "keys": !keys.is_empty(),
            "levels": format.levels(),
            "counter": format.has_counter(),
            "codebook_sizes": sizes,
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let (shown, width) = (plan.output.display(), count(format.width() as u64, "code"));
    print(&format!("wrote {shown}: {} of {width} in {}\n", count(rows as u64, "ID"), time(seconds)))
}
