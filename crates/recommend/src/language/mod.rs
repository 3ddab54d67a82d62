//! Language models of the Llama family: read from and written to folders of Hugging Face, asked, and fine-tuned.

#[cfg(test)]
mod gradient_tests;
mod network;
mod shape;
mod tuned;

pub use shape::LanguageShape;
