//! Joint refinement: all codebooks are fitted at once to the codes, then the codes to the codebooks, in turn.
//!
//! Greedy training never looks back: level 2 lives with what level 1 left. Here, given the codes, all codewords
//! are the solution of one least-squares problem (as in additive quantisation, Babenko and Lempitsky 2014), and given
//! the codewords, a beam search finds better codes than the greedy walk does.

use crate::compute::reference::{Reference, ResidualQuantizer};
use crate::compute::{Backend, Metric, solve_normal_equations};
use crate::data::Matrix;
use crate::error::{Error, Result};
use crate::progress::{Event, Observer, check};
use serde::{Deserialize, Serialize};

/// Settings of the refinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refine {
    /// Rounds of least squares and encoding.
    pub rounds: usize,
    /// Prefixes a row that the beam keeps, in refinement and in every later encoding with this codec.
    pub beam: usize,
}

impl Default for Refine {
    fn default() -> Self {
        Self { rounds: 10, beam: 8 }
    }
}

impl Refine {
    /// Refuses settings that cannot be used with codebooks of these sizes.
    ///
    /// # Errors
    /// [`Error::Config`] with the field's name.
    pub fn validate(&self, sizes: &[usize]) -> Result<()> {
        if self.rounds == 0 {
            return Err(Error::config("refine.rounds", "expected at least 1, got 0; leave refinement out instead"));
        }
        if self.beam == 0 || self.beam > 64 {
            return Err(Error::config("refine.beam", format!("expected 1 to 64 prefixes, got {}", self.beam)));
        }
        let width = sizes.iter().fold(0u64, |sum, k| sum.saturating_add(*k as u64));
        if width > MOST_CODEWORDS {
            let bytes = width.saturating_mul(width).saturating_mul(24) >> 30;
            let problem = format!(
                "it solves for all codewords at once, which takes {bytes} GiB for {width}: at most {MOST_CODEWORDS} over all levels; use \
                 smaller codebooks, or leave refinement out"
            );
            return Err(Error::config("refine", problem));
        }
        Ok(())
    }
}

/// Codewords of all levels at most: the normal equations, the solver's copy and its factor are a matrix of this size each, 6 GiB together.
const MOST_CODEWORDS: u64 = 1 << 14;

/// How strongly a codeword is held at its old place, in units of one row: enough to make the problem regular (the codewords of
/// two levels may be shifted against each other at no cost), too little to matter to a codeword in use.
const RIDGE: f64 = 0.05;

/// Refines `quantizer`'s codebooks on the preprocessed `rows`; returns R² before and after each round. O(rounds·(beam encoding +
/// n·levels² + (Σk)³)).
pub fn refine<B: Backend>(
    backend: &B,
    rows: &B::Rows,
    settings: &Refine,
    quantizer: &mut ResidualQuantizer,
    total: f64,
    observer: &dyn Observer,
) -> Result<Vec<f64>> {
    let n = backend.shape(rows).0;
    let squares = backend.sum_squares(rows)?;
    let mut trace = Vec::with_capacity(settings.rounds + 1);
    let mut best: Option<(f64, Vec<Matrix>)> = None;
    observer.event(Event::Phase { name: "refine", total: Some(settings.rounds as u64), unit: "rounds" });
    for round in 0..=settings.rounds {
        check(observer)?;
        let codes = encode(backend, rows, quantizer, settings.beam)?;
        let problem = LeastSquares::gather(backend, rows, quantizer, &codes, n)?;
        let error = problem.error(quantizer, squares);
        let r2 = if total > 0.0 { 1.0 - error / total } else { 0.0 };
        trace.push(r2);
        if round > 0 {
            observer.event(Event::Refined { round, r2 });
        }
        if best.as_ref().is_none_or(|(b, _)| error < *b) {
            best = Some((error, quantizer.codebooks.clone()));
        }
        if round < settings.rounds {
            problem.solve(quantizer)?;
        }
        observer.event(Event::Advance { done: round as u64 });
    }
    if let Some((_, codebooks)) = best {
        quantizer.codebooks = codebooks;
    }
    Ok(trace)
}

/// `[n, levels]` codes of the rows by beam search with the quantiser's present codebooks.
fn encode<B: Backend>(backend: &B, rows: &B::Rows, quantizer: &ResidualQuantizer, width: usize) -> Result<Vec<u32>> {
    let reference = Reference::new(quantizer);
    let gram: Vec<Vec<f32>> =
        reference.gram(quantizer).into_iter().map(|t| t.into_iter().map(|v| v as f32).collect()).collect();
    let books = quantizer
        .codebooks
        .iter()
        .map(|b| backend.codebook(b.rows(), b.dims(), b.as_slice(), Metric::SquaredL2))
        .collect::<Result<Vec<_>>>()?;
    Ok(backend.beam(rows, &books, &gram, width)?.codes)
}

/// The normal equations of `‖X − B·C‖²`: B `[n, Σk]` marks each row's codewords, C `[Σk, d]` stacks the codebooks.
struct LeastSquares {
    /// BᵀB: how often two codewords meet in a row.
    meetings: Vec<f64>,
    /// BᵀX: sums of the rows of each codeword.
    sums: Vec<f64>,
    width: usize,
    dims: usize,
}

impl LeastSquares {
    fn gather<B: Backend>(
        backend: &B,
        rows: &B::Rows,
        quantizer: &ResidualQuantizer,
        codes: &[u32],
        n: usize,
    ) -> Result<Self> {
        let sizes = quantizer.codebook_sizes();
        let offsets: Vec<usize> = sizes.iter().scan(0, |at, k| Some(std::mem::replace(at, *at + k))).collect();
        let (width, levels, dims) = (sizes.iter().sum::<usize>(), sizes.len(), quantizer.inner_dims());
        let mut meetings = vec![0.0f64; width * width];
        for row in codes.chunks_exact(levels) {
            for (l, a) in row.iter().enumerate() {
                for (m, b) in row.iter().enumerate() {
                    meetings[(offsets[l] + *a as usize) * width + offsets[m] + *b as usize] += 1.0;
                }
            }
        }
        let mut sums = Vec::with_capacity(width * dims);
        for (level, k) in sizes.iter().enumerate() {
            let labels: Vec<u32> = (0..n).map(|i| codes[i * levels + level]).collect();
            let mut partition = backend.partition_from(&labels)?;
            backend.tally(&mut partition, *k)?;
            sums.extend(backend.centroid_sums(rows, &mut partition, *k)?);
        }
        Ok(Self { meetings, sums, width, dims })
    }

    fn stacked(quantizer: &ResidualQuantizer) -> Vec<f64> {
        quantizer.codebooks.iter().flat_map(|b| b.as_slice().iter().map(|v| f64::from(*v))).collect()
    }

    /// `BᵀB·C`, `[Σk, d]`; BᵀB is sparse (a row meets `levels` codewords), so zeros are passed over.
    fn met(&self, stacked: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.width * self.dims];
        for (row, o) in self.meetings.chunks_exact(self.width).zip(out.chunks_exact_mut(self.dims)) {
            for (weight, c) in row.iter().zip(stacked.chunks_exact(self.dims)) {
                if *weight != 0.0 {
                    o.iter_mut().zip(c).for_each(|(o, c)| *o += weight * c);
                }
            }
        }
        out
    }

    /// `‖X − B·C‖²` for the present codebooks, `squares` being `‖X‖²`.
    fn error(&self, quantizer: &ResidualQuantizer, squares: f64) -> f64 {
        let stacked = Self::stacked(quantizer);
        let met = self.met(&stacked);
        let inner: f64 = stacked.iter().zip(&self.sums).map(|(c, s)| c * s).sum();
        let outer: f64 = stacked.iter().zip(&met).map(|(c, s)| c * s).sum();
        (squares - 2.0 * inner + outer).max(0.0)
    }

    /// Moves the codebooks to the (ridged) solution.
    fn solve(&self, quantizer: &mut ResidualQuantizer) -> Result<()> {
        let (w, d) = (self.width, self.dims);
        let stacked = Self::stacked(quantizer);
        let met = self.met(&stacked);
        let mut matrix = self.meetings.clone();
        matrix.iter_mut().step_by(w + 1).for_each(|v| *v += RIDGE);
        let right: Vec<f64> = self.sums.iter().zip(&met).map(|(sum, met)| sum - met).collect();
        let step = solve_normal_equations(&matrix, &right, w, d, &format!("{w} codewords"))?;
        let mut at = 0;
        for book in &mut quantizer.codebooks {
            let k = book.rows();
            for (i, v) in book.as_mut_slice().iter_mut().enumerate() {
                *v = (stacked[at * d + i] + step[at * d + i]) as f32;
            }
            at += k;
        }
        Ok(())
    }
}
