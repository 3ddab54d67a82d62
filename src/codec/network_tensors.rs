//! Networks in a codec's file: their shapes in the manifest, their values as tensors.

use super::tensors::{StoredTensor, Tensors, damaged, finite};
use crate::compute::mlp::{Layer, Mlp};
use crate::compute::tensor::Activation;
use crate::data::Matrix;
use crate::error::{Result, check_shape};
use serde::{Deserialize, Serialize};

/// More layers, or wider ones, are not a codec's: so much bounds what a hostile manifest can ask for.
const MAX_LAYERS: usize = 64;
const MAX_WIDTH: usize = 1 << 20;

/// What a layer is, without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerShape {
    /// Values that it gives.
    pub outputs: usize,
    /// Whether a layer norm follows the product.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub norm: bool,
    /// What follows then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// What a network is, without its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkShape {
    /// Values that it takes.
    pub inputs: usize,
    /// Layers in order.
    pub layers: Vec<LayerShape>,
    /// Whether the input is added to the result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
}

impl NetworkShape {
    pub(super) fn of(mlp: &Mlp) -> Self {
        let layer =
            |l: &Layer| LayerShape { outputs: l.weight.rows(), norm: l.norm.is_some(), activation: l.activation };
        Self { inputs: mlp.inputs(), layers: mlp.layers.iter().map(layer).collect(), skip: mlp.skip }
    }

    /// Numbers that it holds.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let mut inputs = self.inputs as u64;
        let mut total = 0u64;
        for layer in &self.layers {
            let (o, vectors) = (layer.outputs as u64, if layer.norm { 3 } else { 1 });
            total = total.saturating_add(o.saturating_mul(inputs.saturating_add(vectors)));
            inputs = o;
        }
        total
    }
}

/// `384-512-256-32, relu`; what differs between hidden layers is listed, and the last layer says what follows it, if anything.
impl std::fmt::Display for NetworkShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inputs)?;
        for layer in &self.layers {
            write!(f, "-{}", layer.outputs)?;
        }
        let hidden = &self.layers[..self.layers.len().saturating_sub(1)];
        let name = |a: Option<Activation>| match a {
            Some(Activation::Relu) => "relu",
            Some(Activation::Gelu) => "gelu",
            Some(Activation::Silu) => "silu",
            None => "linear",
        };
        let mut names: Vec<&str> = hidden.iter().map(|l| name(l.activation)).collect();
        names.dedup();
        if !names.is_empty() {
            write!(f, ", {}", names.join("/"))?;
        }
        if let Some(last) = self.layers.last().filter(|l| l.activation.is_some()) {
            write!(f, ", {} at the end", name(last.activation))?;
        }
        if self.layers.iter().any(|l| l.norm) {
            f.write_str(", layer norm")?;
        }
        if self.skip {
            f.write_str(", skip connection")?;
        }
        Ok(())
    }
}

/// Adds a network's values to the tensors of a file.
pub(super) fn store(name: &str, mlp: Option<&Mlp>, out: &mut Tensors) {
    let Some(mlp) = mlp else { return };
    for (i, layer) in mlp.layers.iter().enumerate() {
        let o = layer.weight.rows();
        let mut put = |part: &str, shape: Vec<usize>, values: &[f32]| {
            out.insert(format!("{name}.{i}.{part}"), StoredTensor::new(shape, values));
        };
        put("weight", vec![o, layer.weight.dims()], layer.weight.as_slice());
        put("bias", vec![o], &layer.bias);
        if let Some((gain, bias)) = &layer.norm {
            put("norm.gain", vec![o], gain);
            put("norm.bias", vec![o], bias);
        }
    }
}

/// Takes a network's values out of the tensors of a file: those that the manifest names, in the shapes that it gives.
pub(super) fn load(name: &str, shape: Option<&NetworkShape>, found: &mut Tensors) -> Result<Option<Mlp>> {
    let Some(shape) = shape else { return Ok(None) };
    if shape.layers.is_empty() || shape.layers.len() > MAX_LAYERS {
        return Err(damaged(format!("expected 1 to {MAX_LAYERS} layers in `{name}`, got {}", shape.layers.len())));
    }
    let mut inputs = shape.inputs;
    let mut layers = Vec::with_capacity(shape.layers.len());
    for (i, layer) in shape.layers.iter().enumerate() {
        let o = layer.outputs;
        if inputs == 0 || o == 0 || inputs > MAX_WIDTH || o > MAX_WIDTH {
            let problem = format!("expected layers of 1 to {MAX_WIDTH} values, got {inputs} to {o} in `{name}.{i}`");
            return Err(damaged(problem));
        }
        let mut take = |part: &str, expected: &[usize]| -> Result<Vec<f32>> {
            let place = format!("{name}.{i}.{part}");
            let stored = found.remove(&place).ok_or_else(|| damaged(format!("`{place}` is missing")))?;
            check_shape("axes", expected.len(), stored.shape.len(), place.as_str())?;
            for (axis, (want, got)) in expected.iter().zip(&stored.shape).enumerate() {
                check_shape(if axis == 0 { "outputs" } else { "inputs" }, *want, *got, place.as_str())?;
            }
            Ok(stored.values())
        };
        let weight = Matrix::from_vec(o, inputs, take("weight", &[o, inputs])?)?;
        let bias = take("bias", &[o])?;
        let norm = if layer.norm { Some((take("norm.gain", &[o])?, take("norm.bias", &[o])?)) } else { None };
        layers.push(Layer { weight, bias, norm, activation: layer.activation });
        inputs = o;
    }
    Ok(Some(Mlp { layers, skip: shape.skip }))
}

/// Checks that a network's layers fit together, match the manifest and the sizes around it, and hold finite values.
pub(super) fn validate(
    name: &str,
    mlp: Option<&Mlp>,
    shape: Option<&NetworkShape>,
    (inputs, outputs): (usize, usize),
) -> Result<()> {
    if mlp.map(NetworkShape::of).as_ref() != shape {
        return Err(damaged(format!("the layers of `{name}` are not those of the manifest")));
    }
    let Some(mlp) = mlp else { return Ok(()) };
    mlp.check(name)?;
    check_shape("inputs", inputs, mlp.inputs(), name)?;
    check_shape("outputs", outputs, mlp.outputs(), name)?;
    for (i, layer) in mlp.layers.iter().enumerate() {
        finite(format!("{name}.{i}.weight"), layer.weight.as_slice())?;
        finite(format!("{name}.{i}.bias"), &layer.bias)?;
        if let Some((gain, bias)) = &layer.norm {
            finite(format!("{name}.{i}.norm.gain"), gain)?;
            finite(format!("{name}.{i}.norm.bias"), bias)?;
        }
    }
    Ok(())
}
