//! Checkpoints of PyTorch: their tensors by name, and settings that were saved beside them. Nothing is run.

use crate::pickle_names::{PickleNames, Pickled};
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader};
use sememe::io::{ArrayInfo, Window};
use sememe::{Error, Result};
use serde_json::Value;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use zip::{CompressionMethod, ZipArchive};

/// A larger pickle holds more than the names of tensors; the longest that was met, with an optimiser's state, has 2 MB.
const MAX_PICKLE_BYTES: u64 = 32 << 20;
/// How deep settings may nest.
const MAX_DEPTH: usize = 32;

/// An open checkpoint.
pub struct TorchFile {
    path: PathBuf,
    reader: PytorchReader,
    file_bytes: u64,
}

impl TorchFile {
    /// Reads names and shapes.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or its pickle is more than tensors and settings.
    pub fn open(path: &Path, kind: Pickled) -> Result<Self> {
        let window = Window::open(path)?;
        match kind {
            Pickled::Zip => scan_zip(&window, path)?,
            // The magic number, the protocol, the system, the object, the storages' keys.
            Pickled::Legacy => PickleNames::scan(&mut BufReader::new(window.reader()), 5).check(path)?,
        }
        let reader = PytorchReader::new(path).map_err(|e| worded(path, &e))?;
        Ok(Self { path: path.into(), reader, file_bytes: window.len() })
    }

    /// What it holds, by name.
    pub fn infos(&self) -> Vec<ArrayInfo> {
        let of = |(name, tensor): (&String, &pytorch_reader::Tensor)| ArrayInfo {
            name: name.clone(),
            shape: tensor.shape().to_vec(),
            kind: format!("{:?}", tensor.dtype()),
            floats: matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64),
        };
        let mut infos: Vec<ArrayInfo> = self.reader.tensors().iter().map(of).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// A tensor's values.
    ///
    /// # Errors
    /// If it is not there, not of floats, a view that claims more than the file holds, or damaged.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let bad = |problem: String| Error::format(&self.path, format!("`{name}`: {problem}"));
        let tensor = self.reader.get(name).ok_or_else(|| bad("is not there".into()))?;
        // A view without strides makes gigabytes of four bytes.
        if tensor.byte_len() as u64 > self.file_bytes {
            return Err(bad(format!(
                "its shape {:?} takes {} bytes, but the file has {}; save `tensor.contiguous()`",
                tensor.shape(),
                tensor.byte_len(),
                self.file_bytes
            )));
        }
        let bytes = tensor.read().map_err(|e| bad(plain(&e.to_string())))?;
        let values = match tensor.dtype() {
            DType::F32 => convert(&bytes, f32::from_ne_bytes),
            DType::F64 => convert(&bytes, |b| f64::from_ne_bytes(b) as f32),
            DType::BF16 => convert(&bytes, |b| half::bf16::from_ne_bytes(b).to_f32()),
            DType::F16 => convert(&bytes, |b| half::f16::from_ne_bytes(b).to_f32()),
            other => return Err(bad(format!("holds {other:?}, expected floats"))),
        };
        if values.is_empty() {
            return Err(bad("holds no values".into()));
        }
        Ok(values)
    }

    /// Settings under a key at the top, as far as they are numbers, texts, lists and dictionaries.
    pub fn settings(&self, key: &str) -> Option<Value> {
        let found = PytorchReader::read_pickle_data(&self.path, Some(key)).ok()?;
        Some(json(&found, 0))
    }
}

fn convert<const N: usize>(bytes: &[u8], each: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|b| each(*b)).collect()
}

/// Every pickle of an archive. `torch.save` stores them as they are; a compressed one could claim any size.
fn scan_zip(window: &Window, path: &Path) -> Result<()> {
    let bad = |problem: String| Error::format(path, problem);
    let mut archive = ZipArchive::new(BufReader::new(window.reader()))
        .map_err(|e| bad(format!("not a readable zip: {}", plain(&e.to_string()))))?;
    let mut found = false;
    for at in 0..archive.len() {
        let entry = archive.by_index(at).map_err(|e| bad(format!("not a readable zip: {}", plain(&e.to_string()))))?;
        let name = entry.name().map_err(|e| bad(plain(&e.to_string())))?.into_owned();
        if !name.ends_with(".pkl") {
            continue;
        }
        found = true;
        if entry.compression() != CompressionMethod::Stored {
            return Err(bad(format!(
                "`{name}` is compressed, as torch never saves it; save it again with `torch.save`"
            )));
        }
        if entry.size() > MAX_PICKLE_BYTES {
            return Err(bad(format!(
                "`{name}` has {} bytes, at most {MAX_PICKLE_BYTES} are read; save the state dict alone",
                entry.size()
            )));
        }
        PickleNames::scan(&mut BufReader::new(entry), 1).check(path)?;
    }
    if found { Ok(()) } else { Err(bad("is a zip without a pickle, so no checkpoint".into())) }
}

/// A library's text as ours are: no capital at the beginning, no full stop.
fn plain(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

fn worded(path: &Path, error: &PytorchError) -> Error {
    match error {
        PytorchError::InvalidFormat(text) if text.contains("torch.Tensor") => Error::format(
            path,
            "holds one tensor without a name; in Python, save codebooks or codes with `numpy.save(path, tensor.numpy())`",
        ),
        PytorchError::InvalidFormat(text) => {
            Error::format(path, format!("is no checkpoint that can be read: {}", plain(text)))
        }
        PytorchError::Pickle(inner) => {
            Error::format(path, format!("is no checkpoint that can be read: its pickle: {}", plain(&inner.to_string())))
        }
        other => Error::format(path, format!("is no checkpoint that can be read: {}", plain(&other.to_string()))),
    }
}

fn json(value: &PickleValue, depth: usize) -> Value {
    match value {
        _ if depth > MAX_DEPTH => Value::Null,
        PickleValue::Bool(b) => Value::from(*b),
        PickleValue::Int(n) => Value::from(*n),
        PickleValue::Float(n) => Value::from(*n),
        PickleValue::String(text) => Value::from(text.as_str()),
        PickleValue::List(items) => items.iter().map(|item| json(item, depth + 1)).collect(),
        PickleValue::Dict(items) => items.iter().map(|(key, item)| (key.clone(), json(item, depth + 1))).collect(),
        PickleValue::None | PickleValue::Bytes(_) | PickleValue::Unsupported(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_read_as_ours() {
        assert_eq!(plain("Tensor is too long."), "tensor is too long");
        assert_eq!(plain("ZIP entry"), "ZIP entry");
        assert_eq!(plain(""), "");
    }
}
