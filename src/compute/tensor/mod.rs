//! Dense tensors: the kernels that networks train with, behind one trait, [`TensorBackend`].
//!
//! A tensor is a flat run of f32; a matrix in it is row-major without gaps from some offset on, so that all parameters of a
//! network are one tensor and an optimiser step is one kernel. Calls on a GPU are recorded and run later, in order; only the
//! `read` methods wait. Nothing here draws random numbers: masks, noise and targets come from the caller.
//!
//! Shapes: `n` rows of a batch, `k` codewords, `e` values of a code vector. Non-finite values pass through to whatever
//! depends on them, so that a loss shows them. Every reduction has a fixed order.

mod dense;
mod quantise;
mod sequence;

pub use dense::DenseKernels;
pub use quantise::QuantiserKernels;
pub use sequence::{AttentionShape, HeadRows, Segments, SequenceKernels, sorted_segments};

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

/// Where tensors are kept, and how values get there and back.
pub trait Tensors: Backend {
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
}

/// A [`Backend`] with dense tensors. Implemented by the CPU and by the GPU; each method is one kernel of the same name unless
/// its text says otherwise.
pub trait TensorBackend: DenseKernels + QuantiserKernels + SequenceKernels {}

impl<B: DenseKernels + QuantiserKernels + SequenceKernels> TensorBackend for B {}
