//! What this package's own export writes for numpy: every part of a codec as an array, and what else there is as JSON.

use crate::arrays::Arrays;
use crate::levels;
use crate::parts::{Own, Parts};
use sememe::codec::{Layer, Mlp, NetworkShape, ResidualQuantizer};
use sememe::{Matrix, Metric, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the metadata says of itself.
pub const FORMAT: &str = "sememe-numpy";
/// The array with the metadata, bytes of JSON.
pub const METADATA: &str = "metadata";
/// More metadata has no codec.
const MAX_METADATA_BYTES: usize = 16 << 20;
/// As in a codec's file.
const MAX_LAYERS: usize = 64;

/// What is not an array.
#[derive(Debug, Serialize, Deserialize)]
pub struct NumpyMetadata {
    pub format: String,
    pub version: u32,
    pub dims: usize,
    pub levels: usize,
    pub metric: Metric,
    pub normalize_rows: bool,
    pub mean_norm: f32,
    pub normalize_residuals: bool,
    pub beam: usize,
    pub shared_codebook: bool,
    pub product: bool,
    pub encoder: Option<NetworkShape>,
    pub decoder: Option<NetworkShape>,
    /// The content hash of the codec that was exported.
    pub codec: String,
    pub method: String,
    pub seed: u64,
    pub config: Value,
}

/// Whether a file is such an export.
pub fn is_one(arrays: &Arrays) -> Result<bool> {
    let Some(bytes) = arrays.bytes(METADATA, MAX_METADATA_BYTES)? else { return Ok(false) };
    let value: Option<Value> = serde_json::from_slice(&bytes).ok();
    Ok(value.and_then(|value| Some(value.get("format")?.as_str()? == FORMAT)).unwrap_or(false))
}

/// The codec as it was.
pub fn read(arrays: &Arrays) -> Result<Parts> {
    let bytes = arrays.bytes(METADATA, MAX_METADATA_BYTES)?;
    let bytes =
        bytes.ok_or_else(|| arrays.bad(format_args!("has no bytes `{METADATA}`; it holds {}", arrays.list())))?;
    let m: NumpyMetadata = serde_json::from_slice(&bytes)
        .map_err(|e| arrays.bad(format_args!("`{METADATA}` is not what an export writes: {e}")))?;
    if m.format != FORMAT || m.version != 1 {
        return Err(arrays.bad(format_args!(
            "`{METADATA}` says `{}` {}, expected `{FORMAT}` 1; use a newer sememe",
            m.format, m.version
        )));
    }
    levels::check_count(arrays, m.levels)?;
    let stored = if m.shared_codebook { 1 } else { m.levels };
    let mut codebooks =
        (0..stored).map(|l| arrays.matrix(&format!("codebook_{l}"))).collect::<Result<Vec<Matrix>>>()?;
    if m.shared_codebook {
        codebooks = vec![codebooks.remove(0); m.levels];
    }
    let optional = |name: &str| if arrays.has(name) { arrays.values(name).map(|(_, v)| v) } else { Ok(Vec::new()) };
    let mut prices = (0..m.levels).map(|l| optional(&format!("prices_{l}"))).collect::<Result<Vec<_>>>()?;
    if prices.iter().all(Vec::is_empty) {
        prices.clear();
    }
    let quantizer = ResidualQuantizer {
        dims: m.dims,
        mean: optional("mean")?,
        components: optional("components")?,
        scales: optional("scales")?,
        normalize_rows: m.normalize_rows,
        encoder: network(arrays, "encoder", m.encoder.as_ref())?,
        decoder: network(arrays, "decoder", m.decoder.as_ref())?,
        codebooks,
        prices,
        metric: m.metric,
        normalize_residuals: m.normalize_residuals,
        product: m.product,
    };
    let probes = if arrays.has("probes") { arrays.matrix("probes")? } else { Matrix::default() };
    let own = Own { mean_norm: m.mean_norm, residual_norms: optional("residual_norms")?, beam: m.beam, probes };
    let mut parts = Parts { quantizer, shared: m.shared_codebook, own: Some(own), ..Parts::default() };
    for (key, value) in
        [("codec", m.codec.into()), ("method", m.method.into()), ("seed", m.seed.into()), ("config", m.config)]
    {
        parts.settings.insert(key.into(), value);
    }
    Ok(parts)
}

fn network(arrays: &Arrays, name: &str, shape: Option<&NetworkShape>) -> Result<Option<Mlp>> {
    let Some(shape) = shape else { return Ok(None) };
    if shape.layers.is_empty() || shape.layers.len() > MAX_LAYERS {
        let got = shape.layers.len();
        return Err(arrays.bad(format_args!("expected 1 to {MAX_LAYERS} layers in `{name}`, got {got}")));
    }
    let mut layers = Vec::new();
    for (i, layer) in shape.layers.iter().enumerate() {
        let of = |part: &str| format!("{name}_{i}_{part}");
        let weight = arrays.matrix(&of("weight"))?;
        let o = weight.rows();
        let bias = arrays.vector(&of("bias"), o)?;
        let norm = if layer.norm {
            Some((arrays.vector(&of("norm_gain"), o)?, arrays.vector(&of("norm_bias"), o)?))
        } else {
            None
        };
        layers.push(Layer { weight, bias, norm, activation: layer.activation });
    }
    let mlp = Mlp { layers, skip: shape.skip };
    mlp.check(name)?;
    Ok(Some(mlp))
}
