//! Language models of the Llama family: read from and written to folders of Hugging Face, asked, and fine-tuned.

mod chat;
mod chat_batches;
mod chat_tokens;
mod clock;
mod codeword_rows;
mod config;
mod fields;
mod folder;
mod generation;
#[cfg(test)]
mod gradient_tests;
mod id_tokens;
mod model;
mod network;
mod places;
mod python_json;
mod recommender;
mod scorer;
mod session;
mod shape;
mod shards;
mod speaker;
mod text_pieces;
mod texts;
mod tokenizer;
mod tuned;
mod tuning;
mod tuning_file;
mod tuning_settings;
#[cfg(test)]
mod tuning_tests;
mod weights;
mod writing;

pub use chat::{ChatOptions, ChatTemplate};
pub use chat_batches::ChatTokens;
pub use codeword_rows::CodewordMap;
pub use config::LanguageFamily;
pub use generation::{GeneratedText, NamedInText, TextEnd, TextIds, TextOptions, TextStep};
pub use model::{LanguageModel, NewTokenRows, SaveOptions};
pub use recommender::{LanguageRecommender, SpokenItem, SpokenOptions};
pub use session::LanguageSession;
pub use shape::LanguageShape;
pub use tokenizer::LanguageTokenizer;
pub use tuning::{LanguageTuning, TuningLook, TuningRecorder, TuningUpdate};
pub use tuning_settings::{Learn, TuningSettings};
pub use weights::WeightType;
