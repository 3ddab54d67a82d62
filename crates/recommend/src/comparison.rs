//! What one recommender reaches on several tables of IDs, over seeds.

use sememe::eval::{RankMeasures, RankingMeasures};
use serde::{Deserialize, Serialize};

/// A measure over several trainings that differ in their seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasureSpread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, over n − 1; `None` of a single one.
    pub deviation: Option<f64>,
}

impl MeasureSpread {
    /// Of these values; `None` without any.
    ///
    /// ```
    /// use sememe_recommend::MeasureSpread;
    /// let spread = MeasureSpread::of(&[1.0, 2.0, 3.0]).unwrap();
    /// assert_eq!((spread.mean, spread.deviation), (2.0, Some(1.0)));
    /// ```
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        Some(Self { mean, deviation: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) })
    }
}

/// One training of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparedRun {
    /// The seed of its draws.
    pub seed: u64,
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch that was kept, from 1, and its validation NDCG@10.
    pub best: Option<(usize, f64)>,
    /// Where the last item of each user stood.
    pub measures: RankingMeasures,
}

/// What a recommender reaches on one table, over all seeds.
///
/// ```
/// use sememe_recommend::ComparedTable;
/// let table = ComparedTable::new("ours", Vec::new());
/// assert_eq!((table.name.as_str(), table.recall_at_10), ("ours", None));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedTable {
    /// What the table is called.
    pub name: String,
    /// One training a seed.
    pub runs: Vec<ComparedRun>,
    /// Recall among the first 5.
    pub recall_at_5: Option<MeasureSpread>,
    /// The same among the first 10.
    pub recall_at_10: Option<MeasureSpread>,
    /// NDCG among the first 5.
    pub ndcg_at_5: Option<MeasureSpread>,
    /// The same among the first 10.
    pub ndcg_at_10: Option<MeasureSpread>,
    /// Share of all items that stand in some list of ten.
    pub coverage_at_10: Option<MeasureSpread>,
    /// Recall among the first 10 where the right item was never seen in training; `None` if no question is of that kind.
    pub cold_recall_at_10: Option<MeasureSpread>,
}

impl ComparedTable {
    /// From one training a seed.
    #[must_use]
    pub fn new(name: impl Into<String>, runs: Vec<ComparedRun>) -> Self {
        let of = |measure: fn(&RankingMeasures) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(|run| measure(&run.measures)).collect();
            MeasureSpread::of(&values)
        };
        Self {
            name: name.into(),
            recall_at_5: of(|m| Some(m.all.recall_at_5)),
            recall_at_10: of(|m| Some(m.all.recall_at_10)),
            ndcg_at_5: of(|m| Some(m.all.ndcg_at_5)),
            ndcg_at_10: of(|m| Some(m.all.ndcg_at_10)),
            coverage_at_10: of(|m| Some(m.coverage_at_10)),
            cold_recall_at_10: of(|m| cold(m).map(|cold| cold.recall_at_10)),
            runs,
        }
    }
}

/// Of items that training never saw, if any was asked for.
fn cold(measures: &RankingMeasures) -> Option<&RankMeasures> {
    let bucket = measures.by_popularity.iter().find(|bucket| bucket.events_to == Some(0))?;
    (bucket.measures.questions > 0).then_some(&bucket.measures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sememe::eval::BucketMeasures;

    #[test]
    fn a_table_says_mean_and_spread_of_its_seeds() {
        let run = |seed: u64, recall: f64, cold_questions: u64| {
            let all = RankMeasures { questions: 10, recall_at_10: recall, ..RankMeasures::default() };
            let measures = RankMeasures { questions: cold_questions, recall_at_10: recall / 2.0, ..all };
            let cold = BucketMeasures { events_from: 0, events_to: Some(0), measures };
            let measures = RankingMeasures { all, coverage_at_10: 0.5, by_popularity: vec![cold] };
            ComparedRun { seed, epochs: 3, best: Some((2, 0.25)), measures }
        };
        let one = ComparedTable::new("a", vec![run(0, 0.5, 0)]);
        assert_eq!(one.recall_at_10, Some(MeasureSpread { mean: 0.5, deviation: None }));
        assert_eq!(one.cold_recall_at_10, None, "nobody asked for a cold item");
        let two = ComparedTable::new("a", vec![run(0, 0.25, 4), run(1, 0.75, 4)]);
        let spread = two.recall_at_10.expect("measured");
        assert!((spread.mean - 0.5).abs() < 1e-12);
        assert!((spread.deviation.expect("two") - 0.125f64.sqrt()).abs() < 1e-12);
        assert_eq!(two.coverage_at_10, Some(MeasureSpread { mean: 0.5, deviation: Some(0.0) }));
        assert!((two.cold_recall_at_10.expect("asked").mean - 0.25).abs() < 1e-12);
        let text = serde_json::to_string(&two).expect("JSON");
        assert_eq!(serde_json::from_str::<ComparedTable>(&text).expect("read"), two);
    }
}
