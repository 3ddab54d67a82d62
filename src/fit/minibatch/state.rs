//! Turns the trainer into a fitted model, and into bytes and back.

use super::trainer::{LevelState, MiniBatchTrainer, RangeFrame};
use crate::compute::moments::Moments;
use crate::compute::reference::ResidualQuantizer;
use crate::data::Matrix;
use crate::error::{Error, Result};
use crate::fit::residual::{Fitted, TrainingSummary, perplexity};
use crate::progress::LevelSummary;

impl MiniBatchTrainer {
    /// The model as it stands.
    ///
    /// # Errors
    /// [`Error::Data`] if a level has not been started: too few rows came by.
    pub fn finish(&self) -> Result<Fitted> {
        let Moments { deviation: variance, rows: seen, .. } = self.moments;
        let RangeFrame { mean, scales } = self.frame.clone().unwrap_or_default();
        let mut codebooks = Vec::new();
        let mut levels = Vec::new();
        for (level, state) in self.levels.iter().enumerate() {
            if state.codebook.is_empty() {
                return Err(Error::Data(format!(
                    "level {level} has seen {} of the {} rows that start it; give more rows or a smaller `init_rows`",
                    self.buffer.len() / self.dims,
                    self.init_rows
                )));
            }
            let k = self.config.codebook_sizes[level];
            codebooks.push(Matrix::from_vec(k, self.dims, state.codebook.clone())?);
            let counts: Vec<u32> = state.seen.iter().map(|c| u32::try_from(*c).unwrap_or(u32::MAX)).collect();
            levels.push(LevelSummary {
                level,
                codebook_size: k,
                iterations: state.steps as usize,
                converged: false,
                inertia: state.residual.0,
                // A level that last trained on part of the epoch saw part of the variance.
                r2: if variance > 0.0 && state.residual.1 > 0 {
                    1.0 - state.residual.0 / state.residual.1 as f64 * seen as f64 / variance
                } else {
                    0.0
                },
                utilisation: counts.iter().filter(|c| **c > 0).count() as f64 / k as f64,
                perplexity: perplexity(&counts),
                reseeded: state.reseeded,
                balance: None,
                seconds: 0.0,
            });
        }
        let mean_norm = |l: &LevelState| if l.norms.1 == 0 { 1.0 } else { (l.norms.0 / l.norms.1 as f64) as f32 };
        let residual_norms =
            if self.config.normalize_residuals { self.levels.iter().map(mean_norm).collect() } else { Vec::new() };
        Ok(Fitted {
            quantizer: ResidualQuantizer {
                dims: self.dims,
                mean,
                scales,
                codebooks,
                metric: self.config.metric,
                normalize_residuals: self.config.normalize_residuals,
                ..ResidualQuantizer::default()
            },
            mean_norm: 1.0,
            residual_norms,
            beam: 1,
            shared_codebook: false,
            probes: Matrix::default(),
            summary: TrainingSummary {
                rows: self.rows,
                source_rows: self.rows,
                total_variance: variance,
                kept_variance: 1.0,
                levels,
                ..TrainingSummary::default()
            },
        })
    }

    /// The whole state as bytes, for a checkpoint.
    ///
    /// # Errors
    /// [`Error::Codec`] if it cannot be written down, which a valid state never meets.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::Codec(format!("cannot write the training state: {e}")))
    }

    /// Reads a state that [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`Error::Codec`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let state: Self =
            serde_json::from_slice(bytes).map_err(|e| Error::Codec(format!("not a mini-batch training state: {e}")))?;
        state.config.validate()?;
        let fits = |(level, k): (&LevelState, &usize)| {
            level.codebook.is_empty()
                || (k.checked_mul(state.dims) == Some(level.codebook.len()) && level.seen.len() == *k)
        };
        let whole = state.dims > 0
            && state.levels.len() == state.config.codebook_sizes.len()
            && state.levels.iter().zip(&state.config.codebook_sizes).all(fits)
            && state.frame.iter().all(|f| {
                [&f.mean, &f.scales].iter().all(|v| v.is_empty() || v.len() == state.dims)
                    && f.mean.iter().all(|v| v.is_finite())
                    && f.scales.iter().all(|v| v.is_normal() && *v > 0.0)
            })
            && (state.moments.mean.is_empty() || state.moments.mean.len() == state.dims)
            && state.buffer.len().is_multiple_of(state.dims)
            && state.current < state.levels.len()
            && state.levels.iter().all(|l| l.codebook.iter().all(|v| v.is_finite()));
        if whole {
            Ok(state)
        } else {
            Err(Error::Codec("damaged mini-batch training state: its parts do not fit".into()))
        }
    }
}
