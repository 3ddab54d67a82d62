//! Do IDs agree with what users do? Shared prefixes of consecutive items, and neighbours by common users.

use rayon::prelude::*;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::codes::shared_prefix;
use super::neighbours::{expected, totals_by_prefix};
use super::prefixes::Prefixes;
use crate::data::{Codes, Sequences};
use crate::error::{Error, Result};

/// How often consecutive items share a prefix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NextPrefixMeasures {
    /// Pairs of consecutive events of a user.
    pub pairs: usize,
    /// Pairs of an item with itself, which any ID passes: left out.
    pub repeats: usize,
    /// One entry a depth, 1 to the full length.
    pub levels: Vec<NextPrefixDepth>,
}

/// How often consecutive items share the prefix of one depth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NextPrefixDepth {
    /// Share of the pairs whose items have the same prefix.
    pub share: f64,
    /// The same if the ends of all pairs were drawn independently, each item as often as it is there, pairs of an
    /// item with itself left out: what popularity alone gives.
    pub by_chance: f64,
    /// `share` over `by_chance`; 0 where chance gives nothing.
    pub lift: f64,
}

/// Measures how often an item and the next one of the same user share a prefix, at every depth.
///
/// Exact, also the chance: Σ over prefixes of the share of first ends times the share of second ends under it, given
/// that the two items differ. O(events + N·levels) after one sort.
///
/// ```
/// use sememe::{Codes, Sequences, eval::measure_next_prefix};
/// let codes = Codes::from_vec(3, 1, vec![0, 0, 1])?;
/// let measures = measure_next_prefix(&codes, &Sequences::from_lists([[0, 1, 2]])?)?;
/// assert_eq!(measures.levels[0].share, 0.5);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Data`] for an item that is no row of the codes, or if no user has two different items in a row.
pub fn measure_next_prefix(codes: &Codes, sequences: &Sequences) -> Result<NextPrefixMeasures> {
    sequences.check(codes.rows())?;
    next_prefix(&Prefixes::new(codes), codes, sequences)
}

pub(super) fn next_prefix(prefixes: &Prefixes, codes: &Codes, sequences: &Sequences) -> Result<NextPrefixMeasures> {
    let (mut first, mut second) = (vec![0u64; codes.rows()], vec![0u64; codes.rows()]);
    let (mut pairs, mut repeats) = (0usize, 0usize);
    // How many pairs share exactly so many codes.
    let mut shared = vec![0usize; codes.levels() + 1];
    for pair in sequences.iter().flat_map(|items| items.windows(2)) {
        let (a, b) = (pair[0] as usize, pair[1] as usize);
        pairs += 1;
        first[a] += 1;
        second[b] += 1;
        if a == b {
            repeats += 1;
        } else {
            shared[shared_prefix(codes.row(a), codes.row(b))] += 1;
        }
    }
    if pairs == repeats {
        return Err(Error::Data(format!(
            "{} sequences hold no two different items in a row; shared prefixes need at least 1 such pair",
            sequences.users()
        )));
    }
    let (n, all) = ((pairs - repeats) as f64, pairs as f64);
    let same: f64 = first.iter().zip(&second).map(|(&a, &b)| a as f64 / all * (b as f64 / all)).sum();
    let levels = (0..codes.levels()).map(|level| {
        let count: usize = shared[level + 1..].iter().sum();
        let together: f64 = prefixes.starts[level]
            .windows(2)
            .map(|range| {
                let rows = &prefixes.order[range[0]..range[1]];
                let sum = |side: &[u64]| rows.iter().map(|&row| side[row]).sum::<u64>() as f64 / all;
                sum(&first) * sum(&second)
            })
            .sum();
        let by_chance = if same < 1.0 { ((together - same) / (1.0 - same)).max(0.0) } else { 0.0 };
        let share = count as f64 / n;
        NextPrefixDepth { share, by_chance, lift: if by_chance > 0.0 { share / by_chance } else { 0.0 } }
    });
    Ok(NextPrefixMeasures { pairs, repeats, levels: levels.collect() })
}

/// An item that was measured.
struct MeasuredItem {
    item: usize,
    wanted: usize,
    hits: f64,
    gain: f64,
    by_chance: f64,
}

/// Items that are measured before it is looked whether they are enough.
const QUERY_GROUP: usize = 1024;

/// How [`measure_co_interaction`] picks neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoInteractionOptions {
    /// Neighbours an item, at least 1.
    pub k: usize,
    /// Users that two items must have in common to count as neighbours, at least 1.
    pub min_support: usize,
    /// Users that an item must have to be measured, or to be another's neighbour.
    pub min_item_users: usize,
    /// Items that are measured at most, drawn by the seed among those that have a neighbour; without it all of them.
    pub queries: Option<usize>,
    /// Draws the items.
    pub seed: u64,
}

impl Default for CoInteractionOptions {
    fn default() -> Self {
        Self { k: 20, min_support: 2, min_item_users: 1, queries: None, seed: 0 }
    }
}

/// How well neighbours by ID agree with neighbours by common users. Serialises with k in the names: `recall_at_20`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoInteractionMeasures {
    /// Neighbours an item that were asked for.
    pub k: usize,
    /// Users in common that were asked for.
    pub min_support: usize,
    /// Items with at least one neighbour: those that were measured.
    pub items: usize,
    /// Mean number of neighbours counted, at most k.
    pub neighbours_mean: f64,
    /// Expected share of an item's neighbours by users that are among its k nearest by ID, mean over the items.
    pub recall: f64,
    /// Expected NDCG at k of the ranking by ID.
    pub ndcg: f64,
    /// The recall of IDs without meaning: k/(N − 1).
    pub recall_by_chance: f64,
    /// The NDCG of IDs without meaning.
    pub ndcg_by_chance: f64,
}

impl Serialize for CoInteractionMeasures {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(7))?;
        map.serialize_entry(&format!("recall_at_{}", self.k), &self.recall)?;
        map.serialize_entry(&format!("ndcg_at_{}", self.k), &self.ndcg)?;
        map.serialize_entry("recall_by_chance", &self.recall_by_chance)?;
        map.serialize_entry("ndcg_by_chance", &self.ndcg_by_chance)?;
        map.serialize_entry("items", &self.items)?;
        map.serialize_entry("neighbours_mean", &self.neighbours_mean)?;
        map.serialize_entry("min_support", &self.min_support)?;
        map.end()
    }
}

/// Compares an item's nearest IDs with the items that the same users took: AniMind's recall, with ties in expectation.
///
/// Neighbours go by the Jaccard index of the sets of users, |A ∩ B| / |A ∪ B|, among items with at least `min_support`
/// users in common; the k best count, or as many as there are. IDs go by the length of the common prefix, over all
/// rows. Where items tie for the last places of either ranking, each is in with equal probability. Measured over all
/// items that have a neighbour, or a sample of them. Cost: the sum of squared lengths of the sequences.
///
/// # Errors
/// [`Error::Config`] for k, min_support or queries = 0; [`Error::Data`] for an item that is no row of the codes, or if no two
/// items have enough users in common.
pub fn measure_co_interaction(
    codes: &Codes,
    sequences: &Sequences,
    options: &CoInteractionOptions,
) -> Result<CoInteractionMeasures> {
    sequences.check(codes.rows())?;
    co_interaction(&Prefixes::new(codes), codes, sequences, options)
}

pub(super) fn co_interaction(
    prefixes: &Prefixes,
    codes: &Codes,
    sequences: &Sequences,
    options: &CoInteractionOptions,
) -> Result<CoInteractionMeasures> {
    let CoInteractionOptions { k, min_support, min_item_users, queries, seed } = *options;
    if k == 0 {
        return Err(Error::config("behaviour.k", "0 neighbours cannot be compared; give at least 1"));
    }
    if min_support == 0 {
        return Err(Error::config("behaviour.min_support", "expected at least 1 user in common, got 0"));
    }
    if queries == Some(0) {
        return Err(Error::config("behaviour.queries", "0 items cannot be measured; give at least 1"));
    }
    let rows = codes.rows();
    let both = Interactions::new(rows, sequences.iter());
    let mut order: Vec<usize> =
        (0..rows).filter(|item| both.degree(*item) >= min_item_users.max(min_support)).collect();
    if queries.is_some() {
        let mut draw = crate::rng::stream(seed, "eval.co_interaction", 0);
        (1..order.len()).rev().for_each(|last| order.swap(last, draw.below(last as u64 + 1) as usize));
    }
    let measure = |item: usize, counts: &mut Vec<u32>, touched: &mut Vec<u32>| {
        let near = both.neighbours(item, min_support as u32, min_item_users, counts, touched);
        if near.is_empty() {
            return None;
        }
        let relevance = relevance_by_prefix(&near, codes, item, k);
        let wanted = near.len().min(k);
        let (hits, gain) = expected(&relevance, &totals_by_prefix(codes, &prefixes.order, item), k, wanted);
        // The same neighbours among candidates that all tie.
        let (_, by_chance) = expected(&[wanted as f64], &[rows as u64 - 1], k, wanted);
        Some(MeasuredItem { item, wanted, hits, gain, by_chance })
    };
    let most = queries.unwrap_or(usize::MAX);
    let mut measured = Vec::new();
    // Whether an item has a neighbour is known only when it is measured; past a whole group no more are than asked for.
    for group in order.chunks(if queries.is_some() { QUERY_GROUP } else { usize::MAX }) {
        let found: Vec<Option<MeasuredItem>> = group
            .par_iter()
            .map_init(|| (vec![0u32; rows], Vec::new()), |(counts, touched), item| measure(*item, counts, touched))
            .collect();
        measured.extend(found.into_iter().flatten());
        if measured.len() >= most {
            measured.truncate(most);
            break;
        }
    }
    // One order of the sums, whatever the draw.
    measured.sort_unstable_by_key(|one| one.item);
    let sum = |of: fn(&MeasuredItem) -> f64| measured.iter().map(of).sum::<f64>();
    if measured.is_empty() {
        return Err(Error::Data(format!(
            "no two items have {min_support} users in common, so there are no neighbours to find"
        ))
        .mend([crate::Remedy::lower("min_support")]));
    }
    let n = measured.len() as f64;
    Ok(CoInteractionMeasures {
        k,
        min_support,
        items: measured.len(),
        neighbours_mean: sum(|one| one.wanted as f64) / n,
        recall: sum(|one| one.hits) / n,
        ndcg: sum(|one| one.gain) / n,
        recall_by_chance: (k as f64 / (rows - 1).max(1) as f64).min(1.0),
        ndcg_by_chance: sum(|one| one.by_chance) / n,
    })
}

/// `[levels + 1]` expected number of the k nearest by users, by the length of the prefix they share with the item.
fn relevance_by_prefix(near: &[(f64, u32)], codes: &Codes, item: usize, k: usize) -> Vec<f64> {
    let (mut relevance, mut before) = (vec![0.0; codes.levels() + 1], 0usize);
    for tied in near.chunk_by(|a, b| a.0 == b.0) {
        let places = k.saturating_sub(before).min(tied.len());
        if places == 0 {
            break;
        }
        for &(_, other) in tied {
            relevance[shared_prefix(codes.row(item), codes.row(other as usize))] += places as f64 / tied.len() as f64;
        }
        before += tied.len();
    }
    relevance
}

/// Who took what, both ways; an item that a user took twice is there once.
pub(super) struct Interactions {
    user_starts: Vec<usize>,
    items: Vec<u32>,
    item_starts: Vec<usize>,
    users: Vec<u32>,
}

impl Interactions {
    pub(super) fn new<'a>(rows: usize, sequences: impl Iterator<Item = &'a [u32]>) -> Self {
        let (mut user_starts, mut items) = (vec![0], Vec::new());
        for sequence in sequences {
            let mut set = sequence.to_vec();
            set.sort_unstable();
            set.dedup();
            items.extend_from_slice(&set);
            user_starts.push(items.len());
        }
        let mut item_starts = vec![0usize; rows + 1];
        items.iter().for_each(|&item| item_starts[item as usize + 1] += 1);
        for row in 0..rows {
            item_starts[row + 1] += item_starts[row];
        }
        let (mut next, mut users) = (item_starts.clone(), vec![0u32; items.len()]);
        for user in 0..user_starts.len() - 1 {
            for &item in &items[user_starts[user]..user_starts[user + 1]] {
                users[next[item as usize]] = user as u32;
                next[item as usize] += 1;
            }
        }
        Self { user_starts, items, item_starts, users }
    }

    /// Users that took an item.
    pub(super) fn degree(&self, item: usize) -> usize {
        self.item_starts[item + 1] - self.item_starts[item]
    }

    /// `(item, users in common)` of all other items with one, in the order in which they are met. `counts` is zero and
    /// is left zero.
    pub(super) fn common(&self, item: usize, counts: &mut [u32], touched: &mut Vec<u32>) {
        touched.clear();
        for &user in &self.users[self.item_starts[item]..self.item_starts[item + 1]] {
            for &other in &self.items[self.user_starts[user as usize]..self.user_starts[user as usize + 1]] {
                if other as usize != item {
                    if counts[other as usize] == 0 {
                        touched.push(other);
                    }
                    counts[other as usize] += 1;
                }
            }
        }
    }

    /// `(Jaccard, item)` of the items with enough users in common, nearest first.
    fn neighbours(
        &self,
        item: usize,
        least: u32,
        least_users: usize,
        counts: &mut [u32],
        touched: &mut Vec<u32>,
    ) -> Vec<(f64, u32)> {
        self.common(item, counts, touched);
        let mut near = Vec::new();
        for &other in touched.iter() {
            let common = std::mem::take(&mut counts[other as usize]);
            if common >= least && self.degree(other as usize) >= least_users {
                let union = self.degree(item) + self.degree(other as usize) - common as usize;
                // A quotient of whole numbers rounds the same way however it is come by, so equals are equal.
                near.push((f64::from(common) / union as f64, other));
            }
        }
        near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        near
    }
}
