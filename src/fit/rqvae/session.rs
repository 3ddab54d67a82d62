//! A model on a device: its parameters, what a step leaves between its kernels, and the passes through networks.

use super::config::RqVae;
use super::layout::{LinearOffsets, ParameterLayout};
use crate::compute::tensor::{Layout, Mask, Part, Precision, Product, TensorBackend, from, whole};
use crate::error::Result;

/// What one layer's forward pass leaves for the backward pass.
pub(super) struct Activations<B: TensorBackend> {
    /// Before a layer norm, if there is one.
    linear: Option<B::Tensor>,
    /// Before the activation; of the last layer, the output.
    pub pre: B::Tensor,
    /// After the activation.
    post: Option<B::Tensor>,
}

/// A network's buffers for batches of a size.
pub(super) struct Network<B: TensorBackend> {
    pub layers: Vec<Activations<B>>,
}

/// Dropout masks of a step: bits, the first layer's place, and `1/(1 − p)`.
pub(super) struct Dropout<'a, B: TensorBackend> {
    pub bits: &'a B::Index,
    pub first_bit: usize,
    pub scale: f32,
}

impl<B: TensorBackend> Network<B> {
    fn new(backend: &B, layers: &[LinearOffsets], rows: usize) -> Result<Self> {
        let layers = layers
            .iter()
            .map(|l| {
                let values = |what: &str| backend.zeros(what, rows * l.outputs);
                Ok(Activations {
                    linear: l.norm.map(|_| values("linear outputs")).transpose()?,
                    pre: values("layer outputs")?,
                    post: l.hidden.then(|| values("activations")).transpose()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// What the network computed last.
    pub fn output(&self) -> &B::Tensor {
        &self.layers[self.layers.len() - 1].pre
    }
}

/// Bits that a hidden layer's mask takes: whole words.
pub(super) fn mask_bits(n: usize, width: usize) -> usize {
    (n * width).next_multiple_of(32)
}

/// What the forward and the backward pass share.
pub(super) struct PassContext<'a, B: TensorBackend> {
    pub backend: &'a B,
    pub config: &'a RqVae,
    pub precision: Precision,
    pub skip: bool,
}

impl<B: TensorBackend> PassContext<'_, B> {
    /// Runs `n` rows through a network.
    pub fn forward(
        &self,
        layers: &[LinearOffsets],
        params: &B::Tensor,
        input: Part<'_, B::Tensor>,
        n: usize,
        dropout: Option<&Dropout<'_, B>>,
        network: &mut Network<B>,
    ) -> Result<()> {
        let (backend, activation) = (self.backend, self.config.activation);
        let mut bit = dropout.map_or(0, |d| d.first_bit);
        for (l, layer) in layers.iter().enumerate() {
            let (before, rest) = network.layers.split_at_mut(l);
            let x = match before.last() {
                Some(Activations { post: Some(post), .. }) => whole(post),
                _ => input,
            };
            let Activations { linear, pre, post } = &mut rest[0];
            let shape = (n, layer.inputs, layer.outputs);
            let (weight, bias) = (from(params, layer.weight), from(params, layer.bias));
            let len = n * layer.outputs;
            let mask = dropout.filter(|_| layer.hidden).map(|d| {
                let first_bit = bit;
                bit += mask_bits(n, layer.outputs);
                Mask { bits: d.bits, first_bit, scale: d.scale }
            });
            match (linear, post) {
                (Some(linear), Some(post)) => {
                    backend.linear(shape, self.precision, x, weight, bias, linear, None)?;
                    let (gain, shift) = layer.norm.unwrap_or_default();
                    backend.layer_norm((n, layer.outputs), linear, from(params, gain), from(params, shift), pre)?;
                    backend.activate(activation, len, pre, mask, post)?;
                }
                (_, Some(post)) if mask.is_some() => {
                    backend.linear(shape, self.precision, x, weight, bias, pre, None)?;
                    backend.activate(activation, len, pre, mask, post)?;
                }
                (_, Some(post)) => {
                    backend.linear(shape, self.precision, x, weight, bias, pre, Some((activation, post)))?;
                }
                (_, None) => backend.linear(shape, self.precision, x, weight, bias, pre, None)?,
            }
        }
        if self.skip {
            let last = network.layers.len() - 1;
            let len = n * layers[last].outputs;
            backend.combine(len, 1.0, input, 1.0, &mut network.layers[last].pre, 0)?;
        }
        Ok(())
    }

    /// Takes the gradient of a network's output, in `grad`, back through it: parameter gradients are written to `grads`, and, where
    /// asked for, `grad` becomes the gradient of the input. `other` and `products` are room for the widest layer.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        layers: &[LinearOffsets],
        params: &B::Tensor,
        input: Part<'_, B::Tensor>,
        n: usize,
        dropout: Option<&Dropout<'_, B>>,
        network: &Network<B>,
        grads: &mut B::Tensor,
        room: &mut PassBuffers<B>,
        to_input: bool,
    ) -> Result<()> {
        let (backend, activation) = (self.backend, self.config.activation);
        let masks: Vec<usize> = layers
            .iter()
            .scan(dropout.map_or(0, |d| d.first_bit), |bit, l| {
                let at = *bit;
                *bit += if l.hidden { mask_bits(n, l.outputs) } else { 0 };
                Some(at)
            })
            .collect();
        if self.skip && to_input {
            let len = n * layers[layers.len() - 1].outputs;
            backend.combine(len, 1.0, whole(&room.grad), 0.0, &mut room.kept, 0)?;
        }
        for (l, layer) in layers.iter().enumerate().rev() {
            let Activations { linear, pre, .. } = &network.layers[l];
            let (i, o) = (layer.inputs, layer.outputs);
            if layer.hidden {
                let mask = dropout.map(|d| Mask { bits: d.bits, first_bit: masks[l], scale: d.scale });
                backend.activate_backward(activation, n * o, pre, mask, &mut room.grad)?;
            }
            if let (Some(linear), Some((gain, shift))) = (linear, layer.norm) {
                backend.column_total((n, o), 1.0, false, &room.grad, grads, shift)?;
                let (grad, products) = (&mut room.grad, &mut room.products);
                backend.layer_norm_backward((n, o), linear, from(params, gain), grad, products)?;
                backend.column_total((n, o), 1.0, false, &room.products, grads, gain)?;
            }
            let x = match l.checked_sub(1).and_then(|l| network.layers[l].post.as_ref()) {
                Some(post) => whole(post),
                None => input,
            };
            let weights = Product { layout: Layout::Tn, m: o, n: i, k: n, alpha: 1.0, accumulate: false };
            backend.matmul(&weights, self.precision, whole(&room.grad), x, grads, layer.weight)?;
            backend.column_total((n, o), 1.0, false, &room.grad, grads, layer.bias)?;
            if l > 0 || to_input {
                let inputs = Product { layout: Layout::Nn, m: n, n: i, k: o, alpha: 1.0, accumulate: false };
                let weight = from(params, layer.weight);
                backend.matmul(&inputs, self.precision, whole(&room.grad), weight, &mut room.other, 0)?;
                std::mem::swap(&mut room.grad, &mut room.other);
            }
        }
        if self.skip && to_input {
            backend.combine(n * layers[0].inputs, 1.0, whole(&room.kept), 1.0, &mut room.grad, 0)?;
        }
        Ok(())
    }
}

/// Scratch buffers of the passes through the networks; nothing in them outlives a pass.
pub(super) struct PassBuffers<B: TensorBackend> {
    /// The gradient on its way.
    pub grad: B::Tensor,
    pub other: B::Tensor,
    pub products: B::Tensor,
    pub kept: B::Tensor,
}

/// The model and all buffers of a step, for batches of at most `rows` rows.
pub(super) struct Session<'a, B: TensorBackend> {
    pub at: PassContext<'a, B>,
    pub layout: &'a ParameterLayout,
    pub rows: usize,
    pub params: B::Tensor,
    pub grads: B::Tensor,
    pub first: B::Tensor,
    pub second: B::Tensor,
    /// N and ΣN, M of each distinct codebook.
    pub ema: Vec<(B::Tensor, B::Tensor)>,
    /// Rows that chose each codeword of each distinct codebook since the last restart.
    pub usage: Vec<B::Tensor>,
    pub encoder: Network<B>,
    pub decoder: Network<B>,
    pub room: PassBuffers<B>,
    /// Input of every level after the first, and what the last leaves over.
    pub residuals: Vec<B::Tensor>,
    pub labels: Vec<B::Index>,
    /// Sum of the codewords.
    pub quantized: B::Tensor,
    pub half_norms: Vec<B::Tensor>,
    /// Whether codebooks have changed since the half norms were computed.
    pub codebooks_moved: bool,
    /// `[rows, k]` dot products of the level at hand; under Gumbel-softmax one a level, which keeps the probabilities.
    pub dots: Vec<B::Tensor>,
    pub losses: B::Tensor,
    pub scratch: TermBuffers<B>,
}

/// Buffers of single terms, empty where a term is not used.
pub(super) struct TermBuffers<B: TensorBackend> {
    /// `[k]` of the largest codebook.
    pub counts: B::Tensor,
    /// `[k, e]` of the largest codebook.
    pub sums: B::Tensor,
    pub potentials: B::Tensor,
    /// `[rows, e]` twice.
    pub code_grad: B::Tensor,
    pub code_other: B::Tensor,
    /// `[rows, k]` of the largest codebook, for Gumbel-softmax.
    pub noise: B::Tensor,
    pub wide: B::Tensor,
    /// Alignment: `[rows, c]` twice, `[rows, rows]`, `[rows]`, the diagonal.
    pub mapped: B::Tensor,
    pub mapped_grad: B::Tensor,
    pub logits: B::Tensor,
    pub row_loss: B::Tensor,
    pub diagonal: B::Index,
    /// Repulsion: ½‖z‖² of the rows and their neighbours.
    pub row_norms: B::Tensor,
    pub neighbours: B::Index,
    /// Diversity: targets of each level, `[k]` each.
    pub targets: Vec<B::Index>,
    /// Squared norm of the gradient.
    pub norms: B::Tensor,
}

/// Places in [`Session::losses`] after the levels' own.
pub(super) const EXTRA_LOSSES: usize = 5;

impl<'a, B: TensorBackend> Session<'a, B> {
    pub fn new(
        backend: &'a B,
        config: &'a RqVae,
        layout: &'a ParameterLayout,
        aligned: Option<usize>,
        rows: usize,
    ) -> Result<Self> {
        use super::config::Estimator;
        let (levels, e) = (layout.sizes.len(), layout.code_dims);
        let most = layout.sizes.iter().copied().max().unwrap_or(0);
        let gumbel = matches!(config.estimator, Estimator::Gumbel { .. });
        let sinkhorn = config.sinkhorn.is_some();
        let repelled = config.repulsion.is_some();
        let tensor = |what: &str, len: usize| backend.zeros(what, len);
        let only = |wanted: bool, len: usize| if wanted { len } else { 0 };
        let (wide, c) = (rows * layout.widest(), aligned.unwrap_or(0));
        let books = layout.books();
        let pairs = if config.diversity.is_some() { most * most } else { 0 };
        let mut diagonal = backend.index("targets", if aligned.is_some() { rows } else { 0 })?;
        if aligned.is_some() {
            backend.write_index(&mut diagonal, 0, &(0..rows as u32).collect::<Vec<_>>())?;
        }
        Ok(Self {
            at: PassContext { backend, config, precision: config.precision, skip: layout.skip },
            layout,
            rows,
            params: tensor("parameters", layout.len)?,
            grads: tensor("gradients", layout.len)?,
            first: tensor("first moments", layout.len)?,
            second: tensor("second moments", layout.len)?,
            ema: books
                .iter()
                .map(|(_, k)| Ok((tensor("counts", k + 1)?, tensor("means", k * e)?)))
                .collect::<Result<_>>()?,
            usage: books.iter().map(|(_, k)| tensor("usage", *k)).collect::<Result<_>>()?,
            encoder: Network::new(backend, &layout.encoder, rows)?,
            decoder: Network::new(backend, &layout.decoder, rows)?,
            room: PassBuffers {
                grad: tensor("gradient", wide)?,
                other: tensor("gradient", wide)?,
                products: tensor("products", only(config.layer_norm, wide))?,
                kept: tensor("gradient", only(layout.skip, wide))?,
            },
            residuals: (0..levels).map(|_| tensor("residuals", rows * e)).collect::<Result<_>>()?,
            labels: (0..levels).map(|_| backend.index("labels", rows)).collect::<Result<_>>()?,
            quantized: tensor("quantised", rows * e)?,
            codebooks_moved: true,
            half_norms: books.iter().map(|(_, k)| tensor("half norms", *k)).collect::<Result<_>>()?,
            dots: if gumbel {
                layout.sizes.iter().map(|k| tensor("dot products", rows * k)).collect::<Result<_>>()?
            } else {
                vec![tensor("dot products", rows * most)?]
            },
            losses: tensor("losses", levels + EXTRA_LOSSES)?,
            scratch: TermBuffers {
                counts: tensor("counts", most)?,
                sums: tensor("sums", most * e)?,
                potentials: tensor("potentials", only(sinkhorn, most))?,
                code_grad: tensor("gradient", rows * e)?,
                code_other: tensor("gradient", rows * e)?,
                noise: tensor("noise", only(gumbel, rows * most))?,
                wide: tensor("gradient", only(gumbel, rows * most))?,
                mapped: tensor("mapped", rows * c)?,
                mapped_grad: tensor("mapped", rows * c)?,
                logits: tensor("logits", pairs.max(only(aligned.is_some() || repelled, rows * rows)))?,
                row_loss: tensor("losses", most.max(rows))?,
                diagonal,
                row_norms: tensor("half norms", only(repelled, rows))?,
                neighbours: backend.index("neighbours", only(repelled, rows))?,
                targets: (0..levels)
                    .map(|l| backend.index("targets", only(config.diversity.is_some(), layout.sizes[l])))
                    .collect::<Result<_>>()?,
                norms: tensor("norms", 1)?,
            },
        })
    }
}
