//! What answers a round where rows are.

use super::partial::{Body, Partial};
use super::round::{Round, Task};
use super::sample::HashSample;
use crate::Codec;
use crate::codec::{EncodeOptions, Encoder};
use crate::compute::exact_sums::{CodedRows, DepthSums, LevelSums};
use crate::compute::reference::{Reference, ResidualQuantizer};
use crate::data::{Codes, MatrixView, first_non_finite, largest_magnitude};
use crate::device::Device;
use crate::error::{Error, Result, check_shape};

/// Answers a round: rows go in, a [`Partial`] comes out.
pub struct RoundWorker {
    round: Round,
    coder: Option<Coder>,
}

/// Codes of rows, and what they are measured with.
struct Coder {
    codec: Codec,
    encoder: Encoder,
    reference: Reference,
}

impl std::fmt::Debug for RoundWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoundWorker").field("round", &self.round.hash()).finish_non_exhaustive()
    }
}

impl Round {
    /// What answers it where rows are, on a device. Many threads may share it.
    ///
    /// # Errors
    /// Device errors.
    pub fn worker(&self, device: &Device) -> Result<RoundWorker> {
        let round = self.clone();
        let coder = match &round.codec {
            Some(codec) => {
                let (codec, encoder) = (codec.clone(), codec.encoder(device, &EncodeOptions::default())?);
                let reference = Reference::new(codec.quantizer());
                Some(Coder { codec, encoder, reference })
            }
            None => None,
        };
        Ok(RoundWorker { round, coder })
    }
}

impl RoundWorker {
    /// The answer for no rows.
    #[must_use]
    pub fn partial(&self) -> Partial {
        let quantizer = self.coder.as_ref().map(|coder| coder.codec.quantizer());
        let sizes = quantizer.map(ResidualQuantizer::codebook_sizes).unwrap_or_default();
        let entered = quantizer.map_or(0, ResidualQuantizer::code_dims);
        let body = match self.round.task {
            Task::Count => Body::Count { largest: 0.0 },
            Task::Sample { most, .. } => Body::Sample(HashSample::of(most)),
            Task::Level { far, .. } => Body::Level(LevelSums::empty(sizes.last().copied().unwrap_or(0), entered, far)),
            Task::Finish { quanta } => Body::Depths(DepthSums::empty(&sizes, entered), quanta),
            Task::Measure { quanta } => Body::Depths(DepthSums::empty(&sizes, self.round.dims), quanta),
        };
        Partial { round: self.round.hash().into(), dims: self.round.dims, rows: 0, body }
    }

    /// Adds rows `[n, dims]` to an answer to this round.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows of other dimensions; [`Error::NonFinite`], numbered within `rows`; [`Error::Data`] for an answer to another round, for rows
    /// that changed between two passes, and for zero rows under cosine; device errors. After an error the answer is of no use.
    pub fn add(&self, rows: MatrixView<'_>, partial: &mut Partial) -> Result<()> {
        self.round.check(&partial.round)?;
        check_shape("d", self.round.dims, rows.dims(), "rows")?;
        if let Some((first, count)) = first_non_finite(rows.as_slice(), rows.dims()) {
            let (first, count, rows) = (first as u64, count as u64, rows.rows() as u64);
            return Err(Error::NonFinite { first, count, rows, place: "the rows".into() });
        }
        let codes = self.coder.as_ref().map(|coder| Ok::<_, Error>(coder.encoder.encode(rows)?.codes)).transpose()?;
        match (&mut partial.body, self.round.task, &self.coder, &codes) {
            (Body::Count { largest }, ..) => *largest = largest.max(largest_magnitude(rows.as_slice())),
            (Body::Sample(sample), Task::Sample { seed, threshold, .. }, ..) => {
                sample.offer(rows, seed, threshold);
                sample.settle();
            }
            (Body::Level(sums), Task::Level { quanta, .. }, Some(coder), Some(codes)) => {
                sums.add(coder.coded(rows, codes), quanta)?;
            }
            (Body::Depths(sums, _), Task::Finish { quanta }, Some(coder), Some(codes)) => {
                sums.add_inner(coder.coded(rows, codes), quanta)?;
            }
            (Body::Depths(sums, _), Task::Measure { quanta }, Some(coder), Some(codes)) => {
                let decoded = coder.decoded(codes)?;
                sums.add_decoded(coder.coded(rows, codes), &decoded, quanta)?;
            }
            _ => return Err(Error::Data("a partial of another kind of round".into())),
        }
        partial.rows += rows.rows() as u64;
        Ok(())
    }
}

impl Coder {
    fn coded<'a>(&'a self, rows: MatrixView<'a>, codes: &'a Codes) -> CodedRows<'a> {
        CodedRows {
            rows,
            codes: codes.as_slice(),
            quantizer: self.codec.quantizer(),
            reference: &self.reference,
            first: 0,
        }
    }

    /// What every number of levels makes of the rows.
    fn decoded(&self, codes: &Codes) -> Result<Vec<crate::Matrix>> {
        (1..=codes.levels())
            .map(|depth| {
                let first = codes.iter().flat_map(|row| row[..depth].iter().copied()).collect();
                self.codec.decode(&Codes::from_vec(codes.rows(), depth, first)?)
            })
            .collect()
    }
}
