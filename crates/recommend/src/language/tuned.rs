//! What fine-tuning learns of a language model: all of it, changes of low rank, or the vectors of new tokens alone.

use super::shape::{LanguageLayout, LanguageShape};
use crate::decoder::{
    Adam, AdamStep, Adapter, Adapters, DecoderShape, DeviceSegments, LearnedParts, Moments, ParameterRun,
};
use sememe::Result;
use sememe::compute::tensor::{Layout, Part, Precision, Product, TensorBackend, from, whole};
use sememe::rng::Stream;
use serde::{Deserialize, Serialize};

/// What of a model is learned, with tokens from `first_new` on as new ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TuneScope {
    pub kind: TuneKind,
    /// The first new token: from it on, vectors of tokens are learned whatever the kind.
    pub first_new: usize,
}

/// How a fine-tuning goes on: what is learned, its values, and the optimiser's memory of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TuningStart<'a> {
    pub scope: TuneScope,
    pub trained: &'a [f32],
    pub moments: &'a Moments,
}

/// Which parameters are learned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TuneKind {
    Full,
    LowRank { rank: usize, scale: f32 },
    NewTokens,
}

/// Places of what is learned in a tensor of its own, unless it is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TunedLayout {
    pub adapters: Vec<Adapter>,
    /// `[new, dims]`: vectors of new tokens, and, where they are others, those of the output.
    pub embedding: usize,
    pub output: usize,
    pub end: usize,
}

impl TunedLayout {
    pub fn new(shape: &LanguageShape, scope: &TuneScope) -> Self {
        let layout = LanguageLayout::new(shape);
        let rows = shape.vocabulary.saturating_sub(scope.first_new) * shape.decoder.dims;
        let (adapters, start) = match scope.kind {
            TuneKind::Full => {
                let LanguageLayout { embedding, output, end, .. } = layout;
                return Self { adapters: Vec::new(), embedding, output, end };
            }
            TuneKind::LowRank { rank, .. } => Adapter::place(&layout.decoder.matrices(&shape.decoder), 0, rank),
            TuneKind::NewTokens => (Vec::new(), 0),
        };
        let output = if shape.tied { start } else { start + rows };
        Self { adapters, embedding: start, output, end: output + rows }
    }
}

/// What is learned at the start, from the model's parameters: changes begin at 0, as one factor of each is random and the other 0.
pub(crate) fn initial(shape: &LanguageShape, scope: &TuneScope, params: &[f32], random: &mut Stream) -> Vec<f32> {
    if scope.kind == TuneKind::Full {
        return params.to_vec();
    }
    let (layout, places) = (LanguageLayout::new(shape), TunedLayout::new(shape, scope));
    let mut out = vec![0.0; places.end];
    if let TuneKind::LowRank { rank, .. } = scope.kind {
        for adapter in &places.adapters {
            let deviation = 1.0 / (adapter.inputs as f64).sqrt();
            let down = &mut out[adapter.down..adapter.down + rank * adapter.inputs];
            down.iter_mut().for_each(|v| *v = (deviation * random.normal()) as f32);
        }
    }
    let (d, rows) = (shape.decoder.dims, shape.vocabulary.saturating_sub(scope.first_new) * shape.decoder.dims);
    for (from, to) in [(layout.embedding, places.embedding), (layout.output, places.output)] {
        out[to..to + rows].copy_from_slice(&params[from + scope.first_new * d..][..rows]);
    }
    out
}

/// What is learned on a device, with its gradients.
pub(crate) struct TunedParts<B: TensorBackend> {
    shape: LanguageShape,
    layout: LanguageLayout,
    scope: TuneScope,
    places: TunedLayout,
    runs: Vec<ParameterRun>,
    grads: B::Tensor,
    adam: Adam<B>,
    /// The parts that are not all of the model: none if it is.
    parts: Option<ScopedParts<B>>,
}

/// What is learned where that is not all.
struct ScopedParts<B: TensorBackend> {
    trained: B::Tensor,
    adapters: Option<Adapters<B>>,
    /// The model before it was changed; empty without adapters.
    base: B::Tensor,
    /// The gradient of the whole output table, of which the new rows are taken.
    table: B::Tensor,
}

impl<B: TensorBackend> TunedParts<B> {
    /// Goes on from `start` with the model's `params`, which receive the changes; for batches of up to `most` tokens.
    pub fn new(
        backend: &B,
        shape: &LanguageShape,
        start: &TuningStart<'_>,
        params: &mut B::Tensor,
        most: usize,
    ) -> Result<Self> {
        let (layout, scope) = (LanguageLayout::new(shape), start.scope);
        let places = TunedLayout::new(shape, &scope);
        let parts = match scope.kind {
            TuneKind::Full => {
                backend.write_tensor(params, 0, start.trained)?;
                None
            }
            kind => Some(ScopedParts::new(backend, shape, &layout, kind, start.trained, params, most)?),
        };
        let runs = match scope.kind {
            TuneKind::Full => decaying(&shape.decoder, &layout),
            _ => ParameterRun::split(&[], places.end),
        };
        let mut made = Self {
            shape: shape.clone(),
            scope,
            runs,
            grads: backend.zeros("gradients", places.end)?,
            adam: Adam::new(backend, start.moments)?,
            parts,
            layout,
            places,
        };
        made.apply(backend, params)?;
        Ok(made)
    }

    /// Where the decoder's gradients go.
    pub fn learned(&mut self, accumulate: bool) -> LearnedParts<'_, B> {
        let grads = &mut self.grads;
        match &mut self.parts {
            None => LearnedParts::All { grads, accumulate },
            Some(ScopedParts { adapters: Some(adapters), trained, .. }) => {
                LearnedParts::LowRank { adapters, trained, grads, accumulate }
            }
            Some(_) => LearnedParts::Nothing,
        }
    }

    /// The gradient of the output's table from that of `rows` rows of logits.
    pub fn output_gradient(
        &mut self,
        backend: &B,
        precision: Precision,
        rows: usize,
        logits: Part<'_, B::Tensor>,
        hidden: Part<'_, B::Tensor>,
        accumulate: bool,
    ) -> Result<()> {
        let (vocabulary, d) = (self.shape.vocabulary, self.shape.decoder.dims);
        let (new_values, table_values) = (self.new_values(), self.table_values());
        let product = |accumulate| Product { layout: Layout::Tn, m: vocabulary, n: d, k: rows, alpha: 1.0, accumulate };
        match &mut self.parts {
            None => {
                backend.matmul(&product(accumulate), precision, logits, hidden, &mut self.grads, self.places.output)?;
            }
            Some(parts) => {
                backend.matmul(&product(false), precision, logits, hidden, &mut parts.table, 0)?;
                let (len, at) = (new_values, self.places.output);
                let new = from(&parts.table, self.scope.first_new * d);
                backend.combine(len, 1.0, new, f32::from(u8::from(accumulate)), &mut self.grads, at)?;
            }
        }
        // Tied tables are one: the input's gradient is added.
        if !self.shape.tied && !accumulate {
            backend.clear(&mut self.grads, self.places.embedding, table_values)?;
        }
        Ok(())
    }

    /// Adds the gradient of the tokens' vectors, from that of what went in.
    pub fn input_gradient(
        &mut self,
        backend: &B,
        tokens: &[u32],
        segments: &mut DeviceSegments<B>,
        grad: &B::Tensor,
    ) -> Result<()> {
        let (first, d) = (self.first_row() as u32, self.shape.decoder.dims);
        let rows = self.table_values() / d;
        // Tokens before the first new one wrap past the table, which leaves them out.
        let to: Vec<u32> = tokens.iter().map(|t| t.wrapping_sub(first)).collect();
        segments.sort(backend, &to, rows)?;
        let at = self.places.embedding;
        backend.scatter_rows((tokens.len(), d, rows), 1.0, &segments.get(), grad, &mut self.grads, at)
    }

    /// One step of the optimiser.
    pub fn update(&mut self, backend: &B, step: &AdamStep, params: &mut B::Tensor) -> Result<()> {
        match &mut self.parts {
            None => self.adam.step(backend, step, &self.runs, &mut self.grads, params),
            Some(parts) => {
                self.adam.step(backend, step, &self.runs, &mut self.grads, &mut parts.trained)?;
                self.apply(backend, params)
            }
        }
    }

    /// The model's parameters with the changes as they are now.
    fn apply(&mut self, backend: &B, params: &mut B::Tensor) -> Result<()> {
        let Some(parts) = &self.parts else { return Ok(()) };
        if let Some(adapters) = &parts.adapters {
            adapters.merge(backend, &parts.base, &parts.trained, params)?;
        }
        let (len, d) = (self.new_values(), self.shape.decoder.dims);
        let skipped = self.scope.first_new * d;
        backend.combine(
            len,
            1.0,
            from(&parts.trained, self.places.embedding),
            0.0,
            params,
            self.layout.embedding + skipped,
        )?;
        if self.shape.tied {
            return Ok(());
        }
        backend.combine(len, 1.0, from(&parts.trained, self.places.output), 0.0, params, self.layout.output + skipped)
    }

    /// The squared L2 norm of the last step's gradient.
    pub fn squared_norm(&self, backend: &B) -> Result<f64> {
        self.adam.squared_norm(backend)
    }

    /// What is learned, and the optimiser's memory of it.
    pub fn read(&self, backend: &B, params: &B::Tensor) -> Result<(Vec<f32>, Moments)> {
        let mut out = vec![0.0; self.places.end];
        backend.read_tensor(self.parts.as_ref().map_or(params, |p| &p.trained), 0, &mut out)?;
        Ok((out, self.adam.read(backend)?))
    }

    /// The gradient as it is now.
    #[cfg(test)]
    pub fn read_grads(&self, backend: &B) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.places.end];
        backend.read_tensor(&self.grads, 0, &mut out)?;
        Ok(out)
    }

    /// The first row of the tokens' table that is learned.
    fn first_row(&self) -> usize {
        if self.parts.is_some() { self.scope.first_new } else { 0 }
    }

    /// Values of the new rows of a table.
    fn new_values(&self) -> usize {
        self.shape.vocabulary.saturating_sub(self.scope.first_new) * self.shape.decoder.dims
    }

    /// Values of the rows of a table that are learned.
    fn table_values(&self) -> usize {
        (self.shape.vocabulary - self.first_row().min(self.shape.vocabulary)) * self.shape.decoder.dims
    }
}

impl<B: TensorBackend> ScopedParts<B> {
    fn new(
        backend: &B,
        shape: &LanguageShape,
        layout: &LanguageLayout,
        kind: TuneKind,
        learned: &[f32],
        params: &B::Tensor,
        most: usize,
    ) -> Result<Self> {
        let mut trained = backend.zeros("what is learned", learned.len())?;
        backend.write_tensor(&mut trained, 0, learned)?;
        let (adapters, base) = match kind {
            TuneKind::LowRank { rank, scale } => {
                let matrices = layout.decoder.matrices(&shape.decoder);
                let mut base = backend.zeros("the model as it was", layout.decoder.end)?;
                backend.combine(layout.decoder.end, 1.0, whole(params), 0.0, &mut base, 0)?;
                (Some(Adapters::new(backend, &matrices, 0, rank, scale, most)?), base)
            }
            _ => (None, backend.zeros("nothing", 0)?),
        };
        let table = backend.zeros("gradient of the output's table", shape.vocabulary * shape.decoder.dims)?;
        Ok(Self { trained, adapters, base, table })
    }
}

/// Runs of all parameters of a model: the decoder's matrices and the tokens' tables decay.
fn decaying(shape: &DecoderShape, layout: &LanguageLayout) -> Vec<ParameterRun> {
    let mut matrices = layout.decoder.decaying(shape);
    matrices.push((layout.embedding, layout.end - layout.embedding));
    ParameterRun::split(&matrices, layout.end)
}
