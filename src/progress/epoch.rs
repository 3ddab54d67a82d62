//! Reports of RQ-VAE training: steps, epochs and the health of the codebooks.

use serde::{Deserialize, Serialize};

/// One codebook's use by the whole corpus.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelHealth {
    /// Level, from 0.
    pub level: usize,
    /// Codewords.
    pub codebook_size: usize,
    /// Share of codewords in use.
    pub utilisation: f64,
    /// exp of the entropy of the loads.
    pub perplexity: f64,
    /// Distinct prefixes that end here, over rows: 1 less the prefix collision rate.
    pub distinct: f64,
    /// Mean squared L2 of the level's input to its codeword, in code space.
    pub squared_l2: f64,
    /// 1 − squared error / variance of the prefixes that end here, after preprocessing; looked at for the last level, and for all once
    /// training is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
}

/// The use of a codebook that all levels share, over all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedHealth {
    /// Share of codewords that some level uses.
    pub utilisation: f64,
    /// exp of the entropy of the loads, summed over levels.
    pub perplexity: f64,
}

/// The state of the model on the whole corpus, each row by its nearest codewords.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Rows looked at: those that train and those kept out.
    pub rows: usize,
    /// 1 − squared error / variance, of the full IDs, after preprocessing.
    pub r2: f64,
    /// The same of the rows that were kept out, about their own mean.
    pub validation_r2: Option<f64>,
    /// 1 − distinct IDs / rows.
    pub collision_rate: f64,
    /// One entry a level.
    pub levels: Vec<LevelHealth>,
    /// Where all levels share one codebook: its use as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedHealth>,
}

impl Health {
    /// Share of a codebook below whose perplexity a level counts as collapsed.
    pub const COLLAPSED: f64 = 0.1;

    /// Levels whose perplexity is below a tenth of what it could be, which is the codebook (its equal share of one that all levels
    /// use: they part it among themselves) or the number of rows.
    #[must_use]
    pub fn collapsed(&self) -> Vec<usize> {
        let levels = if self.shared.is_some() { self.levels.len() } else { 1 };
        let could = |l: &LevelHealth| l.codebook_size.div_ceil(levels).min(self.rows) as f64;
        self.levels.iter().filter(|l| l.perplexity < Self::COLLAPSED * could(l)).map(|l| l.level).collect()
    }

    /// What to do about collapsed levels; `None` if there is none.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        let levels = self.collapsed();
        let worst = levels.first().map(|l| &self.levels[*l])?;
        let names: Vec<String> = levels.iter().map(|l| (l + 1).to_string()).collect();
        Some(format!(
            "level {} collapsed: perplexity {:.1} of {} codewords, {:.0} % in use; weigh the reconstruction more (`reconstruction = \
             \"sum\"`, a smaller `commitment_weight`), restart codewords more often (`restart.interval_steps`), start them by k-means, \
             or lower `optimizer.rate`",
            names.join(", "),
            worst.perplexity,
            worst.codebook_size,
            100.0 * worst.utilisation
        ))
    }
}

/// Means of the loss and its terms over some steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// What is minimised.
    pub total: f64,
    /// Reconstruction.
    pub reconstruction: f64,
    /// Squared L2 to the codeword of every level, reduced as `quantizer` says.
    pub quantizer: Vec<f64>,
    /// Diversity, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diversity: Option<f64>,
    /// `−½·mean ln ‖z_i − z_j‖²` of the repulsion, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repulsion: Option<f64>,
    /// Alignment, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alignment: Option<f64>,
    /// Root mean square of the gradient's L2 norm before clipping.
    pub gradient_norm: f64,
}

/// A logged step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps taken.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Means since the last logged step.
    pub losses: Losses,
}

/// A finished epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Epoch, from 1.
    pub epoch: u64,
    /// Of how many at most.
    pub epochs: u64,
    /// Steps taken.
    pub step: u64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Means over the epoch.
    pub losses: Losses,
    /// Codewords restarted in this epoch.
    pub restarted: u64,
    /// The whole corpus, if it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Whether this is the best epoch so far.
    pub best: bool,
    /// Rows trained on a second, without the look at the corpus. Differs from run to run.
    #[serde(skip)]
    pub rows_per_second: f64,
}

fn scalars(prefix: &str, rate: f64, losses: &Losses) -> Vec<(String, f64)> {
    let mut out = vec![
        (format!("{prefix}/loss"), losses.total),
        (format!("{prefix}/reconstruction"), losses.reconstruction),
        (format!("{prefix}/gradient_norm"), losses.gradient_norm),
        (format!("{prefix}/learning_rate"), rate),
    ];
    out.extend(losses.quantizer.iter().enumerate().map(|(l, v)| (format!("{prefix}/quantizer/{}", l + 1), *v)));
    let extra = [("diversity", losses.diversity), ("alignment", losses.alignment), ("repulsion", losses.repulsion)];
    out.extend(extra.into_iter().filter_map(|(name, v)| Some((format!("{prefix}/{name}"), v?))));
    out
}

impl StepReport {
    /// Its figures, named for curves.
    #[must_use]
    pub fn scalars(&self) -> Vec<(String, f64)> {
        scalars("step", self.learning_rate, &self.losses)
    }
}

impl EpochReport {
    /// Its figures, named for curves; those of the whole corpus where it was looked at.
    #[must_use]
    pub fn scalars(&self) -> Vec<(String, f64)> {
        let mut values = scalars("epoch", self.learning_rate, &self.losses);
        values.push(("epoch/restarted".into(), self.restarted as f64));
        if let Some(health) = &self.health {
            values.push(("corpus/r2".into(), health.r2));
            values.push(("corpus/collision_rate".into(), health.collision_rate));
            values.extend(health.validation_r2.map(|v| ("corpus/validation_r2".into(), v)));
            for l in &health.levels {
                values.push((format!("corpus/utilisation/{}", l.level + 1), l.utilisation));
                values.push((format!("corpus/perplexity/{}", l.level + 1), l.perplexity));
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_codebook_is_held_to_a_levels_share() {
        let level = |level, perplexity| LevelHealth {
            level,
            codebook_size: 2048,
            utilisation: 0.1,
            perplexity,
            distinct: 1.0,
            squared_l2: 0.0,
            r2: None,
        };
        let levels = [147.0, 500.0, 26.0, 25.0, 600.0, 700.0, 800.0, 900.0];
        let levels = levels.into_iter().enumerate().map(|(l, p)| level(l, p)).collect();
        let mut health =
            Health { rows: 60_000, r2: 0.5, validation_r2: None, collision_rate: 0.0, levels, shared: None };
        assert_eq!(health.collapsed(), [0, 2, 3], "each has all 2,048 to itself");
        health.shared = Some(SharedHealth { utilisation: 1.0, perplexity: 1500.0 });
        assert_eq!(health.collapsed(), [3], "a share is 256");
        assert!(health.alarm().is_some_and(|a| a.contains("level 4 collapsed: perplexity 25.0 of 2048")));
        health.rows = 200;
        assert_eq!(health.collapsed(), [0usize; 0], "200 rows have no more than 200 codes");
    }
}
