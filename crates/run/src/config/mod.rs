//! The configuration of a run: one TOML file, checked whole before anything is read.
//!
//! [`Config`] is plain data, a struct for each phase; [`load`] reads it from a file, lays environment variables and settings of the
//! command line over it, and makes its paths relative to the file. [`TEMPLATE`] is a commented file with every default.

mod fault;
mod load;
mod recommend;
mod sections;
mod train;

pub use load::{LoadedConfig, Overrides, load};
pub use recommend::{Recommend, UnknownEvents};
pub use sections::{Assign, Clusters, CollisionPolicy, DryRun, Embed, OnChange, Report, Tokenize};
pub use train::{CodebookSizes, OnNewRows, ResumeFrom, Train, TrainMethod};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::tracking::Tracking;
use sememe::device::DeviceChoice;
use sememe::eval::recall::RecallOptions;
use sememe::{Error, Result};
use sememe_text::dialogues::Dialogues;
use sememe_text::prep::{Prep, Prepared};

/// A commented configuration with every setting at its default: what `sememe init` writes.
pub const TEMPLATE: &str = include_str!("template.toml");

/// Everything that a run depends on, besides the data.
///
/// ```
/// use sememe_run::config::{Config, TEMPLATE};
/// let config: Config = toml::from_str(TEMPLATE)?;
/// assert_eq!(config.train.levels, Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the catalogue is called, in titles.
    pub name: String,
    /// The folder of everything that a run writes, made if it is not there.
    pub output: PathBuf,
    /// Where training and encoding run.
    pub device: DeviceChoice,
    /// Fixes everything random, unless a section has its own.
    pub seed: u64,
    /// A file of `NAME=VALUE` lines for secrets; what the environment has goes before it.
    pub env_file: Option<PathBuf>,
    /// Rows of a catalogue to texts.
    pub prep: Prep,
    /// Texts to vectors, or vectors that are there.
    pub embed: Embed,
    /// Vectors to a codec.
    pub train: Train,
    /// Items to IDs.
    pub assign: Assign,
    /// IDs to tokens and the files around them.
    pub tokenize: Tokenize,
    /// How well IDs agree with what users did, if there is such a section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<RecallOptions>,
    /// Training data for a language model, if there is such a section. Its `ids` are the run's, its catalogue is that of `prep` unless
    /// `source` names another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialogues: Option<Dialogues>,
    /// A recommender over the run's IDs, if there is such a section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommend: Option<Recommend>,
    /// Where figures go beside the files.
    pub tracking: Tracking,
    /// The page.
    pub report: Report,
    /// What a dry run is cut to.
    pub dry_run: DryRun,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "catalogue".into(),
            output: "sememe-run".into(),
            device: DeviceChoice::Auto,
            seed: 0,
            env_file: None,
            prep: Prep::default(),
            embed: Embed::default(),
            train: Train::default(),
            assign: Assign::default(),
            tokenize: Tokenize::default(),
            recall: None,
            dialogues: None,
            recommend: None,
            tracking: Tracking::default(),
            report: Report::default(),
            dry_run: DryRun::default(),
        }
    }
}

impl Config {
    /// Checks everything that can be known before data is read.
    ///
    /// # Errors
    /// [`Error::Config`] with the setting's full name.
    pub fn validate(&self) -> Result<()> {
        if self.output.as_os_str().is_empty() {
            return Err(Error::config("output", "expected a folder, got nothing"));
        }
        self.prep.validate().map_err(|e| within("prep", e))?;
        Prepared::check_output("items.jsonl")?;
        self.embed.validate().map_err(|e| within("embed", e))?;
        self.train.validate(self.seed).map_err(|e| within("train", e))?;
        self.assign.validate().map_err(|e| within("assign", e))?;
        self.tokenize.validate().map_err(|e| within("tokenize", e))?;
        if let Some(recall) = &self.recall {
            recall.validate().map_err(|e| within("recall", e))?;
        }
        self.tracking.validate().map_err(|e| within("tracking", e))?;
        if let Some(dialogues) = self.dialogues_over("semantic_ids.jsonl".into()) {
            if self.dialogues.as_ref().is_some_and(|given| !given.ids.as_os_str().is_empty()) {
                return Err(Error::config("dialogues.ids", "are the run's own; leave it out"));
            }
            dialogues.validate().map_err(|e| within("dialogues", e))?;
        }
        if let Some(recommend) = &self.recommend {
            recommend.validate().map_err(|e| within("recommend", e))?;
        }
        self.report.validate().map_err(|e| within("report", e))?;
        self.dry_run.validate().map_err(|e| within("dry_run", e))
    }

    /// The settings of training data, in full, over a file of IDs.
    #[must_use]
    pub fn dialogues_over(&self, ids: PathBuf) -> Option<Dialogues> {
        let mut dialogues = self.dialogues.clone()?;
        dialogues.ids = ids;
        if dialogues.source.is_none() {
            let Prep { source, table, query, key, on_duplicate, .. } = &self.prep;
            dialogues.source = Some(source.clone());
            dialogues.on_duplicate = *on_duplicate;
            (dialogues.table, dialogues.query, dialogues.key) = (table.clone(), query.clone(), key.clone());
        }
        if dialogues.seed == 0 {
            dialogues.seed = self.seed;
        }
        Some(dialogues)
    }

    /// The run in small: a folder of its own within the output, few rows and few epochs.
    #[must_use]
    pub fn dry(&self) -> Self {
        let mut config = self.clone();
        let DryRun { items, epochs } = self.dry_run;
        config.output = self.output.join("dry-run");
        config.prep.limit = Some(self.prep.limit.unwrap_or(items).min(items));
        // Settings that cannot be are refused when the run begins.
        let own = self.train.rqvae(self.seed).map_or(epochs, |own| own.epochs);
        config.train.epochs = Some(own.min(epochs));
        config.train.rq_kmeans.iterations = config.train.rq_kmeans.iterations.min(5);
        if let Some(recommend) = &mut config.recommend {
            recommend.epochs = recommend.epochs.min(epochs);
            // Most events are of the items that are left out.
            recommend.unknown = UnknownEvents::Drop;
        }
        config.train.product.iterations = config.train.product.iterations.min(5);
        // IDs that are tried out must not get into a store that others use.
        config.assign.store = None;
        config
    }
}

/// A setting's name with its section before it.
fn within(section: &str, error: Error) -> Error {
    let inner = error.map_root(|root| match root {
        Error::Config { field, problem } => Error::Config { field: format!("{section}.{field}"), problem },
        other => other,
    });
    inner.within(section)
}
