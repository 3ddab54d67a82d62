//! Preprocessing of rows before the first level: centring, PCA, whitening, row normalisation.

use super::range;
use crate::compute::Backend;
use crate::compute::moments::Moments;
use crate::compute::reference::ResidualQuantizer;
use crate::error::{Error, Result};
use crate::progress::{Event, Observer};
use serde::{Deserialize, Serialize};

/// How many principal components stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pca {
    /// Keep the fewest components whose variance reaches this share of the total, in (0, 1].
    pub keep_variance: f64,
    /// But never more than this many.
    pub max_dims: usize,
}

impl Default for Pca {
    /// BASIL's: 0.95 of the variance, at most 256 dimensions.
    fn default() -> Self {
        Self { keep_variance: 0.95, max_dims: 256 }
    }
}

/// The steps, in the order in which they run; decoding inverts them in reverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// Subtract the mean of the training rows. PCA and whitening centre in any case.
    pub center: bool,
    /// Rotate onto the principal components and keep the first ones.
    pub pca: Option<Pca>,
    /// Multiply all values by one factor, so that they have unit variance on average; centres too. Networks start with weights
    /// that expect such values. Not together with `whiten`, which scales each component.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scale: bool,
    /// Scale every component to unit variance: `1/√(variance + 1e-6·largest)`. Needs `pca`.
    pub whiten: bool,
    /// Divide every row by its L2 norm, after the steps above. Decoding multiplies by the training rows' mean norm.
    pub normalize: bool,
}

impl Preprocess {
    /// BASIL's: centre, PCA (0.95, at most 256), whitening.
    #[must_use]
    pub fn basil() -> Self {
        Self { center: true, pca: Some(Pca::default()), scale: false, whiten: true, normalize: false }
    }

    /// Refuses settings that cannot be used.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name.
    pub fn validate(&self) -> Result<()> {
        if let Some(pca) = self.pca {
            if !(pca.keep_variance > 0.0 && pca.keep_variance <= 1.0) {
                let problem = format!("expected a share in (0, 1], got {}", pca.keep_variance);
                return Err(Error::config("preprocess.pca.keep_variance", problem));
            }
            if pca.max_dims == 0 {
                return Err(Error::config("preprocess.pca.max_dims", "expected at least 1, got 0"));
            }
        } else if self.whiten {
            return Err(
                Error::config("preprocess.whiten", "whitening needs PCA").mend([crate::Remedy::give("preprocess.pca")])
            );
        }
        if self.scale && self.whiten {
            let problem = "whitening scales every component by itself; leave `scale` or `whiten` out";
            return Err(Error::config("preprocess.scale", problem));
        }
        Ok(())
    }
}

/// The preprocessing steps with the parameters learned from the training rows.
#[derive(Clone, Debug, Default)]
pub struct FittedSteps {
    /// `[d]` or empty.
    pub mean: Vec<f32>,
    /// `[p, d]` or empty.
    pub components: Vec<f32>,
    /// `[p]` or empty.
    pub scales: Vec<f32>,
    /// Mean L2 norm of the rows before normalisation; 1 without it.
    pub mean_norm: f32,
    /// Share of the variance that the kept components hold; 1 without PCA.
    pub kept_variance: f64,
}

impl FittedSteps {
    /// Takes the parameters out of a fitted quantiser; the variance that PCA kept is not recomputed.
    pub fn of(quantizer: &ResidualQuantizer, mean_norm: f32) -> Self {
        Self {
            mean: quantizer.mean.clone(),
            components: quantizer.components.clone(),
            scales: quantizer.scales.clone(),
            mean_norm,
            kept_variance: 1.0,
        }
    }
}

/// The training rows before preprocessing.
pub struct RawRows<'a, R> {
    /// `[n, d]`.
    pub rows: R,
    /// Their largest value, either way.
    pub largest: f32,
    /// What holds them, for messages.
    pub place: &'a str,
    /// Whether they may be centred unasked, as nothing that is done with them depends on the origin.
    pub free_origin: bool,
}

/// Learns the steps from `rows` and applies them. Rows of unusual size or far from the origin are scaled and centred unasked, see
/// [`range`].
///
/// # Errors
/// [`Error::Data`] where whitening meets data without variance, and for rows outside of what f32 can take.
pub fn learn<B: Backend>(
    backend: &B,
    raw: RawRows<'_, B::Rows>,
    steps: &Preprocess,
    observer: &dyn Observer,
) -> Result<(B::Rows, FittedSteps)> {
    let RawRows { mut rows, largest, place, free_origin } = raw;
    let (n, d) = backend.shape(&rows);
    let unit = range::unit(largest, place)?;
    if unit != 1.0 {
        rows = backend.project(&rows, &[], &[], &vec![unit; d])?;
    }
    let mut learned = FittedSteps { mean_norm: 1.0, kept_variance: 1.0, ..FittedSteps::default() };
    let asked = steps.center || steps.scale || steps.pca.is_some();
    if asked || free_origin {
        let moments = Moments::of(backend, &rows)?;
        let far = range::is_far(&moments);
        if far && !asked {
            observer.event(Event::Note(&range::far_note(&moments, unit)));
        }
        if asked || far {
            learned.mean = moments.mean.iter().map(|m| *m as f32).collect();
        }
    }
    if let Some(pca) = steps.pca {
        let scatter = backend.scatter(&rows, &learned.mean)?;
        let (values, vectors) = principal(&scatter, d)?;
        let variances: Vec<f64> = values.iter().map(|v| (v / (n.max(2) - 1) as f64).max(0.0)).collect();
        let total: f64 = variances.iter().sum();
        if total <= 0.0 {
            return Err(Error::Data(format!("all {n} rows are the same, so PCA finds no variance; leave PCA out")));
        }
        let mut kept = 0;
        let mut sum = 0.0;
        while kept < d.min(pca.max_dims) && sum < pca.keep_variance * total && variances[kept] > 0.0 {
            sum += variances[kept];
            kept += 1;
        }
        learned.kept_variance = sum / total;
        learned.components = vectors[..kept * d].to_vec();
        if steps.whiten {
            let floor = 1e-6 * variances[0];
            learned.scales = variances[..kept].iter().map(|v| (1.0 / (v + floor).sqrt()) as f32).collect();
        }
    }
    if steps.scale {
        let centred = backend.project(&rows, &learned.mean, &learned.components, &[])?;
        let (n, p) = backend.shape(&centred);
        let variance = backend.sum_squares(&centred)? / (n * p).max(1) as f64;
        if variance <= 0.0 {
            return Err(Error::Data(format!(
                "all {n} rows are the same, so there is no variance to scale; leave `scale` out"
            )));
        }
        learned.scales = vec![(1.0 / variance.sqrt()) as f32; p];
    }
    rows = apply_linear(backend, rows, &learned)?;
    let p = backend.shape(&rows).1;
    range::undo(unit, p, &mut learned.mean, &mut learned.scales)?;
    if steps.normalize {
        let norms = backend.normalize(&mut rows)?;
        learned.mean_norm = (norms.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64) as f32;
    }
    Ok((rows, learned))
}

fn apply_linear<B: Backend>(backend: &B, rows: B::Rows, learned: &FittedSteps) -> Result<B::Rows> {
    if learned.mean.is_empty() && learned.components.is_empty() && learned.scales.is_empty() {
        return Ok(rows);
    }
    backend.project(&rows, &learned.mean, &learned.components, &learned.scales)
}

/// Applies what was learned before to other rows.
pub fn apply<B: Backend>(backend: &B, rows: B::Rows, learned: &FittedSteps, normalize: bool) -> Result<B::Rows> {
    let mut rows = apply_linear(backend, rows, learned)?;
    if normalize {
        backend.normalize(&mut rows)?;
    }
    Ok(rows)
}

/// Eigenvalues, largest first, and eigenvectors as rows `[d, d]`, of a symmetric `[d, d]` matrix. Each vector's largest
/// entry is positive, so that the sign does not depend on the solver's path.
pub(super) fn principal(scatter: &[f64], d: usize) -> Result<(Vec<f64>, Vec<f32>)> {
    let matrix = faer::Mat::from_fn(d, d, |i, j| 0.5 * (scatter[i * d + j] + scatter[j * d + i]));
    let eigen = matrix
        .self_adjoint_eigen(faer::Side::Lower)
        .map_err(|e| Error::Data(format!("the covariance of {d} dimensions has no eigenvectors: {e:?}")))?;
    let (values, vectors) = (eigen.S(), eigen.U());
    let mut sorted = Vec::with_capacity(d);
    let mut rows = Vec::with_capacity(d * d);
    for i in (0..d).rev() {
        sorted.push(values[i]);
        let column: Vec<f64> = (0..d).map(|c| vectors[(c, i)]).collect();
        let largest = column.iter().copied().fold(0.0f64, |m, v| if v.abs() > m.abs() { v } else { m });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        rows.extend(column.into_iter().map(|v| (sign * v) as f32));
    }
    Ok((sorted, rows))
}
