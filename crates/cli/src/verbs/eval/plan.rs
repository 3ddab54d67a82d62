//! The plan of `sememe eval`: what is measured, and what with.

use crate::failure::usage;
use crate::flags::{DeviceChoice, UnknownItems};
use crate::id_format::style;
use crate::interactions::EventsPlan;
use crate::output::{extension, output};
use crate::rows_plan::{RowsPlan, encode_options, rows};
use crate::verbs::eval::flags::Flags;
use anyhow::Result;
use sememe::EncodeOptions;
use sememe::eval::{CoInteractionOptions, EvalOptions, NextItemOptions};
use sememe::ids::Style;
use sememe::io::EventFields;
use std::path::{Path, PathBuf};

/// Where items' names are.
pub struct ItemNames {
    pub path: PathBuf,
    pub field: String,
    pub detail: Option<String>,
}

/// Codes to be judged, and the way to them.
pub enum Side {
    /// A codec, which encodes the rows.
    Codec(PathBuf),
    /// A table, with the codec that its rows come back by, if there is one.
    Table { codes: PathBuf, codec: Option<PathBuf> },
}

impl Side {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Side::Codec(path) | Side::Table { codes: path, .. } => path.display().to_string(),
        }
    }
}

pub struct LabelsPlan {
    pub path: PathBuf,
    pub fields: Vec<String>,
    pub key: Option<String>,
}

pub struct Plan {
    pub side: Side,
    pub against: Option<Side>,
    pub input: Option<RowsPlan>,
    pub codebook_sizes: Option<Vec<usize>>,
    pub options: EvalOptions,
    pub device: DeviceChoice,
    pub encode: EncodeOptions,
    pub labels: Option<LabelsPlan>,
    pub events: Option<EventsPlan>,
    /// File and field of the items' keys.
    pub keys: Option<(PathBuf, String)>,
    pub report: Option<PathBuf>,
    pub names: Option<ItemNames>,
    /// IDs after collisions were resolved.
    pub ids: Option<PathBuf>,
    pub style: Style,
    pub metrics: Option<PathBuf>,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let encode = encode_options(flags.beam, None)?;
    let (side, input) = side(flags.codec, flags.input, flags.codes)?;
    if flags.codebook_size.as_ref().is_some_and(|sizes| sizes.contains(&0)) {
        return Err(usage("`--codebook-size`: expected at least 1 codeword a level, got 0"));
    }
    let against = flags.against.map(|path| match extension(&path).as_str() {
        "safetensors" => Side::Codec(path),
        _ => Side::Table { codes: path, codec: None },
    });
    let (b, l, r) = (flags.behaviour, flags.labels, flags.report);
    if matches!(against, Some(Side::Codec(_))) && input.is_none() {
        return Err(usage("`--against` a codec needs the embeddings to encode: give IN"));
    }
    let tables = [Some(&side), against.as_ref()].into_iter().flatten().any(|side| matches!(side, Side::Table { .. }));
    if flags.codebook_size.is_some() && !tables {
        return Err(usage("`--codebook-size` is of code tables, and a codec knows its own; leave it out"));
    }
    if b.keys.is_some() && b.interactions.is_none() && l.label_key.is_none() && r.report.is_none() {
        return Err(usage("`--keys` goes with `--interactions`, `--label-key` or `--report`; leave it out"));
    }
    let options = EvalOptions {
        queries: flags.queries,
        seed: flags.seed,
        co_interaction: CoInteractionOptions {
            k: b.co_neighbours,
            min_support: b.min_support,
            ..CoInteractionOptions::default()
        },
        next_item: NextItemOptions { decay: b.decay, users: b.users, ..NextItemOptions::default() },
        ..EvalOptions::default()
    };
    options.validate()?;
    if let Some(page) = &r.report {
        let sides = [Some(&side), against.as_ref()].into_iter().flatten().flat_map(|side| match side {
            Side::Codec(path) => vec![path.as_path()],
            Side::Table { codes, codec } => codec.iter().map(PathBuf::as_path).chain([codes.as_path()]).collect(),
        });
        let given = [
            input.as_deref(),
            r.names.as_deref(),
            r.ids.as_deref(),
            r.metrics.as_deref(),
            l.labels.as_deref(),
            b.interactions.as_deref(),
            b.keys.as_deref(),
        ];
        let inputs: Vec<&Path> = sides.chain(given.into_iter().flatten()).collect();
        output(page, &["html", "htm"], "a report is written as", &inputs, true)?;
    }
    let event_fields = flags.event_fields.fields();
    event_fields.validate()?;
    if b.interactions.is_none() && event_fields != EventFields::default() {
        return Err(usage("`--event-user`, `--event-item` and `--event-time` are of `--interactions`; give that too"));
    }
    let input_rows = input.map(|path| rows(path, flags.rows));
    Ok(Plan {
        side,
        against,
        input: input_rows,
        codebook_sizes: flags.codebook_size,
        options,
        device: flags.on.device,
        encode,
        labels: l.labels.map(|path| LabelsPlan { path, fields: l.label, key: l.label_key }),
        events: b.interactions.map(|path| EventsPlan {
            path,
            fields: event_fields,
            drop_unknown: b.unknown == UnknownItems::Drop,
        }),
        keys: b.keys.map(|path| (path, b.key)),
        report: r.report,
        names: r.names.map(|path| ItemNames { path, field: r.field, detail: r.detail }),
        ids: r.ids,
        style: style(r.style),
        metrics: r.metrics,
    })
}

/// What the positional arguments mean: with a table, one of them is the embeddings.
fn side(codec: Option<PathBuf>, input: Option<PathBuf>, codes: Option<PathBuf>) -> Result<(Side, Option<PathBuf>)> {
    match (codes, codec, input) {
        (None, Some(codec), Some(input)) => Ok((Side::Codec(codec), Some(input))),
        (None, Some(codec), None) => Err(usage(format!(
            "`{}` alone cannot be measured: give the embeddings to encode with it, or a code table with `--codes`",
            codec.display()
        ))),
        (None, None, _) => Err(usage("give a codec and embeddings, or a code table with `--codes`")),
        (Some(codes), Some(codec), Some(input)) => Ok((Side::Table { codes, codec: Some(codec) }, Some(input))),
        (Some(codes), input, None) => Ok((Side::Table { codes, codec: None }, input)),
        (Some(_), None, Some(_)) => Err(usage("give IN as the first argument, with `--codes`")),
    }
}
