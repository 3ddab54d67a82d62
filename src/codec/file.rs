//! The codec's file: one `.safetensors`, tensors plus a JSON manifest under the metadata key `sememe`.
//!
//! Tensors: `codebook.{level}` `[k, p]`, and where used `preprocess.mean` `[d]`, `preprocess.components` `[p, d]`,
//! `preprocess.scales` `[p]`, `residual_norms` `[levels]`; all f32, little endian. Loading parses and checks; it never
//! runs anything.

use super::{Codec, FORMAT_VERSION, Inner, Manifest};
use crate::compute::reference::Chain;
use crate::data::Matrix;
use crate::error::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const KEY: &str = "sememe";
/// A codec of 64 levels × 2²⁴ codewords does not exist in practice; 16 GiB bounds what a hostile file can ask for.
const MAX_FILE_BYTES: u64 = 16 << 30;

fn damaged(problem: impl std::fmt::Display) -> Error {
    Error::Codec(problem.to_string())
}

/// Tensors by name, in a fixed order, as little-endian bytes.
fn tensors(inner: &Inner) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let chain = &inner.chain;
    let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let mut out = BTreeMap::new();
    for (level, book) in chain.codebooks.iter().enumerate() {
        out.insert(format!("codebook.{level}"), (vec![book.rows(), book.dims()], bytes(book.as_slice())));
    }
    let mut optional = |name: &str, shape: Vec<usize>, values: &[f32]| {
        if !values.is_empty() {
            out.insert(name.to_owned(), (shape, bytes(values)));
        }
    };
    optional("preprocess.mean", vec![chain.mean.len()], &chain.mean);
    optional("preprocess.components", vec![chain.inner_dims(), chain.dims], &chain.components);
    optional("preprocess.scales", vec![chain.scales.len()], &chain.scales);
    optional("residual_norms", vec![inner.residual_norms.len()], &inner.residual_norms);
    out
}

fn digest(manifest_without_hash: &str, tensors: &BTreeMap<String, (Vec<usize>, Vec<u8>)>) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(manifest_without_hash.as_bytes());
    for (name, (shape, bytes)) in tensors {
        part(name.as_bytes());
        part(format!("{shape:?}").as_bytes());
        part(bytes);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The hash of a codec whose manifest has none yet.
pub(super) fn content_hash(inner: &Inner) -> Result<String> {
    let manifest = Manifest { content_hash: String::new(), ..inner.manifest.clone() };
    Ok(digest(&serde_json::to_string(&manifest).map_err(damaged)?, &tensors(inner)))
}

/// Checks that parts fit together and hold finite values.
pub(super) fn validate(chain: &Chain, manifest: &Manifest, residual_norms: &[f32]) -> Result<()> {
    let agree = |what: &'static str, expected: usize, got: usize, place: &str| {
        crate::error::check_shape(what, expected, got, place)
    };
    let (d, p) = (chain.dims, chain.inner_dims());
    if chain.codebooks.is_empty() || d == 0 || p == 0 {
        return Err(damaged(format!(
            "expected at least 1 level and 1 dimension, got {} and {d}",
            chain.codebooks.len()
        )));
    }
    agree("d", manifest.dims, d, "manifest")?;
    agree("levels", manifest.codebook_sizes.len(), chain.codebooks.len(), "manifest")?;
    for (level, (book, size)) in chain.codebooks.iter().zip(&manifest.codebook_sizes).enumerate() {
        agree("codewords", *size, book.rows(), &format!("codebook.{level}"))?;
        agree("d", p, book.dims(), &format!("codebook.{level}"))?;
        if book.rows() == 0 {
            return Err(damaged(format!("`codebook.{level}` is empty")));
        }
    }
    if !chain.mean.is_empty() {
        agree("d", d, chain.mean.len(), "preprocess.mean")?;
    }
    agree("values", chain.components.len() / d * d, chain.components.len(), "preprocess.components")?;
    if !chain.scales.is_empty() {
        agree("values", p, chain.scales.len(), "preprocess.scales")?;
    }
    let norms = if chain.normalize_residuals { chain.codebooks.len() } else { 0 };
    agree("levels", norms, residual_norms.len(), "residual_norms")?;
    if manifest.beam == 0 || manifest.beam > 64 {
        return Err(damaged(format!("expected a beam of 1 to 64, got {}", manifest.beam)));
    }
    let finite = |name: String, values: &[f32]| match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(damaged(format!("`{name}` holds {} at value {at}", values[at]))),
        None => Ok(()),
    };
    for (level, book) in chain.codebooks.iter().enumerate() {
        finite(format!("codebook.{level}"), book.as_slice())?;
    }
    finite("preprocess.mean".into(), &chain.mean)?;
    finite("preprocess.components".into(), &chain.components)?;
    finite("preprocess.scales".into(), &chain.scales)?;
    finite("residual_norms".into(), residual_norms)?;
    finite("mean_norm".into(), &[manifest.mean_norm])
}

impl Codec {
    /// The file's bytes; the same codec always gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Codec`] if the container refuses the tensors, which a valid codec never meets.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let inner = self.inner();
        let tensors = tensors(inner);
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, (shape, bytes))| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(damaged)?))
            })
            .collect::<Result<_>>()?;
        let manifest = serde_json::to_string(&inner.manifest).map_err(damaged)?;
        // One key only: the container does not keep the order of several.
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), manifest)]))).map_err(damaged)
    }

    /// Reads a codec from a file's bytes.
    ///
    /// # Errors
    /// [`Error::Codec`] for anything that is not a whole, undamaged codec of a known format; [`Error::Shape`] where its tensors
    /// disagree.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(format!("not a codec file: {e}")))?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(KEY))
            .ok_or_else(|| damaged("a safetensors file without the metadata key `sememe`: not a codec"))?;
        let version: serde_json::Value =
            serde_json::from_str(text).map_err(|e| damaged(format!("bad manifest: {e}")))?;
        let version = version.get("format_version").and_then(serde_json::Value::as_u64);
        match version {
            Some(v) if v == 0 || v > u64::from(FORMAT_VERSION) => {
                return Err(damaged(format!(
                    "format version {v} is not one this release reads (1 to {FORMAT_VERSION}); use a newer sememe"
                )));
            }
            None => return Err(damaged("bad manifest: no `format_version`")),
            Some(_) => {}
        }
        let manifest: Manifest = serde_json::from_str(text).map_err(|e| damaged(format!("bad manifest: {e}")))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(format!("damaged file: {e}")))?;
        let mut found: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("expected f32, got {:?} in `{name}`", view.dtype())));
            }
            found.insert(name, (view.shape().to_vec(), view.data().to_vec()));
        }
        let blank = text.replacen(&manifest.content_hash, "", 1);
        let hash = digest(&blank, &found);
        if manifest.content_hash != hash {
            return Err(damaged(format!(
                "damaged: content hash {hash} does not match the recorded {}",
                manifest.content_hash
            )));
        }
        let mut take = |name: &str, rank: usize| -> Result<Option<(Vec<usize>, Vec<f32>)>> {
            let Some((shape, bytes)) = found.remove(name) else { return Ok(None) };
            crate::error::check_shape("axes", rank, shape.len(), name)?;
            Ok(Some((shape, bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())))
        };
        let mut codebooks = Vec::new();
        for level in 0..manifest.codebook_sizes.len() {
            let name = format!("codebook.{level}");
            let (shape, values) = take(&name, 2)?.ok_or_else(|| damaged(format!("`{name}` is missing")))?;
            codebooks.push(Matrix::from_vec(shape[0], shape[1], values)?);
        }
        let mut vector = |name: &str, rank| Ok::<_, Error>(take(name, rank)?.map(|t| t.1).unwrap_or_default());
        let chain = Chain {
            dims: manifest.dims,
            mean: vector("preprocess.mean", 1)?,
            components: vector("preprocess.components", 2)?,
            scales: vector("preprocess.scales", 1)?,
            normalize_rows: manifest.normalize_rows,
            codebooks,
            metric: manifest.metric,
            normalize_residuals: manifest.normalize_residuals,
            ..Chain::default()
        };
        let residual_norms = vector("residual_norms", 1)?;
        Self::assemble(chain, manifest, residual_norms)
    }

    /// Writes the codec to a file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] with the path and the system's reason.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        crate::io::write_bytes_atomic(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads a codec from a file.
    ///
    /// # Errors
    /// [`Error::Io`]; otherwise as [`from_bytes`](Self::from_bytes), with the path.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = crate::io::read_bytes_capped(path, MAX_FILE_BYTES)?;
        Self::from_bytes(&bytes).map_err(|e| match e {
            Error::Codec(problem) => Error::Codec(format!("`{}`: {problem}", path.display())),
            other => other,
        })
    }
}
