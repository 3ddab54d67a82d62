//! IDs and prefixes as text: in the spelling that is served, and plain.

use crate::error::{ApiError, ErrorCode, clip};
use crate::patterns;
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

    /// An ID in either spelling; what [`write`](Self::write) wrote is read as such, should it look like plain codes, too.
    ///
    /// # Errors
    /// `bad_request` for any other text.
    pub fn parse(&self, text: &str) -> Result<NamedId, ApiError> {
        let row = match self.format.parse(text) {
            Ok(row) => row,
            Err(in_spelling) => self.plain.parse(text).map_err(|in_plain| self.no_id(text, &in_plain, in_spelling))?,
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
        let parts = text.split(PLAIN_SEPARATORS).filter(|part| !part.is_empty());
        let codes: Option<Vec<u32>> = parts.map(read_number).collect();
        codes.filter(|codes| !codes.is_empty() && codes.len() <= self.levels())
    }

    /// The tokens of the first codes, with or without what an ID begins and ends with.
    fn read_spelled(&self, text: &str) -> Option<Vec<u32>> {
        let template = self.format.template();
        // A token may begin as IDs do, so both are tried.
        let begun = [text.strip_prefix(&template.begin), Some(text)].into_iter().flatten();
        let mut whole = begun.flat_map(|rest| [rest.strip_suffix(&template.end), Some(rest)]).flatten();
        whole.find_map(|tokens| self.read_tokens(tokens))
    }

    fn read_tokens(&self, mut rest: &str) -> Option<Vec<u32>> {
        let mut codes = Vec::new();
        for (before, after, first) in self.format.token_parts().take(self.levels()) {
            if rest.is_empty() {
                break;
            }
            if !codes.is_empty() {
                rest = rest.strip_prefix(&self.format.template().separator)?;
            }
            rest = rest.strip_prefix(before)?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            codes.push(read_number(&rest[..digits])?.checked_sub(first)?);
            rest = rest[digits..].strip_prefix(after)?;
        }
        rest.is_empty().then_some(codes)
    }

    /// What [`parse`](Self::parse) reads, as a regular expression.
    #[must_use]
    pub fn id_pattern(&self) -> String {
        let [plain, spelled] = [&self.plain, &self.format].map(|format| {
            let template = format.template();
            let mut tokens = token_patterns(format);
            let counter = format!("{}{}", patterns::literal(&template.separator), tokens.pop().unwrap_or_default());
            let codes = tokens.join(&patterns::literal(&template.separator));
            let [begin, end] = [&template.begin, &template.end].map(|text| patterns::literal(text));
            format!("{begin}{codes}{}{end}", patterns::perhaps(&counter))
        });
        let both = if plain == spelled { vec![plain] } else { vec![plain, spelled] };
        patterns::whole(&patterns::any(both))
    }

    /// What [`parse_prefix`](Self::parse_prefix) reads but for the empty text, as a regular expression.
    #[must_use]
    pub fn prefix_pattern(&self) -> String {
        let between: String = PLAIN_SEPARATORS.iter().collect();
        // The codes from the last one back: each may only come behind the one before it.
        let nested = |tokens: Vec<String>, separator: &str| {
            tokens
                .into_iter()
                .rev()
                .reduce(|rest, token| format!("{token}{}", patterns::perhaps(&format!("{separator}{rest}"))))
        };
        let codes = |format: &TextFormat| token_patterns(format).into_iter().take(self.levels()).collect::<Vec<_>>();
        // Behind the opening bracket, a hyphen is itself.
        let plain = nested(codes(&self.plain), &format!("[{between}]+")).unwrap_or_default();
        let plain = format!("[{between}]*{plain}[{between}]*");
        let template = self.format.template();
        let spelled = nested(codes(&self.format), &patterns::literal(&template.separator)).unwrap_or_default();
        let [begin, end] = [&template.begin, &template.end].map(|text| patterns::perhaps(&patterns::literal(text)));
        // Nothing but what an ID begins and ends with is the root.
        let spelled = format!("{begin}{}{end}", patterns::perhaps(&spelled));
        patterns::whole(&patterns::any([plain, spelled]))
    }
}

/// What stands between the codes of a plain prefix; the hyphen first, as in a pattern it would span a range elsewhere.
const PLAIN_SEPARATORS: [char; 3] = ['-', ' ', ','];

/// A number as codes are written: digits, without leading zeros.
fn read_number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

/// The tokens of each level, and that of a counter last.
fn token_patterns(format: &TextFormat) -> Vec<String> {
    let sizes = format.sizes().iter().map(|size| (0, u64::from(*size) - 1));
    // The first of the items on some codes has no counter.
    let numbers = sizes.chain([(1, u64::from(u32::MAX) - 1)]);
    let tokens = format.token_parts().zip(numbers).map(|((before, after, first), (from, to))| {
        let number = patterns::number(from + u64::from(first)..=to + u64::from(first));
        format!("{}{number}{}", patterns::literal(before), patterns::literal(after))
    });
    tokens.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patterns::whole;
    use regex::Regex;
    use sememe::ids::IdTemplate;

    fn all() -> Vec<IdNames> {
        let odd = IdTemplate {
            begin: "<".into(),
            token: "<{letter}.{code})".into(),
            separator: "|".into(),
            end: ")".into(),
            first: 3,
            cumulative: true,
        };
        let templates = Style::ALL.into_iter().map(Style::template).chain([odd]);
        let format = |template: IdTemplate| TextFormat::new(template, &[5, 12, 300]).expect("a format");
        templates.map(|template| IdNames::new(format(template), "some").expect("names")).collect()
    }

    /// Texts near IDs: written ones, cut, doubled, and with every character taken out, doubled or changed.
    fn texts(names: &IdNames) -> Vec<String> {
        let mut out = vec![
            String::new(),
            "-".into(),
            " ".into(),
            "0".into(),
            "00-0-0".into(),
            "4-11-299-0".into(),
            "4-11-299-4294967295".into(),
        ];
        for codes in [[0, 0, 0], [4, 11, 299], [2, 10, 100], [1, 9, 99]] {
            for counter in [0, 1, 10, u32::MAX - 1] {
                let plain = names.plain.write(&[codes[0], codes[1], codes[2], counter]).expect("an ID");
                out.extend([names.write(&codes, counter).expect("an ID"), plain]);
            }
            let template = names.format.template();
            for length in 0..=3 {
                let prefix = names.write_prefix(&codes[..length]);
                out.push(format!("{}{prefix}{}", template.begin, template.end));
                out.push(format!("{}{prefix}", template.begin));
                out.push(format!("{prefix}{}", template.end));
                out.extend([prefix, names.plain_prefix(&codes[..length])]);
            }
        }
        out.extend(
            ["5-0-0", "0-12-0", "0-0-300", "1 2 3", "1,2", " 1 -,2-", "+1-2", "01-2", "1-2-3-4-5", "99999999999"]
                .map(String::from),
        );
        let mut near = Vec::new();
        for text in &out {
            for (at, c) in text.char_indices() {
                let (before, after) = (&text[..at], &text[at + c.len_utf8()..]);
                near.extend([format!("{before}{after}"), format!("{before}{c}{c}{after}")]);
                near.extend(['0', '9', '-', 'x'].map(|other| format!("{before}{other}{after}")));
            }
        }
        out.extend(near);
        out
    }

    #[test]
    fn patterns_say_what_is_read() {
        for names in all() {
            let (id, prefix) = (names.id_pattern(), names.prefix_pattern());
            let (id_re, prefix_re) = (Regex::new(&id).expect("a pattern"), Regex::new(&prefix).expect("a pattern"));
            let (mut ids, mut prefixes, texts) = (0, 0, texts(&names));
            for text in texts.iter().filter(|text| !text.is_empty()) {
                assert_eq!(id_re.is_match(text), names.parse(text).is_ok(), "`{text}`: {id}");
                assert_eq!(prefix_re.is_match(text), names.parse_prefix(text).is_ok(), "`{text}`: {prefix}");
                ids += usize::from(id_re.is_match(text));
                prefixes += usize::from(prefix_re.is_match(text));
            }
            assert!(ids > 20 && prefixes > 20 && ids < texts.len() / 2, "{ids} and {prefixes} of {}", texts.len());
            assert!(Regex::new(&whole(&id)).is_ok());
        }
    }
}
