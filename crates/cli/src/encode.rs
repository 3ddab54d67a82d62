//! `sememe encode`.

use crate::device;
use crate::input::Input;
use crate::output::{print, print_json};
use crate::plan::EncodePlan;
use crate::progress::Progress;
use crate::text::{count, percent, time, whole};
use crate::train::report_dropped;
use anyhow::Result;
use sememe::io::CodesWriter;
use sememe::{Codec, Error, RowSource};
use serde_json::json;
use std::time::Instant;

/// Refuses rows that the codec cannot take, before anything is written.
pub fn check_dims(codec: &Codec, source: &dyn RowSource) -> sememe::Result<()> {
    let (expected, got) = (codec.dims(), source.dims());
    if expected == got { Ok(()) } else { Err(Error::Shape { what: "d", expected, got, place: source.name() }) }
}

/// Streams codes to a file.
pub fn run(plan: &EncodePlan, progress: &Progress) -> Result<()> {
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
