//! Where the parameters of a model lie in one flat tensor, and what they are at the start.

use super::config::{NetworkInit, RqVae};
use crate::compute::mlp::{Layer, Mlp};
use crate::data::Matrix;
use crate::error::Result;
use crate::rng::{Stream, stream};

/// One linear layer's places.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LinearOffsets {
    pub inputs: usize,
    pub outputs: usize,
    pub weight: usize,
    pub bias: usize,
    /// Gain and bias of a layer norm.
    pub norm: Option<(usize, usize)>,
    /// Whether normalisation, activation and dropout follow: the last layer of a network has none.
    pub hidden: bool,
}

/// The places of everything that is trained.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ParameterLayout {
    pub encoder: Vec<LinearOffsets>,
    pub decoder: Vec<LinearOffsets>,
    /// Whether both networks add their input to their output (RQ-KMeans+).
    pub skip: bool,
    /// `[aligned dims, code dims]` map of the alignment loss, where the two differ.
    pub projection: Option<usize>,
    /// First parameter of the decoder, and past its last.
    pub decoder_at: (usize, usize),
    /// Parameters before the codebooks.
    pub networks: usize,
    /// First value of each level's codebook; all the same if it is shared.
    pub codebooks: Vec<usize>,
    pub sizes: Vec<usize>,
    pub dims: usize,
    pub code_dims: usize,
    pub len: usize,
}

impl ParameterLayout {
    /// Places for rows of `dims` values, aligned with embeddings of `aligned` values if any. With `skip`, code vectors are as
    /// long as rows.
    pub fn new(config: &RqVae, dims: usize, aligned: Option<usize>, skip: bool) -> Self {
        let code_dims = if skip { dims } else { config.code_dims };
        let mut next = 0;
        let mut take = |len: usize| {
            let at = next;
            next += len;
            at
        };
        let mut network = |widths: &[usize]| -> Vec<LinearOffsets> {
            (1..widths.len())
                .map(|l| {
                    let (inputs, outputs, hidden) = (widths[l - 1], widths[l], l + 1 < widths.len());
                    let (weight, bias) = (take(inputs * outputs), take(outputs));
                    let norm = (hidden && config.layer_norm).then(|| (take(outputs), take(outputs)));
                    LinearOffsets { inputs, outputs, weight, bias, norm, hidden }
                })
                .collect()
        };
        let widths = |from: usize, hidden: &[usize], to: usize| {
            std::iter::once(from).chain(hidden.iter().copied()).chain([to]).collect::<Vec<_>>()
        };
        let encoder = network(&widths(dims, &config.hidden, code_dims));
        let decoder = network(&widths(code_dims, &config.decoder_widths(), dims));
        let start = decoder.first().map_or(0, |l: &LinearOffsets| l.weight);
        let decoder_at = (start, decoder.last().map_or(start, |l| l.bias + l.outputs));
        let projection = aligned.filter(|c| *c != code_dims).map(|c| take(c * code_dims));
        let networks = next;
        let sizes = config.codebook_sizes.clone();
        let mut codebooks = Vec::new();
        for k in &sizes {
            let at = if config.shared_codebook && !codebooks.is_empty() { codebooks[0] } else { next };
            next = next.max(at + k * code_dims);
            codebooks.push(at);
        }
        Self { encoder, decoder, skip, projection, decoder_at, networks, codebooks, sizes, dims, code_dims, len: next }
    }

    /// Widest output of any layer.
    pub fn widest(&self) -> usize {
        let outputs = self.encoder.iter().chain(&self.decoder).map(|l| l.outputs.max(l.inputs));
        outputs.max().unwrap_or(0)
    }

    /// Distinct codebooks: `(place, codewords)`.
    pub fn books(&self) -> Vec<(usize, usize)> {
        let mut books: Vec<(usize, usize)> = self.codebooks.iter().copied().zip(self.sizes.iter().copied()).collect();
        books.dedup();
        books
    }

    /// Which of [`books`](Self::books) a level reads.
    pub fn book_of(&self, level: usize) -> usize {
        if self.books().len() == 1 { 0 } else { level }
    }

    /// A network as a codec stores it.
    pub fn mlp(&self, config: &RqVae, layers: &[LinearOffsets], params: &[f32]) -> Result<Mlp> {
        let vector = |at: usize, len: usize| params[at..at + len].to_vec();
        let layers = layers
            .iter()
            .map(|l| {
                Ok(Layer {
                    weight: Matrix::from_vec(l.outputs, l.inputs, vector(l.weight, l.inputs * l.outputs))?,
                    bias: vector(l.bias, l.outputs),
                    norm: l.norm.map(|(gain, bias)| (vector(gain, l.outputs), vector(bias, l.outputs))),
                    activation: l.hidden.then_some(config.activation),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Mlp { layers, skip: self.skip })
    }
}

/// Principal directions that a network can start from: `[c, dims]` orthonormal rows, and the standard deviation along each.
pub(super) struct PrincipalDirections {
    pub directions: Vec<f32>,
    pub deviations: Vec<f64>,
}

/// Dimensions that PCA pairs can carry through all layers.
pub(super) fn carried(config: &RqVae, dims: usize) -> usize {
    let widths = config.hidden.iter().chain(config.decoder_hidden.iter().flatten());
    widths.map(|w| w / 2).chain([config.code_dims, dims, config.pca_dims]).min().unwrap_or(0)
}

/// Fills networks and projection. Codebooks stay 0.
pub(super) fn initialise(
    config: &RqVae,
    layout: &ParameterLayout,
    principal: Option<&PrincipalDirections>,
) -> Vec<f32> {
    let mut params = vec![0.0f32; layout.len];
    let mut random = stream(config.seed, "rqvae.weights", 0);
    for (network, layers) in [&layout.encoder, &layout.decoder].into_iter().enumerate() {
        for (l, layer) in layers.iter().enumerate() {
            draw(config.init, layer, &mut random, &mut params);
            if let Some((gain, _)) = layer.norm {
                params[gain..gain + layer.outputs].fill(1.0);
            }
            if layout.skip && l + 1 == layers.len() {
                // The result is the input alone at first: the codec that the training starts from.
                params[layer.weight..layer.weight + layer.inputs * layer.outputs].fill(0.0);
            }
        }
        if let Some(principal) = principal.filter(|_| !layout.skip) {
            carry(layers, principal, layout.dims, network == 0, &mut params);
        }
    }
    if let Some(at) = layout.projection {
        let end = layout.networks;
        let spread = (1.0 / layout.code_dims as f64).sqrt();
        params[at..end].iter_mut().for_each(|v| *v = (spread * random.normal()) as f32);
    }
    params
}

fn draw(init: NetworkInit, layer: &LinearOffsets, random: &mut Stream, params: &mut [f32]) {
    let (i, o) = (layer.inputs as f64, layer.outputs as f64);
    let weights = layer.weight..layer.weight + layer.inputs * layer.outputs;
    let mut normal = |variance: f64, random: &mut Stream| {
        params[weights.clone()].iter_mut().for_each(|v| *v = (variance.sqrt() * random.normal()) as f32);
    };
    match init {
        NetworkInit::Pca => normal(0.25 * 2.0 / i, random),
        NetworkInit::He => normal(2.0 / i, random),
        NetworkInit::Xavier => normal(2.0 / (i + o), random),
        NetworkInit::Uniform => {
            let bound = 1.0 / i.sqrt();
            let uniform = |v: &mut f32| *v = (bound * (2.0 * random.uniform() - 1.0)) as f32;
            params[layer.weight..layer.bias + layer.outputs].iter_mut().for_each(uniform);
        }
    }
}

/// Makes a network carry principal components: hidden units 2j and 2j + 1 hold `f(u_j)` and `f(−u_j)`, whose difference is `u_j` for
/// ReLU (`max(0, u) − max(0, −u)`), GELU (`u·Φ(u) + u·Φ(−u)`) and SiLU alike. Other units keep their random weights
/// and start with no way to the output, so that the gradient finds them at once and the start is PCA's.
fn carry(layers: &[LinearOffsets], principal: &PrincipalDirections, dims: usize, encoder: bool, params: &mut [f32]) {
    let c = principal.deviations.len();
    for (l, layer) in layers.iter().enumerate() {
        let (first, last) = (l == 0, l + 1 == layers.len());
        let row = |unit: usize| layer.weight + unit * layer.inputs;
        if last {
            params[layer.weight..layer.bias].fill(0.0);
        }
        // The value of component j in terms of the layer's inputs, added to a weight row with a factor.
        let add = |params: &mut [f32], at: usize, j: usize, factor: f32| {
            if first && encoder {
                let direction = &principal.directions[j * dims..(j + 1) * dims];
                params[at..at + dims].iter_mut().zip(direction).for_each(|(w, v)| *w += factor * v);
            } else if first {
                params[at + j] += factor;
            } else {
                params[at + 2 * j] += factor;
                params[at + 2 * j + 1] -= factor;
            }
        };
        if last && !encoder {
            for output in 0..layer.outputs {
                for j in 0..c {
                    add(params, row(output), j, principal.directions[j * dims + output]);
                }
            }
        } else if last {
            (0..c).for_each(|j| add(params, row(j), j, 1.0));
        } else {
            for j in 0..c {
                for (unit, sign) in [(2 * j, 1.0), (2 * j + 1, -1.0)] {
                    params[row(unit)..row(unit) + layer.inputs].fill(0.0);
                    add(params, row(unit), j, sign);
                }
            }
        }
    }
}
