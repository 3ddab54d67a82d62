//! `sememe churn`.

use crate::device;
use crate::encode::check_dims;
use crate::eval::encode_all;
use crate::input::{Input, strictest};
use crate::output::{print, print_json};
use crate::progress::Progress;
use crate::retrain::{ChurnPlan, Compared};
use crate::text::{percent, whole};
use crate::train::report_dropped;
use anyhow::Result;
use sememe::eval::{Churn, measure_churn};
use sememe::io::{CodesFile, read_codes_file};
use sememe::{Codec, Codes, Device, EncodeOptions, Error, RowSource as _};
use std::path::Path;

/// Compares, and prints.
pub fn run(plan: &ChurnPlan, progress: &Progress) -> Result<()> {
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

/// The codes of all rows by either codec.
pub fn both(
    old: &Codec,
    new: &Codec,
    input: &Input,
    device: &Device,
    progress: &Progress,
) -> sememe::Result<(Codes, Codes)> {
    let codes = |codec: &Codec| encode_all(&codec.encoder(device, &EncodeOptions::default())?, codec, input, progress);
    Ok((codes(old)?, codes(new)?))
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

/// The headline.
pub fn text(churn: &Churn) -> String {
    let (changed, rows) = (whole(churn.changed_ids as u64), whole(churn.rows as u64));
    format!("{changed} of {rows} IDs changed ({})\n", percent(churn.changed()))
}

/// A row a depth.
pub fn table(churn: &Churn) -> String {
    let head = ["depth", "prefix changed", "code changed", "changed here", "kept together", "together before"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (depth, level) in churn.levels.iter().enumerate() {
        let shares =
            [level.changed, level.code_changed, level.changed_here, level.kept_together, level.together_before];
        rows.push(std::iter::once((depth + 1).to_string()).chain(shares.map(percent)).collect());
    }
    crate::text::table(&rows, &[])
}
