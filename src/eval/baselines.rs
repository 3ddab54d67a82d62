//! What a recommender is measured beside: three rankings that learn nothing or only count, asked the same questions.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::behaviour::Interactions;
use super::nearest::dots;
use super::next_item::{item_similarities, normalised_rows, weighted};
use super::ranking::{RankingMeasures, RankingTally};
use crate::data::{Matrix, RowSource, Sequences};
use crate::error::{Error, Result, check_shape};
use crate::progress::{Observer, check};

/// Questions whose scores are held at a time.
const BLOCK: usize = 64;

/// What is asked, and how histories are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BaselineOptions {
    /// Places before each user's end of the item that is asked for: 0 is the last.
    pub from_end: usize,
    /// Leave items of the history out of the lists.
    pub hide_seen: bool,
    /// Last items of each user that nothing is learned from; at least those from the one that is asked for on.
    pub hold_out: usize,
    /// Weight of an event over that of the one after it, in (0, 1]; 1 forgets nothing.
    pub decay: f64,
    /// Users that item-kNN adds to the denominator of its cosine.
    pub shrink: f64,
}

impl Default for BaselineOptions {
    fn default() -> Self {
        Self { from_end: 0, hide_seen: false, hold_out: 2, decay: 0.8, shrink: 1.0 }
    }
}

/// What one baseline reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineMeasures {
    /// `popularity`, `item_knn` or `vectors`.
    pub by: String,
    /// What it reaches.
    #[serde(flatten)]
    pub measures: RankingMeasures,
}

struct Question<'a> {
    history: &'a [u32],
    target: u32,
}

/// Ranks all items after each history by popularity, by item-kNN and, if rows are given, by the cosine with the mean of the history's rows,
/// as [`measure_next_item`](super::measure_next_item) does, and measures them as recommenders are: over the same questions, with coverage
/// and by popularity. Scores are `f32`; what it cannot tell apart ties. O(questions·items) and, for rows, O(questions·items·dims).
///
/// ```
/// use sememe::Sequences;
/// use sememe::eval::{BaselineOptions, measure_baselines};
/// let histories = Sequences::from_lists([vec![0, 1, 2], vec![0, 1, 2], vec![3, 1, 2]])?;
/// let options = BaselineOptions { hold_out: 1, ..BaselineOptions::default() };
/// let measured = measure_baselines(4, None, &histories, &options, &())?;
/// assert_eq!((measured[0].by.as_str(), measured[1].by.as_str()), ("popularity", "item_knn"));
/// assert_eq!(measured[0].measures.all.questions, 3);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a decay or shrink that cannot be used; [`Error::Shape`] for another number of rows; [`Error::Data`] for an unknown
/// item, or if no user has an item before the one that is asked for; [`Error::NonFinite`]; what the source returns; a stop.
pub fn measure_baselines(
    items: usize,
    rows: Option<&dyn RowSource>,
    histories: &Sequences,
    options: &BaselineOptions,
    observer: &dyn Observer,
) -> Result<Vec<BaselineMeasures>> {
    let weighing = super::NextItemOptions { decay: options.decay, shrink: options.shrink, ..Default::default() };
    weighing.validate()?;
    histories.check(items)?;
    let questions: Vec<Question<'_>> = histories
        .iter()
        .filter_map(|taken| {
            let (&target, history) = taken[..taken.len().saturating_sub(options.from_end)].split_last()?;
            (!history.is_empty()).then_some(Question { history, target })
        })
        .collect();
    if questions.is_empty() {
        return Err(Error::Data(format!(
            "none of {} users has {} items or more, so there is nothing to ask",
            histories.users(),
            options.from_end.saturating_add(2)
        )));
    }
    let kept = |taken: &'_ [u32], out: usize| taken.len().saturating_sub(out);
    let unseen = options.hold_out.max(options.from_end.saturating_add(1));
    let learned = Interactions::new(items, histories.iter().map(|taken| &taken[..kept(taken, unseen)]));
    let mut events = vec![0u32; items];
    for taken in histories.iter() {
        taken[..kept(taken, options.hold_out)].iter().for_each(|item| events[*item as usize] += 1);
    }
    let asked = AskedQuestions { questions: &questions, events: &events, hide_seen: options.hide_seen, observer };
    let mut out = vec![by_popularity(&asked, &learned)?, by_item_knn(&asked, &learned, options)?];
    if let Some(rows) = rows {
        check_shape("rows", items, rows.rows(), rows.name())?;
        out.push(by_vectors(&asked, &normalised_rows(rows)?, options.decay)?);
    }
    Ok(out)
}

/// Questions with what their tally needs.
struct AskedQuestions<'a> {
    questions: &'a [Question<'a>],
    /// Events of each item in training.
    events: &'a [u32],
    hide_seen: bool,
    observer: &'a dyn Observer,
}

impl AskedQuestions<'_> {
    /// Measures what `fill` scores: `[questions, items]` of a block of questions.
    fn measured(&self, by: &str, fill: &dyn Fn(&[Question<'_>], &mut [f32])) -> Result<BaselineMeasures> {
        let items = self.events.len();
        let mut tally = RankingTally::new(self.events.to_vec());
        let mut scores = vec![0.0f32; BLOCK * items];
        for block in self.questions.chunks(BLOCK) {
            check(self.observer)?;
            let scores = &mut scores[..block.len() * items];
            fill(block, scores);
            let targets: Vec<u32> = block.iter().map(|q| q.target).collect();
            let left_out: Vec<&[u32]> =
                block.iter().map(|q| if self.hide_seen { q.history } else { &[][..] }).collect();
            tally.add(scores, &targets, &left_out)?;
        }
        Ok(BaselineMeasures { by: by.into(), measures: tally.measures() })
    }
}

fn by_popularity(asked: &AskedQuestions<'_>, learned: &Interactions) -> Result<BaselineMeasures> {
    let popular: Vec<f32> = (0..asked.events.len()).map(|item| learned.degree(item) as f32).collect();
    asked.measured("popularity", &|_, scores| {
        scores.chunks_exact_mut(popular.len()).for_each(|row| row.copy_from_slice(&popular));
    })
}

fn by_item_knn(
    asked: &AskedQuestions<'_>,
    learned: &Interactions,
    options: &BaselineOptions,
) -> Result<BaselineMeasures> {
    let items = asked.events.len();
    let near = item_similarities(learned, items, options.shrink);
    asked.measured("item_knn", &|block, scores| {
        let rows = scores.par_chunks_exact_mut(items).zip(block);
        rows.for_each_init(
            || vec![0.0f64; items],
            |sums, (row, question)| {
                sums.fill(0.0);
                for (item, weight) in weighted(question.history, options.decay) {
                    near[item].iter().for_each(|(other, similarity)| sums[*other as usize] += weight * similarity);
                }
                row.iter_mut().zip(sums.iter()).for_each(|(score, sum)| *score = *sum as f32);
            },
        );
    })
}

fn by_vectors(asked: &AskedQuestions<'_>, units: &Matrix, decay: f64) -> Result<BaselineMeasures> {
    let (items, dims) = (units.rows(), units.dims());
    asked.measured("vectors", &|block, scores| {
        // Parts of a block, so that all cores have some.
        block.par_chunks(8).zip(scores.par_chunks_mut(8 * items)).for_each(|(part, scores)| {
            let mut wanted = vec![0.0f32; part.len() * dims];
            for (question, out) in part.iter().zip(wanted.chunks_exact_mut(dims.max(1))) {
                let mut mean = vec![0.0f64; dims];
                for (item, weight) in weighted(question.history, decay) {
                    mean.iter_mut().zip(units.row(item)).for_each(|(m, &x)| *m += weight * f64::from(x));
                }
                let norm = mean.iter().map(|m| m * m).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                out.iter_mut().zip(&mean).for_each(|(o, m)| *o = (m / norm) as f32);
            }
            dots(&wanted, units.as_slice(), dims, scores);
        });
    })
}
