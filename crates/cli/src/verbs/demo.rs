//! `sememe demo`: the whole way once, on 4,149 Debian packages that the program carries with it.

use crate::evaluation::facts;
use crate::flags::{DeviceChoice, OnDevice};
use crate::input::encode_all;
use crate::output::{output, print, print_json};
use crate::progress::{Progress, stopped};
use crate::text::{count, time, whole};
use crate::{device, hints};
use anyhow::{Context as _, Result};
use clap::{Args, ValueHint};
use sememe::eval::{EvalOptions, Evaluation, ReportInput, advice, evaluate, render_html, render_text};
use sememe::io::write_bytes_atomic;
use sememe::{Codec, Codes, EncodeOptions, Error, Matrix, RowSource, RqKMeans};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Flags {
    /// Page to write
    #[arg(long, short, value_name = "PAGE.html", default_value = "sememe-demo.html", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[command(flatten)]
    pub on: OnDevice,
}

pub struct Plan {
    pub output: PathBuf,
    pub device: DeviceChoice,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    output(&flags.output, &["html", "htm"], "a page is written as", &[], true)?;
    Ok(Plan { output: flags.output, device: flags.on.device })
}

/// [`evaluate`] with a codec's own decoding, stopped on request.
fn measure(codec: &Codec, rows: &dyn RowSource, codes: &Codes, options: &EvalOptions) -> sememe::Result<Evaluation> {
    let decode = |codes: &Codes| {
        if stopped() { Err(Error::Interrupted(String::new())) } else { codec.decode(codes) }
    };
    let options = EvalOptions { shared_codebook: codec.manifest().shared_codebook, ..*options };
    evaluate(rows, codes, &codec.codebook_sizes(), &decode, &options)
}

/// Inside the binary, so that the demo runs anywhere: 3.7 MB, of which only what is read is ever loaded.
static EMBEDDINGS: &[u8] = include_bytes!("../../../../examples/data/packages.npy");

static PACKAGES: &str = include_str!("../../../../examples/data/packages.jsonl");

/// Few enough codewords that a prefix of two codes names a handful of packages.
const CODEBOOK_SIZES: [usize; 3] = [64, 64, 64];

/// Groups shown, and how many packages one may have.
const GROUPS: usize = 6;

const GROUP_SIZE: std::ops::RangeInclusive<usize> = 4..=7;

#[derive(Deserialize)]
struct Package {
    package: String,
    section: String,
    short: String,
}

/// The rows of the embedded `.npy`, float16 in C order.
fn rows(count: usize) -> Result<Matrix> {
    let header = EMBEDDINGS.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let body = header.and_then(|h| EMBEDDINGS.get(10 + h..)).context("the demo's embeddings are damaged")?;
    let values: Vec<f32> = body.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect();
    Ok(Matrix::from_vec(count, values.len() / count, values)?)
}

/// Trains, encodes, shows, measures, writes the page.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let packages: Vec<Package> = PACKAGES.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let rows = rows(packages.len())?;
    let device = device::open(plan.device, rows.rows())?;
    let config = RqKMeans { codebook_sizes: CODEBOOK_SIZES.to_vec(), tolerance: 0.0, ..RqKMeans::default() };
    progress.say(&format!(
        "{} Debian packages, each a vector of {} numbers made from its description",
        whole(rows.rows() as u64),
        rows.dims()
    ));
    progress.expect_levels(CODEBOOK_SIZES.len(), config.starts);
    let codec = Codec::train(&rows, &config, &device, progress)?;
    let encoder = codec.encoder(&device, &EncodeOptions::default())?;
    let codes = encode_all(&encoder, &codec, &rows, progress)?;
    progress.phase("measure", 0, "");
    let evaluation = measure(&codec, &rows, &codes, &EvalOptions::default())?;
    let seconds = begun.elapsed().as_secs_f64();

    let names: Vec<String> = packages.iter().map(|p| p.package.clone()).collect();
    let details: Vec<String> = packages.iter().map(|p| p.short.clone()).collect();
    let mut page = ReportInput::new("4,149 Debian packages", &codes, &CODEBOOK_SIZES, &evaluation);
    page.advice_text = hints::advice;
    page.facts = facts(&codec, &device, seconds, encoder.beam());
    (page.names, page.details) = (&names, &details);
    write_bytes_atomic(&plan.output, render_html(&page)?.as_bytes())?;
    progress.finish();

    let groups = groups(&rows, &codes, &packages);
    let shown = plan.output.display().to_string();
    if progress.json {
        advice(&evaluation).iter().for_each(|note| progress.note(&hints::advice(note)));
        let mut value = serde_json::to_value(&evaluation)?;
        if let Value::Object(map) = &mut value {
            let item = |i: &usize| json!({ "package": packages[*i].package, "id": codes.row(*i) });
            map.insert("groups".into(), groups.iter().map(|g| g.iter().map(item).collect::<Value>()).collect());
            map.insert("device".into(), json!(device.info()));
            map.insert("report".into(), json!(shown));
            map.insert("seconds".into(), json!(seconds));
            map.insert("notes".into(), json!(progress.notes()));
        }
        return print_json(&value);
    }
    let mut text = listing(&groups, &codes, &packages);
    let _ = write!(text, "\n{}", render_text(&evaluation));
    let _ = write!(
        text,
        "\ntrained, encoded and measured {} in {} on the {}\nwrote {shown}: open it in a browser to walk the whole tree\n",
        count(rows.rows() as u64, "package"),
        time(seconds),
        device::name(&device.info())
    );
    // Its notes say which options to try, and there are none here to set: they stand in the page.
    print(&text)
}

/// Where a name begins: `fonts` of `fonts-ipafont`, `python` of `python3-numpy`.
fn stem(name: &str) -> &str {
    name.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or(name)
}

/// Packages that share their first two codes: of each section the tightest such group, and of these the tightest.
/// A group's names must begin in different ways, since those of one family would prove little.
fn groups(rows: &Matrix, codes: &Codes, packages: &[Package]) -> Vec<Vec<usize>> {
    let mut by_prefix: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
    for (i, id) in codes.iter().enumerate() {
        by_prefix.entry(&id[..2]).or_default().push(i);
    }
    let stems = |group: &[usize]| group.iter().map(|i| stem(&packages[*i].package)).collect::<BTreeSet<_>>().len();
    let mut ranked: Vec<(f64, Vec<usize>)> = by_prefix
        .into_values()
        .filter(|group| GROUP_SIZE.contains(&group.len()) && stems(group) + 1 >= group.len())
        .map(|group| (spread(rows, &group), group))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut sections, mut firsts) = (BTreeSet::new(), BTreeSet::new());
    let mut out: Vec<Vec<usize>> = Vec::new();
    for (_, mut group) in ranked {
        let seen = group.iter().any(|i| sections.contains(packages[*i].section.as_str()));
        if out.len() < GROUPS && !seen && firsts.insert(codes.row(group[0])[0]) {
            sections.extend(group.iter().map(|i| packages[*i].section.as_str()));
            group.sort_by(|a, b| codes.row(*a).cmp(codes.row(*b)).then(a.cmp(b)));
            out.push(group);
        }
    }
    out.sort_by(|a, b| codes.row(a[0]).cmp(codes.row(b[0])));
    out
}

/// Mean squared L2 of a group's rows to their mean.
fn spread(rows: &Matrix, group: &[usize]) -> f64 {
    let n = group.len() as f64;
    let column = |c: usize| group.iter().map(move |i| f64::from(rows.row(*i)[c]));
    (0..rows.dims()).map(|c| column(c).map(|v| v * v).sum::<f64>() / n - (column(c).sum::<f64>() / n).powi(2)).sum()
}

/// At most so many characters, the cut marked.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{}…", kept.trim_end())
}

fn listing(groups: &[Vec<usize>], codes: &Codes, packages: &[Package]) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (on, off) = if colour { ("\x1b[36m", "\x1b[0m") } else { ("", "") };
    let name = groups.iter().flatten().map(|i| packages[*i].package.chars().count()).max().unwrap_or(0);
    let mut out = format!("\n  {:<9}  {:<name$}  what it is\n", "ID", "package");
    for group in groups {
        out.push('\n');
        for i in group {
            let (id, package) = (codes.row(*i), &packages[*i]);
            let short = shortened(&package.short, 60);
            let prefix = format!("{}-{}-", id[0], id[1]);
            let rest = format!("{:<1$}", id[2], 9 - prefix.len());
            let _ = writeln!(out, "  {on}{prefix}{off}{rest}  {:<name$}  {short}", package.package);
        }
    }
    let _ = writeln!(
        out,
        "\n  Each ID is three codes, coarse to fine, learned from the vectors alone. Shown are packages that share\n  the \
         first two: of {} sections of the archive the closest such group whose names differ.",
        groups.len()
    );
    out
}
