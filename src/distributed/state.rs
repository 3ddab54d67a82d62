//! A training as bytes and back, for checkpoints.

use super::trainer::{DistributedTrainer, DoneLevel, Stage};
use super::wire::{Kind, pack, put, unpack};
use crate::compute::reference::ResidualQuantizer;
use crate::data::Matrix;
use crate::error::Result;
use crate::fit::DistributedRqKMeans;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateHeader {
    config: DistributedRqKMeans,
    dims: usize,
    stage: Stage,
    rows: u64,
    largest: f32,
    mean_norm: f32,
    kept_variance: f64,
    levels: Vec<DoneLevel>,
    /// Rows of the sample; values of mean, components and scales; codewords and their dimensions; prices.
    sample: usize,
    steps: [usize; 3],
    codebooks: Vec<(usize, usize)>,
    prices: Vec<usize>,
}

impl DistributedTrainer {
    /// The whole state, sample included, for a checkpoint. The same state always gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) if it cannot be written down, which a valid state never meets.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let q = &self.quantizer;
        let mut out = Vec::new();
        put(&mut out, self.sample.as_slice());
        [&q.mean, &q.components, &q.scales].iter().for_each(|values| put(&mut out, values));
        q.codebooks.iter().for_each(|book| put(&mut out, book.as_slice()));
        q.prices.iter().for_each(|prices| put(&mut out, prices));
        let header = StateHeader {
            config: self.config.clone(),
            dims: self.dims,
            stage: self.stage.clone(),
            rows: self.rows,
            largest: self.largest,
            mean_norm: self.mean_norm,
            kept_variance: self.kept_variance,
            levels: self.levels.clone(),
            sample: self.sample.rows(),
            steps: [q.mean.len(), q.components.len(), q.scales.len()],
            codebooks: q.codebooks.iter().map(|book| (book.rows(), book.dims())).collect(),
            prices: q.prices.iter().map(Vec::len).collect(),
        };
        pack(Kind::State, &header, &out)
    }

    /// A training from what [`to_bytes`](Self::to_bytes) returned; it goes on with the same bits.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (header, mut numbers) = unpack::<StateHeader>(Kind::State, bytes)?;
        let StateHeader { config, dims, stage, rows, largest, mean_norm, kept_variance, levels, .. } = header;
        config.validate()?;
        let sample = numbers.take(header.sample.saturating_mul(dims))?;
        let [mean, components, scales] = header.steps;
        let (mean, components, scales) = (numbers.take(mean)?, numbers.take(components)?, numbers.take(scales)?);
        let book = |(k, e): &(usize, usize)| Matrix::from_vec(*k, *e, numbers.take(k.saturating_mul(*e))?);
        let codebooks = header.codebooks.iter().map(book).collect::<Result<Vec<_>>>()?;
        let prices = header.prices.iter().map(|k| numbers.take(*k)).collect::<Result<Vec<_>>>()?;
        numbers.end()?;
        let kmeans = &config.kmeans;
        let begun = !matches!(stage, Stage::Count | Stage::Sample { .. });
        let quantizer = if begun {
            ResidualQuantizer {
                dims,
                mean,
                components,
                scales,
                normalize_rows: kmeans.preprocess.normalize,
                codebooks,
                prices,
                metric: kmeans.metric,
                normalize_residuals: kmeans.normalize_residuals,
                ..ResidualQuantizer::default()
            }
        } else {
            ResidualQuantizer::default()
        };
        let (done, sizes) = (levels.len(), &kmeans.codebook_sizes);
        let e = quantizer.inner_dims();
        let started = done + usize::from(matches!(stage, Stage::Level(_)));
        let level_fits = match &stage {
            Stage::Level(level) => done < sizes.len() && (level.prices.is_empty() || level.prices.len() == sizes[done]),
            Stage::Finish | Stage::Done(_) => done == sizes.len(),
            _ => done == 0,
        };
        let fits = dims > 0
            && level_fits
            && quantizer.codebooks.len() == started
            && quantizer.codebooks.iter().zip(sizes).all(|(book, k)| book.rows() == *k && book.dims() == e)
            && quantizer.prices.len() <= done
            && quantizer.prices.iter().zip(sizes).all(|(prices, k)| prices.is_empty() || prices.len() == *k)
            && (quantizer.mean.is_empty() || quantizer.mean.len() == dims)
            && quantizer.components.len().is_multiple_of(dims)
            && (quantizer.scales.is_empty() || quantizer.scales.len() == e)
            && (!begun || header.sample > 0)
            && largest.is_finite();
        if !fits {
            return Err(Kind::State.damaged("its parts do not fit"));
        }
        let sample = Arc::new(Matrix::from_vec(header.sample, dims, sample)?);
        Ok(Self { config, dims, stage, rows, largest, sample, mean_norm, kept_variance, quantizer, levels })
    }
}
