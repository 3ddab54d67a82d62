//! The evaluation as a text table.

use std::fmt::Write as _;

use super::Evaluation;
use super::advice::percent;

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
    line("R²", format!("{:<10.4}variance explained", e.r2));
    line("MSE a value", format!("{:<10.4e}squared L2 a row {:.4e}", e.mse, e.squared_l2));
    let zero = if e.zero_rows > 0 { format!("{} zero rows left out", e.zero_rows) } else { String::new() };
    line("cosine", format!("{:<10.4}{zero}", e.cosine));
    let n = &e.neighbours;
    if let (Some(recall), Some(ndcg), Some(chance)) = (n.recall, n.ndcg, n.recall_by_chance) {
        let by = format!("by chance {}, {} queries, seed {}", percent(chance), n.queries, e.seed);
        line(&format!("recall@{}", n.k), format!("{:<10}{by}", percent(recall)));
        line(&format!("NDCG@{}", n.k), format!("{ndcg:<10.4}"));
    }
    let mut table = vec![
        ["level", "K", "used", "perplexity", "max/mean", "gini", "collisions", "children", "R²", "MSE", "cosine"]
            .map(String::from)
            .to_vec(),
    ];
    for (depth, level) in e.levels.iter().enumerate() {
        let (codes, error) = (&level.codes, &level.error);
        table.push(vec![
            (depth + 1).to_string(),
            codes.codebook_size.to_string(),
            percent(codes.utilisation),
            format!("{:.1}", codes.perplexity),
            format!("{:.2}", codes.max_over_mean_load),
            format!("{:.3}", codes.gini),
            percent(codes.prefix_collision_rate),
            format!("{:.1}", codes.fan_out_mean),
            format!("{:.4}", error.r2),
            format!("{:.3e}", error.mse),
            format!("{:.4}", error.cosine),
        ]);
    }
    let body: String = out.lines().map(|l| format!("{}\n", l.trim_end())).collect();
    format!("{} items, {} distinct IDs of {} levels\n\n{body}\n{}", e.rows, e.unique_ids, e.levels.len(), align(&table))
}

/// Columns two spaces apart, right-aligned; every row as long as the first.
fn align(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |c: usize| table.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in table {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "  {cell:>width$}");
        }
        out.push('\n');
    }
    out
}
