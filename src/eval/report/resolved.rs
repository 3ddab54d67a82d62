//! Collisions: how many items share an ID, before and after resolution.

use std::fmt::Write as _;

use super::charts::buckets;
use super::html::{items, percent, table, whole};
use crate::data::Codes;
use crate::eval::codes::{lexicographic_order, shared_prefix};

/// IDs that items have, items that share theirs, and the most on one.
struct IdCounts {
    ids: usize,
    sharing: usize,
    largest: usize,
}

fn count_ids(codes: &Codes, order: &[usize]) -> IdCounts {
    let mut out = IdCounts { ids: 0, sharing: 0, largest: 0 };
    for bucket in order.chunk_by(|&a, &b| codes.row(a) == codes.row(b)) {
        out.ids += 1;
        out.sharing += if bucket.len() > 1 { bucket.len() } else { 0 };
        out.largest = out.largest.max(bucket.len());
    }
    out
}

/// Before and after, and where IDs part from their codes; `ids` has the rows of `codes`, and perhaps a counter more.
pub(super) fn resolved(codes: &Codes, ids: &Codes) -> String {
    let (before, after) = (lexicographic_order(codes), lexicographic_order(ids));
    let (a, b) = (count_ids(codes, &before), count_ids(ids, &after));
    let n = codes.rows();
    let share = |count: usize| if n > 0 { percent(count as f64 / n as f64) } else { percent(0.0) };
    let row = |name: &str, what: &str, cell: &dyn Fn(&IdCounts) -> String| {
        vec![format!("{name}<small>{what}</small>"), cell(&a), cell(&b)]
    };
    let rows = [
        row("Distinct IDs", "names that some item has", &|c| whole(c.ids)),
        row("Collision rate", "items beyond the first on their ID", &|c| share(n - c.ids)),
        row("Items that share their ID", "with one other or more", &|c| {
            if c.sharing == 0 {
                "none".into()
            } else {
                format!("{}<small>{}</small>", whole(c.sharing), share(c.sharing))
            }
        }),
        row("Largest group", "items on one ID", &|c| whole(c.largest)),
    ];
    let mut out = String::new();
    table(&mut out, "Collisions before and after", &["IDs", "before", "after"], rows.into_iter());
    let _ = write!(out, "<p class=\"soft under\">{}</p>", moved(codes, ids));
    let _ = write!(out, "<h3>Before</h3>{}", buckets(codes, &before));
    if b.sharing > 0 {
        let _ = write!(out, "<h3>After</h3>{}", buckets(ids, &after));
    }
    out
}

/// How many items have another ID than their codes, and from which level on.
fn moved(codes: &Codes, ids: &Codes) -> String {
    let levels = codes.levels();
    let mut by_level = vec![0usize; ids.levels()];
    for (old, new) in codes.iter().zip(ids.iter()) {
        let same = shared_prefix(old, new);
        // A counter of 0 changes nothing.
        if same < levels || new[levels..].iter().any(|counter| *counter > 0) {
            by_level[same.min(ids.levels() - 1)] += 1;
        }
    }
    let all: usize = by_level.iter().sum();
    if all == 0 {
        return "Every item’s ID is its own codes.".into();
    }
    let parts: Vec<String> = (0..ids.levels())
        .filter(|level| by_level[*level] > 0)
        .map(|level| match level < levels {
            true => format!("{} at level {}", whole(by_level[level]), level + 1),
            false => format!("{} by a counter", whole(by_level[level])),
        })
        .collect();
    let verb = if all == 1 { "has" } else { "have" };
    format!(
        "{} ({}) {verb} an ID that is not just their own codes: {}.",
        items(all),
        percent(all as f64 / codes.rows() as f64),
        parts.join(", ")
    )
}
