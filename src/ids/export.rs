//! The files that trainers and servers of language models read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::{TextFormat, Trie, Vocabulary};
use crate::data::Codes;
use crate::error::{Error, Result, check_shape};
use crate::io::AtomicFile;

/// A catalogue's IDs, to be written for others.
///
/// `codes` is `[n, width]` as the format speaks them; `keys` names each row, `titles` describes it. Every file is written whole or
/// not at all.
///
/// ```
/// # use sememe::{Codes, ids::{Export, Style, TextFormat}};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("index.json");
/// let codes = Codes::from_vec(2, 2, vec![12, 5, 12, 6])?;
/// let keys = ["nano".to_owned(), "micro".to_owned()];
/// let format = TextFormat::preset(Style::LcRec, &[256, 256])?;
/// Export::new(&format, &codes, &keys)?.index(&path)?;
/// let text = std::fs::read_to_string(&path)?;
/// assert_eq!(text, "{\n\"nano\": [\"<a_12>\", \"<b_5>\"],\n\"micro\": [\"<a_12>\", \"<b_6>\"]\n}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    format: &'a TextFormat,
    codes: &'a Codes,
    keys: &'a [String],
}

#[derive(Serialize)]
struct ItemLine<'a> {
    id: &'a str,
    codes: &'a [u32],
    items: Vec<&'a str>,
}

impl<'a> Export<'a> {
    /// Holds the parts together.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not a key a row or the codes have another width than the format; [`Error::Data`] for an empty key
    /// and for one that two rows have.
    pub fn new(format: &'a TextFormat, codes: &'a Codes, keys: &'a [String]) -> Result<Self> {
        check_shape("levels", format.width(), codes.levels(), "codes to export")?;
        check_shape("keys", codes.rows(), keys.len(), "keys of the items")?;
        super::check_keys(keys)?;
        Ok(Self { format, codes, keys })
    }

    /// `index.json` as LC-Rec and MiniOneRec read it: `{"key": ["<a_12>", "<b_5>", "<c_33>"], …}`, in the order of the rows.
    ///
    /// # Errors
    /// If a row is no ID of the format, or the file cannot be written.
    pub fn index(&self, path: impl AsRef<Path>) -> Result<()> {
        self.lines(path.as_ref(), "{\n", "\n}\n", |i, codes, out| {
            let _ = write!(out, "{}{}: [", if i > 0 { ",\n" } else { "" }, json(&self.keys[i]));
            for (at, token) in self.format.tokens(codes)?.iter().enumerate() {
                let _ = write!(out, "{}{}", if at > 0 { ", " } else { "" }, json(token));
            }
            out.push(']');
            Ok(())
        })
    }

    /// MiniOneRec's info: `ID ⇥ title ⇥ key` a line. Tabs and line breaks in titles become blanks; in keys they are refused.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not a title a row, [`Error::Data`] for a key with a tab or a line break; if the file cannot be written.
    pub fn info(&self, path: impl AsRef<Path>, titles: &[String]) -> Result<()> {
        check_shape("titles", self.codes.rows(), titles.len(), "titles of the items")?;
        let breaks = ['\t', '\n', '\r'];
        if let Some((i, key)) = self.keys.iter().enumerate().find(|(_, key)| key.contains(breaks)) {
            return Err(Error::Data(format!(
                "key {key:?} of row {i} holds a tab or a line break, which a TSV does not keep"
            )));
        }
        self.lines(path.as_ref(), "", "", |i, codes, out| {
            self.format.write_into(codes, out)?;
            let _ = writeln!(out, "\t{}\t{}", titles[i].replace(breaks, " "), self.keys[i]);
            Ok(())
        })
    }

    /// Every ID once, with its items: `{"id":"<a_12>…","codes":[12,5,33],"items":["nano","nano-tiny"]}` a line, in the order of the
    /// codes, items in the order of the rows.
    ///
    /// # Errors
    /// As for [`index`](Self::index).
    pub fn items(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut order: Vec<usize> = (0..self.codes.rows()).collect();
        order.sort_by_key(|i| self.codes.row(*i));
        let mut file = AtomicFile::create(path)?;
        for group in order.chunk_by(|a, b| self.codes.row(*a) == self.codes.row(*b)) {
            let codes = self.codes.row(group[0]);
            let id = self.format.write(codes).map_err(|e| self.at(group[0], &e))?;
            let items = group.iter().map(|i| self.keys[*i].as_str()).collect();
            let mut text =
                serde_json::to_vec(&ItemLine { id: &id, codes, items }).map_err(|e| file.failed(e.into()))?;
            text.push(b'\n');
            file.put(&text)?;
        }
        file.commit()
    }

    /// The trie of all IDs in a vocabulary's token numbers, its items the rows. `end` is the token that ends an ID; without it the
    /// format's own is taken.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no end token; as for [`Vocabulary::encode`] and [`Trie::build`].
    pub fn trie(&self, vocabulary: &Vocabulary, end: Option<u32>) -> Result<Trie> {
        let Some(end) = end.or(vocabulary.end()) else {
            return Err(Error::config(
                "end",
                "the format has no token that ends an ID; give the model's own end token",
            ));
        };
        let (mut tokens, mut ends) = (Vec::new(), vec![0]);
        for (i, codes) in self.codes.iter().enumerate() {
            vocabulary.encode_into(codes, &mut tokens).map_err(|e| self.at(i, &e))?;
            ends.push(tokens.len());
        }
        Trie::build((0..self.codes.rows()).map(|i| &tokens[ends[i]..ends[i + 1]]), end)
    }

    fn lines(
        &self,
        path: &Path,
        head: &str,
        tail: &str,
        mut each: impl FnMut(usize, &[u32], &mut String) -> Result<()>,
    ) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.put(head.as_bytes())?;
        let mut text = String::new();
        for (i, codes) in self.codes.iter().enumerate() {
            text.clear();
            each(i, codes, &mut text).map_err(|e| self.at(i, &e))?;
            file.put(text.as_bytes())?;
        }
        file.put(tail.as_bytes())?;
        file.commit()
    }

    fn at(&self, row: usize, e: &Error) -> Error {
        Error::Data(format!("row {row}, item `{}`: {e}", self.keys[row]))
    }
}

impl Vocabulary {
    /// Writes `{"[SEM_START]": 32000, …}`, in the order of the numbers.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut text = String::from("{\n");
        for (at, token) in self.tokens().iter().enumerate() {
            let comma = if at + 1 < self.tokens().len() { "," } else { "" };
            let _ = writeln!(text, "{}: {}{comma}", json(token), u64::from(self.first_id()) + at as u64);
        }
        text.push_str("}\n");
        crate::io::write_bytes_atomic(path, text.as_bytes())
    }

    /// Writes the special tokens and their numbers, with what a model must be given room for.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_special_tokens(&self, path: impl AsRef<Path>) -> Result<()> {
        let numbered = self.special_tokens().iter().zip(u64::from(self.first_id())..);
        let specials: BTreeMap<_, _> = numbered.map(|(token, id)| (token.as_str(), id)).collect();
        let value = serde_json::json!({
            "special_tokens": self.special_tokens(),
            "ids": specials,
            "added_tokens": self.tokens().len(),
            "embedding_rows": self.embedding_rows(),
        });
        crate::io::write_bytes_atomic(path, format!("{value:#}\n").as_bytes())
    }
}

/// A text as JSON.
fn json(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}
