//! Named arrays of any container that models are kept in: `.npy`, `.npz`, `.safetensors`, checkpoints.

use crate::pickle_names::Pickled;
#[cfg(feature = "torch")]
use crate::torch::TorchFile;
use sememe::io::{ArrayFile, ArrayInfo, OpenOptions, Window, extension};
use sememe::{Error, Matrix, Result};
use serde_json::Value;
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// Values that one import may read, 4 GiB of them: more than the largest codebooks and networks have.
const MAX_VALUES: u64 = 1 << 30;
/// A compressed array may inflate to this.
const MAX_INFLATED_BYTES: u64 = 4 * MAX_VALUES;
/// Names that a message lists.
const LISTED: usize = 12;

enum Source {
    File(ArrayFile),
    #[cfg(feature = "torch")]
    Torch(TorchFile),
}

/// The arrays of a file; none is read yet.
pub struct Arrays {
    pub path: PathBuf,
    pub infos: Vec<ArrayInfo>,
    source: Source,
    left: Cell<u64>,
}

/// What the first bytes of a file say of pickles: its container, or nothing.
///
/// # Errors
/// If it cannot be read, or is a container that is not read.
pub fn pickled(path: &Path) -> Result<Option<Pickled>> {
    let window = Window::open(path)?;
    let mut lead = vec![0u8; window.len().min(512) as usize];
    window.read_at(0, &mut lead)?;
    let ending = extension(path);
    let named = matches!(ending.as_str(), "pt" | "pth" | "ckpt" | "bin");
    if lead.starts_with(b"PK\x03\x04") {
        // The first entry's name, in its own header.
        let length = lead.get(26..28).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        let first = lead.get(30..30 + length).unwrap_or_default();
        let torch = first.ends_with(b"data.pkl") || named;
        return Ok(torch.then_some(Pickled::Zip));
    }
    if lead.get(257..262) == Some(b"ustar") {
        let problem = "is a tar, as PyTorch wrote checkpoints before version 0.1.10; save it again with a newer one";
        return Err(Error::format(path, problem));
    }
    // Protocols 2 to 5, unless the byte belongs to the length of a safetensors header.
    let pickle = matches!(lead.as_slice(), [0x80, 2..=5, ..]) && lead.get(8) != Some(&b'{');
    let other = matches!(ending.as_str(), "pkl" | "pickle" | "joblib") || named && lead.get(8) != Some(&b'{');
    Ok((pickle || other).then_some(Pickled::Legacy))
}

impl Arrays {
    /// Opens a file by its first bytes.
    ///
    /// # Errors
    /// If it cannot be read, is of another format, or its headers are not right.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(kind) = pickled(path)? {
            return Self::open_torch(path, kind);
        }
        let options = OpenOptions { max_inflated_bytes: MAX_INFLATED_BYTES, ..OpenOptions::default() };
        let file = ArrayFile::open(path, &options)?;
        Ok(Self::of(path, file.arrays().to_vec(), Source::File(file)))
    }

    #[cfg(feature = "torch")]
    fn open_torch(path: &Path, kind: Pickled) -> Result<Self> {
        let file = TorchFile::open(path, kind)?;
        Ok(Self::of(path, file.infos(), Source::Torch(file)))
    }

    #[cfg(not(feature = "torch"))]
    fn open_torch(path: &Path, _: Pickled) -> Result<Self> {
        Err(Error::format(path, "is a checkpoint of PyTorch, which this build does not read")
            .mend([sememe::Remedy::build("torch")]))
    }

    fn of(path: &Path, infos: Vec<ArrayInfo>, source: Source) -> Self {
        Self { path: path.into(), infos, source, left: Cell::new(MAX_VALUES) }
    }

    /// An error about this file.
    pub fn bad(&self, problem: impl std::fmt::Display) -> Error {
        Error::format(&self.path, problem.to_string())
    }

    /// An array's description.
    pub fn info(&self, name: &str) -> Option<&ArrayInfo> {
        self.infos.iter().find(|info| info.name == name)
    }

    /// All arrays with their shapes, for a message.
    pub fn list(&self) -> String {
        let shown = |info: &ArrayInfo| format!("`{}` {:?} {}", info.name, info.shape, info.kind);
        let mut items: Vec<String> = self.infos.iter().take(LISTED).map(shown).collect();
        if self.infos.len() > LISTED {
            items.push(format!("and {} more", self.infos.len() - LISTED));
        }
        if items.is_empty() { "nothing".into() } else { items.join(", ") }
    }

    /// An array's values in C order, with its shape.
    ///
    /// # Errors
    /// If there is none of this name, it is not of finite floats, or all that was read becomes too much.
    pub fn values(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let info =
            self.info(name).ok_or_else(|| self.bad(format_args!("has no `{name}`; it holds {}", self.list())))?;
        let count = info.shape.iter().try_fold(1u64, |n, axis| n.checked_mul(*axis as u64)).unwrap_or(u64::MAX);
        let left = self.left.get();
        if count > left {
            return Err(self.bad(format_args!(
                "`{name}` has the shape {:?}; with what was read before it passes {MAX_VALUES} values",
                info.shape
            )));
        }
        self.left.set(left - count);
        let values = match &self.source {
            Source::File(file) => file.read(name)?,
            #[cfg(feature = "torch")]
            Source::Torch(file) => file.read(name)?,
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.bad(format_args!("`{name}` holds {} at value {at}, expected finite floats", values[at])));
        }
        Ok((info.shape.clone(), values))
    }

    /// An array of one axis and this length.
    ///
    /// # Errors
    /// As [`values`](Self::values), and for another shape.
    pub fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        let (shape, values) = self.values(name)?;
        if shape != [length] {
            return Err(self.bad(format_args!("`{name}` has the shape {shape:?}, expected [{length}]")));
        }
        Ok(values)
    }

    /// An array of two axes, or of three of which the first is 1.
    ///
    /// # Errors
    /// As [`values`](Self::values), and for another shape.
    pub fn matrix(&self, name: &str) -> Result<Matrix> {
        let (shape, values) = self.values(name)?;
        match shape[..] {
            [rows, dims] | [1, rows, dims] => Matrix::from_vec(rows, dims, values),
            _ => Err(self.bad(format_args!("`{name}` has the shape {shape:?}, expected [rows, columns]"))),
        }
    }

    /// Bytes of an array of them, such as a text; nothing if it is not there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn bytes(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>> {
        match (&self.source, self.info(name)) {
            (Source::File(file), Some(info)) if info.kind == "uint8" && matches!(info.shape[..], [n] if n <= most) => {
                file.read_bytes(name).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Settings that a checkpoint keeps under a key.
    #[cfg_attr(not(feature = "torch"), allow(unused_variables, reason = "only checkpoints keep some"))]
    pub fn settings(&self, key: &str) -> Option<Value> {
        match &self.source {
            Source::File(_) => None,
            #[cfg(feature = "torch")]
            Source::Torch(file) => file.settings(key),
        }
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.info(name).is_some()
    }
}
