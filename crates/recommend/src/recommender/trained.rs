//! Networks as a training sees them, whatever they predict.

use super::items::ItemSources;
use super::learner::UpdatePart;
use super::measure::{RankingRequest, measure};
use super::network::{Network, NetworkLayout, TrainingBatch};
use super::ordered;
use super::settings::{Prediction, RecommenderSettings};
use crate::decoder::{DecoderShape, Moments};
use sememe::Result;
use sememe::compute::tensor::TensorBackend;
use sememe::eval::RankingMeasures;
use sememe::progress::Observer;

/// A network that learns from pieces of histories and is looked at between epochs.
pub(crate) trait TrainedNetwork: Send {
    /// One batch of an update, of pieces that have each one item more than steps: losses, gradients, and, after the last batch, the update:
    /// `at` a learning rate, as the update of a number, counted from 1. Nothing waits for the device.
    ///
    /// # Errors
    /// Device errors.
    fn step(
        &mut self,
        settings: &RecommenderSettings,
        pieces: &[&[u32]],
        masks: Option<&[u32]>,
        part: UpdatePart,
        at: (f64, u64),
    ) -> Result<()>;

    /// The sum of mean losses since the last call. Waits for the device, as all that follows.
    ///
    /// # Errors
    /// Device errors.
    fn take_loss(&mut self) -> Result<f64>;

    /// Parameters as they are now.
    ///
    /// # Errors
    /// Device errors.
    fn read_params(&self) -> Result<Vec<f32>>;

    /// The optimiser's memory.
    ///
    /// # Errors
    /// Device errors.
    fn read_moments(&self) -> Result<Moments>;

    /// Where the right items stand with the parameters as they are now.
    ///
    /// # Errors
    /// Device errors; a wish to stop.
    fn measure(
        &mut self,
        settings: &RecommenderSettings,
        asked: &RankingRequest<'_>,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures>;
}

impl<B: TensorBackend> TrainedNetwork for Network<B> {
    fn step(
        &mut self,
        settings: &RecommenderSettings,
        pieces: &[&[u32]],
        masks: Option<&[u32]>,
        part: UpdatePart,
        at: (f64, u64),
    ) -> Result<()> {
        Network::step(self, settings, &TrainingBatch::of(pieces), masks, part, at)
    }

    fn take_loss(&mut self) -> Result<f64> {
        Network::take_loss(self)
    }

    fn read_params(&self) -> Result<Vec<f32>> {
        Network::read_params(self)
    }

    fn read_moments(&self) -> Result<Moments> {
        Network::read_moments(self)
    }

    fn measure(
        &mut self,
        settings: &RecommenderSettings,
        asked: &RankingRequest<'_>,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures> {
        self.compose()?;
        let items = self.items();
        measure(self, items, settings.hold_out.items(), asked, observer)
    }
}

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
            Prediction::Items => {
                let shape = settings.shape();
                let len = NetworkLayout::new(&shape, sources).len();
                Ok(Self { len, shape, tokens_an_item: 1 })
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
            Prediction::Items => Ok(NetworkLayout::new(&settings.shape(), sources).initialise(settings)),
            Prediction::Ordered => {
                let shape = ordered::shape(settings, sources)?;
                Ok(ordered::OrderedLayout::new(settings, sources)?.initialise(settings, &shape))
            }
        }
    }
}
