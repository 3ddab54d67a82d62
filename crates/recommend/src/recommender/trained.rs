//! Networks as a training sees them, whatever they predict.

use super::learner::UpdatePart;
use super::measure::{RankingRequest, measure};
use super::network::{Network, TrainingBatch};
use super::settings::RecommenderSettings;
use crate::decoder::Moments;
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
