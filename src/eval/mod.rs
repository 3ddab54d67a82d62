//! Quality measures of semantic IDs, and the report that shows them.
//!
//! [`judge`] takes what is at hand about some codes (a [`Subject`]: the rows, the way back to rows, labels, what users did)
//! and measures all that it allows; [`evaluate`] is the plain case of a codec on its rows. The parts stand alone:
//! [`measure_codes`] needs the codes only, [`Reconstruction`] gathers the error by depth, [`measure_neighbours`] compares
//! neighbourhoods, [`measure_labels`] looks for labels under prefixes, [`measure_next_prefix`], [`measure_co_interaction`] and
//! [`measure_next_item`] hold IDs against behaviour, [`measure_churn`] two tables against each other. [`compare`] puts two
//! evaluations side by side, [`advice`] says what to try where a figure looks bad, [`render_text`] and [`render_html`] show
//! the result.

mod advice;
mod baselines;
mod behaviour;
mod churn;
mod closest;
mod codes;
mod compare;
mod labels;
mod nearest;
mod neighbours;
mod next_item;
mod prefixes;
mod rank;
mod ranking;
pub mod recall;
mod reconstruction;
pub mod report;
mod subject;
mod table;
mod text;

pub use advice::{Advice, advice};
pub use baselines::{BaselineMeasures, BaselineOptions, measure_baselines};
pub use behaviour::{
    CoInteractionMeasures, CoInteractionOptions, NextPrefixDepth, NextPrefixMeasures, measure_co_interaction,
    measure_next_prefix,
};
pub use churn::{Churn, ChurnDepth, measure_churn};
pub use closest::closest_rows;
pub use codes::{CodeMeasures, LevelMeasures, measure_codes};
pub use compare::{Better, Comparison, Difference, compare};
pub use labels::{LabelDepth, LabelMeasures, Labels, measure_labels};
pub use neighbours::{NeighbourMeasures, NeighbourOptions, measure_neighbours};
pub use next_item::{NextItemMeasures, NextItemOptions, Ranking, measure_next_item};
pub use ranking::{BucketMeasures, RankMeasures, RankingMeasures, RankingTally, best_items};
pub use reconstruction::{DepthError, Reconstruction, ReconstructionMeasures};
pub use report::{FactSection, PreviousRun, RecallFigures, ReportInput, Spelling, TokenSpelling, render_html};
pub use subject::{Subject, evaluate, judge};
pub use table::{CodeAdjustment, CodeTable, interpret_codes};
pub use text::{render_comparison, render_text};

use serde::Serialize;

use crate::data::{RowSource, first_non_finite};
use crate::error::{Error, Result};

/// What [`judge`] measures and on how many rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalOptions {
    /// Neighbours a query for recall and NDCG, at least 1.
    pub k: usize,
    /// Rows drawn as queries; 0 leaves the neighbours out.
    pub queries: usize,
    /// Seed of every draw.
    pub seed: u64,
    /// Which items count as neighbours by behaviour.
    pub co_interaction: CoInteractionOptions,
    /// How next items are ranked; its seed is replaced by the one above.
    pub next_item: NextItemOptions,
    /// Whether all levels choose from one codebook, as AniMind's do: then its use is that of all levels together.
    pub shared_codebook: bool,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            k: 10,
            queries: 1000,
            seed: 0,
            co_interaction: CoInteractionOptions::default(),
            next_item: NextItemOptions::default(),
            shared_codebook: false,
        }
    }
}

impl EvalOptions {
    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::Config`] for a k or a minimum support of 0, and what [`NextItemOptions::validate`] refuses.
    pub fn validate(&self) -> Result<()> {
        if self.k == 0 {
            return Err(Error::config("k", "0 neighbours cannot be compared; give at least 1"));
        }
        if self.co_interaction.k == 0 {
            return Err(Error::config("co_interaction.k", "0 neighbours cannot be compared; give at least 1"));
        }
        if self.co_interaction.min_support == 0 {
            return Err(Error::config("co_interaction.min_support", "expected at least 1 user in common, got 0"));
        }
        self.next_item.validate()
    }
}

/// Everything measured about one run. Serialises to a flat JSON object with these names, and those of
/// [`NeighbourMeasures`] with k in them (`recall_at_10`); what was not measured is left out or `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows, N.
    pub rows: usize,
    /// Distinct IDs, U.
    pub unique_ids: usize,
    /// 1 − U/N.
    pub collision_rate: f64,
    /// Share of rows whose ID another row has too.
    pub colliding_item_rate: f64,
    /// Rows on the most crowded ID.
    pub max_bucket: usize,
    /// H(IDs) / ln ∏K.
    pub entropy_ratio: f64,
    /// Share of the codewords that any level uses, where all levels choose from one codebook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_utilisation: Option<f64>,
    /// How the rows come back from full IDs; `None` for codes without rows or without the codec that made them.
    #[serde(flatten)]
    pub reconstruction: Option<FullError>,
    /// Recall and NDCG on a sample.
    #[serde(flatten)]
    pub neighbours: NeighbourMeasures,
    /// Seed of that sample.
    pub seed: u64,
    /// One entry a level, coarse to fine.
    pub levels: Vec<LevelEvaluation>,
    /// One entry a column of labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelMeasures>,
    /// What users did, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behaviour: Option<BehaviourMeasures>,
}

/// How the rows come back from full IDs, and what the rows are like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FullError {
    /// Values a row.
    pub dims: usize,
    /// R² of the full IDs.
    pub r2: f64,
    /// Mean squared error a value, full IDs.
    pub mse: f64,
    /// Mean squared L2 a row, full IDs.
    pub squared_l2: f64,
    /// Mean cosine of a row and its reconstruction, full IDs.
    pub cosine: f64,
    /// Mean squared deviation a value from the mean row: the `mse` of no ID at all.
    pub variance: f64,
    /// Mean L2 norm of a row.
    pub norm_mean: f64,
    /// Standard deviation of the norms over their mean.
    pub norm_spread: f64,
    /// Rows of length 0.
    pub zero_rows: usize,
}

/// How IDs agree with what users did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BehaviourMeasures {
    /// Users with a sequence, an empty one included.
    pub users: usize,
    /// Events of all of them.
    pub events: usize,
    /// Consecutive items that share a prefix; `None` if no user has two different items in a row.
    pub next_prefix: Option<NextPrefixMeasures>,
    /// Neighbours by common users; `None` if no two items have enough of them.
    pub co_interaction: Option<CoInteractionMeasures>,
    /// The last item, found from the others; `None` if no user has an item before the last.
    pub next_item: Option<NextItemMeasures>,
}

/// One level's codebook, with the error of the prefixes that end here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelEvaluation {
    /// Use of the codebook and shape of the tree.
    #[serde(flatten)]
    pub codes: LevelMeasures,
    /// Reconstruction error of the prefix; `None` as for [`Evaluation::reconstruction`].
    #[serde(flatten)]
    pub error: Option<DepthError>,
}

/// Rows read at a time: about 4 MiB, a multiple of the 256 that sums are formed over.
fn piece_rows(dims: usize) -> usize {
    ((1 << 20) / dims.max(1) / 256).clamp(1, 32) * 256
}

fn refuse_non_finite(piece: &[f32], dims: usize, start: usize, source: &dyn RowSource) -> Result<()> {
    match first_non_finite(piece, dims) {
        None => Ok(()),
        Some((first, count)) => Err(Error::NonFinite {
            first: (start + first) as u64,
            count: count as u64,
            rows: (piece.len() / dims) as u64,
            place: source.name(),
        }),
    }
}
