//! Texts to token numbers, by `tokenizer.json`.

use std::path::Path;

use tokenizers::{PostProcessor as _, Tokenizer, TruncationDirection, TruncationParams};

use super::config::Fields;
use sememe::io::read_bytes_capped;
use sememe::{Error, Result};

/// The largest that are in use have some forty million bytes.
const MAX_BYTES: u64 = 1 << 30;

pub(super) struct TextTokenizer {
    tokenizer: Tokenizer,
    lower_case: bool,
    /// Before every text.
    prompt: String,
    vocabulary: usize,
}

impl TextTokenizer {
    /// Reads the tokenizer; texts are of any length until [`TextTokenizer::cut`].
    pub(super) fn open(folder: &Path, lower_case: bool, prompt: String, vocabulary: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            let older = ["vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.json"];
            let hint = older.iter().find(|name| folder.join(name).exists()).map_or(String::new(), |name| {
                format!(
                    "; its `{name}` becomes one by transformers' `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`"
                )
            });
            return Err(Error::format(folder, format!("has no `tokenizer.json`{hint}")));
        }
        let bytes = read_bytes_capped(&path, MAX_BYTES)?;
        // The library panics on some files that are JSON, and no tokenizer.
        let parsed = std::panic::catch_unwind(|| Tokenizer::from_bytes(bytes));
        let bad = |problem: &dyn std::fmt::Display| Error::format(&path, format!("is no tokenizer: {problem}"));
        let mut tokenizer = match parsed {
            Ok(parsed) => parsed.map_err(|e| bad(&e))?,
            Err(_) => return Err(bad(&"the `tokenizers` library gave up on it")),
        };
        // A file may say to fill every text up to a length, which is for batches of tensors.
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, lower_case, prompt, vocabulary })
    }

    /// Tokens that are added to every text.
    pub(super) fn added(&self) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// Cuts texts to so many tokens from now on, what is added included.
    pub(super) fn cut(&mut self, max_tokens: usize, from_left: bool) -> Result<()> {
        let direction = if from_left { TruncationDirection::Left } else { TruncationDirection::Right };
        let cut = TruncationParams { max_length: max_tokens, direction, ..TruncationParams::default() };
        let set = self.tokenizer.with_truncation(Some(cut));
        set.map(|_| ()).map_err(|e| Error::config("max_tokens", format!("{max_tokens}: {e}")))
    }

    /// The numbers of a text, and whether it was cut.
    pub(super) fn of(&self, text: &str) -> Result<(Vec<u32>, bool)> {
        let mut whole;
        let mut text = text;
        if !self.prompt.is_empty() || self.lower_case {
            whole = format!("{}{text}", self.prompt);
            if self.lower_case {
                whole = whole.to_lowercase();
            }
            text = &whole;
        }
        let shown = || text.chars().take(60).collect::<String>();
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|e| Error::Data(format!("`{}…` has no tokens: {e}", shown())))?;
        let ids = encoding.get_ids().to_vec();
        if ids.is_empty() {
            return Err(Error::Data(format!("`{}` has no tokens in this model", shown())));
        }
        if let Some(beyond) = ids.iter().find(|id| **id as usize >= self.vocabulary) {
            let known = self.vocabulary;
            return Err(Error::Data(format!(
                "the tokenizer gives token {beyond}, but the model knows {known} tokens only"
            )));
        }
        Ok((ids, !encoding.get_overflowing().is_empty()))
    }
}

/// What `tokenizer_config.json` says: tokens a text at most, and whether the beginning of longer ones is cut off.
pub(super) fn truncation(folder: &Path) -> Result<(Option<usize>, bool)> {
    let Some(fields) = Fields::read(&folder.join("tokenizer_config.json"))? else { return Ok((None, false)) };
    // A tokenizer without a limit has one of 10³⁰.
    let longest =
        fields.get("model_max_length").and_then(serde_json::Value::as_u64).filter(|n| (1..=1 << 28).contains(n));
    Ok((longest.and_then(|n| usize::try_from(n).ok()), fields.text("truncation_side", Some("right"))? == "left"))
}
