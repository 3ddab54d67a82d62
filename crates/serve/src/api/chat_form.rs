//! The form of chats and of their answers: OpenAI's, with the items beside the words.

use crate::api::extract::whole_or_null;
use crate::item::ItemJson;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What one side says: a text, or parts of one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ChatContent {
    /// A text.
    Text(String),
    /// Parts of a text.
    Parts(Vec<ChatPart>),
}

/// A part of a text.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatPart {
    /// `text`: nothing else is read.
    #[serde(rename = "type")]
    #[schema(example = "text")]
    pub kind: String,
    /// The words.
    #[schema(nullable = false, required)]
    pub text: Option<String>,
}

/// A message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatInput {
    /// `system`, `user` or `assistant`.
    #[schema(example = "user")]
    pub role: String,
    /// What is said.
    pub content: ChatContent,
}

/// Texts that end an answer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum StopInput {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// A chat to go on with. Fields of OpenAI's that are not here are passed over, and null is a field that is not there, as it is in theirs.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// The chat so far; the answer comes behind its last message.
    pub messages: Vec<ChatInput>,
    /// Whatever the client calls the model: there is one.
    #[serde(rename = "model")]
    pub _model: Option<String>,
    /// Tokens of the answer, at most; an ID that has begun is finished.
    #[schema(default = 256, minimum = 1, maximum = 1_000_000)]
    #[serde(default, deserialize_with = "whole_or_null")]
    pub max_tokens: Option<usize>,
    /// The same under its newer name.
    #[schema(minimum = 1, maximum = 1_000_000)]
    #[serde(default, deserialize_with = "whole_or_null")]
    pub max_completion_tokens: Option<usize>,
    /// Above 0 the answer is drawn; 0, as without it, is the most probable one.
    #[schema(minimum = 0, maximum = 100)]
    pub temperature: Option<f64>,
    /// Draws among the likeliest tokens that have this share of the probability together.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// How many items come with the answer: 10 unless it says otherwise.
    #[schema(default = 10, minimum = 1, maximum = 50)]
    #[serde(default, deserialize_with = "whole_or_null")]
    pub n: Option<usize>,
    /// Whether the answer comes piece by piece, as server-sent events.
    pub stream: Option<bool>,
    /// Of the draws: the same seed draws the same answer.
    #[serde(default, deserialize_with = "whole_or_null")]
    pub seed: Option<i64>,
    /// Texts that end the answer.
    pub stop: Option<StopInput>,
}

/// An item that the answer names, or could have named.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatItem {
    /// The item.
    #[serde(flatten)]
    pub item: ItemJson,
    /// Its probability among all items, at the place where it is named.
    pub probability: f64,
    /// Its natural logarithm.
    pub log_probability: f64,
}

/// What the model says.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatReply {
    /// `assistant`.
    pub role: &'static str,
    /// The answer: an ID's text where it names an item.
    pub content: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatChoice {
    /// 0.
    pub index: u32,
    /// What the model says.
    pub message: ChatReply,
    /// `stop`, or `length` if it was cut short.
    pub finish_reason: &'static str,
    /// The items that it names, then the next most probable ones.
    pub items: Vec<ChatItem>,
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChatUsage {
    /// Of the question.
    pub prompt_tokens: usize,
    /// Of the answer.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
}

/// An answer that came whole.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatCompletion {
    /// Of this answer.
    pub id: String,
    /// `chat.completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// What the model is called.
    pub model: String,
    /// One.
    pub choices: Vec<ChatChoice>,
    /// Tokens that were read and written.
    pub usage: ChatUsage,
}

/// What is new of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ChatDelta {
    /// `assistant`, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// What is new of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// A piece of the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct ChatChunkChoice {
    /// 0.
    pub index: u32,
    /// What is new.
    pub delta: ChatDelta,
    /// `stop` or `length`, in the last piece.
    pub finish_reason: Option<&'static str>,
    /// The items, in the last piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ChatItem>>,
}

/// An answer that comes piece by piece: the content of one event.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatChunk {
    /// Of this answer.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// What the model is called.
    pub model: String,
    /// One.
    pub choices: Vec<ChatChunkChoice>,
}
