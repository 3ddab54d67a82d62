//! `sememe align`.

use crate::changes::{both, table, text};
use crate::device;
use crate::flags::{DeviceChoice, OnDevice, Rows};
use crate::given::Given;
use crate::input::{Input, check_dims, encode_all, report_dropped, strictest};
use crate::output::{output, print, print_json};
use crate::progress::Progress;
use crate::rows_plan::{RowsPlan, no_rows, rows};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::eval::{Churn, measure_churn};
use sememe::ids::{Aligned, align, align_without_rows};
use sememe::{Codec, EncodeOptions};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Flags {
    /// Retrained codec, whose codewords are to be renamed
    #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
    pub new: PathBuf,
    /// Codec whose IDs are in use
    #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub old: PathBuf,
    /// Embeddings of the items whose IDs are in use [default: what random IDs of OLD decode to]
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
    /// The renamed codec to write, a .safetensors file
    #[arg(long, short, value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
}

pub struct Plan {
    pub new: PathBuf,
    pub old: PathBuf,
    pub input: Option<RowsPlan>,
    pub output: PathBuf,
    pub device: DeviceChoice,
}

pub fn plan(flags: Flags, given: &Given) -> Result<Plan> {
    if flags.input.is_none() {
        no_rows(given, "or give IN")?;
    }
    let input = flags.input.map(|path| rows(path, flags.rows));
    let mut inputs: Vec<&Path> = vec![&flags.old];
    inputs.extend(input.iter().flat_map(RowsPlan::paths));
    output(&flags.output, &["safetensors"], "a codec is written as", &inputs, true)?;
    Ok(Plan { new: flags.new, old: flags.old, input, output: flags.output, device: flags.on.device })
}

/// Encodes rows with both codecs, renames, and says what that changed.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let (new, old) = (Codec::load(&plan.new)?, Codec::load(&plan.old)?);
    let (mut churn, mut rows) = (None, None);
    let aligned = match &plan.input {
        None => align_without_rows(&new, &old)?,
        Some(input) => {
            let input = Input::open_for(input, strictest(&[&new, &old]))?;
            let (aligned, before, after) = on_rows(plan, &new, &old, &input, progress)?;
            (rows, churn) = (Some((before.rows, input.dropped().len())), Some((before, after)));
            aligned
        }
    };
    let moved = |order: &Vec<u32>| order.iter().enumerate().filter(|(j, to)| *j != **to as usize).count();
    let moved: Vec<usize> = aligned.permutations.iter().map(moved).collect();
    aligned.codec.save(&plan.output)?;
    progress.finish();
    if new.levels() != old.levels() {
        let (levels, olds) = (new.levels(), old.levels());
        progress.note(&format!(
            "{levels} levels, {olds} before: every ID has another length, only common levels are matched"
        ));
    } else if new.codebook_sizes() != old.codebook_sizes() {
        let (sizes, olds) = (new.codebook_sizes(), old.codebook_sizes());
        progress
            .note(&format!("codebooks of {sizes:?}, before {olds:?}: codes past the smaller one have no counterpart"));
    }
    if churn.is_none() {
        progress.note(
            "matched without rows, by points that random IDs stand for; the rows whose IDs are in use match better",
        );
    }
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "content_hash": aligned.codec.content_hash(),
            "aligned_to": old.content_hash(),
            "renamed": moved,
            "permutations": aligned.permutations,
            "rows": rows.map(|(rows, _)| rows),
            "dropped": rows.map(|(_, dropped)| dropped),
            "churn_before": churn.as_ref().map(|(before, _)| before),
            "churn_after": churn.as_ref().map(|(_, after)| after),
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let counts: Vec<String> =
        moved.iter().zip(new.codebook_sizes()).map(|(n, size)| format!("{n} of {size}")).collect();
    let mut out = format!("wrote {}: {} codewords renamed, level by level\n", plan.output.display(), counts.join(", "));
    if let Some((before, after)) = &churn {
        out.push_str(&format!("as trained  {}renamed     {}{}", text(before), text(after), table(after)));
    }
    print(&out)
}

fn on_rows(
    plan: &Plan,
    new: &Codec,
    old: &Codec,
    input: &Input,
    progress: &Progress,
) -> Result<(Aligned, Churn, Churn)> {
    check_dims(old, input)?;
    check_dims(new, input)?;
    report_dropped(input, progress);
    let device = device::open(plan.device, sememe::RowSource::rows(input))?;
    let (old_codes, new_codes) = both(old, new, input, &device, progress)?;
    progress.phase("match", 0, "");
    let aligned = align(new, old, &new_codes, &old_codes)?;
    let encoder = aligned.codec.encoder(&device, &EncodeOptions::default())?;
    let renamed = encode_all(&encoder, &aligned.codec, input, progress)?;
    Ok((aligned, measure_churn(&old_codes, &new_codes)?, measure_churn(&old_codes, &renamed)?))
}
