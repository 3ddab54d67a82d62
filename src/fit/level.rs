//! One level of a quantiser: k-means, balanced where that is asked for, and what is told of it.

use super::balance;
use super::kmeans::{self, LevelFit, LevelSettings};
use super::residual::{RqKMeans, perplexity};
use crate::compute::Backend;
use crate::error::Result;
use crate::progress::{LevelBalance, LevelSummary, Observer};
use std::time::Instant;

/// A trained level.
pub(super) struct FittedLevel<B: Backend> {
    pub outcome: LevelFit<B>,
    /// `[k]`, or none.
    pub prices: Vec<f32>,
    balance: Option<LevelBalance>,
    begun: Instant,
}

impl RqKMeans {
    /// The settings of level `level`'s k-means, which begins with `first`, `[k, d]`, if there is one.
    pub(super) fn level(&self, level: usize, first: Option<Vec<f32>>) -> LevelSettings {
        LevelSettings {
            k: self.codebook_sizes[level],
            iterations: self.iterations,
            tolerance: self.tolerance,
            starts: self.starts,
            seed: self.seed,
            level,
            metric: self.metric,
            init: self.init,
            first,
            empty: self.empty,
            exchange: self.exchange,
        }
    }

    /// Trains one level on what it is given of the rows.
    pub(super) fn fit_level<B: Backend>(
        &self,
        backend: &B,
        rows: &B::Rows,
        level: usize,
        first: Option<Vec<f32>>,
        observer: &dyn Observer,
    ) -> Result<FittedLevel<B>> {
        let begun = Instant::now();
        let settings = self.level(level, first);
        settings.announce(observer);
        match self.balance.as_ref().filter(|balance| balance.applies(level) && settings.k > 1) {
            Some(balance) => {
                let found = balance::fit::<B>(backend, rows, &settings, balance, observer)?;
                let (outcome, prices, balance) = (found.outcome, found.prices, Some(found.report));
                Ok(FittedLevel { outcome, prices, balance, begun })
            }
            None => {
                let outcome = kmeans::fit::<B>(backend, rows, &settings, observer)?;
                Ok(FittedLevel { outcome, prices: Vec::new(), balance: None, begun })
            }
        }
    }
}

impl<B: Backend> FittedLevel<B> {
    /// What is told of the level, with which rows are off by `inertia` in all; `total` is their variance.
    pub fn summary(&self, level: usize, inertia: f64, total: f64) -> LevelSummary {
        let LevelFit { counts, iterations, converged, reseeded, .. } = &self.outcome;
        let used = counts.iter().filter(|c| **c > 0).count();
        LevelSummary {
            level,
            codebook_size: counts.len(),
            iterations: *iterations,
            converged: *converged,
            inertia,
            r2: if total > 0.0 { 1.0 - inertia / total } else { 0.0 },
            utilisation: used as f64 / counts.len() as f64,
            perplexity: perplexity(counts),
            reseeded: *reseeded,
            balance: self.balance,
            seconds: self.begun.elapsed().as_secs_f64(),
        }
    }
}
