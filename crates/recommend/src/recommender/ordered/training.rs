//! A step of training with the loss at every code.

use super::batch::OrderedBatch;
use super::layout::OrderedLayout;
use super::model::{OrderedModel, TokenReader};
use crate::decoder::Moments;
use crate::decoder::{DecoderBuffers, DeviceSegments, DropoutMasks, LearnedParts, PackedTokens};
use crate::recommender::items::ItemSources;
use crate::recommender::learner::{Learner, UpdatePart};
use crate::recommender::settings::RecommenderSettings;
use sememe::compute::tensor::{Layout, Product, TensorBackend, from, whole};
use sememe::{Matrix, Result};
use std::sync::Arc;

/// Values of logits that are held at a time.
const LOGITS: usize = 1 << 22;

/// A model with all that its training needs.
pub(crate) struct OrderedTraining<B: TensorBackend> {
    pub model: OrderedModel<B>,
    pub learner: Learner<B>,
    reader: TokenReader<B>,
    buffers: DecoderBuffers<B>,
    tokens: PackedTokens<B>,
    /// Tokens by the level that they ask for, and back.
    order: B::Index,
    back: B::Index,
    targets: B::Index,
    /// Last tokens of items.
    ends: B::Index,
    /// Hidden values by level, and their gradient.
    hidden: B::Tensor,
    grad: B::Tensor,
    /// The gradient of mapped vectors.
    mapped: B::Tensor,
    logits: B::Tensor,
    of_codes: DeviceSegments<B>,
    of_places: DeviceSegments<B>,
}

impl<B: TensorBackend> OrderedTraining<B> {
    /// A network with parameters `params` for batches of up to `settings.batch_tokens` tokens.
    ///
    /// # Errors
    /// Sources that do not fit; device errors.
    pub fn new(
        backend: &Arc<B>,
        settings: &RecommenderSettings,
        sources: &ItemSources,
        vectors: Option<&Matrix>,
        params: &[f32],
        moments: &Moments,
    ) -> Result<Self> {
        let (shared, backend, most) = (backend, &**backend, settings.batch_tokens);
        let model = OrderedModel::new(shared, settings, sources, vectors, params, most)?;
        let (shape, layout, d) = (&model.shape, &model.layout, model.shape.dims);
        let widest = (0..layout.levels).map(|level| model.codes.codebook(level)).max().unwrap_or(1);
        let rows = (LOGITS / widest).clamp(1, most);
        let mapped = if layout.map.is_some() { (most / layout.levels + 1) * d } else { 0 };
        Ok(Self {
            learner: Learner::new(backend, shape, layout.len(), layout.runs(shape), settings, moments)?,
            reader: TokenReader::new(backend, layout, most)?,
            buffers: DecoderBuffers::new(backend, shape, most)?,
            tokens: PackedTokens::new(backend, most)?,
            order: backend.index("tokens by level", most)?,
            back: backend.index("tokens by level", most)?,
            targets: backend.index("targets", most)?,
            ends: backend.index("last tokens of items", most / layout.levels + 1)?,
            hidden: backend.zeros("values by level", most * d)?,
            grad: backend.zeros("values by level", most * d)?,
            mapped: backend.zeros("vectors of items", mapped)?,
            logits: backend.zeros("logits", rows * widest)?,
            of_codes: DeviceSegments::new(backend, most)?,
            of_places: DeviceSegments::new(backend, most)?,
            model,
        })
    }

    /// Losses and gradients of a batch, as a part of its update's.
    ///
    /// # Errors
    /// Device errors.
    pub fn gradients(
        &mut self,
        settings: &RecommenderSettings,
        batch: &OrderedBatch,
        masks: Option<&[u32]>,
        part: UpdatePart,
    ) -> Result<()> {
        let Self { model, learner, reader, buffers, tokens, .. } = self;
        let backend = &*model.backend;
        if let Some(words) = masks {
            backend.write_index(&mut learner.masks, 0, words)?;
        }
        tokens.place(backend, &batch.places)?;
        reader.read(model, &batch.inputs, &mut buffers.input)?;
        let scale = (1.0 / (1.0 - settings.dropout)) as f32;
        let dropout = DropoutMasks { bits: &learner.masks, first_bit: 0, scale };
        let dropout = masks.map(|_| &dropout);
        model.pass().forward(&model.params, tokens, dropout, buffers)?;
        self.output_gradients(settings, batch, part.tokens)?;
        let Self { model, learner, buffers, tokens, .. } = self;
        let dropout = DropoutMasks { bits: &learner.masks, first_bit: 0, scale };
        let dropout = masks.map(|_| &dropout);
        let mut learned = LearnedParts::All { grads: &mut learner.grads, accumulate: false };
        model.pass().backward(&model.params, tokens, dropout, buffers, &mut learned)?;
        self.input_gradients(batch)?;
        self.learner.add_gradients(&*self.model.backend, part)
    }

    /// Cross-entropy of every code within its level, some rows at a time: the gradient of the hidden values goes to `buffers.grad`, that of
    /// the codes' vectors to its place.
    fn output_gradients(&mut self, settings: &RecommenderSettings, batch: &OrderedBatch, tokens: usize) -> Result<()> {
        let (model, learner) = (&self.model, &mut self.learner);
        let (backend, precision, n, d) = (&*model.backend, model.precision, batch.order.len(), model.shape.dims);
        backend.write_index(&mut self.order, 0, &batch.order)?;
        backend.write_index(&mut self.back, 0, &batch.back)?;
        backend.write_index(&mut self.targets, 0, &batch.targets)?;
        backend.gather((n, d, n), whole(&self.buffers.hidden), whole(&self.order), false, &mut self.hidden, 0)?;
        let product = |layout, m, n, k, accumulate| Product { layout, m, n, k, alpha: 1.0, accumulate };
        for level in 0..model.layout.levels {
            let (k, at) = (model.codes.codebook(level), model.layout.codes + model.codes.first[level] * d);
            let (begin, end) = (batch.bounds[level], batch.bounds[level + 1]);
            if begin == end {
                backend.clear(&mut learner.grads, at, k * d)?;
            }
            let most = (LOGITS / k).max(1);
            for first in (begin..end).step_by(most) {
                let rows = most.min(end - first);
                let (hidden, table) = (from(&self.hidden, first * d), from(&model.params, at));
                let forward = product(Layout::Nt, rows, k, d, false);
                backend.matmul(&forward, precision, hidden, table, &mut self.logits, 0)?;
                let (scale, smoothing) = (1.0 / tokens as f32, settings.smoothing as f32);
                let targets = from(&self.targets, first);
                let (logits, loss) = (&mut self.logits, &mut learner.loss);
                backend.cross_entropy((rows, k), scale, smoothing, targets, logits, loss, first)?;
                let to_hidden = product(Layout::Nn, rows, d, k, false);
                backend.matmul(&to_hidden, precision, whole(&self.logits), table, &mut self.grad, first * d)?;
                let to_table = product(Layout::Tn, k, d, rows, first > begin);
                backend.matmul(&to_table, precision, whole(&self.logits), hidden, &mut learner.grads, at)?;
            }
        }
        backend.gather((n, d, n), whole(&self.grad), whole(&self.back), false, &mut self.buffers.grad, 0)?;
        learner.add_loss(backend, n, tokens)
    }

    /// From the gradient of the tokens' vectors, in `buffers.grad`, to those of codes, places and map.
    fn input_gradients(&mut self, batch: &OrderedBatch) -> Result<()> {
        let (model, grads, grad) = (&self.model, &mut self.learner.grads, &self.buffers.grad);
        let (backend, n, d) = (&*model.backend, batch.order.len(), model.shape.dims);
        let OrderedLayout { codes, places, tokens, levels, map, .. } = model.layout;
        self.of_codes.sort(backend, &batch.inputs.tokens, tokens)?;
        backend.scatter_rows((n, d, tokens), 1.0, &self.of_codes.get(), grad, grads, codes)?;
        self.of_places.sort(backend, &batch.inputs.levels, levels)?;
        backend.clear(grads, places, levels * d)?;
        backend.scatter_rows((n, d, levels), 1.0, &self.of_places.get(), grad, grads, places)?;
        let Some((at, t)) = map else { return Ok(()) };
        let m = batch.inputs.items.len();
        if m == 0 {
            return backend.clear(grads, at, d * t);
        }
        backend.write_index(&mut self.ends, 0, &batch.inputs.ends)?;
        backend.gather((m, d, n), whole(grad), whole(&self.ends), false, &mut self.mapped, 0)?;
        let product = Product { layout: Layout::Tn, m: d, n: t, k: m, alpha: 1.0, accumulate: false };
        backend.matmul(&product, model.precision, whole(&self.mapped), whole(&self.reader.vectors), grads, at)
    }

    /// Moves the parameters by the last gradients.
    ///
    /// # Errors
    /// Device errors.
    pub fn update(&mut self, settings: &RecommenderSettings, at: (f64, u64)) -> Result<()> {
        self.learner.update(&*self.model.backend, settings, at, &mut self.model.params)
    }

    /// The logits of what each token asks for, without dropout, by a full pass.
    #[cfg(test)]
    pub fn logits(&mut self, settings: &RecommenderSettings, batch: &OrderedBatch) -> Vec<Vec<f32>> {
        let part = UpdatePart { tokens: batch.order.len(), first: true, last: true };
        self.gradients(settings, batch, None, part).expect("a pass");
        let (model, d) = (&self.model, self.model.shape.dims);
        let mut hidden = vec![0.0; batch.order.len() * d];
        model.backend.read_tensor(&self.buffers.hidden, 0, &mut hidden).expect("read");
        let mut params = vec![0.0; model.layout.len()];
        model.backend.read_tensor(&model.params, 0, &mut params).expect("read");
        let of = |token: usize| {
            let place = batch.back[token] as usize;
            let level = batch.bounds.partition_point(|bound| *bound <= place) - 1;
            let at = model.layout.codes + model.codes.first[level] * d;
            let table = params[at..at + model.codes.codebook(level) * d].chunks_exact(d);
            let hidden = &hidden[token * d..][..d];
            let dot = |c: &[f32]| c.iter().zip(hidden).map(|(c, h)| f64::from(*c) * f64::from(*h)).sum::<f64>() as f32;
            table.map(dot).collect()
        };
        (0..batch.order.len()).map(of).collect()
    }
}
