//! A recommender that predicts IDs level by level: histories are read code by code, and the next item is searched for over the trie of
//! all IDs (Rajput et al. 2023, "TIGER"; there is no token for the user).
//!
//! A history of items is a sequence of tokens, the codes of one item after those of another. A token is the vector of its code, each
//! level having a table of its own, plus a vector for its place in the ID. An item's text vector enters at the last code of an item of the
//! history, through a learned map: there the item is known, so that no code is predicted from what only its own item has. What the decoder
//! gives at a token is compared with the table of the next code's level: output heads are tied to what codes are read by, so that a code
//! that is rare as a target is learned from what it does as an input, and the other way round.

mod answers;
mod batch;
mod codes;
mod layout;
mod model;
mod tasks;
#[cfg(test)]
mod tests;
mod training;

pub(crate) use answers::OrderedRequest;
pub(crate) use layout::{OrderedLayout, shape};
pub(crate) use tasks::{OrderedSearcher, searcher};
pub(crate) use training::OrderedTraining;
