//! What codes become: one ID an item, stores that keep it, text that people and language models read, and the trie that keeps a
//! model to real IDs.

pub mod align;
mod export;
pub mod format;
mod keys;
pub mod resolve;
pub mod store;
mod tokenizer;
pub mod trie;
mod vocabulary;

pub use align::{Aligned, align, align_without_rows, match_codes};
pub use export::Export;
pub use format::{IdTemplate, Style, TextFormat};
pub use keys::check_keys;
pub use tokenizer::Tokenizer;
pub use trie::{Frontier, Hit, StaticLayout, Trie};
pub use vocabulary::Vocabulary;
