//! Texts to the numbers of a language model's tokens and back, by `tokenizer.json`.

use std::path::Path;

use serde::de::IgnoredAny;
use tokenizers::Tokenizer;

use sememe::{Error, Result, ids};

/// The largest that are in use have some forty million bytes.
pub(super) const MOST_BYTES: u64 = 1 << 30;

/// A language model's tokenizer, as its `tokenizer.json` says it.
///
/// ```
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama");
/// let model = sememe_recommend::LanguageModel::load(folder)?;
/// let tokens = model.tokenizer().encode("the item</s>", false)?;
/// assert_eq!(tokens.last().copied(), model.tokenizer().id("</s>"));
/// assert_eq!(model.tokenizer().decode(&tokens, true)?, "the item");
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone)]
pub struct LanguageTokenizer {
    text: String,
    inner: Tokenizer,
    tokens: usize,
}

impl std::fmt::Debug for LanguageTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageTokenizer").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl LanguageTokenizer {
    /// Reads the content of a file. O(length).
    pub(super) fn parse(text: String, path: &Path) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| Error::format(path, format!("is no tokenizer that can be read: {e}"));
        serde_json::from_str::<IgnoredAny>(&text).map_err(|e| bad(&e))?;
        // The library panics on some files that are JSON, and no tokenizer.
        let parsed = std::panic::catch_unwind(|| text.parse::<Tokenizer>());
        let mut inner = match parsed {
            Ok(parsed) => parsed.map_err(|e| bad(&e))?,
            Err(_) => return Err(bad(&"the `tokenizers` library gave up on it")),
        };
        // A file may say to fill or cut every text, which is for batches of tensors.
        inner.with_padding(None);
        let whole = inner.with_truncation(None).map(|_| ());
        whole.map_err(|e| Error::format(path, format!("its truncation cannot be left out: {e}")))?;
        let tokens = inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        Ok(Self { text, inner, tokens })
    }

    /// The file's content.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// One past the highest number of a token; a model may have vectors for more, as some are padded.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The number of a token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of a number.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The tokens of a text. With `add_special`, those that the tokenizer puts around every text are added, as transformers does unless it
    /// is told not to; the text of a chat has them already. O(length).
    ///
    /// # Errors
    /// [`Error::Data`] if the tokenizer has no tokens for the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoded = self.inner.encode_fast(text, add_special).map_err(|e| {
            let start: String = text.chars().take(60).collect();
            Error::Data(format!("the text that begins with `{start}` has no tokens: {e}"))
        })?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The text of tokens, without the special ones if `skip_special` says so; numbers of no token are passed over. O(length).
    ///
    /// # Errors
    /// [`Error::Data`] if the tokenizer cannot make a text of them.
    pub fn decode(&self, tokens: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(tokens, skip_special).map_err(|e| Error::Data(format!("the tokens have no text: {e}")))
    }

    /// The same tokenizer with tokens added, and the number of the first one.
    pub(super) fn with_added<S: AsRef<str>>(&self, special: &[S], others: &[S]) -> Result<(Self, u32)> {
        let file = ids::Tokenizer::parse(&self.text)?;
        let text = file.with_added(special, others)?;
        Ok((Self::parse(text, Path::new("tokenizer.json"))?, file.next_id()))
    }
}
