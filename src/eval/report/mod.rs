//! One HTML page about a run that opens anywhere, without a network.

mod charts;
mod find;
pub mod html;
mod input;
mod outside;
mod parts;
mod resolved;
mod tables;
mod training;
mod tree;
mod words;

pub use input::{FactSection, PreviousRun, RecallFigures, ReportInput, Spelling, TokenSpelling};

use std::borrow::Cow;
use std::fmt::Write as _;

use self::find::SearchIndex;
use self::html::{escape, items, plural, whole};
use self::parts::{facts, headline, notes, section, tree_section, went_in};
use self::tree::PrefixTree;
use super::advice::advice;
use super::codes::{lexicographic_order, loads_by_level};
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// The style that all pages have.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The beginning of a page that asks the network for nothing, down to its main part. `title` is escaped already.
#[must_use]
pub fn page_head(title: &str) -> String {
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

/// The share of a page that the items to search may take.
const ROOM: (usize, usize) = (3, 5);

/// Renders one page: what went in, the headline measures, a box that finds any item and its neighbours by ID, prefix, name or key, the
/// tree of prefixes, items that share a prefix, the load of every codeword, the training, the error by depth, the collisions before
/// and after they were resolved, all measures by level, and labels, behaviour, recall, churn and another codec where there are such.
///
/// Styles, drawings, items and scripts are inside the page, which forbids itself every request (a content security
/// policy of `default-src 'none'`). All text from the data is escaped, and cut where it is long. The same input
/// gives the same bytes.
///
/// The words next to a prefix are counted, not generated: those that many of its items' names and details hold and
/// few others' do. Items are packed: sorted by ID, codes as differences, texts in columns, deflated; a browser unpacks them with its
/// `DecompressionStream` and searches them without case and accents.
///
/// # Errors
/// [`Error::Shape`] if codes, IDs, sizes, spelling, evaluation, keys, names, details or churn disagree in number,
/// [`Error::Data`] for a code beyond its codebook.
pub fn render_html(input: &ReportInput<'_>) -> Result<String> {
    check(input)?;
    let rows = input.codes.rows();
    let loads = loads_by_level(input.codes, input.codebook_sizes)?;
    let ids = input.ids.unwrap_or(input.codes);
    // The tree knows no counters.
    let levels = input.codes.levels();
    let uncounted = (ids.levels() > levels)
        .then(|| Codes::from_vec(rows, levels, ids.iter().flat_map(|id| id[..levels].iter().copied()).collect()))
        .transpose()?;
    let (names, details) = shown(input);
    let catalogue = PrefixTree::new(uncounted.as_ref().unwrap_or(ids), &names, details);
    let order = lexicographic_order(ids);
    let room = match rows {
        0 => None,
        _ => SearchIndex::pack(input, ids, &order, input.max_bytes / ROOM.1 * ROOM.0)?,
    };
    let mut search = room.as_ref().map(|room| find::section(input, ids, &order, room));
    let all = (input.items_shown.min(rows), NODES);
    let (mut budget, mut nodes) = all;
    loop {
        let page = page(input, &catalogue, &loads, &order, search.as_deref(), (budget, nodes));
        if page.len() <= input.max_bytes || (budget == 0 && nodes == 0 && search.is_none()) {
            return Ok(page);
        }
        if budget == 0 && nodes == 0 {
            // A tree with nothing to search is better than a search that bursts the page.
            search = None;
            (budget, nodes) = all;
            continue;
        }
        // The tree is nearly all of what may go, so the excess tells how much to leave out; always at least a tenth.
        let fixed = search.as_ref().map_or(0, String::len);
        let fits = input.max_bytes.saturating_sub(fixed) as f64 / (page.len() - fixed) as f64;
        let cut = |n: usize| ((n as f64 * fits.min(0.9)) as usize).min(n.saturating_sub(1));
        if budget > 0 {
            budget = cut(budget);
        } else {
            nodes = cut(nodes);
        }
    }
}

/// Names and details for the tree: keys stand in for names that are not there, and beside those that are.
fn shown<'a>(input: &ReportInput<'a>) -> (Cow<'a, [String]>, &'a [String]) {
    if input.names.is_empty() || input.keys.is_empty() {
        let names = if input.names.is_empty() { input.keys } else { input.names };
        return (names.into(), input.details);
    }
    let details = if input.details.is_empty() { input.keys } else { input.details };
    let blank = |name: &String| name.trim().is_empty();
    if !input.names.iter().any(blank) {
        return (input.names.into(), details);
    }
    let or_key = |(name, key): (&String, &String)| if blank(name) { key.clone() } else { name.clone() };
    (input.names.iter().zip(input.keys).map(or_key).collect(), details)
}

/// Refuses parts that do not belong together.
fn check(input: &ReportInput<'_>) -> Result<()> {
    let (rows, levels) = (input.codes.rows(), input.codes.levels());
    check_shape("rows", rows, input.evaluation.rows, "evaluation")?;
    check_shape("levels", levels, input.evaluation.levels.len(), "evaluation")?;
    for (texts, place) in [(input.keys, "keys"), (input.names, "names"), (input.details, "details")] {
        if !texts.is_empty() {
            check_shape("rows", rows, texts.len(), place)?;
        }
    }
    let width = input.ids.map_or(levels, Codes::levels);
    if let Some(ids) = input.ids {
        check_shape("rows", rows, ids.rows(), "IDs")?;
        if width != levels && width != levels + 1 {
            check_shape("levels", levels, width, "IDs, whose only column more may be a counter")?;
        }
    }
    if let Some(spelling) = &input.spelling {
        check_shape("tokens", width, spelling.tokens.len(), "spelling")?;
    }
    if let Some(since) = &input.since
        && since.churn.rows > rows
    {
        return Err(Error::Data(format!(
            "{} items are compared with an earlier run, but there are {rows}",
            since.churn.rows
        )));
    }
    Ok(())
}

fn page(
    input: &ReportInput<'_>,
    catalogue: &PrefixTree<'_>,
    loads: &[Vec<u64>],
    order: &[usize],
    search: Option<&str>,
    (budget, nodes): (usize, usize),
) -> String {
    let title = escape(input.title, 200);
    let mut out = page_head(&title);
    lead(&mut out, input, order);
    facts(&mut out, &input.facts);
    headline(&mut out, input.evaluation);
    let advised = advice(input.evaluation);
    let said: Vec<String> = input.notes.iter().cloned().chain(advised.iter().map(input.advice_text)).collect();
    notes(&mut out, &said);
    out.push_str("</header>\n");
    out.push_str(search.unwrap_or_default());
    let too_many = match search {
        None if input.codes.rows() > 0 => find::too_many(input.codes.rows(), input.max_bytes),
        _ => String::new(),
    };
    tree_section(&mut out, catalogue, (budget, nodes), &too_many, search.is_none());
    if input.sections.iter().any(|part| !part.facts.is_empty()) {
        section(&mut out, "What went in", "", &went_in(&input.sections));
    }
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
    if let Some(training) = training::training(input.training, input.epochs) {
        let what = if input.epochs.is_empty() { "Training" } else { "Training, epoch by epoch" };
        section(&mut out, what, "", &training);
    }
    if let Some(errors) = charts::errors(input) {
        section(
            &mut out,
            "Error by depth",
            "How close an item's row comes back from the first codes of its ID.",
            &errors,
        );
    }
    match input.ids {
        None => section(
            &mut out,
            "Collisions",
            "Items by how many share their full ID. Those that are not alone need a suffix to be unique.",
            &charts::buckets(input.codes, &catalogue.order),
        ),
        Some(ids) => section(
            &mut out,
            "Collisions before and after",
            "Before: items by the codes that the codec gave them. After: by the IDs that they have now, which the search \
             and the tree show.",
            &resolved::resolved(input.codes, ids),
        ),
    }
    section(&mut out, "All measures by level", "", &tables::measures(input));
    outside(&mut out, input);
    let _ = write!(
        out,
        "<footer>Written by sememe {}. This page is one file and asks for nothing from the network.</footer>\n\
         </main>\n<script>\n{}{}</script></body></html>\n",
        env!("CARGO_PKG_VERSION"),
        include_str!("script.js"),
        if search.is_some() { include_str!("find.js") } else { "" },
    );
    out
}

/// The heading, and how many items have how many IDs.
fn lead(out: &mut String, input: &ReportInput<'_>, order: &[usize]) {
    let sizes: Vec<String> = input.codebook_sizes.iter().map(|&k| whole(k)).collect();
    let (levels, before) = (input.codes.levels(), input.evaluation.unique_ids);
    let (after, resolved) = match input.ids {
        None => (before, String::new()),
        Some(ids) => {
            let after = order.chunk_by(|&a, &b| ids.row(a) == ids.row(b)).count();
            (after, format!(", {} before collisions were resolved", whole(before)))
        }
    };
    let _ = write!(
        out,
        "<header><h1>{}</h1><p class=\"lead\">{} named by {}{resolved}{} {} of {} codewords.</p>",
        escape(input.title, 200),
        items(input.codes.rows()),
        plural(after, "distinct ID"),
        if resolved.is_empty() { " from" } else { ";" },
        plural(levels, "level"),
        sizes.join(" × ")
    );
}

/// Sections on what lies outside of codes and rows.
fn outside(out: &mut String, input: &ReportInput<'_>) {
    let e = input.evaluation;
    if let Some(recall) = &input.recall {
        section(
            out,
            "Recall against what users did",
            "How many of the items that the same users took are nearest by ID.",
            &outside::recall(recall),
        );
    }
    if !e.labels.is_empty() {
        section(
            out,
            "Labels by prefix",
            "Purity is the share of items that have the commonest label of their prefix. By chance is what the same labels \
             reach when they are shuffled; adjusted is 0 there, and 1 where every prefix has one label.",
            &outside::labels(&e.labels),
        );
    }
    if let Some(measures) = &e.behaviour {
        let note =
            format!("{} events of {} users, in the order of time.", whole(measures.events), whole(measures.users));
        section(out, "What users did", &note, &outside::behaviour(measures));
    }
    if let Some(since) = &input.since {
        section(out, "Since the run before", "", &outside::since(since));
    }
    if let Some(comparison) = input.comparison {
        section(
            out,
            "Beside another",
            "The better value of each measure is marked; measures that only describe are not.",
            &outside::comparison(comparison),
        );
    }
}
