//! What moves the parameters of a network, whatever it predicts: gradients, losses, the optimiser and its memory.

use super::settings::RecommenderSettings;
use crate::decoder::{Adam, AdamStep, DecoderShape, Moments, ParameterRun, mask_bits, mask_count};
use sememe::Result;
use sememe::compute::tensor::{TensorBackend, whole};

/// Buffers of a training.
pub(crate) struct Learner<B: TensorBackend> {
    /// The gradient of all parameters.
    pub grads: B::Tensor,
    /// The loss of each token.
    pub loss: B::Tensor,
    /// Dropout masks of a step.
    pub masks: B::Index,
    /// The sum of mean losses.
    sum: B::Tensor,
    adam: Adam<B>,
    runs: Vec<ParameterRun>,
}

impl<B: TensorBackend> Learner<B> {
    /// For `len` parameters and steps of up to `most` tokens, going on from `moments`.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(
        backend: &B,
        shape: &DecoderShape,
        len: usize,
        runs: Vec<ParameterRun>,
        most: usize,
        moments: &Moments,
    ) -> Result<Self> {
        Ok(Self {
            grads: backend.zeros("gradients", len)?,
            loss: backend.zeros("losses", most)?,
            masks: backend.index("dropout masks", mask_count(shape) * mask_bits(most, shape.dims) / 32)?,
            sum: backend.zeros("sum of losses", 1)?,
            adam: Adam::new(backend, moments)?,
            runs,
        })
    }

    /// Adds the mean loss of a step's `n` tokens to the sum.
    ///
    /// # Errors
    /// Device errors.
    pub fn add_loss(&mut self, backend: &B, n: usize) -> Result<()> {
        backend.total(n, false, 1.0 / n as f32, true, whole(&self.loss), &mut self.sum, 0)
    }

    /// One step at a learning rate; the other number counts steps, this one included.
    ///
    /// # Errors
    /// Device errors.
    pub fn update(
        &mut self,
        backend: &B,
        settings: &RecommenderSettings,
        (rate, time): (f64, u64),
        params: &mut B::Tensor,
    ) -> Result<()> {
        let RecommenderSettings { weight_decay, clip_norm, .. } = *settings;
        let step = AdamStep { rate, weight_decay, clip_norm, time };
        self.adam.step(backend, &step, &self.runs, &mut self.grads, params)
    }

    /// The sum of mean losses since the last call. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn take_loss(&mut self, backend: &B) -> Result<f64> {
        let mut out = [0.0f32];
        backend.read_tensor(&self.sum, 0, &mut out)?;
        backend.clear(&mut self.sum, 0, 1)?;
        Ok(f64::from(out[0]))
    }

    /// The optimiser's memory. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn read_moments(&self, backend: &B) -> Result<Moments> {
        self.adam.read(backend)
    }
}
