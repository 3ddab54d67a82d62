//! Do items under one prefix carry one label? Purity and mutual information, beside what shuffled labels reach.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use super::prefixes::Prefixes;
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// A label for each item, or none.
///
/// ```
/// let labels = sememe::eval::Labels::new("section", &["games", "libs", "", "games"]);
/// assert_eq!((labels.distinct(), labels.labelled()), (2, 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    name: String,
    /// `[rows]` number of the label, in the order in which they first occur.
    of_row: Vec<Option<u32>>,
    distinct: usize,
}

impl Labels {
    /// One label a row, in the order of the rows; an empty text is no label.
    pub fn new<T: AsRef<str>>(name: &str, texts: &[T]) -> Self {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let of_row = texts.iter().map(|text| {
            let next = numbers.len() as u32;
            Some(text.as_ref()).filter(|text| !text.is_empty()).map(|text| *numbers.entry(text).or_insert(next))
        });
        let of_row = of_row.collect();
        Self { name: name.to_owned(), of_row, distinct: numbers.len() }
    }

    /// What the labels are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of rows, with a label or without.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.of_row.len()
    }

    /// Number of different labels.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// Rows that have a label.
    #[must_use]
    pub fn labelled(&self) -> usize {
        self.of_row.iter().flatten().count()
    }
}

/// How prefixes and labels agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelMeasures {
    /// What the labels are called.
    pub name: String,
    /// Rows with a label; the others are left out.
    pub labelled: usize,
    /// Different labels.
    pub labels: usize,
    /// Share of the commonest label: the purity of no ID at all.
    pub majority: f64,
    /// One entry a depth, 1 to the full length.
    pub levels: Vec<LabelDepth>,
}

/// How the prefixes of one depth and the labels agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LabelDepth {
    /// Prefixes that a labelled row has.
    pub prefixes: usize,
    /// Share of the rows that have the commonest label of their prefix.
    pub purity: f64,
    /// The same with the labels shuffled among the rows: what prefixes of these sizes reach without meaning. A prefix of one row
    /// is pure whatever it says, so this rises with depth.
    pub purity_by_chance: f64,
    /// (purity − by chance) / (1 − by chance): 0 without meaning, 1 if every prefix has one label; 0 where chance reaches 1.
    pub purity_adjusted: f64,
    /// Normalised mutual information, 2·I / (H(prefix) + H(label)), 0 to 1.
    pub nmi: f64,
    /// The same with the labels shuffled.
    pub nmi_by_chance: f64,
}

/// Shuffles that the chance is a mean of. Rows are many, so one differs little from the next.
const SHUFFLES: u64 = 4;

/// Measures how the prefixes of every depth and a column of labels agree.
///
/// Rows without a label are left out. Chance is the mean over 4 shuffles of the labels among the labelled rows, drawn
/// from `seed`, so the sizes of prefixes and labels are those of the data. O(N·levels) after one sort.
///
/// ```
/// use sememe::{Codes, eval::{Labels, measure_labels}};
/// let codes = Codes::from_vec(4, 1, vec![0, 0, 1, 1])?;
/// let measures = measure_labels(&codes, &Labels::new("kind", &["a", "a", "b", "a"]), 0)?;
/// assert_eq!((measures.majority, measures.levels[0].purity), (0.75, 0.75));
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there is one entry a row, [`Error::Data`] if no row has a label.
pub fn measure_labels(codes: &Codes, labels: &Labels, seed: u64) -> Result<LabelMeasures> {
    check_shape("rows", codes.rows(), labels.rows(), format!("labels `{}`", labels.name))?;
    measure(&Prefixes::new(codes), codes.levels(), labels, seed)
}

pub(super) fn measure(prefixes: &Prefixes, levels: usize, labels: &Labels, seed: u64) -> Result<LabelMeasures> {
    // Labels in the order of the IDs: every prefix is a range of it.
    let known: Vec<(usize, u32)> =
        prefixes.order.iter().filter_map(|&row| labels.of_row[row].map(|label| (row, label))).collect();
    if known.is_empty() {
        return Err(Error::Data(format!("none of {} rows has a label in `{}`", labels.rows(), labels.name)));
    }
    let columns: Vec<Vec<u32>> = (0..=SHUFFLES)
        .map(|shuffle| {
            let mut column: Vec<u32> = known.iter().map(|(_, label)| *label).collect();
            if shuffle > 0 {
                let mut stream = crate::rng::stream(seed, "eval.labels", shuffle);
                for last in (1..column.len()).rev() {
                    column.swap(last, stream.below(last as u64 + 1) as usize);
                }
            }
            column
        })
        .collect();
    let mut totals = vec![0usize; labels.distinct];
    known.iter().for_each(|(_, label)| totals[*label as usize] += 1);
    let n = known.len() as f64;
    let depths: Vec<LabelDepth> = (0..levels)
        .into_par_iter()
        .map(|level| {
            let of_row = &prefixes.of_row[level];
            let groups: Vec<usize> =
                known.chunk_by(|(a, _), (b, _)| of_row[*a] == of_row[*b]).map(<[(usize, u32)]>::len).collect();
            let figures: Vec<(f64, f64)> =
                columns.par_iter().map(|column| agreement(column, &groups, &totals)).collect();
            let chance = |part: fn(&(f64, f64)) -> f64| figures[1..].iter().map(part).sum::<f64>() / SHUFFLES as f64;
            let (purity, nmi) = figures[0];
            let by_chance = chance(|f| f.0);
            LabelDepth {
                prefixes: groups.len(),
                purity,
                purity_by_chance: by_chance,
                purity_adjusted: if by_chance < 1.0 { (purity - by_chance) / (1.0 - by_chance) } else { 0.0 },
                nmi,
                nmi_by_chance: chance(|f| f.1),
            }
        })
        .collect();
    let majority = totals.iter().copied().max().unwrap_or(0) as f64 / n;
    Ok(LabelMeasures {
        name: labels.name.clone(),
        labelled: known.len(),
        labels: labels.distinct,
        majority,
        levels: depths,
    })
}

/// (purity, normalised mutual information) of a column cut into groups.
fn agreement(column: &[u32], groups: &[usize], totals: &[usize]) -> (f64, f64) {
    let n = column.len() as f64;
    // Σ x ln x over counts, of which nearly all are small.
    let logs: Vec<f64> = (0..64).map(|x| f64::from(x) * libm::log(f64::from(x.max(1)))).collect();
    let weigh = |x: usize| logs.get(x).copied().unwrap_or_else(|| x as f64 * libm::log(x as f64));
    let mut counts = vec![0usize; totals.len()];
    let (mut pure, mut joint, mut alone, mut start) = (0usize, 0.0, 0.0, 0);
    for &size in groups {
        let group = &column[start..start + size];
        start += size;
        group.iter().for_each(|&label| counts[label as usize] += 1);
        pure += group.iter().map(|&label| counts[label as usize]).max().unwrap_or(0);
        for &label in group {
            // Each label once: its count is cleared behind it.
            joint += weigh(std::mem::take(&mut counts[label as usize]));
        }
        alone += weigh(size);
    }
    let of_labels: f64 = totals.iter().map(|&x| weigh(x)).sum();
    let (h_group, h_label, h_joint) =
        (libm::log(n) - alone / n, libm::log(n) - of_labels / n, libm::log(n) - joint / n);
    let information = (h_group + h_label - h_joint).max(0.0);
    // Both of one part only: they agree.
    let nmi = if h_group + h_label > 1e-12 { (2.0 * information / (h_group + h_label)).min(1.0) } else { 1.0 };
    (pure as f64 / n, nmi)
}
