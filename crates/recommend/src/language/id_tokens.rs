//! The tokens of IDs, out of the folder that `export` wrote, into a model.

use std::collections::BTreeMap;
use std::path::Path;

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

impl LanguageModel {
    /// Gives the model the tokens of IDs that `export` wrote to a folder, and returns the first one's number. A model that has them
    /// already, from an earlier fine-tuning say, stays as it is. New vectors begin at the mean of those that are there.
    ///
    /// # Errors
    /// Files that cannot be read; [`Error::Format`] for tokens that are numbered for another tokenizer.
    pub fn add_id_tokens(&mut self, bundle: impl AsRef<Path>) -> Result<u32> {
        let path = bundle.as_ref().join(VOCABULARY);
        let vocabulary: BTreeMap<String, u32> = read(&path)?;
        let specials: SpecialsFile = read(&bundle.as_ref().join(SPECIALS))?;
        let mut tokens: Vec<(u32, &str)> = vocabulary.iter().map(|(token, number)| (*number, token.as_str())).collect();
        tokens.sort_unstable();
        let bad = |problem: String| Error::format(&path, problem);
        let Some((first, _)) = tokens.first().copied() else { return Err(bad("holds no token".into())) };
        if let Some(at) = (0..tokens.len()).find(|at| tokens[*at].0 as usize != first as usize + at) {
            return Err(bad(format!(
                "its tokens are not numbered without gaps: after {at} of them comes {}",
                tokens[at].0
            )));
        }
        if tokens.iter().all(|(number, token)| self.tokenizer().id(token) == Some(*number)) {
            return Ok(first);
        }
        let known = self.tokenizer().tokens();
        if known != first as usize {
            return Err(bad(format!(
                "numbers its tokens from {first} on, but the model's own end at {known}: export again with the model's `tokenizer.json`"
            )));
        }
        let lead = specials.special_tokens.len();
        if lead > tokens.len() || (0..lead).any(|at| tokens[at].1 != specials.special_tokens[at]) {
            return Err(bad(format!("does not begin with the {lead} tokens of {SPECIALS}")));
        }
        let names: Vec<&str> = tokens.iter().map(|(_, token)| *token).collect();
        let (special, others) = names.split_at(lead);
        let new = self.add_tokens(special, others, None)?;
        Ok(new.start)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bytes_capped(path, MOST_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, e.to_string()))
}
