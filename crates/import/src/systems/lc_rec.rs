//! RQ-VAE in the layout of LC-Rec: `rq.vq_layers.{i}.embedding.weight`, `encoder.mlp_layers.{n}`, `decoder.mlp_layers.{n}`; RQ-KMeans+ of
//! semantic-id has its encoder under `encoder.mlp.` and adds the row to what it gives.

use super::{agree, count, json_file};
use crate::arrays::Arrays;
use crate::imported::ImportOptions;
use crate::levels;
use crate::networks;
use crate::note::Note;
use crate::origin::Origin;
use crate::parts::Parts;
use sememe::codec::Activation;
use sememe::{Error, Result};
use std::path::Path;

/// A checkpoint, or semantic-id's folder with `model.pt` and `metadata.json`.
pub fn read(path: &Path, arrays: Option<Arrays>, options: &ImportOptions) -> Result<Parts> {
    let (arrays, metadata) = match arrays {
        Some(arrays) => (arrays, None),
        None => (Arrays::open(&path.join("model.pt"))?, Some(path.join("metadata.json"))),
    };
    let (before, after) = levels::naming(Origin::LcRec);
    let found = levels::only(&arrays, before, after, options.tensor.as_deref())?;
    let under = |rest: &str| format!("{}{rest}", found.prefix);
    let skip = networks::is_there(&arrays, &under("encoder.mlp."));
    let place = under(if skip { "encoder.mlp.mlp_layers." } else { "encoder.mlp_layers." });
    let mut encoder = networks::mlp(&arrays, &place, Activation::Relu)?;
    let decoder = networks::mlp(&arrays, &under("decoder.mlp_layers."), Activation::Relu)?;
    if encoder.is_none() && networks::is_there(&arrays, &under("encoder.")) {
        return Err(arrays.bad(format_args!("has an encoder that is not LC-Rec's; it holds {}", arrays.list())));
    }
    if let Some(encoder) = &mut encoder {
        encoder.skip = skip;
    }
    let mut parts = Parts::residual(levels::codebooks(&arrays, &found.names)?);
    if encoder.is_none() {
        parts.notes.push(Note::unknown("an encoder: rows must be what enters the quantiser"));
        return Ok(parts);
    }
    if decoder.is_none() {
        return Err(arrays.bad("has an encoder, but no decoder under `decoder.mlp_layers.`"));
    }
    parts.notes.push(Note::assumed("ReLU between the layers, as LC-Rec's and semantic-id's code has it"));
    let mut parts = parts.with_networks(encoder, decoder);
    if let Some(metadata) = metadata {
        let settings = json_file(&metadata)?;
        if settings.get("type").is_none_or(|name| name != "RQVAE") {
            return Err(Error::format(&metadata, format!("says `type` = {}, expected \"RQVAE\"", settings["type"])));
        }
        agree(&metadata, "in_dim", count(&metadata, &settings, "in_dim")?, parts.quantizer.dims)?;
        let width = parts.quantizer.codebooks[0].dims();
        agree(&metadata, "e_dim", count(&metadata, &settings, "e_dim")?, width)?;
        parts.settings.insert("semantic_id".into(), settings);
    }
    if let Some(epoch) = arrays.settings("epoch") {
        parts.settings.insert("epoch".into(), epoch);
    }
    Ok(parts)
}
