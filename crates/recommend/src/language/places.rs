//! What the tensors of a language model are called in files, and where they lie among its parameters.

use super::shape::{LanguageLayout, LanguageShape};

/// The tokens' vectors.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output's vectors.
pub(super) const OUTPUT: &str = "lm_head.weight";

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorPlace {
    pub name: String,
    pub shape: Vec<usize>,
    /// First of its values among the parameters.
    pub at: usize,
}

impl TensorPlace {
    /// How many values it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// All tensors of a model, in the order that they are used in. Queries, keys and values lie one behind the other, gate and up too.
pub(super) fn tensor_places(shape: &LanguageShape) -> Vec<TensorPlace> {
    let (layout, decoder) = (LanguageLayout::new(shape), &shape.decoder);
    let (d, head, f, width) = (decoder.dims, decoder.head_dims, decoder.feed_forward, decoder.attention_width());
    let table = vec![shape.vocabulary, d];
    let mut out = vec![TensorPlace { name: EMBEDDING.into(), shape: table.clone(), at: layout.embedding }];
    for (number, block) in layout.decoder.blocks.iter().enumerate() {
        let mut put = |name: &str, shape: Vec<usize>, at: usize| {
            out.push(TensorPlace { name: format!("model.layers.{number}.{name}"), shape, at });
        };
        put("input_layernorm.weight", vec![d], block.attention_norm);
        let mut rows = 0;
        for (name, heads) in [("q", decoder.heads), ("k", decoder.kv_heads), ("v", decoder.kv_heads)] {
            put(&format!("self_attn.{name}_proj.weight"), vec![heads * head, d], block.attention_in + rows * d);
            if let Some(bias) = block.attention_bias {
                put(&format!("self_attn.{name}_proj.bias"), vec![heads * head], bias + rows);
            }
            rows += heads * head;
        }
        if let Some((query, key)) = block.query_key_norm {
            put("self_attn.q_norm.weight", vec![head], query);
            put("self_attn.k_norm.weight", vec![head], key);
        }
        put("self_attn.o_proj.weight", vec![d, width], block.attention_out);
        put("post_attention_layernorm.weight", vec![d], block.feed_norm);
        put("mlp.gate_proj.weight", vec![f, d], block.feed_in);
        put("mlp.up_proj.weight", vec![f, d], block.feed_in + f * d);
        put("mlp.down_proj.weight", vec![d, f], block.feed_out);
    }
    out.push(TensorPlace { name: "model.norm.weight".into(), shape: vec![d], at: layout.decoder.last_norm });
    if !shape.tied {
        out.push(TensorPlace { name: OUTPUT.into(), shape: table, at: layout.output });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::DecoderShape;

    #[test]
    fn every_parameter_is_of_one_tensor() {
        for (attention_bias, query_key_norm, tied) in [(false, false, true), (true, false, false), (false, true, false)]
        {
            let decoder = DecoderShape {
                kv_heads: 1,
                head_dims: 6,
                attention_bias,
                query_key_norm,
                ..DecoderShape::small(8, 2, 2, 16)
            };
            let shape = LanguageShape { decoder, vocabulary: 11, tied };
            let mut places = tensor_places(&shape);
            places.sort_by_key(|place| place.at);
            let mut next = 0;
            for place in &places {
                assert_eq!(place.at, next, "{}", place.name);
                next += place.len();
            }
            assert_eq!(next, shape.parameters());
        }
    }
}
