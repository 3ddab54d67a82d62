//! `sememe show`.

use crate::output::{print, print_json};
use crate::text::{count, percent, size, sizes, table, whole};
use anyhow::Result;
use clap::{Args, ValueHint};
use sememe::{Codec, Manifest, Metric};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Flags {
    /// Codec to describe
    #[arg(value_name = "CODEC", value_hint = ValueHint::FilePath)]
    pub codec: PathBuf,
}

/// Prints what a codec is.
pub fn run(flags: &Flags, json: bool) -> Result<()> {
    let codec = Codec::load(&flags.codec)?;
    let bytes = std::fs::metadata(&flags.codec).map_or(0, |m| m.len());
    if json {
        let mut value = serde_json::to_value(codec.manifest())?;
        if let Value::Object(map) = &mut value {
            map.insert("file".into(), json!(flags.codec.display().to_string()));
            map.insert("file_bytes".into(), json!(bytes));
        }
        return print_json(&value);
    }
    let m = codec.manifest();
    let mut text = format!("{}, {}, written by sememe {}\n\n", flags.codec.display(), size(bytes), m.sememe_version);
    text.push_str(&table(&facts(m), &[0, 1]));
    if !m.training.levels.is_empty() {
        text.push('\n');
        text.push_str(&levels(m));
    }
    print(&text)
}

fn facts(m: &Manifest) -> Vec<Vec<String>> {
    let ids: f64 = m.codebook_sizes.iter().map(|k| *k as f64).product();
    let ids = if ids < 1e15 { whole(ids as u64) } else { format!("{ids:.2e}") };
    let dims =
        if m.inner_dims == m.dims { m.dims.to_string() } else { format!("{}, {} after PCA", m.dims, m.inner_dims) };
    let metric = match m.metric {
        Metric::SquaredL2 => "squared L2",
        Metric::Cosine => "cosine",
    };
    let trained = if m.training.rows == m.training.source_rows {
        count(m.training.rows, "row")
    } else {
        format!("{} of {} rows", whole(m.training.rows), whole(m.training.source_rows))
    };
    let mut steps: Vec<&str> = Vec::new();
    if m.normalize_rows {
        steps.push("rows");
    }
    if m.normalize_residuals {
        steps.push("residuals");
    }
    let fact = |name: &str, value: String| vec![name.to_owned(), value];
    let mut out = vec![
        fact("method", m.method.clone()),
        fact("dimensions", dims),
        fact("codewords", format!("{}, {ids} possible IDs", sizes(&m.codebook_sizes))),
        fact("compared by", metric.into()),
    ];
    if m.shared_codebook {
        out.push(fact("codebook", "one, shared by all levels".into()));
    }
    if m.product {
        out.push(fact("levels", "side by side, each on its own part of the dimensions".into()));
    }
    if let [before, .., after] = m.training.rotated_r2.as_slice() {
        let rounds = count(m.training.rotated_r2.len() as u64, "round");
        out.push(fact("rotated", format!("{rounds}, R² {before:.4} to {after:.4}")));
    }
    for (name, network) in [("encoder", &m.encoder), ("decoder", &m.decoder)] {
        if let Some(network) = network {
            out.push(fact(name, format!("{network}; {}", count(network.parameters(), "parameter"))));
        }
    }
    if let Some(n) = &m.training.network {
        let kept = format!("{}, {}, kept epoch {}", count(n.epochs, "epoch"), count(n.steps, "step"), n.best_epoch);
        out.push(fact("networks", format!("{kept}; {} with codewords", count(n.parameters, "parameter"))));
    }
    if !steps.is_empty() {
        out.push(fact("normalised", steps.join(", ")));
    }
    if m.training.kept_variance < 1.0 {
        out.push(fact("PCA keeps", format!("{} of the variance", percent(m.training.kept_variance))));
    }
    for l in &m.training.levels {
        if let Some(b) = &l.balance {
            let exact = if b.exact { format!(" within {} to {}", b.minimum, b.maximum) } else { String::new() };
            out.push(fact(&format!("balanced, level {}", l.level + 1), format!("{}{exact}", crate::text::loads(b))));
        }
    }
    out.push(fact("encodes", if m.beam == 1 { "greedily".into() } else { format!("with a beam of {}", m.beam) }));
    match m.config.get("from").and_then(Value::as_str).filter(|_| m.method == "imported") {
        Some(from) => out.push(fact("trained by", from.to_owned())),
        None => out.push(fact("trained on", format!("{trained}, seed {}", m.seed))),
    }
    if let [before, .., after] = m.training.refined_r2.as_slice() {
        let rounds = count(m.training.refined_r2.len() as u64 - 1, "round");
        out.push(fact("refined", format!("{rounds}, R² {before:.4} to {after:.4}")));
    }
    out.push(fact("content hash", m.content_hash.clone()));
    out
}

fn levels(m: &Manifest) -> String {
    let head = ["level", "K", "used", "perplexity", "R²", "iterations", "reseeded"].map(String::from).to_vec();
    let rows = m.training.levels.iter().map(|l| {
        vec![
            (l.level + 1).to_string(),
            l.codebook_size.to_string(),
            percent(l.utilisation),
            format!("{:.1}", l.perplexity),
            format!("{:.4}", l.r2),
            format!("{}{}", l.iterations, if l.converged { ", converged" } else { "" }),
            l.reseeded.to_string(),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[])
}
