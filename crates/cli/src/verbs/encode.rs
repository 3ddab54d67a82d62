//! `sememe encode`.

use crate::device;
use crate::flags::{DeviceChoice, OnDevice, Rows};
use crate::input::{Input, check_dims, report_dropped};
use crate::output::{output, print, print_json, writes_parquet};
use crate::progress::Progress;
use crate::rows_plan::{RowsPlan, encode_options, rows};
use crate::text::{count, percent, time, whole};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::RowSource as _;
use sememe::io::CodesWriter;
use sememe::{Codec, EncodeOptions};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Flags {
    /// Codec to encode with
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
    /// Embeddings [rows, dims]: .npy, .npz, .safetensors, .parquet, .jsonl or a folder of them
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// Codes to write: .npy, .parquet, .jsonl or .csv
    #[arg(long, short, value_name = "CODES", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub on: OnDevice,
    /// Prefixes to keep per row; 1 is greedy, more gives a smaller error and takes longer [default: the codec's own]
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    /// Rows to read and encode at a time [default: about 32 MiB of them]
    #[arg(long, value_name = "N")]
    pub batch_rows: Option<usize>,
}

pub struct Plan {
    pub codec: PathBuf,
    pub input: RowsPlan,
    pub output: PathBuf,
    pub device: DeviceChoice,
    pub options: EncodeOptions,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let options = encode_options(flags.beam, flags.batch_rows)?;
    let input = rows(flags.input, flags.rows);
    let inputs: Vec<&Path> = input.paths().chain([flags.codec.as_path()]).collect();
    output(&flags.output, &["npy", "parquet", "jsonl", "csv"], "codes are written as", &inputs, true)?;
    writes_parquet(&flags.output)?;
    Ok(Plan { codec: flags.codec, input, output: flags.output, device: flags.on.device, options })
}

/// Streams codes to a file.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let codec = Codec::load(&plan.codec)?;
    let input = Input::open_for(&plan.input, codec.metric())?;
    check_dims(&codec, &input)?;
    let device = device::open(plan.device, input.rows())?;
    let encoder = codec.encoder(&device, &plan.options)?;
    report_dropped(&input, progress);
    let npy = plan.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
    if npy && !input.dropped().is_empty() {
        progress.note(&format!(
            "a .npy keeps no row numbers, so past row {} its rows are not those of the input; write .parquet, .jsonl or \
             .csv to keep them",
            input.dropped()[0]
        ));
    }
    let mut writer = CodesWriter::create(&plan.output, input.rows(), codec.levels(), &codec.codebook_sizes())?;
    let levels = codec.levels();
    let working = Instant::now();
    let mut numbers: Vec<u64> = Vec::new();
    let rechecked = encoder.encode_source(&input, progress, &mut |start, codes| {
        numbers.clear();
        numbers.extend((start..start + codes.len() / levels).map(|i| input.original(i)));
        writer.write_with_rows(&numbers, codes)
    })?;
    let rate = input.rows() as f64 / working.elapsed().as_secs_f64().max(1e-9);
    writer.finish()?;
    progress.finish();
    let (seconds, share) = (begun.elapsed().as_secs_f64(), rechecked as f64 / input.rows() as f64);
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "codec": codec.content_hash(),
            "rows": input.rows(),
            "levels": levels,
            "codebook_sizes": codec.codebook_sizes(),
            "beam": encoder.beam(),
            "dropped": input.dropped().len(),
            "rechecked": rechecked,
            "rechecked_share": share,
            "rows_per_second": rate,
            "seconds": seconds,
            "device": device.info(),
            "fell_back": encoder.fell_back(),
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    let fell_back = if encoder.fell_back() { ", finished on the CPU" } else { "" };
    print(&format!(
        "wrote {}: {} of {} in {}, {} rows/s on the {}{fell_back}\n{} ({}) decided in f64, as too close to call in f32\n",
        plan.output.display(),
        count(input.rows() as u64, "row"),
        count(levels as u64, "code"),
        time(seconds),
        whole(rate as u64),
        device::name(&device.info()),
        count(rechecked, "row"),
        percent(share)
    ))
}
