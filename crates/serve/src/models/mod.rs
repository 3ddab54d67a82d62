//! Models that take time: a recommender, a language model, and what turns texts into vectors.
//!
//! Each lives on a thread of its own, behind a queue with a bound: what waits is answered together, what finds the queue full is refused.
//! A thread ends when its generation is dropped and what had begun is finished.

mod embedding;
#[cfg(feature = "language")]
mod language;
#[cfg(feature = "language")]
mod language_work;
#[cfg(not(feature = "language"))]
mod no_language;
mod queue;
mod ranking;

pub use embedding::EmbedWorker;
#[cfg(feature = "language")]
pub use language::{AskedItems, LanguageWorker, WrittenText};
#[cfg(feature = "language")]
pub use language_work::TextEvent;
#[cfg(not(feature = "language"))]
pub use no_language::LanguageWorker;
pub use ranking::{RankedItem, RankingQuery, RecommendWorker};

use crate::catalogue::Catalogue;
use crate::error::ApiError;
use crate::sources::Resolved;
use sememe::{Codec, Error, Matrix, Result};
use sememe_recommend::Recommender;
use serde::Serialize;
use utoipa::ToSchema;

/// What a recommender can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RecommenderInfo {
    /// What it predicts: `items`, all codes of an item at once (`levels`), or IDs code by code (`ordered`).
    #[schema(example = "items")]
    pub predicts: String,
    /// Whether it searches for IDs, so that `beams` can be set.
    pub beams: bool,
    /// Whether it reads vectors of wishes.
    pub wishes: bool,
}

/// What a language model is called, and may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LanguageInfo {
    /// The name of its folder.
    pub model: String,
    /// A question as an example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
}

/// How long a queue may get, and how much of it is answered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Requests that may wait.
    pub queue: usize,
    /// Queries that are answered together.
    pub batch: usize,
}

/// The models of one generation; those that the service was started with.
#[derive(Debug, Default)]
pub struct Models {
    /// Histories and wishes to items.
    pub recommender: Option<RecommendWorker>,
    /// Chats to items and texts.
    pub language: Option<LanguageWorker>,
    /// Texts to vectors.
    pub embedder: Option<EmbedWorker>,
}

impl Models {
    /// Loads the models that the sources name, and starts their threads. Their items are found by key.
    ///
    /// # Errors
    /// Files that cannot be read or are of another catalogue or codec; [`Error::Config`] for a language model in a build without them;
    /// device errors.
    pub fn load(from: &Resolved, codec: &Codec, catalogue: &Catalogue) -> Result<Self> {
        let recommender = from.sources.recommender.as_deref().map(|path| {
            let recommender = Recommender::load(path)?;
            let limits = WorkerLimits { queue: 256, batch: 64 };
            let device = from.sources.device.open(1)?;
            RecommendWorker::start(&recommender, &device, catalogue, codec.dims(), limits)
                .map_err(|e| Error::format(path, e.to_string()))
        });
        let embedder = from.sources.embed.as_ref().map(|embed| {
            let limits = WorkerLimits { queue: 256, batch: 64 };
            EmbedWorker::start((embed.open)()?, embed.prefix.clone(), embed.normalize, limits)
        });
        let language = from.sources.language.as_deref().map(|folder| {
            let info = LanguageInfo {
                model: folder.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned()),
                ask: from.sources.ask.clone(),
            };
            LanguageWorker::load(folder, info, from, catalogue)
        });
        Ok(Self {
            recommender: recommender.transpose()?,
            language: language.transpose()?,
            embedder: embedder.transpose()?,
        })
    }

    /// Vectors `[texts, d]` of texts.
    ///
    /// # Errors
    /// `not_loaded` without an embedder; as [`EmbedWorker::embed`].
    pub async fn embed(&self, texts: Vec<String>) -> Result<Matrix, ApiError> {
        match &self.embedder {
            Some(embedder) => embedder.embed(texts).await,
            None => Err(ApiError::not_loaded("a model that turns texts into vectors", "embed")),
        }
    }
}
