//! The codec's file: one `.safetensors`, tensors plus a JSON manifest under the metadata key `sememe`.
//!
//! Tensors: `codebook.{level}` `[k, e]` (of a product quantiser `[k, w]`, with widths that add up to e), or `codebook.shared` where all levels have one; and where used `preprocess.mean` `[d]`,
//! `prices.{level}` `[k]` for each of the manifest's priced levels, `preprocess.components` `[p, d]`, `preprocess.scales` `[p]`, `residual_norms` `[levels]`; `encoder.{i}.weight` `[o, i]`, `.bias`,
//! `.norm.gain`, `.norm.bias` `[o]`, the same under `decoder`, and `probe.rows` `[m, d]`; all f32, little endian. Loading parses and
//! checks; it never runs anything.

use super::parts::CodecParts;
use super::tensors::{StoredTensor, Tensors, damaged, finite};
use super::{Codec, FORMAT_VERSION, Manifest, network_tensors};
use crate::compute::Metric;
use crate::compute::mlp::Mlp;
use crate::compute::reference::ResidualQuantizer;
use crate::data::Matrix;
use crate::digest::PartDigest;
use crate::error::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

const KEY: &str = "sememe";
/// A codec of 64 levels × 2²⁴ codewords does not exist in practice; 16 GiB bounds what a hostile file can ask for.
const MAX_FILE_BYTES: u64 = 16 << 30;
/// A shared codebook is in the file once and in memory once a level, with [`CONSTANT_BYTES`] a codeword; so much in all.
const MAX_SHARED_BYTES: u64 = 1 << 30;
/// What the reference keeps of a codeword: its weight and its bias.
const CONSTANT_BYTES: u64 = 16;
const MAX_SHARED_LEVELS: usize = 64;
const MAX_PRODUCT_LEVELS: usize = 64;
/// Rows to measure on; more would only make encoders slow to start.
const MAX_PROBES: usize = 64;

/// All tensors of a codec.
fn tensors(parts: &CodecParts) -> Tensors {
    let quantizer = &parts.quantizer;
    let mut out = Tensors::new();
    if parts.manifest.shared_codebook {
        let book = &quantizer.codebooks[0];
        out.insert("codebook.shared".into(), StoredTensor::new(vec![book.rows(), book.dims()], book.as_slice()));
    } else {
        for (level, book) in quantizer.codebooks.iter().enumerate() {
            let stored = StoredTensor::new(vec![book.rows(), book.dims()], book.as_slice());
            out.insert(format!("codebook.{level}"), stored);
        }
    }
    for level in &parts.manifest.priced_levels {
        let prices = quantizer.prices(*level);
        out.insert(format!("prices.{level}"), StoredTensor::new(vec![prices.len()], prices));
    }
    let mut optional = |name: &str, shape: Vec<usize>, values: &[f32]| {
        if !values.is_empty() {
            out.insert(name.to_owned(), StoredTensor::new(shape, values));
        }
    };
    optional("preprocess.mean", vec![quantizer.mean.len()], &quantizer.mean);
    optional("preprocess.components", vec![quantizer.inner_dims(), quantizer.dims], &quantizer.components);
    optional("preprocess.scales", vec![quantizer.scales.len()], &quantizer.scales);
    optional("residual_norms", vec![parts.residual_norms.len()], &parts.residual_norms);
    optional("probe.rows", vec![parts.probes.rows(), parts.probes.dims()], parts.probes.as_slice());
    network_tensors::store("encoder", quantizer.encoder.as_ref(), &mut out);
    network_tensors::store("decoder", quantizer.decoder.as_ref(), &mut out);
    out
}

fn digest(manifest_without_hash: &str, tensors: &Tensors) -> String {
    let mut hash = PartDigest::new();
    hash.part(manifest_without_hash.as_bytes());
    for (name, StoredTensor { shape, bytes }) in tensors {
        hash.part(name.as_bytes());
        hash.part(format!("{shape:?}").as_bytes());
        hash.part(bytes);
    }
    hash.finish()
}

/// Names a codec by its content: hash and text of a manifest that has none yet.
pub(super) fn seal(parts: &mut CodecParts) -> Result<()> {
    parts.manifest.content_hash = String::new();
    let text = serde_json::to_string(&parts.manifest).map_err(damaged)?;
    // JSON has no NaN or infinity: a manifest with one would be written and could never be read.
    if let Err(problem) = serde_json::from_str::<Manifest>(&text) {
        return Err(damaged(format!("the training left figures that cannot be kept: {problem}")));
    }
    parts.manifest.content_hash = digest(&text, &tensors(parts));
    parts.text = serde_json::to_string(&parts.manifest).map_err(damaged)?;
    Ok(())
}

/// The first field of a manifest that [`Manifest`] has no place for, as `training.levels.0.name`. Fields that say nothing do not count.
pub(super) fn unknown_field(text: &str, manifest: &Manifest) -> Result<Option<String>> {
    let known = serde_json::to_value(manifest).map_err(damaged)?;
    let found: Value = serde_json::from_str(text).map_err(|e| damaged(format!("bad manifest: {e}")))?;
    Ok(unknown_in(&found, &known))
}

fn unknown_in(found: &Value, known: &Value) -> Option<String> {
    let under = |name: &str, rest: String| if rest.is_empty() { name.to_owned() } else { format!("{name}.{rest}") };
    match (found, known) {
        (Value::Object(found), Value::Object(known)) => found.iter().find_map(|(name, value)| match known.get(name) {
            Some(known) => unknown_in(value, known).map(|rest| under(name, rest)),
            None => {
                let says_nothing = match value {
                    Value::Null | Value::Bool(false) => true,
                    Value::Array(items) => items.is_empty(),
                    _ => false,
                };
                (!says_nothing).then(|| name.clone())
            }
        }),
        (Value::Array(found), Value::Array(known)) => {
            let each = found.iter().zip(known).enumerate();
            each.into_iter()
                .find_map(|(i, (found, known))| unknown_in(found, known).map(|rest| under(&i.to_string(), rest)))
        }
        _ => None,
    }
}

fn agree(what: &'static str, expected: usize, got: usize, place: &str) -> Result<()> {
    crate::error::check_shape(what, expected, got, place)
}

/// Checks that parts fit together and hold finite values.
pub(super) fn validate(
    quantizer: &ResidualQuantizer,
    manifest: &Manifest,
    residual_norms: &[f32],
    probes: &Matrix,
) -> Result<()> {
    let (d, p) = (quantizer.dims, quantizer.inner_dims());
    if quantizer.codebooks.is_empty() || d == 0 || p == 0 {
        return Err(damaged(format!(
            "expected at least 1 level and 1 dimension, got {} and {d}",
            quantizer.codebooks.len()
        )));
    }
    agree("d", manifest.dims, d, "manifest")?;
    agree("inner_dims", manifest.inner_dims, p, "manifest")?;
    agree("levels", manifest.codebook_sizes.len(), quantizer.codebooks.len(), "manifest")?;
    validate_networks(quantizer, manifest, probes)?;
    validate_product(quantizer, manifest)?;
    let e = quantizer.code_dims();
    for (level, (book, size)) in quantizer.codebooks.iter().zip(&manifest.codebook_sizes).enumerate() {
        agree("codewords", *size, book.rows(), &format!("codebook.{level}"))?;
        let width = if quantizer.product { book.dims() } else { e };
        agree("d", width, book.dims(), &format!("codebook.{level}"))?;
        if book.rows() == 0 {
            return Err(damaged(format!("`codebook.{level}` is empty")));
        }
    }
    validate_prices(quantizer, manifest)?;
    if manifest.shared_codebook && quantizer.codebooks.iter().any(|b| *b != quantizer.codebooks[0]) {
        return Err(damaged("the levels of a shared codebook differ"));
    }
    if !quantizer.mean.is_empty() {
        agree("d", d, quantizer.mean.len(), "preprocess.mean")?;
    }
    agree("values", quantizer.components.len() / d * d, quantizer.components.len(), "preprocess.components")?;
    if !quantizer.scales.is_empty() {
        agree("values", p, quantizer.scales.len(), "preprocess.scales")?;
    }
    let norms = if quantizer.normalize_residuals { quantizer.codebooks.len() } else { 0 };
    agree("levels", norms, residual_norms.len(), "residual_norms")?;
    if manifest.beam == 0 || manifest.beam > 64 {
        return Err(damaged(format!("expected a beam of 1 to 64, got {}", manifest.beam)));
    }
    for (level, book) in quantizer.codebooks.iter().enumerate() {
        finite(format!("codebook.{level}"), book.as_slice())?;
    }
    finite("preprocess.mean".into(), &quantizer.mean)?;
    finite("preprocess.components".into(), &quantizer.components)?;
    finite("preprocess.scales".into(), &quantizer.scales)?;
    if let Some(scale) = quantizer.scales.iter().find(|s| !s.is_normal() || **s < 0.0 || !s.recip().is_normal()) {
        return Err(damaged(format!("`preprocess.scales` holds {scale:e}, which decoding cannot divide by")));
    }
    finite("residual_norms".into(), residual_norms)?;
    if let Some(norm) = residual_norms.iter().chain([&manifest.mean_norm]).find(|n| **n < 0.0) {
        return Err(damaged(format!("a mean norm of {norm} is below 0")));
    }
    finite("mean_norm".into(), &[manifest.mean_norm])
}

fn validate_product(quantizer: &ResidualQuantizer, manifest: &Manifest) -> Result<()> {
    if quantizer.product != manifest.product {
        return Err(damaged("quantiser and manifest disagree about whether levels have columns of their own"));
    }
    if !quantizer.product {
        return Ok(());
    }
    if manifest.format_version < 4 {
        return Err(damaged(format!("format version {} has no product quantisers", manifest.format_version)));
    }
    let levels = quantizer.codebooks.len();
    if levels > MAX_PRODUCT_LEVELS {
        return Err(damaged(format!("expected 1 to {MAX_PRODUCT_LEVELS} levels of a product quantiser, got {levels}")));
    }
    if let Some(level) = quantizer.codebooks.iter().position(|book| book.dims() == 0) {
        return Err(damaged(format!("`codebook.{level}` has no columns")));
    }
    let widths = quantizer.codebooks.iter().fold(0usize, |sum, book| sum.saturating_add(book.dims()));
    agree("d", quantizer.code_dims(), widths, "all codebooks side by side")?;
    let networks = quantizer.encoder.is_some() || quantizer.decoder.is_some();
    let others = [
        (networks, "networks"),
        (manifest.shared_codebook, "shared codebook"),
        (quantizer.normalize_residuals, "normalised residuals"),
        (manifest.beam > 1, "beam"),
        (quantizer.metric == Metric::Cosine, "cosine between blocks"),
    ];
    match others.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(damaged(format!("a product quantiser takes no {what}"))),
        None => Ok(()),
    }
}

fn validate_prices(quantizer: &ResidualQuantizer, manifest: &Manifest) -> Result<()> {
    let levels = quantizer.codebooks.len();
    let priced = &manifest.priced_levels;
    if manifest.format_version < 3 && !priced.is_empty() {
        return Err(damaged(format!("format version {} has no prices", manifest.format_version)));
    }
    if !priced.is_sorted_by(|a, b| a < b) || priced.last().is_some_and(|l| *l >= levels) {
        return Err(damaged(format!("expected priced levels in ascending order below {levels}, got {priced:?}")));
    }
    if quantizer.prices.len() > levels {
        return Err(damaged(format!("prices for {} levels, but {levels} levels", quantizer.prices.len())));
    }
    for (level, book) in quantizer.codebooks.iter().enumerate() {
        let (prices, name) = (quantizer.prices(level), format!("prices.{level}"));
        agree("codewords", if priced.contains(&level) { book.rows() } else { 0 }, prices.len(), &name)?;
        finite(name, prices)?;
    }
    Ok(())
}

fn validate_networks(quantizer: &ResidualQuantizer, manifest: &Manifest, probes: &Matrix) -> Result<()> {
    let p = quantizer.inner_dims();
    let plain = manifest.encoder.is_none() && manifest.decoder.is_none() && !manifest.shared_codebook;
    if manifest.format_version == 1 && !plain {
        return Err(damaged("format version 1 has neither networks nor a shared codebook"));
    }
    let outputs = quantizer.encoder.as_ref().map_or(p, Mlp::outputs);
    network_tensors::validate("encoder", quantizer.encoder.as_ref(), manifest.encoder.as_ref(), (p, outputs))?;
    network_tensors::validate("decoder", quantizer.decoder.as_ref(), manifest.decoder.as_ref(), (outputs, p))?;
    if quantizer.decoder.is_none() && outputs != p {
        return Err(damaged(format!("an encoder from {p} to {outputs} values needs a decoder")));
    }
    if quantizer.encoder.is_some() {
        if probes.rows() == 0 || probes.rows() > MAX_PROBES {
            let problem =
                format!("an encoder needs 1 to {MAX_PROBES} rows to measure its error on, got {}", probes.rows());
            return Err(damaged(problem));
        }
        agree("d", quantizer.dims, probes.dims(), "probe.rows")?;
    } else if probes.rows() > 0 {
        return Err(damaged(format!("{} rows to measure an encoder on, but no encoder", probes.rows())));
    }
    finite("probe.rows".into(), probes.as_slice())
}

/// The codebooks of all levels.
fn codebooks(manifest: &Manifest, found: &mut Tensors) -> Result<Vec<Matrix>> {
    let mut book = |name: String| -> Result<Matrix> {
        let stored = found.remove(&name).ok_or_else(|| damaged(format!("`{name}` is missing")))?;
        agree("axes", 2, stored.shape.len(), &name)?;
        Matrix::from_vec(stored.shape[0], stored.shape[1], stored.values())
    };
    let sizes = &manifest.codebook_sizes;
    if !manifest.shared_codebook {
        return (0..sizes.len()).map(|level| book(format!("codebook.{level}"))).collect();
    }
    if sizes.is_empty() || sizes.len() > MAX_SHARED_LEVELS {
        let problem = format!("expected 1 to {MAX_SHARED_LEVELS} levels of a shared codebook, got {}", sizes.len());
        return Err(damaged(problem));
    }
    let shared = book("codebook.shared".into())?;
    if let Some(level) = sizes.iter().position(|size| *size != shared.rows()) {
        let problem = format!("level {level} has {} codewords, the shared codebook {}", sizes[level], shared.rows());
        return Err(damaged(problem));
    }
    let level_bytes = 4 * shared.as_slice().len() as u64 + CONSTANT_BYTES * shared.rows() as u64;
    let needed_bytes = level_bytes.saturating_mul(sizes.len() as u64);
    if needed_bytes > MAX_SHARED_BYTES {
        let problem = format!(
            "{} levels of the shared codebook need {needed_bytes} bytes, at most {MAX_SHARED_BYTES}",
            sizes.len()
        );
        return Err(damaged(problem));
    }
    Ok(vec![shared; sizes.len()])
}

/// The prices of all levels, empty for those without; none at all where no level has any.
fn prices(manifest: &Manifest, found: &mut Tensors) -> Result<Vec<Vec<f32>>> {
    let mut out = Vec::new();
    for level in &manifest.priced_levels {
        let name = format!("prices.{level}");
        let stored = found.remove(&name).ok_or_else(|| damaged(format!("`{name}` is missing")))?;
        agree("axes", 1, stored.shape.len(), &name)?;
        if *level >= manifest.codebook_sizes.len() {
            return Err(damaged(format!("prices of level {level} of {}", manifest.codebook_sizes.len())));
        }
        out.resize(manifest.codebook_sizes.len(), Vec::new());
        out[*level] = stored.values();
    }
    Ok(out)
}

impl Codec {
    /// The file's bytes; the same codec always gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Codec`] if the container refuses the tensors, which a valid codec never meets.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let parts = self.parts();
        let tensors = tensors(parts);
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, StoredTensor { shape, bytes })| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(damaged)?))
            })
            .collect::<Result<_>>()?;
        // One key only: the container does not keep the order of several.
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), parts.text.clone())]))).map_err(damaged)
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
        // Saved again it would be lost, and what it says may matter.
        if let Some(other) = header.metadata().as_ref().and_then(|m| m.keys().filter(|key| *key != KEY).min()) {
            return Err(damaged(format!(
                "its metadata has a key `{other}`, which this release does not know; use a newer sememe"
            )));
        }
        let version: Value = serde_json::from_str(text).map_err(|e| damaged(format!("bad manifest: {e}")))?;
        let version = version.get("format_version").and_then(Value::as_u64);
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
        let mut found = Tensors::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("expected f32, got {:?} in `{name}`", view.dtype())));
            }
            found.insert(name, StoredTensor { shape: view.shape().to_vec(), bytes: view.data().to_vec() });
        }
        let blank = text.replacen(&manifest.content_hash, "", 1);
        let hash = digest(&blank, &found);
        if manifest.content_hash != hash {
            return Err(damaged(format!(
                "damaged: content hash {hash} does not match the recorded {}",
                manifest.content_hash
            )));
        }
        let codebooks = codebooks(&manifest, &mut found)?;
        let encoder = network_tensors::load("encoder", manifest.encoder.as_ref(), &mut found)?;
        let decoder = network_tensors::load("decoder", manifest.decoder.as_ref(), &mut found)?;
        let prices = prices(&manifest, &mut found)?;
        let mut take = |name: &str, rank: usize| -> Result<Option<StoredTensor>> {
            let Some(stored) = found.remove(name) else { return Ok(None) };
            agree("axes", rank, stored.shape.len(), name)?;
            Ok(Some(stored))
        };
        let probes = match take("probe.rows", 2)? {
            Some(stored) => Matrix::from_vec(stored.shape[0], stored.shape[1], stored.values())?,
            None => Matrix::default(),
        };
        let mut vector = |name: &str, rank| Ok::<_, Error>(take(name, rank)?.map(|t| t.values()).unwrap_or_default());
        let quantizer = ResidualQuantizer {
            dims: manifest.dims,
            mean: vector("preprocess.mean", 1)?,
            components: vector("preprocess.components", 2)?,
            scales: vector("preprocess.scales", 1)?,
            normalize_rows: manifest.normalize_rows,
            encoder,
            decoder,
            codebooks,
            prices,
            metric: manifest.metric,
            normalize_residuals: manifest.normalize_residuals,
            product: manifest.product,
        };
        let residual_norms = vector("residual_norms", 1)?;
        if let Some(name) = found.keys().next() {
            return Err(damaged(format!("`{name}` is nothing that the manifest speaks of")));
        }
        Self::assemble(quantizer, manifest, text.clone(), residual_norms, probes)
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
