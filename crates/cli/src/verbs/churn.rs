//! `sememe churn`.

use crate::changes::{both, table, text};
use crate::device;
use crate::failure::usage;
use crate::flags::{DeviceChoice, OnDevice, Rows};
use crate::given::Given;
use crate::input::{Input, check_dims, report_dropped, strictest};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::rows_plan::{RowsPlan, no_rows, rows};
use crate::text::whole;
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::eval::measure_churn;
use sememe::io::{CodesFile, read_codes_file};
use sememe::{Codec, Codes, Error, RowSource as _};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Flags {
    /// Codec of the IDs in use
    #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
    pub old: Option<PathBuf>,
    /// Codec that may replace it
    #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
    pub new: Option<PathBuf>,
    /// Embeddings that both encode
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
    /// Two files with codes of the same rows, instead of codecs and rows: .npy, .parquet, .jsonl or .csv
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], value_hint = ValueHint::FilePath, conflicts_with_all = ["old", "new", "input"])]
    pub codes: Option<Vec<PathBuf>>,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
}

/// What is compared.
pub enum Compared {
    Codecs { old: PathBuf, new: PathBuf, input: RowsPlan },
    Codes(PathBuf, PathBuf),
}

pub struct Plan {
    pub compared: Compared,
    pub device: DeviceChoice,
}

pub fn plan(flags: Flags, given: &Given) -> Result<Plan> {
    let device = flags.on.device;
    let compared = match (flags.codes.as_deref(), flags.old, flags.new, flags.input) {
        (Some([old, new]), ..) => {
            no_rows(given, "with `--codes`")?;
            Compared::Codes(old.clone(), new.clone())
        }
        (_, Some(old), Some(new), Some(input)) => Compared::Codecs { old, new, input: rows(input, flags.rows) },
        _ => return Err(usage("`churn` takes OLD NEW IN, or `--codes OLD NEW`")),
    };
    Ok(Plan { compared, device })
}

/// Compares, and prints.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let (old, new) = match &plan.compared {
        Compared::Codecs { old, new, input } => {
            let (old, new) = (Codec::load(old)?, Codec::load(new)?);
            let input = Input::open_for(input, strictest(&[&old, &new]))?;
            check_dims(&old, &input)?;
            check_dims(&new, &input)?;
            report_dropped(&input, progress);
            let device = device::open(plan.device, input.rows())?;
            both(&old, &new, &input, &device, progress)?
        }
        Compared::Codes(old, new) => common((&read_codes_file(old)?, old), (&read_codes_file(new)?, new), progress)?,
    };
    let churn = measure_churn(&old, &new)?;
    progress.finish();
    if progress.json {
        let mut value = serde_json::to_value(&churn)?;
        if let serde_json::Value::Object(map) = &mut value {
            map.insert("changed".into(), churn.changed().into());
            map.insert("notes".into(), serde_json::json!(progress.notes()));
        }
        return print_json(&value);
    }
    print(&format!("{}{}", text(&churn), table(&churn)))
}

/// The rows that both files have, by their numbers where they say them.
fn common(
    (old, old_path): (&CodesFile, &Path),
    (new, new_path): (&CodesFile, &Path),
    progress: &Progress,
) -> Result<(Codes, Codes)> {
    if old.rows.is_none() && new.rows.is_none() {
        if old.codes.rows() != new.codes.rows() {
            let problem = format!(
                "holds {} rows, but `{}` {}, and a file without row numbers cannot say which are the same; write .parquet, \
                 .jsonl or .csv",
                new.codes.rows(),
                old_path.display(),
                old.codes.rows()
            );
            return Err(Error::format(new_path, problem).into());
        }
        return Ok((old.codes.clone(), new.codes.clone()));
    }
    let number = |file: &CodesFile, i: usize| file.rows.as_ref().map_or(i as u64, |rows| rows[i]);
    let places: std::collections::HashMap<u64, usize> = (0..new.codes.rows()).map(|i| (number(new, i), i)).collect();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for i in 0..old.codes.rows() {
        if let Some(at) = places.get(&number(old, i)) {
            a.extend_from_slice(old.codes.row(i));
            b.extend_from_slice(new.codes.row(*at));
        }
    }
    let rows = a.len() / old.codes.levels();
    let (in_old, in_new) = (old.codes.rows(), new.codes.rows());
    if rows < in_old.max(in_new) {
        progress.note(&format!(
            "compared {} rows that both files have; {} are in the first only, {} in the second only",
            whole(rows as u64),
            whole((in_old - rows) as u64),
            whole((in_new - rows) as u64)
        ));
    }
    Ok((Codes::from_vec(rows, old.codes.levels(), a)?, Codes::from_vec(rows, new.codes.levels(), b)?))
}
