//! Recommenders and trainings as files: safetensors with a header of JSON and a hash of all values.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::items::ItemSources;
use crate::network::{Moments, NetworkLayout};
use crate::recommender::Recommender;
use crate::settings::RecommenderSettings;
use crate::trainer::{RecommenderTraining, TrainingProgress};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sememe::digest::PartDigest;
use sememe::io::{read_bytes_capped, write_bytes_atomic};
use sememe::{Codes, Error, Matrix, Result, check_shape};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

const KEY: &str = "sememe.recommender";
/// Version of the files that this release writes and reads.
const VERSION: u32 = 1;
/// The largest file that is read.
const MOST_BYTES: u64 = 64 << 30;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FileKind {
    Recommender,
    Training,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHeader {
    version: u32,
    kind: FileKind,
    /// SHA-256 of the content's text and of the tensors.
    hash: String,
    content: Box<RawValue>,
}

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

/// Values of one tensor, little-endian.
struct StoredTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl StoredTensor {
    fn f32s(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect() }
    }

    fn u32s(shape: Vec<usize>, values: &[u32]) -> Self {
        Self { dtype: Dtype::U32, shape, bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect() }
    }
}

type StoredTensors = BTreeMap<String, StoredTensor>;

fn bad(problem: impl std::fmt::Display) -> Error {
    Error::Data(format!("recommender: {problem}"))
}

fn digest(content: &RawValue, tensors: &StoredTensors) -> String {
    let mut hash = PartDigest::new();
    hash.part(content.get().as_bytes());
    for (name, tensor) in tensors {
        hash.part(name.as_bytes());
        hash.part(format!("{:?}", tensor.shape).as_bytes());
        hash.part(&tensor.bytes);
    }
    hash.finish()
}

fn write<T: Serialize>(kind: FileKind, content: &T, tensors: &StoredTensors) -> Result<Vec<u8>> {
    let content = to_raw_value(content).map_err(bad)?;
    let header = FileHeader { version: VERSION, kind, hash: digest(&content, tensors), content };
    let text = serde_json::to_string(&header).map_err(bad)?;
    let views = tensors
        .iter()
        .map(|(name, t)| TensorView::new(t.dtype, t.shape.clone(), &t.bytes).map(|view| (name.as_str(), view)));
    let views: Vec<_> = views.collect::<std::result::Result<_, _>>().map_err(bad)?;
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), text)]))).map_err(bad)
}

fn read<T: DeserializeOwned>(kind: FileKind, bytes: &[u8]) -> Result<(T, StoredTensors)> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| bad(format!("not a file of one: {e}")))?;
    let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let text = text.ok_or_else(|| bad(format!("a safetensors file without the key `{KEY}`")))?;
    // Version and kind first: what another release wrote may have other fields.
    #[derive(Deserialize)]
    struct Lead {
        version: u32,
        kind: FileKind,
    }
    let lead: Lead = serde_json::from_str(text).map_err(|e| bad(format!("its header is not valid: {e}")))?;
    if lead.version != VERSION {
        return Err(bad(format!("version {} is not one this release reads ({VERSION})", lead.version)));
    }
    if lead.kind != kind {
        let (is, wanted) = match lead.kind {
            FileKind::Recommender => ("a trained recommender", "the state of a training"),
            FileKind::Training => ("the state of a training", "a trained recommender"),
        };
        return Err(bad(format!("this is {is}, expected {wanted}")));
    }
    let header: FileHeader = serde_json::from_str(text).map_err(|e| bad(format!("its header is not valid: {e}")))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| bad(format!("damaged: {e}")))?;
    let tensors: StoredTensors = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let stored =
                StoredTensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
            (name, stored)
        })
        .collect();
    let hash = digest(&header.content, &tensors);
    if hash != header.hash {
        return Err(bad(format!("damaged: content hash {hash} does not match the recorded {}", header.hash)));
    }
    let content =
        serde_json::from_str(header.content.get()).map_err(|e| bad(format!("its header is not valid: {e}")))?;
    Ok((content, tensors))
}

/// A shape, and its values.
type Shaped<T> = (Vec<usize>, Vec<T>);

/// Takes tensors out of a file one by one.
struct Taken(StoredTensors);

impl Taken {
    fn words(&mut self, name: &str, dtype: Dtype) -> Result<Option<Shaped<[u8; 4]>>> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        if tensor.dtype != dtype {
            return Err(bad(format!("expected {dtype:?}, got {:?} in `{name}`", tensor.dtype)));
        }
        Ok(Some((tensor.shape, tensor.bytes.as_chunks::<4>().0.to_vec())))
    }

    fn f32s(&mut self, name: &str) -> Result<Option<Shaped<f32>>> {
        let words = self.words(name, Dtype::F32)?;
        Ok(words.map(|(shape, words)| (shape, words.into_iter().map(f32::from_le_bytes).collect())))
    }

    fn run(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(self.f32s(name)?.map(|(_, values)| values).unwrap_or_default())
    }

    fn rows(&mut self, name: &str) -> Result<Option<Matrix>> {
        let Some((shape, values)) = self.f32s(name)? else { return Ok(None) };
        let [rows, dims] = shape[..] else { return Err(bad(format!("expected rows, got {shape:?} in `{name}`"))) };
        Matrix::from_vec(rows, dims, values).map(Some)
    }

    fn codes(&mut self, name: &str) -> Result<Option<Codes>> {
        let Some((shape, words)) = self.words(name, Dtype::U32)? else { return Ok(None) };
        let [rows, levels] = shape[..] else { return Err(bad(format!("expected rows, got {shape:?} in `{name}`"))) };
        let codes: Vec<u32> = words.into_iter().map(u32::from_le_bytes).collect();
        // Each code is a row of a table that will be held.
        if let Some(code) = codes.iter().find(|code| **code >= 1 << 24) {
            return Err(bad(format!("expected codes below {}, got {code} in `{name}`", 1 << 24)));
        }
        Codes::from_vec(rows, levels, codes).map(Some)
    }

    /// A value that is kept as JSON.
    fn text<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        if tensor.dtype != Dtype::U8 {
            return Err(bad(format!("expected U8, got {:?} in `{name}`", tensor.dtype)));
        }
        let value = serde_json::from_slice(&tensor.bytes).map_err(|e| bad(format!("`{name}` is not valid: {e}")))?;
        Ok(Some(value))
    }

    fn end(self) -> Result<()> {
        match self.0.keys().next() {
            Some(name) => Err(bad(format!("holds `{name}`, which this release does not know"))),
            None => Ok(()),
        }
    }
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

    /// Refuses parameters that are not those of these items.
    pub(crate) fn check_sizes(&self, sources: &ItemSources) -> Result<()> {
        let len = NetworkLayout::new(&self.settings.shape(), sources).len();
        check_shape("parameters", len, self.params.len(), "the training that is resumed")
    }
}
