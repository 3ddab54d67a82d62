//! Qwen 3 and Gemma 3 as embedders: the last hidden state of every token, without a language-model head.
//!
//! As transformers has them: RMS norms, grouped queries with a norm of their own, rotary positions, gated products; Gemma 3 scales its
//! embeddings, has norms behind as well as before, and lets most layers see a window only ("Gemma 3 technical report", 2025;
//! "Qwen3 technical report", 2025).

use candle_core::{Device, Result as Made, Tensor};
use candle_nn::rotary_emb::rope;

use super::config::{DecoderConfig, Rope};
use super::layers::{Attention, AttentionMask, Linear, RmsNorm, add, by_rows, split};
use super::weights::Loader;
use sememe::Result;

struct DecoderLayer {
    before_attention: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    /// Gemma only.
    behind_attention: Option<RmsNorm>,
    before_products: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    /// Gemma only.
    behind_products: Option<RmsNorm>,
}

pub(super) struct Decoder {
    config: DecoderConfig,
    words: Tensor,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
}

/// What the name of the table of words ends with.
pub(super) const WORDS: &str = "embed_tokens.weight";

impl Decoder {
    pub(super) fn load(config: &DecoderConfig, from: &Loader<'_>) -> Result<Self> {
        let DecoderConfig { gemma, hidden, inner, heads, groups, head, bias, eps, .. } = *config;
        let layer = |i: usize| -> Result<DecoderLayer> {
            let here = from.part(&format!("layers.{i}"));
            let attention = here.part("self_attn");
            let linear = |name: &str, inputs, outputs| Linear::load(&attention.part(name), inputs, outputs, bias);
            let product =
                |name: &str, inputs, outputs| Linear::load(&here.part("mlp").part(name), inputs, outputs, false);
            let norm = |name: &str| RmsNorm::load(&here.part(name), hidden, eps, gemma);
            let head_norm = |name: &str| RmsNorm::load(&attention.part(name), head, eps, gemma);
            // The same name stands before the products in one family and behind attention in the other.
            let (before_products, behind_attention, behind_products) = if gemma {
                (
                    norm("pre_feedforward_layernorm")?,
                    Some(norm("post_attention_layernorm")?),
                    Some(norm("post_feedforward_layernorm")?),
                )
            } else {
                (norm("post_attention_layernorm")?, None, None)
            };
            Ok(DecoderLayer {
                before_attention: norm("input_layernorm")?,
                query: linear("q_proj", hidden, heads * head)?,
                key: linear("k_proj", hidden, groups * head)?,
                value: linear("v_proj", hidden, groups * head)?,
                out: linear("o_proj", heads * head, hidden)?,
                query_norm: head_norm("q_norm")?,
                key_norm: head_norm("k_norm")?,
                behind_attention,
                before_products,
                gate: product("gate_proj", hidden, inner)?,
                up: product("up_proj", hidden, inner)?,
                down: product("down_proj", inner, hidden)?,
                behind_products,
            })
        };
        Ok(Self {
            words: from.tensor(WORDS, &[config.vocabulary, hidden])?,
            layers: (0..config.windowed.len()).map(layer).collect::<Result<_>>()?,
            norm: RmsNorm::load(&from.part("norm"), hidden, eps, gemma)?,
            config: config.clone(),
        })
    }

    /// The last layer's values behind the last norm, `[tokens, hidden]`.
    pub(super) fn run(&self, tokens: &[u32]) -> Made<Tensor> {
        let config = &self.config;
        let mut x = self.words.index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?;
        if config.gemma {
            x = (x * (config.hidden as f64).sqrt())?;
        }
        let turns = [
            RotaryEmbedding::new(config.rope[0], config.head, tokens.len())?,
            RotaryEmbedding::new(config.rope[1], config.head, tokens.len())?,
        ];
        for (layer, windowed) in self.layers.iter().zip(&config.windowed) {
            let turn = &turns[usize::from(*windowed)];
            let sight = AttentionMask { causal: config.causal, window: windowed.then_some(config.window) };
            let attention = Attention { scale: config.scale, sight, bias: None, cap: config.cap };
            let input = layer.before_attention.apply(&x)?;
            let query = turn.apply(&layer.query_norm.apply(&split(&layer.query.apply(&input)?, config.heads)?)?)?;
            let key = turn.apply(&layer.key_norm.apply(&split(&layer.key.apply(&input)?, config.groups)?)?)?;
            let value = split(&layer.value.apply(&input)?, config.groups)?;
            let seen = layer.out.apply(&attention.apply(&query, &key, &value)?)?;
            x = add(&x, &behind(layer.behind_attention.as_ref(), seen)?)?;
            let input = layer.before_products.apply(&x)?;
            let gate = config.activation.apply(&layer.gate.apply(&input)?)?;
            let products = layer.down.apply(&by_rows(&gate, &layer.up.apply(&input)?, |gate, up| gate * up)?)?;
            x = add(&x, &behind(layer.behind_products.as_ref(), products)?)?;
        }
        self.norm.apply(&x)
    }
}

fn behind(norm: Option<&RmsNorm>, x: Tensor) -> Made<Tensor> {
    norm.map_or(Ok(x.clone()), |norm| norm.apply(&x))
}

/// Cosines and sines of rotary positions, `[tokens, head / 2]`.
struct RotaryEmbedding {
    cos: Tensor,
    sin: Tensor,
}

impl RotaryEmbedding {
    /// Frequencies and angles are rounded to `f32`, as they were in training.
    fn new(rope: Rope, head: usize, tokens: usize) -> Made<Self> {
        let half = head / 2;
        let frequencies: Vec<f32> =
            (0..half).map(|i| (libm::pow(rope.base, -(2.0 * i as f64) / head as f64) / rope.factor) as f32).collect();
        let angle = |i: usize| (i / half) as f32 * frequencies[i % half];
        let table = |f: fn(f32) -> f32| {
            let values = (0..tokens * half).map(|i| f(angle(i))).collect();
            Tensor::from_vec(values, (tokens, half), &Device::Cpu)
        };
        Ok(Self { cos: table(libm::cosf)?, sin: table(libm::sinf)? })
    }

    /// Turns `[heads, tokens, head]`.
    fn apply(&self, x: &Tensor) -> Made<Tensor> {
        rope(&x.unsqueeze(0)?.contiguous()?, &self.cos, &self.sin)?.squeeze(0)
    }
}
