//! Answers of a language model, whole and in pieces.

use crate::api::chat_check::CheckedChat;
use crate::api::chat_form::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatItem, ChatReply, ChatUsage,
};
use crate::error::{ApiError, ErrorBody};
use crate::models::{AskedItems, LanguageWorker, RankedItem, TextEvent, WrittenText};
use crate::served::Served;
use axum::body::{Body, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Bytes, Frame};
use sememe_recommend::{GeneratedText, Sampling, TextEnd, TextIds, TextOptions};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces that wait for a client that reads slowly; the text goes on meanwhile, as it is bounded.
const PIECES: usize = 16;

/// A question, and how it is answered.
struct Question {
    served: Arc<Served>,
    tokens: Vec<u32>,
    options: TextOptions,
    /// Items that come with the answer.
    count: usize,
}

/// The items that come with an answer, and why it ended.
struct Ending {
    items: Vec<ChatItem>,
    finish_reason: &'static str,
    tokens: usize,
}

/// Answers with one JSON text.
pub(super) async fn answer_whole(served: Arc<Served>, asked: CheckedChat) -> Result<ChatCompletion, ApiError> {
    let question = Question::new(served, asked).await?;
    let head = Head::new(worker(&question.served)?);
    let mut content = String::new();
    let mut events = Answering::begin(question).await?;
    loop {
        match events.next().await? {
            Answered::Piece(piece) => content.push_str(&piece),
            Answered::Ended(Ending { items, finish_reason, tokens }) => {
                let (message, read) = (ChatReply { role: "assistant", content }, events.question.tokens.len());
                return Ok(ChatCompletion {
                    id: head.id,
                    object: "chat.completion",
                    created: head.created,
                    model: head.model,
                    choices: vec![ChatChoice { index: 0, message, finish_reason, items }],
                    usage: ChatUsage { prompt_tokens: read, completion_tokens: tokens, total_tokens: read + tokens },
                });
            }
        }
    }
}

/// Answers with server-sent events. What goes wrong before the answer begins is an error like any other.
///
/// A client that leaves a piece unread for longer than `patience` is left, so that nothing is kept for it without end.
pub(super) async fn answer_in_pieces(
    served: Arc<Served>,
    asked: CheckedChat,
    patience: Duration,
) -> Result<Response, ApiError> {
    let question = Question::new(served, asked).await?;
    let head = Head::new(worker(&question.served)?);
    let events = Answering::begin(question).await?;
    let (sender, pieces) = channel(PIECES);
    tokio::spawn(send(head, events, sender, patience));
    let mut response = Body::new(EventBody { pieces }).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies hand on each piece as it comes.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Writes events until the answer ends or nobody listens any more.
async fn send(head: Head, mut events: Answering, pieces: Sender<Bytes>, patience: Duration) {
    let first = ChatDelta { role: Some("assistant"), content: Some(String::new()) };
    let mut next = Ok(head.chunk(ChatChunkChoice { delta: first, ..ChatChunkChoice::default() }));
    loop {
        let (data, over) = match &next {
            Ok(chunk) => (event(chunk), chunk.choices.iter().any(|choice| choice.finish_reason.is_some())),
            Err(error) => (event(&ErrorBody { error: ApiError::clone(error) }), true),
        };
        if pieces.send_timeout(data, patience).await.is_err() {
            return;
        }
        if over {
            break;
        }
        next = events.next().await.map(|answered| {
            head.chunk(match answered {
                Answered::Piece(piece) => {
                    let delta = ChatDelta { role: None, content: Some(piece) };
                    ChatChunkChoice { delta, ..ChatChunkChoice::default() }
                }
                Answered::Ended(Ending { items, finish_reason, .. }) => ChatChunkChoice {
                    finish_reason: Some(finish_reason),
                    items: Some(items),
                    ..ChatChunkChoice::default()
                },
            })
        });
    }
    let _ = pieces.send_timeout(Bytes::from_static(b"data: [DONE]\n\n"), patience).await;
}

/// One event. JSON has no line breaks of its own.
fn event(data: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("data: {json}\n\n"))
}

/// Events as a body.
struct EventBody {
    pieces: Receiver<Bytes>,
}

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// What all parts of an answer say.
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn new(worker: &LanguageWorker) -> Self {
        static ANSWERS: AtomicU64 = AtomicU64::new(0);
        let now = since_1970();
        let (number, nanos) = (ANSWERS.fetch_add(1, Ordering::Relaxed), now.as_nanos() as u64);
        Self { id: format!("chatcmpl-{nanos:016x}{number:x}"), created: now.as_secs(), model: worker.info().model }
    }

    fn chunk(&self, choice: ChatChunkChoice) -> ChatChunk {
        let (id, created, model) = (self.id.clone(), self.created, self.model.clone());
        ChatChunk { id, object: "chat.completion.chunk", created, model, choices: vec![choice] }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn worker(served: &Served) -> Result<&LanguageWorker, ApiError> {
    served.models().language.as_ref().ok_or_else(|| ApiError::not_loaded("a language model", "language"))
}

impl Question {
    /// Reads a chat as the model does.
    async fn new(served: Arc<Served>, asked: CheckedChat) -> Result<Self, ApiError> {
        let marker = worker(&served)?.marker().map(str::to_owned);
        // A question that ends with the marker asks for an ID alone, as training data does.
        let asks_for_id = |marker: &str| asked.messages.last().is_some_and(|last| ends_with(&last.content, marker));
        let ids = match marker {
            Some(marker) if !asks_for_id(&marker) => TextIds::After(marker),
            _ => TextIds::Only,
        };
        // Two answers without a seed need not be the same.
        let seed = asked.seed.map_or_else(|| since_1970().as_nanos() as u64, i64::cast_unsigned);
        let sampling = asked.drawn.map(|(temperature, top_p)| Sampling { temperature, top_p, seed });
        let options = TextOptions {
            most_tokens: asked.most_tokens,
            sampling,
            stop_texts: asked.stop,
            ids,
            ..TextOptions::default()
        };
        let (messages, own) = (asked.messages, Arc::clone(&served));
        let read = move || worker(&own)?.question(&messages);
        let tokens = tokio::task::spawn_blocking(read).await.map_err(ApiError::internal)??;
        Ok(Self { served, tokens, options, count: asked.count })
    }

    fn show(&self, ranked: &[RankedItem]) -> Vec<ChatItem> {
        let items = self.served.catalogue().read();
        let show = |ranked: &RankedItem| ChatItem {
            item: self.served.show(&items.item(ranked.item)),
            probability: ranked.log_probability.exp(),
            log_probability: ranked.log_probability,
        };
        ranked.iter().map(show).collect()
    }
}

/// What becomes of an answer.
enum Answered {
    Piece(String),
    Ended(Ending),
}

/// An answer as it comes.
struct Answering {
    question: Question,
    text: AnswerText,
}

/// Where the answer's text comes from.
enum AnswerText {
    /// The most probable ID, found by a search.
    Found(AskedItems),
    /// It was handed out.
    Said { items: Vec<RankedItem>, tokens: usize },
    /// A text that is being written.
    Written(WrittenText),
}

impl Answering {
    /// Begins an answer: waits until the model has read the question.
    async fn begin(question: Question) -> Result<Self, ApiError> {
        let worker = worker(&question.served)?;
        // The best ID of all is not found token by token.
        if question.options.ids == TextIds::Only && question.options.sampling.is_none() {
            let found = worker.ask(question.tokens.clone(), question.count).await?;
            return Ok(Self { question, text: AnswerText::Found(found) });
        }
        let mut written = worker.write(question.tokens.clone(), question.options.clone())?;
        match written.events.recv().await {
            Some(TextEvent::Failed(error)) => Err(error),
            Some(_) => Ok(Self { question, text: AnswerText::Written(written) }),
            None => Err(ended_early()),
        }
    }

    async fn next(&mut self) -> Result<Answered, ApiError> {
        match &mut self.text {
            AnswerText::Found(found) => {
                let AskedItems { items, id, tokens } = std::mem::take(found);
                self.text = AnswerText::Said { items, tokens };
                Ok(Answered::Piece(id))
            }
            AnswerText::Said { items, tokens } => {
                let (items, tokens) = (std::mem::take(items), *tokens);
                Ok(Answered::Ended(Ending { items: self.question.show(&items), finish_reason: "stop", tokens }))
            }
            AnswerText::Written(written) => match written.events.recv().await {
                Some(TextEvent::Piece(piece)) => Ok(Answered::Piece(piece)),
                Some(TextEvent::Finished(text)) => self.ending(text).await.map(Answered::Ended),
                Some(TextEvent::Begun) => Ok(Answered::Piece(String::new())),
                Some(TextEvent::Failed(error)) => Err(error),
                None => Err(ended_early()),
            },
        }
    }

    /// The items that a text names, then the most probable ones at the place of the last.
    async fn ending(&self, text: GeneratedText) -> Result<Ending, ApiError> {
        let Question { tokens, count, .. } = &self.question;
        let worker = worker(&self.question.served)?;
        let mut ranked = worker.named(&text.ids);
        if let Some(last) = text.ids.last().filter(|_| ranked.len() < *count) {
            let read = [&tokens[..], &text.tokens[..last.tokens_before]].concat();
            // A text that filled the model's context leaves no room for a question.
            let more = worker.ask(read, *count).await.map(|found| found.items).unwrap_or_default();
            for item in more {
                if ranked.iter().all(|named| named.item != item.item) {
                    ranked.push(item);
                }
            }
        }
        ranked.truncate(*count);
        let finish_reason = if text.end == TextEnd::MostTokens { "length" } else { "stop" };
        Ok(Ending { items: self.question.show(&ranked), finish_reason, tokens: text.tokens.len() })
    }
}

/// Whether a text ends with a marker, whatever blanks stand around their ends.
fn ends_with(text: &str, marker: &str) -> bool {
    let bare = marker.trim_end();
    text.ends_with(marker) || (!bare.is_empty() && text.trim_end().ends_with(bare))
}

fn ended_early() -> ApiError {
    ApiError::internal("the language model's thread ended before its text")
}
