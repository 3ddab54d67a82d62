//! Whatever speaks on a device: IDs that are searched for, and texts token by token.

use super::recommender::LanguageRecommender;
use super::scorer::LanguageScorer;
use crate::decoding::{BeamStep, FoundId, Sampling, SearchQuery, TrieFilter, search};
use sememe::Result;
use sememe::compute::BackendTask;
use sememe::compute::tensor::{Precision, TensorBackend};
use std::sync::Arc;

/// Whatever speaks IDs and texts, on whichever device.
pub(super) trait IdSpeaker: Send {
    /// IDs after each question; texts that are being written are not touched.
    fn speak(
        &mut self,
        filter: &TrieFilter<'_>,
        queries: &[SearchQuery<'_>],
        beams: usize,
        sampling: Option<&Sampling>,
    ) -> Result<Vec<Vec<FoundId>>>;

    /// Begins texts after prompts, behind those that there are, or, `fresh`, in their place; the new ones' logits `[prompts, vocabulary]`.
    fn join_texts(&mut self, prompts: &[&[u32]], fresh: bool) -> Result<Vec<f32>>;

    /// Takes texts a token further, the longest to `length` tokens; their logits `[texts, vocabulary]`. Those that are not named are over.
    fn go_on_with_texts(&mut self, steps: &[BeamStep], length: usize) -> Result<Vec<f32>>;
}

impl<B: TensorBackend> IdSpeaker for LanguageScorer<B> {
    fn speak(
        &mut self,
        filter: &TrieFilter<'_>,
        queries: &[SearchQuery<'_>],
        beams: usize,
        sampling: Option<&Sampling>,
    ) -> Result<Vec<Vec<FoundId>>> {
        let backend = self.backend().clone();
        backend.together(|| self.beside_texts(|scorer| search(scorer, filter, queries, beams, sampling)))
    }

    fn join_texts(&mut self, prompts: &[&[u32]], fresh: bool) -> Result<Vec<f32>> {
        let backend = self.backend().clone();
        backend.together(|| Self::join_texts(self, prompts, fresh))
    }

    fn go_on_with_texts(&mut self, steps: &[BeamStep], length: usize) -> Result<Vec<f32>> {
        let backend = self.backend().clone();
        backend.together(|| Self::go_on_with_texts(self, steps, length))
    }
}

/// Puts a model on whichever backend.
pub(super) struct SpeakerTask<'a> {
    pub recommender: &'a LanguageRecommender,
    pub precision: Precision,
    /// The most tokens, and the most beams, of a call.
    pub room: (usize, usize),
}

impl BackendTask for SpeakerTask<'_> {
    type Output = Result<Box<dyn IdSpeaker>>;

    fn on<B: TensorBackend + 'static>(self, backend: &Arc<B>) -> Self::Output {
        let (model, trie) = (self.recommender.model(), self.recommender.trie());
        Ok(Box::new(LanguageScorer::new(backend, model, trie, self.precision, self.room)?))
    }
}
