//! Plans of the verbs for codecs that were trained again.

use crate::args::{Align, Churn, DeviceChoice, OnBad, Rows};
use crate::failure::usage;
use crate::plan::{RowsPlan, output, rows};
use anyhow::Result;
use std::path::{Path, PathBuf};

pub struct AlignPlan {
    pub new: PathBuf,
    pub old: PathBuf,
    pub input: Option<RowsPlan>,
    pub output: PathBuf,
    pub device: DeviceChoice,
}

/// What is compared.
pub enum Compared {
    Codecs { old: PathBuf, new: PathBuf, input: RowsPlan },
    Codes(PathBuf, PathBuf),
}

pub struct ChurnPlan {
    pub compared: Compared,
    pub device: DeviceChoice,
}

/// Refuses options about rows where none are read.
fn no_rows(flags: &Rows, without: &str) -> Result<()> {
    match (&flags.array, flags.on_bad) {
        (None, OnBad::Refuse) => Ok(()),
        (Some(_), _) => Err(usage(format!("`--array` goes with rows; leave it out {without}"))),
        (None, OnBad::Drop) => Err(usage(format!("`--on-bad` goes with rows; leave it out {without}"))),
    }
}

pub fn align(flags: Align) -> Result<AlignPlan> {
    if flags.input.is_none() {
        no_rows(&flags.rows, "or give IN")?;
    }
    let input = flags.input.map(|path| rows(path, flags.rows));
    let mut inputs: Vec<&Path> = vec![&flags.old];
    inputs.extend(input.iter().flat_map(RowsPlan::paths));
    output(&flags.output, &["safetensors"], "a codec is written as", &inputs, true)?;
    Ok(AlignPlan { new: flags.new, old: flags.old, input, output: flags.output, device: flags.on.device })
}

pub fn churn(flags: Churn) -> Result<ChurnPlan> {
    let device = flags.on.device;
    let compared = match (flags.codes.as_deref(), flags.old, flags.new, flags.input) {
        (Some([old, new]), ..) => {
            no_rows(&flags.rows, "with `--codes`")?;
            Compared::Codes(old.clone(), new.clone())
        }
        (_, Some(old), Some(new), Some(input)) => Compared::Codecs { old, new, input: rows(input, flags.rows) },
        _ => return Err(usage("`churn` takes OLD NEW IN, or `--codes OLD NEW`")),
    };
    Ok(ChurnPlan { compared, device })
}
