//! Which network a recommender's settings describe.

use super::items::ItemSources;
use super::network::NetworkLayout;
use super::ordered;
use super::settings::{Prediction, RecommenderSettings};
use crate::decoder::DecoderShape;
use sememe::Result;

/// What a recommender's parameters are, as its settings and sources have it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkPlan {
    /// How many parameters there are.
    pub len: usize,
    /// The decoder.
    pub shape: DecoderShape,
    /// Tokens that an item is read as.
    pub tokens_an_item: usize,
}

impl NetworkPlan {
    /// Sizes of the network that the settings describe over these items.
    ///
    /// # Errors
    /// [`sememe::Error::Config`] for sources that the prediction has no use for, or lacks.
    pub fn new(settings: &RecommenderSettings, sources: &ItemSources) -> Result<Self> {
        match settings.prediction {
            Prediction::Items | Prediction::Levels => {
                let len = NetworkLayout::new(settings, sources)?.len();
                Ok(Self { len, shape: settings.shape(), tokens_an_item: 1 })
            }
            Prediction::Ordered => {
                let layout = ordered::OrderedLayout::new(settings, sources)?;
                let shape = ordered::shape(settings, sources)?;
                Ok(Self { len: layout.len(), shape, tokens_an_item: layout.levels })
            }
        }
    }

    /// Parameters at the start of a training.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn initialise(settings: &RecommenderSettings, sources: &ItemSources) -> Result<Vec<f32>> {
        match settings.prediction {
            Prediction::Items | Prediction::Levels => Ok(NetworkLayout::new(settings, sources)?.initialise(settings)),
            Prediction::Ordered => {
                let shape = ordered::shape(settings, sources)?;
                Ok(ordered::OrderedLayout::new(settings, sources)?.initialise(settings, &shape))
            }
        }
    }
}
