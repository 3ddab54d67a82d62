//! Rows on the host, ready for the networks: chosen, preprocessed, split.

use super::config::RqVae;
use super::health::Corpus;
use super::layout::PrincipalDirections;
use super::origin::{TrainingOrigin, TrainingStart};
use crate::compute::moments::Moments;
use crate::compute::tensor::TensorBackend;
use crate::data::{Matrix, RowSource, first_non_finite, largest_magnitude};
use crate::error::{Error, Result, check_shape};
use crate::fit::preprocess::{self, FittedSteps, RawRows, principal};
use crate::fit::range;
use crate::fit::training_rows::{TrainingRows, fingerprint};
use crate::progress::Observer;
use crate::rng::stream;

/// Rows that tell how exactly a device encodes.
const PROBES: usize = 64;
/// Rows that a PCA start looks at.
const PCA_ROWS: usize = 1 << 16;

/// Networks train on values up to so much above or below 1; in between, it is a matter of the learning rate.
const MOST_SIZE: f64 = 1e6;

/// Collaborative embeddings of the training rows.
pub(super) struct AlignedRows {
    values: Vec<f32>,
    pub dims: usize,
}

/// Everything a training reads.
pub(super) struct TrainingData {
    values: Vec<f32>,
    dims: usize,
    /// Rows that train, and rows that are kept out; ascending.
    pub training: Vec<u32>,
    pub validation: Vec<u32>,
    pub aligned: Option<AlignedRows>,
    variance: (f64, f64),
}

fn gather(values: &[f32], d: usize, rows: &[u32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len() * d);
    rows.iter().for_each(|i| out.extend_from_slice(&values[*i as usize * d..][..d]));
    out
}

impl AlignedRows {
    pub fn gather(&self, rows: &[u32]) -> Vec<f32> {
        gather(&self.values, self.dims, rows)
    }
}

impl TrainingData {
    /// Reads, checks and preprocesses the rows; where the training meets them for the first time, also says what it begins from. A
    /// training that goes on must meet the rows it began with.
    pub fn load<B: TensorBackend>(
        backend: &B,
        config: &RqVae,
        beginning: &TrainingStart<'_>,
        source: &dyn RowSource,
        aligned: Option<&dyn RowSource>,
        observer: &dyn Observer,
    ) -> Result<(Self, Option<TrainingOrigin>)> {
        let most = config.codebook_sizes.iter().copied().max().unwrap_or(0);
        let chosen = TrainingRows::choose(source, most, config.max_training_rows, config.seed, observer)?;
        let (n, d, place) = (chosen.len(), source.dims(), source.name());
        match beginning {
            TrainingStart::Again(origin) => check_shape("d", origin.dims, d, &*place)?,
            TrainingStart::FromCodec(learned, _) => {
                let expected = if learned.mean.is_empty() { config.code_dims } else { learned.mean.len() };
                check_shape("d", expected, d, &*place)?;
            }
            TrainingStart::Anew => {}
        }
        let kept_out = (config.validation * n as f64).round() as usize;
        if n - kept_out < most {
            return Err(Error::Data(format!(
                "{} rows remain for training beside {kept_out} for validation, fewer than the {most} codewords of a level; lower \
                 `validation` or `codebook_sizes`",
                n - kept_out
            )));
        }
        let (rows, largest) = chosen.upload(backend, observer)?;
        let print = row_print(backend, &rows)?;
        if let TrainingStart::Again(origin) = beginning
            && (origin.fingerprint, origin.rows) != (print, n as u64)
        {
            return Err(Error::Data(format!(
                "`{place}` holds other rows than the training began with ({n} now, {} then); go on with the same file, or start anew",
                origin.rows
            )));
        }
        let known = match beginning {
            TrainingStart::Again(origin) => Some(origin.learned.clone()),
            TrainingStart::FromCodec(learned, _) => Some(FittedSteps::clone(learned)),
            TrainingStart::Anew => None,
        };
        let (rows, learned) = match known {
            Some(learned) => {
                range::check_fits(largest, &learned.mean, &learned.scales, &place)?;
                (preprocess::apply(backend, rows, &learned, config.preprocess.normalize)?, learned)
            }
            None => {
                let free_origin = !config.preprocess.normalize;
                let raw = RawRows { rows, largest, place: &place, free_origin };
                preprocess::learn(backend, raw, &config.preprocess, observer)?
            }
        };
        let (n, dims) = backend.shape(&rows);
        check_size(backend.sum_squares(&rows)? / (n * dims) as f64, &place)?;
        let variance = Moments::of(backend, &rows)?.deviation;
        let validation: Vec<u32> = stream(config.seed, "rqvae.validation", 0)
            .sample(n as u64, kept_out)
            .into_iter()
            .map(|i| i as u32)
            .collect();
        let out: std::collections::HashSet<u32> = validation.iter().copied().collect();
        let training: Vec<u32> = (0..n as u32).filter(|i| !out.contains(i)).collect();
        let kept_out_variance = if validation.is_empty() {
            0.0
        } else {
            Moments::of(backend, &backend.gather_rows(&rows, &validation)?)?.deviation
        };
        let mut values = vec![0.0f32; n * dims];
        backend.read_rows(&rows, 0, &mut values)?;
        drop(rows);
        let aligned = aligned.map(|other| read_aligned(other, source, &chosen)).transpose()?;
        let origin = match beginning {
            TrainingStart::Again(_) => None,
            TrainingStart::Anew | TrainingStart::FromCodec(..) => Some(TrainingOrigin {
                dims: d,
                source_rows: source.rows() as u64,
                rows: n as u64,
                fingerprint: print,
                learned,
                warm: if let TrainingStart::FromCodec(_, books) = beginning { Some(books.to_vec()) } else { None },
                variance,
                aligned: aligned.as_ref().map(|a| a.dims),
                probes: probes(&chosen, n, d)?,
            }),
        };
        let variance = (variance, kept_out_variance);
        Ok((Self { values, dims, training, validation, aligned, variance }, origin))
    }

    /// All rows, trained on or not.
    pub fn rows(&self) -> usize {
        self.training.len() + self.validation.len()
    }

    pub fn corpus(&self) -> Corpus<'_> {
        Corpus { values: &self.values, dims: self.dims, variance: self.variance }
    }

    pub fn gather(&self, rows: &[u32]) -> Vec<f32> {
        gather(&self.values, self.dims, rows)
    }

    /// The first `count` principal directions of the training rows. They pass through the origin, as linear layers without bias do.
    pub fn principal<B: TensorBackend>(&self, backend: &B, count: usize) -> Result<PrincipalDirections> {
        let step = self.training.len().div_ceil(PCA_ROWS).max(1);
        let picks: Vec<u32> = self.training.iter().copied().step_by(step).collect();
        let values = self.gather(&picks);
        let d = self.dims;
        let rows = backend.upload_rows(picks.len(), d, &mut |start, out| {
            out.copy_from_slice(&values[start * d..start * d + out.len()]);
            Ok(())
        })?;
        let scatter = backend.scatter(&rows, &vec![0.0; d])?;
        let (eigenvalues, vectors) = principal(&scatter, d)?;
        let deviation = |v: &f64| (v / picks.len().max(1) as f64).max(0.0).sqrt();
        Ok(PrincipalDirections {
            directions: vectors[..count * d].to_vec(),
            deviations: eigenvalues[..count].iter().map(deviation).collect(),
        })
    }
}

/// Refuses rows whose mean square after preprocessing is nothing that networks can start from.
fn check_size(mean_square: f64, place: &str) -> Result<()> {
    let size = mean_square.sqrt();
    if size > 0.0 && !(1.0 / MOST_SIZE..=MOST_SIZE).contains(&size) {
        return Err(Error::config(
            "preprocess.scale",
            format!(
                "networks start with weights for values near 1, and those of `{place}` have a root mean square of {size:.1e} after \
                 preprocessing; set it, in the codec to start from where there is one"
            ),
        ));
    }
    Ok(())
}

/// A hash of all rows, in their order.
fn row_print<B: TensorBackend>(backend: &B, rows: &B::Rows) -> Result<u64> {
    let (n, d) = backend.shape(rows);
    let step = ((1 << 20) / d.max(1)).max(1);
    let mut part = vec![0.0f32; step.min(n) * d];
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for start in (0..n).step_by(step) {
        let count = step.min(n - start) * d;
        backend.read_rows(rows, start, &mut part[..count])?;
        hash = (hash ^ fingerprint(&part[..count])).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
    Ok(hash)
}

/// Evenly spaced rows.
fn probes(chosen: &TrainingRows<'_>, n: usize, d: usize) -> Result<Matrix> {
    let count = n.min(PROBES);
    let mut out = Matrix::zeros(count, d)?;
    for i in 0..count {
        chosen.read(i * n / count, out.row_mut(i))?;
    }
    Ok(out)
}

fn read_aligned(other: &dyn RowSource, source: &dyn RowSource, chosen: &TrainingRows<'_>) -> Result<AlignedRows> {
    check_shape("rows", source.rows(), other.rows(), other.name())?;
    let (n, dims) = (chosen.len(), other.dims());
    let mut values = vec![0.0f32; n * dims];
    chosen.read_of(other, 0, &mut values)?;
    if let Some((first, count)) = first_non_finite(&values, dims) {
        let (first, count, rows) = (first as u64, count as u64, n as u64);
        return Err(Error::NonFinite { first, count, rows, place: other.name() });
    }
    let largest = f64::from(largest_magnitude(&values));
    if largest > MOST_SIZE || (largest > 0.0 && largest < 1.0 / MOST_SIZE) {
        return Err(Error::Data(format!(
            "the largest value of the rows to align with in `{}` is {largest:.1e}; give rows whose values are near 1",
            other.name()
        )));
    }
    Ok(AlignedRows { values, dims })
}
