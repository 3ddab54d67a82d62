//! One training step, recorded kernel by kernel: nothing here waits for the device.

use super::config::{CodebookUpdate, Commitment, Estimator, OptimizerKind, Reduction, SinkhornForm};
use super::session::{Dropout, Session};
use crate::compute::tensor::{Exponent, Layout, Part, Product, Rule, Step, TensorBackend, from, whole};
use crate::error::Result;

/// The inputs of one training step.
pub(super) struct StepInput<'a, B: TensorBackend> {
    /// Where the batch's rows are, `[n, dims]`.
    pub x: Part<'a, B::Tensor>,
    /// Where its collaborative embeddings are, `[n, c]`, and c.
    pub aligned: Option<(Part<'a, B::Tensor>, usize)>,
    pub n: usize,
    /// Levels in use; 0 trains the networks alone.
    pub levels: usize,
    /// Steps taken, this one included.
    pub time: u64,
    /// Steps taken since codebooks are there, this one included.
    pub codebook_time: u64,
    pub rate: f64,
    pub temperature: f32,
    pub dropout: Option<Dropout<'a, B>>,
    /// Gumbel noise of each level, `[n, k]`.
    pub noise: Vec<Vec<f32>>,
    /// Mean squared L2 of each level's codewords from their mean, for Sinkhorn.
    pub spread: &'a [f64],
}

/// Squared L2 below which rows are not driven further apart: copies cannot be parted.
const REPULSION_FLOOR: f32 = 1e-4;

fn product(layout: Layout, m: usize, n: usize, k: usize) -> Product {
    Product { layout, m, n, k, alpha: 1.0, accumulate: false }
}

impl<B: TensorBackend> Session<'_, B> {
    fn e(&self) -> usize {
        self.layout.code_dims
    }

    /// Divisor of a squared L2 over `dims` dimensions.
    fn divisor(reduction: Reduction, dims: usize) -> f64 {
        match reduction {
            Reduction::Mean => dims as f64,
            Reduction::Sum => 1.0,
        }
    }

    /// ½‖c‖² of every codebook, from its present values.
    fn refresh_half_norms(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.codebooks_moved) {
            return Ok(());
        }
        let e = self.e();
        for ((place, k), out) in self.layout.books().into_iter().zip(&mut self.half_norms) {
            self.at.backend.half_norms((k, e), from(&self.params, place), out)?;
        }
        Ok(())
    }

    /// Codes of the code vectors in the encoder's output, level by level: fills labels, residuals and the sum of codewords. In
    /// training, levels may be balanced or mixed.
    pub fn quantize(&mut self, n: usize, levels: usize, train: Option<&StepInput<'_, B>>) -> Result<()> {
        self.quantize_from(n, 0, levels, train)
    }

    /// The same from level `first` on, where the levels before it are done.
    pub fn quantize_from(
        &mut self,
        n: usize,
        first: usize,
        levels: usize,
        train: Option<&StepInput<'_, B>>,
    ) -> Result<()> {
        let (backend, e, config) = (self.at.backend, self.e(), self.at.config);
        if first == 0 {
            self.refresh_half_norms()?;
        }
        for level in first..levels {
            let (k, place, book) = (self.layout.sizes[level], self.layout.codebooks[level], self.layout.book_of(level));
            let (before, after) = self.residuals.split_at_mut(level);
            let residual = if level == 0 { self.encoder.output() } else { &before[level - 1] };
            let codebook = from(&self.params, place);
            let slot = if self.dots.len() > 1 { level } else { 0 };
            let dots = &mut self.dots[slot];
            backend.matmul(&product(Layout::Nt, n, k, e), self.at.precision, whole(residual), codebook, dots, 0)?;
            let half_norms = &self.half_norms[book];
            let balanced = config
                .sinkhorn
                .as_ref()
                .filter(|s| train.is_some() && s.levels.as_ref().is_none_or(|levels| levels.contains(&level)));
            match (balanced, train) {
                (Some(sinkhorn), Some(step)) => {
                    let epsilon = sinkhorn.epsilon as f32;
                    let exponent = match sinkhorn.form {
                        SinkhornForm::BatchRange => Exponent::BatchRange { epsilon },
                        SinkhornForm::Codebook => {
                            Exponent::Fixed { scale: (sinkhorn.epsilon * step.spread[level]).max(1e-20) as f32 }
                        }
                    };
                    backend.sinkhorn(
                        (n, e, k),
                        exponent,
                        sinkhorn.iterations,
                        residual,
                        half_norms,
                        dots,
                        &mut self.scratch.potentials,
                        &mut self.labels[level],
                    )?;
                }
                _ => backend.nearest((n, k), dots, half_norms, &mut self.labels[level])?,
            }
            let (next, sum) = (&mut after[0], &mut self.quantized);
            match (config.estimator, train) {
                (Estimator::Gumbel { .. }, Some(step)) => {
                    backend.write_tensor(&mut self.scratch.noise, 0, &step.noise[level])?;
                    let noise = &self.scratch.noise;
                    backend.gumbel_softmax((n, k), step.temperature, half_norms, noise, dots)?;
                    let mixed = &mut self.scratch.code_other;
                    let mixing = product(Layout::Nn, n, e, k);
                    backend.matmul(&mixing, self.at.precision, whole(dots), codebook, mixed, 0)?;
                    backend.subtract(n * e, 1.0, whole(residual), whole(mixed), next)?;
                    let keep = if level == 0 { 0.0 } else { 1.0 };
                    backend.combine(n * e, 1.0, whole(mixed), keep, sum, 0)?;
                }
                _ => {
                    let labels = &self.labels[level];
                    backend.quantize((n, e, k), level == 0, residual, codebook, labels, next, sum)?;
                }
            }
        }
        Ok(())
    }

    /// Forward, backward and update on one batch.
    pub fn step(&mut self, input: &StepInput<'_, B>) -> Result<()> {
        self.gradients(input)?;
        self.update(input)
    }

    /// Losses and gradients of one batch; gradients of everything trained are in `grads` afterwards.
    pub fn gradients(&mut self, input: &StepInput<'_, B>) -> Result<()> {
        let (backend, config, layout) = (self.at.backend, self.at.config, self.layout);
        let (n, p, levels) = (input.n, layout.dims, input.levels);
        let dropout = input.dropout.as_ref();
        self.at.forward(&layout.encoder, &self.params, input.x, n, dropout, &mut self.encoder)?;
        // The decoder's masks come after the encoder's.
        let after = |d: &Dropout<'_, B>| {
            let bits = layout.encoder.iter().filter(|l| l.hidden).map(|l| super::session::mask_bits(n, l.outputs));
            d.first_bit + bits.sum::<usize>()
        };
        let behind = dropout.map(|d| Dropout { bits: d.bits, first_bit: after(d), scale: d.scale });
        if levels > 0 {
            self.quantize(n, levels, Some(input))?;
        }
        let code = if levels > 0 { &self.quantized } else { self.encoder.output() };
        self.at.forward(&layout.decoder, &self.params, whole(code), n, behind.as_ref(), &mut self.decoder)?;

        // Reconstruction: the gradient 2·(y − x)/(n·divisor), whose squares are the loss but for a factor.
        let unit = 1.0 / (n as f64 * Self::divisor(config.reconstruction, p));
        let output = whole(self.decoder.output());
        backend.subtract(n * p, (2.0 * unit) as f32, output, input.x, &mut self.room.grad)?;
        let squares = (0.25 / unit) as f32;
        backend.total(n * p, true, squares, true, whole(&self.room.grad), &mut self.losses, 0)?;
        self.at.backward(
            &layout.decoder,
            &self.params,
            whole(code),
            n,
            behind.as_ref(),
            &self.decoder,
            &mut self.grads,
            &mut self.room,
            true,
        )?;
        // room.grad is now the gradient of what the decoder read.
        backend.clear(&mut self.grads, layout.networks, layout.len - layout.networks)?;
        if let Some(at) = layout.projection.filter(|_| levels == 0) {
            backend.clear(&mut self.grads, at, layout.networks - at)?;
        }
        if levels > 0 {
            if let (Some(alignment), Some((rows, c))) = (config.alignment, input.aligned) {
                self.alignment(n, alignment.weight, alignment.temperature, rows, c)?;
            }
            self.quantizer_gradients(input)?;
            if let Some(repulsion) = config.repulsion {
                let unit = p as f64 / Self::divisor(config.reconstruction, p);
                self.repulsion(n, repulsion.weight * unit)?;
            }
            if let Some(diversity) = config.diversity {
                self.diversity(n, levels, diversity.weight, diversity.temperature)?;
            }
        }
        self.at.backward(
            &layout.encoder,
            &self.params,
            input.x,
            n,
            dropout,
            &self.encoder,
            &mut self.grads,
            &mut self.room,
            false,
        )
    }

    /// From the gradient of the quantised code, in `room.grad`, to that of the encoder's output, and the codebooks' own.
    fn quantizer_gradients(&mut self, input: &StepInput<'_, B>) -> Result<()> {
        let (backend, config, layout) = (self.at.backend, self.at.config, self.layout);
        let (n, e, levels) = (input.n, layout.code_dims, input.levels);
        let unit = 1.0 / (n as f64 * Self::divisor(config.quantizer, e));
        let weight = config.quantizer_weight;
        let commit = (2.0 * unit * weight * config.commitment_weight) as f32;
        let learn = (2.0 * unit * weight) as f32;
        let gradient = config.codebook == CodebookUpdate::Gradient;
        for level in 0..levels {
            let left = whole(&self.residuals[level]);
            backend.total(n * e, true, unit as f32, true, left, &mut self.losses, 1 + level)?;
        }
        match config.estimator {
            Estimator::StraightThrough => {}
            Estimator::Rotation => {
                // G_l = G_{l+1} + J_lᵀ(g − G_{l+1}), from G_L = 0 up: the level's own gradient, and what passes beside it.
                backend.clear(&mut self.scratch.code_grad, 0, n * e)?;
                for level in (0..levels).rev() {
                    let residual = if level == 0 { self.encoder.output() } else { &self.residuals[level - 1] };
                    let scratch = &mut self.scratch;
                    let (g, passed) = (whole(&self.room.grad), whole(&scratch.code_grad));
                    backend.subtract(n * e, 1.0, g, passed, &mut scratch.code_other)?;
                    let (up, out) = (&scratch.code_other, &mut self.room.other);
                    backend.rotate_backward((n, e), residual, &self.residuals[level], up, out)?;
                    backend.combine(n * e, 1.0, whole(out), 1.0, &mut scratch.code_grad, 0)?;
                }
                backend.combine(n * e, 1.0, whole(&self.scratch.code_grad), 0.0, &mut self.room.grad, 0)?;
            }
            Estimator::Gumbel { .. } => self.gumbel_gradients(input, learn)?,
        }
        for level in 0..levels {
            if config.commitment == Commitment::Levels || level + 1 == levels {
                backend.combine(n * e, commit, whole(&self.residuals[level]), 1.0, &mut self.room.grad, 0)?;
            }
            let (k, place) = (layout.sizes[level], layout.codebooks[level]);
            if gradient && !matches!(config.estimator, Estimator::Gumbel { .. }) {
                // ∂/∂c_j of Σ‖r − c_j‖² is −2·Σ(r − c_j), and r − c_j is what the level left over.
                let (left, labels) = (&self.residuals[level], &self.labels[level]);
                backend.segment_sum((n, e, k), -learn, true, left, labels, &mut self.grads, place)?;
            }
        }
        Ok(())
    }

    /// Gumbel-softmax: `q = p·C`, `p = softmax((2·(r·c_j − ½‖c_j‖²) + g_j)/τ)`. With upstream a: `∂C += pᵀa + Dᵀr − diag(Σ_i D)·C`,
    /// `∂r = D·C`, where `D = (2/τ)·p∘(aCᵀ − Σ p∘aCᵀ)`.
    fn gumbel_gradients(&mut self, input: &StepInput<'_, B>, learn: f32) -> Result<()> {
        let (backend, layout, precision) = (self.at.backend, self.layout, self.at.precision);
        let (n, e) = (input.n, layout.code_dims);
        let scratch = &mut self.scratch;
        backend.clear(&mut scratch.code_grad, 0, n * e)?;
        for level in (0..input.levels).rev() {
            let (k, place) = (layout.sizes[level], layout.codebooks[level]);
            let residual = if level == 0 { self.encoder.output() } else { &self.residuals[level - 1] };
            let codebook = from(&self.params, place);
            let up = &mut scratch.code_other;
            backend.subtract(n * e, 1.0, whole(&self.room.grad), whole(&scratch.code_grad), up)?;
            backend.combine(n * e, -learn, whole(&self.residuals[level]), 1.0, up, 0)?;
            let p = &self.dots[if self.dots.len() > 1 { level } else { 0 }];
            let add = |product: Product| Product { accumulate: true, ..product };
            let to_books = add(product(Layout::Tn, k, e, n));
            backend.matmul(&to_books, precision, whole(p), whole(up), &mut self.grads, place)?;
            let slope = &mut scratch.wide;
            backend.matmul(&product(Layout::Nt, n, k, e), precision, whole(up), codebook, slope, 0)?;
            backend.softmax_backward((n, k), 2.0 / input.temperature, p, slope)?;
            backend.matmul(&to_books, precision, whole(slope), whole(residual), &mut self.grads, place)?;
            backend.column_total((n, k), 1.0, false, slope, &mut scratch.counts, 0)?;
            backend.combine_rows((k, e), -1.0, &scratch.counts, codebook, &mut self.grads, place)?;
            let to_rows = add(product(Layout::Nn, n, e, k));
            backend.matmul(&to_rows, precision, whole(slope), codebook, &mut scratch.code_grad, 0)?;
        }
        backend.combine(n * e, 1.0, whole(&scratch.code_grad), 0.0, &mut self.room.grad, 0)
    }

    /// Adds the alignment loss: cross-entropy of `ẑ·Pᵀ·hᵀ/τ` with the diagonal; its gradient joins `room.grad`.
    fn alignment(
        &mut self,
        n: usize,
        weight: f64,
        temperature: f64,
        rows: Part<'_, B::Tensor>,
        c: usize,
    ) -> Result<()> {
        let (backend, precision, e) = (self.at.backend, self.at.precision, self.e());
        let scratch = &mut self.scratch;
        let inverse = (1.0 / temperature) as f32;
        let levels = self.layout.sizes.len();
        let projection = self.layout.projection.map(|at| from(&self.params, at));
        let mapped = match projection {
            Some(map) => {
                let to = product(Layout::Nt, n, c, e);
                backend.matmul(&to, precision, whole(&self.quantized), map, &mut scratch.mapped, 0)?;
                &scratch.mapped
            }
            None => &self.quantized,
        };
        let compare = Product { alpha: inverse, ..product(Layout::Nt, n, n, c) };
        backend.matmul(&compare, precision, whole(mapped), rows, &mut scratch.logits, 0)?;
        let scale = (weight / n as f64) as f32;
        let (logits, loss) = (&mut scratch.logits, &mut scratch.row_loss);
        backend.contrast((n, n), scale, false, &scratch.diagonal, None, logits, loss)?;
        backend.total(n, false, (1.0 / n as f64) as f32, true, whole(loss), &mut self.losses, 1 + levels)?;
        let back = Product { alpha: inverse, ..product(Layout::Nn, n, c, n) };
        backend.matmul(&back, precision, whole(logits), rows, &mut scratch.mapped_grad, 0)?;
        match (projection, self.layout.projection) {
            (Some(map), Some(at)) => {
                let (grad, quantized) = (whole(&scratch.mapped_grad), whole(&self.quantized));
                backend.matmul(&product(Layout::Tn, c, e, n), precision, grad, quantized, &mut self.grads, at)?;
                let add = Product { accumulate: true, ..product(Layout::Nn, n, e, c) };
                backend.matmul(&add, precision, grad, map, &mut self.room.grad, 0)
            }
            _ => backend.combine(n * e, 1.0, whole(&scratch.mapped_grad), 1.0, &mut self.room.grad, 0),
        }
    }

    /// Adds the repulsion of code vectors, `−weight·½·mean ln(‖z_i − z_j‖² + ε)` with the nearest other row j; its gradient joins
    /// that of the code vectors in `room.grad`, for both rows of a pair.
    fn repulsion(&mut self, n: usize, weight: f64) -> Result<()> {
        let (backend, precision, e) = (self.at.backend, self.at.precision, self.e());
        let (z, scratch) = (self.encoder.output(), &mut self.scratch);
        backend.half_norms((n, e), whole(z), &mut scratch.row_norms)?;
        backend.matmul(&product(Layout::Nt, n, n, e), precision, whole(z), whole(z), &mut scratch.logits, 0)?;
        backend.nearest_other(n, &scratch.logits, &scratch.row_norms, &mut scratch.neighbours)?;
        let (pull, logs) = (&mut scratch.code_other, &mut scratch.row_loss);
        let scale = (weight / n as f64) as f32;
        backend.repel((n, e), scale, REPULSION_FLOOR, z, &scratch.neighbours, pull, logs)?;
        let slot = 4 + self.layout.sizes.len();
        backend.total(n, false, (-0.5 / n as f64) as f32, true, whole(logs), &mut self.losses, slot)?;
        backend.combine(n * e, -1.0, whole(pull), 1.0, &mut self.room.grad, 0)?;
        backend.segment_sum((n, e, n), 1.0, true, pull, &scratch.neighbours, &mut self.room.grad, 0)
    }

    /// Adds the diversity loss of every level: cross-entropy of `C·Cᵀ/τ` with a codeword of the same cluster, itself left out,
    /// weighted by how many rows chose the codeword.
    fn diversity(&mut self, n: usize, levels: usize, weight: f64, temperature: f64) -> Result<()> {
        let (backend, layout, precision, e) = (self.at.backend, self.layout, self.at.precision, self.e());
        let scratch = &mut self.scratch;
        let inverse = (1.0 / temperature) as f32;
        let slot = 2 + layout.sizes.len();
        for level in 0..levels {
            let (k, place) = (layout.sizes[level], layout.codebooks[level]);
            let codebook = from(&self.params, place);
            let compare = Product { alpha: inverse, ..product(Layout::Nt, k, k, e) };
            backend.matmul(&compare, precision, codebook, codebook, &mut scratch.logits, 0)?;
            backend.segment_count((n, k), false, &self.labels[level], &mut scratch.counts)?;
            let (targets, counts) = (&scratch.targets[level], Some(&scratch.counts));
            let scale = (weight / n as f64) as f32;
            let (logits, loss) = (&mut scratch.logits, &mut scratch.row_loss);
            backend.contrast((k, k), scale, true, targets, counts, logits, loss)?;
            backend.total(k, false, (1.0 / n as f64) as f32, true, whole(loss), &mut self.losses, slot)?;
            for layout in [Layout::Nn, Layout::Tn] {
                let add = Product { alpha: inverse, accumulate: true, ..product(layout, k, e, k) };
                backend.matmul(&add, precision, whole(logits), codebook, &mut self.grads, place)?;
            }
        }
        Ok(())
    }

    /// The optimiser's step, and the codebooks' averages.
    fn update(&mut self, input: &StepInput<'_, B>) -> Result<()> {
        let (backend, config, layout) = (self.at.backend, self.at.config, self.layout);
        let o = &config.optimizer;
        let rule = match o.kind {
            OptimizerKind::AdamW | OptimizerKind::Adam => Rule::Adam {
                beta1: o.beta1 as f32,
                beta2: o.beta2 as f32,
                epsilon: o.epsilon as f32,
                decoupled: o.kind == OptimizerKind::AdamW,
            },
            OptimizerKind::Sgd => Rule::Sgd { momentum: o.momentum as f32 },
            OptimizerKind::Adagrad => Rule::Adagrad { epsilon: o.epsilon as f32 },
        };
        let slot = 3 + layout.sizes.len();
        backend.total(layout.len, true, 1.0, false, whole(&self.grads), &mut self.scratch.norms, 0)?;
        backend.combine(1, 1.0, whole(&self.scratch.norms), 1.0, &mut self.losses, slot)?;
        let mut step = Step {
            rule,
            offset: 0,
            len: layout.networks,
            rate: input.rate as f32,
            decay: o.decay as f32,
            time: input.time,
            clip: config.clip_norm.map_or(f32::INFINITY, |v| v as f32),
            norm_slot: 0,
        };
        let (grads, norms) = (&self.grads, &self.scratch.norms);
        let (from, to) = layout.decoder_at;
        for (start, end, factor) in [(0, from, 1.0), (from, to, o.decoder_factor), (to, layout.networks, 1.0)] {
            if end > start {
                (step.offset, step.len, step.rate) = (start, end - start, (input.rate * factor) as f32);
                backend.optimize(&step, grads, norms, &mut self.params, &mut self.first, &mut self.second)?;
            }
        }
        step.rate = input.rate as f32;
        if input.levels == 0 {
            return Ok(());
        }
        match config.codebook {
            CodebookUpdate::Gradient => {
                (step.offset, step.len) = (layout.networks, layout.len - layout.networks);
                (step.decay, step.time) = (0.0, input.codebook_time);
                backend.optimize(&step, grads, norms, &mut self.params, &mut self.first, &mut self.second)?;
            }
            CodebookUpdate::KMeans { .. } => return Ok(()),
            CodebookUpdate::Ema { decay, epsilon } => self.averages(input, decay as f32, epsilon as f32)?,
        }
        self.codebooks_moved = true;
        self.count_usage(input)
    }

    fn averages(&mut self, input: &StepInput<'_, B>, decay: f32, epsilon: f32) -> Result<()> {
        let (backend, layout, e, n) = (self.at.backend, self.layout, self.e(), input.n);
        let scratch = &mut self.scratch;
        for (book, (place, k)) in layout.books().into_iter().enumerate() {
            let mut first = true;
            for level in (0..input.levels).filter(|l| layout.book_of(*l) == book) {
                let residual = if level == 0 { self.encoder.output() } else { &self.residuals[level - 1] };
                let labels = &self.labels[level];
                backend.segment_count((n, k), !first, labels, &mut scratch.counts)?;
                backend.segment_sum((n, e, k), 1.0, !first, residual, labels, &mut scratch.sums, 0)?;
                first = false;
            }
            if !first {
                let (counts, means) = &mut self.ema[book];
                let (batch, sums) = (&scratch.counts, &scratch.sums);
                backend.ema((k, e), decay, epsilon, batch, sums, counts, means, &mut self.params, place)?;
            }
        }
        Ok(())
    }

    fn count_usage(&mut self, input: &StepInput<'_, B>) -> Result<()> {
        for level in 0..input.levels {
            let usage = &mut self.usage[self.layout.book_of(level)];
            self.at.backend.segment_count((input.n, self.layout.sizes[level]), true, &self.labels[level], usage)?;
        }
        Ok(())
    }
}
