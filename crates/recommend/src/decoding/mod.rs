//! Constrained decoding: search and sampling that only ever stand on prefixes of real IDs, whoever scores the tokens.

mod filter;
mod sampling;
mod scorer;
mod search;
#[cfg(test)]
mod tests;

pub(crate) use filter::{TrieFilter, TriePlaces};
pub use sampling::Sampling;
pub(crate) use scorer::{AskedLogits, BeamScorer, BeamStep};
pub(crate) use search::{FoundId, SearchQuery, log_sum, search};
