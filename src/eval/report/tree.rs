//! The tree of prefixes as nested `<details>`.

use std::fmt::Write as _;

use super::html::{escape, items, whole};
use super::words::Words;
use crate::data::Codes;
use crate::eval::codes::lexicographic_order;

/// What the sections that walk the IDs share.
pub(super) struct PrefixTree<'a> {
    /// `[n, levels]` IDs.
    pub(super) codes: &'a Codes,
    /// `[n]` names, or empty.
    names: &'a [String],
    /// `[n]` a line about each item, or empty.
    details: &'a [String],
    /// Rows in the order of their IDs.
    pub(super) order: Vec<usize>,
    pub(super) words: Words,
}

/// Characters of a name or a detail that are shown.
const NAME: usize = 80;
const DETAIL: usize = 110;

impl<'a> PrefixTree<'a> {
    pub(super) fn new(codes: &'a Codes, names: &'a [String], details: &'a [String]) -> Self {
        let words = Words::new(codes.rows(), names, details);
        Self { codes, names, details, order: lexicographic_order(codes), words }
    }

    /// An item's name, escaped.
    pub(super) fn name(&self, row: usize) -> String {
        match self.names.get(row).map(|name| name.trim()) {
            Some("") | None => format!("item {row}"),
            Some(name) => escape(name, NAME),
        }
    }

    /// An item's detail, escaped; empty if there is none.
    pub(super) fn detail(&self, row: usize) -> String {
        self.details.get(row).map_or(String::new(), |text| escape(text.trim(), DETAIL))
    }

    /// The first `depth` codes of a row, the last `strong` of them set off.
    pub(super) fn prefix(&self, row: usize, depth: usize, strong: usize) -> String {
        let text = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join("-");
        let (quiet, loud) = self.codes.row(row)[..depth].split_at(depth - strong);
        match (quiet.is_empty(), loud.is_empty()) {
            (true, _) => format!("<code><b>{}</b></code>", text(loud)),
            (_, true) => format!("<code><i>{}</i></code>", text(quiet)),
            _ => format!("<code><i>{}-</i><b>{}</b></code>", text(quiet), text(loud)),
        }
    }

    /// Parts of a range of the order that share the code at `depth`, largest first.
    pub(super) fn children<'o>(&self, range: &'o [usize], depth: usize) -> Vec<&'o [usize]> {
        let codes = self.codes;
        let mut parts: Vec<&[usize]> = range.chunk_by(|&a, &b| codes.row(a)[depth] == codes.row(b)[depth]).collect();
        // Stable, so parts of one size stay in the order of their codes.
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        parts
    }

    /// The tree, listing at most `budget` items under at most `nodes` first codes.
    pub(super) fn tree(&self, budget: usize, nodes: usize) -> String {
        let mut out = String::new();
        let parts = self.children(&self.order, 0);
        let largest = parts.first().map_or(1, |part| part.len());
        let quotas = share(&parts, budget);
        for (part, quota) in parts.iter().zip(quotas).take(nodes) {
            self.node(&mut out, part, 1, quota, Some(largest));
        }
        if parts.len() > nodes {
            let rest: usize = parts[nodes..].iter().map(|part| part.len()).sum();
            let _ = write!(
                out,
                "<p class=\"soft\">{} smaller prefixes with {} are not shown.</p>",
                whole(parts.len() - nodes),
                items(rest)
            );
        }
        out
    }

    fn node(&self, out: &mut String, range: &[usize], depth: usize, quota: usize, largest: Option<usize>) {
        let words = self.words.typical(range, 3).iter().map(|w| escape(w, 24)).collect::<Vec<_>>().join(", ");
        let bar = largest.map_or(String::new(), |largest| {
            format!("<i style=\"width:{:.1}%\"></i>", 100.0 * range.len() as f64 / largest as f64)
        });
        let _ = write!(
            out,
            "<details><summary>{}<span class=\"n\">{}{bar}</span><span class=\"w\">{words}</span>\
             <span class=\"s\">{}</span></summary><div>",
            self.prefix(range[0], depth, 1),
            items(range.len()),
            self.samples(range, depth).join(", ")
        );
        self.body(out, range, depth, quota);
        out.push_str("</div></details>\n");
    }

    /// A name from each of the largest parts below, then from across the range until there are four.
    fn samples(&self, range: &[usize], depth: usize) -> Vec<String> {
        let parts = if depth == self.codes.levels() { Vec::new() } else { self.children(range, depth) };
        let mut chosen: Vec<usize> = parts.iter().take(4).map(|part| part[0]).collect();
        for at in 0..4 {
            let row = range[at * range.len() / 4];
            if chosen.len() < 4 && !chosen.contains(&row) {
                chosen.push(row);
            }
        }
        chosen.into_iter().map(|row| self.name(row)).collect()
    }

    fn body(&self, out: &mut String, range: &[usize], depth: usize, quota: usize) {
        let levels = self.codes.levels();
        if depth == levels {
            out.push_str("<ul>");
            range.iter().take(quota).for_each(|&row| self.item(out, row, false));
            self.more(out, range, levels, quota);
            out.push_str("</ul>");
            return;
        }
        let parts = self.children(range, depth);
        let quotas = share(&parts, quota);
        let mut lines = String::new();
        let mut listed = 0;
        for (part, quota) in parts.iter().zip(quotas) {
            let quota = quota.min(part.len());
            listed += if quota == 0 { 0 } else { part.len() };
            match part.len() {
                _ if quota == 0 => {}
                1 => self.item(&mut lines, part[0], true),
                count if depth + 1 == levels => {
                    let _ = write!(
                        lines,
                        "<li class=\"g\">{}<em>{} on this ID</em><ul>",
                        self.prefix(part[0], levels, levels),
                        items(count)
                    );
                    part.iter().take(quota).for_each(|&row| self.item(&mut lines, row, false));
                    self.more(&mut lines, part, levels, quota);
                    lines.push_str("</ul></li>");
                }
                _ => self.node(out, part, depth + 1, quota, None),
            }
        }
        self.more(&mut lines, range, depth, listed);
        if !lines.is_empty() {
            let _ = write!(out, "<ul>{lines}</ul>");
        }
    }

    /// How many items of a prefix are not listed, for the script to make a way to them.
    fn more(&self, out: &mut String, range: &[usize], depth: usize, listed: usize) {
        if range.len() > listed {
            let prefix: Vec<String> = self.codes.row(range[0])[..depth].iter().map(u32::to_string).collect();
            let (rest, prefix) = (whole(range.len() - listed), prefix.join("-"));
            let _ = write!(out, "<li class=\"m\" data-rest=\"{prefix}\">{rest} more, not listed</li>");
        }
    }

    fn item(&self, out: &mut String, row: usize, with_id: bool) {
        let levels = self.codes.levels();
        let id = if with_id { self.prefix(row, levels, levels) } else { String::new() };
        let detail = self.detail(row);
        let name = self.name(row);
        let detail = if detail.is_empty() || detail == name { String::new() } else { format!("<span>{detail}</span>") };
        let _ = write!(out, "<li data-i>{id}<b>{name}</b>{detail}</li>");
    }
}

/// Splits a budget over parts in proportion to their lengths, what rounding leaves over to the first.
fn share(parts: &[&[usize]], budget: usize) -> Vec<usize> {
    let all: usize = parts.iter().map(|part| part.len()).sum();
    if budget >= all {
        return parts.iter().map(|part| part.len()).collect();
    }
    let exact = |part: &&[usize]| (budget as u128 * part.len() as u128 / all as u128) as usize;
    let mut quotas: Vec<usize> = parts.iter().map(exact).collect();
    let mut left = budget - quotas.iter().sum::<usize>();
    for (quota, part) in quotas.iter_mut().zip(parts) {
        if left > 0 && *quota < part.len() {
            *quota += 1;
            left -= 1;
        }
    }
    quotas
}
