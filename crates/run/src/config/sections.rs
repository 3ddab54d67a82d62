//! The sections of a configuration; `[train]` is in `train`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use sememe::ids::{IdTemplate, Style};
use sememe::{Error, Result};
use sememe_text::embed::Pooling;

/// Where vectors come from: a file that is there, an endpoint, or a model of one's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embed {
    /// Vectors that are there: `.npy`, `.npz`, `.safetensors` or `.parquet`, `[rows, dims]`.
    pub vectors: Option<PathBuf>,
    /// The array of an `.npz` or column of a `.parquet` file, if it has several.
    pub array: Option<String>,
    /// The items of those rows, in their order: `.jsonl`, `.jsonl.gz`, `.csv` or `.parquet`. Without it rows are in the order of the
    /// items, sorted by key.
    pub keys: Option<PathBuf>,
    /// The field of `keys` with each row's key.
    pub key: String,
    /// Base of an OpenAI-compatible endpoint (feature `embed-http`).
    pub url: Option<String>,
    /// The model's name there; of a folder, the name that is kept with its vectors.
    pub model: Option<String>,
    /// Environment variable with the endpoint's key.
    pub api_key_env: Option<String>,
    /// Values a vector, for models that can shorten them.
    pub dimensions: Option<usize>,
    /// A model folder in Hugging Face's layout (feature `embed`).
    pub model_folder: Option<PathBuf>,
    /// How its tokens become one vector: `mean`, `cls` or `last`; as the folder says.
    pub pooling: Option<Pooling>,
    /// Tokens a text at most; as the folder says.
    pub max_tokens: Option<usize>,
    /// Which of the folder's prompts goes before every text; empty for none; as the folder says.
    pub prompt: Option<String>,
    /// Texts a request or batch.
    pub batch_items: usize,
    /// Requests at once.
    pub concurrency: usize,
    /// Seconds a request may take.
    pub timeout_seconds: f64,
    /// Further tries of a request.
    pub retries: u32,
    /// Put before every text.
    pub prefix: String,
    /// Divide every vector by its L2 norm.
    pub normalize: bool,
    /// Go on without the items whose text cannot be embedded; each run tries them again.
    pub skip_failed: bool,
}

impl Default for Embed {
    fn default() -> Self {
        Self {
            vectors: None,
            array: None,
            keys: None,
            key: "id".into(),
            url: None,
            model: None,
            api_key_env: None,
            dimensions: None,
            model_folder: None,
            pooling: None,
            max_tokens: None,
            prompt: None,
            batch_items: 32,
            concurrency: 4,
            timeout_seconds: 60.0,
            retries: 5,
            prefix: String::new(),
            normalize: false,
            skip_failed: false,
        }
    }
}

impl Embed {
    /// Checks that one way is chosen, and that what it needs is there.
    ///
    /// # Errors
    /// [`Error::Config`] for none or several of `vectors`, `url` and `model_folder`, settings of another way, or a build without it.
    pub fn validate(&self) -> Result<()> {
        let ways = [self.vectors.is_some(), self.url.is_some(), self.model_folder.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err(Error::config(
                "vectors",
                "expected one of `vectors` (a file of rows), `url` (an endpoint) and `model_folder` (a local model)",
            ));
        }
        if self.vectors.is_none() && (self.keys.is_some() || self.array.is_some()) {
            let field = if self.keys.is_some() { "keys" } else { "array" };
            return Err(Error::config(field, "is of `vectors`, which is not set"));
        }
        if self.url.is_some() && self.model.is_none() {
            return Err(Error::config("model", "expected the name of the endpoint's model, got nothing"));
        }
        let (url, folder) = (self.url.is_some(), self.model_folder.is_some());
        let given = [
            (self.model.is_some(), "model", url || folder, "`url` or `model_folder`"),
            (self.dimensions.is_some(), "dimensions", url || folder, "`url` or `model_folder`"),
            (self.api_key_env.is_some(), "api_key_env", url, "`url`"),
            (self.pooling.is_some(), "pooling", folder, "`model_folder`"),
            (self.max_tokens.is_some(), "max_tokens", folder, "`model_folder`"),
            (self.prompt.is_some(), "prompt", folder, "`model_folder`"),
            (self.skip_failed, "skip_failed", url || folder, "`url` or `model_folder`"),
        ];
        if let Some((_, field, _, way)) = given.iter().find(|(given, _, fits, _)| *given && !fits) {
            return Err(Error::config(*field, format!("is of {way}, which is not set")));
        }
        if self.vectors.is_some() && !self.prefix.is_empty() {
            return Err(Error::config("prefix", "is of texts to embed; `vectors` are taken as they are"));
        }
        if self.batch_items == 0 {
            return Err(Error::config("batch_items", "expected at least 1, got 0"));
        }
        if !(1..=256).contains(&self.concurrency) {
            return Err(Error::config("concurrency", format!("expected 1 to 256, got {}", self.concurrency)));
        }
        if !(self.timeout_seconds > 0.0 && self.timeout_seconds.is_finite()) {
            let problem = format!("expected more than 0, got {}", self.timeout_seconds);
            return Err(Error::config("timeout_seconds", problem));
        }
        Ok(())
    }
}

/// How collisions, items on the same codes, are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollisionPolicy {
    /// They are numbered; the first has no number: `12-5-33`, `12-5-33-1`.
    #[default]
    Suffix,
    /// They are numbered in a further level, so that all IDs have one length: `12-5-33-0`, `12-5-33-1`.
    ExtraLevel,
    /// They move to other codes, at the least added squared L2; items that come later are numbered.
    Relocate,
    /// They are refused.
    Error,
}

/// What becomes of an item's ID when its text and so its codes change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnChange {
    /// The item keeps its ID: whoever has learnt it goes on.
    #[default]
    Keep,
    /// The item gets a new ID on its new codes, and the old one is not given out again.
    Move,
}

/// How items get IDs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Assign {
    /// What becomes of items on the same codes.
    pub policy: CollisionPolicy,
    /// Items an ID at most, for `relocate`.
    pub capacity: usize,
    /// Where IDs are kept: an SQLite file or a `redis://` URL. Without it a file of the codec's own within the output.
    pub store: Option<String>,
    /// What becomes of the ID of an item that changed.
    pub on_change: OnChange,
    /// Give new items the IDs of deleted ones on their codes first.
    pub reuse_deleted: bool,
    /// Items a transaction.
    pub batch_items: usize,
    /// Seconds to wait for other processes and for a server that went away.
    pub patience_seconds: u64,
}

impl Default for Assign {
    fn default() -> Self {
        Self {
            policy: CollisionPolicy::Suffix,
            capacity: 1,
            store: None,
            on_change: OnChange::Keep,
            reuse_deleted: false,
            batch_items: 10_000,
            patience_seconds: 60,
        }
    }
}

impl Assign {
    pub(super) fn validate(&self) -> Result<()> {
        for (field, value) in [("capacity", self.capacity), ("batch_items", self.batch_items)] {
            if value == 0 {
                return Err(Error::config(field, "expected at least 1, got 0"));
            }
        }
        if self.capacity != 1 && self.policy != CollisionPolicy::Relocate {
            return Err(Error::config("capacity", format!("is of `policy = \"relocate\"`, got {}", self.capacity)));
        }
        if self.on_change == OnChange::Move && self.policy == CollisionPolicy::Relocate {
            let problem = "relocated items are on other codes than their own by design; use `keep`, or another policy";
            return Err(Error::config("on_change", problem));
        }
        if self.store.as_ref().is_some_and(|store| store.trim().is_empty()) {
            return Err(Error::config("store", "is empty; leave it out, or give an SQLite file or a redis:// URL"));
        }
        Ok(())
    }
}

/// Which clusters `tokenize` describes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clusters {
    /// Describe all prefixes of up to this many codes.
    pub depth: usize,
    /// Items shown for each.
    pub examples: usize,
}

impl Default for Clusters {
    fn default() -> Self {
        Self { depth: 2, examples: 5 }
    }
}

/// How IDs become tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokenize {
    /// The spelling of a known system.
    pub style: Style,
    /// A spelling of one's own, in its place.
    pub template: Option<IdTemplate>,
    /// Tokens of one's own, before those of IDs.
    pub special_tokens: Vec<String>,
    /// The number of the first token: the size of the model's vocabulary.
    pub first_token_id: u32,
    /// The model's own `tokenizer.json`, which gains the tokens; numbers go on from its last.
    pub tokenizer: Option<PathBuf>,
    /// The model's token that ends an ID, by its text in `tokenizer`.
    pub end_token: Option<String>,
    /// The same by its number; with one of them, or a spelling that has an end of its own, the trie is written.
    pub end_token_id: Option<u32>,
    /// Which clusters `tokenize` describes.
    pub clusters: Clusters,
}

impl Default for Tokenize {
    fn default() -> Self {
        Self {
            style: Style::Animind,
            template: None,
            special_tokens: Vec::new(),
            first_token_id: 0,
            tokenizer: None,
            end_token: None,
            end_token_id: None,
            clusters: Clusters::default(),
        }
    }
}

impl Tokenize {
    /// What an ID looks like.
    #[must_use]
    pub fn spelling(&self) -> IdTemplate {
        self.template.clone().unwrap_or_else(|| self.style.template())
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.clusters.depth == 0 {
            return Err(Error::config("clusters.depth", "expected at least 1, got 0"));
        }
        if self.tokenizer.is_some() && self.first_token_id != 0 {
            return Err(Error::config("first_token_id", "comes from `tokenizer`; leave it out"));
        }
        if self.end_token.is_some() && self.tokenizer.is_none() {
            return Err(Error::config(
                "end_token",
                "is looked up in `tokenizer`, which is not set; or give `end_token_id`",
            ));
        }
        if self.end_token.is_some() && self.end_token_id.is_some() {
            return Err(Error::config("end_token_id", "is the number of `end_token`; leave one of them out"));
        }
        Ok(())
    }
}

/// The run's page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Whether it is written.
    pub page: bool,
    /// Rows for which the nearest neighbours are found exactly, to measure recall; 0 leaves it out.
    pub queries: usize,
}

impl Default for Report {
    fn default() -> Self {
        Self { page: true, queries: 0 }
    }
}

impl Report {
    #[expect(clippy::unnecessary_wraps, reason = "as all sections")]
    pub(super) fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// What a dry run is cut to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DryRun {
    /// Items at most.
    pub items: usize,
    /// Epochs at most.
    pub epochs: usize,
}

impl Default for DryRun {
    fn default() -> Self {
        Self { items: 2048, epochs: 2 }
    }
}

impl DryRun {
    pub(super) fn validate(self) -> Result<()> {
        for (field, value) in [("items", self.items), ("epochs", self.epochs)] {
            if value == 0 {
                return Err(Error::config(field, "expected at least 1, got 0"));
            }
        }
        Ok(())
    }
}
