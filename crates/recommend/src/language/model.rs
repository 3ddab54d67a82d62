//! A language model in memory: from a folder and to one, asked for logits, given tokens.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::chat::{ChatOptions, ChatTemplate};
use super::config::{LanguageConfig, LanguageFamily};
use super::folder::{CONFIG, SmallFiles, SpecialTokens, read_config, read_tokenizer};
use super::network::{LanguageNetwork, TokenBatch};
use super::shape::{LanguageLayout, LanguageShape};
use super::shards::write_weights;
use super::tokenizer::LanguageTokenizer;
use super::weights::{WeightFiles, WeightType};
use crate::decoder::PackedPlaces;
use sememe::compute::tensor::{Precision, TensorBackend};
use sememe::compute::{BackendTask, mean_row, run_on};
use sememe::data::first_non_finite;
use sememe::io::write_bytes_atomic;
use sememe::{Device, Error, Matrix, Result, check_shape};
use sememe_text::dialogues::ChatMessage;

/// The largest file of weights, unless the caller says otherwise.
const SHARD_BYTES: u64 = 5_000_000_000;
/// Tokens that go through the decoder at a time, unless one sequence has more.
const BATCH_TOKENS: usize = 2048;

/// A causal language model of the Llama family, as a Hugging Face folder holds it.
///
/// Read are `config.json`, `model.safetensors` or its shards, `tokenizer.json` and its settings, and the chat template; what is saved loads
/// in transformers, with the same logits. Nothing in a folder is run but the template, which reaches nothing and is bounded.
///
/// ```
/// use sememe::Device;
/// use sememe_recommend::{ChatMessage, LanguageModel};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama");
/// let model = LanguageModel::load(folder)?;
/// let text = model.chat(&[ChatMessage::new("user", "Which item?")], true)?;
/// assert!(text.contains("Which item?"));
/// let tokens = model.tokenizer().encode("the user took", false)?;
/// let logits = &model.logits(&[&tokens], &Device::cpu())?[0];
/// assert_eq!((logits.rows(), logits.dims()), (tokens.len(), model.shape().vocabulary));
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone)]
pub struct LanguageModel {
    config: LanguageConfig,
    params: Vec<f32>,
    tokenizer: LanguageTokenizer,
    template: Option<ChatTemplate>,
    specials: SpecialTokens,
    files: SmallFiles,
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageModel")
            .field("family", &self.config.family)
            .field("shape", &self.config.shape)
            .field("parameters", &self.params.len())
            .field("tokenizer", &self.tokenizer)
            .finish_non_exhaustive()
    }
}

/// How a model is written.
///
/// ```
/// use sememe_recommend::{LanguageModel, SaveOptions, WeightType};
/// # let place = tempfile::tempdir()?;
/// # let (folder, target) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama"), place.path());
/// let options = SaveOptions { weights: WeightType::Bf16, shard_bytes: 8_000 };
/// LanguageModel::load(folder)?.save_with(target, &options)?;
/// assert!(target.join("model.safetensors.index.json").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// The type of the weights.
    pub weights: WeightType,
    /// The largest file of weights in bytes; more go to several files with an index.
    pub shard_bytes: u64,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { weights: WeightType::F32, shard_bytes: SHARD_BYTES }
    }
}

/// Vectors that new tokens begin with, for [`LanguageModel::add_tokens`].
///
/// ```
/// use sememe::Matrix;
/// use sememe_recommend::{LanguageModel, NewTokenRows};
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama");
/// let mut model = LanguageModel::load(folder)?;
/// let embedding = Matrix::from_vec(1, model.shape().decoder.dims, vec![0.5; 16])?;
/// model.add_tokens(&[], &["<a_0>"], Some(&NewTokenRows { embedding: &embedding, output: None }))?;
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NewTokenRows<'a> {
    /// `[new, dims]` what they are read as.
    pub embedding: &'a Matrix,
    /// `[new, dims]` what the output is compared with, for models where that is another table; the mean of those that are there without it.
    pub output: Option<&'a Matrix>,
}

impl LanguageModel {
    /// Reads a folder. What its files claim is compared with their sizes before memory is taken, and there is one copy of the weights, in
    /// f32. O(parameters).
    ///
    /// # Errors
    /// [`Error::Format`], naming the file, what is wrong with it and the way out: a part that is missing or damaged, another architecture,
    /// weights of another shape or type, a tokenizer with more tokens than the model.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            let problem = if folder.exists() { "is a file, expected a folder" } else { "does not exist" };
            return Err(Error::format(folder, format!("{problem} with a language model in it")));
        }
        let config = read_config(folder)?;
        let tokenizer = read_tokenizer(folder)?;
        let (rows, tokens) = (config.shape.vocabulary, tokenizer.tokens());
        if tokens > rows {
            let problem = format!("its tokenizer has {tokens} tokens, but its model knows {rows} only");
            return Err(Error::format(folder, problem));
        }
        let files = SmallFiles::read(folder)?;
        let template = files.template(folder)?;
        let specials = files.specials(folder, &config, &tokenizer)?;
        let params = WeightFiles::open(folder)?.read(&config.shape)?;
        Ok(Self { config, params, tokenizer, template, specials, files })
    }

    /// Writes the model to a folder in f32, whole or not at all; see [`save_with`](Self::save_with).
    ///
    /// # Errors
    /// As there.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.save_with(folder, &SaveOptions::default())
    }

    /// Writes the model to a folder, whole or not at all: what of a model lay there before is replaced, other files are kept. Settings that
    /// this crate does not know are written as they were read. The same model gives the same bytes.
    ///
    /// # Errors
    /// Weights that are not finite; a folder that cannot be written.
    pub fn save_with(&self, folder: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        self.save_beside(folder.as_ref(), options, &[])
    }

    /// As [`save_with`](Self::save_with), with further files in the folder.
    pub(crate) fn save_beside(&self, folder: &Path, options: &SaveOptions, beside: &[(&str, &[u8])]) -> Result<()> {
        let shape = &self.config.shape;
        let names: Vec<&str> = beside.iter().map(|(name, _)| *name).collect();
        let out = self.files.write(folder, &self.tokenizer, self.template.as_ref(), &names)?;
        for (name, bytes) in beside {
            write_bytes_atomic(out.file(name), bytes)?;
        }
        write_bytes_atomic(out.file(CONFIG), &self.config.to_bytes(shape.vocabulary, options.weights)?)?;
        write_weights(&out, shape, &self.params, options.weights, options.shard_bytes)?;
        out.commit()
    }

    /// The family that it is of.
    #[must_use]
    pub fn family(&self) -> LanguageFamily {
        self.config.family
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> &LanguageShape {
        &self.config.shape
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &LanguageTokenizer {
        &self.tokenizer
    }

    /// Its chat template, if it has one.
    #[must_use]
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The token that begins a text, if it has one.
    #[must_use]
    pub fn begin_token(&self) -> Option<u32> {
        self.specials.begin
    }

    /// Tokens that end a text; there may be several.
    #[must_use]
    pub fn end_tokens(&self) -> &[u32] {
        &self.specials.end
    }

    /// The token that fills shorter texts, if it has one.
    #[must_use]
    pub fn padding_token(&self) -> Option<u32> {
        self.specials.padding
    }

    /// The text of a chat by the model's own template, with `add_generation_prompt` up to where the assistant's answer begins.
    ///
    /// # Errors
    /// [`Error::Data`] without a template; as [`ChatTemplate::render`].
    pub fn chat(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String> {
        let options = ChatOptions { add_generation_prompt, ..ChatOptions::default() };
        match &self.template {
            Some(template) => template.render(messages, &options),
            None => Err(Error::Data(
                "the model has no chat template: its folder has no `chat_template.jinja`, and no `chat_template` in \
                 `tokenizer_config.json`; add one, or give plain texts"
                    .into(),
            )),
        }
    }

    /// Logits `[tokens, vocabulary]` of what follows each token of each sequence. O(tokens·parameters).
    ///
    /// # Errors
    /// [`Error::Data`] for an empty sequence, one that is longer than the model reads, or an unknown token; device errors.
    pub fn logits(&self, sequences: &[&[u32]], device: &Device) -> Result<Vec<Matrix>> {
        let shape = &self.config.shape;
        for (number, sequence) in sequences.iter().enumerate() {
            let most = shape.decoder.positions;
            if sequence.is_empty() || sequence.len() > most {
                let problem = format!("sequence {number} has {} tokens, expected 1 to {most}", sequence.len());
                return Err(Error::Data(problem));
            }
            if let Some(token) = sequence.iter().find(|token| **token as usize >= shape.vocabulary) {
                let known = shape.vocabulary;
                return Err(Error::Data(format!(
                    "sequence {number} names token {token}, past the {known} of the model"
                )));
            }
        }
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        run_on(device, LogitsTask { model: self, sequences })
    }

    /// Gives the model tokens: special ones, then others, numbered on from where the tokenizer's end. Returns their numbers. Vectors begin
    /// at the mean of those of the tokens that are there, or with `rows`. Where a model's table is padded, new tokens take the padding
    /// first. O(parameters).
    ///
    /// ```
    /// use sememe_recommend::LanguageModel;
    /// # let place = tempfile::tempdir()?;
    /// # let (folder, target) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama"), place.path());
    /// let mut model = LanguageModel::load(folder)?;
    /// let new = model.add_tokens(&["<item>"], &["<a_0>", "<a_1>"], None)?;
    /// assert_eq!(model.tokenizer().encode("<item><a_1>", false)?, [new.start, new.start + 2]);
    /// model.save(target)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Tokens that the tokenizer has already, that stand twice or are empty; a tokenizer whose numbers have gaps; rows of another shape or
    /// with NaN or infinity. The model is as it was then.
    pub fn add_tokens<S: AsRef<str>>(
        &mut self,
        special: &[S],
        others: &[S],
        rows: Option<&NewTokenRows<'_>>,
    ) -> Result<Range<u32>> {
        let new = special.len() + others.len();
        let (tokenizer, first) = self.tokenizer.with_added(special, others)?;
        let shape = &self.config.shape;
        if let Some(rows) = rows {
            check_new_rows(rows, shape, new)?;
        }
        let grown = LanguageShape { vocabulary: shape.vocabulary.max(first as usize + new), ..shape.clone() };
        grown.validate()?;
        let (from, to) = (LanguageLayout::new(shape), LanguageLayout::new(&grown));
        let (d, old) = (shape.decoder.dims, shape.vocabulary * shape.decoder.dims);
        let mut params = std::mem::take(&mut self.params);
        params.resize(to.end, 0.0);
        if !shape.tied {
            params.copy_within(from.output..from.output + old, to.output);
        }
        let given = [rows.map(|rows| rows.embedding), rows.and_then(|rows| rows.output)];
        let tables = if shape.tied { 1 } else { 2 };
        for (at, given) in [to.embedding, to.output].into_iter().zip(given).take(tables) {
            let (known, rest) = params[at..at + grown.vocabulary * d].split_at_mut(first as usize * d);
            let fresh = &mut rest[..new * d];
            match given {
                Some(rows) => fresh.copy_from_slice(rows.as_slice()),
                None => {
                    let mean = mean_row(known, d);
                    fresh.chunks_exact_mut(d).for_each(|row| row.copy_from_slice(&mean));
                }
            }
        }
        self.params = params;
        self.config.shape = grown;
        self.tokenizer = tokenizer;
        Ok(first..first + new as u32)
    }

    /// All parameters, as [`LanguageLayout`] places them.
    pub(crate) fn params(&self) -> &[f32] {
        &self.params
    }

    /// The same model with other parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of them.
    pub(crate) fn set_params(&mut self, params: Vec<f32>) -> Result<()> {
        check_shape("parameters", self.params.len(), params.len(), "the language model")?;
        self.params = params;
        Ok(())
    }
}

fn check_new_rows(rows: &NewTokenRows<'_>, shape: &LanguageShape, new: usize) -> Result<()> {
    if shape.tied && rows.output.is_some() {
        return Err(Error::config("output", "the model's output has the same table as its input, so give rows of one"));
    }
    for (place, table) in [("embedding", Some(rows.embedding)), ("output", rows.output)] {
        let Some(table) = table else { continue };
        check_shape("new tokens", new, table.rows(), place)?;
        check_shape("dims", shape.decoder.dims, table.dims(), place)?;
        if let Some((first, count)) = first_non_finite(table.as_slice(), table.dims()) {
            let (first, count, rows) = (first as u64, count as u64, table.rows() as u64);
            return Err(Error::NonFinite { first, count, rows, place: place.into() });
        }
    }
    Ok(())
}

/// Logits on whichever backend.
struct LogitsTask<'a> {
    model: &'a LanguageModel,
    sequences: &'a [&'a [u32]],
}

impl BackendTask for LogitsTask<'_> {
    type Output = Result<Vec<Matrix>>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let backend = &**backend;
        let (shape, sequences) = (self.model.shape(), self.sequences);
        let longest = sequences.iter().map(|s| s.len()).max().unwrap_or(0);
        let all = sequences.iter().map(|s| s.len()).sum::<usize>();
        let most = all.min(BATCH_TOKENS).max(longest);
        let mut network = LanguageNetwork::new(backend, shape, Precision::F32, self.model.params(), most, None)?;
        let (mut out, mut first) = (Vec::with_capacity(sequences.len()), 0);
        while first < sequences.len() {
            let mut tokens = 0;
            let fits = |sequence: &&&[u32]| {
                tokens += sequence.len();
                tokens <= most
            };
            let batch: Vec<&[u32]> = sequences[first..].iter().take_while(fits).copied().collect();
            first += batch.len();
            let packed = TokenBatch {
                places: PackedPlaces::of(batch.iter().map(|s| s.len())),
                tokens: batch.concat(),
                asked: (0..batch.iter().map(|s| s.len() as u32).sum()).collect(),
                targets: Vec::new(),
            };
            let mut values = Vec::with_capacity(packed.tokens.len() * shape.vocabulary);
            network.logits(&packed, &mut |_, logits| {
                values.extend_from_slice(logits);
                Ok(())
            })?;
            let mut rest = &values[..];
            for sequence in batch {
                let (own, others) = rest.split_at(sequence.len() * shape.vocabulary);
                out.push(Matrix::from_vec(sequence.len(), shape.vocabulary, own.to_vec())?);
                rest = others;
            }
        }
        Ok(out)
    }
}
