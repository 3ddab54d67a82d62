//! What moves the parameters of a network, whatever it predicts: gradients, losses, the optimiser and its memory.

use super::settings::RecommenderSettings;
use crate::decoder::{Adam, AdamStep, DecoderShape, Moments, ParameterRun, mask_bits, mask_count};
use sememe::Result;
use sememe::compute::tensor::{TensorBackend, whole};

/// What a batch is of the update that learns from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpdatePart {
    /// Tokens of all its batches together: each token counts alike.
    pub tokens: usize,
    pub first: bool,
    pub last: bool,
}

/// Buffers of a training.
pub(crate) struct Learner<B: TensorBackend> {
    /// The gradient of all parameters.
    pub grads: B::Tensor,
    /// Their sum over the batches of an update, if it has several.
    total: Option<B::Tensor>,
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
    /// For `len` parameters and batches of up to `settings.batch_tokens` tokens, going on from `moments`.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(
        backend: &B,
        shape: &DecoderShape,
        len: usize,
        runs: Vec<ParameterRun>,
        settings: &RecommenderSettings,
        moments: &Moments,
    ) -> Result<Self> {
        let most = settings.batch_tokens;
        Ok(Self {
            grads: backend.zeros("gradients", len)?,
            total: (settings.accumulate > 1).then(|| backend.zeros("gradients", len)).transpose()?,
            loss: backend.zeros("losses", most)?,
            masks: backend.index("dropout masks", mask_count(shape) * mask_bits(most, shape.dims) / 32)?,
            sum: backend.zeros("sum of losses", 1)?,
            adam: Adam::new(backend, moments)?,
            runs,
        })
    }

    /// Adds the losses of a batch's `n` tokens to the sum, as a part of the mean over its update's `tokens`.
    ///
    /// # Errors
    /// Device errors.
    pub fn add_loss(&mut self, backend: &B, n: usize, tokens: usize) -> Result<()> {
        backend.total(n, false, 1.0 / tokens as f32, true, whole(&self.loss), &mut self.sum, 0)
    }

    /// Adds the gradients of a batch to those of its update.
    ///
    /// # Errors
    /// Device errors.
    pub fn add_gradients(&mut self, backend: &B, part: UpdatePart) -> Result<()> {
        match &mut self.total {
            Some(total) => {
                let kept = if part.first { 0.0 } else { 1.0 };
                backend.combine(backend.tensor_len(&self.grads), 1.0, whole(&self.grads), kept, total, 0)
            }
            None => Ok(()),
        }
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
        let grads = self.total.as_mut().unwrap_or(&mut self.grads);
        self.adam.step(backend, &step, &self.runs, grads, params)
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
