//! A language model on a device, for one question after another.

use super::recommender::{LanguageRecommender, SpokenItem, SpokenOptions};
use super::speaker::{IdSpeaker, SpeakerTask};
use super::texts::Texts;
use crate::decoding::{FoundId, SearchQuery, TrieFilter, TriePlaces};
use sememe::compute::run_on;
use sememe::compute::tensor::Precision;
use sememe::{Device, Error, Result};

/// Tokens of questions that are read together, unless one has more.
const QUESTION_TOKENS: usize = 2048;
/// Questions that are answered together.
const QUESTIONS: usize = 32;

impl LanguageRecommender {
    /// Puts the model on a device, to answer many questions with up to `beams` beams each.
    ///
    /// # Errors
    /// [`Error::Data`] for a damaged trie; device errors.
    pub fn session(&self, device: &Device, precision: Precision, beams: usize) -> Result<LanguageSession<'_>> {
        let positions = self.model().shape().decoder.positions;
        let longest = positions.saturating_sub(self.trie().depth() + 1);
        let beams = beams.clamp(1, self.keys().len().max(1));
        let room = (longest.min(QUESTION_TOKENS), QUESTIONS * beams);
        let speaker = run_on(device, SpeakerTask { recommender: self, precision, room })?;
        let longest = longest.min(QUESTION_TOKENS);
        let places = TriePlaces::new(self.trie())?;
        Ok(LanguageSession { recommender: self, places, speaker, longest, beams, texts: Texts::default() })
    }
}

/// A language model on a device that answers questions with items.
pub struct LanguageSession<'a> {
    pub(super) recommender: &'a LanguageRecommender,
    /// Of its trie.
    places: TriePlaces,
    pub(super) speaker: Box<dyn IdSpeaker>,
    /// Tokens of the longest question.
    pub(super) longest: usize,
    beams: usize,
    /// Texts that are being written.
    pub(super) texts: Texts,
}

impl std::fmt::Debug for LanguageSession<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageSession").field("recommender", self.recommender).finish_non_exhaustive()
    }
}

impl LanguageSession<'_> {
    /// Tokens of the longest question that is read.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The most probable items after each question, best first. Items in `left_out` of a question do not come out, nor do items that
    /// `allowed`, where given, refuses. Every item that comes out exists. O(tokens·parameters + depth·beams·parameters) a question.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty question or one that is longer than the model reads; [`Error::Config`] for no beams or more than the
    /// session has room for; device errors.
    pub fn recommend(
        &mut self,
        questions: &[(&[u32], &[u32])],
        options: &SpokenOptions,
        allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
    ) -> Result<Vec<Vec<SpokenItem>>> {
        if options.beams == 0 {
            return Err(Error::config("beams", "expected at least 1, got 0"));
        }
        for (number, (tokens, _)) in questions.iter().enumerate() {
            if tokens.is_empty() || tokens.len() > self.longest {
                let (got, most) = (tokens.len(), self.longest);
                return Err(Error::Data(format!("question {number} has {got} tokens, expected 1 to {most}")));
            }
        }
        let beams = options.beams.min(self.recommender.keys().len());
        if beams > self.beams {
            return Err(Error::config("beams", format!("the session has room for {}, got {beams}", self.beams)));
        }
        let filter = TrieFilter::new(self.recommender.trie(), &self.places, allowed);
        let (mut out, mut first) = (Vec::with_capacity(questions.len()), 0);
        while first < questions.len() {
            let (mut held, mut end) = (0, first);
            while end < questions.len() && end - first < QUESTIONS {
                held += questions[end].0.len();
                if held > self.longest {
                    break;
                }
                end += 1;
            }
            let queries: Vec<SearchQuery<'_>> = (first as u64..)
                .zip(&questions[first..end])
                .map(|(number, (prompt, left_out))| SearchQuery { prompt, left_out, number })
                .collect();
            let found = self.speaker.speak(&filter, &queries, beams, options.sampling.as_ref())?;
            out.extend(found.iter().map(|ids| spoken(ids, options.count)));
            first = end;
        }
        Ok(out)
    }
}

/// The items of some IDs, best first, the lower row on a tie.
fn spoken(found: &[FoundId], count: usize) -> Vec<SpokenItem> {
    let of = |id: &FoundId| {
        let log_probability = id.log_probability - libm::log(id.sharing as f64);
        let item = |item: &u32| SpokenItem { item: *item, id: id.id.clone(), log_probability };
        id.items.iter().map(item).collect::<Vec<_>>()
    };
    let mut list: Vec<SpokenItem> = found.iter().flat_map(of).collect();
    list.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability).then(a.item.cmp(&b.item)));
    list.truncate(count);
    list
}
