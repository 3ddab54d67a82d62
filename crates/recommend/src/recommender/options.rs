//! How a recommender is asked.

use crate::decoding::Sampling;

/// Prefixes of IDs that a search follows for each history, unless it is told otherwise.
pub const DEFAULT_BEAMS: usize = 20;

/// What a list of recommendations holds, and how it is found.
///
/// ```
/// use sememe_recommend::RecommendOptions;
/// let options = RecommendOptions { count: 20, beams: Some(50), ..RecommendOptions::default() };
/// assert!(options.hide_seen);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecommendOptions {
    /// Items of a list, at most.
    pub count: usize,
    /// Whether items of the history are left out.
    pub hide_seen: bool,
    /// Prefixes of IDs that a search follows, or IDs that are drawn; `None` for [`DEFAULT_BEAMS`], or `count` if that is more. A list holds the items of
    /// so many IDs at most. Only for recommenders that search ([`Prediction::Ordered`](crate::Prediction::Ordered)): others rank
    /// all items.
    pub beams: Option<usize>,
    /// IDs are drawn at random instead of searched for. Only for recommenders that search.
    pub sampling: Option<Sampling>,
}

impl Default for RecommendOptions {
    fn default() -> Self {
        Self { count: 10, hide_seen: true, beams: None, sampling: None }
    }
}
