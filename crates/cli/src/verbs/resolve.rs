//! `sememe resolve`.

use crate::failure::usage;
use crate::id_format::pick;
use crate::input::Stoppable;
use crate::output::{output, print, print_json, writes_parquet};
use crate::progress::Progress;
use crate::text::{count, percent, time};
use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use sememe::Codec;
use sememe::ids::resolve::{CodecAlternatives, Cost, Resolved, number, refuse, relocate};
use sememe::io::{CodesFile, CodesWriter, OpenOptions, read_codes_file, read_keys};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyChoice {
    Suffix,
    ExtraLevel,
    Relocate,
    Error,
}

#[derive(Debug, Args)]
pub struct Flags {
    /// Codes: .npy, .parquet, .jsonl or .csv
    #[arg(value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub codes: PathBuf,
    /// Codes to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// The items, in the order of the encoded rows: .jsonl, .jsonl.gz or .csv
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub items: PathBuf,
    /// Field or column with each item's key, which decides the order of items with the same codes
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub key: String,
    #[arg(long, value_enum, default_value = "suffix", hide_possible_values = true)]
    #[arg(
        help = "What to do with items that have the same codes. suffix and extra-level: append a number, 0 for the first item \
                  (`format --counter` writes a suffix as 12-5-33-1; an extra level keeps all IDs at one length); relocate: \
                  move items to other codes, at the least added squared L2; error: refuse"
    )]
    pub policy: PolicyChoice,
    /// Codec that made the codes, for relocation
    #[arg(long, value_name = "CODEC", value_hint = ValueHint::FilePath, requires = "rows")]
    pub codec: Option<PathBuf>,
    /// Embeddings that were encoded, for relocation
    #[arg(long, value_name = "IN", value_hint = ValueHint::FilePath, requires = "codec")]
    pub rows: Option<PathBuf>,
    /// Array, tensor or column of the embeddings [default: `embeddings`, or the only one]
    #[arg(long, value_name = "NAME", requires = "rows")]
    pub array: Option<String>,
    /// Items that may share an ID after relocation
    #[arg(long, value_name = "N", default_value_t = 1, requires = "rows")]
    pub capacity: usize,
}

pub struct Plan {
    pub codes: PathBuf,
    pub output: PathBuf,
    pub items: PathBuf,
    pub key: String,
    pub policy: PolicyChoice,
    pub codec_and_rows: Option<(PathBuf, PathBuf)>,
    pub array: Option<String>,
    pub capacity: usize,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let codec_and_rows = flags.codec.zip(flags.rows);
    match (flags.policy, &codec_and_rows) {
        (PolicyChoice::Relocate, None) => {
            return Err(usage("`--policy relocate` needs `--codec` and `--rows`, to tell what other codes cost"));
        }
        (PolicyChoice::Relocate, Some(_)) => {}
        (_, Some(_)) => return Err(usage("`--codec` and `--rows` go with `--policy relocate` only; leave them out")),
        _ => {}
    }
    if flags.capacity == 0 {
        return Err(usage("`--capacity`: expected at least 1 item an ID, got 0"));
    }
    let mut inputs = vec![flags.codes.as_path(), &flags.items];
    inputs.extend(codec_and_rows.iter().flat_map(|(codec, rows)| [codec.as_path(), rows.as_path()]));
    output(&flags.output, &["npy", "parquet", "jsonl", "csv"], "codes are written as", &inputs, true)?;
    writes_parquet(&flags.output)?;
    Ok(Plan {
        codes: flags.codes,
        output: flags.output,
        items: flags.items,
        key: flags.key,
        policy: flags.policy,
        codec_and_rows,
        array: flags.array,
        capacity: flags.capacity,
    })
}

impl Plan {
    /// The policy as it is typed.
    pub fn policy_name(&self) -> &'static str {
        match self.policy {
            PolicyChoice::Suffix => "suffix",
            PolicyChoice::ExtraLevel => "extra-level",
            PolicyChoice::Relocate => "relocate",
            PolicyChoice::Error => "error",
        }
    }
}

/// Codes, keys and the resolved codes are held in memory; rows are read one at a time.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let file = read_codes_file(&plan.codes)?;
    let keys = pick(read_keys(&plan.items, &plan.key)?, &file, &plan.codes, &plan.items)?;
    let Resolved { codes, cost } = match plan.policy {
        PolicyChoice::Suffix | PolicyChoice::ExtraLevel => number(&keys, &file.codes)?,
        PolicyChoice::Error => refuse(&keys, &file.codes)?,
        PolicyChoice::Relocate => by_codec(plan, &file, &keys)?,
    };
    let mut sizes = vec![0; codes.levels()];
    for id in codes.iter() {
        sizes.iter_mut().zip(id).for_each(|(size, code)| *size = (*code as usize + 1).max(*size));
    }
    let numbers = file.rows.unwrap_or_else(|| (0..codes.rows() as u64).collect());
    let mut writer = CodesWriter::create(&plan.output, codes.rows(), codes.levels(), &sizes)?;
    writer.write_with_rows(&numbers, codes.as_slice())?;
    writer.finish()?;
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "policy": plan.policy_name(),
            "levels": codes.levels(),
            "cost": cost,
            "added_share": cost.added_share(),
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    print(&format!(
        "wrote {}: {} in {}\n{}",
        plan.output.display(),
        count(cost.items, "ID"),
        time(seconds),
        summary(&cost)
    ))
}

fn by_codec(plan: &Plan, file: &CodesFile, keys: &[String]) -> Result<Resolved> {
    let Some((codec, rows)) = &plan.codec_and_rows else { return Err(missing().into()) };
    let codec = Codec::load(codec)?;
    let options = OpenOptions { array: plan.array.clone(), ..OpenOptions::default() };
    let source = Stoppable(sememe::io::open(rows, &options)?);
    let prices = CodecAlternatives::new(&codec, &source, file.rows.as_deref())?;
    Ok(relocate(keys, &file.codes, plan.capacity, &prices)?)
}

fn missing() -> sememe::Error {
    sememe::Error::config("codec", "is needed with `--rows`, to relocate by")
}

fn summary(cost: &Cost) -> String {
    let share = cost.moved as f64 / cost.items.max(1) as f64;
    let levels: Vec<String> = cost.moved_by_level.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{} different IDs before, {} after; at most {} on one before, {} after\n{} ({}) moved, by level {}\n",
        cost.ids_before,
        cost.ids_after,
        cost.largest_before,
        cost.largest_after,
        count(cost.moved, "item"),
        percent(share),
        levels.join(", ")
    );
    if let (Some(before), Some(after), Some(added)) =
        (cost.squared_l2_before, cost.squared_l2_after, cost.added_share())
    {
        let by_level = cost.added_squared_l2_by_level.iter().flatten();
        let by_level: Vec<String> = by_level.map(|added| format!("{added:.5}")).collect();
        text.push_str(&format!(
            "mean squared L2 {before:.5} before, {after:.5} after: {} more, by level {}\n",
            percent(added),
            by_level.join(", ")
        ));
    }
    text
}
