//! `[train]`: the method, the number of rows, and what happens to the codec when rows change.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use sememe::fit::rqvae::RqVae;
use sememe::fit::{ProductQuantization, RqKMeans};
use sememe::{Error, Remedy, Result};

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainMethod {
    /// Residual k-means, with the settings of `rq_kmeans`.
    #[default]
    RqKmeans,
    /// Networks around a residual quantiser, with the settings of `rqvae`.
    Rqvae,
    /// Product quantisation, with the settings of `product`.
    Pq,
    /// Product quantisation after a learned rotation, with the settings of `product`.
    Opq,
}

/// Codewords a level: one number for all, or one a level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CodebookSizes {
    /// The same everywhere.
    All(usize),
    /// `[levels]`.
    Each(Vec<usize>),
}

/// What happens to a trained codec when rows change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNewRows {
    /// It stays, and so do all IDs; new and changed rows are encoded with it.
    #[default]
    Keep,
    /// It is trained again, and IDs begin anew in a store of their own.
    Retrain,
}

/// The checkpoint from which a stopped RQ-VAE training resumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "String", into = "String")]
pub enum ResumeFrom {
    /// At its latest checkpoint, if there is one of the same settings.
    #[default]
    Last,
    /// At its best one.
    Best,
    /// None: training starts from scratch.
    Never,
    /// At this checkpoint.
    File(PathBuf),
}

impl From<String> for ResumeFrom {
    fn from(text: String) -> Self {
        match text.as_str() {
            "last" => Self::Last,
            "best" => Self::Best,
            "never" => Self::Never,
            path => Self::File(path.into()),
        }
    }
}

impl From<ResumeFrom> for String {
    fn from(from: ResumeFrom) -> Self {
        match from {
            ResumeFrom::Last => "last".into(),
            ResumeFrom::Best => "best".into(),
            ResumeFrom::Never => "never".into(),
            ResumeFrom::File(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// How a codec is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// RQ-KMeans, RQ-VAE or product quantisation.
    pub method: TrainMethod,
    /// Levels; without it as many as `codebook_size` lists, or the method's own.
    pub levels: Option<usize>,
    /// Codewords a level; without it the method's own.
    pub codebook_size: Option<CodebookSizes>,
    /// Rows to train on, drawn at random; without it all.
    pub max_training_rows: Option<usize>,
    /// Epochs of an RQ-VAE, in place of its own.
    pub epochs: Option<usize>,
    /// What becomes of the codec when rows change.
    pub on_new_rows: OnNewRows,
    /// Settings of RQ-KMeans.
    pub rq_kmeans: RqKMeans,
    /// Settings of product quantisation.
    pub product: ProductQuantization,
    /// The published system whose settings an RQ-VAE starts from.
    pub network: String,
    /// Settings of an RQ-VAE over those.
    #[serde(deserialize_with = "network_settings")]
    pub rqvae: Value,
    /// Where a stopped training goes on.
    pub resume: ResumeFrom,
    /// Refuse a checkpoint of other settings, rather than begin anew.
    pub resume_strict: bool,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            method: TrainMethod::RqKmeans,
            levels: None,
            codebook_size: None,
            max_training_rows: None,
            epochs: None,
            on_new_rows: OnNewRows::Keep,
            rq_kmeans: RqKMeans::default(),
            product: ProductQuantization::default(),
            network: "sememe".into(),
            rqvae: Value::Object(serde_json::Map::new()),
            resume: ResumeFrom::Last,
            resume_strict: false,
        }
    }
}

/// A tree of settings, whose names and kinds are checked where the file is read, so that the error has a place.
fn network_settings<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Value, D::Error> {
    let value = Value::deserialize(from)?;
    match RqVae::preset_with("sememe", [value.clone()]) {
        Ok(_) => Ok(value),
        Err(Error::Config { problem, .. }) => Err(serde::de::Error::custom(problem)),
        Err(other) => Err(serde::de::Error::custom(other)),
    }
}

impl Train {
    /// The settings of RQ-KMeans, in full.
    ///
    /// # Errors
    /// [`Error::Config`] for what cannot be.
    pub fn rq_kmeans(&self, seed: u64) -> Result<RqKMeans> {
        let mut config = self.rq_kmeans.clone();
        config.codebook_sizes = self.sizes(&config.codebook_sizes)?;
        config.max_training_rows = self.max_training_rows.or(config.max_training_rows);
        if config.seed == 0 {
            config.seed = seed;
        }
        config.validate().map_err(|e| super::within("rq_kmeans", e))?;
        Ok(config)
    }

    /// The settings of product quantisation, in full: with a rotation if the method is `opq`.
    ///
    /// # Errors
    /// [`Error::Config`] for what cannot be.
    pub fn product(&self, seed: u64) -> Result<ProductQuantization> {
        let mut config = self.product.clone();
        config.codebook_sizes = self.sizes(&config.codebook_sizes)?;
        config.max_training_rows = self.max_training_rows.or(config.max_training_rows);
        if config.seed == 0 {
            config.seed = seed;
        }
        match self.method {
            TrainMethod::Opq => config.rotation = Some(config.rotation.unwrap_or_default()),
            TrainMethod::Pq if config.rotation.is_some() => {
                return Err(Error::config("product.rotation", "is of `method = \"opq\"`; `pq` has none"));
            }
            _ => {}
        }
        config.validate().map_err(|e| super::within("product", e))?;
        Ok(config)
    }

    /// The settings of an RQ-VAE, in full.
    ///
    /// # Errors
    /// [`Error::Config`] for what cannot be.
    pub fn rqvae(&self, seed: u64) -> Result<RqVae> {
        let mut config = RqVae::preset_with(&self.network, [self.rqvae.clone()]).map_err(|e| match e {
            Error::Config { problem, .. } if RqVae::preset(&self.network).is_err() => Error::config("network", problem),
            other => other,
        })?;
        config.codebook_sizes = self.sizes(&config.codebook_sizes)?;
        config.max_training_rows = self.max_training_rows.or(config.max_training_rows);
        config.epochs = self.epochs.unwrap_or(config.epochs);
        if config.seed == 0 {
            config.seed = seed;
        }
        if config.alignment.is_some() {
            let problem = "needs collaborative embeddings, which a run does not have";
            let apart = Remedy::give("align").to("train by itself");
            return Err(Error::config("rqvae.alignment", problem).mend([apart]));
        }
        config.validate().map_err(|e| super::within("rqvae", e))?;
        Ok(config)
    }

    fn sizes(&self, own: &[usize]) -> Result<Vec<usize>> {
        let levels = self.levels;
        if levels == Some(0) || levels.is_some_and(|levels| levels > 64) {
            let got = levels.unwrap_or(0);
            return Err(Error::config("levels", format!("expected 1 to 64, got {got}")));
        }
        match &self.codebook_size {
            None => match levels {
                None => Ok(own.to_vec()),
                Some(levels) => Ok(vec![own.first().copied().unwrap_or(256); levels]),
            },
            Some(CodebookSizes::All(size)) => Ok(vec![*size; levels.unwrap_or(own.len())]),
            Some(CodebookSizes::Each(sizes)) => match levels {
                Some(levels) if levels != sizes.len() => Err(Error::config(
                    "codebook_size",
                    format!("lists {} levels and `levels` says {levels}", sizes.len()),
                )),
                _ => Ok(sizes.clone()),
            },
        }
    }

    /// Codewords of each level, as the method that is chosen has them.
    ///
    /// # Errors
    /// [`Error::Config`] for what cannot be.
    pub fn codebook_sizes(&self) -> Result<Vec<usize>> {
        Ok(match self.method {
            TrainMethod::RqKmeans => self.rq_kmeans(0)?.codebook_sizes,
            TrainMethod::Rqvae => self.rqvae(0)?.codebook_sizes,
            TrainMethod::Pq | TrainMethod::Opq => self.product(0)?.codebook_sizes,
        })
    }

    fn refuse_epochs(&self, instead: &str) -> Result<()> {
        match self.epochs {
            Some(_) => Err(Error::config("epochs", format!("is of `method = \"rqvae\"`; {instead}"))),
            None => Ok(()),
        }
    }

    pub(super) fn validate(&self, seed: u64) -> Result<()> {
        match self.method {
            TrainMethod::RqKmeans => {
                self.refuse_epochs("k-means has `rq_kmeans.iterations`")?;
                self.rq_kmeans(seed).map(|_| ())
            }
            TrainMethod::Pq | TrainMethod::Opq => {
                self.refuse_epochs("product quantisation has `product.iterations`")?;
                self.product(seed).map(|_| ())
            }
            TrainMethod::Rqvae => self.rqvae(seed).map(|_| ()),
        }
    }
}
