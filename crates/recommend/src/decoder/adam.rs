//! AdamW over runs of parameters, and its memory.

use sememe::Result;
use sememe::compute::tensor::{Rule, Step, TensorBackend, whole};

/// The optimiser's memory on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

impl Moments {
    /// Of parameters that no step has moved yet.
    pub fn zeros(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

/// A run of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParameterRun {
    pub offset: usize,
    pub len: usize,
    /// Whether weight decay pulls on it.
    pub decays: bool,
}

impl ParameterRun {
    /// Runs of `len` parameters, ascending, without gaps: the matrices, each its offset and length, ascending, decay; what lies between
    /// does not.
    pub fn split(matrices: &[(usize, usize)], len: usize) -> Vec<Self> {
        let (mut runs, mut at) = (Vec::new(), 0);
        for (offset, values) in matrices.iter().copied() {
            if offset > at {
                runs.push(Self { offset: at, len: offset - at, decays: false });
            }
            runs.push(Self { offset, len: values, decays: true });
            at = offset + values;
        }
        if len > at {
            runs.push(Self { offset: at, len: len - at, decays: false });
        }
        runs
    }
}

/// The learning rate of step `step` (from 0) of `total`: it rises to `peak` over the share `warmup` of all steps, and falls to 0 along
/// half a cosine.
pub(crate) fn warmed_cosine(peak: f64, warmup: f64, step: u64, total: u64) -> f64 {
    let (at, warmup) = (step as f64 + 1.0, (warmup * total as f64).max(1.0));
    if at <= warmup {
        return peak * at / warmup;
    }
    let fallen = ((at - warmup) / (total as f64 - warmup).max(1.0)).min(1.0);
    peak * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * fallen))
}

/// One step of AdamW (Loshchilov and Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdamStep {
    pub rate: f64,
    pub weight_decay: f64,
    /// Largest L2 norm of the gradient.
    pub clip_norm: Option<f64>,
    /// Steps so far, this one included.
    pub time: u64,
}

/// The optimiser's memory on a device.
pub(crate) struct Adam<B: TensorBackend> {
    first: B::Tensor,
    second: B::Tensor,
    /// The squared norm of the gradient.
    norm: B::Tensor,
    len: usize,
}

impl<B: TensorBackend> Adam<B> {
    /// Goes on from `moments`.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(backend: &B, moments: &Moments) -> Result<Self> {
        let len = moments.first.len();
        let mut made = Self {
            first: backend.zeros("first moments", len)?,
            second: backend.zeros("second moments", len)?,
            norm: backend.zeros("norm of the gradient", 1)?,
            len,
        };
        backend.write_tensor(&mut made.first, 0, &moments.first)?;
        backend.write_tensor(&mut made.second, 0, &moments.second)?;
        Ok(made)
    }

    /// Moves the parameters in `runs`; `grads` is as long as the memory, and all of it counts for the norm.
    ///
    /// # Errors
    /// Device errors.
    pub fn step(
        &mut self,
        backend: &B,
        step: &AdamStep,
        runs: &[ParameterRun],
        grads: &mut B::Tensor,
        params: &mut B::Tensor,
    ) -> Result<()> {
        backend.total(self.len, true, 1.0, false, whole(grads), &mut self.norm, 0)?;
        for run in runs {
            let step = Step {
                rule: Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: true },
                offset: run.offset,
                len: run.len,
                rate: step.rate as f32,
                decay: if run.decays { step.weight_decay as f32 } else { 0.0 },
                time: step.time,
                clip: step.clip_norm.map_or(f32::INFINITY, |c| c as f32),
                norm_slot: 0,
            };
            backend.optimize(&step, grads, &self.norm, params, &mut self.first, &mut self.second)?;
        }
        Ok(())
    }

    /// The squared L2 norm of the last step's gradient. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    #[cfg(feature = "language")]
    pub fn squared_norm(&self, backend: &B) -> Result<f64> {
        let mut out = [0.0f32];
        backend.read_tensor(&self.norm, 0, &mut out)?;
        Ok(f64::from(out[0]))
    }

    /// The memory as it is now. Waits for the device.
    ///
    /// # Errors
    /// Device errors.
    pub fn read(&self, backend: &B) -> Result<Moments> {
        let mut out = Moments::zeros(self.len);
        backend.read_tensor(&self.first, 0, &mut out.first)?;
        backend.read_tensor(&self.second, 0, &mut out.second)?;
        Ok(out)
    }
}
