//! Weights to files of a bounded size, with an index where there are several.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::places::{TensorPlace, tensor_places};
use super::shape::LanguageShape;
use super::weights::{INDEX, WHOLE, WeightType};
use half::bf16;
use sememe::data::first_non_finite;
use sememe::io::{AtomicFile, AtomicFolder, write_bytes_atomic};
use sememe::{Error, Result};

/// Values that are turned into bytes at a time.
const CHUNK: usize = 1 << 16;

#[derive(Serialize)]
struct WrittenTensor<'a> {
    dtype: &'a str,
    shape: &'a [usize],
    data_offsets: (u64, u64),
}

#[derive(Serialize)]
struct IndexFacts {
    total_parameters: usize,
    total_size: u64,
}

#[derive(Serialize)]
struct WrittenIndex<'a> {
    metadata: IndexFacts,
    weight_map: BTreeMap<&'a str, &'a str>,
}

fn value_bytes(weights: WeightType) -> u64 {
    match weights {
        WeightType::F32 => 4,
        WeightType::Bf16 => 2,
    }
}

/// The name of shard `number` (from 0) of `count`.
fn shard_name(number: usize, count: usize) -> String {
    format!("model-{:05}-of-{count:05}.safetensors", number + 1)
}

/// Whether a file's name is that of a shard.
pub(super) fn is_shard(name: &str) -> bool {
    let numbers = name.strip_prefix("model-").and_then(|name| name.strip_suffix(".safetensors"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers.and_then(|n| n.split_once("-of-")).is_some_and(|(number, count)| digits(number) && digits(count))
}

/// Writes the weights into a folder that is to be committed: one file, or several of at most `shard_bytes`, a larger tensor having one of
/// its own.
///
/// # Errors
/// Weights that are not finite, or would not be in this type, by the tensor's name; if a file cannot be written.
pub(super) fn write_weights(
    folder: &AtomicFolder,
    shape: &LanguageShape,
    params: &[f32],
    weights: WeightType,
    shard_bytes: u64,
) -> Result<()> {
    let places = tensor_places(shape);
    let size = |place: &TensorPlace| place.len() as u64 * value_bytes(weights);
    let mut shards: Vec<&[TensorPlace]> = Vec::new();
    let (mut first, mut held) = (0, 0);
    for (at, place) in places.iter().enumerate() {
        if at > first && held + size(place) > shard_bytes {
            shards.push(&places[first..at]);
            (first, held) = (at, 0);
        }
        held += size(place);
    }
    shards.push(&places[first..]);
    if let [all] = shards[..] {
        return write_file(&folder.file(WHOLE), all, params, weights);
    }
    let names: Vec<String> = (0..shards.len()).map(|number| shard_name(number, shards.len())).collect();
    let mut weight_map = BTreeMap::new();
    for (name, shard) in names.iter().zip(&shards) {
        write_file(&folder.file(name), shard, params, weights)?;
        weight_map.extend(shard.iter().map(|place| (place.name.as_str(), name.as_str())));
    }
    let metadata = IndexFacts { total_parameters: params.len(), total_size: places.iter().map(size).sum() };
    let index = serde_json::to_vec_pretty(&WrittenIndex { metadata, weight_map });
    write_bytes_atomic(folder.file(INDEX), &index.map_err(|e| Error::Data(format!("{INDEX}: {e}")))?)
}

/// One `.safetensors`, value by value from where they lie.
fn write_file(path: &Path, places: &[TensorPlace], params: &[f32], weights: WeightType) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.put(&header(places, weights)?)?;
    let mut bytes = Vec::with_capacity(CHUNK * 4);
    for place in places {
        let values = &params[place.at..place.at + place.len()];
        refuse_non_finite(place, values, weights)?;
        for part in values.chunks(CHUNK) {
            bytes.clear();
            match weights {
                WeightType::F32 => bytes.extend(part.iter().flat_map(|v| v.to_le_bytes())),
                WeightType::Bf16 => bytes.extend(part.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
            }
            file.put(&bytes)?;
        }
    }
    file.commit()
}

fn header(places: &[TensorPlace], weights: WeightType) -> Result<Vec<u8>> {
    let dtype = match weights {
        WeightType::F32 => "F32",
        WeightType::Bf16 => "BF16",
    };
    let json = |value: &WrittenTensor<'_>| serde_json::to_value(value);
    let mut at = 0;
    let mut fields = serde_json::Map::new();
    fields.insert("__metadata__".into(), serde_json::json!({"format": "pt"}));
    for place in places {
        let end = at + place.len() as u64 * value_bytes(weights);
        let entry = json(&WrittenTensor { dtype, shape: &place.shape, data_offsets: (at, end) });
        fields.insert(place.name.clone(), entry.map_err(|e| Error::Data(format!("{}: {e}", place.name)))?);
        at = end;
    }
    let mut text = serde_json::to_vec(&fields).map_err(|e| Error::Data(format!("{WHOLE}: {e}")))?;
    // Values begin at a multiple of 8.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    Ok(out)
}

fn refuse_non_finite(place: &TensorPlace, values: &[f32], weights: WeightType) -> Result<()> {
    if first_non_finite(values, 1).is_some() {
        return Err(Error::Data(format!("the weights `{}` hold NaN or infinity, and are not saved", place.name)));
    }
    let large = |v: &&f32| weights == WeightType::Bf16 && !bf16::from_f32(**v).is_finite();
    match values.iter().find(large) {
        Some(value) => {
            let name = &place.name;
            Err(Error::Data(format!("the weight {value} of `{name}` is past what bf16 holds; save the model as f32")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_shard;

    #[test]
    fn shards_are_known_by_their_names() {
        assert!(is_shard("model-00001-of-00002.safetensors"));
        for other in ["model.safetensors", "model-1.safetensors", "model-a-of-2.safetensors", "x-1-of-2.safetensors"] {
            assert!(!is_shard(other), "{other}");
        }
    }
}
