//! Files of this package: safetensors with a header of JSON and a hash of all values.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sememe::digest::PartDigest;
use sememe::{Codes, Error, Matrix, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

const KEY: &str = "sememe.recommender";
/// Version of the files that this release writes and reads.
const VERSION: u32 = 1;
/// The largest file that is read.
pub(crate) const MOST_BYTES: u64 = 64 << 30;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FileKind {
    Recommender,
    Training,
    Tuning,
}

impl FileKind {
    fn name(self) -> &'static str {
        match self {
            Self::Recommender => "a trained recommender",
            Self::Training => "the state of a training",
            Self::Tuning => "the state of a language model's fine-tuning",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileHeader {
    version: u32,
    kind: FileKind,
    /// SHA-256 of the content's text and of the tensors.
    hash: String,
    content: Box<RawValue>,
}

/// Values of one tensor, little-endian.
pub(crate) struct StoredTensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl StoredTensor {
    pub fn f32s(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect() }
    }

    pub fn u32s(shape: Vec<usize>, values: &[u32]) -> Self {
        Self { dtype: Dtype::U32, shape, bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect() }
    }
}

pub(crate) type StoredTensors = BTreeMap<String, StoredTensor>;

pub(crate) fn bad(problem: impl std::fmt::Display) -> Error {
    Error::Data(format!("recommender: {problem}"))
}

pub(crate) fn digest(content: &RawValue, tensors: &StoredTensors) -> String {
    let mut hash = PartDigest::new();
    hash.part(content.get().as_bytes());
    for (name, tensor) in tensors {
        hash.part(name.as_bytes());
        hash.part(format!("{:?}", tensor.shape).as_bytes());
        hash.part(&tensor.bytes);
    }
    hash.finish()
}

pub(crate) fn write<T: Serialize>(kind: FileKind, content: &T, tensors: &StoredTensors) -> Result<Vec<u8>> {
    let content = to_raw_value(content).map_err(bad)?;
    let header = FileHeader { version: VERSION, kind, hash: digest(&content, tensors), content };
    let text = serde_json::to_string(&header).map_err(bad)?;
    let views = tensors
        .iter()
        .map(|(name, t)| TensorView::new(t.dtype, t.shape.clone(), &t.bytes).map(|view| (name.as_str(), view)));
    let views: Vec<_> = views.collect::<std::result::Result<_, _>>().map_err(bad)?;
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), text)]))).map_err(bad)
}

pub(crate) fn read<T: DeserializeOwned>(kind: FileKind, bytes: &[u8]) -> Result<(T, StoredTensors)> {
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
        let (is, wanted) = (lead.kind.name(), kind.name());
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
pub(crate) type Shaped<T> = (Vec<usize>, Vec<T>);

/// Takes tensors out of a file one by one.
pub(crate) struct Taken(pub StoredTensors);

impl Taken {
    pub fn words(&mut self, name: &str, dtype: Dtype) -> Result<Option<Shaped<[u8; 4]>>> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        if tensor.dtype != dtype {
            return Err(bad(format!("expected {dtype:?}, got {:?} in `{name}`", tensor.dtype)));
        }
        Ok(Some((tensor.shape, tensor.bytes.as_chunks::<4>().0.to_vec())))
    }

    pub fn f32s(&mut self, name: &str) -> Result<Option<Shaped<f32>>> {
        let words = self.words(name, Dtype::F32)?;
        Ok(words.map(|(shape, words)| (shape, words.into_iter().map(f32::from_le_bytes).collect())))
    }

    pub fn run(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(self.f32s(name)?.map(|(_, values)| values).unwrap_or_default())
    }

    pub fn rows(&mut self, name: &str) -> Result<Option<Matrix>> {
        let Some((shape, values)) = self.f32s(name)? else { return Ok(None) };
        let [rows, dims] = shape[..] else { return Err(bad(format!("expected rows, got {shape:?} in `{name}`"))) };
        Matrix::from_vec(rows, dims, values).map(Some)
    }

    pub fn codes(&mut self, name: &str) -> Result<Option<Codes>> {
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
    pub fn text<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        if tensor.dtype != Dtype::U8 {
            return Err(bad(format!("expected U8, got {:?} in `{name}`", tensor.dtype)));
        }
        let value = serde_json::from_slice(&tensor.bytes).map_err(|e| bad(format!("`{name}` is not valid: {e}")))?;
        Ok(Some(value))
    }

    pub fn end(self) -> Result<()> {
        match self.0.keys().next() {
            Some(name) => Err(bad(format!("holds `{name}`, which this release does not know"))),
            None => Ok(()),
        }
    }
}
