//! A language model on a device: logits of tokens, and the gradients and steps of fine-tuning.

use super::shape::{LanguageLayout, LanguageShape};
use super::tuned::{TunedParts, TuningStart};
use crate::decoder::{AdamStep, DecoderBuffers, DecoderPass, DeviceSegments, Moments, PackedPlaces, PackedTokens};
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};
use sememe::{Error, Result};

/// Values of logits that are held at a time: a large vocabulary is never written for a whole batch.
const LOGITS: usize = 1 << 24;

/// Sequences of one pass, packed, and the tokens that are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TokenBatch {
    pub places: PackedPlaces,
    pub tokens: Vec<u32>,
    /// Places of tokens whose next one is asked for, ascending.
    pub asked: Vec<u32>,
    /// What follows each of them; not read where only logits are wanted.
    pub targets: Vec<u32>,
}

/// The model with all its buffers.
pub(crate) struct LanguageNetwork<'a, B: TensorBackend> {
    backend: &'a B,
    shape: LanguageShape,
    layout: LanguageLayout,
    precision: Precision,
    params: B::Tensor,
    angles: B::Tensor,
    /// How many positions they are of.
    positions: usize,
    buffers: DecoderBuffers<B>,
    placed: PackedTokens<B>,
    tokens: B::Index,
    asked: B::Index,
    /// Hidden values of the tokens that are asked about.
    picked: B::Tensor,
    logits: B::Tensor,
    logits_rows: usize,
    training: Option<TuningBuffers<B>>,
}

/// What only fine-tuning needs.
struct TuningBuffers<B: TensorBackend> {
    tuned: TunedParts<B>,
    targets: B::Index,
    inputs: DeviceSegments<B>,
    back: DeviceSegments<B>,
    picked_grad: B::Tensor,
    loss: B::Tensor,
    /// The sum of losses.
    sum: B::Tensor,
}

impl<'a, B: TensorBackend> LanguageNetwork<'a, B> {
    /// A network of these parameters, for batches of up to `most` tokens.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(
        backend: &'a B,
        shape: &LanguageShape,
        precision: Precision,
        params: &[f32],
        most: usize,
        tuning: Option<&TuningStart<'_>>,
    ) -> Result<Self> {
        let (layout, d, vocabulary) = (LanguageLayout::new(shape), shape.decoder.dims, shape.vocabulary);
        let mut held = backend.zeros("parameters", layout.end)?;
        backend.write_tensor(&mut held, 0, params)?;
        // No sequence is longer than a batch.
        let positions = shape.decoder.positions.min(most);
        let mut angles = backend.zeros("angles", positions * shape.decoder.head_dims)?;
        backend.write_tensor(&mut angles, 0, &shape.decoder.angles(positions))?;
        let logits_rows = (LOGITS / vocabulary.max(1)).clamp(1, most);
        let training = match tuning {
            Some(start) => Some(TuningBuffers {
                tuned: TunedParts::new(backend, shape, start, &mut held, most)?,
                targets: backend.index("targets", most)?,
                inputs: DeviceSegments::new(backend, most)?,
                back: DeviceSegments::new(backend, most)?,
                picked_grad: backend.zeros("gradients of hidden values", most * d)?,
                loss: backend.zeros("losses", most)?,
                sum: backend.zeros("sum of losses", 1)?,
            }),
            None => None,
        };
        Ok(Self {
            backend,
            precision,
            params: held,
            angles,
            positions,
            buffers: DecoderBuffers::new(backend, &shape.decoder, most)?,
            placed: PackedTokens::new(backend, most)?,
            tokens: backend.index("tokens", most)?,
            asked: backend.index("tokens that are asked about", most)?,
            picked: backend.zeros("hidden values", most * d)?,
            logits: backend.zeros("logits", logits_rows * vocabulary)?,
            logits_rows,
            training,
            shape: shape.clone(),
            layout,
        })
    }

    /// Runs a batch through the decoder, and picks the hidden values of what is asked about.
    fn forward(&mut self, batch: &TokenBatch) -> Result<()> {
        let (backend, n, d) = (self.backend, batch.tokens.len(), self.shape.decoder.dims);
        if let Some(last) = batch.places.positions.iter().max().filter(|p| **p as usize >= self.positions) {
            let problem = format!("a sequence of {} tokens, the model reads {} at most", last + 1, self.positions);
            return Err(Error::Data(problem));
        }
        self.placed.place(backend, &batch.places)?;
        backend.write_index(&mut self.tokens, 0, &batch.tokens)?;
        backend.write_index(&mut self.asked, 0, &batch.asked)?;
        let table = from(&self.params, self.layout.embedding);
        let vocabulary = self.shape.vocabulary;
        backend.gather((n, d, vocabulary), table, whole(&self.tokens), false, &mut self.buffers.input, 0)?;
        let pass = DecoderPass {
            backend,
            shape: &self.shape.decoder,
            layout: &self.layout.decoder,
            precision: self.precision,
            angles: (&self.angles, self.positions),
        };
        pass.forward(&self.params, &self.placed, None, &mut self.buffers)?;
        let (hidden, asked) = (whole(&self.buffers.hidden), whole(&self.asked));
        backend.gather((batch.asked.len(), d, n), hidden, asked, false, &mut self.picked, 0)
    }

    /// Writes the logits of `rows` tokens that are asked about, from `first` on.
    fn output(&mut self, first: usize, rows: usize, precision: Precision) -> Result<()> {
        let (d, vocabulary) = (self.shape.decoder.dims, self.shape.vocabulary);
        let product = Product { layout: Layout::Nt, m: rows, n: vocabulary, k: d, alpha: 1.0, accumulate: false };
        let (picked, table) = (from(&self.picked, first * d), from(&self.params, self.layout.output));
        self.backend.matmul(&product, precision, picked, table, &mut self.logits, 0)
    }

    /// Logits `[asked, vocabulary]` of a batch: `sink(number of the first, logits)`, some rows at a time.
    ///
    /// # Errors
    /// [`Error::Data`] for a sequence longer than the model reads; device errors; what `sink` returns.
    pub fn logits(&mut self, batch: &TokenBatch, sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        self.forward(batch)?;
        for first in (0..batch.asked.len()).step_by(self.logits_rows) {
            let rows = self.logits_rows.min(batch.asked.len() - first);
            self.output(first, rows, Precision::F32)?;
            let mut out = vec![0.0; rows * self.shape.vocabulary];
            self.backend.read_tensor(&self.logits, 0, &mut out)?;
            sink(first, &out)?;
        }
        Ok(())
    }

    /// Adds the losses of a batch to the sum that [`take_loss`](Self::take_loss) gives, without learning from it.
    ///
    /// # Errors
    /// As for [`logits`](Self::logits).
    pub fn measure(&mut self, batch: &TokenBatch) -> Result<()> {
        self.forward(batch)?;
        self.losses(batch, 1.0, None)
    }

    /// Losses and gradients of a batch; `asked` is how many tokens the whole update asks about, and gradients are added to those of
    /// the update's batches before it, if there were any. Nothing waits for the device.
    ///
    /// # Errors
    /// As for [`logits`](Self::logits).
    pub fn gradients(&mut self, batch: &TokenBatch, asked: usize, accumulate: bool) -> Result<()> {
        let (backend, n, d) = (self.backend, batch.tokens.len(), self.shape.decoder.dims);
        self.forward(batch)?;
        self.losses(batch, 1.0 / asked.max(1) as f32, Some(accumulate))?;
        let Some(TuningBuffers { tuned, inputs, back, picked_grad, .. }) = &mut self.training else { return Ok(()) };
        back.sort(backend, &batch.asked, n)?;
        backend.clear(&mut self.buffers.grad, 0, n * d)?;
        let shape = (batch.asked.len(), d, n);
        backend.scatter_rows(shape, 1.0, &back.get(), picked_grad, &mut self.buffers.grad, 0)?;
        let pass = DecoderPass {
            backend,
            shape: &self.shape.decoder,
            layout: &self.layout.decoder,
            precision: self.precision,
            angles: (&self.angles, self.positions),
        };
        pass.backward(&self.params, &self.placed, None, &mut self.buffers, &mut tuned.learned(accumulate))?;
        tuned.input_gradient(backend, &batch.tokens, inputs, &self.buffers.grad)
    }

    /// Cross-entropy of what is asked for; with `learn`, the gradient of the picked hidden values, and that of the output's table,
    /// added to what there is if `learn` says so.
    fn losses(&mut self, batch: &TokenBatch, scale: f32, learn: Option<bool>) -> Result<()> {
        let (backend, asked) = (self.backend, batch.asked.len());
        let (d, vocabulary) = (self.shape.decoder.dims, self.shape.vocabulary);
        if let Some(training) = &mut self.training {
            backend.write_index(&mut training.targets, 0, &batch.targets)?;
        }
        for first in (0..asked).step_by(self.logits_rows) {
            let rows = self.logits_rows.min(asked - first);
            self.output(first, rows, self.precision)?;
            let Some(training) = &mut self.training else { return Ok(()) };
            let (targets, logits) = (from(&training.targets, first), &mut self.logits);
            backend.cross_entropy((rows, vocabulary), scale, 0.0, targets, logits, &mut training.loss, first)?;
            if let Some(accumulate) = learn {
                let product = |layout, m, n, k| Product { layout, m, n, k, alpha: 1.0, accumulate: false };
                let (logits, table) = (whole(&self.logits), from(&self.params, self.layout.output));
                let to_hidden = product(Layout::Nn, rows, d, vocabulary);
                backend.matmul(&to_hidden, self.precision, logits, table, &mut training.picked_grad, first * d)?;
                let picked = from(&self.picked, first * d);
                let accumulate = accumulate || first > 0;
                training.tuned.output_gradient(backend, self.precision, rows, logits, picked, accumulate)?;
            }
        }
        let Some(training) = &mut self.training else { return Ok(()) };
        backend.total(asked, false, 1.0, true, whole(&training.loss), &mut training.sum, 0)
    }

    /// Moves what is learned.
    ///
    /// # Errors
    /// Device errors.
    pub fn update(&mut self, step: &AdamStep) -> Result<()> {
        match &mut self.training {
            Some(training) => training.tuned.update(self.backend, step, &mut self.params),
            None => Ok(()),
        }
    }

    /// The sum of losses since the last call. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn take_loss(&mut self) -> Result<f64> {
        let Some(training) = &mut self.training else { return Ok(0.0) };
        let mut out = [0.0f32];
        self.backend.read_tensor(&training.sum, 0, &mut out)?;
        self.backend.clear(&mut training.sum, 0, 1)?;
        Ok(f64::from(out[0]))
    }

    /// The squared L2 norm of the last update's gradient. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn squared_norm(&self) -> Result<f64> {
        self.training.as_ref().map_or(Ok(0.0), |t| t.tuned.squared_norm(self.backend))
    }

    /// The model's parameters as they are now, changes included.
    ///
    /// # Errors
    /// Device errors.
    pub fn read_params(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.layout.end];
        self.backend.read_tensor(&self.params, 0, &mut out)?;
        Ok(out)
    }

    /// What is learned, and the optimiser's memory of it.
    ///
    /// # Errors
    /// Device errors.
    pub fn read_trained(&self) -> Result<(Vec<f32>, Moments)> {
        match &self.training {
            Some(training) => training.tuned.read(self.backend, &self.params),
            None => Ok((Vec::new(), Moments::default())),
        }
    }

    /// The gradient of what is learned.
    #[cfg(test)]
    pub fn read_grads(&self) -> Result<Vec<f32>> {
        self.training.as_ref().map_or_else(|| Ok(Vec::new()), |t| t.tuned.read_grads(self.backend))
    }
}
