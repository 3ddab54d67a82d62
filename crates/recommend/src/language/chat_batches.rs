//! Chats as tokens, and batches of them.

use super::network::TokenBatch;
use crate::decoder::{PackedPlaces, packed};
use sememe::rng::stream;

/// A chat as tokens.
///
/// ```
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama");
/// use sememe_recommend::{Chat, LanguageModel};
/// let model = LanguageModel::load(folder)?;
/// let chat = Chat::Completion { prompt: "red fruit".into(), completion: "apple".into() };
/// let tokens = model.chat_tokens(&chat)?;
/// assert_eq!(tokens.tokens.last(), model.end_tokens().first());
/// assert!(tokens.learned.len() < tokens.tokens.len());
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatTokens {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Places of the tokens that the model should say, ascending, from 1 on: nothing comes before the first token.
    pub learned: Vec<u32>,
}

impl ChatTokens {
    /// Refuses what cannot be learned from, and says why.
    pub(super) fn check(&self, context: usize, vocabulary: usize) -> Result<(), String> {
        if self.tokens.len() > context {
            return Err(format!("{} tokens, `context` is {context}", self.tokens.len()));
        }
        if let Some(token) = self.tokens.iter().find(|t| **t as usize >= vocabulary) {
            return Err(format!("token {token} is past the model's {vocabulary}"));
        }
        let ascend = self.learned.windows(2).all(|w| w[0] < w[1]);
        let inside = self.learned.iter().all(|at| (1..self.tokens.len()).contains(&(*at as usize)));
        if self.learned.is_empty() || !ascend || !inside {
            return Err("what is learned has to be some of its tokens after the first, in their order".into());
        }
        Ok(())
    }
}

impl TokenBatch {
    /// Packs chats.
    pub fn of(chats: &[ChatTokens], which: &[usize]) -> Self {
        let mut out =
            Self { places: PackedPlaces::of(which.iter().map(|c| chats[*c].tokens.len())), ..Self::default() };
        for chat in which.iter().map(|c| &chats[*c]) {
            let first = out.tokens.len() as u32;
            out.asked.extend(chat.learned.iter().map(|at| first + at - 1));
            out.targets.extend(chat.learned.iter().map(|at| chat.tokens[*at as usize]));
            out.tokens.extend(&chat.tokens);
        }
        out
    }
}

/// Chats in batches of at most `most` tokens, in the order of a seed's epoch or as they are.
pub(super) fn batches(chats: &[ChatTokens], most: usize, drawn: Option<(u64, u64)>) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..chats.len()).collect();
    if let Some((seed, epoch)) = drawn {
        stream(seed, "language.order", epoch).shuffle(&mut order);
    }
    packed(order, most, |chat| chats[chat].tokens.len())
}
