//! What is loaded: the folder that a run wrote, single files, or both, where a named file stands for that of the folder.

use crate::run_folder::{RunEndpoint, RunFolder, RunTexts};
use sememe::device::DeviceChoice;
use sememe::ids::{IdTemplate, Style};
use sememe::{Error, Result};
use sememe_recommend::Precision;
use sememe_text::embed::Embedder;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Opens what turns texts into vectors; called once a load.
pub type OpenEmbedder = Arc<dyn Fn() -> Result<Box<dyn Embedder + Send>> + Send + Sync>;

/// The model that made the items' vectors.
#[derive(Clone)]
pub struct EmbedSource {
    /// Opens it.
    pub open: OpenEmbedder,
    /// Text before every text.
    pub prefix: String,
    /// Whether vectors are scaled to length 1.
    pub normalize: bool,
}

impl fmt::Debug for EmbedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open: _, prefix, normalize } = self;
        f.debug_struct("EmbedSource").field("prefix", prefix).field("normalize", normalize).finish_non_exhaustive()
    }
}

/// How IDs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpellingSource {
    /// The spelling.
    pub template: IdTemplate,
    /// What it is called.
    pub style: String,
}

impl SpellingSource {
    /// A style of the library.
    #[must_use]
    pub fn of(style: Style) -> Self {
        Self { template: style.template(), style: style.name().to_owned() }
    }
}

/// What to load. Read again at every load, so that files that were replaced are taken up.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folder that a run wrote.
    pub run: Option<PathBuf>,
    /// The codec; that of the run otherwise.
    pub codec: Option<PathBuf>,
    /// The store that gives out IDs: a path or a URL.
    pub store: Option<PathBuf>,
    /// How long other users of the store are waited for. 5 seconds.
    pub patience: Duration,
    /// IDs in a file, where there is no store: `.jsonl` with `id` or `key`, `codes`, and `counter`.
    pub ids: Option<PathBuf>,
    /// The items: `.jsonl` with a key, and a title and a text where there are such.
    pub items: Option<PathBuf>,
    /// Fields of [`Self::items`].
    pub fields: ItemFields,
    /// The items' vectors, in the order of [`Self::items`].
    pub vectors: Option<PathBuf>,
    /// How IDs are written; as the run does otherwise, or plain.
    pub spelling: Option<SpellingSource>,
    /// A recommender.
    pub recommender: Option<PathBuf>,
    /// A folder with a language model that knows IDs.
    pub language: Option<PathBuf>,
    /// The model that made the items' vectors; that of the run otherwise.
    pub embed: Option<EmbedSource>,
    /// Where rows are encoded and models run.
    pub device: DeviceChoice,
    /// Arithmetic of the language model.
    pub precision: Precision,
    /// Text after which a language model's answer is an ID; without one the whole answer is.
    pub marker: Option<String>,
    /// A question that the page shows as an example.
    pub ask: Option<String>,
    /// How long rows of several requests may wait for each other. 1 millisecond.
    pub gather: Duration,
}

/// Fields of an item in a catalogue's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemFields {
    /// The key. `id`.
    pub key: String,
    /// The title, where items have one. `title`.
    pub title: String,
    /// The text, where items have one. `text`.
    pub text: String,
}

impl Default for ItemFields {
    fn default() -> Self {
        Self { key: "id".into(), title: "title".into(), text: "text".into() }
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            run: None,
            codec: None,
            store: None,
            patience: Duration::from_secs(5),
            ids: None,
            items: None,
            fields: ItemFields::default(),
            vectors: None,
            spelling: None,
            recommender: None,
            language: None,
            embed: None,
            device: DeviceChoice::Auto,
            precision: Precision::F32,
            marker: None,
            ask: None,
            gather: Duration::from_millis(1),
        }
    }
}

/// [`Sources`] with what the run's folder says.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// The codec.
    pub codec: PathBuf,
    /// How IDs are written.
    pub spelling: SpellingSource,
    /// Whose vectors [`Sources::vectors`] are: `.jsonl` with `id`, in their order. That of [`Sources::items`] otherwise.
    pub vector_keys: Option<PathBuf>,
    /// Everything else, with the run's files where none was named.
    pub sources: Sources,
    /// What whoever runs the service should know.
    pub notes: Vec<String>,
}

impl Sources {
    /// A run's folder.
    #[must_use]
    pub fn of_run(folder: impl Into<PathBuf>) -> Self {
        Self { run: Some(folder.into()), ..Self::default() }
    }

    /// Looks into the run's folder, if there is one, for what is not named.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no codec; [`Error::Format`] if the folder is none that a run wrote.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        let run = self.run.as_deref().map(RunFolder::read).transpose()?;
        let codec = self.codec.clone().or_else(|| run.as_ref().map(|run| run.codec.clone()));
        let codec = codec.ok_or_else(|| Error::Config {
            field: "codec".into(),
            problem: "expected a codec, or a run's folder, got neither".into(),
        })?;
        let spelling = self.spelling.clone().unwrap_or_else(|| SpellingSource::of(Style::Plain));
        let mut out = Resolved { codec, spelling, vector_keys: None, sources: self.clone(), notes: Vec::new() };
        if let Some(run) = run {
            if self.codec.is_some() {
                let other =
                    "IDs, store and recommender of the run are those of its own codec; another one is used here";
                out.notes.push(other.into());
            }
            out.fill(run);
        }
        Ok(out)
    }
}

impl Resolved {
    /// Takes from a run what nobody named.
    fn fill(&mut self, run: RunFolder) {
        let Self { sources, notes, .. } = self;
        if !run.trained {
            notes.push("the run has not finished its phase train".into());
        }
        if sources.store.is_none() && sources.ids.is_none() {
            (sources.store, sources.ids) = (run.store, run.ids.clone());
        }
        if sources.vectors.is_none() {
            // Items without a vector have no ID either.
            (sources.vectors, self.vector_keys) = (run.vectors, run.ids);
        }
        sources.items = sources.items.take().or(run.items);
        sources.recommender = sources.recommender.take().or(run.recommender);
        if let (None, Some((template, style))) = (&sources.spelling, run.spelling) {
            self.spelling = SpellingSource { template, style };
        }
        if sources.embed.is_some() {
            return;
        }
        match run.texts {
            RunTexts::Unknown => {}
            RunTexts::Folder => notes.push(
                "a model in a folder made the run's vectors, and the run does not say where it is; name it, for texts to be taken".into(),
            ),
            RunTexts::Endpoint(endpoint) => match ask(endpoint) {
                Ok(source) => sources.embed = Some(source),
                Err(problem) => notes.push(problem.into()),
            },
        }
    }
}

/// The endpoint that made a run's vectors, or why it cannot be asked.
#[cfg(feature = "embed-http")]
fn ask(run: RunEndpoint) -> Result<EmbedSource, &'static str> {
    let RunEndpoint { url, model, dimensions, prefix, normalize } = run;
    let mut endpoint = sememe_text::embed::Endpoint::new(url, model);
    endpoint.dimensions = dimensions;
    let open = move || Ok(Box::new(endpoint.clone().connect()?) as Box<dyn Embedder + Send>);
    Ok(EmbedSource { open: Arc::new(open), prefix, normalize })
}

#[cfg(not(feature = "embed-http"))]
fn ask(_: RunEndpoint) -> Result<EmbedSource, &'static str> {
    Err("an endpoint made the run's vectors, which this build does not ask; texts are not taken")
}
