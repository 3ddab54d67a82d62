//! `sememe sweep`.

mod flags;

pub use flags::Flags;

use crate::device;
use crate::failure::usage;
use crate::flags::{BalanceChoice, DeviceChoice, preprocess};
use crate::input::{Input, report_dropped};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::rows_plan::{RowsPlan, rows};
use crate::text::{count, percent, table, time, whole};
use anyhow::Result;
use sememe::io::write_bytes_atomic;
use sememe::{Balance, Error, Refine, RowSource as _, RqKMeans};
use sememe_run::sweep::{Cell, CellOutcome, Sweep, SweepOptions, SweepReport, render_page, run as sweep};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

pub struct Plan {
    input: RowsPlan,
    folder: PathBuf,
    sweep: Sweep,
    options: SweepOptions,
    device: DeviceChoice,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let defaults = RqKMeans::default();
    let mut base = RqKMeans {
        seed: flags.seed,
        max_training_rows: flags.max_training_rows,
        normalize_residuals: flags.preprocess.normalize_residuals,
        ..defaults
    };
    if flags.iterations == Some(0) {
        return Err(usage("`--iterations`: expected at least 1, got 0"));
    }
    preprocess(&flags.preprocess, &mut base.preprocess);
    base.validate()?;
    let refine_rounds = axis("--refine", &flags.refine)?;
    if flags.beam.is_some() && refine_rounds == [0] {
        return Err(usage("`--beam` is of refinement; add `--refine` with its rounds, or leave it out"));
    }
    let sweep = Sweep {
        base,
        iterations: flags.iterations,
        levels: axis("--levels", &flags.levels)?,
        codebook_sizes: axis("--codebook-size", &flags.codebook_size)?,
        refine_rounds,
        beam: flags.beam.unwrap_or_else(|| Refine::default().beam),
        balance: flags
            .balance
            .iter()
            .map(|how| match how {
                BalanceChoice::None => None,
                BalanceChoice::Sinkhorn => Some(Balance::sinkhorn()),
                BalanceChoice::Capacity => Some(Balance::capacity()),
            })
            .collect(),
    };
    sweep.cells()?;
    if flags.output.exists() && !flags.output.is_dir() {
        return Err(usage(format!("`{}` is not a folder; give one, to hold several files", flags.output.display())));
    }
    Ok(Plan {
        input: rows(flags.input, flags.rows),
        folder: flags.output,
        sweep,
        options: SweepOptions { queries: flags.queries, keep_codecs: flags.keep_codecs },
        device: flags.on.device,
    })
}

/// `2..4` (both ends included) or `2,3,4`, or a mix of both.
fn axis(flag: &str, text: &str) -> Result<Vec<usize>> {
    let bad = |part: &str| usage(format!("`{flag} {text}`: `{part}` is neither a number nor a range such as 2..4"));
    let mut out = Vec::new();
    for part in text.split(',') {
        let part = part.trim();
        match part.split_once("..") {
            None => out.push(part.parse().map_err(|_| bad(part))?),
            Some((from, to)) => {
                let from: usize = from.trim().parse().map_err(|_| bad(part))?;
                let to: usize = to.trim().trim_start_matches('=').parse().map_err(|_| bad(part))?;
                if from > to || to - from >= 10_000 {
                    return Err(usage(format!("`{flag} {text}`: `{part}` is no range from low to high")));
                }
                out.extend(from..=to);
            }
        }
    }
    Ok(out)
}

/// Trains what is missing, prints the table and writes the page.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let input = Input::open_for(&plan.input, plan.sweep.base.metric)?;
    let device = device::open(plan.device, input.rows())?;
    report_dropped(&input, progress);
    let total = plan.sweep.cells()?.len();
    progress.many_trainings();
    let (mut seen, mut kept) = (0usize, 0usize);
    let mut each = |_: usize, cell: &Cell| {
        seen += 1;
        kept += usize::from(cell.kept);
        let what = match &cell.outcome {
            CellOutcome::Failed(why) => format!("failed, {why}"),
            CellOutcome::Done(f) => format!(
                "R² {:.4}, collision rate {}{}",
                f.r2,
                percent(f.collision_rate),
                if cell.kept { ", from an earlier run" } else { "" }
            ),
        };
        progress.say(&format!("{seen} of {total}: {}: {what}", cell.name()));
        progress.expect_levels(cell.levels, 1);
    };
    let report = sweep(&plan.sweep, &input, &device, &plan.folder, &plan.options, progress, &mut each);
    let report = match report {
        Err(Error::Interrupted(_)) => {
            let problem = format!(
                ": {} of {total} cells are in `{}`; the same command goes on from there",
                seen,
                plan.folder.display()
            );
            return Err(Error::Interrupted(problem).into());
        }
        other => other?,
    };
    let failed: Vec<&Cell> = report.cells.iter().filter(|cell| cell.figures().is_none()).collect();
    if let ([first, ..], true) = (failed.as_slice(), failed.len() == report.cells.len())
        && let CellOutcome::Failed(why) = &first.outcome
    {
        return Err(Error::Data(format!("none of {total} settings could be trained; {}: {why}", first.name())).into());
    }
    let title = plan.input.path.file_name().unwrap_or_default().to_string_lossy();
    let page = plan.folder.join("sweep.html");
    write_bytes_atomic(&page, render_page(&format!("Sweep over {title}"), &report).as_bytes())?;
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if progress.json {
        let mut value = serde_json::to_value(&report)?;
        if let Value::Object(map) = &mut value {
            map.insert("folder".into(), json!(plan.folder.display().to_string()));
            map.insert("page".into(), json!(page.display().to_string()));
            map.insert("kept".into(), json!(kept));
            map.insert("failed".into(), json!(failed.len()));
            map.insert("dropped".into(), json!(input.dropped().len()));
            map.insert("device".into(), json!(device.info()));
            map.insert("seconds".into(), json!(seconds));
            map.insert("notes".into(), json!(progress.notes()));
        }
        return print_json(&value);
    }
    print(&format!(
        "{}\n* on the Pareto front: no other has at most the collisions and levels and at least the R²\n{} in {}, {} from earlier \
         runs; wrote {}: open it in a browser\n",
        as_text(&report),
        count(total as u64, "setting"),
        time(seconds),
        whole(kept as u64),
        page.display()
    ))?;
    for cell in failed {
        if let CellOutcome::Failed(why) = &cell.outcome {
            progress.note(&format!("{} failed: {why}", cell.name()));
        }
    }
    Ok(())
}

fn as_text(report: &SweepReport) -> String {
    let recall = report.cells.iter().any(|cell| cell.figures().is_some_and(|f| f.recall_at_10.is_some()));
    let refined = report.cells.iter().any(|cell| cell.refine_rounds > 0);
    let balanced = report.cells.iter().any(|cell| cell.balance != "none");
    let mut head = vec!["", "levels", "K"];
    if refined {
        head.push("refined");
    }
    if balanced {
        head.push("balance");
    }
    head.extend(["vocabulary", "R²", "collisions", "largest", "perplexity/K", "train"]);
    if recall {
        head.push("recall@10");
    }
    let mut out = vec![head.into_iter().map(String::from).collect::<Vec<_>>()];
    for cell in &report.cells {
        let mut row = vec![
            if cell.on_front { "*" } else { "" }.to_owned(),
            cell.levels.to_string(),
            cell.codebook_size.to_string(),
        ];
        if refined {
            row.push(cell.refine_rounds.to_string());
        }
        if balanced {
            row.push(cell.balance.to_owned());
        }
        row.push(cell.vocabulary.to_string());
        match cell.figures() {
            None => row.push("failed".into()),
            Some(f) => {
                let mean = f.perplexity.iter().sum::<f64>() / f.perplexity.len().max(1) as f64;
                row.extend([
                    format!("{:.4}", f.r2),
                    percent(f.collision_rate),
                    whole(f.max_bucket as u64),
                    format!("{:.3}", mean / cell.codebook_size.max(1) as f64),
                    time(f.train_seconds),
                ]);
                if recall {
                    row.push(f.recall_at_10.map_or(String::new(), percent));
                }
            }
        }
        out.push(row);
    }
    table(&out, &[0])
}
