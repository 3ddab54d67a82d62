//! Sections on what lies outside of codes and rows: labels, behaviour, another codec.

use std::fmt::Write as _;

use super::html::{escape, items, percent, plural, short, table, whole};
use super::parts::facts;
use super::{PreviousRun, RecallFigures};
use crate::eval::text::ranking_name;
use crate::eval::{BehaviourMeasures, Better, Churn, Comparison, LabelMeasures};

/// Purity and mutual information by depth, a table a column of labels.
pub(super) fn labels(columns: &[LabelMeasures]) -> String {
    let mut out = String::new();
    for m in columns {
        let _ = write!(
            out,
            "<h3>{}</h3><p class=\"soft\">{} on {}; the commonest is on {} of them.</p>",
            escape(&m.name, 80),
            plural(m.labels, "label"),
            items(m.labelled),
            percent(m.majority)
        );
        let rows = m.levels.iter().enumerate().map(|(depth, level)| {
            vec![
                format!("First {}<small>{}</small>", plural(depth + 1, "code"), prefixes(level.prefixes)),
                format!("{}<small>{} by chance</small>", percent(level.purity), percent(level.purity_by_chance)),
                format!("{:.3}", level.purity_adjusted),
                format!("{:.3}<small>{:.3} by chance</small>", level.nmi, level.nmi_by_chance),
            ]
        });
        let head = ["Prefix", "Purity", "adjusted", "NMI"];
        table(&mut out, "Purity of labels by prefix", &head, rows);
    }
    out
}

fn prefixes(count: usize) -> String {
    format!("{} prefix{}", whole(count), if count == 1 { "" } else { "es" })
}

/// Neighbours by common users, next items by shared prefix, and the floor recommenders.
pub(super) fn behaviour(m: &BehaviourMeasures) -> String {
    let mut out = String::new();
    if let Some(co) = &m.co_interaction {
        let _ = write!(
            out,
            "<dl class=\"head\"><div><dt>Recall@{} by common users</dt><dd class=\"big\">{}</dd><dd class=\"why\">of an item's \
             neighbours by users are nearest by ID; {} by chance</dd></div><div><dt>NDCG@{} by common users</dt><dd \
             class=\"big\">{:.4}</dd><dd class=\"why\">{}, {:.1} neighbours each with {} users in common or more</dd></div></dl>",
            co.k,
            percent(co.recall),
            percent(co.recall_by_chance),
            co.k,
            co.ndcg,
            items(co.items),
            co.neighbours_mean,
            co.min_support
        );
    }
    if let Some(next) = &m.next_prefix {
        out.push_str("<h3>Does the next item of a user share the prefix?</h3>");
        let rows = next.levels.iter().enumerate().map(|(depth, level)| {
            let times = if level.by_chance > 0.0 { format!("{}×", short(level.lift)) } else { "–".into() };
            let name = format!("First {}", plural(depth + 1, "code"));
            vec![name, percent(level.share), percent(level.by_chance), times]
        });
        let head = ["Prefix", "shared", "by chance", "that is"];
        table(&mut out, "Shared prefixes of consecutive items", &head, rows);
    }
    if let Some(next) = &m.next_item {
        let _ = write!(
            out,
            "<h3>Is the next item found?</h3><p class=\"soft\">The last item of {} users, ranked among all items from those \
             before it. Nothing is trained, so this is a floor; a codec is to be compared with the raw vectors and with \
             itself. Recall and NDCG among the first 5 and 10, ties in expectation.</p>",
            whole(next.users)
        );
        let most = next.rankings.iter().map(|r| r.recall_at_10).fold(f64::MIN_POSITIVE, f64::max);
        let rows = next.rankings.iter().map(|r| {
            let bar = 100.0 * r.recall_at_10 / most;
            vec![
                format!("{}<i class=\"bar\" style=\"width:{bar:.1}%\"></i>", ranking_name(r.by)),
                format!("{:.4}", r.recall_at_5),
                format!("{:.4}", r.recall_at_10),
                format!("{:.4}", r.ndcg_at_5),
                format!("{:.4}", r.ndcg_at_10),
            ]
        });
        table(&mut out, "Next item by ranking", &["Ranked by", "R@5", "R@10", "N@5", "N@10"], rows);
    }
    out
}

/// Every measure of both, the better one set off.
pub(super) fn comparison(c: &Comparison) -> String {
    let mut out = format!(
        "<p><b>A</b> is {}, which this page shows; <b>B</b> is {}.</p>",
        escape(&c.first, 200),
        escape(&c.second, 200)
    );
    let levels = c.differences.iter().filter_map(|d| d.level).max().unwrap_or(0);
    for level in std::iter::once(None).chain((1..=levels).map(Some)) {
        let _ = write!(out, "<h3>{}</h3>", level.map_or("Whole IDs".into(), |level| format!("Level {level}")));
        let rows = c.differences.iter().filter(|d| d.level == level).map(|d| {
            let is_whole =
                d.first.fract() == 0.0 && d.second.fract() == 0.0 && d.first.abs().max(d.second.abs()) >= 1.0;
            let show = |x: f64| if is_whole { whole(x as usize) } else { format!("{x:.4}") };
            let mark = |better: bool, x: f64| {
                if better { format!("<b class=\"better\">{} ✓</b>", show(x)) } else { show(x) }
            };
            let delta = if is_whole { format!("{:+}", d.delta as i64) } else { format!("{:+.4}", d.delta) };
            vec![
                escape(&d.measure.replace(['_', '.'], " "), 120),
                mark(d.better == Better::First, d.first),
                mark(d.better == Better::Second, d.second),
                delta,
            ]
        });
        let name = level.map_or("Whole IDs".into(), |level| format!("Level {level}"));
        table(&mut out, &name, &["Measure", "A", "B", "B − A"], rows);
    }
    if let Some(churn) = &c.churn {
        let _ = write!(
            out,
            "<h3>What changed</h3><p class=\"soft\">Of {}. Codes are names: two codecs that were trained apart name the same \
             groups differently, but pairs that share a prefix in one may still do in the other.</p>",
            items(churn.rows)
        );
        changes(&mut out, churn, ["pairs of A also in B", "pairs of B also in A"]);
    }
    out
}

/// Churn by depth; what the pairs that stay together and those that came together are called.
fn changes(out: &mut String, churn: &Churn, [kept, before]: [&str; 2]) {
    let rows = churn.levels.iter().enumerate().map(|(depth, level)| {
        vec![
            format!("First {}", plural(depth + 1, "code")),
            percent(level.changed),
            percent(level.kept_together),
            percent(level.together_before),
        ]
    });
    table(out, "What changed between the codes", &["Prefix", "items changed", kept, before], rows);
}

/// What changed since an earlier run.
pub(super) fn since(since: &PreviousRun<'_>) -> String {
    let churn = since.churn;
    let count = |n: usize| if n == 0 { "none".into() } else { whole(n) };
    let mut out = String::from("<dl class=\"head\">");
    let figures = [
        (
            "IDs that changed",
            percent(churn.changed()),
            format!("{} of {} that both runs have", whole(churn.changed_ids), items(churn.rows)),
        ),
        ("New items", count(since.added), "that only this run has".to_string()),
        ("Items that are gone", count(since.gone), "that only the run before had".to_string()),
    ];
    for (name, value, why) in figures {
        let _ = write!(out, "<div><dt>{name}</dt><dd class=\"big\">{value}</dd><dd class=\"why\">{why}</dd></div>");
    }
    let _ = write!(
        out,
        "</dl><p class=\"soft under\">Against {}. Codes are names: two codecs that were trained apart name the same groups \
         differently, but items that shared a prefix may still do.</p>",
        escape(since.name, 200)
    );
    changes(&mut out, churn, ["pairs that stayed together", "pairs that were together before"]);
    out
}

/// A recall report's figures.
pub(super) fn recall(recall: &RecallFigures) -> String {
    let mut out = format!(
        "<dl class=\"head\"><div><dt>Recall@{}</dt><dd class=\"big\">{}</dd><dd class=\"why\">of an item’s neighbours by users, \
         over {}{}</dd></div>",
        recall.k,
        percent(recall.recall),
        items(recall.items),
        recall.by_chance.map_or(String::new(), |chance| format!("; {} by chance", percent(chance)))
    );
    if let Some(ndcg) = recall.ndcg {
        let _ = write!(
            out,
            "<div><dt>NDCG@{}</dt><dd class=\"big\">{ndcg:.4}</dd><dd class=\"why\">1 if the nearest by ID are in the order of the \
             neighbours by users</dd></div>",
            recall.k
        );
    }
    out.push_str("</dl>");
    facts(&mut out, &recall.facts);
    out
}
