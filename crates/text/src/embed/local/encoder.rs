//! BERT and related encoders: RoBERTa, XLM-R, CamemBERT, DistilBERT, MPNet.
//!
//! Devlin et al., "BERT" (2019), as transformers has them: word, type and position embeddings, then layers of attention and of two
//! products, each followed by adding its input and a layer norm. MPNet adds a bias by relative position to the scores (Song et al. 2020).

use candle_core::{Device, Result as Made, Tensor};

use super::broken;
use super::config::{EncoderConfig, TensorNames};
use super::layers::{Activation, Attention, AttentionMask, LayerNorm, Linear, add, split};
use super::weights::Loader;
use sememe::Result;

struct EncoderLayer {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

/// Names of a layer's parts: query, key, value, out, norm, up, down, norm.
const BERT: [&str; 8] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];
const MPNET: [&str; 8] = [
    "attention.attn.q",
    "attention.attn.k",
    "attention.attn.v",
    "attention.attn.o",
    "attention.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];
const DISTILBERT: [&str; 8] = [
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
];

pub(super) struct Encoder {
    words: Tensor,
    positions: Tensor,
    /// The type of every token, as a text alone is of one type.
    kind: Option<Tensor>,
    norm: LayerNorm,
    layers: Vec<EncoderLayer>,
    /// `[buckets, heads]`.
    relative: Option<Tensor>,
    heads: usize,
    scale: f64,
    first_position: usize,
    buckets: usize,
    activation: Activation,
}

/// What the name of the table of words ends with.
pub(super) const WORDS: &str = "embeddings.word_embeddings.weight";

impl Encoder {
    pub(super) fn load(config: &EncoderConfig, from: &Loader<'_>) -> Result<Self> {
        let (hidden, inner) = (config.hidden, config.inner);
        let (names, layers) = match config.names {
            TensorNames::Bert => (BERT, "encoder.layer"),
            TensorNames::Mpnet => (MPNET, "encoder.layer"),
            TensorNames::DistilBert => (DISTILBERT, "transformer.layer"),
        };
        let embeddings = from.part("embeddings");
        let layer = |i: usize| -> Result<EncoderLayer> {
            let here = from.part(&format!("{layers}.{i}"));
            let linear = |at: usize, inputs, outputs| Linear::load(&here.part(names[at]), inputs, outputs, true);
            let norm = |at: usize| LayerNorm::load(&here.part(names[at]), hidden, config.eps);
            Ok(EncoderLayer {
                query: linear(0, hidden, hidden)?,
                key: linear(1, hidden, hidden)?,
                value: linear(2, hidden, hidden)?,
                out: linear(3, hidden, hidden)?,
                attention_norm: norm(4)?,
                up: linear(5, hidden, inner)?,
                down: linear(6, inner, hidden)?,
                norm: norm(7)?,
            })
        };
        let kind = if config.types > 0 {
            let all = embeddings.tensor("token_type_embeddings.weight", &[config.types, hidden])?;
            Some(all.get(0).map_err(|e| broken(&e))?)
        } else {
            None
        };
        let relative = if config.buckets > 0 {
            Some(from.tensor("encoder.relative_attention_bias.weight", &[config.buckets, config.heads])?)
        } else {
            None
        };
        Ok(Self {
            words: embeddings.tensor("word_embeddings.weight", &[config.vocabulary, hidden])?,
            positions: embeddings.tensor("position_embeddings.weight", &[config.positions, hidden])?,
            kind,
            norm: LayerNorm::load(&embeddings.part("LayerNorm"), hidden, config.eps)?,
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            relative,
            heads: config.heads,
            scale: ((hidden / config.heads) as f64).powf(-0.5),
            first_position: config.first_position,
            buckets: config.buckets,
            activation: config.activation,
        })
    }

    /// The last layer's values, `[tokens, hidden]`.
    pub(super) fn run(&self, tokens: &[u32]) -> Made<Tensor> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let mut x = self.words.index_select(&ids, 0)?;
        if let Some(kind) = &self.kind {
            x = x.broadcast_add(kind)?;
        }
        x = self.norm.apply(&(x + self.positions.narrow(0, self.first_position, tokens.len())?)?)?;
        let bias = self.relative.as_ref().map(|table| self.relative_bias(table, tokens.len())).transpose()?;
        let attention = Attention { scale: self.scale, sight: AttentionMask::ALL, bias: bias.as_ref(), cap: None };
        for layer in &self.layers {
            let part = |linear: &Linear| split(&linear.apply(&x)?, self.heads);
            let seen = attention.apply(&part(&layer.query)?, &part(&layer.key)?, &part(&layer.value)?)?;
            x = layer.attention_norm.apply(&add(&layer.out.apply(&seen)?, &x)?)?;
            let inner = self.activation.apply(&layer.up.apply(&x)?)?;
            x = layer.norm.apply(&add(&layer.down.apply(&inner)?, &x)?)?;
        }
        Ok(x)
    }

    /// What MPNet adds to the scores, `[heads, tokens, tokens]`.
    fn relative_bias(&self, table: &Tensor, tokens: usize) -> Made<Tensor> {
        let of = |i: usize| bucket(i / tokens, i % tokens, self.buckets) as u32;
        let ids = Tensor::from_vec((0..tokens * tokens).map(of).collect::<Vec<_>>(), tokens * tokens, &Device::Cpu)?;
        table.index_select(&ids, 0)?.reshape((tokens, tokens, self.heads))?.permute((2, 0, 1))?.contiguous()
    }
}

/// T5's buckets of key less query: half of them for keys that come later; half of each for single steps, the rest by logarithm up to
/// 128 steps. In `f32`, as the models were trained.
fn bucket(query: usize, key: usize, buckets: usize) -> usize {
    let half = buckets / 2;
    let later = if key > query { half } else { 0 };
    let steps = query.abs_diff(key);
    let single = half / 2;
    if steps < single {
        return later + steps;
    }
    let share = libm::logf(steps as f32 / single as f32) / libm::log(128.0 / single as f64) as f32;
    later + (single + (share * (half - single) as f32) as usize).min(half - 1)
}
