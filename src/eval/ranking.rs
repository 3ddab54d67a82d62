//! Measures of a recommender: where the item that came next stands among all items.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::rank::of_one;
use crate::error::{Error, Result, check_shape};

/// Items of a list whose coverage is counted.
const LIST: usize = 10;
/// Events of an item in training from which the popularity buckets begin: never seen, rare, common, popular.
const BUCKETS: [u32; 4] = [0, 1, 10, 50];

/// Recall and NDCG of one right item a question, in expectation over ties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankMeasures {
    /// Questions.
    pub questions: u64,
    /// Share whose item is among the first 5.
    pub recall_at_5: f64,
    /// The same among the first 10.
    pub recall_at_10: f64,
    /// NDCG among the first 5: 1/log₂(place + 1).
    pub ndcg_at_5: f64,
    /// The same among the first 10.
    pub ndcg_at_10: f64,
}

/// The measures of questions whose item had so many events in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketMeasures {
    /// Events of the item, at least.
    pub events_from: u32,
    /// At most; `None` for any number.
    pub events_to: Option<u32>,
    /// What is reached there.
    #[serde(flatten)]
    pub measures: RankMeasures,
}

/// What a recommender reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankingMeasures {
    /// Over all questions.
    #[serde(flatten)]
    pub all: RankMeasures,
    /// Share of all items that stand in some list of ten.
    pub coverage_at_10: f64,
    /// By how often the right item was seen in training; the first are cold items, never seen.
    pub by_popularity: Vec<BucketMeasures>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RankSums {
    questions: u64,
    sums: [f64; 4],
}

impl RankSums {
    fn add(&mut self, better: usize, tied: usize) {
        let (at_5, at_10) = (of_one(better, tied, 5), of_one(better, tied, 10));
        self.questions += 1;
        self.sums.iter_mut().zip([at_5.0, at_10.0, at_5.1, at_10.1]).for_each(|(sum, value)| *sum += value);
    }

    fn measures(&self) -> RankMeasures {
        let [recall_at_5, recall_at_10, ndcg_at_5, ndcg_at_10] =
            self.sums.map(|sum| sum / self.questions.max(1) as f64);
        RankMeasures { questions: self.questions, recall_at_5, recall_at_10, ndcg_at_5, ndcg_at_10 }
    }
}

/// Adds questions up as they are answered.
///
/// ```
/// use sememe::eval::RankingTally;
/// let mut tally = RankingTally::new(vec![3, 0, 1]);
/// // Two questions over three items: the first item is right and stands first; the second is right and stands last.
/// tally.add(&[0.9, 0.1, 0.3, 0.9, 0.1, 0.3], &[0, 1], &[&[], &[]])?;
/// let measures = tally.measures();
/// assert_eq!((measures.all.questions, measures.all.recall_at_5), (2, 1.0));
/// assert_eq!(measures.by_popularity[0].measures.ndcg_at_10, 0.5);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RankingTally {
    /// Events of every item in training.
    events: Vec<u32>,
    listed: Vec<bool>,
    all: RankSums,
    buckets: [RankSums; BUCKETS.len()],
}

impl RankingTally {
    /// Nothing asked yet; `events` says how often each item was seen in training.
    #[must_use]
    pub fn new(events: Vec<u32>) -> Self {
        let listed = vec![false; events.len()];
        Self { events, listed, all: RankSums::default(), buckets: Default::default() }
    }

    /// Takes the answers to some questions: `scores [questions, items]`, the right item of each, and the items that a list leaves out.
    /// A right item among those left out counts as one that is not found, and so does one whose score is NaN. O(questions·items).
    ///
    /// # Errors
    /// [`Error::Shape`] if the numbers disagree, [`Error::Data`] for an item that does not exist.
    pub fn add(&mut self, scores: &[f32], targets: &[u32], left_out: &[&[u32]]) -> Result<()> {
        let items = self.events.len();
        check_shape("scores", targets.len() * items, scores.len(), "answers")?;
        check_shape("questions", targets.len(), left_out.len(), "items left out")?;
        let named = targets.iter().chain(left_out.iter().copied().flatten());
        if let Some(item) = named.copied().find(|item| *item as usize >= items) {
            return Err(Error::Data(format!("item {item} is past the {items} items that are ranked")));
        }
        if items == 0 {
            return Ok(());
        }
        let answers: Vec<(usize, usize, Vec<u32>)> = scores
            .par_chunks_exact(items)
            .zip(targets)
            .zip(left_out)
            .map(|((scores, target), left_out)| {
                let (better, tied) = place(scores, *target, left_out);
                (better, tied, best_items(scores, LIST, left_out))
            })
            .collect();
        for ((better, tied, list), target) in answers.into_iter().zip(targets) {
            list.iter().for_each(|item| self.listed[*item as usize] = true);
            self.all.add(better, tied);
            let bucket = BUCKETS.partition_point(|from| *from <= self.events[*target as usize]) - 1;
            self.buckets[bucket].add(better, tied);
        }
        Ok(())
    }

    /// The measures of all that was asked.
    #[must_use]
    pub fn measures(&self) -> RankingMeasures {
        let bucket = |(i, sums): (usize, &RankSums)| BucketMeasures {
            events_from: BUCKETS[i],
            events_to: BUCKETS.get(i + 1).map(|next| next - 1),
            measures: sums.measures(),
        };
        RankingMeasures {
            all: self.all.measures(),
            coverage_at_10: self.listed.iter().filter(|l| **l).count() as f64 / self.listed.len().max(1) as f64,
            by_popularity: self.buckets.iter().enumerate().map(bucket).collect(),
        }
    }
}

/// How many items stand before the target, and how many on its score, itself among them.
fn place(scores: &[f32], target: u32, left_out: &[u32]) -> (usize, usize) {
    let own = scores[target as usize];
    if own.is_nan() || left_out.contains(&target) {
        return (scores.len(), 1);
    }
    // Blocks count in 32 bits, as wide as the scores.
    let (mut better, mut tied) = (0usize, 0usize);
    for block in scores.chunks(1 << 16) {
        let (mut above, mut equal) = (0u32, 0u32);
        for score in block {
            // A score of NaN is none that a list would hold.
            above += u32::from(*score > own);
            equal += u32::from(*score == own);
        }
        better += above as usize;
        tied += equal as usize;
    }
    let mut out = left_out.to_vec();
    out.sort_unstable();
    out.dedup();
    for item in out {
        better -= usize::from(scores[item as usize] > own);
        tied -= usize::from(scores[item as usize] == own);
    }
    (better, tied)
}

/// The `count` items with the highest scores, best first, the lower number on a tie, without those left out and without NaN.
/// O(items + count·log count) for most scores.
#[must_use]
pub fn best_items(scores: &[f32], count: usize, left_out: &[u32]) -> Vec<u32> {
    if count == 0 {
        return Vec::new();
    }
    let mut out: Vec<u32> = left_out.to_vec();
    out.sort_unstable();
    // No NaN gets this far.
    let order = |a: f32, b: f32| b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal);
    let before = |a: &u32, b: &u32| order(scores[*a as usize], scores[*b as usize]).then(a.cmp(b));
    let mut kept: Vec<u32> = Vec::with_capacity(2 * count.min(scores.len()));
    // What a score has to be above to matter, once there are enough.
    let mut least = f32::NEG_INFINITY;
    let mut full = false;
    for (item, score) in scores.iter().enumerate() {
        let enters = if full { *score > least } else { !score.is_nan() };
        if !enters || out.binary_search(&(item as u32)).is_ok() {
            continue;
        }
        kept.push(item as u32);
        if kept.len() == 2 * count || (!full && kept.len() == count) {
            kept.sort_unstable_by(before);
            kept.truncate(count);
            least = scores[kept[count - 1] as usize];
            full = true;
        }
    }
    kept.sort_unstable_by(before);
    kept.truncate(count);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_items_are_those_of_a_full_sort() {
        let mut state = 1u32;
        for (n, distinct) in [(0, 1), (1, 1), (7, 3), (100, 5), (1000, 1 << 20)] {
            let scores: Vec<f32> = (0..n)
                .map(|i| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if i % 17 == 5 { f32::NAN } else { ((state >> 8) % distinct) as f32 - 2.0 }
                })
                .collect();
            let left_out: Vec<u32> = (0..n as u32).filter(|i| i % 5 == 1).collect();
            let mut want: Vec<u32> =
                (0..n as u32).filter(|i| !scores[*i as usize].is_nan() && !left_out.contains(i)).collect();
            want.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
            for count in [0, 1, 3, 10, 2000] {
                let wanted = &want[..count.min(want.len())];
                assert_eq!(best_items(&scores, count, &left_out), wanted, "{count} of {n}");
            }
        }
    }

    #[test]
    fn ties_are_measured_in_expectation() {
        let mut tally = RankingTally::new(vec![5, 0, 60, 12]);
        tally.add(&[1.0, 1.0, 1.0, 1.0], &[2], &[&[]]).expect("a question");
        let all = tally.measures().all;
        assert_eq!((all.recall_at_5, all.recall_at_10), (1.0, 1.0));
        let gain = (1..=4).map(|p| 1.0 / f64::from(p + 1).log2()).sum::<f64>() / 4.0;
        assert!((all.ndcg_at_5 - gain).abs() < 1e-12);
    }

    #[test]
    fn items_left_out_and_nan_are_not_found() {
        let scores = [0.5, f32::NAN, 0.7, 0.9];
        assert_eq!(place(&scores, 0, &[]), (2, 1));
        assert_eq!(place(&scores, 0, &[3, 3]), (1, 1));
        assert_eq!(place(&scores, 1, &[]), (4, 1));
        assert_eq!(place(&scores, 3, &[3]), (4, 1));
        let mut tally = RankingTally::new(vec![0; 20]);
        tally.add(&[0.0; 20], &[4], &[&[4]]).expect("a question");
        assert_eq!(tally.measures().all.recall_at_10, 0.0);
    }

    #[test]
    fn buckets_and_coverage_count() {
        let mut tally = RankingTally::new(vec![0, 9, 10, 50]);
        let rising = [0.0f32, 1.0, 2.0, 3.0];
        tally.add(&rising.repeat(4), &[0, 1, 2, 3], &[&[], &[], &[], &[]]).expect("questions");
        let measures = tally.measures();
        assert_eq!(measures.coverage_at_10, 1.0);
        let got: Vec<_> =
            measures.by_popularity.iter().map(|b| (b.events_from, b.events_to, b.measures.questions)).collect();
        assert_eq!(got, [(0, Some(0), 1), (1, Some(9), 1), (10, Some(49), 1), (50, None, 1)]);
        assert!(measures.by_popularity[3].measures.ndcg_at_5 > measures.by_popularity[0].measures.ndcg_at_5);
        assert!(tally.add(&rising, &[4], &[&[]]).is_err());
        assert!(tally.add(&rising[1..], &[1], &[&[]]).is_err());
    }
}
