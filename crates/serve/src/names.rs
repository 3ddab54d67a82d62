//! IDs and prefixes as text: in the spelling that is served, and plain.

use crate::error::{ApiError, ErrorCode, clip};
use sememe::Result;
use sememe::ids::{Style, TextFormat};

/// How IDs are written, and read from what clients send.
#[derive(Clone, Debug)]
pub struct IdNames {
    /// The served spelling, with a counter.
    format: TextFormat,
    /// `12-5-33`, with a counter.
    plain: TextFormat,
    style: String,
}

/// An ID that a client named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedId {
    /// Its codes, `[levels]`.
    pub codes: Vec<u32>,
    /// Which of the items on these codes, where the text says so: an ID without a counter is that of the first.
    pub counter: u32,
}

impl IdNames {
    /// Names in this spelling, of which `style` is the name.
    ///
    /// # Errors
    /// [`sememe::Error::Config`] for a spelling that takes no counter.
    pub fn new(format: TextFormat, style: impl Into<String>) -> Result<Self> {
        let sizes: Vec<usize> = format.sizes().iter().map(|size| *size as usize).collect();
        let plain = TextFormat::preset(Style::Plain, &sizes)?.with_counter()?;
        let format = if format.has_counter() { format } else { format.with_counter()? };
        Ok(Self { format, plain, style: style.into() })
    }

    /// What the spelling is called.
    #[must_use]
    pub fn style(&self) -> &str {
        &self.style
    }

    /// Codes an ID.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.format.levels()
    }

    /// The ID in the served spelling.
    ///
    /// # Errors
    /// [`sememe::Error::Data`] for codes past their codebooks.
    pub fn write(&self, codes: &[u32], counter: u32) -> Result<String> {
        let mut row = Vec::with_capacity(codes.len() + 1);
        row.extend_from_slice(codes);
        row.push(counter);
        self.format.write(&row)
    }

    /// The first codes of an ID in the served spelling, without what an ID begins and ends with.
    #[must_use]
    pub fn write_prefix(&self, codes: &[u32]) -> String {
        let tokens: Vec<String> = codes.iter().enumerate().map(|(level, code)| self.token(level, *code)).collect();
        tokens.join(&self.format.template().separator)
    }

    /// The first codes of an ID, plain: `12-5`.
    #[must_use]
    pub fn plain_prefix(&self, codes: &[u32]) -> String {
        codes.iter().map(u32::to_string).collect::<Vec<_>>().join("-")
    }

    /// The token of a code at a level.
    #[must_use]
    pub fn token(&self, level: usize, code: u32) -> String {
        let parts = self.format.token_parts().nth(level);
        parts.map_or_else(String::new, |(before, after, first)| {
            format!("{before}{}{after}", u64::from(code) + u64::from(first))
        })
    }

    /// An ID in either spelling.
    ///
    /// # Errors
    /// `bad_request` for any other text.
    pub fn parse(&self, text: &str) -> Result<NamedId, ApiError> {
        let row = match self.plain.parse(text) {
            Ok(row) => row,
            Err(in_plain) => self.format.parse(text).map_err(|error| self.no_id(text, &in_plain, error))?,
        };
        let (codes, counter) = row.split_at(self.levels().min(row.len()));
        Ok(NamedId { codes: codes.to_vec(), counter: counter.first().copied().unwrap_or(0) })
    }

    fn no_id(&self, text: &str, in_plain: &sememe::Error, in_spelling: sememe::Error) -> ApiError {
        // What looks plain is explained as such.
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let problem = if plain { in_plain.to_string() } else { in_spelling.to_string() };
        ApiError::new(ErrorCode::BadRequest, problem).hint(format!(
            "write IDs of {} codes as `{}` or `{}`",
            self.levels(),
            self.write(&vec![0; self.levels()], 0).unwrap_or_default(),
            self.plain_prefix(&vec![0; self.levels()])
        ))
    }

    /// The first codes of an ID in either spelling; none for an empty text.
    ///
    /// # Errors
    /// `bad_request` for any other text, or one of more codes than levels.
    pub fn parse_prefix(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        let sizes = self.format.sizes();
        let read = self.read_plain(text).or_else(|| self.read_spelled(text));
        let codes = read.ok_or_else(|| {
            ApiError::bad_request(format!("`{}` is no prefix of an ID", clip(text))).hint(format!(
                "write prefixes as `{}` or `{}`",
                self.write_prefix(&vec![0; self.levels().min(2)]),
                self.plain_prefix(&vec![0; self.levels().min(2)])
            ))
        })?;
        match codes.iter().zip(sizes).position(|(code, size)| code >= size) {
            Some(level) => {
                let (code, last) = (codes[level], sizes[level] - 1);
                Err(ApiError::bad_request(format!(
                    "code {code} of level {level} is past {last}, the last of {}",
                    sizes[level]
                )))
            }
            None => Ok(codes),
        }
    }

    fn read_plain(&self, text: &str) -> Option<Vec<u32>> {
        if text.is_empty() {
            return Some(Vec::new());
        }
        // As people type them.
        let parts = text.split(['-', ' ', ',']).filter(|part| !part.is_empty());
        let codes: Option<Vec<u32>> = parts.map(|code| code.parse().ok()).collect();
        codes.filter(|codes| !codes.is_empty() && codes.len() <= self.levels())
    }

    fn read_spelled(&self, text: &str) -> Option<Vec<u32>> {
        let template = self.format.template();
        let mut rest = text.strip_prefix(&template.begin).unwrap_or(text);
        rest = match template.end.is_empty() {
            true => rest,
            false => rest.strip_suffix(&template.end).unwrap_or(rest),
        };
        let mut codes = Vec::new();
        for (before, after, first) in self.format.token_parts().take(self.levels()) {
            if rest.is_empty() {
                break;
            }
            if !codes.is_empty() {
                rest = rest.strip_prefix(&template.separator)?;
            }
            rest = rest.strip_prefix(before)?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u32 = rest[..digits].parse().ok()?;
            codes.push(number.checked_sub(first)?);
            rest = rest[digits..].strip_prefix(after)?;
        }
        rest.is_empty().then_some(codes)
    }
}
