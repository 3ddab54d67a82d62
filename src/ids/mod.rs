//! What codes become: text that people and language models read.

pub mod format;

pub use format::{Style, Template, TextFormat};
