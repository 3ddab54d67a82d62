//! Ordered prediction as its callers ask for it: one step of training, answers, measures.

use super::answers::{OrderedAnswers, OrderedRequest, ranked};
use super::batch::OrderedBatch;
use super::model::OrderedModel;
use super::training::OrderedTraining;
use crate::decoder::Moments;
use crate::decoding::TrieFilter;
use crate::recommender::Recommendation;
use crate::recommender::history::questions;
use crate::recommender::items::ItemSources;
use crate::recommender::measure::{RankingRequest, training_events};
use crate::recommender::options::DEFAULT_BEAMS;
use crate::recommender::settings::RecommenderSettings;
use crate::recommender::trained::TrainedNetwork;
use sememe::Result;
use sememe::compute::BackendTask;
use sememe::compute::tensor::TensorBackend;
use sememe::eval::{RankingMeasures, RankingTally};
use sememe::progress::{Observer, check as check_interrupt};
use std::sync::Arc;

/// Scores of all items that are held at a time.
const SCORES: usize = 1 << 22;

impl<B: TensorBackend> TrainedNetwork for OrderedTraining<'_, B> {
    fn step(
        &mut self,
        settings: &RecommenderSettings,
        pieces: &[&[u32]],
        masks: Option<&[u32]>,
        rate: f64,
        time: u64,
    ) -> Result<()> {
        let batch = OrderedBatch::of(&self.model.codes, pieces);
        self.gradients(settings, &batch, masks)?;
        self.update(settings, rate, time)
    }

    fn take_loss(&mut self) -> Result<f64> {
        self.learner.take_loss(self.model.backend)
    }

    fn read_params(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.model.layout.len()];
        self.model.backend.read_tensor(&self.model.params, 0, &mut out)?;
        Ok(out)
    }

    fn read_moments(&self) -> Result<Moments> {
        self.learner.read_moments(self.model.backend)
    }

    fn measure(
        &mut self,
        settings: &RecommenderSettings,
        asked: &RankingRequest<'_>,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures> {
        measure(&self.model, settings, asked, DEFAULT_BEAMS, observer)
    }
}

/// Where the right items stand in the lists that a search of `beams` prefixes finds; what it does not find counts as not found.
fn measure<B: TensorBackend>(
    model: &OrderedModel<'_, B>,
    settings: &RecommenderSettings,
    asked: &RankingRequest<'_>,
    beams: usize,
    observer: &dyn Observer,
) -> Result<RankingMeasures> {
    let items = model.codes.items();
    let all: Vec<_> = questions(asked.histories, asked.from_end).collect();
    let histories: Vec<&[u32]> = all.iter().map(|q| q.history).collect();
    let trie = model.codes.trie()?;
    let filter = TrieFilter::new(&trie, None)?;
    let mut tally = RankingTally::new(training_events(asked.histories, items, settings.hold_out.items()));
    let request = OrderedRequest { beams, sampling: None, hide_seen: asked.hide_seen };
    let at_once = (SCORES / items).max(1);
    OrderedAnswers::new(model, settings, &histories, beams)?.answer(
        model,
        &filter,
        &histories,
        &request,
        &mut |first, found| {
            check_interrupt(observer)?;
            for (part, found) in found.chunks(at_once).enumerate() {
                let mut scores = vec![f32::NAN; found.len() * items];
                for (row, found) in scores.chunks_exact_mut(items).zip(found) {
                    ranked(found, items).iter().for_each(|r| row[r.item as usize] = r.log_probability as f32);
                }
                let at = first + part * at_once;
                let targets: Vec<u32> = all[at..at + found.len()].iter().map(|q| q.target).collect();
                // What is left out was not searched for.
                tally.add(&scores, &targets, &vec![&[][..]; found.len()])?;
            }
            Ok(())
        },
    )?;
    Ok(tally.measures())
}

/// A recommender of this kind.
#[derive(Clone, Copy)]
pub(crate) struct OrderedParts<'a> {
    pub settings: &'a RecommenderSettings,
    pub sources: &'a ItemSources,
    pub params: &'a [f32],
}

impl OrderedParts<'_> {
    fn model<'b, B: TensorBackend>(&self, backend: &'b B, longest: usize) -> Result<OrderedModel<'b, B>> {
        let Self { settings, sources, params } = *self;
        let levels = sources.codes.as_ref().map_or(1, sememe::Codes::levels);
        let tokens = (longest.min(settings.positions) + 1).saturating_mul(levels);
        OrderedModel::new(backend, settings, sources, sources.vectors.as_ref(), params, tokens)
    }
}

/// Lists of `count` items after each history, on whichever backend.
pub(crate) struct AnswerTask<'a> {
    pub of: OrderedParts<'a>,
    pub histories: &'a [&'a [u32]],
    pub count: usize,
    pub request: OrderedRequest<'a>,
    pub allowed: Option<&'a (dyn Fn(u32) -> bool + Sync)>,
}

impl BackendTask for AnswerTask<'_> {
    type Output = Result<Vec<Vec<Recommendation>>>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let backend = &**backend;
        let longest = self.histories.iter().map(|h| h.len()).max().unwrap_or(0);
        let model = self.of.model(backend, longest)?;
        let trie = model.codes.trie()?;
        let filter = TrieFilter::new(&trie, self.allowed)?;
        let mut room = OrderedAnswers::new(&model, self.of.settings, self.histories, self.request.beams)?;
        let mut out = Vec::with_capacity(self.histories.len());
        room.answer(&model, &filter, self.histories, &self.request, &mut |_, found| {
            out.extend(found.iter().map(|found| ranked(found, self.count)));
            Ok(())
        })?;
        Ok(out)
    }
}

/// Measures on whichever backend.
pub(crate) struct OrderedMeasureTask<'a> {
    pub of: OrderedParts<'a>,
    pub asked: &'a RankingRequest<'a>,
    pub beams: usize,
    pub observer: &'a dyn Observer,
}

impl BackendTask for OrderedMeasureTask<'_> {
    type Output = Result<RankingMeasures>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let backend = &**backend;
        let longest = self.asked.histories.iter().map(<[u32]>::len).max().unwrap_or(0);
        let model = self.of.model(backend, longest)?;
        measure(&model, self.of.settings, self.asked, self.beams, self.observer)
    }
}
