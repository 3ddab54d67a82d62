//! The form of questions for recommendations, and of their answers.

use crate::api::extract::{given, given_whole};
use crate::item::ItemJson;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What somebody took and wishes for.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecommendQuery {
    /// Keys of items, oldest first.
    #[serde(default)]
    pub history: Vec<String>,
    /// A wish in words, read after the history.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// A wish as a vector of the kind that the codec takes, instead of words.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, value_type = Option<Vec<f32>>)]
    pub vector: Option<Box<RawValue>>,
    /// Items at most: 10 unless it says otherwise.
    #[serde(default, deserialize_with = "given_whole")]
    #[schema(nullable = false, default = 10, minimum = 1, maximum = 1000)]
    pub count: Option<usize>,
    /// Prefixes that a search follows, for recommenders that search for IDs.
    #[serde(default, deserialize_with = "given_whole")]
    #[schema(nullable = false, minimum = 1, maximum = 1000)]
    pub beams: Option<usize>,
    /// Whether items of the history may come again.
    #[serde(default)]
    pub include_seen: bool,
}

/// One query, or several as `queries`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecommendRequest {
    /// Several queries, instead of the other fields.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub queries: Option<Vec<RecommendQuery>>,
    /// Keys of items, oldest first.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub history: Option<Vec<String>>,
    /// A wish in words, read after the history.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// A wish as a vector of the kind that the codec takes, instead of words.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, value_type = Option<Vec<f32>>)]
    pub vector: Option<Box<RawValue>>,
    /// Items at most: 10 unless it says otherwise.
    #[serde(default, deserialize_with = "given_whole")]
    #[schema(nullable = false, default = 10, minimum = 1, maximum = 1000)]
    pub count: Option<usize>,
    /// Prefixes that a search follows, for recommenders that search for IDs.
    #[serde(default, deserialize_with = "given_whole")]
    #[schema(nullable = false, minimum = 1, maximum = 1000)]
    pub beams: Option<usize>,
    /// Whether items of the history may come again.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub include_seen: Option<bool>,
}

/// An item of the history that speaks for a recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Reason {
    /// Its key.
    pub key: String,
    /// Its title, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Codes that both share, from the first on.
    pub shared: usize,
}

/// An item that may come next.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RecommendedItem {
    /// The item.
    #[serde(flatten)]
    pub item: ItemJson,
    /// Its probability among all items.
    pub probability: f64,
    /// Its natural logarithm.
    pub log_probability: f64,
    /// Items of the history whose IDs begin as this one's does, the most alike first.
    pub why: Vec<Reason>,
}

/// What may come next, best first.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Recommendations {
    /// The items.
    pub items: Vec<RecommendedItem>,
    /// Keys of the history that the recommender was not trained with, so that it passed over them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// Answers in the order of the queries, or that to the only one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RecommendAnswer {
    /// To `queries`.
    Several {
        /// One a query, in their order.
        answers: Vec<Recommendations>,
    },
    /// To a query by itself.
    One(Recommendations),
}
