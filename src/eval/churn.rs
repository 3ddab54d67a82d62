//! What changed between two code tables of the same items.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::prefixes::Prefixes;
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};

/// How two code tables of the same rows differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Rows compared.
    pub rows: usize,
    /// Rows whose ID is another one in whole: any of their codes changed, or there are more or fewer of them.
    pub changed_ids: usize,
    /// One entry a depth, 1 to the shorter of the two.
    pub levels: Vec<ChurnDepth>,
}

/// How the codes and prefixes of one depth differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChurnDepth {
    /// Share of the rows whose first codes changed, up to this depth.
    pub changed: f64,
    /// Share of the rows whose code at this depth changed, whatever stands before it.
    pub code_changed: f64,
    /// Of the rows whose codes before this depth are as they were, the share whose code here changed. 0 if there is none.
    pub changed_here: f64,
    /// Of the pairs of rows that share their prefix in the first table, the share that do in the second: what stays
    /// together, whatever its name is now. 1 if the first has no such pair.
    pub kept_together: f64,
    /// The same from the second to the first.
    pub together_before: f64,
}

impl Churn {
    /// Share of the rows whose ID is another one in whole.
    #[must_use]
    pub fn changed(&self) -> f64 {
        self.changed_ids as f64 / self.rows as f64
    }
}

/// Compares the codes of the same rows, in the same order, at every depth that both have.
///
/// Codes are names: two codecs that are trained apart name the same groups differently, and all rows change. The
/// pairs that stay together tell whether the groups did; [`ids::align`](crate::ids::align()) gives them their names back. O(levels · N log N).
///
/// ```
/// use sememe::{Codes, eval::measure_churn};
/// let before = Codes::from_vec(3, 1, vec![0, 0, 1])?;
/// let after = Codes::from_vec(3, 1, vec![1, 1, 0])?;
/// let churn = measure_churn(&before, &after)?;
/// assert_eq!((churn.changed_ids, churn.levels[0].changed, churn.levels[0].kept_together), (3, 1.0, 1.0));
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if the tables have different numbers of rows, [`Error::Data`] for no rows at all.
pub fn measure_churn(first: &Codes, second: &Codes) -> Result<Churn> {
    check_shape("rows", first.rows(), second.rows(), "the second code table")?;
    let (rows, levels) = (first.rows(), first.levels().min(second.levels()));
    if rows == 0 {
        return Err(Error::Data("code tables of 0 rows have no churn; give at least 1 row".into()));
    }
    // Leading codes that each row keeps.
    let kept = |row: usize| first.row(row).iter().zip(second.row(row)).take_while(|(a, b)| a == b).count();
    let kept: Vec<usize> = (0..rows).into_par_iter().map(kept).collect();
    let (a, b) = rayon::join(|| Prefixes::new(first), || Prefixes::new(second));
    let same_length = first.levels() == second.levels();
    let measured = (0..levels).into_par_iter().map(|level| {
        let share = |count: usize, of: usize| if of > 0 { count as f64 / of as f64 } else { 0.0 };
        let changed = kept.iter().filter(|k| **k <= level).count();
        let here = kept.iter().filter(|k| **k == level).count();
        let codes = (0..rows).filter(|i| first.row(*i)[level] != second.row(*i)[level]).count();
        let mut both: Vec<(u32, u32)> = a.of_row[level].iter().copied().zip(b.of_row[level].iter().copied()).collect();
        both.sort_unstable();
        let pairs = |n: usize| n as f64 * (n as f64 - 1.0) / 2.0;
        let in_both: f64 = both.chunk_by(|x, y| x == y).map(|same| pairs(same.len())).sum();
        let together = |of: f64| if of > 0.0 { in_both / of } else { 1.0 };
        ChurnDepth {
            changed: share(changed, rows),
            code_changed: share(codes, rows),
            changed_here: share(here, rows - (changed - here)),
            kept_together: together(a.sizes(level).map(pairs).sum()),
            together_before: together(b.sizes(level).map(pairs).sum()),
        }
    });
    let levels = measured.collect();
    let changed_ids = kept.iter().filter(|k| !same_length || **k < first.levels()).count();
    Ok(Churn { rows, changed_ids, levels })
}
