//! How the codec was trained: losses over time, or level by level.

use std::fmt::Write as _;

use super::charts::{Curve, NAMED, lines};
use super::html::{percent, plural, short, table, whole};
use crate::fit::TrainingSummary;
use crate::progress::{EpochReport, Health};

/// The training section; `None` if nothing is known about the training.
pub(super) fn training(summary: Option<&TrainingSummary>, epochs: &[EpochReport]) -> Option<String> {
    let mut out = String::new();
    if !epochs.is_empty() {
        out.push_str(&over_epochs(epochs));
    }
    if let Some(summary) = summary {
        if epochs.is_empty() {
            out.push_str(&over_levels(summary));
        }
        out.push_str(&levels(summary));
    }
    (!out.is_empty()).then_some(out)
}

fn over_epochs(epochs: &[EpochReport]) -> String {
    let line = |name: &str, value: &dyn Fn(&EpochReport) -> Option<f64>| Curve {
        name: name.into(),
        points: epochs.iter().filter_map(|e| Some((e.epoch as f64, value(e)?))).collect(),
    };
    let of_health = |name: &str, value: &dyn Fn(&Health) -> Option<f64>| {
        line(name, &|e: &EpochReport| e.health.as_ref().and_then(value))
    };
    let mut losses = vec![
        line("total", &|e| Some(e.losses.total)),
        line("reconstruction", &|e| Some(e.losses.reconstruction)),
        line("quantiser", &|e| Some(e.losses.quantizer.iter().sum())),
        line("diversity", &|e| e.losses.diversity),
        line("alignment", &|e| e.losses.alignment),
    ];
    losses.retain(|line| !line.points.is_empty());
    losses.truncate(NAMED);
    let levels = epochs.iter().filter_map(|e| Some(e.health.as_ref()?.levels.len())).max().unwrap_or(0);
    let perplexity: Vec<Curve> = (0..levels)
        .map(|level| {
            of_health(&format!("level {}", level + 1), &|health| {
                health.levels.get(level).map(|l| l.perplexity / l.codebook_size.max(1) as f64)
            })
        })
        .collect();
    let charts = [
        lines("Loss", "mean over an epoch; lower is better", "epoch", &losses),
        lines(
            "R² of the whole corpus",
            "variance explained by full IDs; higher is better",
            "epoch",
            &[of_health("all rows", &|h| Some(h.r2)), of_health("kept out", &|h| h.validation_r2)],
        ),
        lines(
            "Collision rate",
            "items beyond the first on their ID, of all; lower is better",
            "epoch",
            &[of_health("", &|h| Some(h.collision_rate))],
        ),
        lines("Perplexity over K", "1 if all codewords of a level are evenly loaded", "epoch", &perplexity),
    ];
    let mut out = format!("<div class=\"charts two\">{}</div>", charts.into_iter().flatten().collect::<String>());
    let restarted: u64 = epochs.iter().map(|e| e.restarted).sum();
    let last = &epochs[epochs.len() - 1];
    let best = epochs.iter().rev().find(|e| e.best);
    let _ = write!(
        out,
        "<p class=\"soft under\">{} of {} at most, {}{}{}.</p>",
        plural(last.epoch as usize, "epoch"),
        whole(last.epochs as usize),
        plural(last.step as usize, "step"),
        best.map_or(String::new(), |best| format!("; the best was epoch {}", whole(best.epoch as usize))),
        match restarted {
            0 => String::new(),
            1 => "; 1 codeword was restarted".into(),
            n => format!("; {} were restarted", plural(n as usize, "codeword")),
        }
    );
    out
}

/// What each level left over, and what refining all of them gained.
fn over_levels(summary: &TrainingSummary) -> String {
    let left = std::iter::once((0.0, summary.total_variance))
        .chain(summary.levels.iter().map(|l| ((l.level + 1) as f64, l.inertia)));
    let refined = summary.refined_r2.iter().enumerate().map(|(round, r2)| (round as f64, *r2));
    let charts = [
        lines(
            "Inertia by level",
            "squared L2 of all training rows that a level leaves over, 0 being no level; lower is better",
            "level",
            &[Curve { name: String::new(), points: left.collect() }],
        ),
        lines(
            "R² by round of refinement",
            "of the training rows, all levels fitted together",
            "round",
            &[Curve { name: String::new(), points: refined.collect() }],
        )
        .filter(|_| summary.refined_r2.len() > 1),
    ];
    format!("<div class=\"charts two\">{}</div>", charts.into_iter().flatten().collect::<String>())
}

fn levels(summary: &TrainingSummary) -> String {
    if summary.levels.is_empty() {
        return String::new();
    }
    // Networks train all levels at once: there are no iterations of one.
    let alone = summary.network.is_none();
    let rows = summary.levels.iter().map(|l| {
        let mut cells = vec![
            format!("Level {}<small>{}</small>", l.level + 1, plural(l.codebook_size, "codeword")),
            short(l.inertia),
            format!("{:.4}", l.r2),
            short(l.perplexity),
            percent(l.utilisation),
        ];
        if alone {
            let how = if l.converged { "converged" } else { "the cap" };
            cells.push(format!("{}<small>{how}</small>", whole(l.iterations)));
            cells.push(whole(l.reseeded as usize));
        }
        cells
    });
    let mut out = String::from("<h3>Level by level, on the training rows</h3>");
    let head = ["Level", "Inertia", "R²", "Perplexity", "Used", "Iterations", "Reseeded"];
    table(&mut out, "Training by level", &head[..if alone { 7 } else { 5 }], rows);
    let sample = if summary.rows < summary.source_rows {
        format!(", a sample of {}", whole(summary.source_rows as usize))
    } else {
        String::new()
    };
    let pca = if summary.kept_variance < 1.0 {
        format!("; PCA kept {} of the variance", percent(summary.kept_variance))
    } else {
        String::new()
    };
    let _ =
        write!(out, "<p class=\"soft under\">Trained on {}{sample}{pca}.</p>", plural(summary.rows as usize, "row"));
    out
}
