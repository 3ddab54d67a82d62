//! The network of ordered prediction on a device: parameters, and how tokens are read.

use super::batch::TokenBatch;
use super::codes::ItemTokens;
use super::layout::{OrderedLayout, shape};
use crate::decoder::{DecoderPass, DecoderShape};
use crate::recommender::items::ItemSources;
use crate::recommender::settings::RecommenderSettings;
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};
use sememe::{Error, Matrix, Result};
use std::sync::Arc;

/// Parameters and what goes with them.
pub(crate) struct OrderedModel<B: TensorBackend> {
    pub backend: Arc<B>,
    pub shape: DecoderShape,
    pub layout: OrderedLayout,
    pub codes: ItemTokens,
    pub precision: Precision,
    pub params: B::Tensor,
    /// Cosines and sines, and of how many positions.
    angles: (B::Tensor, usize),
    /// `[items, t]`, and how many items.
    vectors: (B::Tensor, usize),
}

impl<B: TensorBackend> OrderedModel<B> {
    /// A model with parameters `params` for sequences of up to `longest` tokens; `vectors` are scaled already.
    ///
    /// # Errors
    /// Sources that do not fit; device errors.
    pub fn new(
        backend: &Arc<B>,
        settings: &RecommenderSettings,
        sources: &ItemSources,
        vectors: Option<&Matrix>,
        params: &[f32],
        longest: usize,
    ) -> Result<Self> {
        let (shape, layout) = (shape(settings, sources)?, OrderedLayout::new(settings, sources)?);
        let codes = sources.codes.as_ref().ok_or_else(|| Error::config("codes", "ordered prediction needs codes"))?;
        let codes = ItemTokens::new(codes)?;
        let mut held = backend.zeros("parameters", layout.len())?;
        backend.write_tensor(&mut held, 0, params)?;
        let positions = shape.positions.min(longest);
        let mut angles = backend.zeros("angles", positions * shape.head_dims)?;
        backend.write_tensor(&mut angles, 0, &shape.angles(positions))?;
        let mut rows = backend.zeros("vectors of items", vectors.map_or(0, |v| v.as_slice().len()))?;
        if let Some(vectors) = vectors {
            backend.write_tensor(&mut rows, 0, vectors.as_slice())?;
        }
        Ok(Self {
            backend: Arc::clone(backend),
            shape,
            layout,
            codes,
            precision: settings.precision,
            params: held,
            angles: (angles, positions),
            vectors: (rows, sources.items),
        })
    }

    pub fn pass(&self) -> DecoderPass<'_, B> {
        DecoderPass {
            backend: &self.backend,
            shape: &self.shape,
            layout: &self.layout.decoder,
            precision: self.precision,
            angles: (&self.angles.0, self.angles.1),
        }
    }
}

/// What tokens are read with.
pub(crate) struct TokenReader<B: TensorBackend> {
    tokens: B::Index,
    levels: B::Index,
    completes: B::Index,
    items: B::Index,
    /// `[items, t]`: vectors of the completed items.
    pub vectors: B::Tensor,
    /// `[items, dims]`: what the map makes of them.
    mapped: B::Tensor,
}

impl<B: TensorBackend> TokenReader<B> {
    /// Room for `most` tokens.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B, layout: &OrderedLayout, most: usize) -> Result<Self> {
        let (items, t) = layout.map.map_or((0, 0), |(_, t)| (most / layout.levels + 1, t));
        Ok(Self {
            tokens: backend.index("tokens", most)?,
            levels: backend.index("places in an ID", most)?,
            completes: backend.index("items of tokens", most)?,
            items: backend.index("items", items)?,
            vectors: backend.zeros("vectors of items", items * t)?,
            mapped: backend.zeros("vectors of items", items * layout.dims)?,
        })
    }

    /// Writes the tokens' vectors to `out [tokens, dims]`.
    ///
    /// # Errors
    /// Device errors.
    pub fn read(&mut self, model: &OrderedModel<B>, batch: &TokenBatch, out: &mut B::Tensor) -> Result<()> {
        let (backend, layout, n, d) = (&*model.backend, &model.layout, batch.tokens.len(), model.shape.dims);
        backend.write_index(&mut self.tokens, 0, &batch.tokens)?;
        backend.write_index(&mut self.levels, 0, &batch.levels)?;
        let codes = from(&model.params, layout.codes);
        backend.gather((n, d, layout.tokens), codes, whole(&self.tokens), false, out, 0)?;
        let places = from(&model.params, layout.places);
        backend.gather((n, d, layout.levels), places, whole(&self.levels), true, out, 0)?;
        let Some((map, t)) = layout.map.filter(|_| !batch.items.is_empty()) else { return Ok(()) };
        let m = batch.items.len();
        backend.write_index(&mut self.items, 0, &batch.items)?;
        backend.write_index(&mut self.completes, 0, &batch.completes)?;
        let (vectors, items) = (&model.vectors.0, whole(&self.items));
        backend.gather((m, t, model.vectors.1), whole(vectors), items, false, &mut self.vectors, 0)?;
        let product = Product { layout: Layout::Nt, m, n: d, k: t, alpha: 1.0, accumulate: false };
        let map = from(&model.params, map);
        backend.matmul(&product, model.precision, whole(&self.vectors), map, &mut self.mapped, 0)?;
        backend.gather((n, d, m), whole(&self.mapped), whole(&self.completes), true, out, 0)
    }
}
