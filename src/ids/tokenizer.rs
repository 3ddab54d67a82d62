//! A Hugging Face `tokenizer.json`, to be given the tokens of IDs.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Vocabulary;
use crate::error::{Error, Result};

/// The largest tokenizers have a few hundred thousand tokens, in some tens of megabytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A tokenizer's file: BPE, WordPiece, Unigram or word level, whatever else it does.
///
/// Tokens are added by adding to the text of the file, so that everything else in it stays as it is, byte for byte.
///
/// ```
/// use sememe::ids::{Style, TextFormat, Tokenizer, Vocabulary};
/// let tokenizer = Tokenizer::parse(r#"{"added_tokens":[],"model":{"type":"WordLevel","vocab":{"a":0,"b":1}}}"#)?;
/// let format = TextFormat::preset(Style::LcRec, &[2])?;
/// let vocabulary = Vocabulary::new(&format, 0, tokenizer.next_id(), &[])?;
/// assert_eq!(vocabulary.encode(&[1])?, [3]);
/// let patched = Tokenizer::parse(&tokenizer.with_tokens(&vocabulary)?)?;
/// assert_eq!((patched.id("<a_1>"), patched.next_id()), (Some(3), 4));
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    text: String,
    path: PathBuf,
    ids: HashMap<String, u32>,
    next_id: u32,
    /// Where the list of added tokens ends, if there is one, and whether it holds any.
    list: Option<(usize, bool)>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    model: Model<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    added_tokens: Option<&'a RawValue>,
}

/// A field that is there, even if it is null: adding a second one would be no remedy.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    vocab: &'a RawValue,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// If the file cannot be read, has more than 1 GiB, or as for [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = String::from_utf8(crate::io::read_bytes_capped(path, MAX_FILE_BYTES)?)
            .map_err(|e| Error::format(path, format!("is not UTF-8 text: {e}")))?;
        Self::over(text, path)
    }

    /// Reads the content of a `tokenizer.json`. O(length).
    ///
    /// # Errors
    /// [`Error::Format`] for what is no such file, and for one whose tokens are not numbered without gaps: whoever loads it numbers
    /// added tokens on from how many there are, so tokens past a gap would be given numbers that others have.
    pub fn parse(text: &str) -> Result<Self> {
        Self::over(text.to_owned(), Path::new("tokenizer.json"))
    }

    fn over(text: String, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::format(path, problem);
        let file: File<'_> = serde_json::from_str(&text)
            .map_err(|e| bad(format!("is no tokenizer.json with a `model` that has a `vocab`: {e}")))?;
        let mut ids = model_ids(file.model.vocab.get()).map_err(|e| bad(format!("`model.vocab`: {e}")))?;
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let mut next = count;
        let mut highest = ids.values().copied().max();
        let mut list = None;
        if let Some(raw) = file.added_tokens.map(RawValue::get) {
            let added: Vec<Added> = serde_json::from_str(raw).map_err(|e| bad(format!("`added_tokens`: {e}")))?;
            // Both are slices of one text.
            let end = (raw.as_ptr() as usize - text.as_ptr() as usize) + raw.len() - 1;
            list = Some((end, !added.is_empty()));
            for Added { id, content } in added {
                // As the `tokenizers` library reads them: a text that is known keeps its number, others are numbered on.
                let known = ids.get(&content).copied();
                let given = known.unwrap_or(next);
                if given != id {
                    return Err(bad(format!(
                        "the added token `{content}` says it is {id}, but whoever loads the file makes it {given}; save the \
                         tokenizer again with `tokenizers` or `transformers`"
                    )));
                }
                next = next.max(id.saturating_add(1));
                highest = highest.max(Some(id));
                ids.insert(content, id);
            }
        }
        let after = highest.map_or(0, |id| id.saturating_add(1));
        if next != after {
            return Err(bad(format!(
                "its {count} tokens are numbered up to {}, with gaps: added tokens would be numbered from {next} on, onto \
                 tokens that are there; fill the gaps of `model.vocab` first",
                after.saturating_sub(1)
            )));
        }
        Ok(Self { ids, next_id: next, list, path: path.to_owned(), text })
    }

    /// One past the highest number of a token: the first of new ones. A model may have more embedding rows than that, as some are
    /// padded; new tokens take those first.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// The number of a token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The file's text with a vocabulary's tokens added: special ones as special, the others as plain, none of them normalised, so
    /// that each is matched as it is written, before anything else is done with a text. The same input gives the same text. O(length).
    ///
    /// # Errors
    /// [`Error::Config`] if the vocabulary does not begin at [`next_id`](Self::next_id); [`Error::Data`], with their names, for tokens
    /// that the tokenizer has already.
    pub fn with_tokens(&self, vocabulary: &Vocabulary) -> Result<String> {
        if vocabulary.first_id() != self.next_id {
            let problem = format!(
                "the tokens of `{}` end at {}, so new ones begin at {}, got {}",
                self.path.display(),
                self.next_id.saturating_sub(1),
                self.next_id,
                vocabulary.first_id()
            );
            return Err(Error::config("first_id", problem));
        }
        let (special, others) = vocabulary.tokens().split_at(vocabulary.special_tokens().len());
        self.with_added(special, others)
    }

    /// The file's text with tokens added, numbered on from [`next_id`](Self::next_id): first the special ones, then others, as
    /// [`with_tokens`](Self::with_tokens) adds those of IDs. O(length).
    ///
    /// # Errors
    /// [`Error::Config`] for an empty token and for numbers past 2^32 − 2; [`Error::Data`], with their names, for tokens that the tokenizer
    /// has already, and for one that stands twice.
    pub fn with_added<S: AsRef<str>>(&self, special: &[S], others: &[S]) -> Result<String> {
        let tokens: Vec<&str> = special.iter().chain(others).map(AsRef::as_ref).collect();
        self.refuse_known(&tokens)?;
        let mut seen = HashSet::with_capacity(tokens.len());
        for token in &tokens {
            if token.is_empty() {
                return Err(Error::config("tokens", "a token is empty"));
            }
            if !seen.insert(*token) {
                return Err(Error::Data(format!("the token `{token}` would be added twice")));
            }
        }
        if u64::from(self.next_id) + tokens.len() as u64 >= u64::from(u32::MAX) {
            let problem = format!("{} tokens from {} on are past 2^32 - 2", tokens.len(), self.next_id);
            return Err(Error::config("tokens", problem));
        }
        if tokens.is_empty() {
            return Ok(self.text.clone());
        }
        let pretty = self.text.contains('\n');
        let mut out = String::with_capacity(self.text.len() + 180 * tokens.len());
        let tail = match self.list {
            Some((end, any)) => {
                // Only blanks lie between the last token and the bracket.
                out.push_str(self.text[..end].trim_end());
                out.push_str(if any { "," } else { "" });
                end
            }
            None => {
                let end = self.text.rfind('}').unwrap_or(self.text.len());
                out.push_str(self.text[..end].trim_end());
                out.push_str(if pretty { ",\n  \"added_tokens\": [" } else { ",\"added_tokens\":[" });
                end
            }
        };
        for (at, token) in tokens.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            entry(&mut out, u64::from(self.next_id) + at as u64, token, at < special.len(), pretty);
        }
        out.push_str(if pretty { "\n  " } else { "" });
        if self.list.is_none() {
            out.push_str(if pretty { "]\n" } else { "]" });
        }
        out.push_str(&self.text[tail..]);
        Ok(out)
    }

    /// Writes [`with_tokens`](Self::with_tokens) to a file, whole or not at all.
    ///
    /// # Errors
    /// As there, and if the file cannot be written.
    pub fn save_with_tokens(&self, vocabulary: &Vocabulary, path: impl AsRef<Path>) -> Result<()> {
        crate::io::write_bytes_atomic(path, self.with_tokens(vocabulary)?.as_bytes())
    }

    fn refuse_known(&self, tokens: &[&str]) -> Result<()> {
        let known: Vec<&str> = tokens.iter().copied().filter(|token| self.ids.contains_key(*token)).collect();
        let Some(first) = known.first() else { return Ok(()) };
        let (path, count, all) = (self.path.display(), known.len(), tokens.len());
        if count == all {
            return Err(Error::Data(format!(
                "all {all} tokens, from `{first}` on, are in `{path}` already; give the file as it was"
            )));
        }
        let shown: Vec<String> = known.iter().take(5).map(|t| format!("`{t}` ({})", self.ids[*t])).collect();
        let more = if count > shown.len() { format!(" and {} more", count - shown.len()) } else { String::new() };
        Err(Error::Data(format!(
            "`{path}` has tokens of its own with these texts: {}{more}; spell IDs or special tokens another way",
            shown.join(", ")
        )))
    }
}

/// The tokens of a model: an object of numbers, or Unigram's list of pieces with their scores.
fn model_ids(raw: &str) -> serde_json::Result<HashMap<String, u32>> {
    if !raw.starts_with('[') {
        return serde_json::from_str(raw);
    }
    let pieces: Vec<(String, f64)> = serde_json::from_str(raw)?;
    Ok(pieces.into_iter().zip(0u32..).map(|((piece, _), id)| (piece, id)).collect())
}

/// One added token, as the `tokenizers` library writes it.
fn entry(out: &mut String, id: u64, token: &str, special: bool, pretty: bool) {
    let content = serde_json::Value::from(token);
    let fields = [
        ("id", id.to_string()),
        ("content", content.to_string()),
        ("single_word", "false".into()),
        ("lstrip", "false".into()),
        ("rstrip", "false".into()),
        ("normalized", "false".into()),
        ("special", special.to_string()),
    ];
    out.push_str(if pretty { "\n    {" } else { "{" });
    for (at, (name, value)) in fields.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = match pretty {
            true => write!(out, "{comma}\n      \"{name}\": {value}"),
            false => write!(out, "{comma}\"{name}\":{value}"),
        };
    }
    out.push_str(if pretty { "\n    }" } else { "}" });
}
