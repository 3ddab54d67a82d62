//! Language models of the Llama family: read from and written to folders of Hugging Face, asked, and fine-tuned.

#[cfg(test)]
mod gradient_tests;
mod network;
mod shape;
mod tuned;
mod tuning;
mod tuning_file;
mod tuning_settings;
#[cfg(test)]
mod tuning_tests;

pub use shape::LanguageShape;
pub use tuning::{ChatTokens, LanguageTuning, TuningLook, TuningRecorder, TuningUpdate};
pub use tuning_settings::{Learn, TuningSettings};
