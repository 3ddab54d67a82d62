//! Measures of a bare code table: collisions, use of the codebooks, spread over the tree of prefixes.

use rayon::prelude::*;
use serde::Serialize;

use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// What a code table says about itself, without the rows it came from.
///
/// `N` rows, `U` distinct IDs, `n_s` rows on ID `s`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodeMeasures {
    /// N.
    pub rows: usize,
    /// U.
    pub unique_ids: usize,
    /// 1 − U/N: the share of rows that would need a suffix to become unique.
    pub collision_rate: f64,
    /// Share of rows whose ID another row has too; at least `collision_rate`.
    pub colliding_item_rate: f64,
    /// Rows on the most crowded ID.
    pub max_bucket: usize,
    /// H(IDs) / ln ∏K, both in nats: 1 if every possible ID is equally loaded, which takes N ≥ ∏K; at most
    /// ln N / ln ∏K otherwise. 1 where only one ID is possible.
    pub entropy_ratio: f64,
    /// One entry a level, coarse to fine.
    pub levels: Vec<LevelMeasures>,
}

/// How one level's codebook is used. `K` codewords, `p_j` the share of rows with code `j`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelMeasures {
    /// K.
    pub codebook_size: usize,
    /// Codewords that at least one row has.
    pub used: usize,
    /// `used` / K.
    pub utilisation: f64,
    /// exp(−Σ p ln p): the number of evenly loaded codewords that would be as informative, 1 to K.
    pub perplexity: f64,
    /// `perplexity` / K.
    pub perplexity_ratio: f64,
    /// Rows on the busiest codeword over N/K.
    pub max_over_mean_load: f64,
    /// Gini coefficient of the K loads, unused codewords included: 0 even, (K − 1)/K all on one.
    pub gini: f64,
    /// Distinct prefixes that end with this level, U_m.
    pub unique_prefixes: usize,
    /// 1 − U_m/N.
    pub prefix_collision_rate: f64,
    /// Mean number of different codes that continue a prefix of the level above: U_m / U_{m−1}.
    pub fan_out_mean: f64,
    /// The largest such number.
    pub fan_out_max: usize,
}

/// Measures `[N, levels]` codes against the sizes of their codebooks.
///
/// O(N log N) for one sort of the packed IDs, then one pass. Every sum runs in a fixed order. Definitions as in
/// the published evaluations of semantic IDs: 1 − U/N is what LC-Rec and MiniOneRec call the collision rate.
///
/// ```
/// let codes = sememe::Codes::from_vec(4, 2, vec![0, 0, 0, 1, 1, 0, 1, 0])?;
/// let measures = sememe::eval::measure_codes(&codes, &[2, 2])?;
/// assert_eq!(measures.unique_ids, 3);
/// assert_eq!(measures.collision_rate, 0.25);
/// assert_eq!(measures.colliding_item_rate, 0.5);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if there is not one size a level, [`Error::Data`] for no rows at all or a code beyond its codebook.
pub fn measure_codes(codes: &Codes, codebook_sizes: &[usize]) -> Result<CodeMeasures> {
    let loads = loads_by_level(codes, codebook_sizes)?;
    let (rows, levels) = (codes.rows(), codes.levels());
    if rows == 0 {
        return Err(Error::Data("a code table of 0 rows has no measures; encode at least 1 row".into()));
    }
    let order = lexicographic_order(codes);
    let tree = TreeCounts::new(codes, &order);

    let n = rows as f64;
    let mut bits_left = 0.0;
    let (mut colliding, mut max_bucket) = (0usize, 0usize);
    for &bucket in &tree.buckets {
        max_bucket = max_bucket.max(bucket);
        if bucket > 1 {
            colliding += bucket;
            bits_left += bucket as f64 * libm::log(bucket as f64);
        }
    }
    // H = −Σ n_s/N ln(n_s/N) = ln N − Σ n_s ln n_s / N; rounding must not make it negative.
    let entropy = (libm::log(n) - bits_left / n).max(0.0);
    let possible: f64 = codebook_sizes.iter().map(|&k| libm::log(k as f64)).sum();

    let unique_ids = tree.buckets.len();
    let measured = (0..levels).map(|level| {
        let load = &loads[level];
        let above = if level == 0 { 1 } else { tree.unique[level - 1] };
        let perplexity = perplexity(load, n);
        LevelMeasures {
            codebook_size: load.len(),
            used: load.iter().filter(|&&c| c > 0).count(),
            utilisation: load.iter().filter(|&&c| c > 0).count() as f64 / load.len() as f64,
            perplexity,
            perplexity_ratio: perplexity / load.len() as f64,
            max_over_mean_load: load.iter().copied().max().unwrap_or(0) as f64 * load.len() as f64 / n,
            gini: gini(load),
            unique_prefixes: tree.unique[level],
            prefix_collision_rate: 1.0 - tree.unique[level] as f64 / n,
            fan_out_mean: tree.unique[level] as f64 / above as f64,
            fan_out_max: tree.fan_out_max[level],
        }
    });
    Ok(CodeMeasures {
        rows,
        unique_ids,
        collision_rate: 1.0 - unique_ids as f64 / n,
        colliding_item_rate: colliding as f64 / n,
        max_bucket,
        entropy_ratio: if possible > 0.0 { entropy / possible } else { 1.0 },
        levels: measured.collect(),
    })
}

/// Rows on each codeword: `[levels][K]`, the sizes checked on the way.
pub(super) fn loads_by_level(codes: &Codes, codebook_sizes: &[usize]) -> Result<Vec<Vec<u64>>> {
    check_shape("levels", codes.levels(), codebook_sizes.len(), "codebook_sizes")?;
    let mut loads: Vec<Vec<u64>> = codebook_sizes.iter().map(|&k| vec![0; k]).collect();
    for (level, load) in loads.iter().enumerate() {
        if load.is_empty() {
            return Err(Error::config(format!("codebook_sizes.{level}"), "a codebook of 0 codewords; give at least 1"));
        }
    }
    for (row, id) in codes.iter().enumerate() {
        for (level, (&code, load)) in id.iter().zip(&mut loads).enumerate() {
            let size = load.len();
            let slot = load.get_mut(code as usize).ok_or_else(|| {
                Error::Data(format!(
                    "row {row} has code {code} at level {level}, whose codebook holds {size}; \
                     give the codec that made these codes"
                ))
            })?;
            *slot += 1;
        }
    }
    Ok(loads)
}

/// Row numbers in the order of their IDs, equal IDs by row number.
pub(super) fn lexicographic_order(codes: &Codes) -> Vec<usize> {
    let levels = codes.levels();
    let mut bits = vec![0u32; levels];
    for id in codes.iter() {
        for (width, &code) in bits.iter_mut().zip(id) {
            *width = (*width).max(u32::BITS - code.leading_zeros());
        }
    }
    let mut order: Vec<usize> = (0..codes.rows()).collect();
    if bits.iter().sum::<u32>() > u64::BITS {
        order.par_sort_unstable_by(|&a, &b| codes.row(a).cmp(codes.row(b)).then(a.cmp(&b)));
        return order;
    }
    // An ID in one word, first code on top, compares like the ID itself. A width of 64 leaves nothing above it.
    let pack = |id: &[u32]| {
        id.iter().zip(&bits).fold(0u64, |key, (&code, &width)| key.checked_shl(width).unwrap_or(0) | u64::from(code))
    };
    let mut keyed: Vec<(u64, usize)> = codes.iter().map(pack).zip(order.iter().copied()).collect();
    keyed.par_sort_unstable();
    order.iter_mut().zip(&keyed).for_each(|(slot, &(_, row))| *slot = row);
    order
}

/// Number of leading codes that two IDs share.
pub(super) fn shared_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Counts over the tree of prefixes, from one walk over the sorted IDs.
struct TreeCounts {
    /// Rows on each distinct ID.
    buckets: Vec<usize>,
    /// `[levels]` distinct prefixes of length level + 1.
    unique: Vec<usize>,
    /// `[levels]` most children of one prefix of length level.
    fan_out_max: Vec<usize>,
}

impl TreeCounts {
    fn new(codes: &Codes, order: &[usize]) -> Self {
        let levels = codes.levels();
        let (mut unique, mut fan_out_max) = (vec![1; levels], vec![1; levels]);
        let mut children = vec![1usize; levels];
        let (mut buckets, mut bucket) = (Vec::new(), 1usize);
        for pair in order.windows(2) {
            let shared = shared_prefix(codes.row(pair[0]), codes.row(pair[1]));
            if shared == levels {
                bucket += 1;
                continue;
            }
            buckets.push(std::mem::replace(&mut bucket, 1));
            children[shared] += 1;
            fan_out_max[shared] = fan_out_max[shared].max(children[shared]);
            children[shared + 1..].fill(1);
            unique[shared..].iter_mut().for_each(|u| *u += 1);
        }
        buckets.push(bucket);
        Self { buckets, unique, fan_out_max }
    }
}

fn perplexity(load: &[u64], rows: f64) -> f64 {
    let entropy: f64 = load
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = count as f64 / rows;
            -share * libm::log(share)
        })
        .sum();
    libm::exp(entropy)
}

/// Gini coefficient of non-negative loads; 0 where there is no load.
fn gini(load: &[u64]) -> f64 {
    let mut sorted = load.to_vec();
    sorted.sort_unstable();
    let (k, total) = (sorted.len() as f64, sorted.iter().sum::<u64>() as f64);
    if total == 0.0 {
        return 0.0;
    }
    // Σ (2i − K − 1) x_(i) / (K Σ x), i from 1 in ascending order; the signed weights make an even load exactly 0.
    let weighted: f64 = sorted.iter().enumerate().map(|(i, &x)| (2.0 * i as f64 + 1.0 - k) * x as f64).sum();
    (weighted / (k * total)).max(0.0)
}
