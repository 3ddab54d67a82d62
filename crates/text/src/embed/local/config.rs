//! `config.json`: which architecture a model has, and its sizes.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::layers::Activation;
use sememe::io::read_bytes_capped;
use sememe::{Error, Result};

/// Every architecture that can be run, by `model_type`.
pub(super) const SUPPORTED: &str =
    "bert, roberta, xlm-roberta, camembert, distilbert, mpnet, qwen3, gemma3_text, gemma3";

/// A file of settings is small.
const MAX_BYTES: u64 = 16 << 20;
/// More layers, heads or values are no model's: so much bounds what a damaged file can ask for.
const MAX_SIZE: u64 = 1 << 28;

/// A JSON object, and where it stands.
pub(super) struct Fields {
    path: PathBuf,
    map: Map<String, Value>,
}

impl Fields {
    /// Reads a file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        match serde_json::from_slice(&read_bytes_capped(path, MAX_BYTES)?) {
            Ok(Value::Object(map)) => Ok(Some(Self { path: path.into(), map })),
            Ok(_) => Err(Error::format(path, "is no JSON object")),
            Err(e) => Err(Error::format(path, format!("is no JSON: {e}"))),
        }
    }

    pub(super) fn bad(&self, problem: impl Into<String>) -> Error {
        Error::format(&self.path, problem)
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// An object among the fields.
    pub(super) fn part(&self, name: &str) -> Option<Self> {
        Some(Self { path: self.path.clone(), map: self.get(name)?.as_object()?.clone() })
    }

    fn typed<'a, T>(
        &'a self,
        name: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        or: Option<T>,
    ) -> Result<T> {
        match (self.get(name), or) {
            (Some(value), _) => read(value).ok_or_else(|| self.bad(format!("`{name}`: expected {kind}, got {value}"))),
            (None, Some(or)) => Ok(or),
            (None, None) => Err(self.bad(format!("has no `{name}`"))),
        }
    }

    /// A count of at least one.
    pub(super) fn size(&self, name: &str, or: Option<usize>) -> Result<usize> {
        let read = |v: &Value| v.as_u64().filter(|n| (1..=MAX_SIZE).contains(n)).and_then(|n| usize::try_from(n).ok());
        self.typed(name, &format!("a whole number from 1 to {MAX_SIZE}"), read, or)
    }

    pub(super) fn number(&self, name: &str, or: Option<f64>) -> Result<f64> {
        self.typed(name, "a positive number", |v| v.as_f64().filter(|x| x.is_finite() && *x > 0.0), or)
    }

    pub(super) fn flag(&self, name: &str, or: bool) -> Result<bool> {
        self.typed(name, "true or false", Value::as_bool, Some(or))
    }

    pub(super) fn text<'a>(&'a self, name: &str, or: Option<&'a str>) -> Result<&'a str> {
        self.typed(name, "a text", Value::as_str, or)
    }

    fn activation(&self, name: &str, or: &str) -> Result<Activation> {
        let said = self.text(name, Some(or))?;
        Activation::named(said).ok_or_else(|| {
            self.bad(format!("`{name}`: `{said}` is not supported, expected gelu, gelu_pytorch_tanh, relu or silu"))
        })
    }
}

/// How an encoder's tensors are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TensorNames {
    Bert,
    DistilBert,
    Mpnet,
}

/// Configuration of a BERT-like encoder.
#[derive(Clone, Debug)]
pub(super) struct EncoderConfig {
    pub(super) names: TensorNames,
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Rows of the table of positions; the first text position is row `first_position`.
    pub(super) positions: usize,
    pub(super) first_position: usize,
    /// Rows of the table of token types; 0 without one.
    pub(super) types: usize,
    pub(super) eps: f64,
    pub(super) activation: Activation,
    /// Buckets of relative positions; 0 without any.
    pub(super) buckets: usize,
}

/// Rotary positions: angles go with `base` and are divided by `factor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rope {
    pub(super) base: f64,
    pub(super) factor: f64,
}

/// Configuration of a Qwen 3 or Gemma 3 decoder.
#[derive(Clone, Debug)]
pub(super) struct DecoderConfig {
    /// Gemma: embeddings are scaled, norms stand on both sides and keep their gains less one.
    pub(super) gemma: bool,
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) groups: usize,
    pub(super) head: usize,
    pub(super) positions: usize,
    pub(super) eps: f64,
    pub(super) activation: Activation,
    pub(super) bias: bool,
    pub(super) scale: f64,
    pub(super) cap: Option<f64>,
    /// Whether a token sees only what came before it.
    pub(super) causal: bool,
    /// What a layer with a window sees: what is nearer than so many tokens.
    pub(super) window: usize,
    /// Whether a layer has that window, for each layer.
    pub(super) windowed: Vec<bool>,
    /// Without and with a window.
    pub(super) rope: [Rope; 2],
}

/// The architecture of a model, with its sizes.
#[derive(Clone, Debug)]
pub(super) enum Architecture {
    Encoder(EncoderConfig),
    Decoder(DecoderConfig),
}

impl Architecture {
    pub(super) fn read(folder: &Path) -> Result<(String, Self)> {
        let path = folder.join("config.json");
        let fields = Fields::read(&path)?
            .ok_or_else(|| Error::format(folder, "has no `config.json`, so that it is unknown which model it holds"))?;
        let kind = fields.text("model_type", None)?.to_owned();
        let found = match kind.as_str() {
            "bert" | "roberta" | "xlm-roberta" | "camembert" | "distilbert" | "mpnet" => {
                Self::Encoder(encoder(&fields, &kind)?)
            }
            "qwen3" | "gemma3_text" => Self::Decoder(decoder(&fields, kind != "qwen3")?),
            // Of texts and pictures; its part for texts is a model of its own.
            "gemma3" => {
                let text = fields.part("text_config").ok_or_else(|| fields.bad("has no `text_config`"))?;
                Self::Decoder(decoder(&text, true)?)
            }
            _ => {
                return Err(
                    fields.bad(format!("its model_type `{kind}` is not supported, expected one of {SUPPORTED}"))
                );
            }
        };
        Ok((kind, found))
    }

    pub(super) fn hidden(&self) -> usize {
        match self {
            Self::Encoder(config) => config.hidden,
            Self::Decoder(config) => config.hidden,
        }
    }

    pub(super) fn vocabulary(&self) -> usize {
        match self {
            Self::Encoder(config) => config.vocabulary,
            Self::Decoder(config) => config.vocabulary,
        }
    }

    /// Tokens a text at most.
    pub(super) fn positions(&self) -> usize {
        match self {
            Self::Encoder(config) => config.positions - config.first_position,
            Self::Decoder(config) => config.positions,
        }
    }
}

fn encoder(fields: &Fields, kind: &str) -> Result<EncoderConfig> {
    let distil = kind == "distilbert";
    let name = |usual: &'static str, distils: &'static str| if distil { distils } else { usual };
    let hidden = fields.size(name("hidden_size", "dim"), None)?;
    let heads = fields.size(name("num_attention_heads", "n_heads"), None)?;
    if hidden % heads != 0 {
        return Err(fields.bad(format!("its {hidden} values a token do not divide among {heads} heads")));
    }
    let positions = fields.size("max_position_embeddings", Some(512))?;
    // RoBERTa's positions begin behind that of padding.
    let first_position = match kind {
        "bert" | "distilbert" => 0,
        _ => fields.typed("pad_token_id", "a whole number", Value::as_u64, Some(1))?.min(MAX_SIZE) as usize + 1,
    };
    if first_position >= positions {
        return Err(fields.bad(format!("its {positions} positions begin at {first_position}, so that none is left")));
    }
    let absolute = fields.text("position_embedding_type", Some("absolute"))?;
    if absolute != "absolute" {
        return Err(
            fields.bad(format!("`position_embedding_type`: `{absolute}` is not supported, expected `absolute`"))
        );
    }
    if fields.flag("is_decoder", false)? {
        return Err(fields.bad("`is_decoder` is not supported for this model_type"));
    }
    Ok(EncoderConfig {
        names: match kind {
            "distilbert" => TensorNames::DistilBert,
            "mpnet" => TensorNames::Mpnet,
            _ => TensorNames::Bert,
        },
        vocabulary: fields.size("vocab_size", None)?,
        hidden,
        inner: fields.size(name("intermediate_size", "hidden_dim"), None)?,
        layers: fields.size(name("num_hidden_layers", "n_layers"), None)?,
        heads,
        positions,
        first_position,
        types: if distil || kind == "mpnet" { 0 } else { fields.size("type_vocab_size", Some(2))? },
        eps: if distil { 1e-12 } else { fields.number("layer_norm_eps", Some(1e-12))? },
        activation: fields.activation(name("hidden_act", "activation"), "gelu")?,
        buckets: if kind == "mpnet" { fields.size("relative_attention_num_buckets", Some(32))? } else { 0 },
    })
}

fn decoder(fields: &Fields, gemma: bool) -> Result<DecoderConfig> {
    let heads = fields.size("num_attention_heads", None)?;
    let groups = fields.size("num_key_value_heads", Some(heads))?;
    if heads % groups != 0 {
        return Err(fields.bad(format!("its {heads} heads do not divide among {groups} groups of keys")));
    }
    let head = fields.size("head_dim", Some(if gemma { 256 } else { 128 }))?;
    if head % 2 != 0 {
        return Err(fields.bad(format!("`head_dim`: expected an even number, got {head}")));
    }
    let layers = fields.size("num_hidden_layers", None)?;
    let both_ways = fields.flag("use_bidirectional_attention", false)?;
    let causal = !both_ways && fields.flag("is_causal", true)?;
    let window = fields.size("sliding_window", Some(4096))?;
    // transformers counts a window that looks both ways in three manners.
    let window = match (both_ways, causal) {
        (true, _) => window / 2 + 1,
        (false, false) => window + 1,
        (false, true) => window,
    };
    let scalar = if gemma { fields.number("query_pre_attn_scalar", Some(256.0))? } else { head as f64 };
    let [hidden_act, usual] = if gemma { ["hidden_activation", "gelu_pytorch_tanh"] } else { ["hidden_act", "silu"] };
    Ok(DecoderConfig {
        gemma,
        vocabulary: fields.size("vocab_size", None)?,
        hidden: fields.size("hidden_size", None)?,
        inner: fields.size("intermediate_size", None)?,
        heads,
        groups,
        head,
        positions: fields.size("max_position_embeddings", Some(if gemma { 131_072 } else { 32_768 }))?,
        eps: fields.number("rms_norm_eps", Some(1e-6))?,
        activation: fields.activation(hidden_act, usual)?,
        bias: fields.flag("attention_bias", false)?,
        scale: scalar.powf(-0.5),
        cap: fields.get("attn_logit_softcapping").and_then(Value::as_f64),
        causal,
        window,
        windowed: windowed(fields, gemma, layers)?,
        rope: [rope(fields, gemma, false)?, rope(fields, gemma, true)?],
    })
}

/// Whether a layer has a window, for each layer.
fn windowed(fields: &Fields, gemma: bool, layers: usize) -> Result<Vec<bool>> {
    if layers > 10_000 {
        return Err(fields.bad(format!("`num_hidden_layers`: expected 10,000 at most, got {layers}")));
    }
    let Some(listed) = fields.get("layer_types") else {
        let pattern = fields.size("sliding_window_pattern", Some(6))?;
        let from = if fields.flag("use_sliding_window", false)? {
            fields.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28)
        } else {
            u64::MAX
        };
        return Ok((0..layers).map(|i| if gemma { (i + 1) % pattern != 0 } else { i as u64 >= from }).collect());
    };
    let listed = listed.as_array().filter(|list| list.len() == layers);
    let listed = listed.ok_or_else(|| fields.bad(format!("`layer_types`: expected a list of {layers} layers")))?;
    let read = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(fields.bad(format!(
            "`layer_types`: {kind} is not supported, expected \"full_attention\" or \"sliding_attention\""
        ))),
    };
    listed.iter().map(read).collect()
}

/// Rotary positions of layers without or with a window. Files say it in three ways: `rope_theta` with `rope_scaling`,
/// `rope_parameters`, and `rope_parameters` for each kind of layer.
fn rope(fields: &Fields, gemma: bool, windowed: bool) -> Result<Rope> {
    let kind = if windowed { "sliding_attention" } else { "full_attention" };
    let parameters = fields.part("rope_parameters");
    let nested = parameters.as_ref().and_then(|p| p.part(kind));
    let usual = match (gemma, windowed) {
        (true, false) => 1_000_000.0,
        _ => 10_000.0,
    };
    let (base, scaling) = match (nested, parameters) {
        (Some(own), _) => (own.number("rope_theta", Some(usual))?, Some(own)),
        (None, Some(all)) if all.get("rope_theta").is_some() => (all.number("rope_theta", None)?, Some(all)),
        _ if gemma && windowed => (fields.number("rope_local_base_freq", Some(usual))?, None),
        _ => (fields.number("rope_theta", Some(usual))?, fields.part("rope_scaling")),
    };
    let mut factor = 1.0;
    if let Some(scaling) = scaling {
        let old = scaling.text("type", Some("default"))?;
        match scaling.text("rope_type", Some(old))? {
            "default" => {}
            "linear" => factor = scaling.number("factor", None)?,
            other => {
                return Err(fields
                    .bad(format!("rotary positions of type `{other}` are not supported, expected default or linear")));
            }
        }
    }
    Ok(Rope { base, factor })
}
