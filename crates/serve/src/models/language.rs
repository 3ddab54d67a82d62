//! Chats to items and texts, by a language model on a thread of its own.

use crate::catalogue::Catalogue;
use crate::error::{ApiError, ErrorCode};
use crate::models::language_work::{LanguageJob, TextEvent, work};
use crate::models::queue::WorkQueue;
use crate::models::{LanguageInfo, RankedItem};
use crate::sources::Resolved;
use sememe::{Error, Result};
use sememe_recommend::{ChatMessage, LanguageRecommender, NamedInText, SpokenItem, SpokenOptions, TextOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

/// Requests that may wait; each takes long.
const QUEUE: usize = 64;
/// The most prefixes of IDs that a search follows.
pub(super) const BEAMS: usize = 50;
/// No item of the catalogue.
const NONE: u32 = u32::MAX;

/// Items that a question is answered with, and the first one's ID in the model's spelling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AskedItems {
    /// Best first.
    pub items: Vec<RankedItem>,
    /// The first one's ID, empty if there is none.
    pub id: String,
    /// The tokens of that ID.
    pub tokens: usize,
}

/// A text that is being written.
#[derive(Debug)]
pub struct WrittenText {
    /// What becomes of it. Dropped, the text ends.
    pub events: UnboundedReceiver<TextEvent>,
}

/// A language model on a thread of its own.
#[derive(Debug)]
pub struct LanguageWorker {
    queue: WorkQueue<LanguageJob>,
    recommender: Arc<LanguageRecommender>,
    item_of_row: Arc<[u32]>,
    /// Tokens of the longest question.
    longest: usize,
    info: LanguageInfo,
    marker: Option<String>,
}

impl LanguageWorker {
    /// Loads a model with its IDs, finds its items in the catalogue by key, and starts the thread.
    ///
    /// # Errors
    /// As [`LanguageRecommender::load`]; [`Error::Format`] if none of its items is served; device errors.
    pub fn load(folder: &Path, info: LanguageInfo, from: &Resolved, catalogue: &Catalogue) -> Result<Self> {
        let recommender = LanguageRecommender::load(folder)?;
        let item_of_row: Arc<[u32]> = {
            let items = catalogue.read();
            recommender.keys().iter().map(|key| items.find(key).unwrap_or(NONE)).collect()
        };
        if item_of_row.iter().all(|item| *item == NONE) {
            let known = recommender.keys().len();
            return Err(Error::format(folder, format!("none of its {known} items is one of those that are served")));
        }
        let recommender = Arc::new(recommender);
        let (device, precision) = (from.sources.device.open(1)?, from.sources.precision);
        let (ready, started) = mpsc::channel();
        let (own, rows) = (Arc::clone(&recommender), Arc::clone(&item_of_row));
        let queue = WorkQueue::start("the language model", "sememe-language", QUEUE, move |waiting| {
            match own.session(&device, precision, BEAMS) {
                Ok(mut session) => {
                    let _ = ready.send(Ok(session.longest()));
                    let served = |row: u32| rows[row as usize] != NONE;
                    let all = !rows.contains(&NONE);
                    work(&waiting, &mut session, if all { None } else { Some(&served) });
                }
                Err(error) => _ = ready.send(Err(error)),
            }
        })?;
        let ended = |_| Error::Data("the language model's thread ended before it began".into());
        let longest = started.recv().map_err(ended)??;
        Ok(Self { queue, recommender, item_of_row, longest, info, marker: from.sources.marker.clone() })
    }

    /// What it is called.
    #[must_use]
    pub fn info(&self) -> LanguageInfo {
        self.info.clone()
    }

    /// Text after which an answer has to name an item; the whole answer is an ID without one.
    #[must_use]
    pub fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    /// The tokens of a chat, up to where the answer begins. O(length); takes milliseconds for a long one.
    ///
    /// # Errors
    /// `bad_request` for a chat that the model's template refuses, `too_large` for one that is longer than the model reads.
    pub fn question(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, ApiError> {
        let tokens = self.recommender.question(messages)?;
        let (have, most) = (tokens.len(), self.longest);
        if have > most {
            let problem = format!("the chat has {have} tokens, at most {most} are read");
            return Err(ApiError::new(ErrorCode::TooLarge, problem).hint("send fewer or shorter messages"));
        }
        Ok(tokens)
    }

    /// The most probable items after a question, best first: those that are served.
    ///
    /// # Errors
    /// `busy` if too many wait already.
    pub async fn ask(&self, question: Vec<u32>, count: usize) -> Result<AskedItems, ApiError> {
        let options = SpokenOptions { count, beams: count.clamp(20, BEAMS), sampling: None };
        let (reply, answer) = oneshot::channel();
        self.queue.put(LanguageJob::Name { question, options, reply })?;
        let spoken: Vec<SpokenItem> = answer.await.map_err(ApiError::internal)??;
        let first = spoken.first().map(|first| (self.recommender.id(first.item), first.id.len()));
        let (id, tokens) = first.unwrap_or_default();
        let ranked = |item: &SpokenItem| self.ranked(item.item, item.log_probability);
        Ok(AskedItems { items: spoken.iter().filter_map(ranked).collect(), id, tokens })
    }

    /// Begins a text.
    ///
    /// # Errors
    /// `busy` if too many wait already; everything else comes as an event.
    pub fn write(&self, question: Vec<u32>, options: TextOptions) -> Result<WrittenText, ApiError> {
        let (sender, events) = unbounded_channel();
        self.queue.put(LanguageJob::Write { question, options, events: sender })?;
        Ok(WrittenText { events })
    }

    /// The items that a text names which are served, in their order. Items that share an ID share its probability.
    #[must_use]
    pub fn named(&self, ids: &[NamedInText]) -> Vec<RankedItem> {
        let of = |named: &NamedInText| {
            let log_probability = named.log_probability - (named.items.len() as f64).ln();
            named.items.iter().filter_map(|row| self.ranked(*row, log_probability)).collect::<Vec<_>>()
        };
        ids.iter().flat_map(of).collect()
    }

    fn ranked(&self, row: u32, log_probability: f64) -> Option<RankedItem> {
        let item = self.item_of_row.get(row as usize).copied().filter(|item| *item != NONE)?;
        Some(RankedItem { item, log_probability })
    }
}
