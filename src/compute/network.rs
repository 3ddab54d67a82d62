//! Networks as they are stored and evaluated: plain data, without anything that training needs.

use super::tensor::Activation;
use crate::data::Matrix;

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
}
