//! Semantic IDs over HTTP, for machines and for people.
//!
//! One process encodes new items, gives them IDs for good, finds items by ID, words and distance, recommends, and shows all of it on a page.
//! [`Sources`] say what is loaded: the folder that `sememe run` wrote, or single files. [`serve`] loads it, listens, and returns once it
//! was told to stop and has finished what it had begun.
//!
//! Where things are, for whoever works on it, says `ARCHITECTURE.md`.

mod api;
mod assigning;
mod catalogue;
mod encoding;
mod error;
mod item;
mod loading;
mod manners;
mod models;
mod names;
mod patterns;
mod run_folder;
mod served;
mod server;
mod service;
mod sources;
mod stalling;
mod vectors;

pub use manners::limits::Limits;
pub use manners::tokens::Tokens;
pub use server::{Bound, Handle, serve};
pub use service::Settings;
pub use sources::{EmbedSource, ItemFields, OpenEmbedder, Sources, SpellingSource};
