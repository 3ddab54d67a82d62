//! A language model on a device as what a search over IDs asks.

use super::model::LanguageModel;
use super::shape::{LanguageLayout, LanguageShape};
use crate::decoder::{CachedDecoder, DecoderPass};
use crate::decoding::{AskedLogits, BeamScorer, BeamStep};
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};
use sememe::ids::Trie;
use sememe::{Error, Result};
use std::sync::Arc;

/// A model with its cache, and the rows of the output's table that IDs need.
pub(crate) struct LanguageScorer<B: TensorBackend> {
    backend: Arc<B>,
    shape: LanguageShape,
    layout: LanguageLayout,
    precision: Precision,
    params: B::Tensor,
    /// Cosines and sines, and of how many positions.
    angles: (B::Tensor, usize),
    decoder: CachedDecoder<B>,
    tokens: B::Index,
    /// Tokens of IDs, the end token among them, ascending.
    known: Vec<u32>,
    /// `[known, dims]`: their rows of the output's table.
    table: B::Tensor,
    logits: B::Tensor,
    asked: AskedLogits<B>,
    /// Logits of all tokens, and of how many texts there is room for.
    texts: (B::Tensor, usize),
    /// The most tokens, and the most beams, of a call.
    most: usize,
    beams: usize,
}

impl<B: TensorBackend> LanguageScorer<B> {
    /// A model for prompts of up to `most` tokens together, and up to `beams` beams together.
    ///
    /// # Errors
    /// [`Error::Data`] for a trie with tokens that the model does not know; device errors.
    pub fn new(
        backend: &Arc<B>,
        model: &LanguageModel,
        trie: &Trie,
        precision: Precision,
        (most, beams): (usize, usize),
    ) -> Result<Self> {
        let (shape, layout) = (model.shape().clone(), LanguageLayout::new(model.shape()));
        let (d, most) = (shape.decoder.dims, most.max(beams));
        let known = known_tokens(trie, shape.vocabulary)?;
        let mut params = backend.zeros("parameters", layout.end)?;
        backend.write_tensor(&mut params, 0, model.params())?;
        let positions = shape.decoder.positions.min(most + trie.depth() + 1);
        let mut angles = backend.zeros("angles", positions * shape.decoder.head_dims)?;
        backend.write_tensor(&mut angles, 0, &shape.decoder.angles(positions))?;
        let mut rows = backend.index("tokens of IDs", known.len())?;
        backend.write_index(&mut rows, 0, &known)?;
        let mut table = backend.zeros("output of IDs", known.len() * d)?;
        let output = from(&params, layout.output);
        backend.gather((known.len(), d, shape.vocabulary), output, whole(&rows), false, &mut table, 0)?;
        let slots = most + beams * (trie.depth() + 2);
        Ok(Self {
            decoder: CachedDecoder::new(&**backend, &shape.decoder, most, slots)?,
            tokens: backend.index("tokens", most)?,
            logits: backend.zeros("logits", beams * known.len())?,
            asked: AskedLogits::new(&**backend)?,
            texts: (backend.zeros("logits of texts", 1)?, 0),
            backend: backend.clone(),
            angles: (angles, positions),
            precision,
            shape,
            layout,
            params,
            known,
            table,
            most,
            beams,
        })
    }

    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }

    /// Runs a search while the texts that are being written are set aside.
    pub fn beside_texts<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let texts = self.decoder.set_aside();
        let done = work(self);
        self.decoder.take_up(texts);
        done
    }

    /// Reads prompts of texts, beside those that are being written or, `fresh`, in their place; their logits, `[prompts, vocabulary]`.
    /// Waits for the device.
    ///
    /// # Errors
    /// Prompts that it cannot read; device errors.
    pub fn join_texts(&mut self, prompts: &[&[u32]], fresh: bool) -> Result<Vec<f32>> {
        self.reach(prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0))?;
        self.read(&prompts.concat())?;
        let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        let pass = pass(&*self.backend, &self.shape, &self.layout, self.precision, &self.angles);
        match fresh {
            true => self.decoder.start(&pass, &self.params, &lengths)?,
            false => self.decoder.join(&pass, &self.params, &lengths)?,
        }
        self.all_logits(prompts.len())
    }

    /// Texts go on, each with a token, the longest of them `length` tokens long then; their logits, `[texts, vocabulary]`. Those that are
    /// not named are forgotten. Waits for the device.
    ///
    /// # Errors
    /// Tokens that it cannot read; device errors.
    pub fn go_on_with_texts(&mut self, steps: &[BeamStep], length: usize) -> Result<Vec<f32>> {
        self.reach(length)?;
        self.step(steps)?;
        self.all_logits(steps.len())
    }

    /// Makes the angles of as many positions as texts have, if the model reads so many.
    fn reach(&mut self, length: usize) -> Result<()> {
        let decoder = &self.shape.decoder;
        if length > self.angles.1 && self.angles.1 < decoder.positions {
            let positions = length.next_power_of_two().min(decoder.positions);
            let mut angles = self.backend.zeros("angles", positions * decoder.head_dims)?;
            self.backend.write_tensor(&mut angles, 0, &decoder.angles(positions))?;
            self.angles = (angles, positions);
        }
        Ok(())
    }

    /// Logits of all tokens after each of so many texts, and waits for them.
    fn all_logits(&mut self, texts: usize) -> Result<Vec<f32>> {
        let (d, vocabulary) = (self.shape.decoder.dims, self.shape.vocabulary);
        if texts > self.texts.1 {
            let room = texts.next_power_of_two();
            self.texts = (self.backend.zeros("logits of texts", room * vocabulary)?, room);
        }
        let product = Product { layout: Layout::Nt, m: texts, n: vocabulary, k: d, alpha: 1.0, accumulate: false };
        let (hidden, table) = (whole(&self.decoder.hidden), from(&self.params, self.layout.output));
        self.backend.matmul(&product, Precision::F32, hidden, table, &mut self.texts.0, 0)?;
        let mut out = vec![0.0; texts * vocabulary];
        self.backend.read_tensor(&self.texts.0, 0, &mut out)?;
        Ok(out)
    }

    /// Writes the vectors of tokens to the decoder's input.
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        if tokens.len() > self.most {
            return Err(Error::Data(format!("{} tokens together, there is room for {}", tokens.len(), self.most)));
        }
        let (n, d, vocabulary) = (tokens.len(), self.shape.decoder.dims, self.shape.vocabulary);
        self.backend.write_index(&mut self.tokens, 0, tokens)?;
        let table = from(&self.params, self.layout.embedding);
        self.backend.gather((n, d, vocabulary), table, whole(&self.tokens), false, &mut self.decoder.input, 0)
    }
}

impl<B: TensorBackend> BeamScorer for LanguageScorer<B> {
    fn start(&mut self, prompts: &[&[u32]]) -> Result<()> {
        self.read(&prompts.concat())?;
        let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        let pass = pass(&*self.backend, &self.shape, &self.layout, self.precision, &self.angles);
        self.decoder.start(&pass, &self.params, &lengths)
    }

    fn step(&mut self, steps: &[BeamStep]) -> Result<()> {
        let tokens: Vec<u32> = steps.iter().map(|step| step.token).collect();
        self.read(&tokens)?;
        let from: Vec<usize> = steps.iter().map(|step| step.from).collect();
        let pass = pass(&*self.backend, &self.shape, &self.layout, self.precision, &self.angles);
        self.decoder.step(&pass, &self.params, &from)
    }

    fn logits(&mut self, asked: &[Vec<u32>]) -> Result<Vec<f32>> {
        if asked.len() > self.beams {
            return Err(Error::Data(format!("{} beams together, there is room for {}", asked.len(), self.beams)));
        }
        let (d, k) = (self.shape.decoder.dims, self.known.len());
        let product = Product { layout: Layout::Nt, m: asked.len(), n: k, k: d, alpha: 1.0, accumulate: false };
        // As exact as it gets: nothing is gained by rounding what is ranked.
        let (hidden, table) = (whole(&self.decoder.hidden), whole(&self.table));
        self.backend.matmul(&product, Precision::F32, hidden, table, &mut self.logits, 0)?;
        let place = |token: &u32| {
            let unknown = |_| Error::Data(format!("token {token} is in no ID"));
            self.known.binary_search(token).map(|place| place as u32).map_err(unknown)
        };
        let columns = asked
            .iter()
            .map(|tokens| tokens.iter().map(place).collect::<Result<Vec<u32>>>())
            .collect::<Result<Vec<_>>>()?;
        self.asked.read(&*self.backend, &self.logits, k, &columns)
    }
}

fn pass<'a, B: TensorBackend>(
    backend: &'a B,
    shape: &'a LanguageShape,
    layout: &'a LanguageLayout,
    precision: Precision,
    angles: &'a (B::Tensor, usize),
) -> DecoderPass<'a, B> {
    let (decoder, angles) = (&shape.decoder, (&angles.0, angles.1));
    DecoderPass { backend, shape: decoder, layout: &layout.decoder, precision, angles }
}

/// The tokens of a trie's IDs and the one that ends them, ascending.
pub(super) fn known_tokens(trie: &Trie, vocabulary: usize) -> Result<Vec<u32>> {
    let mut known = vec![trie.end()];
    trie.for_each(|id, _| {
        known.extend_from_slice(id);
        // IDs are many and their tokens few.
        if known.len() > 1 << 20 {
            known.sort_unstable();
            known.dedup();
        }
        Ok::<(), Error>(())
    })?;
    known.sort_unstable();
    known.dedup();
    match known.last() {
        Some(last) if *last as usize >= vocabulary => Err(Error::Data(format!(
            "IDs have the token {last}, but the model knows {vocabulary} only: they are numbered for another model"
        ))),
        _ => Ok(known),
    }
}
