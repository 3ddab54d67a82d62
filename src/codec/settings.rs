//! How a codec was trained, as its manifest records it.

use super::tensors::damaged;
use crate::error::Result;
use crate::fit::rqvae::RqVae;
use crate::fit::{DistributedRqKMeans, MiniBatchRqKMeans, ProductQuantization, RqKMeans};
use serde::Serialize;
use serde_json::Value;

/// The method that fitted a model, with its settings.
#[derive(Clone, Copy, Debug)]
pub enum TrainedBy<'a> {
    /// `rq-kmeans`.
    RqKMeans(&'a RqKMeans),
    /// `minibatch-rq-kmeans`.
    MiniBatch(&'a MiniBatchRqKMeans),
    /// `distributed-rq-kmeans`.
    Distributed(&'a DistributedRqKMeans),
    /// `pq`, or `opq` with a rotation.
    Product(&'a ProductQuantization),
    /// `rq-vae`.
    RqVae(&'a RqVae),
    /// `rq-kmeans-plus`: an RQ-VAE that began from a codec.
    RqKMeansPlus(&'a RqVae),
    /// `imported`: another system trained it. What is known of how goes into the manifest as it stands; the seed is not known.
    Elsewhere(&'a Value),
}

impl TrainedBy<'_> {
    /// The method's name in a manifest.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::RqKMeans(_) => "rq-kmeans",
            Self::MiniBatch(_) => "minibatch-rq-kmeans",
            Self::Distributed(_) => "distributed-rq-kmeans",
            Self::Product(settings) if settings.rotation.is_some() => "opq",
            Self::Product(_) => "pq",
            Self::RqVae(_) => "rq-vae",
            Self::RqKMeansPlus(_) => "rq-kmeans-plus",
            Self::Elsewhere(_) => "imported",
        }
    }

    /// The seed among the settings; 0 where it is not known.
    #[must_use]
    pub fn seed(self) -> u64 {
        match self {
            Self::RqKMeans(settings) => settings.seed,
            Self::MiniBatch(settings) => settings.seed,
            Self::Distributed(settings) => settings.kmeans.seed,
            Self::Product(settings) => settings.seed,
            Self::RqVae(settings) | Self::RqKMeansPlus(settings) => settings.seed,
            Self::Elsewhere(_) => 0,
        }
    }

    /// The settings as a manifest has them.
    pub(super) fn settings(self) -> Result<Value> {
        fn of(settings: &impl Serialize) -> Result<Value> {
            serde_json::to_value(settings).map_err(|e| damaged(format!("cannot record settings: {e}")))
        }
        match self {
            Self::RqKMeans(settings) => of(settings),
            Self::MiniBatch(settings) => of(settings),
            // As of rows at hand, with one more.
            Self::Distributed(settings) => {
                let mut value = of(&settings.kmeans)?;
                if let Some(rows) = settings.sample_rows {
                    value["sample_rows"] = rows.into();
                }
                Ok(value)
            }
            Self::Product(settings) => of(settings),
            Self::RqVae(settings) | Self::RqKMeansPlus(settings) => of(settings),
            Self::Elsewhere(settings) => Ok(settings.clone()),
        }
    }
}
