//! Recommenders and trainings as files.

use std::path::Path;

use super::Recommender;
use super::items::ItemSources;
use super::settings::RecommenderSettings;
use super::trainer::{RecommenderTraining, TrainingProgress};
use crate::container::{FileKind, MOST_BYTES, StoredTensor, StoredTensors, Taken, bad, read, write};
use crate::decoder::Moments;
use safetensors::tensor::Dtype;
use sememe::io::{read_bytes_capped, write_bytes_atomic};
use sememe::{Error, Result, check_shape};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecommenderHeader {
    settings: RecommenderSettings,
    items: usize,
    identities: bool,
    prefixes: bool,
    /// Factor of the vectors.
    factor: Option<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingHeader {
    settings: RecommenderSettings,
    progress: TrainingProgress,
    fingerprint: Option<String>,
}

impl Recommender {
    /// The whole recommender; the same one always gives the same bytes.
    ///
    /// # Errors
    /// None that a recommender made by this crate gives.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = StoredTensors::new();
        let len = self.params.len();
        tensors.insert("parameters".into(), StoredTensor::f32s(vec![len], &self.params));
        if let Some(codes) = &self.sources.codes {
            let shape = vec![codes.rows(), codes.levels()];
            tensors.insert("codes".into(), StoredTensor::u32s(shape, codes.as_slice()));
        }
        if let Some(vectors) = &self.sources.vectors {
            let shape = vec![vectors.rows(), vectors.dims()];
            tensors.insert("vectors".into(), StoredTensor::f32s(shape, vectors.as_slice()));
        }
        if let Some((mean, _)) = &self.scaling {
            tensors.insert("vectors.mean".into(), StoredTensor::f32s(vec![mean.len()], mean));
        }
        if let Some(keys) = &self.keys {
            let bytes = serde_json::to_vec(keys).map_err(bad)?;
            tensors.insert("keys".into(), StoredTensor { dtype: Dtype::U8, shape: vec![bytes.len()], bytes });
        }
        let content = RecommenderHeader {
            settings: self.settings.clone(),
            items: self.sources.items,
            identities: self.sources.identities,
            prefixes: self.sources.prefixes,
            factor: self.scaling.as_ref().map(|(_, factor)| *factor),
        };
        write(FileKind::Recommender, &content, &tensors)
    }

    /// Reads a recommender back. Nothing in it is run, and no size is believed before it is checked.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are not a whole, undamaged recommender of this release; what does not fit together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (header, tensors) = read::<RecommenderHeader>(FileKind::Recommender, bytes)?;
        let mut taken = Taken(tensors);
        let params = taken.run("parameters")?;
        let (codes, vectors) = (taken.codes("codes")?, taken.rows("vectors")?);
        let mean = taken.f32s("vectors.mean")?.map(|(_, mean)| mean);
        let keys: Option<Vec<String>> = taken.text("keys")?;
        taken.end()?;
        let scaling = match (&vectors, mean, header.factor) {
            (Some(vectors), Some(mean), Some(factor)) if factor.is_finite() => {
                check_shape("values", vectors.dims(), mean.len(), "vectors.mean")?;
                Some((mean, factor))
            }
            (None, None, None) => None,
            _ => return Err(bad("vectors come with their mean and their factor, and either all are there or none")),
        };
        let sources = ItemSources {
            items: header.items,
            identities: header.identities,
            codes,
            prefixes: header.prefixes,
            vectors,
        };
        let made = Self { settings: header.settings, sources, scaling, params, keys: None };
        made.check()?;
        match keys {
            Some(keys) => made.with_keys(keys),
            None => Ok(made),
        }
    }

    /// Writes the recommender to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_bytes_atomic(path, &self.to_bytes()?)
    }

    /// Reads a recommender from a file.
    ///
    /// # Errors
    /// If the file cannot be read; as [`from_bytes`](Self::from_bytes), with the file's name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = read_bytes_capped(&path, MOST_BYTES)?;
        Self::from_bytes(&bytes).map_err(|e| Error::format(path.as_ref(), e.to_string()))
    }
}

impl RecommenderTraining {
    /// The state at the last epoch's end; the same state always gives the same bytes.
    ///
    /// # Errors
    /// None that a training of this crate gives.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let runs = [
            ("parameters", &self.params),
            ("first", &self.moments.first),
            ("second", &self.moments.second),
            ("best", &self.best),
        ];
        let tensors = runs
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| (name.to_owned(), StoredTensor::f32s(vec![values.len()], values)))
            .collect();
        let content = TrainingHeader {
            settings: self.settings.clone(),
            progress: self.progress.clone(),
            fingerprint: self.fingerprint.clone(),
        };
        write(FileKind::Training, &content, &tensors)
    }

    /// Reads a state back.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are not a whole, undamaged state of this release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (header, tensors) = read::<TrainingHeader>(FileKind::Training, bytes)?;
        let mut taken = Taken(tensors);
        let params = taken.run("parameters")?;
        let moments = Moments { first: taken.run("first")?, second: taken.run("second")? };
        let best = taken.run("best")?;
        taken.end()?;
        header.settings.validate()?;
        for (name, values) in [("first", &moments.first), ("second", &moments.second), ("best", &best)] {
            check_shape("values", params.len(), values.len(), name)?;
        }
        let TrainingHeader { settings, progress, fingerprint } = header;
        Ok(Self { settings, progress, fingerprint, params, moments, best })
    }
}
