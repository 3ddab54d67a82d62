//! Tables: measures by level, and items that share a prefix.

use std::fmt::Write as _;

use super::ReportInput;
use super::html::{escape, items, percent, short, whole};
use super::tree::PrefixTree;
use crate::eval::LevelEvaluation;

type Cell = fn(&LevelEvaluation) -> String;

/// What is known with rows and their codec only.
const ERRORS: [(&str, &str, Cell); 4] = [
    ("R²", "variance explained up to here", |l| l.error.map_or(String::new(), |e| format!("{:.3}", e.r2))),
    ("MSE", "squared error a value", |l| l.error.map_or(String::new(), |e| short(e.mse))),
    ("Squared L2", "squared error a row", |l| l.error.map_or(String::new(), |e| short(e.squared_l2))),
    ("Cosine", "of a row and its reconstruction", |l| l.error.map_or(String::new(), |e| format!("{:.3}", e.cosine))),
];

/// Measures down, levels across: stays narrow enough for a phone.
pub(super) fn measures(input: &ReportInput<'_>) -> String {
    let mut lines: Vec<(&str, &str, Cell)> = vec![
        ("Codebook size", "codewords to choose from, K", |l| whole(l.codes.codebook_size)),
        ("Utilisation", "share of them that some item has", |l| percent(l.codes.utilisation)),
        ("Perplexity", "evenly loaded codewords that would say as much", |l| short(l.codes.perplexity)),
        ("Perplexity over K", "1 if all codewords are evenly loaded", |l| format!("{:.3}", l.codes.perplexity_ratio)),
        ("Busiest codeword", "as a multiple of the even load", |l| format!("{}×", short(l.codes.max_over_mean_load))),
        ("Gini of the loads", "0 even, 1 all on one", |l| format!("{:.3}", l.codes.gini)),
        ("Prefix collisions", "items beyond the first on their prefix", |l| percent(l.codes.prefix_collision_rate)),
        ("Children a prefix", "mean and most codes that follow the level above", |l| {
            format!("{} / {}", short(l.codes.fan_out_mean), whole(l.codes.fan_out_max))
        }),
    ];
    if input.evaluation.reconstruction.is_some() {
        lines.extend(ERRORS);
    }
    let levels = &input.evaluation.levels;
    let mut out = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Measures by level\"><table \
         class=\"measures\"><thead><tr><th scope=\"col\">Measure</th>",
    );
    for depth in 1..=levels.len() {
        let _ = write!(out, "<th scope=\"col\">Level {depth}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for (name, meaning, cell) in lines {
        let _ = write!(out, "<tr><th scope=\"row\">{name}<small>{meaning}</small></th>");
        levels.iter().for_each(|level| {
            let _ = write!(out, "<td>{}</td>", cell(level));
        });
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Prefixes shown, and items a prefix.
const GROUPS: usize = 8;
const ITEMS: usize = 4;

/// A sample of items grouped by the prefix that they share; `None` if no two items share one.
///
/// From each first code, the prefix of all codes but the last whose size is nearest to four; then eight of these,
/// evenly spread over the first codes by size. Nothing is picked for looking good.
pub(super) fn shared_prefixes(catalogue: &PrefixTree<'_>) -> Option<String> {
    let levels = catalogue.codes.levels();
    let depth = (levels - 1).max(1);
    let codes = catalogue.codes;
    let candidates: Vec<&[usize]> = catalogue
        .children(&catalogue.order, 0)
        .into_iter()
        .filter_map(|part| {
            part.chunk_by(|&a, &b| codes.row(a)[..depth] == codes.row(b)[..depth])
                .filter(|group| group.len() > 1)
                .min_by_key(|group| group.len().abs_diff(ITEMS))
        })
        .collect();
    if candidates.is_empty() {
        return None;
    }
    let shown = candidates.len().min(GROUPS);
    let mut out = String::from("<table class=\"pairs\">");
    for pick in 0..shown {
        let group = candidates[pick * candidates.len() / shown];
        let words: Vec<String> = catalogue.words.typical(group, 3).iter().map(|word| escape(word, 24)).collect();
        let rest = if levels > depth { "-…" } else { "" };
        let prefix: Vec<String> = codes.row(group[0])[..depth].iter().map(u32::to_string).collect();
        let _ = write!(
            out,
            "<tbody><tr><th colspan=\"3\" scope=\"rowgroup\"><code>{}{rest}</code>{} <small>{}</small></th></tr>",
            prefix.join("-"),
            words.join(", "),
            items(group.len())
        );
        for &row in group.iter().take(ITEMS) {
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                catalogue.prefix(row, levels, levels - depth.min(levels - 1)),
                catalogue.name(row),
                catalogue.detail(row)
            );
        }
        out.push_str("</tbody>");
    }
    out.push_str("</table>");
    Some(out)
}
