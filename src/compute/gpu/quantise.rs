//! Kernels of quantisers in training: nearest codewords, sums by label, averages, softmax, Sinkhorn.

use super::Gpu;
use super::tensor::{Index, Tensor};
use crate::compute::tensor::{Exponent, Part};
use crate::error::{Error, Result};

impl Gpu {
    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn half_norms(&self, shape: (usize, usize), codebook: Part<'_, Tensor>, out: &mut Tensor) -> Result<()> {
        Err(Error::Device("`half_norms` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn nearest(
        &self,
        shape: (usize, usize),
        dots: &Tensor,
        half_norms: &Tensor,
        labels: &mut Index,
    ) -> Result<()> {
        Err(Error::Device("`nearest` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn quantize(
        &self,
        shape: (usize, usize, usize),
        first: bool,
        residual: &Tensor,
        codebook: Part<'_, Tensor>,
        labels: &Index,
        next: &mut Tensor,
        sum: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`quantize` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn segment_sum(
        &self,
        shape: (usize, usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Tensor,
        labels: &Index,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        Err(Error::Device("`segment_sum` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn segment_count(
        &self,
        shape: (usize, usize),
        accumulate: bool,
        labels: &Index,
        counts: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`segment_count` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn ema(
        &self,
        shape: (usize, usize),
        decay: f32,
        epsilon: f32,
        batch_counts: &Tensor,
        sums: &Tensor,
        counts: &mut Tensor,
        means: &mut Tensor,
        codebook: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        Err(Error::Device("`ema` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn rotate_backward(
        &self,
        shape: (usize, usize),
        residual: &Tensor,
        next: &Tensor,
        upstream: &Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`rotate_backward` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn gumbel_softmax(
        &self,
        shape: (usize, usize),
        temperature: f32,
        half_norms: &Tensor,
        noise: &Tensor,
        dots: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`gumbel_softmax` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn softmax_backward(
        &self,
        shape: (usize, usize),
        scale: f32,
        probabilities: &Tensor,
        grad: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`softmax_backward` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn contrast(
        &self,
        shape: (usize, usize),
        scale: f32,
        exclude_diagonal: bool,
        targets: &Index,
        weights: Option<&Tensor>,
        logits: &mut Tensor,
        loss: &mut Tensor,
    ) -> Result<()> {
        Err(Error::Device("`contrast` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn sinkhorn(
        &self,
        shape: (usize, usize, usize),
        exponent: Exponent,
        iterations: usize,
        residual: &Tensor,
        half_norms: &Tensor,
        dots: &mut Tensor,
        potentials: &mut Tensor,
        labels: &mut Index,
    ) -> Result<()> {
        Err(Error::Device("`sinkhorn` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn combine_rows(&self, shape: (usize, usize), alpha: f32, scales: &Tensor, x: Part<'_, Tensor>, y: &mut Tensor, at: usize) -> Result<()> {
        Err(Error::Device("`combine_rows` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn nearest_other(&self, n: usize, dots: &Tensor, half_norms: &Tensor, labels: &mut Index) -> Result<()> {
        Err(Error::Device("`nearest_other` has no kernel".into()))
    }

    #[allow(clippy::too_many_arguments, unused_variables)]
    pub(super) fn repel(&self, shape: (usize, usize), scale: f32, epsilon: f32, z: &Tensor, neighbours: &Index, pull: &mut Tensor, logs: &mut Tensor) -> Result<()> {
        Err(Error::Device("`repel` has no kernel".into()))
    }
}
