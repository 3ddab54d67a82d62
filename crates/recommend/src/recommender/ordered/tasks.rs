//! Ordered prediction as its callers ask for it: one step of training, answers, measures.

use super::answers::{OrderedAnswers, OrderedRequest, ranked};
use super::batch::OrderedBatch;
use super::model::OrderedModel;
use super::training::OrderedTraining;
use crate::decoder::Moments;
use crate::decoding::{TrieFilter, TriePlaces};
use crate::recommender::Recommendation;
use crate::recommender::history::questions;
use crate::recommender::items::ItemSources;
use crate::recommender::learner::UpdatePart;
use crate::recommender::measure::{RankingRequest, training_events};
use crate::recommender::options::DEFAULT_BEAMS;
use crate::recommender::settings::RecommenderSettings;
use crate::recommender::trained::TrainedNetwork;
use sememe::Result;
use sememe::compute::tensor::TensorBackend;
use sememe::eval::{RankingMeasures, RankingTally};
use sememe::ids::Trie;
use sememe::progress::{Observer, check as check_interrupt};
use std::sync::Arc;

/// Scores of all items that are held at a time.
const SCORES: usize = 1 << 22;

impl<B: TensorBackend> TrainedNetwork for OrderedTraining<B> {
    fn step(
        &mut self,
        settings: &RecommenderSettings,
        pieces: &[&[u32]],
        masks: Option<&[u32]>,
        part: UpdatePart,
        at: (f64, u64),
    ) -> Result<()> {
        let batch = OrderedBatch::of(&self.model.codes, pieces);
        self.gradients(settings, &batch, masks, part)?;
        if part.last { self.update(settings, at) } else { Ok(()) }
    }

    fn take_loss(&mut self) -> Result<f64> {
        self.learner.take_loss(&*self.model.backend)
    }

    fn read_params(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.model.layout.len()];
        self.model.backend.read_tensor(&self.model.params, 0, &mut out)?;
        Ok(out)
    }

    fn read_moments(&self) -> Result<Moments> {
        self.learner.read_moments(&*self.model.backend)
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
    model: &OrderedModel<B>,
    settings: &RecommenderSettings,
    asked: &RankingRequest<'_>,
    beams: usize,
    observer: &dyn Observer,
) -> Result<RankingMeasures> {
    let items = model.codes.items();
    let all: Vec<_> = questions(asked.histories, asked.from_end).collect();
    let histories: Vec<&[u32]> = all.iter().map(|q| q.history).collect();
    let trie = model.codes.trie()?;
    let places = TriePlaces::new(&trie)?;
    let filter = TrieFilter::new(&trie, &places, None);
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

/// A recommender of this kind that stays on its device, with the trie of its IDs.
pub(crate) trait OrderedSearcher: Send {
    /// Lists of `count` items after each history.
    ///
    /// # Errors
    /// Requests that cannot be; device errors.
    fn answer(
        &mut self,
        histories: &[&[u32]],
        count: usize,
        request: &OrderedRequest<'_>,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
    ) -> Result<Vec<Vec<Recommendation>>>;

    /// Where the right items stand in the lists of a search.
    ///
    /// # Errors
    /// Device errors; a wish to stop.
    fn measure(&mut self, asked: &RankingRequest<'_>, beams: usize, observer: &dyn Observer)
    -> Result<RankingMeasures>;
}

struct ResidentSearcher<B: TensorBackend> {
    model: OrderedModel<B>,
    settings: RecommenderSettings,
    trie: Trie,
    places: TriePlaces,
}

/// Takes a recommender of this kind to a device.
///
/// # Errors
/// Sources that do not fit; device errors.
pub(crate) fn searcher<B: TensorBackend + 'static>(
    backend: &Arc<B>,
    settings: &RecommenderSettings,
    sources: &ItemSources,
    params: &[f32],
) -> Result<Box<dyn OrderedSearcher>> {
    let levels = sources.codes.as_ref().map_or(1, sememe::Codes::levels);
    let tokens = (settings.positions + 1).saturating_mul(levels);
    let model = OrderedModel::new(backend, settings, sources, sources.vectors.as_ref(), params, tokens)?;
    let trie = model.codes.trie()?;
    let places = TriePlaces::new(&trie)?;
    Ok(Box::new(ResidentSearcher { model, settings: settings.clone(), trie, places }))
}

impl<B: TensorBackend> OrderedSearcher for ResidentSearcher<B> {
    fn answer(
        &mut self,
        histories: &[&[u32]],
        count: usize,
        request: &OrderedRequest<'_>,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let filter = TrieFilter::new(&self.trie, &self.places, allowed);
        let mut room = OrderedAnswers::new(&self.model, &self.settings, histories, request.beams)?;
        let mut out = Vec::with_capacity(histories.len());
        room.answer(&self.model, &filter, histories, request, &mut |_, found| {
            out.extend(found.iter().map(|found| ranked(found, count)));
            Ok(())
        })?;
        Ok(out)
    }

    fn measure(
        &mut self,
        asked: &RankingRequest<'_>,
        beams: usize,
        observer: &dyn Observer,
    ) -> Result<RankingMeasures> {
        measure(&self.model, &self.settings, asked, beams, observer)
    }
}
