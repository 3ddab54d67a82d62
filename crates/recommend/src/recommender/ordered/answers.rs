//! Answers: the IDs that a search over the trie finds after each history.

use super::batch::TokenBatch;
use super::model::{OrderedModel, TokenReader};
use crate::decoder::CachedDecoder;
use crate::decoding::{AskedLogits, BeamScorer, BeamStep, FoundId, Sampling, SearchQuery, TrieFilter, search};
use crate::recommender::Recommendation;
use crate::recommender::settings::RecommenderSettings;
use sememe::compute::tensor::{Layout, Precision, Product, TensorBackend, from, whole};
use sememe::{Error, Result};

/// Logits that are held at a time.
const LOGITS: usize = 1 << 22;

/// How answers are searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderedRequest<'a> {
    /// Prefixes that are followed for each history, or IDs that are drawn.
    pub beams: usize,
    pub sampling: Option<&'a Sampling>,
    /// Whether items of the history are left out.
    pub hide_seen: bool,
}

/// Room for answering some histories at a time.
pub(crate) struct OrderedAnswers<B: TensorBackend> {
    decoder: CachedDecoder<B>,
    reader: TokenReader<B>,
    logits: B::Tensor,
    asked: AskedLogits<B>,
    /// The latest items of a history that are read.
    positions: usize,
    beams: usize,
    /// The most tokens of histories, and the most histories, at a time.
    most: usize,
    queries: usize,
}

impl<B: TensorBackend> OrderedAnswers<B> {
    /// Room for searches of `beams` prefixes after these histories, a batch at a time.
    ///
    /// # Errors
    /// [`Error::Config`] for no beams; device errors.
    pub fn new(
        model: &OrderedModel<B>,
        settings: &RecommenderSettings,
        histories: &[&[u32]],
        beams: usize,
    ) -> Result<Self> {
        if beams == 0 {
            return Err(Error::config("beams", "expected at least 1, got 0"));
        }
        let (backend, layout, positions) = (&*model.backend, &model.layout, settings.positions);
        // More prefixes than items there are not.
        let beams = beams.min(model.codes.items());
        let lengths = histories.iter().map(|h| h.len().min(positions) * layout.levels);
        let longest = lengths.clone().max().unwrap_or(1);
        let most = lengths.fold(0usize, usize::saturating_add).min(settings.batch_tokens).max(longest).max(1);
        let widest = (0..layout.levels).map(|level| model.codes.codebook(level)).max().unwrap_or(1);
        let few = (most / beams).min(LOGITS / widest.saturating_mul(beams));
        let queries = few.min(histories.len()).max(1);
        let at_once = most.max(queries * beams);
        Ok(Self {
            // Many IDs stand alone after a code or two; the cache grows where they do not.
            decoder: CachedDecoder::new(backend, &model.shape, at_once, most + queries * beams)?,
            reader: TokenReader::new(backend, layout, at_once)?,
            logits: backend.zeros("logits", queries * beams * widest)?,
            asked: AskedLogits::new(backend)?,
            positions,
            beams,
            most,
            queries,
        })
    }

    /// What comes after each history: `sink(number of the first history, the IDs found after each)`, best first. Histories are read from
    /// their ends, as far as the decoder reaches.
    ///
    /// # Errors
    /// Device errors; what `sink` returns.
    pub fn answer(
        &mut self,
        model: &OrderedModel<B>,
        filter: &TrieFilter<'_>,
        histories: &[&[u32]],
        request: &OrderedRequest<'_>,
        sink: &mut dyn FnMut(usize, Vec<Vec<FoundId>>) -> Result<()>,
    ) -> Result<()> {
        let (positions, levels, beams) = (self.positions, model.layout.levels, self.beams);
        let mut first = 0;
        while first < histories.len() {
            let (mut held, mut end) = (0, first);
            while end < histories.len() && end - first < self.queries {
                held += histories[end].len().min(positions) * levels;
                if held > self.most {
                    break;
                }
                end += 1;
            }
            let mut queries: Vec<SearchQuery<'_>> = Vec::new();
            for (number, history) in (first as u64..).zip(&histories[first..end]) {
                let prompt = &history[history.len().saturating_sub(positions)..];
                queries.push(SearchQuery { prompt, left_out: if request.hide_seen { history } else { &[] }, number });
            }
            let mut scorer = OrderedScorer { model, room: self, level: 0 };
            let found = model.backend.together(|| search(&mut scorer, filter, &queries, beams, request.sampling))?;
            sink(first, found)?;
            first = end;
        }
        Ok(())
    }
}

/// The model as what a search asks.
struct OrderedScorer<'a, B: TensorBackend> {
    model: &'a OrderedModel<B>,
    room: &'a mut OrderedAnswers<B>,
    /// The level of the codes that come next.
    level: usize,
}

impl<B: TensorBackend> BeamScorer for OrderedScorer<'_, B> {
    fn start(&mut self, prompts: &[&[u32]]) -> Result<()> {
        let (codes, room) = (&self.model.codes, &mut *self.room);
        let mut batch = TokenBatch::default();
        for item in prompts.iter().copied().flatten() {
            (0..codes.levels).for_each(|level| batch.push(codes, *item, level));
        }
        room.reader.read(self.model, &batch, &mut room.decoder.input)?;
        let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len() * codes.levels).collect();
        self.level = 0;
        room.decoder.start(&self.model.pass(), &self.model.params, &lengths)
    }

    fn step(&mut self, steps: &[BeamStep]) -> Result<()> {
        let room = &mut *self.room;
        let mut batch = TokenBatch::default();
        steps.iter().for_each(|step| batch.push_open(step.token, self.level));
        room.reader.read(self.model, &batch, &mut room.decoder.input)?;
        self.level += 1;
        let from: Vec<usize> = steps.iter().map(|step| step.from).collect();
        room.decoder.step(&self.model.pass(), &self.model.params, &from)
    }

    fn logits(&mut self, asked: &[Vec<u32>]) -> Result<Vec<f32>> {
        let (model, room, d) = (self.model, &mut *self.room, self.model.shape.dims);
        let (first, k) = (model.codes.first[self.level], model.codes.codebook(self.level));
        let product = Product { layout: Layout::Nt, m: asked.len(), n: k, k: d, alpha: 1.0, accumulate: false };
        let table = from(&model.params, model.layout.codes + first * d);
        // As exact as it gets: nothing is gained by rounding what is ranked.
        let hidden = whole(&room.decoder.hidden);
        model.backend.matmul(&product, Precision::F32, hidden, table, &mut room.logits, 0)?;
        let columns: Vec<Vec<u32>> =
            asked.iter().map(|tokens| tokens.iter().map(|token| token - first as u32).collect()).collect();
        room.asked.read(&*model.backend, &room.logits, k, &columns)
    }
}

/// The items of some IDs, best first, the lower number on a tie: those that share an ID share its probability equally.
pub(crate) fn ranked(found: &[FoundId], count: usize) -> Vec<Recommendation> {
    let of = |id: &FoundId| {
        let log_probability = id.log_probability - libm::log(id.sharing as f64);
        id.items.iter().map(move |item| Recommendation { item: *item, log_probability }).collect::<Vec<_>>()
    };
    let mut list: Vec<Recommendation> = found.iter().flat_map(of).collect();
    list.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability).then(a.item.cmp(&b.item)));
    list.truncate(count);
    list
}
