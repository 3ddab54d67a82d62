//! `sememe eval`.

use crate::device;
use crate::encode::check_dims;
use crate::input::Input;
use crate::output::{print, print_json};
use crate::plan::{EvalPlan, Names, in_flags};
use crate::progress::{Progress, stopped};
use crate::text::{sizes, time, whole};
use crate::train::report_dropped;
use anyhow::Result;
use sememe::eval::{EvalOptions, Evaluation, ReportInput, advice, evaluate, render_html, render_text};
use sememe::io::{read_titles, write_bytes_atomic};
use sememe::{Codec, Codes, Device, Encoder, Error, RowSource};
use serde_json::{Value, json};
use std::time::Instant;

/// All codes of a source.
pub fn encode_all(
    encoder: &Encoder,
    codec: &Codec,
    rows: &dyn RowSource,
    progress: &Progress,
) -> sememe::Result<Codes> {
    let levels = codec.levels();
    let mut codes = Codes::zeros(rows.rows(), levels);
    encoder.encode_source(rows, progress, &mut |start, part| {
        codes.as_mut_slice()[start * levels..][..part.len()].copy_from_slice(part);
        Ok(())
    })?;
    Ok(codes)
}

/// [`evaluate`] with a codec's own decoding, stopped on request.
pub fn measure(
    codec: &Codec,
    rows: &dyn RowSource,
    codes: &Codes,
    options: &EvalOptions,
) -> sememe::Result<Evaluation> {
    let decode = |codes: &Codes| {
        if stopped() { Err(Error::Interrupted(String::new())) } else { codec.decode(codes) }
    };
    evaluate(rows, codes, &codec.codebook_sizes(), &decode, options)
}

/// Measures, prints, and writes the report.
pub fn run(plan: &EvalPlan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let codec = Codec::load(&plan.codec)?;
    let input = Input::open(&plan.input)?;
    check_dims(&codec, &input)?;
    let (names, details) = match &plan.names {
        Some(names) => titles(names, &input)?,
        None => Default::default(),
    };
    let device = device::open(plan.device, input.rows())?;
    let encoder = codec.encoder(&device, &plan.options).map_err(in_flags)?;
    report_dropped(&input, progress);
    let codes = encode_all(&encoder, &codec, &input, progress)?;
    progress.phase("measure", 0, "");
    let options = EvalOptions { queries: plan.queries, seed: plan.seed, ..EvalOptions::default() };
    let evaluation = measure(&codec, &input, &codes, &options)?;
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(path) = &plan.report {
        let sizes = codec.codebook_sizes();
        let title = plan.input.path.file_name().unwrap_or_default().to_string_lossy();
        let mut page = ReportInput::new(&title, &codes, &sizes, &evaluation);
        page.facts = facts(&codec, &device, seconds, encoder.beam());
        page.facts.insert(0, ("codec".into(), plan.codec.display().to_string()));
        (page.names, page.details) = (&names, &details);
        write_bytes_atomic(path, render_html(&page)?.as_bytes())?;
    }
    progress.finish();
    let notes = advice(&evaluation);
    if progress.json {
        notes.iter().for_each(|note| progress.note(note));
        let mut value = serde_json::to_value(&evaluation)?;
        if let Value::Object(map) = &mut value {
            map.insert("codec".into(), json!(codec.content_hash()));
            map.insert("beam".into(), json!(encoder.beam()));
            map.insert("dropped".into(), json!(input.dropped().len()));
            map.insert("device".into(), json!(device.info()));
            map.insert("report".into(), json!(plan.report.as_ref().map(|p| p.display().to_string())));
            map.insert("seconds".into(), json!(seconds));
            map.insert("notes".into(), json!(progress.notes()));
        }
        return print_json(&value);
    }
    let mut text = render_text(&evaluation);
    if let Some(path) = &plan.report {
        text.push_str(&format!("\nwrote {}: open it in a browser\n", path.display()));
    }
    print(&text)?;
    notes.iter().for_each(|note| progress.note(note));
    Ok(())
}

/// What went into a run, for the report.
pub fn facts(codec: &Codec, device: &Device, seconds: f64, beam: usize) -> Vec<(String, String)> {
    let manifest = codec.manifest();
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut out = vec![
        fact("dimensions", manifest.dims.to_string()),
        fact("codewords", sizes(&manifest.codebook_sizes)),
        fact("method", manifest.method.clone()),
        fact("trained on", format!("{} rows", whole(manifest.training.rows))),
        fact("seed", manifest.seed.to_string()),
    ];
    if manifest.inner_dims != manifest.dims {
        out.insert(1, fact("after PCA", manifest.inner_dims.to_string()));
    }
    if beam > 1 {
        out.push(fact("beam", beam.to_string()));
    }
    out.push(fact("device", device::name(&device.info())));
    out.push(fact("time", time(seconds)));
    out
}

/// Names and details of the rows that are left.
fn titles(names: &Names, input: &Input) -> Result<(Vec<String>, Vec<String>)> {
    let all = input.rows() + input.dropped().len();
    let read = |field: &str| -> Result<Vec<String>> {
        let texts = read_titles(&names.path, field)?;
        if texts.len() != all {
            let place = names.path.display().to_string();
            return Err(Error::Shape { what: "items", expected: all, got: texts.len(), place }.into());
        }
        Ok((0..input.rows()).map(|i| texts[input.original(i) as usize].clone()).collect())
    };
    let details = names.detail.as_deref().map(read).transpose()?.unwrap_or_default();
    Ok((read(&names.field)?, details))
}
