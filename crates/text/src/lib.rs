//! Text on the way to semantic IDs: the rows of a catalogue to clean texts ([`prep`]), texts to vectors ([`embed`]), and items and
//! their IDs to training chats ([`dialogues`]). What becomes of vectors is [`sememe`]'s.

pub mod dialogues;
pub mod embed;
pub mod prep;
#[cfg(feature = "sqlite")]
mod sqlite;
