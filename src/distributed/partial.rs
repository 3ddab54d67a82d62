//! What a worker answers, and what answers add up to.

use super::sample::HashSample;
use super::wire::{Kind, Numbers, pack, put, unpack};
use crate::compute::exact_sums::{DepthSums, LevelSums, Quanta, real};
use crate::compute::far_rows::FarRows;
use crate::error::{Error, Result};
use crate::fit::residual::perplexity_of;
use serde::{Deserialize, Serialize};

/// An answer's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Count { largest: f32 },
    Sample(HashSample),
    Level(LevelSums),
    Depths(DepthSums, Quanta),
}

/// What a part of the rows answers to a [`Round`](super::Round). Answers to the same round merge, in any order, to what all rows answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    pub(super) round: String,
    pub(super) dims: usize,
    pub(super) rows: u64,
    pub(super) body: Body,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartialHeader {
    round: String,
    dims: usize,
    rows: u64,
    shape: Shape,
}

/// How many numbers of what follow.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Shape {
    Count { largest: f32 },
    Sample { most: usize, rows: usize },
    Level { codewords: usize, dims: usize, most: usize, far: usize },
    Depths { codebook_sizes: Vec<usize>, dims: usize, quanta: Quanta },
}

/// How well a codec does on all rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundMeasures {
    /// Rows measured.
    pub rows: u64,
    /// Squared L2 of the rows to their mean, in all.
    pub total_variance: f64,
    /// One entry a level.
    pub levels: Vec<LevelMeasures>,
}

/// How well the first levels of a codec do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelMeasures {
    /// Squared error of rows that are decoded from the levels up to this one, in all.
    pub inertia: f64,
    /// The share of the variance that these levels keep. Where all rows are the same: 1 if they come back exactly, else 0.
    pub r2: f64,
    /// Rows of each codeword, `[k]`.
    pub loads: Vec<u64>,
    /// Share of the codewords that any row has.
    pub utilisation: f64,
    /// exp of the entropy of the loads.
    pub perplexity: f64,
}

impl Partial {
    /// Rows that it answers for.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes another answer to the same round in.
    ///
    /// # Errors
    /// [`Error::Data`] for an answer to another round, with both, and for damaged ones.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.round != other.round || self.dims != other.dims {
            return Err(Error::Data(format!(
                "partials of different rounds do not add up: {} and {}",
                self.round, other.round
            )));
        }
        match (&mut self.body, &other.body) {
            (Body::Count { largest }, Body::Count { largest: more }) => *largest = largest.max(*more),
            (Body::Sample(sample), Body::Sample(more)) if sample.most == more.most => sample.merge(more),
            (Body::Level(sums), Body::Level(more)) => sums.merge(more)?,
            (Body::Depths(sums, quanta), Body::Depths(more, same)) if quanta == same => sums.merge(more)?,
            _ => return Err(Kind::Partial.damaged("two answers to one round are of different kinds")),
        }
        self.rows = self.rows.checked_add(other.rows).ok_or_else(|| Kind::Partial.damaged("too many rows"))?;
        Ok(())
    }

    /// Of an answer to [`Round::measure`](super::Round::measure): how well the codec does. R² is that of rows that are decoded, as in
    /// [`eval::Reconstruction`](crate::eval::Reconstruction).
    ///
    /// # Errors
    /// [`Error::Data`] for other answers and for no rows.
    pub fn measures(&self) -> Result<RoundMeasures> {
        let Body::Depths(sums, quanta) = &self.body else {
            return Err(Error::Data("this partial answers a round of training, not of measuring".into()));
        };
        if self.rows == 0 {
            return Err(Error::Data("there are no rows to measure; give at least 1".into()));
        }
        let total_variance = sums.deviation(self.rows, *quanta);
        let level = |(loads, error): (&Vec<u64>, &i128)| {
            let inertia = real(*error, quanta.squares);
            let r2 = match (inertia == 0.0, total_variance == 0.0) {
                (true, true) => 1.0,
                (false, true) => 0.0,
                _ => 1.0 - inertia / total_variance,
            };
            LevelMeasures {
                inertia,
                r2,
                utilisation: loads.iter().filter(|n| **n > 0).count() as f64 / loads.len().max(1) as f64,
                perplexity: perplexity_of(loads.iter().map(|n| *n as f64)),
                loads: loads.clone(),
            }
        };
        let levels = sums.loads.iter().zip(&sums.errors).map(level).collect();
        Ok(RoundMeasures { rows: self.rows, total_variance, levels })
    }

    /// The bytes that go back.
    ///
    /// # Errors
    /// None that a partial of a worker meets.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let shape = match &self.body {
            Body::Count { largest } => Shape::Count { largest: *largest },
            Body::Sample(sample) => {
                for (hash, row) in &sample.rows {
                    put(&mut out, &[*hash]);
                    put(&mut out, row);
                }
                Shape::Sample { most: sample.most, rows: sample.rows.len() }
            }
            Body::Level(LevelSums { counts, sums, objective, far }) => {
                put(&mut out, counts);
                put(&mut out, sums);
                put(&mut out, &[*objective]);
                for (error, row) in &far.rows {
                    put(&mut out, &[*error]);
                    put(&mut out, row);
                }
                let dims = sums.len() / counts.len().max(1);
                Shape::Level { codewords: counts.len(), dims, most: far.most, far: far.rows.len() }
            }
            Body::Depths(sums, quanta) => {
                sums.loads.iter().for_each(|loads| put(&mut out, loads));
                put(&mut out, &sums.errors);
                put(&mut out, &sums.norms);
                put(&mut out, &sums.columns);
                put(&mut out, &[sums.squares]);
                let codebook_sizes = sums.loads.iter().map(Vec::len).collect();
                Shape::Depths { codebook_sizes, dims: sums.columns.len(), quanta: *quanta }
            }
        };
        pack(Kind::Partial, &PartialHeader { round: self.round.clone(), dims: self.dims, rows: self.rows, shape }, &out)
    }

    /// A partial from what [`to_bytes`](Self::to_bytes) returned. Memory is taken for what is there.
    ///
    /// # Errors
    /// [`Error::Data`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (PartialHeader { round, dims, rows, shape }, mut numbers) = unpack::<PartialHeader>(Kind::Partial, bytes)?;
        let body = match shape {
            Shape::Count { largest } => Body::Count { largest },
            Shape::Sample { most, rows } => {
                let entry = |numbers: &mut Numbers<'_>| {
                    Ok((numbers.take::<u64>(1)?[0], numbers.take::<f32>(dims)?.into_boxed_slice()))
                };
                let rows = (0..rows).map(|_| entry(&mut numbers)).collect::<Result<_>>()?;
                let mut sample = HashSample { most, rows };
                sample.settle();
                Body::Sample(sample)
            }
            Shape::Level { codewords, dims, most, far } => {
                let counts = numbers.take(codewords)?;
                let sums = numbers.take(codewords.saturating_mul(dims))?;
                let objective = numbers.take(1)?[0];
                let entry = |numbers: &mut Numbers<'_>| Ok((numbers.take::<f64>(1)?[0], numbers.take::<f32>(dims)?));
                let rows = (0..far).map(|_| entry(&mut numbers)).collect::<Result<Vec<_>>>()?;
                if rows.len() > most || rows.iter().any(|(_, row)| row.iter().any(|v| !v.is_finite())) {
                    return Err(Kind::Partial.damaged("its farthest rows cannot be"));
                }
                Body::Level(LevelSums { counts, sums, objective, far: FarRows { most, rows } })
            }
            Shape::Depths { codebook_sizes, dims, quanta } => {
                let loads = codebook_sizes.iter().map(|k| numbers.take(*k)).collect::<Result<_>>()?;
                let (errors, norms) = (numbers.take(codebook_sizes.len())?, numbers.take(codebook_sizes.len())?);
                let (columns, squares) = (numbers.take(dims)?, numbers.take(1)?[0]);
                Body::Depths(DepthSums { loads, errors, norms, columns, squares }, quanta)
            }
        };
        numbers.end()?;
        Ok(Self { round, dims, rows, body })
    }
}
