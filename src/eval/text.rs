//! The evaluation as a text table.

use std::fmt::Write as _;

use super::advice::percent;
use super::{BehaviourMeasures, Better, Comparison, Evaluation, LabelMeasures};

/// A table for a terminal or a log: the headline figures, then one row a level; lines end in `\n`.
///
/// ```
/// # use sememe::{Codes, Matrix, eval::{EvalOptions, evaluate, render_text}};
/// let rows = Matrix::from_vec(3, 1, vec![0.0, 0.5, 1.0])?;
/// let codes = Codes::from_vec(3, 1, vec![0, 1, 2])?;
/// let exact = |_: &Codes| Matrix::from_vec(3, 1, vec![0.0, 0.5, 1.0]);
/// let evaluation = evaluate(&rows, &codes, &[3], &exact, &EvalOptions::default())?;
/// assert!(render_text(&evaluation).starts_with("3 items, 3 distinct IDs"));
/// # Ok::<(), sememe::Error>(())
/// ```
#[must_use]
pub fn render_text(evaluation: &Evaluation) -> String {
    let e = evaluation;
    let mut out = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(out, "  {label:<24}{value}");
    };
    line("collision rate", format!("{:<10}items beyond the first on their ID", percent(e.collision_rate)));
    line("colliding items", format!("{:<10}items that share their ID", percent(e.colliding_item_rate)));
    line("largest bucket", format!("{:<10}items on one ID", e.max_bucket));
    line("entropy ratio", format!("{:<10.4}of all possible IDs, evenly loaded", e.entropy_ratio));
    if let Some(full) = &e.reconstruction {
        line("R²", format!("{:<10.4}variance explained", full.r2));
        line("MSE a value", format!("{:<10.4e}squared L2 a row {:.4e}", full.mse, full.squared_l2));
        let zero = if full.zero_rows > 0 { format!("{} zero rows left out", full.zero_rows) } else { String::new() };
        line("cosine", format!("{:<10.4}{zero}", full.cosine));
    }
    let n = &e.neighbours;
    if let (Some(recall), Some(ndcg), Some(chance)) = (n.recall, n.ndcg, n.recall_by_chance) {
        let by = format!("by chance {}, {} queries, seed {}", percent(chance), n.queries, e.seed);
        line(&format!("recall@{}", n.k), format!("{:<10}{by}", percent(recall)));
        line(&format!("NDCG@{}", n.k), format!("{ndcg:<10.4}"));
    }
    let body: String = out.lines().map(|l| format!("{}\n", l.trim_end())).collect();
    let mut text = format!(
        "{} items, {} distinct IDs of {} levels\n\n{body}\n{}",
        e.rows,
        e.unique_ids,
        e.levels.len(),
        levels(e)
    );
    e.labels.iter().for_each(|measures| labels(&mut text, measures));
    if let Some(measures) = &e.behaviour {
        behaviour(&mut text, measures);
    }
    text
}

fn levels(e: &Evaluation) -> String {
    let mut head = vec!["level", "K", "used", "perplexity", "max/mean", "gini", "collisions", "children", "most"];
    if e.reconstruction.is_some() {
        head.extend(["R²", "MSE", "cosine"]);
    }
    let mut table = vec![head.into_iter().map(String::from).collect::<Vec<_>>()];
    for (depth, level) in e.levels.iter().enumerate() {
        let codes = &level.codes;
        let mut row = vec![
            (depth + 1).to_string(),
            codes.codebook_size.to_string(),
            percent(codes.utilisation),
            format!("{:.1}", codes.perplexity),
            format!("{:.2}", codes.max_over_mean_load),
            format!("{:.3}", codes.gini),
            percent(codes.prefix_collision_rate),
            format!("{:.1}", codes.fan_out_mean),
            codes.fan_out_max.to_string(),
        ];
        if let Some(error) = &level.error {
            row.extend([format!("{:.4}", error.r2), format!("{:.3e}", error.mse), format!("{:.4}", error.cosine)]);
        }
        table.push(row);
    }
    align(&table)
}

fn labels(text: &mut String, measures: &LabelMeasures) {
    let m = measures;
    let _ = write!(
        text,
        "\nlabels `{}`: {} of them on {} items, {} have the commonest\n\n",
        m.name,
        m.labels,
        m.labelled,
        percent(m.majority)
    );
    let mut table =
        vec![["depth", "prefixes", "purity", "by chance", "adjusted", "NMI", "by chance"].map(String::from)];
    for (depth, level) in m.levels.iter().enumerate() {
        table.push([
            (depth + 1).to_string(),
            level.prefixes.to_string(),
            percent(level.purity),
            percent(level.purity_by_chance),
            format!("{:.3}", level.purity_adjusted),
            format!("{:.3}", level.nmi),
            format!("{:.3}", level.nmi_by_chance),
        ]);
    }
    text.push_str(&align(&table));
}

fn behaviour(text: &mut String, measures: &BehaviourMeasures) {
    let _ = writeln!(text, "\nbehaviour: {} events of {} users", measures.events, measures.users);
    match &measures.co_interaction {
        Some(co) => {
            let _ = write!(
                text,
                "\n  {:<24}{:<10}by chance {}; {} items, {:.1} neighbours each with {} users in common or more\n  {:<24}{:.4}\n",
                format!("recall@{} by users", co.k),
                percent(co.recall),
                percent(co.recall_by_chance),
                co.items,
                co.neighbours_mean,
                co.min_support,
                format!("NDCG@{} by users", co.k),
                co.ndcg
            );
        }
        None => text.push_str("\n  no two items have enough users in common to be neighbours\n"),
    }
    match &measures.next_prefix {
        Some(next) => {
            let mut table = vec![["depth", "next item shares it", "by chance", "times"].map(String::from)];
            for (depth, level) in next.levels.iter().enumerate() {
                table.push([
                    (depth + 1).to_string(),
                    percent(level.share),
                    percent(level.by_chance),
                    if level.by_chance > 0.0 { format!("{:.1}", level.lift) } else { "-".into() },
                ]);
            }
            let _ = write!(text, "\n{}", align(&table));
        }
        None => text.push_str("\n  no user has two different items in a row\n"),
    }
    match &measures.next_item {
        Some(next) => {
            let mut table = vec![["next item by", "R@5", "R@10", "N@5", "N@10"].map(String::from)];
            for ranking in &next.rankings {
                let figures = [ranking.recall_at_5, ranking.recall_at_10, ranking.ndcg_at_5, ranking.ndcg_at_10];
                let [a, b, c, d] = figures.map(|figure| format!("{figure:.4}"));
                table.push([ranking_name(ranking.by).into(), a, b, c, d]);
            }
            let left = if next.left_out > 0 { format!(", {} left out", next.left_out) } else { String::new() };
            let _ = write!(
                text,
                "\n{}  last item of {} users{left}, all items ranked, decay {}\n",
                align(&table),
                next.users,
                next.decay
            );
        }
        None => text.push_str("\n  no user has an item before the last one\n"),
    }
}

/// A way of ranking in words.
pub(super) fn ranking_name(by: &str) -> &str {
    match by {
        "codes" => "shared prefix",
        "item_knn" => "item-kNN",
        "vectors" => "raw vectors",
        other => other,
    }
}

/// Two evaluations as a text table: each measure of both, the difference, and an arrow to the better one; then what changed
/// between their codes.
#[must_use]
pub fn render_comparison(comparison: &Comparison) -> String {
    let c = comparison;
    let mut text = format!("A  {}\nB  {}\n\n", c.first, c.second);
    let mut table = vec![["measure", "level", "A", "B", "B - A", "better"].map(String::from)];
    for d in &c.differences {
        let whole = d.first.fract() == 0.0 && d.second.fract() == 0.0 && d.first.abs().max(d.second.abs()) >= 1.0;
        let show = |x: f64| if whole { format!("{x:.0}") } else { format!("{x:.4}") };
        table.push([
            d.measure.clone(),
            d.level.map_or(String::new(), |level| level.to_string()),
            show(d.first),
            show(d.second),
            if whole { format!("{:+.0}", d.delta) } else { format!("{:+.4}", d.delta) },
            match d.better {
                Better::First => "A",
                Better::Second => "B",
                Better::Same => "=",
                Better::Neither => "",
            }
            .into(),
        ]);
    }
    text.push_str(&align(&table));
    if let Some(churn) = &c.churn {
        let _ = write!(text, "\nfrom A to B, {} items\n\n", churn.rows);
        let mut table =
            vec![["depth", "codes changed", "pairs kept together", "of B's, together in A"].map(String::from)];
        for (depth, level) in churn.levels.iter().enumerate() {
            table.push([
                (depth + 1).to_string(),
                percent(level.changed),
                percent(level.kept_together),
                percent(level.together_before),
            ]);
        }
        text.push_str(&align(&table));
    }
    text
}

/// Columns two spaces apart, right-aligned but for names in the first; every row as long as the first.
fn align<R: AsRef<[String]>>(table: &[R]) -> String {
    let columns = table.first().map_or(0, |row| row.as_ref().len());
    let width = |c: usize| table.iter().map(|row| row.as_ref()[c].chars().count()).max().unwrap_or(0);
    let names = table.iter().skip(1).any(|row| row.as_ref()[0].parse::<usize>().is_err());
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in table {
        let mut line = String::new();
        for (c, (cell, width)) in row.as_ref().iter().zip(&widths).enumerate() {
            let _ = if c == 0 && names { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
