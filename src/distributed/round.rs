//! What is asked of all rows at once.

use super::wire::{Kind, pack, unpack};
use crate::compute::exact_sums::Quanta;
use crate::data::largest_magnitude;
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::{Codec, Metric};
use serde::{Deserialize, Serialize};

/// The question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// How many rows there are, and how large their largest value is.
    Count,
    /// Rows whose hash is at most `threshold`, at most `most` of them.
    Sample { seed: u64, most: usize, threshold: u64 },
    /// Sums by the codes of the codec's last level, and the `far` farthest rows.
    Level { quanta: Quanta, far: usize },
    /// All levels, as rows enter the first.
    Finish { quanta: Quanta },
    /// All levels, as rows come and as they are decoded.
    Measure { quanta: Quanta },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoundHeader {
    dims: usize,
    task: Task,
}

/// The rows that a sample holds at most, and the farthest rows that a partial does.
const MOST_SAMPLE: usize = 1 << 28;
const MOST_FAR: usize = 1 << 16;

/// What is asked of all rows next: bytes that go to every worker.
#[derive(Clone, Debug)]
pub struct Round {
    pub(super) dims: usize,
    pub(super) task: Task,
    pub(super) codec: Option<Codec>,
    bytes: Vec<u8>,
    hash: String,
}

impl Round {
    pub(super) fn new(dims: usize, task: Task, codec: Option<Codec>) -> Result<Self> {
        let payload = codec.as_ref().map(Codec::to_bytes).transpose()?.unwrap_or_default();
        let bytes = pack(Kind::Round, &RoundHeader { dims, task }, &payload)?;
        let hash = sha256(&bytes);
        Ok(Self { dims, task, codec, bytes, hash })
    }

    /// Measures a codec, of any kind, on all rows; see [`Partial::measures`](super::Partial::measures).
    ///
    /// # Errors
    /// [`Error::Codec`] if the codec cannot be written down, which one that was loaded never meets.
    pub fn measure(codec: &Codec) -> Result<Self> {
        // About as large as what is decoded is: rows are not much larger.
        let sizes = codec.quantizer();
        let most = |values: &[f32]| f64::from(largest_magnitude(values));
        let words: f64 = sizes.codebooks.iter().map(|book| most(book.as_slice())).sum();
        let scale = sizes.scales.iter().fold(f64::INFINITY, |m, v| m.min(f64::from(*v)));
        let unit = if scale.is_finite() && scale > 0.0 { scale } else { 1.0 };
        let lengths = if sizes.metric == Metric::Cosine || sizes.normalize_rows || sizes.encoder.is_some() {
            f64::from(codec.manifest().mean_norm).max(1.0)
        } else {
            1.0
        };
        let typical = (words * lengths / unit + most(&sizes.mean)).max(f64::from(f32::MIN_POSITIVE));
        Self::new(codec.dims(), Task::Measure { quanta: Quanta::around(typical, codec.dims()) }, Some(codec.clone()))
    }

    /// The bytes that workers get.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// A round from what [`to_bytes`](Self::to_bytes) returned.
    ///
    /// # Errors
    /// [`Error::Data`] for anything else, [`Error::Codec`] for a damaged codec in it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (RoundHeader { dims, task }, payload) = unpack::<RoundHeader>(Kind::Round, bytes)?;
        let payload = payload.rest();
        let codec = if payload.is_empty() { None } else { Some(Codec::from_bytes(payload)?) };
        let quanta = match task {
            Task::Count | Task::Sample { .. } => None,
            Task::Level { quanta, .. } | Task::Finish { quanta } | Task::Measure { quanta } => Some(quanta),
        };
        let trained = |codec: &Codec| codec.quantizer().encoder.is_none() && !codec.quantizer().product;
        let fits = match (&codec, task) {
            (None, Task::Count) => true,
            (None, Task::Sample { most, .. }) => (1..=MOST_SAMPLE).contains(&most),
            (Some(codec), Task::Level { far, .. }) => trained(codec) && far <= MOST_FAR,
            (Some(codec), Task::Finish { .. }) => trained(codec),
            (Some(_), Task::Measure { .. }) => true,
            _ => false,
        };
        let sound = quanta.is_none_or(|q| !q.most.is_nan() && [q.values, q.squares].iter().all(|b| b.abs() < 1000));
        if dims == 0 || !fits || !sound || codec.as_ref().is_some_and(|codec| codec.dims() != dims) {
            return Err(Kind::Round.damaged("its parts do not fit"));
        }
        Ok(Self { dims, task, codec, hash: sha256(bytes), bytes: bytes.to_vec() })
    }

    /// SHA-256 of the bytes, in hexadecimal: the round's name.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Values a row.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Refuses a partial of another round.
    pub(super) fn check(&self, round: &str) -> Result<()> {
        if self.hash == round {
            return Ok(());
        }
        Err(Error::Data(format!("a partial of round {round} came for round {}", self.hash)))
    }
}
