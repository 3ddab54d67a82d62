//! Dense kernels of networks: products, activations, layer norm, sums, optimisers.

use super::Gpu;
use super::resident::Rows;
use super::tensor::{Index, Tensor};
use crate::compute::tensor::{Activation, Mask, Part, Precision, Product, Step};
use crate::error::{Error, Result};

impl Gpu {
    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn rows_to_tensor(&self, rows: &Rows, first: usize, count: usize, out: &mut Tensor) -> Result<()> {
        Err(Error::Device("`rows_to_tensor` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn tensor_to_rows(&self, tensor: &Tensor, n: usize, d: usize) -> Result<Rows> {
        Err(Error::Device("`tensor_to_rows` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn matmul(
        &self,
        product: &Product,
        precision: Precision,
        a: Part<'_, Tensor>,
        b: Part<'_, Tensor>,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        Err(Error::Device("`matmul` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn linear(
        &self,
        shape: (usize, usize, usize),
        precision: Precision,
        x: Part<'_, Tensor>,
        weight: Part<'_, Tensor>,
        bias: Part<'_, Tensor>,
        pre: &mut Tensor,
        post: Option<(Activation, &mut Tensor)>,
    ) -> Result<()> {
        Err(Error::Device("`linear` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn activate(
        &self,
        activation: Activation,
        len: usize,
        pre: &Tensor,
        mask: Option<Mask<'_, Index>>,
        post: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`activate` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn activate_backward(
        &self,
        activation: Activation,
        len: usize,
        pre: &Tensor,
        mask: Option<Mask<'_, Index>>,
        grad: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`activate_backward` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn layer_norm(
        &self,
        shape: (usize, usize),
        x: &Tensor,
        gain: Part<'_, Tensor>,
        bias: Part<'_, Tensor>,
        y: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`layer_norm` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn layer_norm_backward(
        &self,
        shape: (usize, usize),
        x: &Tensor,
        gain: Part<'_, Tensor>,
        grad: &mut Tensor,
        products: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`layer_norm_backward` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn column_total(
        &self,
        shape: (usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Tensor,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        Err(Error::Device("`column_total` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn total(
        &self,
        len: usize,
        squares: bool,
        alpha: f32,
        accumulate: bool,
        values: Part<'_, Tensor>,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        Err(Error::Device("`total` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn combine(
        &self,
        len: usize,
        alpha: f32,
        x: Part<'_, Tensor>,
        beta: f32,
        y: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        Err(Error::Device("`combine` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn subtract(
        &self,
        len: usize,
        scale: f32,
        a: Part<'_, Tensor>,
        b: Part<'_, Tensor>,
        out: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`subtract` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn clear(&self, values: &mut Tensor, at: usize, len: usize) -> Result<()> {
        Err(Error::Device("`clear` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn optimize(
        &self,
        step: &Step,
        grads: &Tensor,
        norms: &Tensor,
        params: &mut Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`optimize` has no kernel".into()))
    }
}
