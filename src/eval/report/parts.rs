//! The frame of a page: sections, facts, headline figures, notes.

use std::fmt::Write as _;

use super::html::{escape, items, percent, plural, short, whole};
use super::input::FactSection;
use super::tree::PrefixTree;
use crate::eval::{Evaluation, LevelEvaluation};

pub(super) fn section(out: &mut String, title: &str, note: &str, body: &str) {
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"soft\">{note}</p>") };
    let _ = writeln!(out, "<section><h2>{title}</h2>{note}{body}</section>");
}

pub(super) fn facts(out: &mut String, facts: &[(String, String)]) {
    if facts.is_empty() {
        return;
    }
    out.push_str("<dl class=\"facts\">");
    for (name, value) in facts.iter().take(60) {
        let _ = write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name, 60), escape(value, 200));
    }
    out.push_str("</dl>");
}

pub(super) fn headline(out: &mut String, e: &Evaluation) {
    let mut figures: Vec<(String, String, String)> = vec![
        (
            "Collision rate".into(),
            percent(e.collision_rate),
            format!("{} beyond the first on their ID", items(e.rows - e.unique_ids)),
        ),
        (
            "Items that share their ID".into(),
            percent(e.colliding_item_rate),
            format!("at most {} on one", items(e.max_bucket)),
        ),
    ];
    if let Some(full) = &e.reconstruction {
        figures.push((
            "R²".into(),
            format!("{:.3}", full.r2),
            format!("variance explained; cosine {:.3}", full.cosine),
        ));
    }
    if let (Some(recall), Some(chance)) = (e.neighbours.recall, e.neighbours.recall_by_chance) {
        figures.push((
            format!("Recall@{}", e.neighbours.k),
            percent(recall),
            format!(
                "of the nearest items are nearest by ID; {} by chance, {}",
                percent(chance),
                if e.neighbours.queries == 1 {
                    "1 query".into()
                } else {
                    format!("{} queries", whole(e.neighbours.queries))
                }
            ),
        ));
    }
    let worst = |f: fn(&LevelEvaluation) -> f64| e.levels.iter().map(f).fold(f64::INFINITY, f64::min);
    figures.push((
        "Utilisation".into(),
        percent(worst(|l| l.codes.utilisation)),
        "of the codewords used at the level that uses fewest".into(),
    ));
    figures.push((
        "Entropy ratio".into(),
        short(e.entropy_ratio),
        "1 if every possible ID were as likely as any other".into(),
    ));
    out.push_str("<dl class=\"head\">");
    for (name, value, why) in figures {
        let _ = write!(out, "<div><dt>{name}</dt><dd class=\"big\">{value}</dd><dd class=\"why\">{why}</dd></div>");
    }
    out.push_str("</dl>");
}

pub(super) fn notes(out: &mut String, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    out.push_str("<div class=\"notes\"><h2>What stands out, and what to try</h2><ul>");
    for note in notes {
        let mut text = String::new();
        // What stands between backticks is an option of the program.
        for (i, part) in note.split('`').enumerate() {
            let part = escape(part, 500);
            let _ = if i % 2 == 1 { write!(text, "<code>{part}</code>") } else { write!(text, "{part}") };
        }
        let _ = write!(out, "<li>{text}</li>");
    }
    out.push_str("</ul></div>");
}

/// All inputs of the run: one table per section, side by side where the page is wide enough.
pub(super) fn went_in(sections: &[FactSection]) -> String {
    let mut out = String::from("<div class=\"went\">");
    for part in sections.iter().filter(|part| !part.facts.is_empty()) {
        let _ = write!(out, "<div><h3>{}</h3><table>", escape(&part.title, 80));
        for (name, value) in part.facts.iter().take(500) {
            // A blank at an end counts too, where a value is a separator.
            let value = match value.as_str() {
                "" => "–".into(),
                value if value.trim() == value => escape(value, 1000),
                value => format!("“{}”", escape(value, 1000)),
            };
            // What has no blank is a path, a hash or a number: every character counts.
            let value = if value.chars().count() > 24 && !value.contains(' ') {
                format!("<code>{value}</code>")
            } else {
                value
            };
            let _ = write!(out, "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>", escape(name, 80));
        }
        out.push_str("</table></div>");
    }
    out.push_str("</div>");
    out
}

/// The tree in its section. `filter` is whether its own box finds items, which is hidden where all of them can be searched.
pub(super) fn tree_section(
    out: &mut String,
    catalogue: &PrefixTree<'_>,
    (budget, nodes): (usize, usize),
    note: &str,
    filter: bool,
) {
    let (rows, levels) = (catalogue.codes.rows(), catalogue.codes.levels());
    let mut text = String::new();
    if budget < rows {
        let _ = write!(
            text,
            "{} of {} are listed, each prefix with its share; counts are of all. ",
            whole(budget),
            items(rows)
        );
    }
    let _ = write!(text, "{note}{}", if note.is_empty() { "" } else { " " });
    let buttons: String = (1..levels.min(4))
        .map(|depth| format!("<button type=\"button\" data-open=\"{depth}\">Open {}</button>", plural(depth, "level")))
        .collect();
    let hidden = if filter { "" } else { " hidden" };
    let body = format!(
        "<div class=\"tools\" id=\"tools\" hidden><label for=\"find\" id=\"filter\"{hidden}>Find <input id=\"find\" type=\"search\" \
         autocomplete=\"off\" spellcheck=\"false\"></label><div>{buttons} <button type=\"button\" \
         data-open=\"0\">Close all</button></div><output id=\"found-in-tree\" for=\"find\" aria-live=\"polite\"></output></div>\
         <div id=\"tree\">{}</div>",
        catalogue.tree(budget, nodes)
    );
    section(
        out,
        "The tree of prefixes",
        &format!(
            "{text}Items with the same first code are under one line, largest first; bold words are at \
             least twice as frequent in its items as in all."
        ),
        &body,
    );
}
