//! What follows the network, as sentence-transformers' files say: pooling, further layers, normalisation; and what goes before it.

use std::path::{Path, PathBuf};

use candle_core::{Result as Made, Tensor};
use serde_json::Value;
use sha2::Sha256;

use super::Pooling;
use super::config::Fields;
use super::layers::{Activation, Linear};
use super::weights::{Loader, Weights};
use sememe::{Error, Remedy, Result};

impl Pooling {
    /// One vector of `[tokens, values]`.
    pub(super) fn apply(self, x: &Tensor) -> Made<Tensor> {
        match self {
            Self::Mean => x.mean(0),
            Self::Cls => x.get(0),
            Self::Last => x.get(x.dim(0)? - 1),
        }
    }
}

/// A layer behind pooling, in a folder of its own.
#[derive(Clone, Debug)]
struct Dense {
    folder: PathBuf,
    inputs: usize,
    outputs: usize,
    bias: bool,
    activation: Activation,
}

/// What the files beside a network say.
pub(super) struct Modules {
    /// Where the network is.
    pub(super) network: PathBuf,
    pub(super) pooling: Option<Pooling>,
    /// Whether pooling takes the tokens of a prompt, too.
    pub(super) pools_prompt: bool,
    dense: Vec<Dense>,
    pub(super) normalize: bool,
    /// Tokens a text at most.
    pub(super) max_tokens: Option<usize>,
    pub(super) lower_case: bool,
}

/// Files that say how long texts may be, by the class that wrote them.
const LENGTHS: [&str; 6] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

impl Modules {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut out = Self {
            network: folder.into(),
            pooling: None,
            pools_prompt: true,
            dense: Vec::new(),
            normalize: false,
            max_tokens: None,
            lower_case: false,
        };
        let list = folder.join("modules.json");
        if list.exists() {
            out.read_list(folder, &list)?;
        } else {
            out.read_pooling(&folder.join("1_Pooling"), false)?;
        }
        for name in LENGTHS {
            if let Some(fields) = Fields::read(&out.network.join(name))? {
                if fields.get("max_seq_length").is_some() {
                    out.max_tokens = Some(fields.size("max_seq_length", None)?);
                }
                out.lower_case = fields.flag("do_lower_case", false)?;
                break;
            }
        }
        Ok(out)
    }

    fn read_list(&mut self, folder: &Path, list: &Path) -> Result<()> {
        let bytes = sememe::io::read_bytes_capped(list, 1 << 20)?;
        let bad = |problem: String| Error::format(list, problem);
        let modules: Vec<Value> =
            serde_json::from_slice(&bytes).map_err(|e| bad(format!("is no list of modules: {e}")))?;
        for (at, module) in modules.iter().enumerate() {
            let field = |name: &str| module.get(name).and_then(Value::as_str).unwrap_or_default();
            let (kind, path) = (field("type"), field("path"));
            let inside = Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_)));
            if !inside {
                return Err(bad(format!("module {at} lies at `{path}`, expected a folder inside this one")));
            }
            let path = if path.is_empty() { folder.to_owned() } else { folder.join(path) };
            // By the class, as the package that holds it was renamed more than once.
            match (at, kind.rsplit('.').next().unwrap_or_default()) {
                (0, "Transformer") => self.network = path,
                (1, "Pooling") => self.read_pooling(&path, true)?,
                (2.., "Dense") if !self.normalize => self.read_dense(path)?,
                (2.., "Normalize") => self.normalize = true,
                _ => {
                    return Err(bad(format!(
                        "module {at} is of the type `{kind}`, which is not supported there, expected Transformer, Pooling, then \
                         Dense or Normalize"
                    )));
                }
            }
        }
        if modules.is_empty() { Err(bad("names no module".into())) } else { Ok(()) }
    }

    fn read_pooling(&mut self, folder: &Path, named: bool) -> Result<()> {
        let Some(fields) = Fields::read(&folder.join("config.json"))? else {
            return if named {
                Err(Error::format(folder, "has no `config.json`, which says how tokens are pooled"))
            } else {
                Ok(())
            };
        };
        let known = [
            ("cls_token", Some(Pooling::Cls)),
            ("mean_tokens", Some(Pooling::Mean)),
            ("lasttoken", Some(Pooling::Last)),
            ("max_tokens", None),
            ("mean_sqrt_len_tokens", None),
            ("weightedmean_tokens", None),
        ];
        let mut on = Vec::new();
        for (name, pooling) in known {
            if fields.flag(&format!("pooling_mode_{name}"), false)? {
                on.push((name, pooling));
            }
        }
        // Newer files name the modes; older ones in which none is on mean the mean.
        match fields.get("pooling_mode") {
            Some(modes) => {
                let list = std::slice::from_ref(modes);
                let list = modes.as_array().map_or(list, Vec::as_slice).iter().filter_map(Value::as_str);
                let fits = |name: &str, mode| name == mode || name.split('_').next() == Some(mode);
                let find = |mode| known.into_iter().find(|(name, _)| fits(name, mode)).unwrap_or(("another", None));
                on = list.map(find).collect();
            }
            None if on.is_empty() => on = vec![("mean_tokens", Some(Pooling::Mean))],
            None => {}
        }
        self.pools_prompt = fields.flag("include_prompt", true)?;
        match on.as_slice() {
            [(_, Some(pooling))] => self.pooling = Some(*pooling),
            _ => {
                let names: Vec<&str> = on.iter().map(|(name, _)| *name).collect();
                return Err(fields.bad(format!(
                    "pools by `{}`, expected one of cls_token, mean_tokens and lasttoken",
                    names.join("`, `")
                )));
            }
        }
        Ok(())
    }

    fn read_dense(&mut self, folder: PathBuf) -> Result<()> {
        let fields = Fields::read(&folder.join("config.json"))?
            .ok_or_else(|| Error::format(&folder, "has no `config.json`, which says how wide its layer is"))?;
        if fields.flag("use_residual", false)? {
            return Err(fields.bad("`use_residual` is not supported"));
        }
        let said = fields.text("activation_function", Some("Tanh"))?;
        let activation = match said.rsplit('.').next().unwrap_or_default() {
            "Identity" => Activation::Identity,
            "Tanh" => Activation::Tanh,
            "ReLU" => Activation::Relu,
            "GELU" => Activation::Gelu,
            "SiLU" => Activation::Silu,
            _ => {
                return Err(
                    fields.bad(format!("`activation_function`: `{said}` is not supported, expected Identity or Tanh"))
                );
            }
        };
        let (inputs, outputs) = (fields.size("in_features", None)?, fields.size("out_features", None)?);
        let bias = fields.flag("bias", true)?;
        self.dense.push(Dense { inputs, outputs, bias, activation, folder });
        Ok(())
    }

    /// Adds the files of the layers to a hash.
    pub(super) fn digest(&self, hash: &mut Sha256) -> Result<()> {
        self.dense.iter().try_for_each(|dense| Weights::open(&dense.folder)?.digest(hash))
    }

    /// The layers, and how many values come out of them.
    pub(super) fn head(&self, hidden: usize, shapes_only: bool) -> Result<(Vec<(Linear, Activation)>, usize)> {
        let (mut layers, mut values) = (Vec::new(), hidden);
        for dense in &self.dense {
            if dense.inputs != values {
                let problem = format!("takes {} values, what comes before it gives {values}", dense.inputs);
                return Err(Error::format(&dense.folder, problem));
            }
            let weights = Weights::open(&dense.folder)?;
            let from = Loader::new(&weights, "linear.".into(), shapes_only);
            layers.push((Linear::load(&from, dense.inputs, dense.outputs, dense.bias)?, dense.activation));
            values = dense.outputs;
        }
        Ok((layers, values))
    }
}

/// What goes before every text by its name in `config_sentence_transformers.json`; without a name the folder's own default, if any.
pub(super) fn prompt(folder: &Path, wanted: Option<&str>) -> Result<String> {
    let Some(fields) = Fields::read(&folder.join("config_sentence_transformers.json"))? else {
        return match wanted {
            None | Some("") => Ok(String::new()),
            Some(name) => {
                let problem = format!("`{name}` is unknown, as the model has no `config_sentence_transformers.json`");
                Err(Error::config("prompt", problem).mend([Remedy::give("prefix").to("write it out")]))
            }
        };
    };
    let name = match (wanted, fields.get("default_prompt_name")) {
        (Some(""), _) | (None, None) => return Ok(String::new()),
        (Some(name), _) => name,
        (None, Some(name)) => name.as_str().unwrap_or_default(),
    };
    let prompts = fields.part("prompts");
    match prompts.as_ref().and_then(|prompts| prompts.get(name)).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => {
            let listed = fields.get("prompts").and_then(Value::as_object);
            let names: Vec<String> = listed.into_iter().flatten().map(|(name, _)| format!("`{name}`")).collect();
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            Err(Error::config("prompt", format!("`{name}` is unknown, the model has {there}")))
        }
    }
}
