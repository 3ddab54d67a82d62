//! Codes as text, and exactly back.
//!
//! A [`TextFormat`] writes an ID in one spelling and reads that spelling only: [`parse`](TextFormat::parse) refuses every text
//! that [`write`](TextFormat::write) did not make, and says at which character. So the two are inverses, and text that a
//! language model made up is told from an ID.

mod template;

pub use template::{IdTemplate, Style};

use crate::error::{Error, Result, check_shape};
use template::CodeAffixes;

/// The most levels: as many as a codec may have, and a counter.
const MAX_LEVELS: usize = 65;

/// The most tokens of a vocabulary: more than any language model has rows.
const MAX_TOKENS: u64 = 1 << 24;

/// A spelling of IDs for codebooks of given sizes.
///
/// ```
/// use sememe::ids::{Style, TextFormat};
/// let format = TextFormat::preset(Style::LcRec, &[256, 256, 256])?;
/// assert_eq!(format.write(&[12, 5, 33])?, "<a_12><b_5><c_33>");
/// assert_eq!(format.parse("<a_12><b_5><c_33>")?, [12, 5, 33]);
///
/// let fault = format.parse("<a_12><b_256><c_33>").unwrap_err().to_string();
/// assert_eq!(fault, "`<a_12><b_256><c_33>`, character 10: code 256 of level 1 is past 255, the last of 256");
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFormat {
    template: IdTemplate,
    /// One a level, the counter's last.
    around: Vec<CodeAffixes>,
    /// What is added to a code, a level.
    offsets: Vec<u32>,
    /// Codewords a level; the counter's is all of 32 bits.
    sizes: Vec<u32>,
    levels: usize,
}

impl TextFormat {
    /// A spelling by template for codes `[levels]`, code l below `codebook_sizes[l]`. O(levels).
    ///
    /// # Errors
    /// [`Error::Config`] for a template that cannot be parsed back (a digit beside the code, or nothing between two codes), an
    /// unknown placeholder, no level or more than 64, an empty codebook, and numbers past 2^32 − 1.
    pub fn new(template: IdTemplate, codebook_sizes: &[usize]) -> Result<Self> {
        Self::build(template, codebook_sizes, false)
    }

    /// The spelling of another system.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn preset(style: Style, codebook_sizes: &[usize]) -> Result<Self> {
        Self::new(style.template(), codebook_sizes)
    }

    /// The same for IDs of `levels` codes and a counter that tells items on the same codes apart: `[12, 5, 33, 0]` is written
    /// `12-5-33`, `[12, 5, 33, 1]` is `12-5-33-1`, and `12-5-33-0` is refused.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    ///
    /// ```
    /// use sememe::ids::{Style, TextFormat};
    /// let format = TextFormat::preset(Style::Plain, &[256; 3])?.with_counter()?;
    /// assert_eq!(format.write(&[12, 5, 33, 0])?, "12-5-33");
    /// assert_eq!(format.parse("12-5-33-1")?, [12, 5, 33, 1]);
    /// # Ok::<(), sememe::Error>(())
    /// ```
    pub fn with_counter(self) -> Result<Self> {
        let sizes: Vec<usize> = self.sizes[..self.levels].iter().map(|s| *s as usize).collect();
        Self::build(self.template, &sizes, true)
    }

    fn build(template: IdTemplate, codebook_sizes: &[usize], counter: bool) -> Result<Self> {
        let levels = codebook_sizes.len();
        let most = MAX_LEVELS - 1;
        if levels == 0 || levels > most {
            return Err(Error::config("codebook_sizes", format!("expected 1 to {most} levels, got {levels}")));
        }
        let past = || Error::config("first", "codes would be called by numbers past 2^32 - 1");
        let (mut sizes, mut offsets, mut total) = (Vec::new(), Vec::new(), 0u64);
        for (level, size) in codebook_sizes.iter().enumerate() {
            let offset = u64::from(template.first) + if template.cumulative { total } else { 0 };
            total = total.checked_add(*size as u64).ok_or_else(past)?;
            if *size == 0 {
                return Err(Error::config(
                    "codebook_sizes",
                    format!("level {level} has 0 codewords, expected at least 1"),
                ));
            }
            if offset + (*size as u64 - 1).min(1 << 33) > u64::from(u32::MAX) {
                return Err(past());
            }
            offsets.push(u32::try_from(offset).map_err(|_| past())?);
            sizes.push(u32::try_from(*size).map_err(|_| past())?);
        }
        if counter {
            // A count, not a name: whatever codes are called, the first item to share its codes is 1.
            offsets.push(0);
            sizes.push(u32::MAX);
        }
        for (what, piece) in template.pieces() {
            if let Some(c) = piece.chars().find(|c| c.is_control()) {
                let problem = format!("{c:?} is a control character, which lines of text do not keep");
                return Err(Error::config(what, problem));
            }
        }
        let around = template::code_affixes(&template.token, sizes.len())?;
        check_invertible(&template, &around)?;
        Ok(Self { template, around, offsets, sizes, levels })
    }

    /// Its pieces.
    #[must_use]
    pub fn template(&self) -> &IdTemplate {
        &self.template
    }

    /// Codes an ID, without a counter.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// Whether an ID may have a counter after its codes.
    #[must_use]
    pub fn has_counter(&self) -> bool {
        self.sizes.len() > self.levels
    }

    /// Numbers in an ID: its levels, and one for a counter.
    #[must_use]
    pub fn width(&self) -> usize {
        self.sizes.len()
    }

    /// The text of an ID, `[width]`. O(length).
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of codes, [`Error::Data`] for a code past its codebook.
    pub fn write(&self, codes: &[u32]) -> Result<String> {
        let mut out = String::new();
        self.write_into(codes, &mut out)?;
        Ok(out)
    }

    /// Appends the text of an ID to `out`; on an error `out` is as it was.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_into(&self, codes: &[u32], out: &mut String) -> Result<()> {
        let codes = self.spoken(codes)?;
        out.push_str(&self.template.begin);
        for (level, code) in codes.iter().enumerate() {
            if level > 0 {
                out.push_str(&self.template.separator);
            }
            self.push_token(level, *code, out);
        }
        out.push_str(&self.template.end);
        Ok(())
    }

    /// The tokens of an ID, special tokens included, separators left out: what `index.json` lists.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn tokens(&self, codes: &[u32]) -> Result<Vec<String>> {
        let codes = self.spoken(codes)?;
        let [begin, end] =
            [&self.template.begin, &self.template.end].map(|t| Some(t.clone()).filter(|t| !t.is_empty()));
        let inner = codes.iter().enumerate().map(|(level, code)| {
            let mut token = String::new();
            self.push_token(level, *code, &mut token);
            token
        });
        Ok(begin.into_iter().chain(inner).chain(end).collect())
    }

    /// The tokens that stand around every ID, begin and end, as far as they are not empty.
    #[must_use]
    pub fn special_tokens(&self) -> Vec<&str> {
        let t = &self.template;
        let mut out: Vec<&str> = Vec::new();
        for token in [&t.begin, &t.end] {
            if !token.is_empty() && !out.contains(&token.as_str()) {
                out.push(token);
            }
        }
        out
    }

    /// Every token of the codes, level by level in the order of the codes: Σ sizes of them, a counter's left out.
    ///
    /// # Errors
    /// [`Error::Config`] if two codes have one token, as `12` under [`Style::Plain`] names a code of every level, if a code has
    /// the text of a special token, or for more than 2^24 tokens.
    pub fn vocabulary(&self) -> Result<Vec<String>> {
        let total: u64 = self.sizes[..self.levels].iter().map(|s| u64::from(*s)).sum();
        if total > MAX_TOKENS {
            return Err(Error::config(
                "codebook_sizes",
                format!("{total} tokens, at most {MAX_TOKENS} make a vocabulary"),
            ));
        }
        let mut all = Vec::with_capacity(total as usize);
        for (level, size) in self.sizes[..self.levels].iter().enumerate() {
            for code in 0..*size {
                let mut token = String::new();
                self.push_token(level, code, &mut token);
                all.push(token);
            }
        }
        let mut seen: std::collections::HashSet<&str> = self.special_tokens().into_iter().collect();
        for token in &all {
            if !seen.insert(token) {
                return Err(Error::config(
                    "token",
                    format!(
                        "`{token}` would be the token of two codes; use {{level}} or {{letter}} in the token, or number the \
                         codes on through the levels"
                    ),
                ));
            }
        }
        Ok(all)
    }

    /// Codewords of each level.
    #[must_use]
    pub fn sizes(&self) -> &[u32] {
        &self.sizes[..self.levels]
    }

    /// What stands before and after the number in each token, and what is added to a code; a counter's last.
    pub fn token_parts(&self) -> impl Iterator<Item = (&str, &str, u32)> {
        self.around.iter().zip(&self.offsets).map(|(a, first)| (a.before.as_str(), a.after.as_str(), *first))
    }

    /// The token of a counter, where the format has one.
    pub(super) fn counter_token(&self, counter: u32) -> String {
        let mut token = String::new();
        self.push_token(self.width() - 1, counter, &mut token);
        token
    }

    /// The codes of a text that [`write`](Self::write) made. O(length).
    ///
    /// # Errors
    /// [`Error::Text`] for any other text, with the character at which it parts from every ID.
    pub fn parse(&self, text: &str) -> Result<Vec<u32>> {
        let t = &self.template;
        let mut reader = Reader { text, at: 0 };
        let mut codes = Vec::with_capacity(self.sizes.len());
        reader.literal(&t.begin)?;
        for level in 0..self.sizes.len() {
            if level == self.levels {
                // With a counter the text would be longer than its end alone, so the two cannot be taken for each other.
                let ahead = format!("{}{}", t.separator, self.around[level].before);
                if reader.rest() == t.end || !reader.rest().starts_with(&ahead) {
                    codes.push(0);
                    break;
                }
            }
            if level > 0 {
                reader.literal(&t.separator)?;
            }
            reader.literal(&self.around[level].before)?;
            if level == self.levels && reader.rest().starts_with('0') {
                return Err(reader.fault("expected a counter from 1 on"));
            }
            codes.push(self.code(level, &mut reader)?);
            reader.literal(&self.around[level].after)?;
        }
        reader.literal(&t.end)?;
        if reader.rest().is_empty() { Ok(codes) } else { Err(reader.fault("expected the end of the text")) }
    }

    /// The codes of an ID's tokens, as [`tokens`](Self::tokens) gives them and `index.json` lists them. O(length).
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_tokens<T: AsRef<str>>(&self, tokens: &[T]) -> Result<Vec<u32>> {
        let (t, last) = (&self.template, tokens.len().saturating_sub(1));
        let mut text = String::new();
        let mut inside = false;
        for (i, token) in tokens.iter().map(AsRef::as_ref).enumerate() {
            let special = (i == 0 && !t.begin.is_empty() && token == t.begin)
                || (i == last && !t.end.is_empty() && token == t.end);
            if inside && !special {
                text.push_str(&t.separator);
            }
            text.push_str(token);
            inside = !special;
        }
        self.parse(&text)
    }

    fn code(&self, level: usize, reader: &mut Reader<'_>) -> Result<u32> {
        let digits: &str = reader.rest();
        let digits = &digits[..digits.bytes().take_while(u8::is_ascii_digit).count()];
        if digits.is_empty() {
            return Err(reader.fault("expected the digits of a code"));
        }
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(reader.fault("a code is written without leading zeros"));
        }
        let (offset, size) = (self.offsets[level], self.sizes[level]);
        // Ten digits hold every u32; twenty would overflow u64.
        let number = if digits.len() > 10 { None } else { digits.parse::<u64>().ok() };
        let code = number.map(|n| n.checked_sub(u64::from(offset)));
        let last = u64::from(offset) + u64::from(size) - 1;
        match code {
            Some(Some(code)) if code < u64::from(size) => {
                reader.at += digits.len();
                // Below a u32 by the guard.
                Ok(code as u32)
            }
            Some(None) => {
                Err(reader.fault(format!("code {digits} of level {level} is before {offset}, the first of {size}")))
            }
            _ => Err(reader.fault(format!("code {digits} of level {level} is past {last}, the last of {size}"))),
        }
    }

    fn push_token(&self, level: usize, code: u32, out: &mut String) {
        use std::fmt::Write as _;
        let CodeAffixes { before, after } = &self.around[level];
        // Writing to a String does not fail; `new` made sure that the sum fits.
        let _ = write!(out, "{before}{}{after}", u64::from(code) + u64::from(self.offsets[level]));
    }

    /// Checks an ID, and leaves out a counter of 0.
    fn spoken<'a>(&self, codes: &'a [u32]) -> Result<&'a [u32]> {
        check_shape("levels", self.sizes.len(), codes.len(), "ID to write")?;
        for (level, (code, size)) in codes.iter().zip(&self.sizes).enumerate() {
            if code >= size {
                return Err(Error::Data(format!("code {code} of level {level} is past the last of {size} codewords")));
            }
        }
        Ok(if codes.get(self.levels) == Some(&0) { &codes[..self.levels] } else { codes })
    }
}

/// Refuses templates under which two IDs have one text, or a text cannot be cut into its codes.
///
/// Given the level, the text before a code is known, so only the end of a number can be in doubt: it is not, where something
/// that does not start with a digit follows every code (or the text ends). Then reading on from the left decides everything.
fn check_invertible(template: &IdTemplate, around: &[CodeAffixes]) -> Result<()> {
    let bad = |problem: String| Err(Error::config("token", format!("{problem}; such IDs could not be parsed back")));
    let starts_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    for (level, this) in around.iter().enumerate() {
        if this.before.ends_with(|c: char| c.is_ascii_digit()) {
            return bad(format!("a digit stands right before the code in `{}{{code}}{}`", this.before, this.after));
        }
        if starts_with_digit(&format!("{}{}", this.after, template.end)) {
            return bad(format!("a digit stands right after the code in `{{code}}{}{}`", this.after, template.end));
        }
        if let Some(next) = around.get(level + 1) {
            let between = format!("{}{}{}", this.after, template.separator, next.before);
            if between.is_empty() {
                return bad("nothing stands between two codes".into());
            }
            if starts_with_digit(&between) {
                return bad(format!("`{between}` stands between two codes and starts with a digit"));
            }
        }
    }
    Ok(())
}

/// A position in a text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Moves past `literal`.
    fn literal(&mut self, literal: &str) -> Result<()> {
        if self.rest().starts_with(literal) {
            self.at += literal.len();
            return Ok(());
        }
        // The fault is where the two part, not where the literal begins.
        let same = self.rest().chars().zip(literal.chars()).take_while(|(a, b)| a == b);
        self.at += same.map(|(c, _)| c.len_utf8()).sum::<usize>();
        Err(self.fault(format!("expected `{literal}`")))
    }

    fn fault(&self, problem: impl Into<String>) -> Error {
        let column = self.text[..self.at].chars().count() + 1;
        let problem = problem.into();
        let problem = match self.rest().chars().next() {
            _ if problem.starts_with("code") => problem,
            Some(c) => format!("{problem}, got `{c}`"),
            None => format!("{problem}, but the text ends"),
        };
        // A line of a wrong file may be long.
        let mut text: String = self.text.chars().take(200).collect();
        if text.len() < self.text.len() {
            text.push('…');
        }
        Error::Text { text, column, problem }
    }
}
