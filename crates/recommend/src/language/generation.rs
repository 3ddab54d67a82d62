//! How texts are written, and what comes of it.

use crate::decoding::Sampling;
use sememe::{Error, Result};

/// Where a text may name items, and only such as exist.
///
/// ```
/// use sememe_recommend::TextIds;
/// assert_eq!(TextIds::default(), TextIds::Free);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TextIds {
    /// Nowhere: any token may follow any other.
    #[default]
    Free,
    /// After this marker, which has to end with a token: there one ID follows that an item has, and then the text goes on.
    After(String),
    /// The whole text is an ID that an item has.
    Only,
}

/// How a text is written.
///
/// ```
/// use sememe_recommend::{TextIds, TextOptions};
/// let options = TextOptions { most_tokens: 64, ids: TextIds::After("[REC]".into()), ..TextOptions::default() };
/// assert!(options.validate().is_ok() && options.sampling.is_none());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TextOptions {
    /// Tokens at most; an ID that has begun is finished nevertheless.
    pub most_tokens: usize,
    /// Tokens are drawn at random; without it the most probable one is taken, the lower number on a tie.
    pub sampling: Option<Sampling>,
    /// Tokens that end the text, besides the model's own; they are no part of it.
    pub stop_tokens: Vec<u32>,
    /// Texts that end the text where they appear; they are no part of it.
    pub stop_texts: Vec<String>,
    /// The model's own end tokens do not end the text.
    pub ignore_end: bool,
    /// Where real IDs have to follow.
    pub ids: TextIds,
    /// Special tokens are part of the text; those of IDs always are.
    pub show_special: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            most_tokens: 256,
            sampling: None,
            stop_tokens: Vec::new(),
            stop_texts: Vec::new(),
            ignore_end: false,
            ids: TextIds::Free,
            show_special: false,
        }
    }
}

impl TextOptions {
    /// Checks the fields.
    ///
    /// # Errors
    /// [`Error::Config`] for no tokens, a sampling that cannot be, or a marker or stop text without a letter.
    pub fn validate(&self) -> Result<()> {
        if self.most_tokens == 0 {
            return Err(Error::config("most_tokens", "expected at least 1, got 0"));
        }
        if matches!(&self.ids, TextIds::After(marker) if marker.is_empty()) {
            return Err(Error::config("ids", "the marker is empty; name what stands before an ID"));
        }
        if self.stop_texts.iter().any(String::is_empty) {
            return Err(Error::config(
                "stop_texts",
                "one of them is empty, which would end every text before it begins",
            ));
        }
        self.sampling.as_ref().map_or(Ok(()), Sampling::validate)
    }
}

/// An ID that a text names.
///
/// ```
/// let named = sememe_recommend::NamedInText { id: vec![300, 304], items: vec![7], log_probability: -0.5, tokens_before: 12 };
/// assert_eq!(named.items, [7]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NamedInText {
    /// Its tokens, without the one that ends it.
    pub id: Vec<u32>,
    /// The items that have it, at least one, ascending.
    pub items: Vec<u32>,
    /// Natural logarithm of its probability among all IDs at this place, whatever the temperature.
    pub log_probability: f64,
    /// Tokens of the text that stand before it.
    pub tokens_before: usize,
}

/// Why a text ended.
///
/// ```
/// assert_ne!(sememe_recommend::TextEnd::Ended, sememe_recommend::TextEnd::MostTokens);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEnd {
    /// The model ended it, a stop token or a stop text came, or the ID is whole that it was to be.
    Ended,
    /// It has as many tokens as it may have, or as the model reads.
    MostTokens,
    /// The caller wanted no more of it.
    Cut,
}

/// A text that is finished.
///
/// ```
/// use sememe_recommend::{GeneratedText, TextEnd};
/// let text = GeneratedText { text: "hello".into(), tokens: vec![5], ids: Vec::new(), end: TextEnd::Ended };
/// assert!(text.ids.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedText {
    /// The text, without the prompt: all its pieces together.
    pub text: String,
    /// Its tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// The IDs that it names, in their order, where [`TextIds`] has any.
    pub ids: Vec<NamedInText>,
    /// Why it ended.
    pub end: TextEnd,
}

/// What one more token made of a text.
///
/// ```
/// let step = sememe_recommend::TextStep { text: 0, piece: "hel".into(), finished: None };
/// assert!(step.finished.is_none());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TextStep {
    /// Which text, as it was numbered when it began.
    pub text: u64,
    /// What is new: whole characters, or nothing yet.
    pub piece: String,
    /// The whole text, if that was the last of it.
    pub finished: Option<GeneratedText>,
}
