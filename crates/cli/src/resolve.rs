//! `sememe resolve`.

use crate::args::PolicyChoice;
use crate::input::Stoppable;
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::spelling::{ResolvePlan, pick};
use crate::text::{count, percent, time};
use anyhow::Result;
use sememe::Codec;
use sememe::ids::resolve::{CodecAlternatives, Cost, Resolved, number, refuse, relocate};
use sememe::io::{CodesFile, CodesWriter, OpenOptions, read_codes_file, read_keys};
use serde_json::json;
use std::time::Instant;

/// Codes, keys and the resolved codes are held in memory; rows are read one at a time.
pub fn run(plan: &ResolvePlan, progress: &Progress) -> Result<()> {
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
        told(&cost)
    ))
}

fn by_codec(plan: &ResolvePlan, file: &CodesFile, keys: &[String]) -> Result<Resolved> {
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

fn told(cost: &Cost) -> String {
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
