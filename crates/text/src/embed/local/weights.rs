//! A model's tensors: `model.safetensors`, or the files that `model.safetensors.index.json` names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::broken;
use sememe::io::{TensorFile, Window, read_bytes_capped};
use sememe::{Error, Result};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// An index of a hundred thousand tensors has some ten million bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// The open files; values are read when they are asked for.
pub(super) struct Weights {
    folder: PathBuf,
    files: Vec<(PathBuf, TensorFile)>,
    /// Which file has a tensor.
    places: BTreeMap<String, usize>,
}

impl Weights {
    /// Reads the headers.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let (whole, index) = (folder.join(WHOLE), folder.join(INDEX));
        let paths = if whole.exists() {
            vec![whole]
        } else if index.exists() {
            shards(folder, &index)?
        } else {
            let pickle =
                folder.join("pytorch_model.bin").exists() || folder.join("pytorch_model.bin.index.json").exists();
            return Err(Error::format(
                folder,
                if pickle {
                    format!(
                        "has no `{WHOLE}`; its `pytorch_model.bin` is a pickle, which could run code and is never read: \
                         save the model again with transformers' `save_pretrained(folder, safe_serialization=True)`"
                    )
                } else {
                    format!("has no `{WHOLE}` and no `{INDEX}`, so that its weights are missing")
                },
            ));
        };
        let (mut files, mut places) = (Vec::new(), BTreeMap::new());
        for path in paths {
            let file = TensorFile::open(&path)?;
            for name in file.names() {
                if places.insert(name.to_owned(), files.len()).is_some() {
                    return Err(Error::format(
                        &path,
                        format!("holds the tensor `{name}`, which another file holds too"),
                    ));
                }
            }
            files.push((path, file));
        }
        Ok(Self { folder: folder.into(), files, places })
    }

    /// What stands before `ending` in the name of the one tensor that ends so.
    pub(super) fn prefix(&self, ending: &str) -> Result<String> {
        let found: Vec<&str> = self.places.keys().filter_map(|name| name.strip_suffix(ending)).collect();
        // A model of texts and pictures has one part for texts.
        let texts: Vec<&str> = found.iter().copied().filter(|name| name.contains("language_model")).collect();
        match (found.as_slice(), texts.as_slice()) {
            ([one], _) | (_, [one]) => Ok((*one).to_owned()),
            ([], _) => Err(Error::format(&self.folder, format!("its weights have no tensor `{ending}`"))),
            (many, _) => {
                let names: Vec<String> = many.iter().map(|name| format!("`{name}{ending}`")).collect();
                Err(Error::format(&self.folder, format!("its weights have {}, expected one of them", names.join(", "))))
            }
        }
    }

    /// Adds the bytes of all files to a hash.
    pub(super) fn digest(&self, hash: &mut Sha256) -> Result<()> {
        for (path, _) in &self.files {
            hash_file(path, hash)?;
        }
        Ok(())
    }
}

/// Adds length and bytes of a file to a hash.
pub(super) fn hash_file(path: &Path, hash: &mut Sha256) -> Result<()> {
    let window = Window::open(path)?;
    hash.update(window.len().to_le_bytes());
    let (mut reader, mut buffer) = (window.reader(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buffer).map_err(|e| Error::io("read", path, e))? {
            0 => return Ok(()),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    let bytes = read_bytes_capped(index, MAX_INDEX_BYTES)?;
    let parsed: ShardIndex =
        serde_json::from_slice(&bytes).map_err(|e| Error::format(index, format!("is no index of weights: {e}")))?;
    let names: BTreeSet<&String> = parsed.weight_map.values().collect();
    if names.is_empty() {
        return Err(Error::format(index, "names no file"));
    }
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        // A file beside the index, never one elsewhere.
        if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
            return Err(Error::format(index, format!("names `{name}`, expected a file in the same folder")));
        }
        let path = folder.join(name);
        if !path.exists() {
            return Err(Error::format(folder, format!("has no `{name}`, which its `{INDEX}` names")));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Hands out tensors whose names begin alike.
pub(super) struct Loader<'a> {
    weights: &'a Weights,
    prefix: String,
    /// Tensors without values of their own: all names and shapes are checked, and nothing is read.
    shapes_only: bool,
}

impl<'a> Loader<'a> {
    pub(super) fn new(weights: &'a Weights, prefix: String, shapes_only: bool) -> Self {
        Self { weights, prefix, shapes_only }
    }

    /// The part under `name` and a dot.
    pub(super) fn part(&self, name: &str) -> Self {
        Self { weights: self.weights, prefix: format!("{}{name}.", self.prefix), shapes_only: self.shapes_only }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.weights.places.contains_key(&format!("{}{name}", self.prefix))
    }

    /// A matrix of this shape with its axes exchanged, laid out so.
    pub(super) fn turned(&self, name: &str, shape: &[usize; 2]) -> Result<Tensor> {
        let view = self.tensor(name, shape)?.t();
        if self.shapes_only { view } else { view.and_then(|view| view.contiguous()) }.map_err(|e| broken(&e))
    }

    /// A tensor of this shape, in `f32`.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        let Some(at) = self.weights.places.get(&name) else {
            return Err(Error::format(&self.weights.folder, format!("its weights have no tensor `{name}`")));
        };
        let file = &self.weights.files[*at].1;
        let tensor = if self.shapes_only {
            file.check(&name, shape)?;
            Tensor::zeros(vec![1; shape.len()], DType::F32, &Device::Cpu).and_then(|zero| zero.broadcast_as(shape))
        } else {
            Tensor::from_vec(file.read(&name, shape)?, shape, &Device::Cpu)
        };
        tensor.map_err(|e| broken(&e))
    }
}
