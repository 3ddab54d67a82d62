//! The rotation of optimised product quantisation (OPQ; Ge, He, Ke and Sun, 2013): which directions go into which level's columns.
//!
//! It starts from the principal components, dealt out so that the levels' products of variances are alike (their parametric solution), and
//! then alternates, as their non-parametric one does: with the rotation fixed, some Lloyd iterations a level; with the codewords fixed, the
//! rotation that takes the rows nearest to them, which is an orthogonal Procrustes problem.

use super::kmeans::{self, LevelSettings};
use super::preprocess::principal;
use super::residual::RqKMeans;
use crate::compute::moments::Moments;
use crate::compute::{Backend, Metric};
use crate::error::{Error, Result};
use crate::progress::{Event, Observer, check};
use faer::Mat;
use serde::{Deserialize, Serialize};

/// How the rotation of optimised product quantisation is found.
///
/// ```
/// use sememe::fit::{ProductQuantization, Rotation};
/// let config = ProductQuantization { rotation: Some(Rotation::default()), ..ProductQuantization::default() };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How often codewords and rotation are fitted to each other; 0 stays with the principal components.
    pub rounds: usize,
    /// Lloyd iterations a level in each round.
    pub iterations: usize,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { rounds: 20, iterations: 2 }
    }
}

impl Rotation {
    pub(super) fn validate(self) -> Result<()> {
        if self.iterations == 0 {
            return Err(Error::config("rotation.iterations", "expected at least 1, got 0"));
        }
        Ok(())
    }
}

/// A rotation R, `[p, p]`, and R² before each round.
pub(super) struct FittedRotation {
    pub matrix: Mat<f64>,
    /// Codewords `[k, w]` of each level, which the rotation was fitted to; none before the first round.
    pub books: Vec<Option<Vec<f32>>>,
    pub r2: Vec<f64>,
}

impl FittedRotation {
    /// R as rows.
    pub fn rows(&self) -> Vec<f32> {
        let p = self.matrix.nrows();
        (0..p * p).map(|at| self.matrix[(at / p, at % p)] as f32).collect()
    }

    /// `R·components`, `[p, d]`; R itself where there are none.
    pub fn after(&self, components: &[f32]) -> Vec<f32> {
        let p = self.matrix.nrows();
        if components.is_empty() || p == 0 {
            return self.rows();
        }
        let d = components.len() / p;
        let turned = &self.matrix * Mat::from_fn(p, d, |i, c| f64::from(components[i * d + c]));
        (0..p * d).map(|at| turned[(at / d, at % d)] as f32).collect()
    }
}

/// Passes a wish to stop on, and keeps the iterations of the rounds to itself.
struct StopOnly<'a>(&'a dyn Observer);

impl Observer for StopOnly<'_> {
    fn stop(&self) -> bool {
        self.0.stop()
    }
}

/// Learns the rotation of `rows` `[n, p]` for levels of these widths. O(rounds·(n·p² + iterations·n·k·p + p³)), and the rows once more.
pub(super) fn learn<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    widths: &[usize],
    config: &RqKMeans,
    rotation: Rotation,
    observer: &dyn Observer,
) -> Result<FittedRotation> {
    let (_, p) = backend.shape(rows);
    let moments = Moments::of(backend, rows)?;
    let mean: Vec<f32> = moments.mean.iter().map(|m| *m as f32).collect();
    let (variances, vectors) = principal(&backend.scatter(rows, &mean)?, p)?;
    let order = deal(&variances, widths);
    let matrix = Mat::from_fn(p, p, |i, c| f64::from(vectors[order[i] * p + c]));
    let (books, r2) = (vec![None; widths.len()], Vec::with_capacity(rotation.rounds));
    let mut fitted = FittedRotation { matrix, books, r2 };
    observer.event(Event::Phase { name: "rotate", total: Some(rotation.rounds as u64), unit: "rounds" });
    for round in 1..=rotation.rounds {
        check(observer)?;
        let turned = backend.project(rows, &[], &fitted.rows(), &[])?;
        let mut meetings = Mat::<f64>::zeros(p, p);
        let (mut error, mut first) = (0.0, 0);
        for (level, width) in widths.iter().copied().enumerate() {
            let own = backend.columns(&turned, first, width)?;
            let settings = LevelSettings {
                iterations: rotation.iterations,
                tolerance: 0.0,
                metric: Metric::SquaredL2,
                exchange: false,
                ..config.level(level, fitted.books[level].take())
            };
            let constant = kmeans::constant(backend, &own, settings.metric)?;
            let mut found = kmeans::one(backend, &own, &settings, constant, 0, &StopOnly(observer))?;
            error += found.objective;
            let sums = backend.centroid_sums(rows, &mut found.partition, settings.k)?;
            let book = backend.read_codebook(&found.codebook)?;
            let codewords = Mat::from_fn(width, settings.k, |c, j| f64::from(book[j * width + c]));
            let met = codewords * Mat::from_fn(settings.k, p, |j, c| sums[j * p + c]);
            meetings.get_mut(first..first + width, ..).copy_from(&met);
            fitted.books[level] = Some(book);
            first += width;
        }
        fitted.r2.push(if moments.deviation > 0.0 { 1.0 - error / moments.deviation } else { 0.0 });
        fitted.matrix = nearest_rotation(&meetings)?;
        observer.event(Event::Advance { done: round as u64 });
    }
    Ok(fitted)
}

/// The orthogonal R that makes `tr(R·Mᵀ)` largest, and with it `Σ‖R·y − ŷ‖²` smallest for `M = Σ ŷ·yᵀ`: UVᵀ of M's singular value
/// decomposition (Schönemann 1966).
fn nearest_rotation(meetings: &Mat<f64>) -> Result<Mat<f64>> {
    let failed =
        |e| Error::Data(format!("the rotation of {} dimensions has no decomposition: {e:?}", meetings.nrows()));
    let found = meetings.svd().map_err(failed)?;
    Ok(found.U() * found.V().transpose())
}

/// Which principal component each dimension of the rotated rows is: they are dealt out, largest variance first, to the level with room
/// whose product of variances is smallest so far.
fn deal(variances: &[f64], widths: &[usize]) -> Vec<usize> {
    let largest = variances.first().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
    let logarithm = |variance: f64| libm::log(variance.max(1e-12 * largest));
    // In units of the smallest, so that every component makes a product larger.
    let smallest = logarithm(variances.last().copied().unwrap_or(0.0));
    let mut levels: Vec<(f64, Vec<usize>)> = widths.iter().map(|w| (0.0, Vec::with_capacity(*w))).collect();
    for (component, variance) in variances.iter().enumerate() {
        let free = levels.iter_mut().zip(widths).filter(|((_, own), width)| own.len() < **width);
        if let Some(((product, own), _)) = free.min_by(|((a, _), _), ((b, _), _)| a.total_cmp(b)) {
            *product += logarithm(*variance) - smallest;
            own.push(component);
        }
    }
    levels.into_iter().flat_map(|(_, own)| own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_dealt_out_evenly() {
        assert_eq!(deal(&[8.0, 4.0, 2.0, 1.0], &[2, 2]), [0, 3, 1, 2]);
        assert_eq!(deal(&[8.0, 4.0, 2.0], &[2, 1]), [0, 2, 1]);
        // Whatever the unit, and without any variance.
        assert_eq!(deal(&[8e-9, 4e-9, 2e-9, 1e-9], &[2, 2]), [0, 3, 1, 2]);
        let mut all = deal(&[0.0; 7], &[3, 2, 2]);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_nearest_rotation_undoes_a_rotation() {
        let (sin, cos) = (0.6, 0.8);
        let turn = Mat::from_fn(2, 2, |i, c| [[cos, -sin], [sin, cos]][i][c]);
        let spread = Mat::from_fn(2, 2, |i, c| [[3.0, 0.5], [0.5, 2.0]][i][c]);
        let found = nearest_rotation(&(&turn * spread)).unwrap();
        for at in 0..4 {
            assert!((found[(at / 2, at % 2)] - turn[(at / 2, at % 2)]).abs() < 1e-12);
        }
        // Codewords that are all 0 ask for nothing: any rotation will do, but it is one.
        let any = nearest_rotation(&Mat::zeros(3, 3)).unwrap();
        let square = &any * any.transpose();
        assert!((0..9).all(|at| (square[(at / 3, at % 3)] - f64::from(u8::from(at / 3 == at % 3))).abs() < 1e-12));
    }
}
