//! The tokens of IDs, out of the folder that `export` wrote, into a model.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::model::LanguageModel;
use sememe::io::read_bytes_capped;
use sememe::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Every token with its number, and which of them are special.
const VOCABULARY: &str = "vocabulary.json";
const SPECIALS: &str = "special_tokens.json";
/// 2^24 tokens at most are written.
const MOST_BYTES: u64 = 1 << 31;

#[derive(Deserialize)]
struct SpecialsFile {
    special_tokens: Vec<String>,
}

/// The tokens of a vocabulary that `export` wrote: special ones, codes level by level, counters.
pub(super) struct IdTokens {
    path: PathBuf,
    first: u32,
    names: Vec<String>,
    specials: usize,
}

impl IdTokens {
    /// Reads a folder.
    pub fn read(bundle: &Path) -> Result<Self> {
        let path = bundle.join(VOCABULARY);
        let vocabulary: BTreeMap<String, u32> = read(&path)?;
        let SpecialsFile { special_tokens } = read(&bundle.join(SPECIALS))?;
        let mut tokens: Vec<(u32, String)> = vocabulary.into_iter().map(|(token, number)| (number, token)).collect();
        tokens.sort_unstable();
        let bad = |problem: String| Err(Error::format(&path, problem));
        let Some(first) = tokens.first().map(|(number, _)| *number) else { return bad("holds no token".into()) };
        if let Some(at) = (0..tokens.len()).find(|at| tokens[*at].0 as usize != first as usize + at) {
            let next = tokens[at].0;
            return bad(format!("its tokens are not numbered without gaps: after {at} of them comes {next}"));
        }
        let names: Vec<String> = tokens.into_iter().map(|(_, token)| token).collect();
        if !names.starts_with(&special_tokens) {
            return bad(format!("does not begin with the {} tokens of {SPECIALS}", special_tokens.len()));
        }
        Ok(Self { first, specials: special_tokens.len(), names, path })
    }

    /// The first one's number.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Whether a model has all of them.
    pub fn are_in(&self, model: &LanguageModel) -> bool {
        (self.first..).zip(&self.names).all(|(number, token)| model.tokenizer().id(token) == Some(number))
    }

    /// The numbers of each level's codes, for codebooks of these sizes.
    pub fn levels(&self, sizes: &[usize]) -> Result<Vec<Range<u32>>> {
        let (codes, wanted) = (self.names.len() - self.specials, sizes.iter().sum::<usize>());
        if codes < wanted {
            let problem = format!(
                "has {codes} tokens of codes, but the codec's codebooks {sizes:?} need {wanted}: it is of another codec"
            );
            return Err(Error::format(&self.path, problem));
        }
        let mut next = self.first + self.specials as u32;
        let level = |size: &usize| {
            let start = next;
            next += *size as u32;
            start..next
        };
        Ok(sizes.iter().map(level).collect())
    }
}

impl LanguageModel {
    /// Gives the model the tokens of IDs that `export` wrote to a folder, and returns the first one's number. A model that has them
    /// already, from an earlier fine-tuning say, stays as it is. New vectors begin at the mean of those that are there;
    /// [`place_id_tokens`](Self::place_id_tokens) moves them.
    ///
    /// # Errors
    /// Files that cannot be read; [`Error::Format`] for tokens that are numbered for another tokenizer.
    pub fn add_id_tokens(&mut self, bundle: impl AsRef<Path>) -> Result<u32> {
        let tokens = IdTokens::read(bundle.as_ref())?;
        if tokens.are_in(self) {
            return Ok(tokens.first);
        }
        let (known, first) = (self.tokenizer().tokens(), tokens.first);
        if known != first as usize {
            let problem = format!(
                "numbers its tokens from {first} on, but the model's own end at {known}: export again with the model's `tokenizer.json`"
            );
            return Err(Error::format(&tokens.path, problem));
        }
        let names: Vec<&str> = tokens.names.iter().map(String::as_str).collect();
        let (special, others) = names.split_at(tokens.specials);
        let new = self.add_tokens(special, others, None)?;
        Ok(new.start)
    }

    /// Whether the model has the tokens of a folder that `export` wrote already.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn has_id_tokens(&self, bundle: impl AsRef<Path>) -> Result<bool> {
        Ok(IdTokens::read(bundle.as_ref())?.are_in(self))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bytes_capped(path, MOST_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, e.to_string()))
}
