//! Do items that are near each other get IDs that share a prefix? Recall and NDCG, ties in expectation.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::codes::lexicographic_order;
use super::nearest::nearest_rows;
use super::rank::discount;
use crate::data::{Codes, RowSource};
use crate::error::{Error, Result, check_shape};

/// How [`measure_neighbours`] samples and ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourOptions {
    /// Neighbours a query, at least 1; fewer where there are fewer other rows.
    pub k: usize,
    /// Rows drawn as queries without replacement; all rows if there are fewer, 0 to measure nothing.
    pub queries: usize,
    /// Seed of the draw.
    pub seed: u64,
}

impl Default for NeighbourOptions {
    fn default() -> Self {
        Self { k: 10, queries: 1000, seed: 0 }
    }
}

/// How well neighbours by ID agree with neighbours by embedding.
///
/// Serialises with k in the names: `recall_at_10`, `ndcg_at_10`.
#[derive(Clone, Debug, PartialEq)]
pub struct NeighbourMeasures {
    /// Neighbours a query that were asked for.
    pub k: usize,
    /// Queries measured.
    pub queries: usize,
    /// Expected share of the k nearest rows that are among the k nearest by ID; `None` where nothing was measured.
    pub recall: Option<f64>,
    /// Expected NDCG at k of the ranking by ID, a row being relevant if it is among the k nearest.
    pub ndcg: Option<f64>,
    /// The recall that IDs without any meaning would have: k/(N − 1).
    pub recall_by_chance: Option<f64>,
    /// Share of the queries that another row equals in every value: no ID can tell those apart.
    pub duplicate_rate: Option<f64>,
}

impl NeighbourMeasures {
    /// Nothing measured.
    pub(super) fn none(k: usize) -> Self {
        Self { k, queries: 0, recall: None, ndcg: None, recall_by_chance: None, duplicate_rate: None }
    }
}

impl Serialize for NeighbourMeasures {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry(&format!("recall_at_{}", self.k), &self.recall)?;
        map.serialize_entry(&format!("ndcg_at_{}", self.k), &self.ndcg)?;
        map.serialize_entry("recall_queries", &self.queries)?;
        map.serialize_entry("recall_by_chance", &self.recall_by_chance)?;
        map.serialize_entry("duplicate_rate", &self.duplicate_rate)?;
        map.end()
    }
}

/// Compares the k nearest rows of a sample with its k nearest IDs, over all rows of `source`, the query excluded.
///
/// Nearest rows go by squared L2, nearest IDs by `levels` − length of the common prefix. Both rankings have ties,
/// and a tied row is never placed by its row number: where g rows tie for the last s places, each is in with
/// probability s/g, independently in the two rankings, and the measures are the exact expectations (for NDCG:
/// McSherry and Najork, "Computing information retrieval performance measures efficiently in the presence of tied
/// scores", 2008). Rows tie if their squared L2 to the query, added up in `f64` in one fixed order, are equal; so
/// duplicates of a row always tie.
///
/// Cost: `queries × N × d` multiplications, read in pieces of a few MiB: an `f32` GEMM leaves out what cannot be
/// among the k nearest by a rounding bound, the rest is decided in `f64`. The result does not depend on the number
/// of threads or on the pieces.
///
/// # Errors
/// [`Error::Config`] for k = 0, [`Error::Shape`] if rows and codes disagree in number, [`Error::NonFinite`], and
/// what reading the source may return.
pub fn measure_neighbours(
    source: &dyn RowSource,
    codes: &Codes,
    options: &NeighbourOptions,
) -> Result<NeighbourMeasures> {
    if options.k == 0 {
        return Err(Error::config("k", "0 neighbours cannot be compared; give at least 1"));
    }
    let rows = source.rows();
    check_shape("rows", rows, codes.rows(), "codes")?;
    let queries = if rows < 2 { 0 } else { options.queries.min(rows) };
    let mut measures = NeighbourMeasures { queries, ..NeighbourMeasures::none(options.k) };
    if queries == 0 {
        return Ok(measures);
    }
    let k = options.k.min(rows - 1);
    let drawn = crate::rng::stream(options.seed, "eval.neighbours", 0).sample(rows as u64, queries);
    let order = lexicographic_order(codes);
    let (mut recall, mut ndcg, mut duplicates) = (0.0, 0.0, 0usize);
    for group in drawn.chunks(GROUP) {
        let group: Vec<usize> = group.iter().map(|&q| q as usize).collect();
        for (&query, nearest) in group.iter().zip(nearest_rows(source, codes, &group, k)?) {
            let totals = totals_by_prefix(codes, &order, query);
            let (hits, gain) = expected(&nearest.relevance_by_prefix(k, codes.levels()), &totals, k, k);
            recall += hits;
            ndcg += gain;
            duplicates += usize::from(nearest.has_duplicate());
        }
    }
    let n = queries as f64;
    measures.recall = Some(recall / n);
    measures.ndcg = Some(ndcg / n);
    measures.recall_by_chance = Some(k as f64 / (rows - 1) as f64);
    measures.duplicate_rate = Some(duplicates as f64 / n);
    Ok(measures)
}

/// Queries held at a time; more are measured in further passes over the source.
const GROUP: usize = 4096;

/// `[levels + 1]` rows other than `query` by the length of the prefix they share with it.
pub(super) fn totals_by_prefix(codes: &Codes, order: &[usize], query: usize) -> Vec<u64> {
    let id = codes.row(query);
    let (mut from, mut to) = (0, order.len());
    let mut totals: Vec<u64> = (0..=codes.levels())
        .map(|depth| {
            let within = &order[from..to];
            let start = from + within.partition_point(|&row| codes.row(row)[..depth] < id[..depth]);
            let end = from + within.partition_point(|&row| codes.row(row)[..depth] <= id[..depth]);
            (from, to) = (start, end);
            (end - start) as u64 - 1
        })
        .collect();
    // At least so much shared → exactly so much shared.
    for depth in 0..codes.levels() {
        totals[depth] -= totals[depth + 1];
    }
    totals
}

/// Expected (recall, NDCG) at k of ranking by shared prefix, longest first, each group of equals in random order.
/// `relevant` rows could be found, at most k.
pub(super) fn expected(relevance: &[f64], totals: &[u64], k: usize, relevant: usize) -> (f64, f64) {
    let (mut hits, mut gain, mut placed) = (0.0, 0.0, 0usize);
    for (&relevance, &total) in relevance.iter().zip(totals).rev() {
        let places = (total as usize).min(k - placed);
        if places == 0 {
            continue;
        }
        let each = relevance / total as f64;
        hits += each * places as f64;
        gain += each * (placed + 1..=placed + places).map(discount).sum::<f64>();
        placed += places;
    }
    (hits / relevant as f64, gain / (1..=relevant).map(discount).sum::<f64>())
}
