//! Layers of encoders and decoders. All tensors belong to one text, `[tokens, values]`, without padding.

use candle_core::{Result as Made, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::weights::Loader;
use sememe::Result;

/// Queries whose scores are held at once: `heads · 256 · tokens` values, however long a text is.
const QUERIES: usize = 256;

/// Values that are worked on at once, element by element: candle takes more of them to threads of its own, where texts that run on
/// several threads would wait for each other.
const PIECE: usize = (1 << 16) - 1;

/// Applies something that looks at single values to `[rows, values]`, and to a second operand of that shape.
pub(super) fn by_rows(x: &Tensor, y: &Tensor, apply: impl Fn(&Tensor, &Tensor) -> Made<Tensor>) -> Made<Tensor> {
    let (rows, values) = x.dims2()?;
    if rows * values <= PIECE {
        return apply(x, y);
    }
    let step = (PIECE / values).max(1);
    let piece = |first: usize| {
        let here = step.min(rows - first);
        apply(&x.narrow(0, first, here)?, &y.narrow(0, first, here)?)
    };
    Tensor::cat(&(0..rows).step_by(step).map(piece).collect::<Made<Vec<_>>>()?, 0)
}

/// `x + y`.
pub(super) fn add(x: &Tensor, y: &Tensor) -> Made<Tensor> {
    by_rows(x, y, |x, y| x + y)
}

/// `x Wᵀ + b`.
pub(super) struct Linear {
    /// `[inputs, outputs]`, as products read it fastest.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn load(from: &Loader<'_>, inputs: usize, outputs: usize, bias: bool) -> Result<Self> {
        let weight = from.turned("weight", &[outputs, inputs])?;
        let bias = if bias { Some(from.tensor("bias", &[outputs])?) } else { None };
        Ok(Self { weight, bias })
    }

    pub(super) fn apply(&self, x: &Tensor) -> Made<Tensor> {
        let y = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => by_rows(&y, &y, |y, _| y.broadcast_add(bias)),
            None => Ok(y),
        }
    }
}

/// Layer norm over the values of a token.
pub(super) struct LayerNorm {
    gain: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub(super) fn load(from: &Loader<'_>, size: usize, eps: f64) -> Result<Self> {
        // Checkpoints from TensorFlow kept its names.
        let names = if from.has("gamma") { ("gamma", "beta") } else { ("weight", "bias") };
        let (gain, bias) = (from.tensor(names.0, &[size])?, from.tensor(names.1, &[size])?);
        Ok(Self { gain, bias, eps: eps as f32 })
    }

    pub(super) fn apply(&self, x: &Tensor) -> Made<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.gain, &self.bias, self.eps)
    }
}

/// `x / √(mean x² + ε) · gain`.
pub(super) struct RmsNorm {
    gain: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// Gemma keeps gains less one.
    pub(super) fn load(from: &Loader<'_>, size: usize, eps: f64, less_one: bool) -> Result<Self> {
        let gain = from.tensor("weight", &[size])?;
        let gain = if less_one { (gain + 1.0).map_err(|e| super::broken(&e))? } else { gain };
        Ok(Self { gain, eps: eps as f32 })
    }

    pub(super) fn apply(&self, x: &Tensor) -> Made<Tensor> {
        candle_nn::ops::rms_norm(&x.contiguous()?, &self.gain, self.eps)
    }
}

/// Activation function after a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// By the error function.
    Gelu,
    /// By tanh.
    GeluTanh,
    Relu,
    Silu,
    Tanh,
    Identity,
}

impl Activation {
    /// By transformers' name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            _ => return None,
        })
    }

    pub(super) fn apply(self, x: &Tensor) -> Made<Tensor> {
        by_rows(x, x, |x, _| match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
            Self::Identity => Ok(x.clone()),
        })
    }
}

/// `[tokens, heads · size]` as `[heads, tokens, size]`.
pub(super) fn split(x: &Tensor, heads: usize) -> Made<Tensor> {
    let (tokens, values) = x.dims2()?;
    x.reshape((tokens, heads, values / heads))?.transpose(0, 1)?.contiguous()
}

/// Which keys a query attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttentionMask {
    /// Only what came before, and itself.
    pub(super) causal: bool,
    /// Only what is nearer than so many tokens.
    pub(super) window: Option<usize>,
}

impl AttentionMask {
    pub(super) const ALL: AttentionMask = AttentionMask { causal: false, window: None };

    fn sees(self, query: usize, key: usize) -> bool {
        (!self.causal || key <= query) && self.window.is_none_or(|window| query.abs_diff(key) < window)
    }

    /// 0 or −∞ for queries from `first` on, `[queries, keys]`; `None` where all is seen.
    fn mask(self, first: usize, queries: usize, keys: usize) -> Made<Option<Tensor>> {
        if self == Self::ALL {
            return Ok(None);
        }
        let seen = |i: usize| self.sees(first + i / keys, i % keys);
        if (0..queries * keys).all(seen) {
            return Ok(None);
        }
        let values = (0..queries * keys).map(|i| if seen(i) { 0.0f32 } else { f32::NEG_INFINITY }).collect();
        Tensor::from_vec(values, (queries, keys), &candle_core::Device::Cpu).map(Some)
    }
}

/// Scaled dot-product attention and its options.
pub(super) struct Attention<'a> {
    pub(super) scale: f64,
    pub(super) sight: AttentionMask,
    /// Added to the scores, `[heads, tokens, tokens]`.
    pub(super) bias: Option<&'a Tensor>,
    /// Scores are kept within ± this by tanh.
    pub(super) cap: Option<f64>,
}

impl Attention<'_> {
    /// `softmax(q kᵀ · scale) v` of `q` `[heads, tokens, size]`, `k` and `v` `[groups, tokens, size]`, to `[tokens, heads · size]`;
    /// consecutive heads share a group.
    pub(super) fn apply(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Made<Tensor> {
        let (heads, tokens, size) = q.dims3()?;
        let (groups, _, _) = k.dims3()?;
        let q = (q * self.scale)?;
        let mut parts = Vec::with_capacity(tokens.div_ceil(QUERIES));
        for first in (0..tokens).step_by(QUERIES) {
            let queries = QUERIES.min(tokens - first);
            let keys = if self.sight.causal { first + queries } else { tokens };
            let (k, v) = (k.narrow(1, 0, keys)?, v.narrow(1, 0, keys)?.contiguous()?);
            let here = q.narrow(1, first, queries)?.contiguous()?.reshape((groups, heads / groups * queries, size))?;
            let mut scores = here.matmul(&k.transpose(1, 2)?.contiguous()?)?.reshape((heads, queries, keys))?;
            if let Some(bias) = self.bias {
                scores = (scores + bias.narrow(1, first, queries)?.narrow(2, 0, keys)?)?;
            }
            if let Some(cap) = self.cap {
                scores = ((scores / cap)?.tanh()? * cap)?;
            }
            if let Some(mask) = self.sight.mask(first, queries, keys)? {
                scores = scores.broadcast_add(&mask)?;
            }
            let weights = softmax_last_dim(&scores)?.reshape((groups, heads / groups * queries, keys))?;
            parts.push(weights.matmul(&v)?.reshape((heads, queries, size))?);
        }
        let out = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 1)? };
        out.transpose(0, 1)?.reshape((tokens, heads * size))
    }
}
