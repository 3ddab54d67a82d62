//! A recommender's network on a device: parameters, one training step, and answers to histories.

use super::items::{ItemLayout, ItemSources, ItemTable};
use super::learner::UpdatePart;
use super::levels::{self, HeadGradients, HeadLayout, HeadStep, LevelHeads};
use super::settings::{Prediction, RecommenderSettings};
use crate::decoder::{
    Adam, AdamStep, DecoderBuffers, DecoderLayout, DecoderPass, DecoderShape, DeviceSegments, DropoutMasks,
    LearnedParts, Moments, PackedPlaces, PackedTokens, ParameterRun, mask_bits, mask_count,
};
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};
use sememe::rng::stream;
use sememe::{Matrix, Result};
use std::sync::Arc;

/// Values of logits that are held at a time: scores of all items are never written for a whole batch.
const LOGITS: usize = 1 << 22;

/// Places of all parameters in one tensor: the decoder's, then the items', then those of output heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkLayout {
    pub decoder: DecoderLayout,
    pub items: ItemLayout,
    /// With one head a level.
    pub heads: Option<HeadLayout>,
}

impl NetworkLayout {
    /// Of items with these sources.
    ///
    /// # Errors
    /// [`sememe::Error::Config`] for sources that the prediction lacks.
    pub fn new(settings: &RecommenderSettings, sources: &ItemSources) -> Result<Self> {
        let decoder = DecoderLayout::new(&settings.shape(), 0);
        let items = ItemLayout::new(sources, settings.dims, decoder.end);
        let heads = match settings.prediction {
            Prediction::Levels => Some(HeadLayout::new(&items, levels::codes(sources)?.levels())),
            Prediction::Items | Prediction::Ordered => None,
        };
        Ok(Self { decoder, items, heads })
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.heads.as_ref().map_or(self.items.end, |heads| heads.end)
    }

    /// Parameters at the start of a training.
    pub fn initialise(&self, settings: &RecommenderSettings) -> Vec<f32> {
        let mut params = vec![0.0; self.len()];
        let mut random = stream(settings.seed, "recommend.init", 0);
        self.decoder.initialise(&settings.shape(), &mut random, &mut params);
        // Heads begin at 0, where they change nothing.
        self.items.initialise(settings.item_deviation, &mut random, &mut params);
        params
    }

    /// Runs of parameters, ascending, without gaps, and whether they are matrices, which decay.
    fn runs(&self, shape: &DecoderShape) -> Vec<ParameterRun> {
        let mut matrices = self.decoder.decaying(shape);
        matrices.extend(self.items.map.map(|(at, t)| (at, self.items.dims * t)));
        matrices.extend(self.heads.as_ref().map(|heads| (heads.maps, heads.len())));
        ParameterRun::split(&matrices, self.len())
    }
}

/// Histories of one step, packed.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrainingBatch {
    pub places: PackedPlaces,
    pub inputs: Vec<u32>,
    /// The item that follows each input.
    pub targets: Vec<u32>,
}

impl TrainingBatch {
    /// Packs pieces: each item but the last asks for the one after it.
    pub fn of(pieces: &[&[u32]]) -> Self {
        let inputs = pieces.iter().flat_map(|p| &p[..p.len() - 1]).copied().collect();
        let targets = pieces.iter().flat_map(|p| &p[1..]).copied().collect();
        Self { places: PackedPlaces::of(pieces.iter().map(|p| p.len() - 1)), inputs, targets }
    }
}

/// The network on a device with all its buffers.
pub(crate) struct Network<B: TensorBackend> {
    pub(super) backend: Arc<B>,
    pub(super) shape: DecoderShape,
    pub(super) layout: NetworkLayout,
    runs: Vec<ParameterRun>,
    precision: Precision,
    pub params: B::Tensor,
    pub table: ItemTable<B>,
    pub(super) heads: Option<LevelHeads<B>>,
    angles: B::Tensor,
    /// How many positions they are of: the most items of a history that are read.
    pub(super) positions: usize,
    /// The most tokens of a batch.
    pub(super) most: usize,
    pub(super) buffers: DecoderBuffers<B>,
    pub(super) tokens: PackedTokens<B>,
    pub(super) inputs: B::Index,
    /// Room for `logits_rows` rows of scores of all items, and so many values.
    pub(super) logits: B::Tensor,
    pub(super) logits_rows: usize,
    logits_len: usize,
    training: Option<TrainingBuffers<B>>,
}

/// What only training needs.
struct TrainingBuffers<B: TensorBackend> {
    grads: B::Tensor,
    /// Their sum over the batches of an update, if it has several.
    total: Option<B::Tensor>,
    adam: Adam<B>,
    targets: B::Index,
    segments: DeviceSegments<B>,
    loss: B::Tensor,
    /// The sum of losses.
    sum: B::Tensor,
    masks: B::Index,
}

impl<B: TensorBackend> Network<B> {
    /// A network with parameters `params`, for batches of up to `most` tokens.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(
        backend: &Arc<B>,
        settings: &RecommenderSettings,
        sources: &ItemSources,
        vectors: Option<&Matrix>,
        params: &[f32],
        most: usize,
        train: Option<&Moments>,
    ) -> Result<Self> {
        let (shared, backend) = (backend, &**backend);
        let shape = settings.shape();
        let layout = NetworkLayout::new(settings, sources)?;
        let mut held = backend.zeros("parameters", layout.len())?;
        backend.write_tensor(&mut held, 0, params)?;
        // No sequence is longer than a batch.
        let positions = shape.positions.min(most);
        let mut angles = backend.zeros("angles", positions * shape.head_dims)?;
        backend.write_tensor(&mut angles, 0, &shape.angles(positions))?;
        let widest = layout.heads.as_ref().map_or(1, HeadLayout::widest);
        let row = layout.heads.as_ref().map_or(0, |heads| heads.levels() * widest).max(sources.items);
        let logits_rows = (LOGITS / row.max(1)).clamp(1, most);
        let logits_len = (logits_rows * sources.items).max(widest);
        let heads = match (&layout.heads, &sources.codes) {
            (Some(heads), Some(codes)) => {
                let tokens = if train.is_some() { most } else { 0 };
                Some(LevelHeads::new(backend, codes, heads.clone(), tokens, logits_rows)?)
            }
            _ => None,
        };
        let training = match train {
            Some(moments) => Some(TrainingBuffers {
                grads: backend.zeros("gradients", layout.len())?,
                total: (settings.accumulate > 1).then(|| backend.zeros("gradients", layout.len())).transpose()?,
                adam: Adam::new(backend, moments)?,
                targets: backend.index("targets", most)?,
                segments: DeviceSegments::new(backend, most)?,
                loss: backend.zeros("losses", most)?,
                sum: backend.zeros("sum of losses", 1)?,
                masks: backend.index("dropout masks", mask_count(&shape) * mask_bits(most, shape.dims) / 32)?,
            }),
            None => None,
        };
        let mut made = Self {
            backend: Arc::clone(shared),
            runs: layout.runs(&shape),
            precision: settings.precision,
            params: held,
            table: ItemTable::new(backend, sources, vectors, layout.items.clone())?,
            heads,
            angles,
            positions,
            most,
            buffers: DecoderBuffers::new(backend, &shape, most)?,
            tokens: PackedTokens::new(backend, most)?,
            inputs: backend.index("items of histories", most)?,
            logits: backend.zeros("scores", logits_len)?,
            logits_rows,
            logits_len,
            training,
            shape,
            layout,
        };
        made.compose()?;
        Ok(made)
    }

    /// How many items it ranks.
    pub fn items(&self) -> usize {
        self.layout.items.items
    }

    /// The item table from the parameters as they are now.
    pub fn compose(&mut self) -> Result<()> {
        self.table.compose(&*self.backend, self.precision, &self.params)
    }

    /// Reads histories' items into `buffers.input`.
    pub fn read_items(&mut self, places: &PackedPlaces, inputs: &[u32]) -> Result<()> {
        let (backend, n, d) = (&*self.backend, places.tokens(), self.shape.dims);
        self.tokens.place(backend, places)?;
        backend.write_index(&mut self.inputs, 0, inputs)?;
        let table = (n, d, self.layout.items.items);
        backend.gather(table, whole(&self.table.table), whole(&self.inputs), false, &mut self.buffers.input, 0)
    }

    /// Runs the decoder over what was read; its output is in `buffers.hidden`.
    pub fn decode(&mut self, keep: Option<f64>) -> Result<()> {
        let backend = &*self.backend;
        let masks = self.training.as_ref().zip(keep).map(|(t, keep)| Self::masks(&t.masks, keep));
        let pass = DecoderPass {
            backend,
            shape: &self.shape,
            layout: &self.layout.decoder,
            precision: self.precision,
            angles: (&self.angles, self.positions),
        };
        pass.forward(&self.params, &self.tokens, masks.as_ref(), &mut self.buffers)
    }

    fn masks(bits: &B::Index, keep: f64) -> DropoutMasks<'_, B> {
        DropoutMasks { bits, first_bit: 0, scale: (1.0 / keep) as f32 }
    }

    /// One batch of an update: losses, gradients, and, after the last batch, the update at the learning rate `rate`; `time` counts
    /// updates, this one included. Nothing waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn step(
        &mut self,
        settings: &RecommenderSettings,
        batch: &TrainingBatch,
        masks: Option<&[u32]>,
        part: UpdatePart,
        (rate, time): (f64, u64),
    ) -> Result<()> {
        self.gradients(settings, batch, masks, part)?;
        if part.last { self.update(settings, rate, time) } else { Ok(()) }
    }

    /// Losses and gradients of a batch, as a part of its update's.
    pub fn gradients(
        &mut self,
        settings: &RecommenderSettings,
        batch: &TrainingBatch,
        masks: Option<&[u32]>,
        part: UpdatePart,
    ) -> Result<()> {
        let (n, items) = (batch.places.tokens(), self.layout.items.items);
        let keep = masks.map(|_| 1.0 - settings.dropout);
        self.compose()?;
        let backend = &*self.backend;
        if let Some(training) = &mut self.training {
            if let Some(words) = masks {
                backend.write_index(&mut training.masks, 0, words)?;
            }
            backend.write_index(&mut training.targets, 0, &batch.targets)?;
            training.segments.sort(backend, &batch.inputs, items)?;
        }
        self.read_items(&batch.places, &batch.inputs)?;
        self.decode(keep)?;
        if self.heads.is_some() {
            self.head_gradients(settings, &batch.targets, part.tokens)?;
        } else {
            self.output_gradients(settings, n, part.tokens)?;
        }
        let backend = &*self.backend;
        let Some(training) = &mut self.training else { return Ok(()) };
        let masks = keep.map(|keep| Self::masks(&training.masks, keep));
        let pass = DecoderPass {
            backend,
            shape: &self.shape,
            layout: &self.layout.decoder,
            precision: self.precision,
            angles: (&self.angles, self.positions),
        };
        let mut learned = LearnedParts::All { grads: &mut training.grads, accumulate: false };
        pass.backward(&self.params, &self.tokens, masks.as_ref(), &mut self.buffers, &mut learned)?;
        let (d, grad) = (self.shape.dims, &self.buffers.grad);
        backend.scatter_rows((n, d, items), 1.0, &training.segments.get(), grad, &mut self.table.grad, 0)?;
        self.table.decompose(backend, self.precision, &mut training.grads)?;
        if let Some(heads) = &self.heads {
            heads.add_vectors(backend, &mut training.grads)?;
        }
        match &mut training.total {
            Some(total) => {
                let kept = if part.first { 0.0 } else { 1.0 };
                backend.combine(self.layout.len(), 1.0, whole(&training.grads), kept, total, 0)
            }
            None => Ok(()),
        }
    }

    /// Cross-entropy of every level's codes, as a mean over `tokens` tokens; the items' table is only read then.
    fn head_gradients(&mut self, settings: &RecommenderSettings, targets: &[u32], tokens: usize) -> Result<()> {
        let (backend, n, len) = (&*self.backend, targets.len(), self.layout.items.items * self.shape.dims);
        let (Some(training), Some(heads)) = (&mut self.training, &mut self.heads) else { return Ok(()) };
        backend.clear(&mut self.table.grad, 0, len)?;
        let step = HeadStep {
            backend,
            precision: self.precision,
            smoothing: settings.smoothing as f32,
            params: &self.params,
            hidden: (&self.buffers.hidden, n),
            targets,
            tokens,
        };
        let mut into = HeadGradients {
            logits: (&mut self.logits, self.logits_len),
            hidden: &mut self.buffers.grad,
            params: &mut training.grads,
            loss: &mut training.loss,
            sum: &mut training.sum,
        };
        heads.gradients(&step, &mut into)
    }

    /// Cross-entropy over all items, some rows at a time, as a mean over `tokens` tokens: the gradient of the hidden values goes to
    /// `buffers.grad`, that of the table to `table.grad`.
    fn output_gradients(&mut self, settings: &RecommenderSettings, n: usize, tokens: usize) -> Result<()> {
        let (backend, d, items) = (&*self.backend, self.shape.dims, self.layout.items.items);
        let Some(training) = &mut self.training else { return Ok(()) };
        let product = |layout, m, n, k, accumulate| Product { layout, m, n, k, alpha: 1.0, accumulate };
        for first in (0..n).step_by(self.logits_rows) {
            let rows = self.logits_rows.min(n - first);
            let (hidden, table) = (from(&self.buffers.hidden, first * d), whole(&self.table.table));
            let forward = product(Layout::Nt, rows, items, d, false);
            backend.matmul(&forward, self.precision, hidden, table, &mut self.logits, 0)?;
            let (scale, targets) = (1.0 / tokens as f32, from(&training.targets, first));
            let (logits, loss) = (&mut self.logits, &mut training.loss);
            backend.cross_entropy((rows, items), scale, settings.smoothing as f32, targets, logits, loss, first)?;
            let to_hidden = product(Layout::Nn, rows, d, items, false);
            backend.matmul(
                &to_hidden,
                self.precision,
                whole(&self.logits),
                table,
                &mut self.buffers.grad,
                first * d,
            )?;
            let to_table = product(Layout::Tn, items, d, rows, first > 0);
            backend.matmul(&to_table, self.precision, whole(&self.logits), hidden, &mut self.table.grad, 0)?;
        }
        backend.total(n, false, 1.0 / tokens as f32, true, whole(&training.loss), &mut training.sum, 0)
    }

    fn update(&mut self, settings: &RecommenderSettings, rate: f64, time: u64) -> Result<()> {
        let RecommenderSettings { weight_decay, clip_norm, .. } = *settings;
        let Some(training) = &mut self.training else { return Ok(()) };
        let step = AdamStep { rate, weight_decay, clip_norm, time };
        let grads = training.total.as_mut().unwrap_or(&mut training.grads);
        training.adam.step(&*self.backend, &step, &self.runs, grads, &mut self.params)
    }

    /// The sum of mean losses since the last call. Waits for the device.
    pub fn take_loss(&mut self) -> Result<f64> {
        let Some(training) = &mut self.training else { return Ok(0.0) };
        let mut out = [0.0f32];
        self.backend.read_tensor(&training.sum, 0, &mut out)?;
        self.backend.clear(&mut training.sum, 0, 1)?;
        Ok(f64::from(out[0]))
    }

    /// Lets go of what only composes the table again: for a network that answers and no longer learns.
    pub fn freeze(&mut self) -> Result<()> {
        self.table.freeze(&*self.backend)
    }

    /// Parameters as they are now.
    pub fn read_params(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.layout.len()];
        self.backend.read_tensor(&self.params, 0, &mut out)?;
        Ok(out)
    }

    /// The optimiser's memory.
    pub fn read_moments(&self) -> Result<Moments> {
        self.training.as_ref().map_or_else(|| Ok(Moments::default()), |t| t.adam.read(&*self.backend))
    }

    /// The gradient of all parameters, over all batches of the update so far.
    #[cfg(test)]
    pub fn read_grads(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.layout.len()];
        if let Some(training) = &self.training {
            self.backend.read_tensor(training.total.as_ref().unwrap_or(&training.grads), 0, &mut out)?;
        }
        Ok(out)
    }
}
