//! Codes with the data available about their items, and every measure that this data allows.

use super::behaviour::{co_interaction, next_prefix};
use super::next_item::next_item;
use super::prefixes::Prefixes;
use super::{
    BehaviourMeasures, EvalOptions, Evaluation, FullError, Labels, LevelEvaluation, NeighbourMeasures,
    NeighbourOptions, NextItemOptions, Reconstruction, ReconstructionMeasures, labels, measure_codes,
    measure_neighbours, piece_rows, refuse_non_finite,
};
use crate::data::{Codes, Matrix, MatrixView, RowSource, Sequences};
use crate::error::{Error, Result, check_shape};

/// The way from `[n, m]` codes, cut to their first m levels for any m from 1 to the full length, back to `[n, d]` rows.
pub type Decode<'a> = dyn Fn(&Codes) -> Result<Matrix> + 'a;

/// Codes, and what is known about the items that have them. All but the codes may be missing.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// `[n, levels]`.
    pub codes: &'a Codes,
    /// `[levels]` codewords of each level.
    pub codebook_sizes: &'a [usize],
    /// `[n, d]` embeddings: for neighbours, and for the error together with `decode`.
    pub rows: Option<&'a dyn RowSource>,
    /// The codec's way back.
    pub decode: Option<&'a Decode<'a>>,
    /// Columns of labels, each with an entry a row.
    pub labels: &'a [Labels],
    /// What users did, by row number.
    pub sequences: Option<&'a Sequences>,
}

impl<'a> Subject<'a> {
    /// A bare code table.
    #[must_use]
    pub fn new(codes: &'a Codes, codebook_sizes: &'a [usize]) -> Self {
        Self { codes, codebook_sizes, rows: None, decode: None, labels: &[], sequences: None }
    }
}

/// Measures everything that the subject allows: codes always, reconstruction at every depth with rows and `decode`,
/// neighbours with rows, labels and behaviour where they are given.
///
/// Reads rows in pieces of a few MiB; with `sequences`, rows are held in memory for the ranking by vectors. The result is the same
/// at any number of threads.
///
/// ```
/// use sememe::{Codes, Sequences, eval::{EvalOptions, Labels, Subject, judge}};
/// let codes = Codes::from_vec(4, 2, vec![0, 0, 0, 1, 1, 0, 1, 1])?;
/// let labels = [Labels::new("kind", &["pen", "pen", "ink", "ink"])];
/// let sequences = Sequences::from_lists([[0, 1], [2, 3]])?;
/// let subject = Subject { labels: &labels, sequences: Some(&sequences), ..Subject::new(&codes, &[2, 2]) };
/// let evaluation = judge(&subject, &EvalOptions::default())?;
/// assert_eq!(evaluation.collision_rate, 0.0);
/// assert_eq!(evaluation.labels[0].levels[0].purity, 1.0);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if rows, codes, sizes, labels or reconstructions disagree; [`Error::Data`] for no rows, no
/// dimensions, a code beyond its codebook, a column without any label, an event whose item is no row, or a reconstruction that is not
/// finite; [`Error::NonFinite`] for such rows; [`Error::Config`] for options that cannot be used; and what `decode` or the
/// source returns.
pub fn judge(subject: &Subject<'_>, options: &EvalOptions) -> Result<Evaluation> {
    options.validate()?;
    let codes = subject.codes;
    // All that can be refused at once is refused before the work.
    if let Some(rows) = subject.rows {
        check_shape("rows", rows.rows(), codes.rows(), "codes")?;
    }
    for labels in subject.labels {
        check_shape("rows", codes.rows(), labels.rows(), format!("labels `{}`", labels.name()))?;
    }
    subject.sequences.map_or(Ok(()), |sequences| sequences.check(codes.rows()))?;
    let measured = measure_codes(codes, subject.codebook_sizes)?;
    let error = match (subject.rows, subject.decode) {
        (Some(rows), Some(decode)) => Some(measure_reconstruction(rows, codes, decode)?),
        _ => None,
    };
    let asked = NeighbourOptions { k: options.k, queries: options.queries, seed: options.seed };
    let neighbours = match subject.rows {
        Some(rows) => measure_neighbours(rows, codes, &asked)?,
        None => NeighbourMeasures::none(options.k),
    };
    let needed = !subject.labels.is_empty() || subject.sequences.is_some();
    let prefixes = needed.then(|| Prefixes::new(codes));
    let (mut by_label, mut behaviour) = (Vec::new(), None);
    if let Some(prefixes) = &prefixes {
        for column in subject.labels {
            by_label.push(labels::measure(prefixes, codes.levels(), column, options.seed)?);
        }
        behaviour =
            subject.sequences.map(|sequences| measure_behaviour(subject, sequences, prefixes, options)).transpose()?;
    }
    let full = error.as_ref().and_then(|e| e.depths.last().map(|full| (e, full))).map(|(e, full)| FullError {
        dims: subject.rows.map_or(0, RowSource::dims),
        r2: full.r2,
        mse: full.mse,
        squared_l2: full.squared_l2,
        cosine: full.cosine,
        variance: e.variance,
        norm_mean: e.norm_mean,
        norm_spread: e.norm_spread,
        zero_rows: e.zero_rows,
    });
    let depths = error.map(|e| e.depths).unwrap_or_default();
    let mut depths = depths.into_iter();
    let levels = measured.levels.into_iter().map(|codes| LevelEvaluation { codes, error: depths.next() });
    Ok(Evaluation {
        rows: measured.rows,
        unique_ids: measured.unique_ids,
        collision_rate: measured.collision_rate,
        colliding_item_rate: measured.colliding_item_rate,
        max_bucket: measured.max_bucket,
        entropy_ratio: measured.entropy_ratio,
        shared_utilisation: options.shared_codebook.then(|| shared_utilisation(codes, subject.codebook_sizes)),
        reconstruction: full,
        neighbours,
        seed: options.seed,
        levels: levels.collect(),
        labels: by_label,
        behaviour,
    })
}

/// Codewords of one codebook that any level uses.
fn shared_utilisation(codes: &Codes, codebook_sizes: &[usize]) -> f64 {
    let mut used = vec![false; codebook_sizes.iter().copied().max().unwrap_or(0)];
    codes.as_slice().iter().for_each(|code| used[*code as usize] = true);
    used.iter().filter(|used| **used).count() as f64 / used.len().max(1) as f64
}

/// The measures of behaviour; what the events are too few for is left out.
fn measure_behaviour(
    subject: &Subject<'_>,
    sequences: &Sequences,
    prefixes: &Prefixes,
    options: &EvalOptions,
) -> Result<BehaviourMeasures> {
    let (codes, rows) = (subject.codes, subject.rows);
    let asked = NextItemOptions { seed: options.seed, ..options.next_item };
    let if_enough = |e: Error| if matches!(e.root(), Error::Data(_)) { Ok(()) } else { Err(e) };
    fn optional<T>(result: Result<T>, why: impl Fn(Error) -> Result<()>) -> Result<Option<T>> {
        result.map(Some).or_else(|e| why(e).map(|()| None))
    }
    Ok(BehaviourMeasures {
        users: sequences.users(),
        events: sequences.events(),
        next_prefix: optional(next_prefix(prefixes, codes, sequences), if_enough)?,
        co_interaction: optional(co_interaction(prefixes, codes, sequences, &options.co_interaction), if_enough)?,
        next_item: optional(next_item(prefixes, codes, rows, sequences, &asked), if_enough)?,
    })
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
/// assert!(evaluation.reconstruction.is_some_and(|error| error.r2 > 0.99));
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
    let subject = Subject { rows: Some(source), decode: Some(reconstruct), ..Subject::new(codes, codebook_sizes) };
    judge(&subject, options)
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
