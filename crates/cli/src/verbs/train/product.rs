//! `sememe train --method pq` and `opq`.

use crate::text::count;
use crate::verbs::train::flags::{Flags, Method};
use anyhow::Result;
use sememe::RqKMeans;
use sememe::fit::{ProductQuantization, Rotation};

/// Product quantisation takes the settings of k-means, and this.
pub struct ProductPlan {
    pub rotation: Option<Rotation>,
}

/// Whether a method is one of product quantisation.
pub fn is_method(method: Method) -> bool {
    matches!(method, Method::Pq | Method::Opq)
}

/// The plan, if the method is product quantisation.
pub fn plan(flags: &Flags, config: &RqKMeans) -> Result<Option<ProductPlan>> {
    if !is_method(flags.minibatch.method) {
        return Ok(None);
    }
    let defaults = Rotation::default();
    let rotation = (flags.minibatch.method == Method::Opq).then(|| Rotation {
        rounds: flags.product.rotations.unwrap_or(defaults.rounds),
        iterations: flags.product.rotation_iterations.unwrap_or(defaults.iterations),
    });
    let plan = ProductPlan { rotation };
    plan.settings(config).validate()?;
    Ok(Some(plan))
}

impl ProductPlan {
    /// The whole settings, with those of k-means at every level.
    pub fn settings(&self, config: &RqKMeans) -> ProductQuantization {
        ProductQuantization {
            codebook_sizes: config.codebook_sizes.clone(),
            rotation: self.rotation,
            iterations: config.iterations,
            tolerance: config.tolerance,
            starts: config.starts,
            seed: config.seed,
            init: config.init,
            empty: config.empty,
            exchange: config.exchange,
            balance: config.balance.clone(),
            preprocess: config.preprocess,
            max_training_rows: config.max_training_rows,
        }
    }

    /// One line for `--dry-run`.
    pub fn describe(&self, config: &RqKMeans, dims: usize) -> String {
        let dims = config.preprocess.pca.map_or(dims, |pca| dims.min(pca.max_dims));
        let blocks = format!("{} of {dims} dimensions", count(config.codebook_sizes.len() as u64, "block"));
        match self.rotation {
            Some(Rotation { rounds, iterations }) => format!(
                "{blocks}, rotated in {} of {}",
                count(rounds as u64, "round"),
                count(iterations as u64, "iteration")
            ),
            None => blocks,
        }
    }
}
