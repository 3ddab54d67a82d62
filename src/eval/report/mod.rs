//! One HTML page about a run that opens anywhere, without a network.

mod charts;
pub(crate) mod html;
mod outside;
mod tables;
mod tree;
mod words;

use std::fmt::Write as _;

use self::html::{escape, items, percent, plural, short, whole};
use self::tree::Catalogue;
use super::advice::advice;
use super::codes::loads_by_level;
use super::{Comparison, Evaluation, LevelEvaluation};
use crate::data::Codes;
use crate::error::{Result, check_shape};

/// What a report shows.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// Heading of the page.
    pub title: &'a str,
    /// What went in: dimensions, device, seed, time, configuration, as (name, value) in the order to be shown.
    pub facts: Vec<(String, String)>,
    /// `[n]` name of each item, or empty: then items are shown by number.
    pub names: &'a [String],
    /// `[n]` a line about each item, or empty.
    pub details: &'a [String],
    /// `[n, levels]` codes.
    pub codes: &'a Codes,
    /// `[levels]` codewords of each level.
    pub codebook_sizes: &'a [usize],
    /// The measures of these codes.
    pub evaluation: &'a Evaluation,
    /// Another codec or code table beside this one.
    pub comparison: Option<&'a Comparison>,
    /// Items listed in the tree at most; every prefix keeps its share of them, and its true count.
    pub items_shown: usize,
    /// Size to stay within: fewer items are listed until the page fits, down to none at all.
    pub max_bytes: usize,
}

impl<'a> ReportInput<'a> {
    /// A report without facts and names, 5,000 items and 1.5 MB at most.
    #[must_use]
    pub fn new(title: &'a str, codes: &'a Codes, codebook_sizes: &'a [usize], evaluation: &'a Evaluation) -> Self {
        Self {
            title,
            facts: Vec::new(),
            names: &[],
            details: &[],
            codes,
            codebook_sizes,
            evaluation,
            comparison: None,
            items_shown: 5_000,
            max_bytes: 1_500_000,
        }
    }
}

/// The style that all pages have.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The beginning of a page that asks the network for nothing, down to its main part. `title` is escaped already.
pub(crate) fn page_head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none';style-src 'unsafe-inline';script-src 'unsafe-inline'\"><meta \
         name=\"generator\" content=\"sememe {}\"><title>{title}</title><style>\n{STYLE}</style></head>\n<body><main>\n",
        env!("CARGO_PKG_VERSION"),
    )
}

/// First codes listed in the tree at most.
const NODES: usize = 512;

/// Renders one page: what went in, the headline measures, the tree of prefixes with a search box, items that share a
/// prefix, the load of every codeword, the error by depth, the collisions, all measures by level, and labels, behaviour and another
/// codec where they were measured.
///
/// Styles, drawings and the small script are inside the page, which forbids itself every request (a content security
/// policy of `default-src 'none'`). All text from the data is escaped, and cut where it is long. The same input
/// gives the same bytes.
///
/// The words next to a prefix are counted, not generated: those that many of its items' names and details hold and
/// few others' do.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if codes, sizes, evaluation, names or details disagree in number,
/// [`Error::Data`](crate::Error::Data) for a code beyond its codebook.
pub fn render_html(input: &ReportInput<'_>) -> Result<String> {
    let rows = input.codes.rows();
    check_shape("rows", rows, input.evaluation.rows, "evaluation")?;
    check_shape("levels", input.codes.levels(), input.evaluation.levels.len(), "evaluation")?;
    for (texts, place) in [(input.names, "names"), (input.details, "details")] {
        if !texts.is_empty() {
            check_shape("rows", rows, texts.len(), place)?;
        }
    }
    let loads = loads_by_level(input.codes, input.codebook_sizes)?;
    let catalogue = Catalogue::new(input.codes, input.names, input.details);
    let (mut budget, mut nodes) = (input.items_shown.min(rows), NODES);
    loop {
        let page = page(input, &catalogue, &loads, budget, nodes);
        if page.len() <= input.max_bytes || (budget == 0 && nodes == 0) {
            return Ok(page);
        }
        // The tree is nearly all of a page, so the excess tells how much to leave out; always at least a tenth.
        let fits = input.max_bytes as f64 / page.len() as f64;
        let cut = |n: usize| ((n as f64 * fits.min(0.9)) as usize).min(n.saturating_sub(1));
        if budget > 0 {
            budget = cut(budget);
        } else {
            nodes = cut(nodes);
        }
    }
}

fn page(
    input: &ReportInput<'_>,
    catalogue: &Catalogue<'_>,
    loads: &[Vec<u64>],
    budget: usize,
    nodes: usize,
) -> String {
    let title = escape(input.title, 200);
    let mut out = page_head(&title);
    let sizes: Vec<String> = input.codebook_sizes.iter().map(|&k| whole(k)).collect();
    let _ = write!(
        out,
        "<header><h1>{title}</h1><p class=\"lead\">{} named by {} from {} level{} of {} codewords.</p>",
        items(input.codes.rows()),
        plural(input.evaluation.unique_ids, "distinct ID"),
        input.codes.levels(),
        if input.codes.levels() == 1 { "" } else { "s" },
        sizes.join(" × ")
    );
    facts(&mut out, &input.facts);
    headline(&mut out, input.evaluation);
    notes(&mut out, &advice(input.evaluation));
    out.push_str("</header>\n");
    tree_section(&mut out, catalogue, budget, nodes);
    if let Some(table) = tables::shared_prefixes(catalogue) {
        section(
            &mut out,
            "Items that share a prefix",
            &format!(
                "A sample, spread evenly over the first codes: nothing is picked for looking good. Items under one \
                 heading share {}.",
                if input.codes.levels() > 1 { "all codes but the last" } else { "their code" }
            ),
            &table,
        );
    }
    section(
        &mut out,
        "Load of every codeword",
        "How many items have each code of a level, busiest first. The flatter, the more an ID says.",
        &charts::loads(input, loads),
    );
    if let Some(errors) = charts::errors(input) {
        section(
            &mut out,
            "Error by depth",
            "How close an item's row comes back from the first codes of its ID.",
            &errors,
        );
    }
    section(
        &mut out,
        "Collisions",
        "Items by how many share their full ID. Those that are not alone need a suffix to be unique.",
        &charts::buckets(catalogue),
    );
    section(&mut out, "All measures by level", "", &tables::measures(input));
    let e = input.evaluation;
    if !e.labels.is_empty() {
        section(
            &mut out,
            "Labels by prefix",
            "Purity is the share of items that have the commonest label of their prefix. By chance is what the same labels \
             reach when they are shuffled; adjusted is 0 there, and 1 where every prefix has one label.",
            &outside::labels(&e.labels),
        );
    }
    if let Some(measures) = &e.behaviour {
        let note =
            format!("{} events of {} users, in the order of time.", whole(measures.events), whole(measures.users));
        section(&mut out, "What users did", &note, &outside::behaviour(measures));
    }
    if let Some(comparison) = input.comparison {
        section(
            &mut out,
            "Beside another",
            "The better value of each measure is marked; measures that only describe are not.",
            &outside::comparison(comparison),
        );
    }
    let _ = write!(
        out,
        "<footer>Written by sememe {}. This page is one file and asks for nothing from the network.</footer>\n\
         </main>\n<script>\n{}</script></body></html>\n",
        env!("CARGO_PKG_VERSION"),
        include_str!("script.js")
    );
    out
}

fn section(out: &mut String, title: &str, note: &str, body: &str) {
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"soft\">{note}</p>") };
    let _ = writeln!(out, "<section><h2>{title}</h2>{note}{body}</section>");
}

fn facts(out: &mut String, facts: &[(String, String)]) {
    if facts.is_empty() {
        return;
    }
    out.push_str("<dl class=\"facts\">");
    for (name, value) in facts.iter().take(60) {
        let _ = write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name, 60), escape(value, 200));
    }
    out.push_str("</dl>");
}

fn headline(out: &mut String, e: &Evaluation) {
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

fn notes(out: &mut String, notes: &[String]) {
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

fn tree_section(out: &mut String, catalogue: &Catalogue<'_>, budget: usize, nodes: usize) {
    let (rows, levels) = (catalogue.codes.rows(), catalogue.codes.levels());
    let note = if budget < rows {
        format!("{} of {} are listed, each prefix with its share; counts are of all. ", whole(budget), items(rows))
    } else {
        String::new()
    };
    let buttons: String = (1..levels.min(4))
        .map(|depth| format!("<button type=\"button\" data-open=\"{depth}\">Open {}</button>", plural(depth, "level")))
        .collect();
    let body = format!(
        "<div class=\"tools\" id=\"tools\" hidden><label for=\"find\">Find <input id=\"find\" type=\"search\" \
         autocomplete=\"off\" spellcheck=\"false\"></label><div>{buttons} <button type=\"button\" \
         data-open=\"0\">Close all</button></div><output id=\"found\" for=\"find\" aria-live=\"polite\"></output></div>\
         <div id=\"tree\">{}</div>",
        catalogue.tree(budget, nodes)
    );
    section(
        out,
        "The tree of prefixes",
        &format!(
            "{note}Items with the same first code are under one line, largest first; bold words are at \
             least twice as frequent in its items as in all."
        ),
        &body,
    );
}
