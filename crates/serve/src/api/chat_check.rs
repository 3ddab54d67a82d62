//! What of a chat's settings can be asked.

use crate::api::chat_form::{ChatContent, ChatRequest, StopInput};
use crate::error::ApiError;
use sememe_text::dialogues::ChatMessage;

/// A chat that can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckedChat {
    pub messages: Vec<ChatMessage>,
    pub most_tokens: usize,
    /// Temperature and share, where the answer is drawn.
    pub drawn: Option<(f64, f64)>,
    pub seed: Option<i64>,
    pub count: usize,
    pub stop: Vec<String>,
    pub stream: bool,
}

/// The most items of an answer, as many as prefixes are followed.
const MOST_ITEMS: usize = 50;
/// The most tokens of an answer: more than any model goes on for.
const MOST_TOKENS: usize = 1_000_000;
/// The highest temperature: past it all tokens are as likely.
const HOTTEST: f64 = 100.0;
/// The most texts that end an answer.
pub(super) const MOST_STOPS: usize = 16;

impl CheckedChat {
    pub fn new(request: ChatRequest) -> Result<Self, ApiError> {
        let messages = request.messages.into_iter().enumerate().map(|(place, message)| {
            let content = text_of(place, message.content)?;
            Ok(ChatMessage { role: message.role, content })
        });
        let messages = messages.collect::<Result<Vec<_>, ApiError>>()?;
        if messages.is_empty() {
            return Err(ApiError::bad_request("the chat has no messages").hint("send at least 1 of role `user`"));
        }
        let most_tokens = request.max_completion_tokens.or(request.max_tokens).unwrap_or(256);
        // Both names are looked at, whichever counts.
        let lengths = [request.max_completion_tokens, request.max_tokens];
        if let Some(wrong) = lengths.into_iter().flatten().find(|tokens| !(1..=MOST_TOKENS).contains(tokens)) {
            return Err(ApiError::bad_request(format!("`max_tokens` is {wrong}, expected 1 to {MOST_TOKENS}")));
        }
        let count = request.n.unwrap_or(10);
        if !(1..=MOST_ITEMS).contains(&count) {
            return Err(ApiError::bad_request(format!("`n` is {count}, expected 1 to {MOST_ITEMS}")));
        }
        let drawn = drawn(request.temperature, request.top_p)?;
        let stop = match request.stop {
            None => Vec::new(),
            Some(StopInput::One(one)) => vec![one],
            Some(StopInput::Several(several)) => several,
        };
        if stop.len() > MOST_STOPS || stop.iter().any(String::is_empty) {
            return Err(ApiError::bad_request(format!(
                "`stop` has {} texts, expected at most {MOST_STOPS}, none empty",
                stop.len()
            )));
        }
        Ok(Self {
            messages,
            most_tokens,
            drawn,
            seed: request.seed,
            count,
            stop,
            stream: request.stream.unwrap_or_default(),
        })
    }
}

/// How an answer is drawn, if it is: with a temperature above 0, or a share alone.
fn drawn(temperature: Option<f64>, top_p: Option<f64>) -> Result<Option<(f64, f64)>, ApiError> {
    if let Some(share) = top_p.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        return Err(ApiError::bad_request(format!("`top_p` is {share}, expected above 0 and at most 1")));
    }
    match temperature {
        Some(value) if !(0.0..=HOTTEST).contains(&value) => {
            Err(ApiError::bad_request(format!("`temperature` is {value}, expected 0 to {HOTTEST}")))
        }
        Some(value) if value > 0.0 => Ok(Some((value, top_p.unwrap_or(1.0)))),
        Some(_) => Ok(None),
        None => Ok(top_p.filter(|share| *share < 1.0).map(|share| (1.0, share))),
    }
}

/// The text of a message.
fn text_of(place: usize, content: ChatContent) -> Result<String, ApiError> {
    match content {
        ChatContent::Text(text) => Ok(text),
        ChatContent::Parts(parts) => {
            let mut text = String::new();
            for part in parts {
                match part.text {
                    Some(words) if part.kind == "text" => text.push_str(&words),
                    _ => {
                        let problem = format!("message {place} has a part that is no text");
                        return Err(ApiError::bad_request(problem).hint("send parts of type `text`"));
                    }
                }
            }
            Ok(text)
        }
    }
}
