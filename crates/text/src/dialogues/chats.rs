//! Chats out of files, in the forms that [`Dialogues`](super::Dialogues) and TRL write.

use std::path::Path;

use serde::{Deserialize, Serialize};

use sememe::io::{each_json_line, json_bad};
use sememe::{Error, Result};

/// What one side says.
///
/// ```
/// use sememe_text::dialogues::ChatMessage;
/// assert!(ChatMessage::new("assistant", "<a_1><b_2>").is_answer());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`; a chat template may know others.
    pub role: String,
    /// The words.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// Whether the model says it.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.role == "assistant"
    }
}

/// An example to learn from.
///
/// ```
/// use sememe_text::dialogues::Chat;
/// let chat = Chat::parse(r#"{"messages":[{"role":"user","content":"An editor?"},{"role":"assistant","content":"<a_1>"}]}"#)?;
/// let Chat::Messages { messages, answers_from } = chat else { unreachable!() };
/// assert_eq!((messages[1].content.as_str(), answers_from), ("<a_1>", 0));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chat {
    /// Messages, which a model's chat template makes one text of.
    Messages {
        /// In their order.
        messages: Vec<ChatMessage>,
        /// Messages of the assistant from this one on are what a model should say.
        answers_from: usize,
    },
    /// Plain texts: what comes first, and how it goes on.
    Completion {
        /// What comes first.
        prompt: String,
        /// What the model should say.
        completion: String,
    },
}

#[derive(Deserialize)]
struct ChatLine {
    messages: Option<Vec<ChatMessage>>,
    prompt: Option<ChatSide>,
    completion: Option<ChatSide>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ChatSide {
    Text(String),
    Messages(Vec<ChatMessage>),
}

impl Chat {
    /// Reads one line of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> std::result::Result<Self, String> {
        let line: ChatLine = serde_json::from_str(line).map_err(|e| e.to_string())?;
        Self::of(line)
    }

    fn of(line: ChatLine) -> std::result::Result<Self, String> {
        let chat = match (line.messages, line.prompt, line.completion) {
            (Some(messages), None, None) => Self::Messages { messages, answers_from: 0 },
            (None, Some(ChatSide::Messages(mut messages)), Some(ChatSide::Messages(rest))) => {
                let answers_from = messages.len();
                messages.extend(rest);
                Self::Messages { messages, answers_from }
            }
            (None, Some(ChatSide::Text(prompt)), Some(ChatSide::Text(completion))) => {
                Self::Completion { prompt, completion }
            }
            _ => {
                let forms = "expected `messages`, or `prompt` and `completion`, both texts or both lists of messages";
                return Err(forms.into());
            }
        };
        if !chat.has_answer() {
            return Err("there is nothing in it that the assistant says, so nothing to learn".into());
        }
        Ok(chat)
    }

    fn has_answer(&self) -> bool {
        match self {
            Self::Messages { messages, answers_from } => {
                messages.iter().skip(*answers_from).any(|m| m.is_answer() && !m.content.is_empty())
            }
            Self::Completion { completion, .. } => !completion.is_empty(),
        }
    }
}

/// Reads chats from a `.jsonl` or `.jsonl.gz`, one a line, as `messages`, or as `prompt` and `completion`, which are texts or lists of
/// messages. Other fields are left alone.
///
/// # Errors
/// If the file cannot be read; [`Error::Format`] with the line for one in none of the forms, and for a file without a chat.
pub fn read_chats(path: impl AsRef<Path>) -> Result<Vec<Chat>> {
    let (path, mut out) = (path.as_ref(), Vec::new());
    each_json_line(path, "chats are read from .jsonl or .jsonl.gz", &mut |number, text| {
        let line: ChatLine = serde_json::from_str(text).map_err(|e| json_bad(path, number, &e))?;
        out.push(Chat::of(line).map_err(|problem| Error::format(path, format!("line {number}: {problem}")))?);
        Ok(())
    })?;
    if out.is_empty() {
        return Err(Error::format(path, "holds no chat"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("chats.jsonl");
        let lines = [
            r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"task":"x"}"#,
            r#"{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}"#,
            r#"{"prompt":"q\n","completion":"a"}"#,
        ];
        std::fs::write(&path, lines.join("\n")).expect("written");
        let chats = read_chats(&path).expect("chats");
        let messages = vec![ChatMessage::new("user", "q"), ChatMessage::new("assistant", "a")];
        assert_eq!(chats[0], Chat::Messages { messages: messages.clone(), answers_from: 0 });
        assert_eq!(chats[1], Chat::Messages { messages, answers_from: 1 });
        assert_eq!(chats[2], Chat::Completion { prompt: "q\n".into(), completion: "a".into() });
    }

    #[test]
    fn what_cannot_be_learned_from_is_named_with_its_line() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("chats.jsonl");
        let good = r#"{"prompt":"q","completion":"a"}"#;
        for (bad, says) in [
            (r#"{"text":"q"}"#, "line 2: expected `messages`"),
            (r#"{"messages":[{"role":"user","content":"q"}]}"#, "line 2: there is nothing"),
            (r#"{"prompt":"q","completion":[]}"#, "line 2: expected `messages`"),
            (r#"{"prompt":"q","completion":""}"#, "line 2: there is nothing"),
            (r#"{"messages":7}"#, "line 2, column"),
            ("{", "line 2, column"),
        ] {
            std::fs::write(&path, format!("{good}\n{bad}\n")).expect("written");
            let message = read_chats(&path).expect_err("refused").to_string();
            assert!(message.contains(says), "{message}");
        }
        std::fs::write(&path, "").expect("written");
        assert!(read_chats(&path).expect_err("refused").to_string().contains("chats.jsonl"));
        assert!(read_chats(folder.path().join("chats.txt")).is_err());
    }
}
