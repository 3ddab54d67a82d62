//! Dense tensors: the kernels that networks train with, behind one trait, [`TensorBackend`].
//!
//! A tensor is a flat run of f32; a matrix in it is row-major without gaps from some offset on, so that all parameters of a
//! network are one tensor and an optimiser step is one kernel. Calls on a GPU are recorded and run later, in order; only the
//! `read` methods wait. Nothing here draws random numbers: masks, noise and targets come from the caller.
//!
//! Shapes: `n` rows of a batch, `k` codewords, `e` values of a code vector. Non-finite values pass through to whatever
//! depends on them, so that a loss shows them. Every reduction has a fixed order.
//!
//! One file past the usual length: the operations and the types that they take are one contract, which both backends keep.

use super::Backend;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// A matrix that is read: values of `tensor` from `offset` on.
#[derive(Debug)]
pub struct Part<'a, T> {
    /// Where the values are.
    pub tensor: &'a T,
    /// First value.
    pub offset: usize,
}

impl<T> Clone for Part<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Part<'_, T> {}

/// A tensor from its start.
pub fn whole<T>(tensor: &T) -> Part<'_, T> {
    Part { tensor, offset: 0 }
}

/// A tensor from `offset` on.
pub fn from<T>(tensor: &T, offset: usize) -> Part<'_, T> {
    Part { tensor, offset }
}

/// How the operands of a product lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `a [m, k] · b [n, k]ᵀ`.
    Nt,
    /// `a [m, k] · b [k, n]`.
    Nn,
    /// `a [k, m]ᵀ · b [k, n]`.
    Tn,
}

/// A matrix product `out [m, n] = alpha · a·b (+ out)`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// How the operands lie.
    pub layout: Layout,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum; 0 gives zeros.
    pub k: usize,
    /// Factor.
    pub alpha: f32,
    /// Whether the product is added to what `out` holds.
    pub accumulate: bool,
}

/// Arithmetic of matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Operands rounded to f16, sums in f32. GPUs with 16-bit floats offer it.
    F16,
    /// Operands rounded to bf16 (8 bits of precision, f32's range), sums in f32. CPUs with AVX-512 BF16 offer it: AMD from Zen 4 on,
    /// Intel Cooper Lake and from Sapphire Rapids on.
    Bf16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(0, x); its derivative at 0 is 0.
    #[default]
    Relu,
    /// x·Φ(x) with the error function, not the tanh form.
    Gelu,
    /// x·σ(x), also called swish.
    Silu,
}

/// Which values a dropout keeps.
#[derive(Debug)]
pub struct Mask<'a, I> {
    /// Bit `first_bit + i`, the lowest of a word first, says whether value `i` is kept.
    pub bits: &'a I,
    /// Place of value 0.
    pub first_bit: usize,
    /// Factor of the kept values, `1/(1 − p)`.
    pub scale: f32,
}

impl<I> Clone for Mask<'_, I> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I> Copy for Mask<'_, I> {}

/// How an optimiser turns a gradient into a step. Formulas as in the papers; t counts from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `w ← w − lr·(g + decay·w)`, with `momentum > 0` through `b ← momentum·b + g` (`b ← g` at t = 1).
    Sgd {
        /// Share of the last step's direction that is kept.
        momentum: f32,
    },
    /// Adam (Kingma and Ba 2015); `decoupled` is AdamW (Loshchilov and Hutter 2019): `w ← w − lr·decay·w` apart from the moments,
    /// otherwise the decay joins the gradient.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// AdamW instead of L2 in the gradient.
        decoupled: bool,
    },
    /// Adagrad (Duchi, Hazan and Singer 2011): `s ← s + g²; w ← w − lr·g/(√s + ε)`.
    Adagrad {
        /// Added to the root of the sum.
        epsilon: f32,
    },
}

/// One optimiser step over a run of parameters.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// First parameter.
    pub offset: usize,
    /// Parameters.
    pub len: usize,
    /// Learning rate of this step.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    /// t: steps taken, this one included.
    pub time: u64,
    /// Largest L2 norm of the gradient: gradients are multiplied by `min(1, clip/(√norms[norm_slot] + 1e-6))`. Infinite for none.
    pub clip: f32,
    /// Where the squared norm of the whole gradient is, if `clip` is finite.
    pub norm_slot: usize,
}

/// How squared L2 become the exponents of a Sinkhorn assignment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exponent {
    /// LC-Rec's: `−((d − mid)/(max − mid + 1e-5))/epsilon` with the batch's largest and smallest d and `mid = (max + min)/2`.
    BatchRange {
        /// ε.
        epsilon: f32,
    },
    /// `−d/scale`, whatever else is in the batch.
    Fixed {
        /// ε in units of d.
        scale: f32,
    },
}

/// A [`Backend`] with dense tensors. Implemented by the CPU and by the GPU; each method is one kernel of the same name unless
/// its text says otherwise.
pub trait TensorBackend: Backend {
    /// Resident f32.
    type Tensor: Send + Sync;
    /// Resident u32: labels, targets, mask bits.
    type Index: Send + Sync;

    /// Whether products run at this precision here.
    fn offers(&self, precision: Precision) -> bool;

    /// Runs many short calls as one piece of work: on the CPU on a thread of the pool, so that not each of them has to wake the pool and
    /// be woken by it.
    fn together<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    /// `len` zeros.
    fn zeros(&self, what: &str, len: usize) -> Result<Self::Tensor>;
    /// Values of a tensor.
    fn tensor_len(&self, tensor: &Self::Tensor) -> usize;
    /// Overwrites values from `offset` on, after all that was recorded before.
    fn write_tensor(&self, tensor: &mut Self::Tensor, offset: usize, values: &[f32]) -> Result<()>;
    /// Reads values from `offset` on.
    fn read_tensor(&self, tensor: &Self::Tensor, offset: usize, out: &mut [f32]) -> Result<()>;
    /// `len` zero words.
    fn index(&self, what: &str, len: usize) -> Result<Self::Index>;
    /// Overwrites words from `offset` on.
    fn write_index(&self, index: &mut Self::Index, offset: usize, words: &[u32]) -> Result<()>;
    /// Reads words from `offset` on.
    fn read_index(&self, index: &Self::Index, offset: usize, out: &mut [u32]) -> Result<()>;

    /// Copies rows `first..first + count` into a tensor, without padding. Kernel `restride`.
    fn rows_to_tensor(&self, rows: &Self::Rows, first: usize, count: usize, out: &mut Self::Tensor) -> Result<()>;
    /// New `[n, d]` rows from the start of a tensor. Kernel `restride`.
    fn tensor_to_rows(&self, tensor: &Self::Tensor, n: usize, d: usize) -> Result<Self::Rows>;

    /// `out[at..] = alpha·a·b (+ out)`; see [`Product`]. `out` is another tensor than `a` and `b`. O(m·n·k).
    fn matmul(
        &self,
        product: &Product,
        precision: Precision,
        a: Part<'_, Self::Tensor>,
        b: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// A linear layer: `pre [n, o] = x [n, i] · weight [o, i]ᵀ + bias [o]`, and, with an activation, `post = f(pre)`. Kernel
    /// `matmul`. O(n·i·o).
    #[allow(clippy::too_many_arguments)]
    fn linear(
        &self,
        shape: (usize, usize, usize),
        precision: Precision,
        x: Part<'_, Self::Tensor>,
        weight: Part<'_, Self::Tensor>,
        bias: Part<'_, Self::Tensor>,
        pre: &mut Self::Tensor,
        post: Option<(Activation, &mut Self::Tensor)>,
    ) -> Result<()>;

    /// `post[i] = f(pre[i])`, masked. Kernel `activation`.
    fn activate(
        &self,
        activation: Activation,
        len: usize,
        pre: &Self::Tensor,
        mask: Option<Mask<'_, Self::Index>>,
        post: &mut Self::Tensor,
    ) -> Result<()>;
    /// `grad[i] ← grad[i]·f′(pre[i])`, masked as the forward pass was. Kernel `activation`.
    fn activate_backward(
        &self,
        activation: Activation,
        len: usize,
        pre: &Self::Tensor,
        mask: Option<Mask<'_, Self::Index>>,
        grad: &mut Self::Tensor,
    ) -> Result<()>;

    /// `y = gain·(x − mean)/√(variance + 1e-5) + bias` over each row `[d]`; the variance is that of the row (divided by d).
    /// Ba, Kiros and Hinton 2016.
    fn layer_norm(
        &self,
        shape: (usize, usize),
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        bias: Part<'_, Self::Tensor>,
        y: &mut Self::Tensor,
    ) -> Result<()>;
    /// `grad [n, d]` of y becomes that of x; `products [n, d]` receives `grad_y·x̂`, whose column totals are the gain's gradient.
    /// Kernel `layer_norm`.
    fn layer_norm_backward(
        &self,
        shape: (usize, usize),
        x: &Self::Tensor,
        gain: Part<'_, Self::Tensor>,
        grad: &mut Self::Tensor,
        products: &mut Self::Tensor,
    ) -> Result<()>;

    /// `out[at + c] = alpha·Σ_i values[i, c] (+ out)` for `values [n, d]`.
    fn column_total(
        &self,
        shape: (usize, usize),
        alpha: f32,
        accumulate: bool,
        values: &Self::Tensor,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `out[at] = alpha·Σ values[i]` or, with `squares`, `alpha·Σ values[i]²` (+ out), over `len` values.
    #[allow(clippy::too_many_arguments)]
    fn total(
        &self,
        len: usize,
        squares: bool,
        alpha: f32,
        accumulate: bool,
        values: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;

    /// `y[at + i] = alpha·x[i] + beta·y[at + i]`; with `beta = 0`, y is not read. `x` is another tensor than `y`.
    fn combine(
        &self,
        len: usize,
        alpha: f32,
        x: Part<'_, Self::Tensor>,
        beta: f32,
        y: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;
    /// `out[i] = scale·(a[i] − b[i])`. Kernel `combine`.
    fn subtract(
        &self,
        len: usize,
        scale: f32,
        a: Part<'_, Self::Tensor>,
        b: Part<'_, Self::Tensor>,
        out: &mut Self::Tensor,
    ) -> Result<()>;
    /// `y[at + i·d + c] += alpha·scales[i]·x[i·d + c]` for `[n, d]` rows. Kernel `combine`.
    #[allow(clippy::too_many_arguments)]
    fn combine_rows(
        &self,
        shape: (usize, usize),
        alpha: f32,
        scales: &Self::Tensor,
        x: Part<'_, Self::Tensor>,
        y: &mut Self::Tensor,
        at: usize,
    ) -> Result<()>;
    /// `values[at..at + len] = 0`.
    fn clear(&self, values: &mut Self::Tensor, at: usize, len: usize) -> Result<()>;

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

    /// One optimiser step: `params`, `first` and `second` (moments, sums) from `step.offset` on; `grads` at the same places.
    fn optimize(
        &self,
        step: &Step,
        grads: &Self::Tensor,
        norms: &Self::Tensor,
        params: &mut Self::Tensor,
        first: &mut Self::Tensor,
        second: &mut Self::Tensor,
    ) -> Result<()>;
}
