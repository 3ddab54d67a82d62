//! The rows that are closest to one row, exactly.

use rayon::prelude::*;

use crate::compute::Metric;
use crate::data::MatrixView;
use crate::error::{Result, check_shape};

/// Rows a task.
const BLOCK: usize = 2048;

/// The `count` rows closest to `query`, nearest first, with their distances in `f64`: squared L2, or 1 − cos φ under [`Metric::Cosine`],
/// where a row of zeros is at distance 1 from every other. Rows at equal distances come in their order. O(n·d + n log count).
///
/// ```
/// use sememe::{Matrix, Metric, eval::closest_rows};
/// let rows = Matrix::from_vec(3, 2, vec![0.0, 0.0, 3.0, 4.0, 1.0, 0.0])?;
/// assert_eq!(closest_rows(&rows, &[1.0, 0.0], Metric::SquaredL2, 2)?, [(2, 0.0), (0, 1.0)]);
/// # Ok::<(), sememe::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Shape`] for a query of another number of dimensions.
pub fn closest_rows<'a>(
    rows: impl Into<MatrixView<'a>>,
    query: &[f32],
    metric: Metric,
    count: usize,
) -> Result<Vec<(usize, f64)>> {
    let rows = rows.into();
    let dims = rows.dims();
    check_shape("d", dims, query.len(), "the query")?;
    if count == 0 || rows.rows() == 0 {
        return Ok(Vec::new());
    }
    let length = sum(query, query, |a, b| a * b).sqrt();
    let distance = |row: &[f32]| match metric {
        Metric::SquaredL2 => sum(query, row, |a, b| (a - b) * (a - b)),
        Metric::Cosine => {
            let norms = length * sum(row, row, |a, b| a * b).sqrt();
            if norms > 0.0 { 1.0 - (sum(query, row, |a, b| a * b) / norms).clamp(-1.0, 1.0) } else { 1.0 }
        }
    };
    let best: Vec<(usize, f64)> = (0..rows.rows().div_ceil(BLOCK))
        .into_par_iter()
        .flat_map_iter(|block| {
            let numbers = block * BLOCK..((block + 1) * BLOCK).min(rows.rows());
            nearest_first(numbers.map(|i| (i, distance(rows.row(i)))).collect(), count)
        })
        .collect();
    Ok(nearest_first(best, count))
}

fn nearest_first(mut found: Vec<(usize, f64)>, count: usize) -> Vec<(usize, f64)> {
    let order = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
    if found.len() > count {
        found.select_nth_unstable_by(count, order);
        found.truncate(count);
    }
    found.sort_unstable_by(order);
    found
}

/// Σ f(a, b) in `f64`, eight partial sums in a fixed order.
fn sum(a: &[f32], b: &[f32], f: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    for (x, y) in a.chunks(8).zip(b.chunks(8)) {
        for ((lane, p), q) in lanes.iter_mut().zip(x).zip(y) {
            *lane += f(f64::from(*p), f64::from(*q));
        }
    }
    lanes.iter().sum()
}
