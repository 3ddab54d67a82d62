//! A language model that speaks the IDs of a catalogue: from a question to items that exist.

use std::path::Path;

use super::model::{LanguageModel, SaveOptions};
use crate::decoding::Sampling;
use sememe::ids::{Trie, check_keys};
use sememe::io::{read_bytes_capped, read_index};
use sememe::{Error, Result, check_shape};
use sememe_text::dialogues::ChatMessage;

/// The trie of all IDs, and the keys of the items, as `export` names them.
const TRIE: &str = "ids.trie";
const INDEX: &str = "index.json";
/// The largest that are read.
const MOST_BYTES: u64 = 64 << 30;

/// A language model, the trie of the IDs that it may say, and what the items are called.
#[derive(Clone)]
pub struct LanguageRecommender {
    model: LanguageModel,
    trie: Trie,
    keys: Vec<String>,
    /// The items' IDs as text.
    ids: Vec<String>,
    /// `index.json` as it was read.
    index: Vec<u8>,
}

impl std::fmt::Debug for LanguageRecommender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageRecommender")
            .field("model", &self.model)
            .field("trie", &self.trie)
            .field("items", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// A recommendation of a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct SpokenItem {
    /// Row of the catalogue.
    pub item: u32,
    /// The ID's tokens.
    pub id: Vec<u32>,
    /// Natural logarithm of the item's probability among all items of the catalogue; items that share an ID share its probability.
    pub log_probability: f64,
}

/// How a language model is asked for items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpokenOptions {
    /// Items of a list, at most.
    pub count: usize,
    /// Prefixes of IDs that a search follows, or IDs that are drawn; a list holds the items of so many IDs at most.
    pub beams: usize,
    /// IDs are drawn at random instead of searched for.
    pub sampling: Option<Sampling>,
}

impl Default for SpokenOptions {
    fn default() -> Self {
        Self { count: 10, beams: 20, sampling: None }
    }
}

impl LanguageRecommender {
    /// Brings together a model and the folder that `export` wrote for its tokenizer: the trie and the items' keys.
    ///
    /// # Errors
    /// Files that cannot be read or are damaged; [`Error::Data`] for a trie with tokens that the model does not know.
    pub fn with_bundle(model: LanguageModel, bundle: impl AsRef<Path>) -> Result<Self> {
        let IdBundle { trie, keys, ids, index } = IdBundle::read(&model, bundle.as_ref())?;
        Ok(Self { model, trie, keys, ids, index })
    }

    /// Refuses a folder that [`with_bundle`](Self::with_bundle) would refuse: what takes long should not begin then.
    ///
    /// # Errors
    /// As there.
    pub fn check_bundle(model: &LanguageModel, bundle: impl AsRef<Path>) -> Result<()> {
        IdBundle::read(model, bundle.as_ref()).map(|_| ())
    }

    /// Reads a folder that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// As for [`LanguageModel::load`] and [`with_bundle`](Self::with_bundle).
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        Self::with_bundle(LanguageModel::load(folder.as_ref())?, folder)
    }

    /// Whether a folder holds the trie that makes a language model a recommender.
    #[must_use]
    pub fn is_in(folder: impl AsRef<Path>) -> bool {
        folder.as_ref().join(TRIE).is_file()
    }

    /// Writes model, trie and keys to one folder, whole or not at all.
    ///
    /// # Errors
    /// As for [`LanguageModel::save_with`].
    pub fn save(&self, folder: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        self.model.save_beside(folder.as_ref(), options, &[(TRIE, self.trie.as_bytes()), (INDEX, &self.index)])
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// The trie of all IDs, in the model's tokens.
    #[must_use]
    pub fn trie(&self) -> &Trie {
        &self.trie
    }

    /// What the items are called, by row.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The ID of an item as text.
    #[must_use]
    pub fn id(&self, item: u32) -> String {
        self.ids.get(item as usize).cloned().unwrap_or_default()
    }

    /// The items of an ID that is written as text, with or without what begins and ends it; none for any other text.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn items(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.model.tokenizer().encode(text.trim(), false)?;
        let ended = tokens.strip_suffix(&[self.trie.end()]).unwrap_or(&tokens);
        Ok(self.trie.items(ended))
    }

    /// The tokens of a question, up to where the ID begins.
    ///
    /// # Errors
    /// As for [`LanguageModel::chat`].
    pub fn question(&self, messages: &[ChatMessage]) -> Result<Vec<u32>> {
        self.model.tokenizer().encode(&self.model.chat(messages, true)?, false)
    }
}

/// What `export` wrote for a model.
struct IdBundle {
    trie: Trie,
    keys: Vec<String>,
    ids: Vec<String>,
    index: Vec<u8>,
}

impl IdBundle {
    fn read(model: &LanguageModel, bundle: &Path) -> Result<Self> {
        let (trie_path, path) = (bundle.join(TRIE), bundle.join(INDEX));
        let trie = Trie::load(&trie_path)?;
        trie.verify()?;
        super::scorer::known_tokens(&trie, model.shape().vocabulary)
            .map_err(|e| Error::format(&trie_path, e.to_string()))?;
        let (keys, ids) = item_keys(model, &trie, &path)?;
        check_shape("items", trie.item_count(), keys.len(), path.display().to_string())?;
        let index = read_bytes_capped(&path, MOST_BYTES)?;
        Ok(Self { trie, keys, ids, index })
    }
}

/// The keys of the items in the order of their rows, and their IDs as text, by which the trie has to know them.
fn item_keys(model: &LanguageModel, trie: &Trie, path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let (mut keys, mut ids, mut begin) = (Vec::new(), Vec::new(), Vec::new());
    trie.next_into(Trie::ROOT, &mut begin);
    read_index(path, &mut |key, tokens| {
        let number = |token: &String| {
            let lacks = || Error::Data(format!("the model's tokenizer lacks the token `{token}`"));
            model.tokenizer().id(token).ok_or_else(lacks)
        };
        let mut id = tokens.iter().map(number).collect::<Result<Vec<u32>>>()?;
        // Nor does a trie hold what ends an ID, which some formats list.
        id.pop_if(|last| *last == trie.end());
        let row = keys.len() as u32;
        // Some formats begin every ID with a token of their own.
        let begun = [&begin[..1], &id].concat();
        if ![&id, &begun].into_iter().any(|id| trie.items(id).contains(&row)) {
            let problem = format!("the trie does not know item {row} by this ID: they are not of one export");
            return Err(Error::Data(problem));
        }
        keys.push(key.to_owned());
        ids.push(tokens.concat());
        Ok(())
    })?;
    check_keys(&keys)?;
    Ok((keys, ids))
}
