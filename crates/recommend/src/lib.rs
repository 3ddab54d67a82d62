//! A recommender that speaks semantic IDs: a small decoder reads what a user took, item by item, and says what may come next.
//!
//! An item is read, and scored, as the sum of what it is made of ([`ItemSources`]): a vector for each code of its ID, a learned map
//! of its text's vector, a vector of its own, or several of these. With codes or vectors, items that no history has ever named can be
//! recommended. The score of an item is a sum over its codes, so all items are ranked exactly, without a search.
//!
//! Or the ID of the next item is predicted code by code ([`Prediction::Ordered`]), as generative recommenders do it: histories are read as
//! codes, and IDs are found by a beam search that only ever stands on prefixes of IDs that exist. Or all its codes are predicted at once
//! ([`Prediction::Levels`]), one head a level, for long IDs whose codes have no order; all items are ranked then, too.
//!
//! ```
//! use sememe::{Codes, Device, Sequences};
//! use sememe_recommend::{ItemSources, RecommenderSettings, RecommenderTraining};
//!
//! // Users walk from item to item; the ID of item i is (i / 3, i % 3).
//! let histories = Sequences::from_lists((0..60).map(|user| (0..6).map(|t| (user + t) % 9).collect::<Vec<u32>>()))?;
//! let codes = Codes::from_vec(9, 2, (0..9).flat_map(|i| [i / 3, i % 3]).collect())?;
//! let sources = ItemSources { items: 9, codes: Some(codes), ..ItemSources::default() };
//!
//! let settings = RecommenderSettings {
//!     dims: 16, heads: 2, positions: 8, batch_tokens: 64, epochs: 30, dropout: 0.0, rate: 1e-2, ..RecommenderSettings::default()
//! };
//! let recommender = RecommenderTraining::new(settings)?.run(&sources, &histories, &Device::cpu(), &(), &mut ())?;
//! let next = recommender.recommend(&[&[3, 4, 5]], 1, true, None, &Device::cpu())?;
//! assert_eq!(next[0][0].item, 6);
//! # Ok::<(), sememe::Error>(())
//! ```

mod comparison;
mod container;
mod decoder;
mod decoding;
#[cfg(feature = "language")]
mod language;
mod recommender;

pub use comparison::{ComparedRun, ComparedTable, MeasureSpread};
pub use decoder::{DecoderShape, RopeScaling};
pub use decoding::Sampling;
#[cfg(feature = "language")]
pub use language::{
    ChatOptions, ChatTemplate, ChatTokens, CodewordMap, GeneratedText, LanguageFamily, LanguageModel,
    LanguageRecommender, LanguageSession, LanguageShape, LanguageTokenizer, LanguageTuning, Learn, NamedInText,
    NewTokenRows, SaveOptions, SpokenItem, SpokenOptions, TextEnd, TextIds, TextOptions, TextStep, TuningLook,
    TuningRecorder, TuningSettings, TuningUpdate, WeightType,
};
pub use recommender::{
    DEFAULT_BEAMS, HoldOut, ItemSources, NextItem, Prediction, RecommendOptions, Recommendation, Recommender,
    RecommenderEpoch, RecommenderQuery, RecommenderSession, RecommenderSettings, RecommenderTraining, TrainingRecorder,
    questions, training_digest,
};
pub use sememe::compute::tensor::Precision;
#[cfg(feature = "language")]
pub use sememe_text::dialogues::{Chat, ChatMessage, read_chats};
