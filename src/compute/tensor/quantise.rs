//! Kernels of quantisers inside of networks: nearest codewords, their updates and gradients.

use super::{Exponent, Part, Tensors};
use crate::error::Result;

/// The kernels of quantisers in training.
pub trait QuantiserKernels: Tensors {
    /// `out[j] = ½‖c_j‖²` for `codebook [k, e]`.
    fn half_norms(&self, shape: (usize, usize), codebook: Part<'_, Self::Tensor>, out: &mut Self::Tensor)
    -> Result<()>;

    /// `labels[i] = argmin_j (half_norms[j] − dots[i, j])`, the lowest index on a tie; a row of NaN gets 0.
    fn nearest(
        &self,
        shape: (usize, usize),
        dots: &Self::Tensor,
        half_norms: &Self::Tensor,
        labels: &mut Self::Index,
    ) -> Result<()>;

    /// `labels[i] = argmin_{j ≠ i} (half_norms[j] − dots[i, j])` for `[n, n]` products of rows with each other: the nearest other row,
    /// the lowest index on a tie; 0 for a row that is alone. Kernel `nearest`.
    fn nearest_other(
        &self,
        n: usize,
        dots: &Self::Tensor,
        half_norms: &Self::Tensor,
        labels: &mut Self::Index,
    ) -> Result<()>;

    /// Away from a neighbour: with `d = ‖z_i − z_j‖² + epsilon` and j the row's neighbour, `pull[i] = scale·(z_i − z_j)/d` and
    /// `logs[i] = ln d`, for `[n, e]` rows. A neighbour past the rows, or the row itself, gives zeros.
    #[allow(clippy::too_many_arguments)]
    fn repel(
        &self,
        shape: (usize, usize),
        scale: f32,
        epsilon: f32,
        z: &Self::Tensor,
        neighbours: &Self::Index,
        pull: &mut Self::Tensor,
        logs: &mut Self::Tensor,
    ) -> Result<()>;

    /// `next = residual − c[label]`, and `sum = c[label]` (`first`) or `sum += c[label]`, for `[n, e]` rows and `codebook [k, e]`.
    /// A label past the codebook leaves the residual and adds nothing.
    #[allow(clippy::too_many_arguments)]
    fn quantize(
        &self,
        shape: (usize, usize, usize),
        first: bool,
        residual: &Self::Tensor,
        codebook: Part<'_, Self::Tensor>,
        labels: &Self::Index,
        next: &mut Self::Tensor,
        sum: &mut Self::Tensor,
    ) -> Result<()>;

    /// `out[at + j·e ..] = alpha·Σ_{label i = j} values[i] (+ out)`, in row order, for `(n, e, k)`. Kernel `segment`.
    #[allow(clippy::too_many_arguments)]
    fn segment_sum(
        &self,
        shape: (usize, usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Self::Tensor,
        labels: &Self::Index,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `counts[j] = |{i: label i = j}| (+ counts)` as f32, for `(n, k)`. Kernel `segment`.
    fn segment_count(
        &self,
        shape: (usize, usize),
        accumulate: bool,
        labels: &Self::Index,
        counts: &mut Self::Tensor,
    ) -> Result<()>;

    /// Exponential moving averages (van den Oord, Vinyals and Kavukcuoglu 2017, appendix A.1) with Laplace smoothing:
    /// `N ← γN + (1 − γ)·batch_counts`, `M ← γM + (1 − γ)·sums`, `c_j = M_j / ((N_j + ε)/(ΣN + kε)·ΣN)`. `counts` holds `[k]` N and
    /// behind it ΣN; `means` holds `[k, e]` M. A codeword with N = 0 throughout stays.
    #[allow(clippy::too_many_arguments)]
    fn ema(
        &self,
        shape: (usize, usize),
        decay: f32,
        epsilon: f32,
        batch_counts: &Self::Tensor,
        sums: &Self::Tensor,
        counts: &mut Self::Tensor,
        means: &mut Self::Tensor,
        codebook: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// Gradient through the rotation trick (Fifty et al. 2024): with `q = residual − next`, `out = λ·Rᵀ·upstream`, where R rotates
    /// `residual/‖residual‖` onto `q/‖q‖` in their plane and `λ = ‖q‖/‖residual‖`. Where either is zero, or they are opposite, the
    /// gradient passes unchanged. Kernel `rotation`.
    fn rotate_backward(
        &self,
        shape: (usize, usize),
        residual: &Self::Tensor,
        next: &Self::Tensor,
        upstream: &Self::Tensor,
        out: &mut Self::Tensor,
    ) -> Result<()>;

    /// `dots[i, j] ← softmax_j((2·(dots[i, j] − half_norms[j]) + noise[i, j])/temperature)`: with Gumbel noise, the Gumbel-softmax of
    /// the negative squared L2 (Jang, Gu and Poole 2017). Kernel `softmax`.
    fn gumbel_softmax(
        &self,
        shape: (usize, usize),
        temperature: f32,
        half_norms: &Self::Tensor,
        noise: &Self::Tensor,
        dots: &mut Self::Tensor,
    ) -> Result<()>;

    /// `grad[i, j] ← scale·p[i, j]·(grad[i, j] − Σ_m p[i, m]·grad[i, m])`. Kernel `softmax`.
    fn softmax_backward(
        &self,
        shape: (usize, usize),
        scale: f32,
        probabilities: &Self::Tensor,
        grad: &mut Self::Tensor,
    ) -> Result<()>;

    /// Cross-entropy of rows of logits with targets: `loss[i] = w_i·(log Σ_j exp(x_ij) − x_it)`, then
    /// `x_ij ← scale·w_i·(softmax_j(x_i) − [j = t])`. `exclude_diagonal` leaves j = i out of the softmax. Without weights `w_i = 1`.
    /// Kernel `softmax`.
    #[allow(clippy::too_many_arguments)]
    fn contrast(
        &self,
        shape: (usize, usize),
        scale: f32,
        exclude_diagonal: bool,
        targets: &Self::Index,
        weights: Option<&Self::Tensor>,
        logits: &mut Self::Tensor,
        loss: &mut Self::Tensor,
    ) -> Result<()>;

    /// Balanced labels by Sinkhorn in the log domain: with `a_ij` as [`Exponent`] says of `d_ij = ‖r_i‖² + 2·(half_norms_j −
    /// dots_ij)` and v = 0 at first, `iterations` times `u_i = −log Σ_j exp(a_ij + v_j)`, then `v_j = log(n/k) − log Σ_i exp(a_ij +
    /// u_i)`; the label is `argmax_j (a_ij + v_j)`, the lowest index on a tie. Consumes `dots`; `v [k]` is left in `potentials`. Kernel
    /// `sinkhorn`. O(iterations·n·k).
    #[allow(clippy::too_many_arguments)]
    fn sinkhorn(
        &self,
        shape: (usize, usize, usize),
        exponent: Exponent,
        iterations: usize,
        residual: &Self::Tensor,
        half_norms: &Self::Tensor,
        dots: &mut Self::Tensor,
        potentials: &mut Self::Tensor,
        labels: &mut Self::Index,
    ) -> Result<()>;
}
