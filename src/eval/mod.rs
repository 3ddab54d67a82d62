//! Quality measures of semantic IDs, and the report that shows them.
//!
//! [`evaluate`] runs all of them over a source of rows and their codes. Its parts stand alone: [`measure_codes`] needs
//! the codes only, [`Reconstruction`] gathers the error by depth, [`measure_neighbours`] compares neighbourhoods.
//! [`advice`] says what to try where a figure looks bad, [`render_text`] and [`render_html`] show the result.

mod advice;
mod churn;
mod codes;
mod nearest;
mod neighbours;
mod reconstruction;
mod report;
mod text;

pub use advice::advice;
pub use churn::{Churn, ChurnDepth, measure_churn};
pub use codes::{CodeMeasures, LevelMeasures, measure_codes};
pub use neighbours::{NeighbourMeasures, NeighbourOptions, measure_neighbours};
pub use reconstruction::{DepthError, Reconstruction, ReconstructionMeasures};
pub use report::{ReportInput, render_html};
pub use text::render_text;

use serde::Serialize;

use crate::data::{Codes, Matrix, MatrixView, RowSource, first_non_finite};
use crate::error::{Error, Result, check_shape};

/// What [`evaluate`] measures and on how many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// Neighbours a query for recall and NDCG, at least 1.
    pub k: usize,
    /// Rows drawn as queries; 0 leaves the neighbours out.
    pub queries: usize,
    /// Seed of the draw.
    pub seed: u64,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self { k: 10, queries: 1000, seed: 0 }
    }
}

impl EvalOptions {
    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::Config`] for k = 0.
    pub fn validate(&self) -> Result<()> {
        if self.k == 0 {
            return Err(Error::config("k", "0 neighbours cannot be compared; give at least 1"));
        }
        Ok(())
    }
}

/// Everything measured about one run. Serialises to a flat JSON object with these names, and those of
/// [`NeighbourMeasures`] with k in them (`recall_at_10`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows, N.
    pub rows: usize,
    /// Values a row.
    pub dims: usize,
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
    /// Recall and NDCG on a sample.
    #[serde(flatten)]
    pub neighbours: NeighbourMeasures,
    /// Seed of that sample.
    pub seed: u64,
    /// One entry a level, coarse to fine.
    pub levels: Vec<LevelEvaluation>,
}

/// One level's codebook, with the error of the prefixes that end here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelEvaluation {
    /// Use of the codebook and shape of the tree.
    #[serde(flatten)]
    pub codes: LevelMeasures,
    /// Reconstruction error of the prefix.
    #[serde(flatten)]
    pub error: DepthError,
}

/// Measures `codes` of the rows of `source`: codes, reconstruction at every depth, neighbours.
///
/// `reconstruct` is given the `[n, m]` codes of a piece, cut to their first m levels for every m from 1 to the full
/// length, and returns the `[n, d]` rows they stand for. Reads the source in pieces of a few MiB, once for the
/// reconstruction and once a 4,096 queries for the neighbours. The result is the same at any number of threads.
///
/// ```
/// use sememe::{Codes, Matrix, eval::{EvalOptions, evaluate}};
/// let rows = Matrix::from_vec(3, 1, vec![0.0, 0.1, 1.0])?;
/// let codes = Codes::from_vec(3, 1, vec![0, 0, 1])?;
/// let decode = |codes: &Codes| {
///     Matrix::from_vec(codes.rows(), 1, codes.iter().map(|id| [0.05, 1.0][id[0] as usize]).collect())
/// };
/// let evaluation = evaluate(&rows, &codes, &[2], &decode, &EvalOptions { k: 1, ..Default::default() })?;
/// assert!(evaluation.r2 > 0.99);
/// assert_eq!(evaluation.neighbours.recall, Some((1.0 + 1.0 + 0.5) / 3.0));
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if rows, codes, sizes or reconstructions disagree; [`Error::Data`] for no rows, no dimensions, a
/// code beyond its codebook or a reconstruction that is not finite; [`Error::NonFinite`] for such rows;
/// [`Error::Config`] for options that cannot be used; and what `reconstruct` or the source returns.
pub fn evaluate(
    source: &dyn RowSource,
    codes: &Codes,
    codebook_sizes: &[usize],
    reconstruct: &dyn Fn(&Codes) -> Result<Matrix>,
    options: &EvalOptions,
) -> Result<Evaluation> {
    options.validate()?;
    check_shape("rows", source.rows(), codes.rows(), "codes")?;
    let measured = measure_codes(codes, codebook_sizes)?;
    let error = measure_reconstruction(source, codes, reconstruct)?;
    let asked = NeighbourOptions { k: options.k, queries: options.queries, seed: options.seed };
    let neighbours = measure_neighbours(source, codes, &asked)?;
    let full = *error.depths.last().ok_or_else(|| Error::Data("an ID of 0 levels cannot be measured".into()))?;
    let levels = measured.levels.into_iter().zip(error.depths).map(|(codes, error)| LevelEvaluation { codes, error });
    Ok(Evaluation {
        rows: measured.rows,
        dims: source.dims(),
        unique_ids: measured.unique_ids,
        collision_rate: measured.collision_rate,
        colliding_item_rate: measured.colliding_item_rate,
        max_bucket: measured.max_bucket,
        entropy_ratio: measured.entropy_ratio,
        r2: full.r2,
        mse: full.mse,
        squared_l2: full.squared_l2,
        cosine: full.cosine,
        variance: error.variance,
        norm_mean: error.norm_mean,
        norm_spread: error.norm_spread,
        zero_rows: error.zero_rows,
        neighbours,
        seed: options.seed,
        levels: levels.collect(),
    })
}

fn measure_reconstruction(
    source: &dyn RowSource,
    codes: &Codes,
    reconstruct: &dyn Fn(&Codes) -> Result<Matrix>,
) -> Result<ReconstructionMeasures> {
    let (rows, dims, levels) = (source.rows(), source.dims(), codes.levels());
    if dims == 0 {
        return Err(Error::Data(format!("{rows} rows of 0 values in `{}` cannot be measured", source.name())));
    }
    let mut gathered = Reconstruction::new(dims, levels);
    let step = piece_rows(dims).min(rows);
    let mut buffer = vec![0.0f32; step * dims];
    for start in (0..rows).step_by(step) {
        let count = step.min(rows - start);
        let piece = &mut buffer[..count * dims];
        source.read_rows(start, piece)?;
        refuse_non_finite(piece, dims, start, source)?;
        let mut back = Vec::with_capacity(levels);
        for depth in 1..=levels {
            let ids = (start..start + count).flat_map(|row| codes.row(row)[..depth].iter().copied());
            back.push(reconstruct(&Codes::from_vec(count, depth, ids.collect())?)?);
        }
        gathered.add(MatrixView::new(count, dims, piece)?, &back)?;
    }
    gathered.finish()
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
