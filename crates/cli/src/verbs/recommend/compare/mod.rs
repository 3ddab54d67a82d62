//! `sememe recommend compare`.

mod cell;
mod plan;
mod tables;

pub use plan::{Plan, plan};

use crate::device;
use crate::interactions::{EventItems, read_interactions};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::text::{count, percent, table as columns, time};
use crate::verbs::recommend::compare::cell::Cell;
use crate::verbs::recommend::compare::tables::Compared;
use crate::verbs::recommend::eval::{baseline_name, summary_head, summary_line};
use anyhow::Result;
use sememe::eval::{BaselineMeasures, BaselineOptions, measure_baselines};
use sememe::io::{create_folder, remove_leftovers, write_bytes_atomic};
use sememe::{Error, RowSource, Sequences};
use sememe_recommend::{ComparedTable, MeasureSpread};
use serde_json::json;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Instant;

/// The comparison, in its folder.
const COMPARISON: &str = "comparison.json";

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let compared = Compared::read(plan)?;
    let items = EventItems { count: compared.items, numbers: None, keys: compared.keys.as_deref() };
    let (histories, unknown) = read_interactions(&plan.events, &items, progress)?;
    create_folder(&plan.folder)?;
    let _lock = lock(&plan.folder)?;
    remove_leftovers(&plan.folder)?;
    let device = device::open(plan.device, compared.items)?;
    let baselines = baselines(&compared, &histories, progress)?;
    let (mut tables, mut trained) = (Vec::new(), 0u64);
    for entry in &compared.entries {
        let mut runs = Vec::new();
        for seed in &plan.seeds {
            let cell = Cell::new(plan, entry, &histories, &device, *seed)?;
            let run = match cell.kept()? {
                Some(run) => run,
                None => {
                    progress.say(&format!("{}, seed {seed}", entry.name));
                    trained += 1;
                    cell.train(&histories, &device, progress).map_err(going_on)?
                }
            };
            runs.push(run);
        }
        tables.push(ComparedTable::new(entry.name.clone(), runs));
    }
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    let value = json!({
        "items": compared.items,
        "users": histories.users(),
        "events": histories.events(),
        "unknown_events": unknown,
        "settings": plan.settings,
        "seeds": plan.seeds,
        "tables": tables,
        "baselines": baselines,
        "device": device.info(),
    });
    write_bytes_atomic(plan.folder.join(COMPARISON), format!("{value:#}\n").as_bytes())?;
    if progress.json {
        let mut value = value;
        value["output"] = json!(plan.folder.join(COMPARISON).display().to_string());
        value["trained"] = json!(trained);
        value["seconds"] = json!(seconds);
        value["notes"] = json!(progress.notes());
        return print_json(&value);
    }
    if progress.quiet {
        return Ok(());
    }
    let mut rows = vec![summary_head()];
    rows.extend(tables.iter().map(line));
    rows.extend(baselines.iter().map(|b| summary_line(baseline_name(&b.by), &b.measures)));
    let all = count(compared.items as u64, "item");
    print(&format!(
        "the last item of each user, among all {all}; {} trained, {} kept, in {}\n{}wrote {}\n",
        trained,
        tables.iter().map(|table| table.runs.len() as u64).sum::<u64>() - trained,
        time(seconds),
        columns(&rows, &[0]),
        plan.folder.join(COMPARISON).display()
    ))
}

/// One comparison at a time works in a folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("comparison.lock");
    let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let shown = folder.display();
            let problem = format!(
                "another comparison is at work in `{shown}`; wait for it, or name another folder with `--output`"
            );
            Err(Error::Data(problem).into())
        }
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e).into()),
    }
}

/// Whatever stops a comparison, what is trained stays.
fn going_on(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(Error::Interrupted(_)) => {
            Error::Interrupted("what was trained is kept; go on with the same command".into()).into()
        }
        _ => error,
    }
}

fn baselines(compared: &Compared, histories: &Sequences, progress: &Progress) -> Result<Vec<BaselineMeasures>> {
    let vectors = compared.entries.iter().find_map(|entry| entry.sources.vectors.as_ref());
    let rows = vectors.map(|rows| rows as &dyn RowSource);
    Ok(measure_baselines(compared.items, rows, histories, &BaselineOptions::default(), progress)?)
}

/// A table in a line: means, with the spread over seeds if there are several.
fn line(table: &ComparedTable) -> Vec<String> {
    let spread = |value: &Option<MeasureSpread>, text: fn(f64) -> String| match value {
        None => "–".to_owned(),
        Some(MeasureSpread { mean, deviation: None }) => text(*mean),
        Some(MeasureSpread { mean, deviation: Some(deviation) }) => format!("{} ± {}", text(*mean), text(*deviation)),
    };
    let four = |value: f64| format!("{value:.4}");
    let mut out = vec![table.name.clone()];
    for value in [&table.recall_at_5, &table.recall_at_10, &table.ndcg_at_5, &table.ndcg_at_10] {
        out.push(spread(value, four));
    }
    out.push(spread(&table.coverage_at_10, percent));
    out.push(spread(&table.cold_recall_at_10, four));
    out
}
