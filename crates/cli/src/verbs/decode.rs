//! `sememe decode`.

use crate::failure::usage;
use crate::output::{output, print, print_json};
use crate::progress::{Progress, stopped};
use crate::text::{count, time, whole};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::io::{RowsWriter, read_codes_file};
use sememe::{Codec, Codes, Error, Event, Observer as _};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Flags {
    /// Codec that made the codes
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
    /// Codes: .npy, .parquet, .jsonl or .csv
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// Rows to write: .npy or .safetensors
    #[arg(long, short, value_name = "ROWS", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Use only the first M codes of each ID [default: all]
    #[arg(long, value_name = "M")]
    pub depth: Option<usize>,
}

pub struct Plan {
    pub codec: PathBuf,
    pub codes: PathBuf,
    pub output: PathBuf,
    pub depth: Option<usize>,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    if flags.depth == Some(0) {
        return Err(usage("`--depth`: expected at least 1 code an ID, got 0"));
    }
    output(&flags.output, &["npy", "safetensors"], "rows are written as", &[&flags.codec, &flags.codes], true)?;
    Ok(Plan { codec: flags.codec, codes: flags.codes, output: flags.output, depth: flags.depth })
}

/// Streams rows to a file; the codes are held in memory, the rows are not.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let codec = Codec::load(&plan.codec)?;
    if let Some(depth) = plan.depth.filter(|d| *d > codec.levels()) {
        return Err(usage(format!("`--depth`: expected 1 to {}, the codec's levels, got {depth}", codec.levels())));
    }
    let file = read_codes_file(&plan.codes)?;
    let (rows, levels) = (file.codes.rows(), file.codes.levels());
    let depth = plan.depth.unwrap_or(levels);
    if levels > codec.levels() || depth > levels {
        let (what, place) = ("levels", plan.codes.display().to_string());
        let expected = if levels > codec.levels() { codec.levels() } else { depth };
        return Err(Error::Shape { what, expected, got: levels, place }.into());
    }
    check_codes(&file.codes, &codec, depth, plan)?;
    // Ascending, so the first that is not its place is the first after a gap.
    if let Some((i, number)) = file.rows.iter().flatten().enumerate().find(|(i, number)| **number != *i as u64) {
        progress.note(&format!(
            "`{}` has no codes for row {i}: the rows are written in the order of their numbers, without gaps, so row {number} is written as \
             row {i}",
            plan.codes.display()
        ));
    }
    let mut writer = RowsWriter::create(&plan.output, rows, codec.dims())?;
    progress.phase("decode", rows as u64, "rows");
    let step = ((4 << 20) / (4 * codec.dims().max(1))).max(1);
    for start in (0..rows).step_by(step) {
        if stopped() {
            return Err(Error::Interrupted(String::new()).into());
        }
        let end = (start + step).min(rows);
        let piece = (start..end).flat_map(|i| file.codes.row(i)[..depth].iter().copied()).collect();
        writer.write(codec.decode(&Codes::from_vec(end - start, depth, piece)?)?.as_slice())?;
        progress.event(Event::Advance { done: end as u64 });
    }
    writer.finish()?;
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "codec": codec.content_hash(),
            "rows": rows,
            "dims": codec.dims(),
            "depth": depth,
            "seconds": seconds,
            "rows_per_second": rows as f64 / seconds.max(1e-9),
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    print(&format!(
        "wrote {}: {} of {} dimensions from the first {} of each ID in {}, {} rows/s\n",
        plan.output.display(),
        count(rows as u64, "row"),
        codec.dims(),
        count(depth as u64, "code"),
        time(seconds),
        whole((rows as f64 / seconds.max(1e-9)) as u64)
    ))
}

/// Names the row of the file, where decoding by pieces would name one of the piece.
fn check_codes(codes: &Codes, codec: &Codec, depth: usize, plan: &Plan) -> sememe::Result<()> {
    let sizes = codec.codebook_sizes();
    for (i, row) in codes.iter().enumerate() {
        for (level, (code, size)) in row[..depth].iter().zip(&sizes).enumerate() {
            if *code as usize >= *size {
                let problem = format!(
                    "row {i} has code {code} at level {}, whose codebook ends at {}; were these codes made with `{}`?",
                    level + 1,
                    size - 1,
                    plan.codec.display()
                );
                return Err(Error::format(&plan.codes, problem));
            }
        }
    }
    Ok(())
}
