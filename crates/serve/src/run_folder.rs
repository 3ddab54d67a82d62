//! The folder that a run wrote, as far as it is served.

use sememe::ids::{IdTemplate, Style};
use sememe::{Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};

/// The longest state of a run, in bytes.
const STATE_BYTES: u64 = 64 << 20;

/// Files of a run, those that are there.
#[derive(Debug)]
pub struct RunFolder {
    /// The codec; it may not be there yet.
    pub codec: PathBuf,
    /// Whether the run has finished training it.
    pub trained: bool,
    /// The store of IDs: a path or a URL.
    pub store: Option<PathBuf>,
    /// The IDs, in the order of the vectors.
    pub ids: Option<PathBuf>,
    /// The items with their titles and texts.
    pub items: Option<PathBuf>,
    /// The vectors of the items that have IDs.
    pub vectors: Option<PathBuf>,
    /// The recommender.
    pub recommender: Option<PathBuf>,
    /// How IDs are written, and what that is called.
    pub spelling: Option<(IdTemplate, String)>,
    /// What made the vectors.
    pub texts: RunTexts,
}

/// What turned a run's texts into vectors.
#[derive(Debug, PartialEq, Eq)]
pub enum RunTexts {
    /// Nothing that could be asked again.
    Unknown,
    /// A model in a folder; the state does not say which.
    Folder,
    /// An endpoint.
    Endpoint(RunEndpoint),
}

/// An endpoint that made vectors.
#[derive(Debug, PartialEq, Eq)]
pub struct RunEndpoint {
    /// Its URL.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// Values per vector, if they were asked for.
    pub dimensions: Option<usize>,
    /// Text before every text.
    pub prefix: String,
    /// Whether vectors were scaled to length 1.
    pub normalize: bool,
}

#[derive(Debug, Deserialize)]
struct RunState {
    phases: Phases,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Phases {
    embed: Option<EmbedPhase>,
    train: Option<IgnoredAny>,
    assign: Option<AssignPhase>,
    tokenize: Option<TokenizePhase>,
    recommend: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct EmbedPhase {
    settings: EmbedSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EmbedSettings {
    url: Option<String>,
    /// A name, or what is in the folder of a model.
    model: serde_json::Value,
    dimensions: Option<usize>,
    prefix: String,
    normalize: bool,
}

#[derive(Debug, Deserialize)]
struct AssignPhase {
    facts: AssignFacts,
}

#[derive(Debug, Deserialize)]
struct AssignFacts {
    store: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct TokenizePhase {
    settings: TokenizeSettings,
    facts: TokenizeFacts,
}

#[derive(Debug, Deserialize)]
struct TokenizeSettings {
    style: Style,
    #[serde(default)]
    template: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct TokenizeFacts {
    template: IdTemplate,
}

impl RunFolder {
    /// Reads a run's state, and looks which of its files are there.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no state, [`Error::Format`] if it is none.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("state.json");
        let bytes = sememe::io::read_bytes_capped(&path, STATE_BYTES)?;
        let state: RunState = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Format { path, problem: format!("is no state of a run: {e}") })?;
        let phases = state.phases;
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        let spelling = |phase: TokenizePhase| {
            let custom = phase.settings.template.is_some();
            let name = if custom { "custom" } else { phase.settings.style.name() };
            (phase.facts.template, name.to_owned())
        };
        let store = phases.assign.as_ref().and_then(|assign| assign.facts.store.as_deref());
        Ok(Self {
            codec: folder.join("train/codec.safetensors"),
            trained: phases.train.is_some(),
            store: store.and_then(|place| find_store(folder, place)),
            ids: phases.assign.as_ref().and_then(|_| file("assign/ids.jsonl")),
            items: file("prep/items.jsonl"),
            vectors: file("embed/rows.npy"),
            recommender: phases.recommend.and_then(|_| file("recommend/recommender.safetensors")),
            spelling: phases.tokenize.map(spelling),
            texts: phases.embed.map_or(RunTexts::Unknown, |embed| embed.settings.texts()),
        })
    }
}

/// The run's store. The run may lie elsewhere by now than where its store's path begins.
fn find_store(folder: &Path, place: &Path) -> Option<PathBuf> {
    if place.to_string_lossy().contains("://") {
        return Some(place.to_owned());
    }
    let own = place.file_name().map(|name| folder.join("assign").join(name));
    [own, Some(place.to_owned())].into_iter().flatten().find(|path| path.exists())
}

impl EmbedSettings {
    fn texts(self) -> RunTexts {
        let Self { url, model, dimensions, prefix, normalize } = self;
        match (url, model) {
            (Some(url), serde_json::Value::String(model)) => {
                RunTexts::Endpoint(RunEndpoint { url, model, dimensions, prefix, normalize })
            }
            (None, serde_json::Value::Object(_)) => RunTexts::Folder,
            _ => RunTexts::Unknown,
        }
    }
}
