//! Kernels of quantisers in training: sizes are checked, kernels are named.

use super::super::{Cpu, ema, half_norms, nearest, quantize, repel, rotation, segment, sinkhorn, softmax};
use super::{Index, Tensor, get, get_mut, labels, part, range};
use crate::compute::tensor::{Exponent, Part, QuantiserKernels};
use crate::error::Result;

impl QuantiserKernels for Cpu {
    fn half_norms(&self, (k, e): (usize, usize), codebook: Part<'_, Tensor>, out: &mut Tensor) -> Result<()> {
        let (codebook, out) = (part("codebook", codebook, k.saturating_mul(e))?, get_mut("half norms", out, 0, k)?);
        if e > 0 {
            half_norms::half_norms(e, codebook, out);
        }
        Ok(())
    }

    fn nearest(&self, (n, k): (usize, usize), dots: &Tensor, half_norms: &Tensor, labels: &mut Index) -> Result<()> {
        let range = range("labels", labels.0.len(), 0, n)?;
        let (dots, half_norms) = (get("dot products", dots, n.saturating_mul(k))?, get("half norms", half_norms, k)?);
        if k > 0 {
            nearest::nearest(k, dots, half_norms, &mut labels.0[range]);
        }
        Ok(())
    }

    fn nearest_other(&self, n: usize, dots: &Tensor, half_norms: &Tensor, labels: &mut Index) -> Result<()> {
        let range = range("labels", labels.0.len(), 0, n)?;
        let (dots, half_norms) = (get("dot products", dots, n.saturating_mul(n))?, get("half norms", half_norms, n)?);
        if n > 0 {
            nearest::nearest_other(n, dots, half_norms, &mut labels.0[range]);
        }
        Ok(())
    }

    fn repel(
        &self,
        (n, e): (usize, usize),
        scale: f32,
        epsilon: f32,
        z: &Tensor,
        neighbours: &Index,
        pull: &mut Tensor,
        logs: &mut Tensor,
    ) -> Result<()> {
        let (z, neighbours) = (get("rows", z, n.saturating_mul(e))?, labels("neighbours", neighbours, n)?);
        let (pull, logs) = (get_mut("pull", pull, 0, n.saturating_mul(e))?, get_mut("logs", logs, 0, n)?);
        if e > 0 {
            repel::repel(e, scale, epsilon, z, neighbours, pull, logs);
        }
        Ok(())
    }

    fn quantize(
        &self,
        (n, e, k): (usize, usize, usize),
        first: bool,
        residual: &Tensor,
        codebook: Part<'_, Tensor>,
        labels: &Index,
        next: &mut Tensor,
        sum: &mut Tensor,
    ) -> Result<()> {
        let (residual, codebook) =
            (get("residuals", residual, n.saturating_mul(e))?, part("codebook", codebook, k.saturating_mul(e))?);
        let labels = self::labels("labels", labels, n)?;
        let (next, sum) =
            (get_mut("residuals", next, 0, n.saturating_mul(e))?, get_mut("sums", sum, 0, n.saturating_mul(e))?);
        if e > 0 {
            quantize::quantize(e, first, residual, codebook, labels, next, sum);
        }
        Ok(())
    }

    fn segment_sum(
        &self,
        (n, e, k): (usize, usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Tensor,
        labels: &Index,
        out: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (values, labels) = (get("rows", values, n.saturating_mul(e))?, self::labels("labels", labels, n)?);
        let out = get_mut("sums", out, at, k.saturating_mul(e))?;
        if e > 0 && k > 0 {
            segment::sums(e, alpha, accumulate, values, labels, out);
        }
        Ok(())
    }

    fn segment_count(
        &self,
        (n, k): (usize, usize),
        accumulate: bool,
        labels: &Index,
        counts: &mut Tensor,
    ) -> Result<()> {
        segment::counts(accumulate, self::labels("labels", labels, n)?, get_mut("counts", counts, 0, k)?);
        Ok(())
    }

    fn ema(
        &self,
        (k, e): (usize, usize),
        decay: f32,
        epsilon: f32,
        batch_counts: &Tensor,
        sums: &Tensor,
        counts: &mut Tensor,
        means: &mut Tensor,
        codebook: &mut Tensor,
        at: usize,
    ) -> Result<()> {
        let (batch, sums) = (get("batch counts", batch_counts, k)?, get("sums", sums, k.saturating_mul(e))?);
        let (counts, means) = (get_mut("counts", counts, 0, k + 1)?, get_mut("means", means, 0, k.saturating_mul(e))?);
        let codebook = get_mut("codebook", codebook, at, k.saturating_mul(e))?;
        if k > 0 && e > 0 {
            ema::ema(e, decay, epsilon, batch, sums, counts, means, codebook);
        }
        Ok(())
    }

    fn rotate_backward(
        &self,
        (n, e): (usize, usize),
        residual: &Tensor,
        next: &Tensor,
        upstream: &Tensor,
        out: &mut Tensor,
    ) -> Result<()> {
        let (residual, next) =
            (get("residuals", residual, n.saturating_mul(e))?, get("residuals", next, n.saturating_mul(e))?);
        let (upstream, out) =
            (get("gradient", upstream, n.saturating_mul(e))?, get_mut("gradient", out, 0, n.saturating_mul(e))?);
        if e > 0 {
            rotation::backward(e, residual, next, upstream, out);
        }
        Ok(())
    }

    fn gumbel_softmax(
        &self,
        (n, k): (usize, usize),
        temperature: f32,
        half_norms: &Tensor,
        noise: &Tensor,
        dots: &mut Tensor,
    ) -> Result<()> {
        let (half_norms, noise) = (get("half norms", half_norms, k)?, get("noise", noise, n.saturating_mul(k))?);
        let dots = get_mut("dot products", dots, 0, n.saturating_mul(k))?;
        if k > 0 {
            softmax::gumbel(k, temperature, half_norms, noise, dots);
        }
        Ok(())
    }

    fn softmax_backward(
        &self,
        (n, k): (usize, usize),
        scale: f32,
        probabilities: &Tensor,
        grad: &mut Tensor,
    ) -> Result<()> {
        let (p, grad) = (
            get("probabilities", probabilities, n.saturating_mul(k))?,
            get_mut("gradient", grad, 0, n.saturating_mul(k))?,
        );
        if k > 0 {
            softmax::backward(k, scale, p, grad);
        }
        Ok(())
    }

    fn contrast(
        &self,
        (n, m): (usize, usize),
        scale: f32,
        exclude_diagonal: bool,
        targets: &Index,
        weights: Option<&Tensor>,
        logits: &mut Tensor,
        loss: &mut Tensor,
    ) -> Result<()> {
        let targets = labels("targets", targets, n)?;
        let weights = weights.map(|w| get("weights", w, n)).transpose()?;
        let (logits, loss) = (get_mut("logits", logits, 0, n.saturating_mul(m))?, get_mut("losses", loss, 0, n)?);
        if m > 0 {
            softmax::contrast(m, scale, exclude_diagonal, targets, weights, logits, loss);
        }
        Ok(())
    }

    fn sinkhorn(
        &self,
        (n, e, k): (usize, usize, usize),
        exponent: Exponent,
        iterations: usize,
        residual: &Tensor,
        half_norms: &Tensor,
        dots: &mut Tensor,
        potentials: &mut Tensor,
        labels: &mut Index,
    ) -> Result<()> {
        let range = range("labels", labels.0.len(), 0, n)?;
        let (residual, half_norms) =
            (get("residuals", residual, n.saturating_mul(e))?, get("half norms", half_norms, k)?);
        let (dots, v) =
            (get_mut("dot products", dots, 0, n.saturating_mul(k))?, get_mut("potentials", potentials, 0, k)?);
        if n > 0 && k > 0 && e > 0 {
            sinkhorn::sinkhorn(k, e, exponent, iterations, residual, half_norms, dots, v, &mut labels.0[range]);
        }
        Ok(())
    }
}
