//! Multilayer perceptrons for inference: plain data, and the same parameters resident on a device.

use super::DeviceKind;
use super::tensor::{Activation, Precision, TensorBackend, from, whole};
use crate::data::Matrix;
use crate::error::{Result, check_shape};

/// Scratch a tensor that a GPU's forward pass may take, and the CPU's, whose pieces should stay in cache.
const SCRATCH_BYTES: usize = 64 << 20;
const HOST_SCRATCH_BYTES: usize = 1 << 20;
/// Rows below which the CPU takes them one by one: a product with one row reads the weights where they lie, any other packs them
/// first, which took as long as some 20 rows do (384-512-256-128-32).
pub(crate) const FEW_ROWS: usize = 24;

/// See [`Mlp::safe_norm`]: with a million values of this size, the sum of their squares is within f32.
const LARGEST: f64 = 1e16;

/// One layer: `y = x·weightᵀ + bias`, then, in this order and where there, layer norm and activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// `[o, i]`.
    pub weight: Matrix,
    /// `[o]`.
    pub bias: Vec<f32>,
    /// Gain and bias `[o]` of a layer norm.
    pub norm: Option<(Vec<f32>, Vec<f32>)>,
    /// What follows; the last layer of a network usually has none.
    pub activation: Option<Activation>,
}

/// A multilayer perceptron; with `skip`, its input is added to its output.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// Layers in order; the outputs of one are the inputs of the next.
    pub layers: Vec<Layer>,
    /// Whether the result is `x + f(x)` (as RQ-KMeans+ has it). Input and output are of equal size then.
    pub skip: bool,
}

impl Mlp {
    /// Values that a row needs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |l| l.weight.dims())
    }

    /// Values of a result.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |l| l.weight.rows())
    }

    /// Sizes of all layers: the inputs, then every layer's outputs.
    #[must_use]
    pub fn sizes(&self) -> Vec<usize> {
        std::iter::once(self.inputs()).chain(self.layers.iter().map(|l| l.weight.rows())).collect()
    }

    /// Numbers that it holds.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let of = |l: &Layer| {
            l.weight.as_slice().len() + l.bias.len() + l.norm.as_ref().map_or(0, |(g, b)| g.len() + b.len())
        };
        self.layers.iter().map(of).sum()
    }

    /// The largest norm of a row with which, proven, no value on its way leaves the range in which f32 rounds as usual; infinity where
    /// none does, 0 where one may for any row.
    ///
    /// With `‖h‖ ≤ a·r + b` for a row of norm r, a layer gives `‖W·h + bias‖ ≤ ‖W‖_F·(a·r + b) + ‖bias‖`. A layer norm then bounds
    /// what follows whatever r is, and no activation makes a value larger. Values up to 10¹⁶ are squared and summed. O(parameters).
    #[must_use]
    pub fn safe_norm(&self) -> f64 {
        let norm = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() * (1.0 + 1e-9);
        let (mut a, mut b, mut safe) = (1.0, 0.0, LARGEST);
        let mut within = |a: f64, b: f64| safe = f64::min(safe, ((LARGEST - b) / a).max(0.0));
        for layer in &self.layers {
            let weight = norm(layer.weight.as_slice());
            (a, b) = (weight * a, weight * b + norm(&layer.bias));
            within(a, b);
            if let Some((gain, shift)) = &layer.norm {
                let largest = gain.iter().fold(0.0, |m, g| f64::max(m, f64::from(g.abs())));
                (a, b) = (0.0, largest * (shift.len() as f64).sqrt() * (1.0 + 1e-3) + norm(shift));
                within(a, b);
            }
        }
        if self.skip {
            within(a + 1.0, b);
        }
        // 0/0, of weights that are all 0, is a NaN, which `min` leaves out.
        safe
    }

    /// Refuses layers that do not fit together; `name` is the network's, for the message.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) with the layer; [`Error::Data`](crate::Error::Data) without layers or with an empty one.
    pub fn check(&self, name: &str) -> Result<()> {
        let mut inputs = self.inputs();
        if self.layers.is_empty() || inputs == 0 {
            return Err(crate::Error::Data(format!(
                "expected at least 1 layer and 1 input, got {} and {inputs} in `{name}`",
                self.layers.len()
            )));
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let (o, at) = (layer.weight.rows(), |part: &str| format!("{name}.{i}.{part}"));
            if o == 0 {
                return Err(crate::Error::Data(format!("`{}` has no outputs", at("weight"))));
            }
            check_shape("inputs", inputs, layer.weight.dims(), at("weight"))?;
            check_shape("outputs", o, layer.bias.len(), at("bias"))?;
            if let Some((gain, bias)) = &layer.norm {
                check_shape("outputs", o, gain.len(), at("norm.gain"))?;
                check_shape("outputs", o, bias.len(), at("norm.bias"))?;
            }
            inputs = o;
        }
        if self.skip {
            check_shape("outputs", self.inputs(), inputs, format!("{name} with a skip connection"))?;
        }
        Ok(())
    }
}

/// A network's parameters on a device, as one tensor. `Sync`: every call brings its own scratch.
pub struct ResidentMlp<B: TensorBackend> {
    parameters: B::Tensor,
    layers: Vec<ResidentLayer>,
    skip: bool,
}

/// Sizes of a layer, and where its values start in the tensor of parameters.
struct ResidentLayer {
    inputs: usize,
    outputs: usize,
    weight: usize,
    bias: usize,
    norm: Option<(usize, usize)>,
    activation: Option<Activation>,
}

/// Scratch buffers of one call: the network's input, the current layer's input, and two buffers for its output.
struct MlpScratch<T> {
    input: T,
    current: T,
    first: T,
    second: T,
}

impl<B: TensorBackend> ResidentMlp<B> {
    /// Uploads the parameters. O(parameters).
    ///
    /// # Errors
    /// As [`Mlp::check`]; device errors.
    pub fn new(backend: &B, mlp: &Mlp) -> Result<Self> {
        mlp.check("network")?;
        let mut parameters = backend.zeros("parameters of a network", mlp.parameters())?;
        let mut at = 0;
        let mut place = |values: &[f32]| -> Result<usize> {
            backend.write_tensor(&mut parameters, at, values)?;
            at += values.len();
            Ok(at - values.len())
        };
        let mut layers = Vec::with_capacity(mlp.layers.len());
        for layer in &mlp.layers {
            layers.push(ResidentLayer {
                inputs: layer.weight.dims(),
                outputs: layer.weight.rows(),
                weight: place(layer.weight.as_slice())?,
                bias: place(&layer.bias)?,
                norm: match &layer.norm {
                    Some((gain, bias)) => Some((place(gain)?, place(bias)?)),
                    None => None,
                },
                activation: layer.activation,
            });
        }
        Ok(Self { parameters, layers, skip: mlp.skip })
    }

    /// New rows `[n, outputs]` from rows `[n, inputs]`, in pieces whose scratch is bounded. O(n·parameters).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for rows of another size; device errors.
    pub fn forward(&self, backend: &B, rows: &B::Rows) -> Result<B::Rows> {
        let (n, d) = backend.shape(rows);
        let (inputs, outputs) = (self.layers[0].inputs, self.layers[self.layers.len() - 1].outputs);
        check_shape("d", inputs, d, "rows for a network")?;
        let widest = self.layers.iter().map(|l| l.outputs).max().unwrap_or(inputs);
        let cpu = backend.info().kind == DeviceKind::Cpu;
        let cap = if cpu { HOST_SCRATCH_BYTES } else { SCRATCH_BYTES };
        let most = if cpu && n < FEW_ROWS { 1 } else { (cap / (4 * widest.max(inputs))).max(128) };
        let piece = most.min(n);
        let zeros = |len: usize| backend.zeros("layers of a network", piece * len);
        let (input, current) = (zeros(inputs)?, zeros(widest)?);
        let mut scratch = MlpScratch { input, current, first: zeros(widest)?, second: zeros(widest)? };
        if piece == n {
            self.piece(backend, rows, 0, n, &mut scratch)?;
            return backend.tensor_to_rows(&scratch.current, n, outputs);
        }
        let mut out = backend.zeros("outputs of a network", n * outputs)?;
        for first in (0..n).step_by(piece) {
            let count = piece.min(n - first);
            self.piece(backend, rows, first, count, &mut scratch)?;
            backend.combine(count * outputs, 1.0, whole(&scratch.current), 0.0, &mut out, first * outputs)?;
        }
        backend.tensor_to_rows(&out, n, outputs)
    }

    /// Leaves the results of rows `first..first + count` in `scratch.current`.
    fn piece(
        &self,
        backend: &B,
        rows: &B::Rows,
        first: usize,
        count: usize,
        scratch: &mut MlpScratch<B::Tensor>,
    ) -> Result<()> {
        let MlpScratch { input, current, first: pre, second: post } = scratch;
        backend.rows_to_tensor(rows, first, count, input)?;
        let values = |at: usize| from(&self.parameters, at);
        for (i, layer) in self.layers.iter().enumerate() {
            let shape = (count, layer.inputs, layer.outputs);
            let (inner, len) = ((count, layer.outputs), count * layer.outputs);
            let x = whole(if i == 0 { &*input } else { &*current });
            let (weight, bias) = (values(layer.weight), values(layer.bias));
            let fused = if layer.norm.is_none() { layer.activation.map(|f| (f, &mut *post)) } else { None };
            let in_post = fused.is_some();
            backend.linear(shape, Precision::F32, x, weight, bias, pre, fused)?;
            match (layer.norm, layer.activation) {
                (None, _) => std::mem::swap(current, if in_post { post } else { pre }),
                (Some((gain, shift)), activation) => {
                    backend.layer_norm(inner, pre, values(gain), values(shift), post)?;
                    match activation {
                        Some(f) => {
                            backend.activate(f, len, post, None, pre)?;
                            std::mem::swap(current, pre);
                        }
                        None => std::mem::swap(current, post),
                    }
                }
            }
        }
        if self.skip {
            let len = count * self.layers[0].inputs;
            backend.combine(len, 1.0, whole(input), 1.0, current, 0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(rows: usize, dims: usize, weight: f32, bias: f32, gain: Option<f32>) -> Layer {
        Layer {
            weight: Matrix::from_vec(rows, dims, vec![weight; rows * dims]).expect("a matrix"),
            bias: vec![bias; rows],
            norm: gain.map(|gain| (vec![gain; rows], vec![bias; rows])),
            activation: None,
        }
    }

    #[test]
    fn a_usual_network_is_safe_for_any_usual_row() {
        let mlp =
            Mlp { layers: vec![layer(512, 384, 0.1, 0.1, Some(1.0)), layer(32, 512, 0.1, 0.0, None)], skip: false };
        // ‖W‖_F = .1·√(512·384) = 44.3.
        assert!((2.2e14..2.3e14).contains(&mlp.safe_norm()), "{:e}", mlp.safe_norm());
        assert_eq!(Mlp { layers: vec![layer(3, 3, 0.0, 0.0, None)], skip: false }.safe_norm(), LARGEST);
        let skip = Mlp { layers: vec![layer(2, 2, 1.0, 0.0, None)], skip: true };
        assert!((LARGEST / 3.01..LARGEST / 2.99).contains(&skip.safe_norm()), "{:e}", skip.safe_norm());
    }

    #[test]
    fn a_network_that_overflows_is_safe_for_no_row() {
        for mlp in [
            Mlp { layers: vec![layer(4, 4, 1.0, 1e20, None)], skip: false },
            Mlp { layers: vec![layer(4, 4, 1.0, 0.0, Some(1e20))], skip: false },
            Mlp { layers: vec![layer(4, 4, 1.0, 1.0, Some(1e10)), layer(4, 4, 1e10, 0.0, None)], skip: false },
        ] {
            assert_eq!(mlp.safe_norm(), 0.0, "{mlp:?}");
        }
        let steep = Mlp { layers: vec![layer(5, 6, 1e18, 0.0, Some(1.0))], skip: false };
        assert!(steep.safe_norm() < 0.01, "{:e}", steep.safe_norm());
    }
}
