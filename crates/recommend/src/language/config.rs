//! `config.json`: the family of a language model, and its sizes.

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::ConfigFields;
use super::shape::LanguageShape;
use super::weights::WeightType;
use crate::decoder::{DecoderShape, RopeScaling};
use sememe::{Error, Result};

/// The kinds of language model that are read and written.
///
/// ```
/// assert_eq!(sememe_recommend::LanguageFamily::Qwen3.architecture(), "Qwen3ForCausalLM");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanguageFamily {
    /// `LlamaForCausalLM`: Llama 2 and 3, SmolLM, and many others.
    Llama,
    /// `Qwen2ForCausalLM`: queries, keys and values have biases.
    Qwen2,
    /// `Qwen3ForCausalLM`: queries and keys are normalised head by head.
    Qwen3,
}

impl LanguageFamily {
    const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The architecture's name in `config.json`.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The `model_type` in `config.json`.
    fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// A `config.json` that was understood; what this crate does not know in it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LanguageConfig {
    fields: Map<String, Value>,
    pub family: LanguageFamily,
    pub shape: LanguageShape,
}

impl LanguageConfig {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`Error::Format`] for what is no configuration of a model that can be run, with the reason.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let fields = ConfigFields::parse(bytes, path)?;
        let family = family(&fields)?;
        refuse_unsupported(&fields, family)?;
        let shape = LanguageShape {
            decoder: decoder(&fields, family)?,
            vocabulary: fields.size("vocab_size", None)?,
            tied: fields.flag("tie_word_embeddings", false)?,
        };
        shape.validate().map_err(|e| fields.bad(e.to_string()))?;
        refuse_windows(&fields, family, &shape.decoder)?;
        Ok(Self { fields: fields.map, family, shape })
    }

    /// The file's content for these many tokens and this type of weights.
    ///
    /// # Errors
    /// None, as JSON is made of JSON.
    pub fn to_bytes(&self, vocabulary: usize, weights: WeightType) -> Result<Vec<u8>> {
        let mut fields = self.fields.clone();
        fields.insert("vocab_size".into(), vocabulary.into());
        fields.remove("torch_dtype");
        fields.insert("dtype".into(), weights.torch_name().into());
        fields.insert("model_type".into(), self.family.model_type().into());
        fields.insert("architectures".into(), vec![self.family.architecture()].into());
        let mut bytes = serde_json::to_vec_pretty(&fields).map_err(|e| Error::Data(format!("config.json: {e}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Numbers of special tokens under a name such as `eos_token_id`: one, a list, or none.
    pub fn token_ids(&self, name: &str) -> Vec<u32> {
        token_ids(&self.fields, name)
    }
}

/// Numbers of tokens in a file of settings; what is no number of a token counts as none, as some files say -1 for none.
pub(super) fn token_ids(fields: &Map<String, Value>, name: &str) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match fields.get(name) {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn family(fields: &ConfigFields) -> Result<LanguageFamily> {
    let known = LanguageFamily::ALL.map(LanguageFamily::architecture).join(", ");
    let refused = |what: String| fields.bad(format!("{what} is not supported, expected one of {known}"));
    let listed = match fields.get("architectures") {
        Some(Value::Array(list)) if !list.is_empty() => match list[0].as_str() {
            Some(name) => Some(name),
            None => return Err(fields.bad(format!("`architectures`: expected a list of names, got {}", list[0]))),
        },
        Some(Value::Array(_)) | None => None,
        Some(other) => return Err(fields.bad(format!("`architectures`: expected a list of names, got {other}"))),
    };
    let kind = fields.get("model_type").map(|_| fields.text("model_type", None)).transpose()?;
    let by_type = |kind: &str| LanguageFamily::ALL.into_iter().find(|f| f.model_type() == kind);
    let found = match (listed, kind) {
        (Some(name), _) => LanguageFamily::ALL
            .into_iter()
            .find(|f| f.architecture() == name)
            .ok_or_else(|| refused(format!("its architecture `{name}`")))?,
        (None, Some(kind)) => by_type(kind).ok_or_else(|| refused(format!("its model_type `{kind}`")))?,
        (None, None) => return Err(fields.bad("has neither `architectures` nor `model_type`")),
    };
    // What loads a folder by its `model_type` would make another model of it.
    if let Some(kind) = kind.filter(|kind| *kind != found.model_type()) {
        let (name, wanted) = (found.architecture(), found.model_type());
        return Err(
            fields.bad(format!("`model_type`: expected `{wanted}`, as the architecture is {name}, got `{kind}`"))
        );
    }
    Ok(found)
}

/// What changes the result and is not built.
fn refuse_unsupported(fields: &ConfigFields, family: LanguageFamily) -> Result<()> {
    let name = family.architecture();
    for key in ["quantization_config", "compression_config"] {
        if let Some(part) = fields.get(key) {
            let method = part.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
            return Err(fields.bad(format!(
                "`{key}`: the weights are quantised by `{method}`, expected plain f32, f16 or bf16; save the model again with its weights \
                 dequantised"
            )));
        }
    }
    // Qwen 2 has its biases whatever the file says.
    if family != LanguageFamily::Qwen2 && fields.flag("attention_bias", false)? {
        return Err(fields.bad(format!(
            "`attention_bias`: true gives {name} a bias behind its attention too, which is not supported; expected false"
        )));
    }
    if family == LanguageFamily::Llama && fields.flag("mlp_bias", false)? {
        return Err(fields.bad("`mlp_bias`: biases of feed-forward layers are not supported; expected false"));
    }
    let activation = fields.text("hidden_act", Some("silu"))?;
    if !["silu", "swish"].contains(&activation) {
        return Err(fields.bad(format!("`hidden_act`: `{activation}` is not supported, expected silu")));
    }
    Ok(())
}

fn decoder(fields: &ConfigFields, family: LanguageFamily) -> Result<DecoderShape> {
    let (dims, heads) = (fields.size("hidden_size", None)?, fields.size("num_attention_heads", None)?);
    let kv_heads = match family {
        LanguageFamily::Llama => fields.size("num_key_value_heads", Some(heads))?,
        // transformers takes 32 for a missing one, and the number of heads for null.
        _ if fields.map.get("num_key_value_heads").is_some_and(Value::is_null) => heads,
        _ => fields.size("num_key_value_heads", None)?,
    };
    let divided = dims / heads;
    let absent = !fields.map.contains_key("head_dim");
    let head_dims = match family {
        LanguageFamily::Qwen3 if absent => 128,
        _ => fields.size("head_dim", Some(divided.max(1)))?,
    };
    let takes_part = fields.get("head_dim").is_none() && !(family == LanguageFamily::Qwen3 && absent);
    if (takes_part || family == LanguageFamily::Llama) && !dims.is_multiple_of(heads) {
        return Err(fields.bad(format!("its {dims} values a token do not divide among {heads} heads")));
    }
    if !heads.is_multiple_of(kv_heads) {
        return Err(fields.bad(format!("its {heads} heads do not divide among {kv_heads} heads of keys and values")));
    }
    let positions = fields.size("max_position_embeddings", None)?;
    let (rope_theta, rope_scaling) = rope(fields, positions)?;
    Ok(DecoderShape {
        dims,
        layers: fields.size("num_hidden_layers", None)?,
        heads,
        kv_heads,
        head_dims,
        feed_forward: fields.size("intermediate_size", None)?,
        positions,
        rope_theta,
        rope_scaling,
        norm_epsilon: fields.number("rms_norm_eps", Some(1e-6))? as f32,
        attention_bias: family == LanguageFamily::Qwen2,
        query_key_norm: family == LanguageFamily::Qwen3,
    })
}

/// Base and stretching of the rotary angles: `rope_theta` beside `rope_scaling` up to transformers 4, `rope_parameters` since.
fn rope(fields: &ConfigFields, positions: usize) -> Result<(f64, Option<RopeScaling>)> {
    let filled = |part: Option<ConfigFields>| part.filter(|part| !part.map.is_empty());
    let part = match filled(fields.part("rope_scaling")?) {
        Some(part) => Some(part),
        None => filled(fields.part("rope_parameters")?),
    };
    let outer = fields.number("rope_theta", Some(10_000.0))?;
    let outer_part = fields.number("partial_rotary_factor", Some(1.0))?;
    let Some(part) = part else { return whole_heads(fields, outer_part).map(|()| (outer, None)) };
    whole_heads(&part, part.number("partial_rotary_factor", Some(outer_part))?)?;
    let theta = part.number("rope_theta", Some(outer))?;
    let old = part.text("type", Some("default"))?;
    let scaling = match part.text("rope_type", Some(old))? {
        "default" => None,
        "linear" => Some(RopeScaling::Linear { factor: part.number("factor", None)? }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: part.number("factor", None)?,
            low_frequency_factor: part.number("low_freq_factor", None)?,
            high_frequency_factor: part.number("high_freq_factor", None)?,
            original_positions: match fields.get("original_max_position_embeddings") {
                Some(_) => fields.size("original_max_position_embeddings", None)?,
                None => part.size("original_max_position_embeddings", Some(positions))?,
            },
        }),
        other => {
            return Err(fields.bad(format!(
                "rotary positions of type `{other}` are not supported, expected default, linear or llama3"
            )));
        }
    };
    Ok((theta, scaling))
}

fn whole_heads(fields: &ConfigFields, part: f64) -> Result<()> {
    if part == 1.0 {
        return Ok(());
    }
    Err(fields.bad(format!("`partial_rotary_factor`: {part} is not supported, expected 1, which turns whole heads")))
}

/// Refuses windows that a sequence within the model's reach would feel.
fn refuse_windows(fields: &ConfigFields, family: LanguageFamily, shape: &DecoderShape) -> Result<()> {
    // Llama has none, whatever its file says.
    if family == LanguageFamily::Llama {
        return Ok(());
    }
    let window = match fields.flag("use_sliding_window", false)? {
        true => Some(fields.size("sliding_window", Some(4096))?),
        false => None,
    };
    let listed = match fields.get("layer_types") {
        Some(Value::Array(list)) if list.len() == shape.layers => Some(list),
        Some(_) => {
            return Err(fields.bad(format!("`layer_types`: expected a list of {} kinds of attention", shape.layers)));
        }
        None => None,
    };
    let first = fields.typed("max_window_layers", "a whole number", Value::as_u64, Some(28))?;
    for layer in 0..shape.layers {
        let kind = match listed {
            Some(list) => list[layer].as_str().unwrap_or_default(),
            None if window.is_some() && layer as u64 >= first => "sliding_attention",
            None => "full_attention",
        };
        let wide = window.is_some_and(|window| window >= shape.positions);
        if kind == "full_attention" || (kind == "sliding_attention" && wide) {
            continue;
        }
        let over = window.map_or(String::new(), |w| format!(" over {w} of {} positions", shape.positions));
        return Err(fields.bad(format!(
            "layer {layer} has `{kind}`{over}, which is not supported; expected `full_attention` in every layer"
        )));
    }
    Ok(())
}
