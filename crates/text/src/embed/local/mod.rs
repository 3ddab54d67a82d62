//! Vectors from a model in a folder, by `candle` on the CPU.
//!
//! The folder has Hugging Face's layout: `config.json`, `tokenizer.json` and `model.safetensors`, whole or in parts; what
//! sentence-transformers adds (`modules.json`, `1_Pooling/`, layers behind it, lengths and prompts) is honoured. The networks are
//! written here over candle's tensors: its own keep caches for generating words, have no way to a decoder's last layer or take
//! windows differently than the models were trained with.
//!
//! A text is run alone, without padding, and several at once on several threads. So its vector depends on nothing but the text: not on
//! what else is in a batch, nor on where a run was stopped.

mod config;
mod decoder;
mod encoder;
mod layers;
mod modules;
mod tokens;
mod weights;

use std::cmp::Reverse;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result as Made, Tensor};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::config::Architecture;
use self::decoder::Decoder;
use self::encoder::Encoder;
use self::layers::{Activation, Linear};
use self::modules::Modules;
use self::tokens::TextTokenizer;
use self::weights::{Loader, Weights, hash_file};
use super::{EmbedCall, EmbedError, Embedder, Pooling};
use sememe::data::Matrix;
use sememe::unit_rows;
use sememe::{Error, Result};

/// A model's folder and how it is used. What is left out is as the folder says.
///
/// ```
/// use sememe_text::embed::LocalModel;
/// let model = LocalModel { folder: "models/all-MiniLM-L6-v2".into(), max_tokens: Some(128), ..LocalModel::default() };
/// let problem = model.open().unwrap_err().to_string();
/// assert!(problem.contains("models/all-MiniLM-L6-v2"), "{problem}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalModel {
    /// The folder.
    pub folder: PathBuf,
    /// The name that is kept with vectors; without it, that of the folder.
    pub name: Option<String>,
    /// How tokens become one vector; without it and `1_Pooling/`, the mean for encoders and the last token for decoders.
    pub pooling: Option<Pooling>,
    /// Tokens a text at most, what the tokenizer adds included; longer texts are cut.
    pub max_tokens: Option<usize>,
    /// The first so many values of a vector only, for models that were trained for it.
    pub dimensions: Option<usize>,
    /// Which of the folder's prompts goes before every text, by name; empty for none.
    pub prompt: Option<String>,
}

impl LocalModel {
    /// Checks what can be known without the folder.
    ///
    /// # Errors
    /// [`Error::Config`] for no folder, an empty name, and zero tokens or dimensions.
    pub fn validate(&self) -> Result<()> {
        if self.folder.as_os_str().is_empty() {
            return Err(Error::config("folder", "expected the folder of a model, got nothing"));
        }
        if self.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return Err(Error::config("name", "is empty; leave it out to take that of the folder"));
        }
        for (name, value) in [("max_tokens", self.max_tokens), ("dimensions", self.dimensions)] {
            if value == Some(0) {
                return Err(Error::config(name, "expected at least 1, got 0"));
            }
        }
        Ok(())
    }

    /// Reads everything but the values of the weights, checks that every tensor is there in its shape, and hashes the files. The values
    /// are read with the first text, 4 bytes each, so that a run with nothing to do is quick.
    ///
    /// # Errors
    /// [`Error::Format`] for a folder without one of its parts (says which), an architecture that is not supported (names those
    /// that are), and files that are damaged; [`Error::Config`] as [`LocalModel::validate`], for more tokens than the model has
    /// positions, more dimensions than it gives, and a prompt that it has not; and what the system returns.
    pub fn open(self) -> Result<LocalEmbedder> {
        self.validate()?;
        let folder = self.folder.as_path();
        if !folder.is_dir() {
            let what = if folder.exists() { "is a file, expected the folder of a model" } else { "is not there" };
            return Err(Error::format(folder, what));
        }
        let modules = Modules::read(folder)?;
        let (kind, architecture) = Architecture::read(&modules.network)?;
        let weights = Weights::open(&modules.network)?;
        let prompt = modules::prompt(folder, self.prompt.as_deref())?;
        if !prompt.is_empty() && !modules.pools_prompt {
            let problem = "the model pools without the tokens of its prompt, which is not supported; leave it out with an empty name";
            return Err(Error::config("prompt", problem));
        }
        let mut tokens =
            TextTokenizer::open(&modules.network, modules.lower_case, prompt.clone(), architecture.vocabulary())?;
        let (habit, from_left) = tokens::truncation(&modules.network)?;
        let most = architecture.positions();
        let least = tokens.added() + 1;
        if least > most {
            let added = tokens.added();
            let problem = format!("has positions for {most} tokens, and its tokenizer adds {added} to every text");
            return Err(Error::format(folder, problem));
        }
        let max_tokens = self.max_tokens.or(modules.max_tokens).or(habit).unwrap_or(most);
        if let Some(wanted) = self.max_tokens.filter(|wanted| !(least..=most).contains(wanted)) {
            let problem =
                format!("expected {least} to {most}, which is what the model has positions for, got {wanted}");
            return Err(Error::config("max_tokens", problem));
        }
        let max_tokens = max_tokens.clamp(least, most);
        tokens.cut(max_tokens, from_left)?;
        let pooling = self.pooling.or(modules.pooling).unwrap_or(match architecture {
            Architecture::Encoder(_) => Pooling::Mean,
            Architecture::Decoder(_) => Pooling::Last,
        });
        // Every name and shape, before a text waits for it.
        Model::load(&architecture, &weights, &modules, true)?;
        let width = modules.head(architecture.hidden(), true)?.1;
        let dims = self.dimensions.unwrap_or(width);
        if dims > width {
            return Err(Error::config("dimensions", format!("the model gives {width} values, got {dims}")));
        }
        let mut hash = Sha256::new();
        hash_file(&modules.network.join("config.json"), &mut hash)?;
        hash_file(&modules.network.join("tokenizer.json"), &mut hash)?;
        weights.digest(&mut hash)?;
        modules.digest(&mut hash)?;
        let content = sememe::digest::hex(&hash.finalize());
        let settings = serde_json::json!({
            "content": content,
            "dimensions": dims,
            "from_left": from_left,
            "lower_case": modules.lower_case,
            "max_tokens": max_tokens,
            "normalize": modules.normalize,
            "pooling": pooling,
            "prompt": prompt,
        });
        let name = match self.name {
            Some(name) => name,
            None => folder_name(folder)?,
        };
        Ok(LocalEmbedder {
            folder: self.folder,
            name,
            kind,
            settings: settings.to_string(),
            architecture,
            weights,
            modules,
            tokens,
            pooling,
            max_tokens,
            dims,
            model: Mutex::new(None),
            lanes: Mutex::new(Vec::new()),
            cut: AtomicU64::new(0),
        })
    }
}

fn folder_name(folder: &Path) -> Result<String> {
    let whole = folder.canonicalize().map_err(|e| Error::io("open", folder, e))?;
    Ok(whole.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned()))
}

/// A candle error without its backtrace.
fn broken(e: &candle_core::Error) -> Error {
    let text = e.to_string();
    Error::Data(format!("the model cannot be run: {}", text.lines().next().unwrap_or_default()))
}

/// A thread that runs one text at a time: a pool of one, in which products that are cut among rayon's threads stay where they are.
type Lane = Arc<ThreadPool>;

/// Weights in memory.
struct Model {
    network: Network,
    head: Vec<(Linear, Activation)>,
}

enum Network {
    Encoder(Encoder),
    Decoder(Decoder),
}

impl Model {
    fn load(architecture: &Architecture, weights: &Weights, modules: &Modules, shapes_only: bool) -> Result<Self> {
        let from =
            |ending: &str| -> Result<Loader<'_>> { Ok(Loader::new(weights, weights.prefix(ending)?, shapes_only)) };
        let network = match architecture {
            Architecture::Encoder(config) => Network::Encoder(Encoder::load(config, &from(encoder::WORDS)?)?),
            Architecture::Decoder(config) => Network::Decoder(Decoder::load(config, &from(decoder::WORDS)?)?),
        };
        Ok(Self { network, head: modules.head(architecture.hidden(), shapes_only)?.0 })
    }

    /// One vector.
    fn run(&self, tokens: &[u32], pooling: Pooling) -> Made<Vec<f32>> {
        let values = match &self.network {
            Network::Encoder(encoder) => encoder.run(tokens)?,
            Network::Decoder(decoder) => decoder.run(tokens)?,
        };
        let mut x: Tensor = pooling.apply(&values)?.unsqueeze(0)?;
        for (linear, activation) in &self.head {
            x = activation.apply(&linear.apply(&x)?)?;
        }
        x.squeeze(0)?.to_vec1()
    }
}

/// A [`LocalModel`] in use.
pub struct LocalEmbedder {
    folder: PathBuf,
    name: String,
    kind: String,
    settings: String,
    architecture: Architecture,
    weights: Weights,
    modules: Modules,
    tokens: TextTokenizer,
    pooling: Pooling,
    max_tokens: usize,
    dims: usize,
    model: Mutex<Option<Arc<Model>>>,
    lanes: Mutex<Vec<Lane>>,
    cut: AtomicU64,
}

impl fmt::Debug for LocalEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEmbedder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl LocalEmbedder {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The architecture, as `config.json` calls it: `bert`, `qwen3`, ….
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.kind
    }

    /// How tokens become one vector.
    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Tokens a text at most.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Values a vector.
    #[must_use]
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Texts so far that were longer than [`LocalEmbedder::max_tokens`], and cut.
    #[must_use]
    pub fn cut_texts(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// As many lanes as rayon has threads.
    fn lanes(&self) -> Result<Vec<Lane>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        while lanes.len() < rayon::current_num_threads() {
            let lane = ThreadPoolBuilder::new().num_threads(1).build();
            lanes.push(Arc::new(lane.map_err(|e| Error::Data(format!("no thread can be started: {e}")))?));
        }
        Ok(lanes.clone())
    }

    /// The vectors of texts, with their places, in any order.
    fn rows(
        &self,
        model: &Model,
        tokens: &[(usize, Vec<u32>)],
        call: &EmbedCall<'_>,
    ) -> Result<Vec<(usize, Vec<f32>)>> {
        let run = |(at, ids): &(usize, Vec<u32>)| {
            if call.stopped() {
                return Err(Error::Interrupted(String::new()));
            }
            Ok((*at, model.run(ids, self.pooling).map_err(|e| broken(&e))?))
        };
        let lanes = self.lanes()?;
        if tokens.len() < lanes.len() {
            // Few texts: all threads for each.
            return tokens.iter().map(run).collect();
        }
        let next = AtomicUsize::new(0);
        let lane = || -> Result<Vec<(usize, Vec<f32>)>> {
            let mut rows = Vec::new();
            while let Some(text) = tokens.get(next.fetch_add(1, Ordering::Relaxed)) {
                rows.push(run(text)?);
            }
            Ok(rows)
        };
        let rows = std::thread::scope(|scope| {
            let running: Vec<_> = lanes.iter().map(|pool| scope.spawn(move || pool.install(lane))).collect();
            let join = |lane: std::thread::ScopedJoinHandle<'_, Result<Vec<_>>>| {
                lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        Ok(rows.concat())
    }

    /// The weights, read with the first call.
    fn loaded(&self) -> Result<Arc<Model>> {
        let mut held = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = &*held {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(Model::load(&self.architecture, &self.weights, &self.modules, false)?);
        *held = Some(Arc::clone(&model));
        Ok(model)
    }
}

impl Embedder for LocalEmbedder {
    fn model(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn embed(&self, texts: &[&str], call: &EmbedCall<'_>) -> Result<Matrix, EmbedError> {
        let model = self.loaded().map_err(EmbedError::All)?;
        let mut tokens = texts
            .par_iter()
            .enumerate()
            .map(|(at, text)| {
                let (ids, cut) = self.tokens.of(text)?;
                self.cut.fetch_add(u64::from(cut), Ordering::Relaxed);
                Ok((at, ids))
            })
            .collect::<Result<Vec<_>>>()?;
        // The longest first, so that no thread begins it when the others are done.
        tokens.sort_by_key(|(at, ids)| (Reverse(ids.len()), *at));
        let rows = self.rows(&model, &tokens, call)?;
        let mut out = Matrix::zeros(texts.len(), self.dims)?;
        for (at, row) in rows {
            out.row_mut(at).copy_from_slice(&row[..self.dims]);
        }
        if self.modules.normalize {
            let mut norms = vec![0.0; texts.len()];
            unit_rows(out.as_mut_slice(), self.dims, &mut norms);
        }
        Ok(out)
    }

    fn note(&self) -> Option<String> {
        let (texts, most) = (self.cut_texts(), self.max_tokens);
        let noun = if texts == 1 { "text was" } else { "texts were" };
        (texts > 0).then(|| format!("{texts} {noun} longer than {most} tokens, and cut there"))
    }
}
