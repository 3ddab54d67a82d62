//! GRID: `quantization_layer_list.{i}.centroids`, residuals divided by their norm before every level unless it was told not to.

use super::of_levels;
use crate::arrays::Arrays;
use crate::imported::ImportOptions;
use crate::note::Note;
use crate::origin::Origin;
use crate::parts::Parts;
use sememe::Result;
use serde_json::Value;

/// A checkpoint of Lightning, or a state dict.
pub fn read(arrays: &Arrays, options: &ImportOptions) -> Result<Parts> {
    // Networks before the levels, which GRID's configuration shapes.
    let network = arrays.infos.iter().find(|info| {
        let name = info.name.strip_prefix("state_dict.").unwrap_or(&info.name);
        ["encoder.", "normalization_layer."].iter().any(|part| name.starts_with(part))
    });
    if let Some(network) = network {
        return Err(arrays.bad(format_args!(
            "has networks before its levels (`{}`), whose layers only GRID's configuration knows; encode rows there first and train on them \
             here, or save a checkpoint without",
            network.name
        )));
    }
    let mut parts = of_levels(arrays, Origin::Grid, Some(options))?;
    let hyper = arrays.settings("hyper_parameters");
    let saved = hyper.as_ref().and_then(|h| h.get("normalize_residuals")).and_then(Value::as_bool);
    parts.quantizer.normalize_residuals = match (options.normalize_residuals, saved) {
        (Some(asked), Some(saved)) if asked != saved => {
            parts.notes.push(Note::left_out(format!("`normalize_residuals` = {saved}, as {asked} was asked for")));
            asked
        }
        (Some(asked), _) => asked,
        (None, Some(saved)) => saved,
        (None, None) => {
            parts
                .notes
                .push(Note::assumed("residuals divided by their norm before every level, which is GRID's default"));
            true
        }
    };
    if let Some(Value::Object(hyper)) = hyper {
        let plain = hyper.into_iter().filter(|(_, value)| !value.is_null() && !value.is_object()).collect();
        parts.settings.insert("grid".into(), Value::Object(plain));
    }
    Ok(parts)
}
