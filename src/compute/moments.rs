//! Mean and spread of rows, so that nothing cancels.

use super::Backend;
use crate::error::Result;

/// How many times larger than the spread the squared mean may be for `Σ‖x‖² − n·‖mean‖²` to be exact enough.
const SAFE: f64 = 8.0;

/// Number, mean and spread of rows; two of them merge (Chan, Golub and LeVeque 1979).
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Moments {
    /// Rows seen.
    pub rows: u64,
    /// `[d]` their mean; empty before the first row.
    pub mean: Vec<f64>,
    /// Sum of squared L2 of the rows to their mean.
    pub deviation: f64,
}

/// The mean of rows of `dims` values on the host, `[dims]`, summed in f64 row by row; zeros for no rows. O(n·d).
#[must_use]
pub fn mean_row(rows: &[f32], dims: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; dims];
    let rows = rows.chunks_exact(dims.max(1));
    let count = rows.len().max(1) as f64;
    rows.for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value)));
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

impl Moments {
    /// Of resident rows: in one pass, or in two and with a copy of the rows where they lie close together and far from the origin.
    /// O(n·d).
    ///
    /// # Errors
    /// Device errors.
    pub fn of<B: Backend>(backend: &B, rows: &B::Rows) -> Result<Self> {
        let n = backend.shape(rows).0;
        if n == 0 {
            return Ok(Self::default());
        }
        let mean: Vec<f64> = backend.column_sums(rows)?.into_iter().map(|s| s / n as f64).collect();
        let (squares, centre) = (backend.sum_squares(rows)?, n as f64 * squared(&mean));
        let deviation = if centre <= SAFE * (squares - centre) {
            squares - centre
        } else {
            // Any point near the mean serves: what rounding to f32 leaves of the distance is taken off again.
            let near: Vec<f32> = mean.iter().map(|v| *v as f32).collect();
            let off: f64 = mean.iter().zip(&near).map(|(m, c)| (m - f64::from(*c)).powi(2)).sum();
            let centred = backend.project(rows, &near, &[], &[])?;
            backend.sum_squares(&centred)? - n as f64 * off
        };
        Ok(Self { rows: n as u64, mean, deviation: deviation.max(0.0) })
    }

    /// Takes other rows in.
    pub fn merge(&mut self, other: &Self) {
        if self.rows == 0 || other.rows == 0 {
            if self.rows == 0 {
                self.clone_from(other);
            }
            return;
        }
        let (a, b) = (self.rows as f64, other.rows as f64);
        let mut between = 0.0;
        for (mean, m) in self.mean.iter_mut().zip(&other.mean) {
            let delta = m - *mean;
            between += delta * delta;
            *mean += delta * b / (a + b);
        }
        self.deviation += other.deviation + between * a * b / (a + b);
        self.rows += other.rows;
    }

    /// ‖mean‖².
    #[must_use]
    pub fn squared_mean(&self) -> f64 {
        squared(&self.mean)
    }
}

fn squared(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::Storage as _;
    use crate::compute::cpu::Cpu;

    fn moments(values: &[f32], d: usize) -> Moments {
        let backend = Cpu::new();
        let fill = |start: usize, out: &mut [f32]| {
            out.copy_from_slice(&values[start * d..start * d + out.len()]);
            Ok(())
        };
        Moments::of(&backend, &backend.upload_rows(values.len() / d, d, &mut { fill }).unwrap()).unwrap()
    }

    /// By two passes in f64.
    fn oracle(values: &[f32], d: usize) -> f64 {
        let n = (values.len() / d) as f64;
        let column = |c: usize| values.iter().skip(c).step_by(d).map(|v| f64::from(*v));
        (0..d)
            .map(|c| (column(c).sum::<f64>() / n, c))
            .map(|(m, c)| column(c).map(|v| (v - m).powi(2)).sum::<f64>())
            .sum()
    }

    #[test]
    fn the_spread_does_not_depend_on_the_origin() {
        let mut random = crate::rng::stream(5, "test", 0);
        for offset in [0.0, 3.0, 3e3, 1e6] {
            let values: Vec<f32> = (0..3000).map(|_| (offset + random.normal()) as f32).collect();
            let (found, want) = (moments(&values, 3), oracle(&values, 3));
            assert!((found.deviation - want).abs() <= 1e-5 * want, "{offset}: {} against {want}", found.deviation);
        }
        assert_eq!(moments(&[7e5; 300], 3).deviation, 0.0);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let mut random = crate::rng::stream(6, "test", 0);
        let values: Vec<f32> = (0..600).map(|i| (i as f64 + random.normal()) as f32).collect();
        let whole = moments(&values, 2);
        let mut merged = Moments::default();
        for part in values.chunks(140) {
            merged.merge(&moments(part, 2));
        }
        merged.merge(&Moments::default());
        assert_eq!(merged.rows, 300);
        assert!((merged.deviation / whole.deviation - 1.0).abs() < 1e-6, "{} {}", merged.deviation, whole.deviation);
        assert!(merged.mean.iter().zip(&whole.mean).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
