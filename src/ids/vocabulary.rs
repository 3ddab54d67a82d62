//! The tokens that a language model gains, and their numbers.

use std::collections::HashMap;

use super::TextFormat;
use crate::error::{Error, Result, check_shape};

/// Tokens for every code of a [`TextFormat`], numbered on from where a model's own end.
///
/// Special tokens come first (those around an ID, then any of one's own), then the codes level by level, then counters.
///
/// ```
/// use sememe::ids::{Style, TextFormat, Vocabulary};
/// let format = TextFormat::preset(Style::Sem, &[256, 256])?;
/// let vocabulary = Vocabulary::new(&format, 0, 32_000, &["[REC]"])?;
/// assert_eq!(vocabulary.special_tokens(), ["[SEM_START]", "[SEM_END]", "[REC]"]);
/// assert_eq!(vocabulary.encode(&[12, 5])?, [32_000, 32_003 + 12, 32_003 + 256 + 5]);
/// assert_eq!(vocabulary.end(), Some(32_001));
/// assert_eq!(vocabulary.decode(&[32_000, 32_015, 32_264])?, [12, 5]);
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokens: Vec<String>,
    specials: usize,
    /// Where each level's tokens begin in `tokens`, and where the last one's end.
    starts: Vec<u32>,
    first_id: u32,
    begin: Option<u32>,
    end: Option<u32>,
    levels: usize,
    width: usize,
}

impl Vocabulary {
    /// The vocabulary of a format; `most_counter` is the highest counter that an ID has (0 where the format has none), `first_id` the
    /// number of the first token (as many as the model's own vocabulary has), `own_specials` further special tokens. O(Σ sizes).
    ///
    /// # Errors
    /// [`Error::Config`] for two tokens of one text (see [`TextFormat::vocabulary`]), an empty special token, more than 2^24 tokens,
    /// and numbers past 2^32 − 2.
    pub fn new(format: &TextFormat, most_counter: u32, first_id: u32, own_specials: &[&str]) -> Result<Self> {
        let mut tokens: Vec<String> = format.special_tokens().into_iter().map(str::to_owned).collect();
        let template = format.template();
        let place = |tokens: &[String], text: &str| {
            tokens.iter().position(|t| t == text).map(|at| first_id.wrapping_add(at as u32))
        };
        let (begin, end) = (place(&tokens, &template.begin), place(&tokens, &template.end));
        tokens.extend(own_specials.iter().map(|t| (*t).to_owned()));
        if tokens.iter().any(String::is_empty) {
            return Err(Error::config("special_tokens", "a special token is empty"));
        }
        let specials = tokens.len();
        let mut starts = vec![specials as u32];
        tokens.extend(format.vocabulary()?);
        for size in format.sizes() {
            starts.push(starts[starts.len() - 1] + size);
        }
        if format.has_counter() {
            if most_counter >= 1 << 24 {
                return Err(Error::config(
                    "most_counter",
                    format!("{most_counter} counters, at most 16777215 are held"),
                ));
            }
            tokens.extend((1..=most_counter).map(|n| format.counter_token(n)));
            starts.push(starts[starts.len() - 1] + most_counter);
        }
        let mut seen = HashMap::with_capacity(tokens.len());
        for (at, token) in tokens.iter().enumerate() {
            if let Some(other) = seen.insert(token.as_str(), at) {
                return Err(Error::config(
                    "special_tokens",
                    format!("`{token}` would be token {other} and token {at}; give the special token another text"),
                ));
            }
        }
        if u64::from(first_id) + tokens.len() as u64 >= u64::from(u32::MAX) {
            let count = tokens.len();
            return Err(Error::config("first_id", format!("{count} tokens from {first_id} on are past 2^32 - 2")));
        }
        let (levels, width) = (format.levels(), format.width());
        Ok(Self { tokens, specials, starts, first_id, begin, end, levels, width })
    }

    /// All tokens, in the order of their numbers.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The special tokens, which come first.
    #[must_use]
    pub fn special_tokens(&self) -> &[String] {
        &self.tokens[..self.specials]
    }

    /// The number of the first token.
    #[must_use]
    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    /// Rows that the model's embedding needs: one past the last number.
    #[must_use]
    pub fn embedding_rows(&self) -> usize {
        self.first_id as usize + self.tokens.len()
    }

    /// The number of the token after an ID, if the format has one.
    #[must_use]
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// The numbers of an ID's tokens, with the one that begins it, without the one that ends it; a counter of 0 is left out. O(length).
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of codes, [`Error::Data`] for a code or counter past the vocabulary.
    pub fn encode(&self, codes: &[u32]) -> Result<Vec<u32>> {
        let mut out = Vec::with_capacity(codes.len() + 1);
        self.encode_into(codes, &mut out)?;
        Ok(out)
    }

    /// Appends what [`encode`](Self::encode) gives.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_into(&self, codes: &[u32], out: &mut Vec<u32>) -> Result<()> {
        check_shape("levels", self.width, codes.len(), "ID to encode")?;
        for (level, code) in codes.iter().enumerate() {
            let size = self.starts[level + 1] - self.starts[level];
            // Counters are named from 1 on.
            if *code >= size + u32::from(level == self.levels) {
                return Err(Error::Data(format!(
                    "code {code} of level {level} is past the {size} tokens of the vocabulary"
                )));
            }
        }
        out.extend(self.begin);
        for (level, code) in codes.iter().enumerate() {
            let code = if level == self.levels { code.checked_sub(1) } else { Some(*code) };
            out.extend(code.map(|code| self.first_id + self.starts[level] + code));
        }
        Ok(())
    }

    /// The codes of what [`encode`](Self::encode) gave. O(length).
    ///
    /// # Errors
    /// [`Error::Data`] for any other tokens, with the place of the first that does not belong.
    pub fn decode(&self, tokens: &[u32]) -> Result<Vec<u32>> {
        let begins = usize::from(self.begin.is_some());
        let mut codes = Vec::with_capacity(self.width);
        for (at, token) in tokens.iter().enumerate() {
            let bad = |what: &str| Err(Error::Data(format!("token {token} at {at}: expected {what}")));
            if at < begins {
                if Some(*token) != self.begin {
                    return bad("the token that begins an ID");
                }
                continue;
            }
            let level = at - begins;
            if level >= self.width {
                return bad("the end");
            }
            let range = self.first_id + self.starts[level]..self.first_id + self.starts[level + 1];
            if !range.contains(token) {
                return bad(&format!("one of level {level}, {} to {}", range.start, range.end.saturating_sub(1)));
            }
            codes.push(token - range.start + u32::from(level == self.levels));
        }
        if codes.len() < self.levels {
            return Err(Error::Data(format!("the ID ends after {} codes, expected {}", codes.len(), self.levels)));
        }
        codes.resize(self.width, 0);
        Ok(codes)
    }
}
