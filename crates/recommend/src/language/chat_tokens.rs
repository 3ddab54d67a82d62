//! Chats as the tokens that a model reads, and which of them it should say.

use super::chat_batches::ChatTokens;
use super::model::LanguageModel;
use sememe::{Error, Result};
use sememe_text::dialogues::{Chat, ChatMessage};
use std::ops::Range;

impl LanguageModel {
    /// The tokens of a chat, and which of them the assistant says: answers, with what the template puts after each. Plain texts end with
    /// the model's end token.
    ///
    /// A text is cut into tokens as a whole where the tokens up to an answer are those of the text up to there, which a question alone
    /// would have; else part by part, so that training and asking see the same tokens.
    ///
    /// # Errors
    /// [`Error::Data`] without a chat template, and for one under which a chat does not go on as it began.
    pub fn chat_tokens(&self, chat: &Chat) -> Result<ChatTokens> {
        match chat {
            Chat::Completion { prompt, completion } => {
                let mut tokens = self.tokenizer().encode(prompt, true)?;
                let from = tokens.len();
                tokens.extend(self.tokenizer().encode(completion, false)?);
                tokens.extend(self.end_tokens().first());
                Ok(learned(tokens, std::iter::once(from..usize::MAX)))
            }
            Chat::Messages { messages, answers_from } => {
                let (text, answers) = self.answers(messages, *answers_from)?;
                self.cut(&text, &answers)
            }
        }
    }

    /// The text of all messages, and where answers lie in it, in bytes.
    fn answers(&self, messages: &[ChatMessage], from: usize) -> Result<(String, Vec<Range<usize>>)> {
        let text = self.chat(messages, false)?;
        let mut answers = Vec::new();
        for (i, message) in messages.iter().enumerate().skip(from) {
            if !message.is_answer() || message.content.is_empty() {
                continue;
            }
            let before = self.chat(&messages[..i], true)?;
            let after = self.chat(&messages[..=i], false)?;
            if !after.starts_with(&before) || !text.starts_with(&after) {
                return Err(Error::Data(format!(
                    "under the model's chat template message {i} does not go on from those before it; give chats with one answer, \
                     or plain texts (`prompt` and `completion`)"
                )));
            }
            answers.push(before.len()..after.len());
        }
        Ok((text, answers))
    }

    fn cut(&self, text: &str, answers: &[Range<usize>]) -> Result<ChatTokens> {
        let encode = |text: &str| self.tokenizer().encode(text, false);
        let end = answers.last().map_or(0, |a| a.end);
        let whole = encode(&text[..end])?;
        let mut ranges = Vec::new();
        for answer in answers {
            let (before, after) = (encode(&text[..answer.start])?, encode(&text[..answer.end])?);
            if whole.starts_with(&before) && whole.starts_with(&after) {
                ranges.push(before.len()..after.len());
            }
        }
        if ranges.len() == answers.len() {
            return Ok(learned(whole, ranges.into_iter()));
        }
        let (mut tokens, mut ranges, mut at) = (Vec::new(), Vec::new(), 0);
        for answer in answers {
            tokens.extend(encode(&text[at..answer.start])?);
            let from = tokens.len();
            tokens.extend(encode(&text[answer.clone()])?);
            ranges.push(from..tokens.len());
            at = answer.end;
        }
        Ok(learned(tokens, ranges.into_iter()))
    }
}

/// Places in `ranges`, but the first token, before which nothing comes.
fn learned(tokens: Vec<u32>, ranges: impl Iterator<Item = Range<usize>>) -> ChatTokens {
    let n = tokens.len();
    let learned = ranges.flat_map(|r| r.start.max(1)..r.end.min(n)).map(|at| at as u32).collect();
    ChatTokens { tokens, learned }
}
