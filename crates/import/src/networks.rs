//! Networks of state dicts: linear layers by the numbers in their names, with what is folded into them.

use crate::arrays::Arrays;
use sememe::codec::{Activation, Layer, Mlp};
use sememe::{Matrix, Result};
use std::collections::BTreeMap;

/// More layers has no encoder of embeddings.
const MAX_LAYERS: usize = 64;
/// PyTorch's default in batch norm; layer norm has the same here.
const EPSILON: f64 = 1e-5;

/// Whether there is a network under a prefix that ends with a dot.
pub fn is_there(arrays: &Arrays, prefix: &str) -> bool {
    arrays.infos.iter().any(|info| info.name.starts_with(prefix))
}

/// The network under a prefix: `{prefix}{n}.weight` of two axes are layers, in the order of their numbers, with `activation` between them.
/// Of one axis they belong to the layer before: batch norm, which is folded into it as it is when a network is asked, or layer norm.
///
/// # Errors
/// If the layers do not fit together, or something stands between them that is neither.
pub fn mlp(arrays: &Arrays, prefix: &str, activation: Activation) -> Result<Option<Mlp>> {
    let mut numbers: BTreeMap<usize, ()> = BTreeMap::new();
    for info in &arrays.infos {
        let Some(rest) = info.name.strip_prefix(prefix) else { continue };
        let number = rest.split_once('.').and_then(|(number, _)| number.parse().ok());
        let Some(number) = number else {
            return Err(arrays.bad(format_args!("`{}` is no layer's: expected `{prefix}N.…`", info.name)));
        };
        numbers.insert(number, ());
    }
    if numbers.is_empty() {
        return Ok(None);
    }
    if numbers.len() > MAX_LAYERS {
        return Err(arrays.bad(format_args!("`{prefix}` has {} layers, at most {MAX_LAYERS} are read", numbers.len())));
    }
    let mut layers: Vec<Layer> = Vec::new();
    for number in numbers.into_keys() {
        let name = |part: &str| format!("{prefix}{number}.{part}");
        let axes = arrays.info(&name("weight")).map(|info| info.shape.len());
        match (axes, layers.last_mut()) {
            (Some(2), _) => layers.push(linear(arrays, &name, activation)?),
            (Some(1), Some(before)) if arrays.has(&name("running_mean")) => batch_norm(arrays, &name, before)?,
            (Some(1), Some(before)) if before.norm.is_none() => {
                let outputs = before.weight.rows();
                before.norm = Some((arrays.vector(&name("weight"), outputs)?, arrays.vector(&name("bias"), outputs)?));
            }
            _ => {
                return Err(
                    arrays.bad(format_args!("`{}` is no linear layer, batch norm or layer norm", name("weight")))
                );
            }
        }
    }
    if let Some(last) = layers.last_mut() {
        last.activation = None;
    }
    let mlp = Mlp { layers, skip: false };
    mlp.check(prefix.trim_end_matches('.'))?;
    Ok(Some(mlp))
}

/// One linear layer, without a bias if there is none.
pub fn linear(arrays: &Arrays, name: &dyn Fn(&str) -> String, activation: Activation) -> Result<Layer> {
    let weight = arrays.matrix(&name("weight"))?;
    let bias =
        if arrays.has(&name("bias")) { arrays.vector(&name("bias"), weight.rows())? } else { vec![0.0; weight.rows()] };
    Ok(Layer { weight, bias, norm: None, activation: Some(activation) })
}

/// `γ·(W·x + b − mean)/√(var + ε) + β` as one layer, in f64.
fn batch_norm(arrays: &Arrays, name: &dyn Fn(&str) -> String, layer: &mut Layer) -> Result<()> {
    let (outputs, inputs) = (layer.weight.rows(), layer.weight.dims());
    let part = |what: &str| arrays.vector(&name(what), outputs);
    let (gain, shift, mean, variance) = (part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?);
    if let Some(at) = variance.iter().position(|v| *v < 0.0) {
        return Err(arrays.bad(format_args!("`{}` holds {} at value {at}", name("running_var"), variance[at])));
    }
    let mut weight = Vec::with_capacity(outputs * inputs);
    for o in 0..outputs {
        let scale = f64::from(gain[o]) / (f64::from(variance[o]) + EPSILON).sqrt();
        weight.extend(layer.weight.row(o).iter().map(|w| (f64::from(*w) * scale) as f32));
        let moved = f64::from(layer.bias[o]) - f64::from(mean[o]);
        layer.bias[o] = (moved * scale + f64::from(shift[o])) as f32;
    }
    layer.weight = Matrix::from_vec(outputs, inputs, weight)?;
    Ok(())
}
