//! `sememe eval`.

mod flags;
mod inputs;
mod plan;

pub use flags::Flags;
pub use plan::plan;

use crate::evaluation::facts;
use crate::input::{Input, check_dims, encode_all, report_dropped, strictest};
use crate::output::{print, print_json};
use crate::progress::{Progress, stopped};
use crate::text::{sizes, time, whole};
use crate::verbs::eval::inputs::{Beside, Numbers};
use crate::verbs::eval::plan::{ItemNames, Plan, Side};
use crate::{device, hints};
use anyhow::{Result, bail};
use sememe::eval::{
    CodeAdjustment, CodeTable, EvalOptions, Evaluation, ReportInput, Subject, advice, compare, interpret_codes, judge,
    measure_churn, render_comparison, render_html, render_text,
};
use sememe::ids::TextFormat;
use sememe::io::{CodesFile, read_codes_file, read_titles, write_bytes_atomic};
use sememe::{Codec, Codes, Device, Error, RowSource};
use sememe_run::page::{read_epochs, spelling};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// Codes that are judged, with what is known of their origin.
struct Judged {
    name: String,
    codes: Codes,
    sizes: Vec<usize>,
    codec: Option<Codec>,
    beam: usize,
    /// The rows' numbers and keys, where a table says them and no rows do.
    numbers: Option<Vec<u64>>,
    keys: Option<Vec<String>>,
}

impl Judged {
    fn evaluate(&self, rows: Option<&Input>, beside: &Beside, options: &EvalOptions) -> sememe::Result<Evaluation> {
        let codec = self.codec.as_ref();
        let decode = codec.map(|codec| {
            move |codes: &Codes| {
                if stopped() { Err(Error::Interrupted(String::new())) } else { codec.decode(codes) }
            }
        });
        let subject = Subject {
            rows: rows.map(|rows| rows as &dyn RowSource),
            decode: decode.as_ref().map(|decode| decode as _),
            labels: &beside.labels,
            sequences: beside.sequences.as_ref(),
            ..Subject::new(&self.codes, &self.sizes)
        };
        let shared_codebook = codec.is_some_and(|codec| codec.manifest().shared_codebook);
        judge(&subject, &EvalOptions { shared_codebook, ..*options })
    }
}

/// A side's codes: encoded, or read.
fn judged(
    side: &Side,
    plan: &Plan,
    rows: Option<&Input>,
    device: Option<&Device>,
    progress: &Progress,
) -> Result<Judged> {
    let name = side.name();
    match side {
        Side::Codec(path) => {
            let codec = Codec::load(path)?;
            let (Some(rows), Some(device)) = (rows, device) else { bail!("a codec without rows was planned") };
            check_dims(&codec, rows)?;
            let encoder = codec.encoder(device, &plan.encode)?;
            let codes = encode_all(&encoder, &codec, rows, progress)?;
            let (sizes, beam) = (codec.codebook_sizes(), encoder.beam());
            Ok(Judged { name, codes, sizes, codec: Some(codec), beam, numbers: None, keys: None })
        }
        Side::Table { codes: path, codec } => {
            let codec = codec.as_ref().map(Codec::load).transpose()?;
            if let (Some(codec), Some(rows)) = (&codec, rows) {
                check_dims(codec, rows)?;
            }
            let file = read_codes_file(path)?;
            let (numbers, keys) = (file.rows.clone(), file.keys.clone());
            let (numbers, keys) = if rows.is_none() { (numbers, keys) } else { (None, None) };
            let codes = of_rows(file, rows, path)?;
            let sizes = plan.codebook_sizes.clone().or_else(|| codec.as_ref().map(Codec::codebook_sizes));
            let in_file = |e: Error| {
                e.map_root(|root| match root {
                    Error::Shape { what, expected, got, .. } => {
                        Error::Shape { what, expected, got, place: path.display().to_string() }
                    }
                    Error::Data(problem) => Error::format(path, problem),
                    other => other,
                })
            };
            let count = rows.map(RowSource::rows);
            let table = interpret_codes(codes, sizes.as_deref(), count).map_err(in_file)?;
            if let Some(codec) = &codec
                && table.codebook_sizes != codec.codebook_sizes()
            {
                return Err(Error::format(
                    path,
                    format!(
                        "codebooks of {} are not the codec's {}, so its rows cannot come back; leave out the codec or \
                         `--codebook-size`",
                        self::sizes(&table.codebook_sizes),
                        self::sizes(&codec.codebook_sizes())
                    ),
                )
                .into());
            }
            for reading in &table.readings {
                progress.note(&format!("{name}: {}", read_as(reading, &table)));
            }
            Ok(Judged { name, codes: table.codes, sizes: table.codebook_sizes, codec, beam: 0, numbers, keys })
        }
    }
}

/// The codes of the rows that are judged, whether the table has those only, all of the file, or row numbers.
fn of_rows(file: CodesFile, rows: Option<&Input>, path: &Path) -> Result<Codes> {
    let Some(rows) = rows else { return Ok(file.codes) };
    let (codes, all) = (file.codes, rows.rows() + rows.dropped().len());
    let pick: Vec<usize> = match &file.rows {
        Some(numbers) => {
            let at: HashMap<u64, usize> = numbers.iter().enumerate().map(|(at, number)| (*number, at)).collect();
            let find = |number: u64| {
                at.get(&number).copied().ok_or_else(|| Error::format(path, format!("has no codes for row {number}")))
            };
            (0..rows.rows()).map(|i| find(rows.original(i))).collect::<sememe::Result<_>>()?
        }
        None if codes.rows() == all && all > rows.rows() => {
            (0..rows.rows()).map(|i| rows.original(i) as usize).collect()
        }
        None => return Ok(codes),
    };
    let flat = pick.iter().flat_map(|at| codes.row(*at).iter().copied()).collect();
    Ok(Codes::from_vec(pick.len(), codes.levels(), flat)?)
}

/// IDs after collisions were resolved, of the rows that are judged.
fn final_ids(path: &Path, first: &Judged, rows: Option<&Input>) -> Result<Codes> {
    let ids = of_rows(read_codes_file(path)?, rows, path)?;
    let place = path.display().to_string();
    if ids.rows() != first.codes.rows() {
        return Err(Error::Shape { what: "rows", expected: first.codes.rows(), got: ids.rows(), place }.into());
    }
    let levels = first.codes.levels();
    if ids.levels() != levels && ids.levels() != levels + 1 {
        let problem =
            format!("holds {} codes an ID, expected {levels}, or {} with a counter", ids.levels(), levels + 1);
        return Err(Error::format(path, problem).into());
    }
    Ok(ids)
}

fn read_as(reading: &CodeAdjustment, table: &CodeTable) -> String {
    let (rows, levels) = (whole(table.codes.rows() as u64), table.codes.levels());
    match reading {
        CodeAdjustment::Transposed => format!(
            "read as [levels, items], {levels} codes for each of {rows} items; a last row that numbers colliding items counts as a \
             level"
        ),
        CodeAdjustment::Offset => "codes are counted on from level to level; each level now begins at 0".into(),
        CodeAdjustment::SizesGuessed => format!(
            "codebooks are taken to be {}, a level's highest code and one; `--codebook-size` says it for certain",
            sizes(&table.codebook_sizes)
        ),
    }
}

/// Measures, prints, and writes the report.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let sides = [Some(&plan.side), plan.against.as_ref()].into_iter().flatten();
    let codecs = sides.filter_map(|side| if let Side::Codec(path) = side { Some(Codec::load(path)) } else { None });
    let codecs = codecs.collect::<sememe::Result<Vec<_>>>()?;
    let compared = strictest(&codecs.iter().collect::<Vec<_>>());
    let input = plan.input.as_ref().map(|input| Input::open_for(input, compared)).transpose()?;
    let rows = input.as_ref();
    let encodes = [Some(&plan.side), plan.against.as_ref()].into_iter().flatten().any(|s| matches!(s, Side::Codec(_)));
    let device = rows.filter(|_| encodes).map(|rows| device::open(plan.device, rows.rows())).transpose()?;
    if let Some(input) = rows {
        report_dropped(input, progress);
    }
    let first = judged(&plan.side, plan, rows, device.as_ref(), progress)?;
    let second = match &plan.against {
        Some(side) => Some(judged(side, plan, rows, device.as_ref(), progress)?),
        None => None,
    };
    if let Some(second) = &second
        && second.codes.rows() != first.codes.rows()
    {
        let (expected, got) = (first.codes.rows(), second.codes.rows());
        return Err(Error::Shape { what: "rows", expected, got, place: second.name.clone() }.into());
    }
    let count = first.codes.rows();
    if let (Some(second), Some(a), Some(b)) =
        (&second, &first.numbers, second.as_ref().and_then(|s| s.numbers.as_ref()))
        && let Some((a, b)) = a.iter().zip(b).find(|(a, b)| a != b)
    {
        let problem = format!("has row {b} where `{}` has row {a}; compare tables of the same rows", first.name);
        return Err(Error::format(&second.name, problem).into());
    }
    let number = |i: usize| match (rows, &first.numbers) {
        (Some(rows), _) => rows.original(i),
        (None, Some(numbers)) => numbers[i],
        (None, None) => i as u64,
    };
    let numbers = Numbers((0..count).map(number).collect());
    // Read before anything is measured, so that a file that does not fit is refused early.
    let (names, details) = match &plan.names {
        Some(names) => titles(names, &numbers)?,
        None => Default::default(),
    };
    let beside = inputs::read(plan, &numbers, first.keys.clone(), progress)?;
    let resolved = plan.ids.as_ref().map(|path| final_ids(path, &first, rows)).transpose()?;
    let epochs = plan.metrics.as_ref().map(read_epochs).transpose()?.unwrap_or_default();
    progress.phase("measure", 0, "");
    let evaluation = first.evaluate(rows, &beside, &plan.options)?;
    let other = second.as_ref().map(|second| second.evaluate(rows, &beside, &plan.options)).transpose()?;
    let comparison = match (&second, &other) {
        (Some(second), Some(other)) => {
            let churn = measure_churn(&first.codes, &second.codes)?;
            Some(compare((&first.name, &evaluation), (&second.name, other), Some(churn)))
        }
        _ => None,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let say = hints::advice_about(first.codec.as_ref());
    if let Some(path) = &plan.report {
        let source = plan.input.as_ref().map_or(plan.side.name(), |input| input.path.display().to_string());
        let title = Path::new(&source).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut page = ReportInput::new(&title, &first.codes, &first.sizes, &evaluation);
        page.advice_text = say;
        page.facts = match (&first.codec, &device) {
            (Some(codec), Some(device)) => facts(codec, device, seconds, first.beam),
            _ => vec![("codewords".into(), sizes(&first.sizes)), ("time".into(), time(seconds))],
        };
        let what = if matches!(plan.side, Side::Codec(_)) { "codec" } else { "codes" };
        page.facts.insert(0, (what.into(), first.name.clone()));
        (page.names, page.details, page.comparison) = (&names, &details, comparison.as_ref());
        (page.keys, page.ids, page.epochs) = (&beside.keys, resolved.as_ref(), &epochs);
        page.training = first.codec.as_ref().map(|codec| &codec.manifest().training);
        let format = TextFormat::preset(plan.style, &first.sizes)?;
        let counted = resolved.as_ref().is_some_and(|ids| ids.levels() > first.codes.levels());
        page.spelling = Some(spelling(&if counted { format.with_counter()? } else { format }));
        write_bytes_atomic(path, render_html(&page)?.as_bytes())?;
    }
    progress.finish();
    let notes = advice(&evaluation);
    if progress.json {
        notes.iter().for_each(|note| progress.note(&say(note)));
        let mut value = serde_json::to_value(&evaluation)?;
        if let Value::Object(map) = &mut value {
            map.insert("codec".into(), json!(first.codec.as_ref().map(Codec::content_hash)));
            map.insert("codebook_sizes".into(), json!(first.sizes));
            map.insert("beam".into(), json!(first.beam));
            map.insert("dropped".into(), json!(rows.map_or(0, |rows| rows.dropped().len())));
            map.insert("unknown_events".into(), json!(beside.unknown_events));
            map.insert("device".into(), json!(device.as_ref().map(Device::info)));
            map.insert("report".into(), json!(plan.report.as_ref().map(|p| p.display().to_string())));
            if let (Some(other), Some(comparison)) = (&other, &comparison) {
                map.insert("against".into(), json!(other));
                map.insert("comparison".into(), json!(comparison));
            }
            map.insert("seconds".into(), json!(seconds));
            map.insert("notes".into(), json!(progress.notes()));
        }
        return print_json(&value);
    }
    let mut text = render_text(&evaluation);
    if let Some(comparison) = &comparison {
        text.push_str(&format!("\n{}", render_comparison(comparison)));
    }
    if let Some(path) = &plan.report {
        text.push_str(&format!("\nwrote {}: open it in a browser\n", path.display()));
    }
    print(&text)?;
    notes.iter().for_each(|note| progress.note(&say(note)));
    Ok(())
}

/// ItemNames and details of the rows that are left.
fn titles(names: &ItemNames, numbers: &Numbers) -> Result<(Vec<String>, Vec<String>)> {
    let read = |field: &str| numbers.pick(read_titles(&names.path, field)?, &names.path);
    let details = names.detail.as_deref().map(read).transpose()?.unwrap_or_default();
    Ok((read(&names.field)?, details))
}
